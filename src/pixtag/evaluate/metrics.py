"""Ranking metrics with trec_eval's definitions, 95 % intervals, and methods compared by them.

`hits` `[B, K]`: whether the tag at each rank was used; `n_relevant` `[B]`: how many tags the post
has. Posts without tags must be left out first, as trec_eval leaves out queries without relevant
documents.

Shapes:
    B: posts. K: ranks kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pixtag.errors import InputError, ShapeError
from pixtag.evaluate.past import Ranker
from pixtag.types import Bools, Doubles, Floats, Ints, PostLog, Rankings

CUTOFFS = (1, 3, 5, 10)
N_BINS = 15  # of probabilities that are held against what came true


def metric_names() -> list[str]:
    """Names of all metrics, in the order in which reports show them."""
    names = [f"{m}@{k}" for m in ("p", "r", "f1", "hit", "ndcg") for k in CUTOFFS]
    return [*names, "mrr", "r_precision"]


def numbered_as(log: PostLog, rankings: Rankings) -> Ints:
    """Ranked tags as the log numbers them, `[B, K]`; T for padding and tags that it never uses."""
    if rankings.tags is log.tags:
        return rankings.tag_ids
    index = {tag: i for i, tag in enumerate(log.tags)}
    moved = [*(index.get(t, len(log.tags)) for t in rankings.tags), len(log.tags)]
    return np.array(moved, np.int64)[rankings.tag_ids]


def find_hits(log: PostLog, rankings: Rankings) -> tuple[Bools, Ints]:
    """Mark the ranked tags that the posts carry: hits `[B, K]`, and tags of each post `[B]`."""
    n_tags, ranked, rows = len(log.tags), numbered_as(log, rankings), rankings.rows
    n_relevant = np.diff(log.tag_start)[rows]
    place = np.arange(len(rows)) * (n_tags + 1)
    used = log.uses_of(rows) + np.repeat(place, n_relevant)
    return np.isin(ranked + place[:, None], used), n_relevant.astype(np.int64)


def per_post(hits: Bools, n_relevant: Ints) -> dict[str, Doubles]:
    """Compute every metric for every post, `[B]` each.

    P@k divides by k even when fewer tags were ranked; R@k by the number of used tags; nDCG has
    binary gains and the discount log2(rank + 1) (Järvelin and Kekäläinen 2002); MRR is the
    reciprocal rank of the first hit among the K kept, else 0; R-precision is P at the number of
    used tags.

    Raises:
        ShapeError: The arrays differ in length.
        InputError: A post has no tags.
    """
    if hits.ndim != 2 or hits.shape[0] != len(n_relevant):
        raise ShapeError(f"hits {hits.shape} and n_relevant {n_relevant.shape} do not fit together")
    if len(n_relevant) and n_relevant.min() < 1:
        raise InputError(
            f"post {int(n_relevant.argmin())} has no tags, so no ranking of it can be right",
            hint="leave out posts without tags",
        )
    n_posts, n_ranks = hits.shape
    found = np.concatenate([np.zeros((n_posts, 1), np.int64), hits.cumsum(axis=1)], axis=1)
    discounts = 1 / np.log2(np.arange(max(n_ranks, *CUTOFFS)) + 2)
    gained = np.concatenate(
        [np.zeros((n_posts, 1)), (hits * discounts[:n_ranks]).cumsum(axis=1)], axis=1
    )
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    values: dict[str, Doubles] = {}
    for k in CUTOFFS:
        n_hits = found[:, min(k, n_ranks)]
        values[f"p@{k}"] = n_hits / k
        values[f"r@{k}"] = n_hits / n_relevant
        values[f"f1@{k}"] = 2 * n_hits / (k + n_relevant)
        values[f"hit@{k}"] = (n_hits > 0).astype(np.float64)
        values[f"ndcg@{k}"] = gained[:, min(k, n_ranks)] / ideal[np.minimum(k, n_relevant)]
    has_hit = found[:, -1] > 0
    first = hits.argmax(axis=1) if n_ranks else np.zeros(n_posts, np.int64)
    values["mrr"] = np.where(has_hit, 1 / (first + 1), 0.0)
    at_r = found[np.arange(n_posts), np.minimum(n_relevant, n_ranks)]
    values["r_precision"] = at_r / n_relevant
    return {name: values[name] for name in metric_names()}


def score_lists(
    lists: Mapping[str, Sequence[Sequence[str]]], relevant: Sequence[Collection[str]], k: int = 10
) -> dict[str, Mapping[str, Doubles]]:
    """Compute every metric, `[B]` each, of the first k tags that each method lists for B posts."""
    found: dict[str, Mapping[str, Doubles]] = {}
    for name, ranked in lists.items():
        hits = np.zeros((len(relevant), k), np.bool_)
        for row, (tags, wanted) in enumerate(zip(ranked, relevant, strict=True)):
            hits[row, : len(tags[:k])] = [tag in wanted for tag in tags[:k]]
        found[name] = per_post(hits, np.array([len(wanted) for wanted in relevant], np.int64))
    return found


def ceilings(n_relevant: Ints) -> dict[str, Doubles]:
    """What a perfect ranking would score on each post: two tags give a P@5 of .4 at most."""
    width = max(int(n_relevant.max(initial=0)), *CUTOFFS)
    return per_post(np.arange(width) < n_relevant[:, None], n_relevant)


class Interval(NamedTuple):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


class Bootstrap:
    """Means and 95 % intervals by resampling whole people (Field and Welsh 2007).

    One draw serves every method and metric, so intervals of differences are paired. `cluster` is
    the person of each post, `[B]`; of a single person posts are resampled.
    """

    def __init__(self, cluster: Ints, *, seed: int = 0, n_resamples: int = 1000) -> None:
        names, member = np.unique(cluster, return_inverse=True)
        self.n_posts, self.n_people = len(cluster), len(names)
        self.unit = "person" if len(names) > 1 else "post"
        if self.unit == "post":
            member = np.arange(len(cluster))
        self.n_clusters = n = int(member.max(initial=0)) + 1
        self._member = member
        self._size = np.bincount(member, minlength=n).astype(np.float64)
        drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_resamples)
        self._weights: Doubles = drawn.astype(np.float64)

    def _sums(self, values: Doubles) -> Doubles:
        sums = np.bincount(self._member, weights=values, minlength=self.n_clusters)
        return sums.astype(np.float64, copy=False)

    def over_posts(self, values: Doubles) -> Interval:
        """Average values `[B]` over posts: who posts much weighs much; NaN without posts."""
        return self.ratio(values, np.ones(len(values)))

    def over_people(self, values: Doubles) -> Interval:
        """Average values `[B]` within each person first, then over people; NaN without posts."""
        means = self._sums(values) / np.maximum(self._size, 1)
        return _interval(
            means.sum(), min(self.n_posts, self.n_clusters), self._weights @ means / self.n_clusters
        )

    def ratio(self, numerator: Doubles, denominator: Doubles) -> Interval:
        """Average a ratio of sums over posts, such as recalled uses over uses.

        NaN when the denominator does not add up to more than 0; such draws do not count.
        """
        above, below = (self._weights @ self._sums(x) for x in (numerator, denominator))
        valid = below > 0
        draws = above[valid] / below[valid]
        return _interval(float(numerator.sum()), float(denominator.sum()), draws)


def _interval(above: float, below: float, draws: Doubles) -> Interval:
    if below <= 0:
        return Interval(np.nan, np.nan, np.nan)
    low, high = np.quantile(draws, [0.025, 0.975]).tolist()
    return Interval(float(above) / below, low, high)


@dataclass(frozen=True)
class Reliability:
    """How shown probabilities compare with what came true, by bins that are not empty."""

    ece: float  # expected calibration error, 0 is perfect (Naeini et al. 2015); NaN without any
    shown: Doubles  # mean probability, [bins]
    came_true: Doubles  # share of hits, [bins]
    n: Ints  # suggestions, [bins]


def reliability(probs: Floats, hits: Bools) -> Reliability:
    """Compare probabilities (any shape) with outcomes (same shape) in bins of equal width."""
    if probs.shape != hits.shape:
        raise ShapeError(f"probs {probs.shape} and hits {hits.shape} do not fit together")
    flat, came = probs.ravel().astype(np.float64), hits.ravel().astype(np.float64)
    bins = np.minimum((flat * N_BINS).astype(np.int64), N_BINS - 1)
    n = np.bincount(bins, minlength=N_BINS)
    used = n > 0
    shown, true = (
        np.bincount(bins, weights=x, minlength=N_BINS)[used] / n[used] for x in (flat, came)
    )
    ece = float(np.average(np.abs(shown - true), weights=n[used])) if len(flat) else np.nan
    return Reliability(ece, shown, true, n[used])


# ------------------------------------------------------------------ methods side by side

RANKS, RANKS_KEPT = 200, 50
"""Ranks that count (a first hit further down is none for MRR); those kept of all methods but the
first, once they are scored."""

OnProgress = Callable[[int, int, str], None]
"""Called with methods done, methods in all, and the name of the next."""


@dataclass(frozen=True)
class Scored:
    """One method over B posts: K suggestions each, which were used `[B, K]`, metrics `[B]`."""

    rankings: Rankings
    hits: Bools
    values: dict[str, Doubles]

    @property
    def has_probs(self) -> bool:
        """Whether the method claims probabilities."""
        return bool(self.rankings.probs.any())

    def select(self, mask: Bools) -> Scored:
        """Keep only some of the posts."""
        values = {name: v[mask] for name, v in self.values.items()}
        return Scored(_taken(self.rankings, mask), self.hits[mask], values)


def _taken(r: Rankings, at: Bools | Ints, k: int | None = None) -> Rankings:
    return replace(r, rows=r.rows[at], tag_ids=r.tag_ids[at][:, :k], probs=r.probs[at][:, :k])


@dataclass(frozen=True)
class Comparison:
    """Several methods, the first held against the others, over the tagged posts `rows` of a log.

    All intervals share one draw of people.
    """

    log: PostLog
    rows: Ints
    methods: dict[str, Scored]
    bootstrap: Bootstrap

    @property
    def first(self) -> str:
        """The method that the others are compared with."""
        return next(iter(self.methods))

    @property
    def n_relevant(self) -> Ints:
        """Tags of each post, `[B]`."""
        return np.diff(self.log.tag_start)[self.rows]

    def select(self, mask: Bools) -> Comparison:
        """Keep only some of the posts."""
        methods = {name: scored.select(mask) for name, scored in self.methods.items()}
        rows = self.rows[mask]
        return Comparison(self.log, rows, methods, Bootstrap(self.log.person_of_post[rows]))


def compare(
    log: PostLog, start: int, stop: int, rankers: Mapping[str, Ranker], *,
    only: Ints | None = None, on_progress: OnProgress | None = None,
) -> Comparison:  # fmt: skip
    """Rank the posts `start..stop - 1` with every method and score the lists.

    All are replayed; only those at the positions `only`, ascending, count.

    Raises:
        InputError: No post of the period counts.
    """
    rows = np.arange(start, stop) if only is None else only
    rows = rows[np.diff(log.tag_start)[rows] > 0]
    if not len(rows):
        raise InputError(
            "no post with tags lies in the period that is measured",
            hint="import more posts, or choose another person",
        )
    methods: dict[str, Scored] = {}
    for done, (name, ranker) in enumerate(rankers.items()):
        if on_progress:
            on_progress(done, len(rankers), name)
        ranked = ranker(log, start, stop, RANKS)
        order = np.argsort(ranked.rows, kind="stable")
        counted = _taken(ranked, order[np.searchsorted(ranked.rows, rows, sorter=order)])
        hits, n_relevant = find_hits(log, counted)
        kept = RANKS_KEPT if done else RANKS
        methods[name] = Scored(
            _taken(counted, np.arange(len(rows)), kept), hits[:, :kept].copy(),
            per_post(hits, n_relevant),
        )  # fmt: skip
    return Comparison(log, rows, methods, Bootstrap(log.person_of_post[rows]))
