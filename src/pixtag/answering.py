"""`answered`: suggestions for a block of questions, from the past to the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pixtag.bursts import burst_chances
from pixtag.candidates import Candidates
from pixtag.choose import LOG_FOREIGN, SET_SIZE, Seen, Wishes, as_a_stranger, names_first, worth_of
from pixtag.evidence import View
from pixtag.model import Model
from pixtag.rank import as_served, best_places, block_size, described, moved_by, read
from pixtag.reasons import contributions, facts_of, reasons
from pixtag.signals import FEATURES, REASONS, Asked, Questions
from pixtag.signals.words import BRIDGE_FLOOR
from pixtag.synonyms import same_meaning
from pixtag.types import Bools, Floats, Ints, Reason, Suggestion

_RISING = list(REASONS).index("rising")
_ALWAYS = (Reason("lists", "always: it is on your list", 0.0),)


def answered(
    model: Model,
    view: View,
    at: list[float],
    has_photo: list[bool],
    embeddings: Floats,
    wishes: Sequence[Wishes],
) -> list[tuple[tuple[Suggestion, ...], bool]]:
    """Suggestions for one question a photo, and whether it is unsure; from one view, no lock.

    The photos' embeddings are `[N, D]`, zeros for a question without one.
    """
    out: list[tuple[tuple[Suggestion, ...], bool]] = []
    size, width = block_size(view), model.knowledge.encoder_width
    for start in range(0, len(at), size):
        part = slice(start, start + size)
        n = len(at[part])
        block = Questions(
            at=np.array(at[part]),
            users=tuple(one.user for one in wishes[part]),
            embeddings=embeddings[part],
            has_photo=np.array(has_photo[part], np.bool_) & (width > 0),
            accepted=tuple(one.accepted for one in wishes[part]),
            history=tuple(one.history for one in wishes[part]),
        )
        asked = read(model, view, block)
        found = described(model, asked)
        shown = [_seen(asked, found, row) for row in range(n)]
        is_new = np.array([one is not None and one.history == "unlike" for one in shown])
        is_alone = (asked.n_own > 0) & (asked.n_posts <= 2 * asked.n_own)
        found = as_served(found, is_alone, is_new=is_new)
        ranked = best_places(model.weights, found, k=found.tag.shape[1], ties=asked.ties)
        sets = [
            _chosen(asked, found, row, best, shown[row], wishes[start + row])
            for row, best in enumerate(zip(*ranked, strict=True))
        ]
        out += _explained(model, asked, found, sets, at[part], wishes[part])
    return out


def _seen(asked: Asked, found: Candidates, row: int) -> Seen | None:
    """What the photo of a question says of its candidates, as they come; None without one."""
    n = int(np.count_nonzero(found.filled[row]))
    return Seen.of(asked, row, found.tag[row, :n], found.features[row, :n])


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The set of one question: K candidates, as they are shown."""

    places: Ints  # among the candidates, `[K]`
    probs: list[float]  # of each, K of them
    raised: Floats  # by a burst, or a rise elsewhere, log units, `[K]`
    likely: dict[str, float]  # chance of every candidate, by its name
    is_unsure: bool


def _chosen(
    asked: Asked,
    found: Candidates,
    row: int,
    ranked: tuple[Ints, Floats],
    shown: Seen | None,
    wishes: Wishes,
) -> _Chosen:
    """Choose among the ranked places of one question, `row` of a block, by what its photo shows."""
    n = int(np.count_nonzero(found.filled[row]))
    places, probs = ranked[0][:n], ranked[1][:n]
    tags = found.tag[row, places]
    names = [asked.names[tag] for tag in tags.tolist()]
    features = found.features[row, places]
    burst, before = burst_chances(asked, row, features), np.maximum(probs, 1e-6)
    if asked.heard is not None:
        probs = moved_by(probs, asked.heard.lifts(row, tags))
    seen = None if shown is None else shown.take(places)
    if seen is not None and wishes.history:
        # What somebody types says what they use, not that it is in this photo.
        is_typed = np.array([name in wishes.history for name in names], np.bool_)
        probs = moved_by(probs, 2.0 * LOG_FOREIGN * (is_typed & seen.is_elsewhere))
    probs = np.maximum(probs, burst)
    raised = np.log(np.maximum(probs / before, 1.0))
    worth = worth_of(probs, seen, floor=BRIDGE_FLOOR)
    is_own = features[:, FEATURES.column("own_uses_log")] > 0
    first = names_first(worth, seen)
    known = dict(zip(names, tags.tolist(), strict=True))

    def same(names: Sequence[str]) -> Bools:
        ids = [known[name] if name in known else asked.id_of(name) for name in names]
        return same_meaning(asked, row, np.array(ids, np.int64))

    five: list[int] = []
    if seen is not None and seen.history == "unlike":
        nobody, stranger = replace(wishes, n_new=SET_SIZE), replace(seen, history="none")
        five = nobody.chosen(
            names, probs, worth, is_own=np.zeros_like(is_own), same_meaning=same, first=first,
            seen=stranger,
        )  # fmt: skip
        worth, first = as_a_stranger(probs, worth, seen, is_own=is_own, five=five)
    unsure = seen is not None and seen.is_unsure and seen.history not in {"like", "near"}
    is_new = seen is not None and seen.history in {"none", "unlike"}
    if asked.heard is not None and is_new and not unsure:
        fit = features[:, FEATURES.column("words")]
        first = [*asked.heard.fitting(asked, row, tags, fit), *first]
    if is_new and burst.any():
        first = [int(np.argmax(burst)), *first]
    best = wishes.chosen(
        names, probs, worth, is_own=is_own, same_meaning=same, first=first, seen=seen,
        unsure=unsure and not asked.own.n[row], settled=five,
    )  # fmt: skip
    likely = dict(zip(names, probs.tolist(), strict=True))
    return _Chosen(places[best], probs[best].tolist(), raised[best], likely, unsure)


def _explained(
    model: Model,
    asked: Asked,
    found: Candidates,
    sets: Sequence[_Chosen],
    at: Sequence[float],
    wishes: Sequence[Wishes],
) -> list[tuple[tuple[Suggestion, ...], bool]]:
    """Say why of each tag of the sets of a block; what is always added follows."""
    rows = np.repeat(np.arange(len(sets)), [len(one.places) for one in sets])
    places = np.concatenate([one.places for one in sets])
    parts = contributions(model.weights, found, rows, places)
    parts[:, _RISING] += np.concatenate([one.raised for one in sets])
    facts = facts_of(asked, found, rows, places, at=at, history=[w.history for w in wishes])
    why = map(reasons, parts.tolist(), facts)
    tags, out = iter(found.tag[rows, places].tolist()), list[tuple[tuple[Suggestion, ...], bool]]()
    for one, wanted in zip(sets, wishes, strict=True):
        best = (Suggestion(asked.names[next(tags)], prob, next(why)) for prob in one.probs)
        added = (Suggestion(tag, one.likely.get(tag, 0.0), _ALWAYS) for tag in wanted.always)
        out.append(((*best, *added), one.is_unsure))
    return out
