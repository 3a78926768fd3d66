"""Ranking: candidates of each question, their features, the network's scores and chances.

    evidence = model.evidence(posts)
    rankings = rank(model, evidence.view(), questions)

Training examples, evaluation and serving are these same reads of the evidence at other moments:
a question sees only what lies strictly before it, and a block of questions gets what the same
questions one by one would get.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from pixtag.candidates import Candidates
from pixtag.encoder import limit_blas
from pixtag.engine import LOCAL, Arrays, Engine
from pixtag.errors import ShapeError
from pixtag.evidence import Evidence, distinct, is_among
from pixtag.model import Model, RankConfig
from pixtag.network import Weights, calibrated, scores
from pixtag.signals import CONTEXT_NAMES, FEATURES, SOURCES, Asked, Pairs, Questions, ask
from pixtag.signals.asked import strongest, top_of_rows
from pixtag.signals.calendar import propose_calendar
from pixtag.signals.context import context
from pixtag.signals.cooccurrence import companies, propose_company
from pixtag.signals.memory import Similar, near_kernel, near_memory, own_kernel, own_memory
from pixtag.signals.pixels import CHANCE_FLOOR, Looks, chance_at, lately_memory, look
from pixtag.signals.popularity import propose_popular
from pixtag.signals.reuse import propose_own
from pixtag.signals.taste import Interests, describe_slots
from pixtag.signals.trend import propose_rising
from pixtag.types import Bools, Doubles, Floats, Ints, PostLog, Rankings, Sources

OnProgress = Callable[[int, int], None]

BLOCK = 128
MAX_CELLS = 8_000_000
"""Pairs of a question with a tag, or with a photo, of a block at most."""

LEAST_PART, MOST_PARTS = 1024, 16
"""Questions below which a part of its own is not worth its start; parts at most."""


MANY_TAGS = 250
"""Own tags beyond which a person gets further candidates."""


HEARD = np.float32(0.01)
"""Rough strength of a tag for being used outside the store."""

CALENDAR_SHARE = 0.25
"""Of the calendar's log lift that log odds move by; chosen on calibration periods (docs/log.md)."""

_LIFTS = FEATURES.columns(["calendar_lift", "calendar_weekday_lift"])
_TREND_ON = CONTEXT_NAMES.index("trend_on")


def questions_of(log: PostLog, rows: Ints, *, width: int) -> Questions:
    """Ask about posts at their own times.

    Args:
        log: Posts, with encoder embeddings or none.
        rows: Which of them, `[B]`.
        width: Width of the embeddings that the model expects; zeros where the log has none.
    """
    users = (*log.users, None)
    has = bool(log.embeddings.shape[1])
    embeddings = np.zeros((len(rows), width), np.float32)
    if has:
        embeddings[:] = log.embeddings[rows]
    return Questions(
        at=log.at[rows],
        users=tuple(users[u] for u in log.user_of_post[rows]),
        embeddings=embeddings,
        has_photo=log.has_photo[rows] & has,
    )


def read(
    model: Model, view: Evidence, questions: Questions, sources: Sources | None = None
) -> Asked:
    """Read all that is needed of the past for a block of questions, but for the candidates."""
    asked = ask(model.knowledge, view, questions, sources)
    config = model.config
    asked.own_pairs = Pairs.of(
        asked.own.question[asked.own.post],
        asked.own.tag,
        n_questions=len(asked),
        n_tags=asked.n_tags,
    )
    asked.company = companies(asked)
    asked.proposed = _propose_unseen(asked, config)
    if asked.has_photo.any():
        asked.similar = Similar(view, asked.photo, asked.tick)
        if asked.hidden is not None:
            asked.similar.hide(asked.hidden)
    asked.own_memory = own_memory(asked, n_slots=config.own_slots)
    asked.near = near_memory(asked, asked.similar, n_slots=config.near_slots)
    if asked.sources.trend:
        asked.lately = lately_memory(asked, asked.similar, n_slots=config.near_slots)
    asked.looks, proposed = _looked(asked)
    asked.proposed += proposed
    asked.interests = Interests.of(asked, asked.own_memory, asked.looks)
    describe_slots(asked, asked.own_memory, asked.near, asked.looks)
    return asked


def _looked(asked: Asked) -> tuple[Looks, list[tuple[Ints, Ints]]]:
    """What pixels say of the vocabulary, and what they propose of it."""
    looks, seen = look(asked), asked.has_photo
    if not seen.any():
        return looks, []
    scores = (
        (looks.head, 40),
        (np.log1p(looks.chance / CHANCE_FLOOR), 40),
        (looks.bridge, 20),
        (looks.kinds, 20),
    )
    return looks, [top_of_rows(score, seen, limit=limit) for score, limit in scores]


def _propose_unseen(asked: Asked, config: RankConfig) -> list[tuple[Ints, Ints]]:
    """Propose candidates from every source but the photo, the person's own first."""
    own = propose_own(
        asked, limit=config.own_candidates, many=MANY_TAGS, further=config.more_candidates
    )
    found = [own, propose_popular(asked, limit=30), propose_company(asked, limit=40)]
    if asked.sources.trend:
        asked.season = propose_calendar(asked, limit=24)
        found += [propose_rising(asked, limit=12), asked.season]
    return found


def propose(asked: Asked, config: RankConfig) -> tuple[Pairs, Ints, Ints]:
    """Propose candidates from every source.

    Returns:
        The pairs, the people of the store who used each tag, and the places of each question.
    """
    found = asked.proposed.copy()
    if asked.has_photo.any():
        kernel = near_kernel(asked.near)
        found.append(asked.near.propose(kernel, asked.ties, n_tags=asked.n_tags, limit=64))
    if asked.heard is not None:
        found.append(asked.heard.propose(asked, limit=12))
    question = np.concatenate([f[0] for f in found])
    tag = np.concatenate([f[1] for f in found])
    if config.only_vocabulary:
        known = tag < len(asked.knowledge.vocabulary)
        question, tag = question[known], tag[known]
    pairs = Pairs.of(question, tag, n_questions=len(asked), n_tags=asked.n_tags)
    people = asked.view.people_with(pairs.tag, asked.tick[pairs.question])
    every = people + asked.at_prior(asked.knowledge.prior.people, pairs.tag)
    kept = asked.own_pairs.find(pairs.question, pairs.tag) < len(asked.own_pairs)
    kept |= _is_public(asked, pairs, every, least_people=config.least_people)
    # The calendar's tags come from a reviewed table and are nobody's secret.
    kept |= is_among(pairs.tag, distinct(asked.season[1]))
    if asked.heard is not None:
        kept |= asked.heard.of_pairs(asked, pairs)
    n_own = np.bincount(asked.proposed[0][0], minlength=len(asked))
    limit = config.max_candidates + np.maximum(n_own - config.own_candidates, 0)
    return pairs.some(kept), people[kept], limit


def _is_public(asked: Asked, pairs: Pairs, people: Doubles, *, least_people: int) -> Bools:
    """Which tags may be offered to people who never used them, `[P]`.

    What the model knows, and what several of the `people [P]` who used it have a name: three posts
    of nobody may all be of one person.
    """
    public = asked.at_prior(asked.knowledge.covers, pairs.tag) > 0
    at = np.flatnonzero(~public & (people >= least_people))
    tag = pairs.tag[at]
    named = asked.view.named_with(tag, asked.tick[pairs.question[at]])
    public[at] = named + asked.at_prior(asked.knowledge.prior.people, tag) >= least_people
    return public


def _cut(asked: Asked, pairs: Pairs, people: Ints, limit: Ints) -> tuple[Pairs, Ints, Ints]:
    """Keep the strongest pairs of each question by what is quickly known of them.

    Returns:
        The pairs, their people, and the place of each among its question's candidates.
    """
    (asked.own_share,) = asked.own_memory.totals(pairs, [own_kernel(asked.own_memory)])
    (asked.near_share,) = asked.near.totals(pairs, [near_kernel(asked.near)])
    every = people + asked.at_prior(asked.knowledge.prior.people, pairs.tag)
    asked.first = (
        0.5 * np.minimum(1.0, asked.own_share)
        + 0.3 * asked.near_share
        + 0.2 * chance_at(asked, asked.looks, pairs)
        + 1e-4 * np.log1p(every)
    ).astype(np.float32)
    if asked.heard is not None:
        asked.first += HEARD * asked.heard.of_pairs(asked, pairs)
    count = np.bincount(pairs.question, minlength=len(asked))
    if (count > limit).any():
        kept = strongest(pairs.question, asked.first, asked.ties[pairs.tag], limit=limit, step=1e-5)
        kept = np.sort(kept)
        pairs, people = pairs.some(kept), people[kept]
        asked.own_share, asked.near_share = asked.own_share[kept], asked.near_share[kept]
        asked.first = asked.first[kept]
        count = np.bincount(pairs.question, minlength=len(asked))
    return pairs, people, np.arange(len(pairs)) - (np.cumsum(count) - count)[pairs.question]


def candidates(
    model: Model, view: Evidence, questions: Questions, *, sources: Sources | None = None
) -> Candidates:
    """Find the candidates of one block of questions and their features.

    Args:
        model: Fitted parts and prior.
        view: The past.
        questions: A block, in any order.
        sources: Which sources may speak; all by default.

    Returns:
        Candidates in no particular order. A question without any evidence (no photo, no history,
        nothing popular) has none.

    Raises:
        ShapeError: There is no question.
    """
    return described(model, read(model, view, questions, sources))


def described(model: Model, asked: Asked) -> Candidates:
    """The candidates of questions for which the past was read."""
    if not len(asked):
        raise ShapeError("no questions to answer")
    pairs, people, limit = propose(asked, model.config)
    pairs, people, place = _cut(asked, pairs, people, limit)
    asked.pairs, n = pairs, int(limit.max())
    asked.facts(pairs, people=people)
    features = np.zeros((len(asked), n, len(FEATURES)), np.float32)
    features[pairs.question, place] = FEATURES.compute(asked, pairs)
    tag = np.full((len(asked), n), -1, np.int64)
    tag[pairs.question, place] = pairs.tag
    own, near = asked.own_memory, asked.near
    return Candidates(
        tag=tag,
        filled=tag >= 0,
        features=features,
        context=context(asked),
        own_keys=own.keys,
        own_filled=own.filled,
        own_member=own.member(pairs, place, n),
        near_keys=near.keys,
        near_filled=near.filled,
        near_member=near.member(pairs, place, n),
        own_rows=own.rows,
        near_rows=near.rows,
    )


def best_places(weights: Weights, found: Candidates, *, k: int, ties: Ints) -> tuple[Ints, Floats]:
    """The best candidates by the network.

    Args:
        weights: The network with its calibration.
        found: Candidates of B questions.
        k: How many.
        ties: Decides between tags of equal score, by tag id.

    Returns:
        Places among the candidates `[B, k]`, padding last, and their probabilities `[B, k]`.
    """
    score = scores(weights, found.inputs)
    prob, later = timely(found, calibrated(weights, score, found.filled, found.context))
    tie = ties[np.maximum(found.tag, 0)] if len(ties) else np.zeros(found.tag.shape, np.int64)
    keys = [tie, -np.where(found.filled, score, -np.inf)]
    if later.any():
        keys.append(np.where(later[:, None], -np.where(found.filled, prob, -1.0), 0.0))
    order = np.lexsort(keys, axis=1)[:, :k]
    return order, np.take_along_axis(prob, order, axis=1)


def as_served(
    found: Candidates, is_alone: Bools | bool = False, *, is_new: Bools | bool = False
) -> Candidates:
    """Silence the store's trend about strangers' photos, as questions are served and measured.

    There the network's trend takes more from pixels than it gives (docs/log.md); the calendar
    (`timely`) and bursts (`bursts.py`) speak by counting. Training goes on with all sources.

    Args:
        found: Candidates of B questions.
        is_alone: Which of them come from a store that holds mostly their person's own posts, as
            in training, where its trend stays, `[B]`.
        is_new: Which photos are as a stranger's to what their people posted, `[B]`.
    """
    context = found.context.copy()
    pixels, history = (context[:, CONTEXT_NAMES.index(f"{one}_on")] for one in SOURCES[:2])
    is_quiet = (pixels > 0) & ((history == 0) | is_new) & np.logical_not(is_alone)
    context[is_quiet, _TREND_ON] = 0.0
    return replace(found, context=context)


def timely(found: Candidates, prob: Floats) -> tuple[Floats, Bools]:
    """Move chances by the time of the year and the weekday where the network hears no trend.

    The log odds `[B, C]` rise or fall by a share of the calendar's log lifts: photos tell of the
    season as well, so not by all of them.

    Returns:
        Chances `[B, C]`, and which questions have others than before, `[B]`.
    """
    lift = found.features[:, :, _LIFTS].sum(axis=-1) * found.filled
    lift *= found.context[:, _TREND_ON, None] == 0.0
    moved = lift.any(axis=1)
    if not moved.any():
        return prob, moved
    return moved_by(prob, CALENDAR_SHARE * lift), moved


def moved_by(prob: Floats, lift: Floats) -> Floats:
    """Chances whose log odds are moved by a lift, both of any shape."""
    odds = prob / np.maximum(1.0 - prob, 1e-6) * np.exp(lift)
    return np.where(lift != 0.0, odds / (1.0 + odds), prob).astype(np.float32)


def best_of(model: Model, found: Candidates, *, k: int, ties: Ints) -> tuple[Ints, Floats]:
    """Tags `[B, k]` of the best candidates, -1 in the padding, and probabilities `[B, k]`."""
    order, prob = best_places(model.weights, found, k=k, ties=ties)
    return np.take_along_axis(found.tag, order, axis=1), prob


def rank(
    model: Model,
    view: Evidence,
    questions: Questions,
    *,
    k: int = 200,
    sources: Sources | None = None,
    engine: Engine = LOCAL,
    on_progress: OnProgress | None = None,
) -> Rankings:
    """Rank the candidates of questions by their calibrated chance.

    Args:
        model: With weights.
        view: The past.
        questions: In any order, without typed histories: tags that nobody used have no id here.
        k: Ranks kept.
        sources: Which sources may speak.
        engine: What runs parts of many questions side by side.
        on_progress: Called with questions done and their number.

    Returns:
        Rankings whose rows are positions among the questions.

    Raises:
        ShapeError: A question has a typed history.
    """
    if any(questions.history):
        raise ShapeError("rankings hold tags by id, which typed tags have none of")
    keep = min(k, model.config.max_candidates)
    n_tags = view.n_tags
    tag_ids = np.full((len(questions), keep), n_tags, np.int64)
    probs = np.zeros((len(questions), keep), np.float32)
    ties = view.names.ties()

    def best(found: Candidates) -> Arrays:
        tags, chances = best_of(model, as_served(found), k=keep, ties=ties)
        return {"tags": tags, "chances": chances}

    for index, found in replay(
        model, view, questions, then=best, name=f"best {keep}", sources=sources, engine=engine,
        on_progress=on_progress,
    ):  # fmt: skip
        tags = found["tags"]
        tag_ids[index, : tags.shape[1]] = np.where((tags < 0) | (tags >= n_tags), n_tags, tags)
        probs[index, : tags.shape[1]] = found["chances"]
    return Rankings(np.arange(len(questions)), tag_ids, probs, view.tags[:n_tags])


def block_size(view: Evidence) -> int:
    """How many questions are read together."""
    return max(1, min(BLOCK, MAX_CELLS // max(view.n_tags, len(view.vectors), 1)))


def replay(
    model: Model,
    view: Evidence,
    questions: Questions,
    *,
    then: Callable[[Candidates], Arrays],
    name: str = "",
    sources: Sources | None = None,
    engine: Engine = LOCAL,
    on_progress: OnProgress | None = None,
) -> Iterator[tuple[Ints, Arrays]]:
    """Find the candidates of questions in blocks, in time order; of many in parts side by side.

    Small matrix products gain nothing from threads, so each runs on one. A question sees only
    what lies before it, so it does not matter which part is asked first, or where.

    Args:
        model: Fitted parts and prior.
        view: The past, the questions' own posts included: each sees only what lies before it.
        questions: In any order.
        then: What to do with a block, where the block is.
        name: Of `then`, for an engine that shares results.
        sources: Which sources may speak.
        engine: What runs the parts, where there is more than one.
        on_progress: Called with questions done and their number.

    Yields:
        Positions among the questions and the result.
    """
    order, size = np.argsort(questions.at, kind="stable"), block_size(view)
    n_parts = min(MOST_PARTS, len(questions) // LEAST_PART)
    parts = np.array_split(order, max(n_parts, 1))

    def answered(index: Ints) -> Arrays:
        limit_blas()
        return then(candidates(model, view, questions.take(index), sources=sources))

    def answered_part(number: int) -> Arrays:
        """The results of the part's blocks, the number of the block before each name."""
        found = enumerate(answered(index) for index in blocks_of(parts[number], size))
        return {f"{i} {name}": array for i, block in found for name, array in block.items()}

    done = 0
    if len(parts) == 1:
        found = ((index, answered(index)) for index in blocks_of(order, size))
    else:
        key = partial(_digest, model, view, questions, (name, sources))
        whole = engine.map(answered_part, range(len(parts)), key=key, keep=None)
        found = (
            (index, _block(i, one))
            for part, one in zip(parts, whole, strict=True)
            for i, index in enumerate(blocks_of(part, size))
        )
    for index, result in found:
        done += len(index)
        yield index, result
        if on_progress is not None:
            on_progress(done, len(questions))


def _block(number: int, part: Arrays) -> Arrays:
    names = {name: name.partition(" ") for name in part}
    return {what: part[name] for name, (i, _, what) in names.items() if i == str(number)}


def blocks_of(order: Ints, size: int) -> Iterator[Ints]:
    """Cut positions into blocks."""
    return (order[start : start + size] for start in range(0, len(order), size))


def _digest(model: Model, view: Evidence, questions: Questions, asked: object) -> str:
    """Name what is replayed: everything that the answers depend on and that training changes."""
    head, prior = model.knowledge.head, model.knowledge.prior.view
    named = (asked, model.config, questions.accepted, view.tags[: view.n_tags])
    found = hashlib.sha256(repr(named).encode())
    every = np.arange(len(view.tick))
    for array in (
        questions.at, questions.embeddings, questions.has_photo, view.tick, view.user,
        view.uses_of(every)[1], view.vectors, view.topics, head.tag_vectors, head.tag_bias,
        prior.vectors, prior.n_uses, *(model.weights[name] for name in sorted(model.weights)),
        *(() if questions.is_new is None else (questions.is_new,)),
    ):  # fmt: skip
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
