"""Reference method on what goes together: tags that share posts with the person's last ones."""

from __future__ import annotations

import numpy as np

from pixtag.baselines.past import (
    Ranker,
    as_rankings,
    fill_up,
    popular_rows,
    posts_before,
    put_best,
)
from pixtag.types import Doubles, Ints, PostLog, Rankings


def co_occurrence(n_posts: int = 3, *, own_share: float = 1.0) -> Ranker:
    """Rank tags by how often they stand beside the tags of the person's last posts.

    Given are the tags of the person's last posts, each counted as often as it was used there.
    A tag's score is the sum over the given ones of the share of their posts, by anyone before the
    query, that carry it too (Sigurbjörnsson and van Zwol 2008, "sum"). A given tag always stands
    beside itself. The rest, and people without a past, get the most popular tags.

    Args:
        n_posts: How many last posts give tags.
        own_share: What a given tag's company with itself counts; 0 suggests other tags first.
    """

    def rank(log: PostLog, start: int, stop: int, k: int) -> Rankings:
        ranked = np.full((stop - start, k), len(log.tags), np.int64)
        popular = popular_rows(log, start, stop, k)
        company, own = _Company(log), _OwnPosts(log)
        for i, before in enumerate(posts_before(log, start, stop).tolist()):
            last = own.before(int(log.user_of_post[start + i]), before)[-n_posts:]
            given, weight = np.unique(company.tags_of(last), return_counts=True)
            ids, scores = company.of(given, weight, before, own_share)
            put_best(ranked[i], ids, scores)
            fill_up(ranked[i], popular[i], len(log.tags))
        return as_rankings(log, start, ranked)

    return rank


class _OwnPosts:
    """The timed posts of each person, oldest first."""

    def __init__(self, log: PostLog) -> None:
        timed = np.arange(log.n_untimed, len(log))
        self._rows = timed[np.argsort(log.user_of_post[timed], kind="stable")]
        users = np.arange(len(log.users) + 1)
        self._start = np.searchsorted(log.user_of_post[self._rows], users)

    def before(self, user: int, stop: int) -> Ints:
        """Those at positions below `stop`; none of nobody."""
        if user + 1 >= len(self._start):
            return np.zeros(0, np.int64)
        mine = self._rows[self._start[user] : self._start[user + 1]]
        return mine[: np.searchsorted(mine, stop)]


class _Company:
    """Which tags stand beside which."""

    def __init__(self, log: PostLog) -> None:
        self._log = log
        row = np.repeat(np.arange(len(log)), np.diff(log.tag_start))
        order = np.argsort(log.tag_ids, kind="stable")
        self._rows = row[order]
        self._start = np.searchsorted(log.tag_ids[order], np.arange(len(log.tags) + 1))

    def tags_of(self, rows: Ints) -> Ints:
        """The tag uses of some posts, one after the other."""
        log = self._log
        lengths = np.diff(log.tag_start)[rows]
        ends = np.cumsum(lengths)
        within = np.arange(int(lengths.sum())) - np.repeat(ends - lengths, lengths)
        return log.tag_ids[np.repeat(log.tag_start[:-1][rows], lengths) + within]

    def of(self, given: Ints, weight: Ints, before: int, own_share: float) -> tuple[Ints, Doubles]:
        """Tags beside the given ones in posts at positions below `before`, with scores above 0."""
        total = np.zeros(len(self._log.tags))
        for tag, n in zip(given.tolist(), weight.tolist(), strict=True):
            posts = self._rows[self._start[tag] : self._start[tag + 1]]
            posts = posts[: np.searchsorted(posts, before)]
            beside = np.bincount(self.tags_of(posts), minlength=len(total)).astype(np.float64)
            beside[tag] *= own_share
            total += n * beside / len(posts)
        ids = np.flatnonzero(total)
        return ids, total[ids]
