"""Where training ends and testing begins, and which part of a log a figure is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from pixtag.types import Bools, Ints, PostLog

Period = Literal["train", "validation", "test"]
BANDS = ("head", "torso", "tail", "new")
COLD_SHARE, N_FIRST = 0.2, 5  # of the people; posts of each that count
HEAD_SHARE, TORSO_SHARE = 0.5, 0.9  # of all uses in training, the most used tags first
FAMILIAR_COSINE = 0.5  # of a photo to one of its person's earlier ones, from which it is no news
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


def temporal_split(log: PostLog, *, use_all: bool = False) -> Split:
    """Split a log by count in time order.

    Of the n posts with a time, train holds 0 to floor(.7 n) - 1, validation up to floor(.8 n) - 1
    and test the rest; with `use_all` the first 90 %, the last 10 and nothing. Posts without a time
    belong to train. Periods of a tiny log may be empty.
    """
    n_timed = len(log) - log.n_untimed
    # In whole numbers: a product such as .7 * 10 may fall just below its integer in binary.
    train, valid = (n_timed * tenths // 10 for tenths in ((9, 10) if use_all else (7, 8)))
    return Split(log.n_untimed + train, log.n_untimed + valid, test_stop=len(log))


def cold_people(log: PostLog, *, seed: int = 0) -> Bools:
    """Draw the people whom the cold protocol holds out of training: a mask `[U]`."""
    order = np.random.default_rng(seed).permutation(len(log.users))
    return np.isin(np.arange(len(order)), order[: round(COLD_SHARE * len(order))])


@dataclass(frozen=True)
class ColdView:
    """A log without cold people's posts before a period, its split, and `rows` that count."""

    log: PostLog
    split: Split
    rows: Ints


def cold_view(log: PostLog, split: Split, people: Bools, *, period: Period = "test") -> ColdView:
    """Hide all that cold people `[U]` posted before a period; their first posts in it count."""
    start, stop = split.bounds(period)
    is_cold = np.append(people, values=False)[log.user_of_post]
    hidden = is_cold & (np.arange(len(log)) < start)
    moved = np.concatenate([[0], np.cumsum(~hidden)])
    cut = Split(*(int(moved[b]) for b in (split.train_stop, split.valid_stop, split.test_stop)))
    inside = np.flatnonzero(is_cold)
    inside = inside[(inside >= start) & (inside < stop)]
    nth = occurrence(log.user_of_post[inside])
    return ColdView(log.select(~hidden), cut, moved[inside[nth < N_FIRST]].astype(np.int64))


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


def tag_bands(train_uses: Ints) -> Ints:
    """Sort tags by their uses in training: places in `BANDS`, `[T]`.

    The most used tags that make up half of all uses are the head, those up to 90 % the torso,
    the other used ones the tail. Equal counts may fall into neighbouring ones.
    """
    bands = np.full(len(train_uses), BANDS.index("new"), np.int64)
    order = np.argsort(-train_uses, kind="stable")
    used = order[train_uses[order] > 0]
    before = (np.cumsum(train_uses[used]) - train_uses[used]) / max(train_uses.sum(), 1)
    bands[used] = np.searchsorted([HEAD_SHARE, TORSO_SHARE], before, side="right")
    return bands


def posts_of_people(log: PostLog) -> dict[int, Ints]:
    """Positions of each person's timed posts, oldest first, by index of the person."""
    timed = np.arange(log.n_untimed, len(log))
    rows = timed[np.argsort(log.user_of_post[timed], kind="stable")]
    people, first = np.unique(log.user_of_post[rows], return_index=True)
    parts = np.split(rows, first[1:])
    return {u: p for u, p in zip(people.tolist(), parts, strict=True) if u < len(log.users)}


def posts_of_tags(log: PostLog, stop: int | None = None) -> list[Ints]:
    """Positions of the posts with each tag, ascending, of those before `stop`."""
    tag_ids = log.tag_ids[: None if stop is None else log.tag_start[stop]]
    post = log.post_of_use[: len(tag_ids)]
    order = np.argsort(tag_ids, kind="stable")
    start = np.searchsorted(tag_ids[order], np.arange(1, len(log.tags)))
    return np.split(post[order], start)


def subject_novelty(log: PostLog, asked: Ints) -> Ints:
    """Tell which posts are on something that their person never posted, by photos and tags.

    New: the photo's cosine to every earlier photo of the person lies below `FAMILIAR_COSINE` and
    they used none of its tags before. With the shipped encoder half of a person's posts that share
    a tag with an earlier one have a cosine above .6.

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
            is_far = (looks[: n_earlier[place]] @ looks[place]).max() < FAMILIAR_COSINE
            novelty[row] = is_far and all(first_used[t] >= log.at[row] for t in log.tags_of(row))
    return novelty[asked]
