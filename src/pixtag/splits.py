"""Where training ends and testing begins, and which part of a log a figure is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from pixtag.errors import InputError
from pixtag.types import Bools, Ints, PostLog

Period = Literal["train", "validation", "test"]
BANDS = ("head", "torso", "tail", "new")
HISTORY_SEGMENTS = (("0", 0, 0), ("1-4", 1, 4), ("5-19", 5, 19), ("20+", 20, None))


@dataclass(frozen=True, slots=True)
class Split:
    """A temporal split: train is `0..train_stop - 1`, untimed posts included, and so on."""

    train_stop: int
    valid_stop: int
    test_stop: int

    def bounds(self, period: Period) -> tuple[int, int]:
        """First position of a period and the one after its last."""
        stops = (0, self.train_stop, self.valid_stop, self.test_stop)
        place = get_args(Period).index(period)
        return stops[place], stops[place + 1]


def temporal_split(log: PostLog, *, train: float = 0.7, valid: float = 0.8) -> Split:
    """Split a log by count in time order; InputError for shares that are not in order.

    Of the n posts with a time, train holds 0 to floor(train n) - 1, validation up to
    floor(valid n) - 1 and test the rest. Posts without a time belong to train. Periods of a tiny
    log may be empty.
    """
    if not 0 < train <= valid <= 1:
        what = f"the split {train}, {valid} is not in order"
        raise InputError(what, hint="use 0 < train <= valid <= 1")
    untimed, n_timed = log.n_untimed, len(log) - log.n_untimed
    # A product such as .7 * 10 may fall just below its integer in binary.
    stops = (untimed + int(share * n_timed + 1e-9) for share in (train, valid))
    return Split(*stops, test_stop=len(log))


def cold_people(log: PostLog, *, share: float = 0.2, seed: int = 0) -> Bools:
    """Draw the people whom the cold protocol holds out of training: a mask `[U]`."""
    order = np.random.default_rng(seed).permutation(len(log.users))
    return np.isin(np.arange(len(order)), order[: round(share * len(order))])


@dataclass(frozen=True)
class ColdView:
    """A log without cold people's posts before a period, its split, and `rows` that count."""

    log: PostLog
    split: Split
    rows: Ints


def cold_view(
    log: PostLog, split: Split, people: Bools, *, period: Period = "test", n_first: int = 5
) -> ColdView:
    """Hide all that cold people `[U]` posted before a period; their first posts in it count."""
    start, stop = split.bounds(period)
    is_cold = np.append(people, values=False)[log.user_of_post]
    hidden = is_cold & (np.arange(len(log)) < start)
    moved = np.concatenate([[0], np.cumsum(~hidden)])
    cut = Split(*(int(moved[b]) for b in (split.train_stop, split.valid_stop, split.test_stop)))
    inside = np.flatnonzero(is_cold)
    inside = inside[(inside >= start) & (inside < stop)]
    nth = occurrence(log.user_of_post[inside])
    return ColdView(log.select(~hidden), cut, moved[inside[nth < n_first]].astype(np.int64))


def uses_in(log: PostLog, rows: Ints) -> Ints:
    """The tag uses of some posts, one after the other, `[E]`."""
    lengths = log.tag_start[rows + 1] - log.tag_start[rows]
    shift = log.tag_start[rows] - (np.cumsum(lengths) - lengths)
    return log.tag_ids[np.arange(int(lengths.sum())) + np.repeat(shift, lengths)]


def people_of(log: PostLog, rows: Ints) -> Ints:
    """Tell whose each post is; a post of nobody is a person of its own, `[B]`."""
    return log.person_of_post[rows]


def occurrence(values: Ints) -> Ints:
    """Count how often each value appeared earlier in the array, `[N]`."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    nth = np.empty(len(values), np.int64)
    nth[order] = np.arange(len(values)) - np.searchsorted(ranked, ranked, side="left")
    return nth


def history_length(log: PostLog) -> Ints:
    """Count the earlier posts of each post's person, `[N]`; 0 without a time or person.

    Posts of the same instant are not earlier than each other.
    """
    length = np.zeros(len(log), np.int64)
    for rows in posts_of_people(log).values():
        length[rows] = np.searchsorted(log.at[rows], log.at[rows], side="left")
    return length


def is_repeated(log: PostLog) -> Bools:
    """Tell which posts carry exactly a tag set that their person used before, `[N]`.

    False for posts without a time, a person or tags.
    """
    repeated = np.zeros(len(log), np.bool_)
    for rows in posts_of_people(log).values():
        first_at: dict[frozenset[str], float] = {}
        for row in rows.tolist():
            tags, at = frozenset(log.tags_of(row)), float(log.at[row])
            repeated[row] = bool(tags) and first_at.setdefault(tags, at) < at
    return repeated


def tag_bands(train_uses: Ints, *, head_share: float = 0.5, torso_share: float = 0.9) -> Ints:
    """Sort tags by their uses in training: places in `BANDS`, `[T]`.

    The most used tags that make up half of all uses are the head, those up to 90 % the torso,
    the other used ones the tail. Equal counts may fall into neighbouring ones.
    """
    bands = np.full(len(train_uses), BANDS.index("new"), np.int64)
    order = np.argsort(-train_uses, kind="stable")
    used = order[train_uses[order] > 0]
    before = (np.cumsum(train_uses[used]) - train_uses[used]) / max(train_uses.sum(), 1)
    bands[used] = np.searchsorted([head_share, torso_share], before, side="right")
    return bands


def posts_of_people(log: PostLog) -> dict[int, Ints]:
    """Positions of each person's timed posts, oldest first, by index of the person."""
    timed = np.arange(log.n_untimed, len(log))
    rows = timed[np.argsort(log.user_of_post[timed], kind="stable")]
    people, first = np.unique(log.user_of_post[rows], return_index=True)
    parts = np.split(rows, first[1:])
    return {u: p for u, p in zip(people.tolist(), parts, strict=True) if u < len(log.users)}


def subject_novelty(log: PostLog, asked: Ints, *, max_cosine: float = 0.5) -> Ints:
    """Tell which posts are on something that their person never posted, by photos and tags.

    New: the photo's cosine to every earlier photo of the person lies below `max_cosine` and they
    used none of its tags before. With the shipped encoder half of a person's posts that share a
    tag with an earlier one have a cosine above .6.

    Gives `[B]` for the posts at positions `asked`: 1 for a new subject, 0 for a familiar one, -1
    where nothing can be told: without photo, person, time or earlier photo.
    """
    novelty = np.full(len(log), -1, np.int64)
    is_asked = np.isin(np.arange(len(log)), asked)
    for mine in posts_of_people(log).values():
        rows = mine[log.has_photo[mine]]
        if not is_asked[rows].any():
            continue
        looks = log.embeddings[rows].astype(np.float32)
        looks /= np.maximum(np.linalg.norm(looks, axis=1, keepdims=True), 1e-12)
        first_used: dict[str, float] = {}
        for row in mine.tolist():
            for tag in log.tags_of(row):
                first_used.setdefault(tag, float(log.at[row]))
        n_earlier = np.searchsorted(log.at[rows], log.at[rows], side="left")
        for place in np.flatnonzero(is_asked[rows] & (n_earlier > 0)).tolist():
            row = int(rows[place])
            is_far = (looks[: n_earlier[place]] @ looks[place]).max() < max_cosine
            novelty[row] = is_far and all(first_used[t] >= log.at[row] for t in log.tags_of(row))
    return novelty[asked]
