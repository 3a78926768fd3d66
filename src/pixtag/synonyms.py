"""Near-synonyms: tags that say the same, by how they are used and by the photos that carry them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pixtag.evidence import LAST_TICK, Evidence, is_first, numbered
from pixtag.signals import Asked
from pixtag.types import Bools, Floats, Ints, Smalls

LAST_POSTS, LAST_PHOTOS = 256, 32  # the last ones of a tag tell how it is used
LEAST_ALIKE, LEAST_COMPANY = 0.95, 0.85  # cosine of mean photos, and of what stands beside both
LEAST_APART = 0.9  # the latter for tags that hardly ever meet: #rose and #tulips have .88
MOSTLY, HARDLY_EVER = 0.5, 0.05  # share of the rarer one's posts with both: at least, or at most
LEAST_USES, SHRINK = 10, 3.0  # too little is known of rarer tags; posts a share is shrunk by

_NEVER = (None, False)


Beside = tuple[Ints, Smalls]
"""Tags on the last posts with one tag, itself too, and on how many of these posts each is."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How C tags are used: what near-synonyms are told by."""

    uses: Floats  # posts with each, [C]
    # Of the row's last posts those with the column's tag too, [C, C]; all of them on the diagonal.
    together: Floats
    # Cosine of what stands beside two tags, each other apart, [C, C]; 0 unless photos look alike.
    company: Floats

    @classmethod
    def of(
        cls, uses: Floats, tags: Ints, parts: Sequence[tuple[Ints, list[Beside]]], alike: Bools
    ) -> Usage:
        """Compare C distinct `tags`, by company where their photos look `alike`, `[C, C]`.

        Each of `parts` is what stands beside some of them, by place.
        """
        n = len(tags)
        row = np.repeat(
            np.concatenate([place for place, _ in parts]),
            [len(others) for _, of_each in parts for others, _ in of_each],
        )
        every = [beside for _, of_each in parts for beside in of_each]
        column, found = numbered(np.concatenate([tags, *(others for others, _ in every)]))
        mine, column = column[:n], column[n:]
        count = np.concatenate([np.zeros(0), *(count for _, count in every)])
        counts = np.bincount(row * len(found) + column, weights=count, minlength=n * len(found))
        counts = counts.reshape(n, len(found)).astype(np.float32)
        together = counts[:, mine]
        company, near = np.zeros((n, n), np.float32), np.flatnonzero(alike.any(axis=1))
        if len(near):
            # Cosine of the roots of how often others stand beside two tags, so that the squares are
            # the counts; neither tag is company of the pair itself: their posts together don't
            # count.
            counts, both = counts[near], np.ix_(near, near)
            counts[np.arange(len(near)), mine[near]] = 0.0
            total = np.maximum(counts.sum(axis=1)[:, None] - together[both], 1e-9)
            roots = np.sqrt(counts)
            company[both] = roots @ roots.T / np.sqrt(total * total.T) * alike[both]
        return cls(uses, together, company)


def same_meaning(asked: Asked, question: int, tags: Ints) -> Bools:
    """Which of C tags, -1 for unknown ones, say the same as of a question (`near_synonyms`)."""
    view, prior, tick = asked.view, asked.knowledge.prior, int(asked.tick[question])
    ours, theirs = _uses(asked, question, tags)
    often = np.flatnonzero(ours + theirs >= LEAST_USES)
    often = often[np.argsort(tags[often], kind="stable")]
    often = often[is_first(tags[often])]
    ids, ours = tags[often], ours[often]
    same = np.zeros((len(tags), len(tags)), np.bool_)
    if not len(ids):
        return same

    def read(place: Ints) -> list[tuple[object, Floats, dict[int, tuple[object, bool]]]]:
        sums = _photo_sums(view, ids[place], tick)
        sums[of_prior[place]] += prior.photo_sums[ids[place][of_prior[place]]]
        return [(object(), row.copy(), {}) for row in sums]

    # What was found for two tags holds while the posts of neither change, as each one's mark tells.
    of_prior = theirs[often] > 0
    kept = view.kept_of(f"same beside {prior.n_posts}", ids, ours, read)
    marks, sums, known = zip(*kept, strict=True)
    missing: list[tuple[int, int]] = []
    names, places = ids.tolist(), often.tolist()
    pairs = np.argwhere(look_alike(np.array(sums))).tolist()
    for i, j in [pair for pair in pairs if pair[0] < pair[1]]:
        mark, is_same = known[i].get(names[j], _NEVER)
        if mark is not marks[j]:
            missing.append((i, j))
        elif is_same:
            same[places[i], places[j]] = same[places[j], places[i]] = True
    if missing:
        place = sorted({i for pair in missing for i in pair})
        number = {i: n for n, i in enumerate(place)}
        found = near_synonyms(usage_of(asked, question, ids[place], np.array(sums)[place]))
        for i, j in missing:
            is_same = bool(found[number[i], number[j]])
            known[i][names[j]] = marks[j], is_same
            same[places[i], places[j]] = same[places[j], places[i]] = is_same
    return same


def usage_of(asked: Asked, question: int, tags: Ints, photos: Floats | None = None) -> Usage:
    """How distinct tags `[C]` were used before a question, in store and prior.

    Only tags whose `photos` look alike, if they are given, are compared by company.
    """
    ours, theirs = _uses(asked, question, tags)
    n, prior = len(tags), asked.knowledge.prior.view
    alike = np.zeros((n, n), np.bool_) if photos is None else look_alike(photos)
    read, also = np.flatnonzero(ours), np.flatnonzero(theirs)
    parts = [
        (read, _beside(asked.view, tags[read], ours[read], int(asked.tick[question]))),
        (also, _beside(prior, tags[also], theirs[also], LAST_TICK)),
    ]
    return Usage.of((ours + theirs).astype(np.float32), tags, parts, alike)


def _uses(asked: Asked, question: int, tags: Ints) -> tuple[Ints, Ints]:
    """Posts with each tag, -1 for unknown ones, in the store before a question and in the prior."""
    ours = asked.view.uses_with(tags, np.full(len(tags), asked.tick[question]))
    theirs = asked.at_prior(asked.knowledge.prior.uses, tags).astype(np.int64)
    known = tags >= 0
    return ours * known, theirs * known


def _photo_sums(view: Evidence, tags: Ints, tick: int) -> Floats:
    """Sum of the vectors of the last photos with each tag before a moment, `[C, J]`."""
    pair, row = view.last_photos(tags, np.full(len(tags), tick), limit=LAST_PHOTOS)
    sums = np.zeros((len(tags), view.vectors.shape[1]), np.float32)
    if len(pair):
        first = np.flatnonzero(is_first(pair))
        sums[pair[first]] = np.add.reduceat(view.vectors[row], first, axis=0)
    return sums


def _beside(view: Evidence, tags: Ints, uses: Ints, tick: int) -> list[Beside]:
    """Tags on the last posts with each tag before a moment, and on how many of them."""

    def read(place: Ints) -> list[Beside]:
        of, slot = view.carrying(tags[place], np.full(len(place), tick), limit=LAST_POSTS)
        post, tag = view.uses_of(slot)
        column, others = numbered(tag)
        counts = np.bincount(of[post] * len(others) + column, minlength=len(place) * len(others))
        counts = counts.reshape(len(place), len(others)).astype(np.int32)
        return [(others[row > 0], row[row > 0]) for row in counts]

    return view.kept_of("beside", tags, uses, read)


def look_alike(photos: Floats) -> Bools:
    """Which tags' mean photos point the same way; False on the diagonal, `[C, C]`."""
    unit = photos / np.maximum(np.linalg.norm(photos, axis=1, keepdims=True), 1e-9)
    found = unit @ unit.T >= LEAST_ALIKE
    np.fill_diagonal(found, val=False)
    return found


def near_synonyms(usage: Usage) -> Bools:
    """Which tags say the same thing, by their use alone and whatever their spelling, `[C, C]`.

    Their photos look the same, the same tags stand beside them, and either the rarer one mostly
    comes together with the other or the two hardly ever meet.
    """
    found = (usage.company >= LEAST_COMPANY) & (
        np.minimum(usage.uses[:, None], usage.uses) >= LEAST_USES
    )
    if not found.any():
        return found
    uses, share = usage.uses, usage.together / (usage.together.diagonal()[:, None] + SHRINK)
    rarer, equal = uses[:, None] < uses, uses[:, None] == uses
    share = np.where(rarer, share, np.where(equal, np.maximum(share, share.T), share.T))
    apart = (share <= HARDLY_EVER) & (usage.company >= LEAST_APART)
    return found & ((share >= MOSTLY) | apart)
