"""Reference methods that look at people's tags alone: everyone's, or one person's."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

import numpy as np

from pixtag.baselines.past import (
    Ranker,
    Uses,
    as_rankings,
    fill_up,
    popular_rows,
    posts_before,
    put_best,
)
from pixtag.types import Doubles, Ints, PostLog, Rankings

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S


def random_tags(*, seed: int = 0) -> Ranker:
    """Rank the tags seen so far at random: the floor."""

    def rank(log: PostLog, start: int, stop: int, k: int) -> Rankings:
        ranked = np.full((stop - start, k), len(log.tags), np.int64)
        n_seen = np.maximum.accumulate(np.append(log.tag_ids, 0)) + 1
        for row, before in enumerate(posts_before(log, start, stop)):
            uses = int(log.tag_start[before])
            # Seeded by name: the position of a post depends on what else the log holds.
            name = log.post_ids[start + row].encode(errors="surrogatepass")
            rng = np.random.default_rng((seed, crc32(name)))
            n = int(n_seen[uses - 1]) if uses else 0
            ranked[row, : min(n, k)] = rng.choice(n, min(n, k), replace=False)
        return as_rankings(log, start, ranked)

    return rank


def popularity(log: PostLog, start: int, stop: int, k: int) -> Rankings:
    """Rank tags by all uses so far, the same list for everyone."""
    return as_rankings(log, start, popular_rows(log, start, stop, k))


def popularity_within(window_s: float) -> Ranker:
    """Rank tags by their uses in the last seconds, ties and the rest by all uses.

    Args:
        window_s: Length of the window, seconds.
    """

    def rank(log: PostLog, start: int, stop: int, k: int) -> Rankings:
        ranked = np.full((stop - start, k), len(log.tags), np.int64)
        popular = popular_rows(log, start, stop, k)
        stops = posts_before(log, start, stop)
        since = np.searchsorted(log.at, log.at[start:stop] - window_s, side="left")
        seen = int(log.tag_start[stops[0]]) if len(stops) else 0
        totals = np.bincount(log.tag_ids[:seen], minlength=len(log.tags))
        for row, (first, before) in enumerate(zip(since, stops, strict=True)):
            until = int(log.tag_start[before])
            np.add.at(totals, log.tag_ids[seen:until], 1)
            seen = until
            ids, n = np.unique(log.tag_ids[log.tag_start[first] : until], return_counts=True)
            put_best(ranked[row], ids, n + totals[ids] / (totals[ids] + 1.0) * 0.999)
            fill_up(ranked[row], popular[row], len(log.tags))
        return as_rankings(log, start, ranked)

    return rank


HistoryScore = Callable[[Ints, Doubles, int], Doubles]
"""Scores `[n]`, above 0, from a person's uses: local tag `[H]`, age in seconds `[H]`, n tags."""


def by_history(score: HistoryScore, *, popularity_share: float = 0.0) -> Ranker:
    """Rank a person's own tags by some score of their uses, then the most popular others.

    Args:
        score: From the uses, oldest first, to a score above 0 for each tag.
        popularity_share: Weight of a tag's share of everyone's uses, against its share of the
            summed scores; 0 ranks own tags first and lets popularity only fill up.
    """

    def rank(log: PostLog, start: int, stop: int, k: int) -> Rankings:
        ranked = np.full((stop - start, k), len(log.tags), np.int64)
        popular = popular_rows(log, start, stop, k)
        people = _People(log)
        stops = posts_before(log, start, stop)
        seen = int(log.tag_start[stops[0]]) if len(stops) else 0
        totals = np.bincount(log.tag_ids[:seen], minlength=len(log.tags))
        for row, before in enumerate(stops):
            user, at = int(log.user_of_post[start + row]), float(log.at[start + row])
            ids, local, age_s, n = people.before(user, at)
            scores = score(local, age_s, n)
            ids, scores = ids[scores > 0], scores[scores > 0]
            if popularity_share:
                until = int(log.tag_start[before])
                np.add.at(totals, log.tag_ids[seen:until], 1)
                seen = until
                own = (1 - popularity_share) * scores / max(scores.sum(), 1e-300)
                union = np.union1d(ids, popular[row][popular[row] < len(log.tags)])
                scores = popularity_share * totals[union] / max(until, 1)
                scores[np.searchsorted(union, ids)] += own
                ids = union
            put_best(ranked[row], ids, scores)
            fill_up(ranked[row], popular[row], len(log.tags))
        return as_rankings(log, start, ranked)

    return rank


class _People:
    """Uses of each person with their tags numbered for themselves, made when first asked for."""

    def __init__(self, log: PostLog) -> None:
        self._uses = Uses(log)
        self._n_users = len(log.users)
        self._known: dict[int, tuple[Ints, Ints, Doubles]] = {}

    def before(self, user: int, at: float) -> tuple[Ints, Ints, Doubles, int]:
        """Tags `[n]`, local tag `[H]` and age `[H]` of the uses before `at`, and n."""
        if user not in self._known:
            nobody = np.zeros(0, np.int64), np.zeros(0)
            tag_ids, used_at = self._uses.of(user) if user < self._n_users else nobody
            own, first, local = np.unique(tag_ids, return_index=True, return_inverse=True)
            # Numbered by first use, the tags used so far are the first n.
            order = np.argsort(first)
            rank = np.empty(len(order), np.int64)
            rank[order] = np.arange(len(order))
            self._known[user] = own[order], rank[local], used_at
        own, local, used_at = self._known[user]
        n_uses = int(np.searchsorted(used_at, at, side="left"))
        n = int(local[:n_uses].max(initial=-1)) + 1
        return own[:n], local[:n_uses], at - used_at[:n_uses], n


def most_used(log: PostLog, start: int, stop: int, k: int) -> Rankings:
    """Rank a person's tags by how often they used them, ties by the latest use."""

    def score(local: Ints, age_s: Doubles, n: int) -> Doubles:
        return _ordered(np.bincount(local, minlength=n), _latest(local, age_s, n))

    return by_history(score)(log, start, stop, k)


def most_recent(log: PostLog, start: int, stop: int, k: int) -> Rankings:
    """Rank a person's tags by when they last used them, ties by how often."""

    def score(local: Ints, age_s: Doubles, n: int) -> Doubles:
        return _ordered(_latest(local, age_s, n), np.bincount(local, minlength=n))

    return by_history(score)(log, start, stop, k)


def _latest(local: Ints, age_s: Doubles, n: int) -> Doubles:
    """Minus the age of the latest use of each tag; uses come oldest first."""
    latest = np.full(n, -np.inf)
    latest[local] = -age_s
    return latest


def _ordered(first: Ints | Doubles, second: Ints | Doubles) -> Doubles:
    """Ranks that order by `first`, ties by `second`; equal pairs share a rank; from 1."""
    order = np.lexsort((second, first))
    step = (np.diff(first[order]) != 0) | (np.diff(second[order]) != 0)
    ranks = np.empty(len(order))
    ranks[order] = np.concatenate([[1.0], 1 + np.cumsum(step)])[: len(order)]
    return ranks


def base_level(decay: float, *, popularity_share: float = 0.0) -> Ranker:
    """Rank a person's tags by base-level learning.

    The summed uses of a tag, each discounted by a power law of its age (Anderson and Schooler
    1991; Kowald et al. 2017, whose framework TagRec uses decay 1.7; 0.5 is the common default).

    Args:
        decay: Exponent of the power law, unitless.
        popularity_share: Weight of popularity in the blend; TagRec's BLL+MP has one half.
    """

    def score(local: Ints, age_s: Doubles, n: int) -> Doubles:
        return np.bincount(local, weights=age_s**-decay, minlength=n).astype(np.float64)

    return by_history(score, popularity_share=popularity_share)
