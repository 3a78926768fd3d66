"""Ranking metrics with trec_eval's definitions, their ceilings, intervals and calibration.

Every function works on the same two arrays: `hits` `[B, K]`, whether the tag at each rank was
used, and `n_relevant` `[B]`, how many tags the post has. A post without tags has no answer to
rank and must be left out first, as trec_eval leaves out queries without relevant documents.

Shapes:
    B: posts. K: ranks kept. M: metrics. U: clusters (people).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from pixtag.errors import InputError, ShapeError
from pixtag.types import Bools, Doubles, Floats, Ints, PostLog, Rankings

CUTOFFS = (1, 3, 5, 10)


def metric_names(cutoffs: tuple[int, ...] = CUTOFFS) -> list[str]:
    """Names of all metrics, in the order in which reports show them."""
    names = [f"{m}@{k}" for m in ("p", "r", "f1", "hit", "ndcg") for k in cutoffs]
    return [*names, "mrr", "r_precision"]


def find_hits(log: PostLog, rankings: Rankings) -> tuple[Bools, Ints]:
    """Mark the ranked tags that the posts carry: hits `[B, K]`, and tags of each post `[B]`."""
    n_tags = len(log.tags)
    if rankings.tags is log.tags:
        ranked = rankings.tag_ids
    else:
        index = {tag: i for i, tag in enumerate(log.tags)}
        # Padding and tags that the log never uses become n_tags, which nothing carries.
        moved = np.array([*(index.get(t, n_tags) for t in rankings.tags), n_tags], np.int64)
        ranked = moved[rankings.tag_ids]
    n_relevant = np.diff(log.tag_start)[rankings.rows]
    used = np.concatenate(
        [np.zeros(0, np.int64)]
        + [
            log.tag_ids[log.tag_start[row] : log.tag_start[row + 1]] + i * (n_tags + 1)
            for i, row in enumerate(rankings.rows)
        ]
    )
    keys = ranked + np.arange(len(rankings.rows))[:, None] * (n_tags + 1)
    hits = np.isin(keys, used) & (ranked < n_tags)
    return hits, n_relevant.astype(np.int64)


def per_post(
    hits: Bools, n_relevant: Ints, cutoffs: tuple[int, ...] = CUTOFFS
) -> dict[str, Doubles]:
    """Compute every metric for every post, `[B]` each.

    P@k divides by k even when fewer tags were ranked; R@k by the number of used tags; nDCG has
    binary gains and the discount log2(rank + 1) (Järvelin and Kekäläinen 2002); MRR is the
    reciprocal rank of the first hit among the K kept, else 0; R-precision is P at the number of
    used tags.

    Raises:
        ShapeError: The arrays differ in length.
        InputError: A post has no tags.
    """
    _check(hits, n_relevant)
    n_posts, n_ranks = hits.shape
    found = np.concatenate([np.zeros((n_posts, 1), np.int64), hits.cumsum(axis=1)], axis=1)
    discounts = 1 / np.log2(np.arange(max(n_ranks, *cutoffs)) + 2)
    gained = np.concatenate(
        [np.zeros((n_posts, 1)), (hits * discounts[:n_ranks]).cumsum(axis=1)], axis=1
    )
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    values: dict[str, Doubles] = {}
    for k in cutoffs:
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
    return {name: values[name] for name in metric_names(cutoffs)}


def ceilings(n_relevant: Ints, cutoffs: tuple[int, ...] = CUTOFFS) -> dict[str, Doubles]:
    """What a perfect ranking would score on each post: two tags give a P@5 of .4 at most."""
    width = max(int(n_relevant.max(initial=0)), *cutoffs)
    return per_post(np.arange(width) < n_relevant[:, None], n_relevant, cutoffs)


def _check(hits: Bools, n_relevant: Ints) -> None:
    if hits.ndim != 2 or hits.shape[0] != len(n_relevant):
        raise ShapeError(f"hits {hits.shape} and n_relevant {n_relevant.shape} do not fit together")
    if len(n_relevant) and n_relevant.min() < 1:
        raise InputError(
            f"post {int(n_relevant.argmin())} has no tags, so no ranking of it can be right",
            hint="leave out posts without tags",
        )


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


class Bootstrap:
    """Means and 95 % intervals by resampling whole people (Field and Welsh 2007).

    One draw serves every method and metric, so intervals of differences are paired. With a single
    person there is nothing to resample but posts.

    Args:
        cluster: The person of each post, any integers, `[B]`.
        seed: Decides the draw.
        n_resamples: How many draws.
    """

    def __init__(self, cluster: Ints, *, seed: int = 0, n_resamples: int = 1000) -> None:
        names, member = np.unique(cluster, return_inverse=True)
        self.n_posts, self.n_people = len(cluster), len(names)
        self.unit = "person" if len(names) > 1 else "post"
        if self.unit == "post":
            names, member = np.arange(len(cluster)), np.arange(len(cluster))
        self.n_clusters = len(names)
        self._member = member
        self._size = np.bincount(member, minlength=self.n_clusters).astype(np.float64)
        rng = np.random.default_rng(seed)
        self._weights: Doubles = (
            rng.multinomial(
                self.n_clusters, np.full(self.n_clusters, 1 / self.n_clusters), size=n_resamples
            ).astype(np.float64)
            if self.n_clusters
            else np.zeros((n_resamples, 0))
        )

    def over_posts(self, values: Doubles) -> Interval:
        """Average values `[B]` over posts: who posts much weighs much; NaN without posts."""
        if not len(values):
            return Interval(np.nan, np.nan, np.nan)
        sums = np.bincount(self._member, weights=values, minlength=self.n_clusters)
        draws = (self._weights @ sums) / (self._weights @ self._size)
        return _interval(float(values.mean()), draws)

    def over_people(self, values: Doubles) -> Interval:
        """Average values `[B]` within each person first, then over people; NaN without posts."""
        if not len(values):
            return Interval(np.nan, np.nan, np.nan)
        means = np.bincount(self._member, weights=values, minlength=self.n_clusters) / self._size
        return _interval(float(means.mean()), self._weights @ means / self.n_clusters)

    def ratio(self, numerator: Doubles, denominator: Doubles) -> Interval:
        """Average a ratio of sums over posts, such as recalled uses over uses.

        NaN when the denominator does not add up to more than 0; such draws do not count.
        """
        total = float(denominator.sum())
        if total <= 0:
            return Interval(np.nan, np.nan, np.nan)
        above, below = (
            self._weights @ np.bincount(self._member, weights=x, minlength=self.n_clusters)
            for x in (numerator, denominator)
        )
        valid = below > 0
        return _interval(float(numerator.sum()) / total, above[valid] / below[valid])


def _interval(mean: float, draws: Doubles) -> Interval:
    low, high = cast("tuple[float, float]", tuple(np.quantile(draws, [0.025, 0.975])))
    return Interval(mean, float(low), float(high))


@dataclass(frozen=True)
class Reliability:
    """How shown probabilities compare with what came true.

    Attributes:
        ece: Expected calibration error, 0 is perfect (Naeini et al. 2015); NaN without any.
        shown: Mean probability of each bin, `[bins]`.
        came_true: Share of hits in each bin, `[bins]`.
        n: Suggestions in each bin, `[bins]`; empty bins are left out.
    """

    ece: float
    shown: Doubles
    came_true: Doubles
    n: Ints


def reliability(probs: Floats, hits: Bools, *, n_bins: int = 15) -> Reliability:
    """Compare probabilities (any shape) with outcomes (same shape) in bins of equal width."""
    if probs.shape != hits.shape:
        raise ShapeError(f"probs {probs.shape} and hits {hits.shape} do not fit together")
    flat, came = probs.ravel().astype(np.float64), hits.ravel().astype(np.float64)
    if not len(flat):
        return Reliability(np.nan, np.zeros(0), np.zeros(0), np.zeros(0, np.int64))
    bins = np.minimum((flat * n_bins).astype(np.int64), n_bins - 1)
    n = np.bincount(bins, minlength=n_bins)
    used = n > 0
    shown = np.bincount(bins, weights=flat, minlength=n_bins)[used] / n[used]
    true = np.bincount(bins, weights=came, minlength=n_bins)[used] / n[used]
    return Reliability(
        float(np.average(np.abs(shown - true), weights=n[used])), shown, true, n[used]
    )
