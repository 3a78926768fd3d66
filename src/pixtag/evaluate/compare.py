"""Comparing methods: each ranks every tag for every post of a period, in time order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from pixtag.errors import InputError
from pixtag.evaluate.baselines import (
    DAY_S,
    WEEK_S,
    base_level,
    co_occurrence,
    image_neighbours,
    linear_probe,
    most_recent,
    most_used,
    popularity,
    popularity_of_others,
    popularity_within,
    random_tags,
)
from pixtag.evaluate.metrics import Bootstrap, find_hits, per_post
from pixtag.evaluate.past import Ranker
from pixtag.splits import Period, Split
from pixtag.types import Bools, Doubles, Ints, PostLog, Rankings

RANKS = 200
"""Ranks that count for MRR; a first hit further down counts as none."""

RANKS_KEPT = 50
"""Ranks that are kept of all methods but the first, once they are scored."""

MOST_CHOSEN_ON = 5_000
"""Settings are chosen on at most so many posts: the last ones before the period."""

DECAYS = (0.5, 1.0, 1.7)
POPULARITY_SHARES = (0.5, 0.25, 0.1, 0.05)
NEIGHBOURS = (40, 20, 80, 160, 320)
PROBE_EPOCHS = (5, 3, 8)
LAST_POSTS = (3, 1, 10)
OWN_SHARES = (1.0, 0.5, 0.0)
"""What is tried on validation; the first stands where there is nothing to choose on."""

Setting = TypeVar("Setting")
OnProgress = Callable[[int, int, str], None]
"""Called with methods done, methods in all, and the name of the next."""


@dataclass(frozen=True)
class Scored:
    """One method over one set of posts.

    Attributes:
        rankings: Its suggestions, `[B, K]`.
        hits: Which of them were used, `[B, K]`.
        values: Metric name to values, `[B]`.
    """

    rankings: Rankings
    hits: Bools
    values: dict[str, Doubles]

    @property
    def has_probs(self) -> bool:
        """Whether the method claims probabilities."""
        return bool(self.rankings.probs.any())

    def list_of(self, place: int, k: int) -> tuple[list[str], list[float]]:
        """The first k suggestions for a post, and their probabilities."""
        tags, ids = self.rankings.tags, self.rankings.tag_ids[place, :k]
        filled = ids < len(tags)
        probs = self.rankings.probs[place, :k][filled].astype(float).tolist()
        return [tags[t] for t in ids[filled]], probs

    def select(self, mask: Bools) -> Scored:
        """Keep only some of the posts."""
        r = self.rankings
        return Scored(
            replace(r, rows=r.rows[mask], tag_ids=r.tag_ids[mask], probs=r.probs[mask]),
            self.hits[mask],
            {name: v[mask] for name, v in self.values.items()},
        )


@dataclass(frozen=True)
class Comparison:
    """Several methods over the same posts.

    Attributes:
        log: The log that `rows` point into.
        rows: The posts that count, `[B]`: those with tags.
        n_relevant: Tags of each, `[B]`.
        methods: By name; the first is the one that the others are compared with.
        bootstrap: The draw of people that all intervals share.
    """

    log: PostLog
    rows: Ints
    n_relevant: Ints
    methods: dict[str, Scored]
    bootstrap: Bootstrap

    def select(self, mask: Bools) -> Comparison:
        """Keep only some of the posts."""
        rows = self.rows[mask]
        return Comparison(
            self.log,
            rows,
            self.n_relevant[mask],
            {name: scored.select(mask) for name, scored in self.methods.items()},
            Bootstrap(people_of(self.log, rows)),
        )


def compare(
    log: PostLog,
    start: int,
    stop: int,
    rankers: Mapping[str, Ranker],
    *,
    only: Ints | None = None,
    on_progress: OnProgress | None = None,
    n_done: int = 0,
    n_all: int | None = None,
) -> Comparison:
    """Rank the posts `start..stop - 1` with every method and score the lists.

    Args:
        log: The whole log.
        start: First post of the period.
        stop: The one after its last.
        rankers: Methods by name.
        only: Positions of the posts that count, ascending; all are replayed.
        on_progress: Told which method is next.
        n_done: Methods that were done before these.
        n_all: Methods in all.

    Raises:
        InputError: No post of the period counts.
    """
    rows = np.arange(start, stop) if only is None else only
    has_tags = np.diff(log.tag_start)[rows] > 0
    rows = rows[has_tags]
    if not len(rows):
        raise InputError(
            "no post with tags lies in the period that is measured",
            hint="import more posts, or choose another person",
        )
    methods: dict[str, Scored] = {}
    for done, (name, ranker) in enumerate(rankers.items()):
        if on_progress:
            on_progress(n_done + done, n_all or len(rankers), name)
        kept = RANKS_KEPT if done else RANKS
        methods[name] = _score(log, ranker(log, start, stop, RANKS), rows, kept)
    n_relevant = np.diff(log.tag_start)[rows]
    return Comparison(log, rows, n_relevant, methods, Bootstrap(people_of(log, rows)))


def _score(log: PostLog, ranked: Rankings, rows: Ints, n_kept: int) -> Scored:
    order = np.argsort(ranked.rows, kind="stable")
    place = order[np.searchsorted(ranked.rows, rows, sorter=order)]
    counted = replace(ranked, rows=rows, tag_ids=ranked.tag_ids[place], probs=ranked.probs[place])
    hits, n_relevant = find_hits(log, counted)
    kept = replace(
        counted, tag_ids=counted.tag_ids[:, :n_kept].copy(), probs=counted.probs[:, :n_kept].copy()
    )
    return Scored(kept, hits[:, :n_kept].copy(), per_post(hits, n_relevant))


def people_of(log: PostLog, rows: Ints) -> Ints:
    """Tell whose each post is; a post of nobody is a person of its own, `[B]`."""
    user = log.user_of_post[rows]
    return np.where(user < len(log.users), user, len(log.users) + np.arange(len(rows)))


def choose(log: PostLog, start: int, stop: int, tried: Mapping[Setting, Ranker]) -> Setting:
    """Choose a setting by P@5 + R@5 on the last posts of a period, at most `MOST_CHOSEN_ON`.

    The first wins ties, and stands where there is no post.
    """
    start = max(start, stop - MOST_CHOSEN_ON)
    if len(tried) < 2 or not (np.diff(log.tag_start)[start:stop] > 0).any():
        return next(iter(tried))
    by_name = {str(setting): ranker for setting, ranker in tried.items()}
    found = compare(log, start, stop, by_name)
    quality = [float((m.values["p@5"] + m.values["r@5"]).mean()) for m in found.methods.values()]
    return list(tried)[int(np.argmax(quality))]


def choosing_bounds(split: Split, period: Period) -> tuple[int, int]:
    """Where settings are chosen for a period: on as many posts before it as validation has."""
    start, stop = split.bounds("validation")
    return (start, stop) if period == "test" else (max(0, 2 * start - stop), start)


@dataclass(frozen=True)
class References:
    """The baselines by name, each at its best, and the settings that were chosen for it."""

    rankers: dict[str, Ranker] = field(default_factory=dict[str, Ranker])
    settings: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])

    def __or__(self, other: References) -> References:
        """Both."""
        return References(self.rankers | other.rankers, self.settings | other.settings)


def reference_methods(
    log: PostLog, split: Split, *, period: Period = "test", seed: int = 0
) -> References:
    """Make the baselines, each at its best before the period that is measured.

    What is fitted reads train, what is chosen reads validation (the end of train, when validation
    is measured). Those on pixels are left out when train holds no photo.
    """
    start, stop = choosing_bounds(split, period)

    def best(settings: Sequence[Setting], make: Callable[[Setting], Ranker]) -> Setting:
        return choose(log, start, stop, {setting: make(setting) for setting in settings})

    decay = best(DECAYS, base_level)
    share = best(POPULARITY_SHARES, lambda s: base_level(decay, popularity_share=s))
    n_posts = best(LAST_POSTS, co_occurrence)
    own_share = best(OWN_SHARES, lambda s: co_occurrence(n_posts, own_share=s))
    methods: dict[str, Ranker] = {
        "random": random_tags(seed=seed),
        "popularity": popularity,
        "popularity_day": popularity_within(DAY_S),
        "popularity_week": popularity_within(WEEK_S),
        "popularity_day_others": popularity_of_others(DAY_S),
        "popularity_week_others": popularity_of_others(WEEK_S),
        "most_used": most_used,
        "most_recent": most_recent,
        "base_level": base_level(decay),
        "base_level_popularity": base_level(decay, popularity_share=share),
        "co_occurrence": co_occurrence(n_posts, own_share=own_share),
    }
    settings: dict[str, dict[str, float]] = {
        "base_level": {"decay": decay},
        "base_level_popularity": {"decay": decay, "popularity_share": share},
        "co_occurrence": {"n_posts": n_posts, "own_share": own_share},
    }
    if log.has_photo[: split.train_stop].any():
        n = best(NEIGHBOURS, image_neighbours)
        # Fitted on what lies before the choice, then on all of train.
        epochs = best(PROBE_EPOCHS, lambda n: linear_probe(log, start, n_epochs=n, seed=seed))
        methods["image_neighbours"] = image_neighbours(n)
        methods["linear_probe"] = linear_probe(log, split.train_stop, n_epochs=epochs, seed=seed)
        settings["image_neighbours"] = {"n_neighbours": n}
        settings["linear_probe"] = {"n_epochs": epochs}
    return References(methods, settings)
