"""Point-in-time views: the door through which a researcher's own method enters.

A method is one function from what was known and a question to scores:

    >>> from pixtag.evaluate.past import Past, Query, pointwise
    >>> from pixtag.types import Post, PostLog
    >>> def latest_first(past: Past, query: Query) -> dict[str, float]:
    ...     # A later use of the same tag overwrites the earlier one.
    ...     return {tag: used_at for tag, used_at in past.uses(query.user)}
    >>> log = PostLog.of([
    ...     Post("a", "ana", 10.0, ("sea", "sun")),
    ...     Post("b", "ana", 20.0, ("sun",)),
    ...     Post("c", "ana", 30.0, ("snow",)),
    ... ])
    >>> rankings = pointwise(latest_first)(log, 2, 3, 10)
    >>> [log.tags[t] for t in rankings.tag_ids[0] if t < len(log.tags)]
    ['sun', 'sea']

`Past` shows only what was published before the time of the query, so such a method cannot leak.
The methods of `baselines` are written on arrays and keep to the same rule; the leak check runs over
them.

Shapes:
    B: posts ranked. K: ranks. T: tags. H: uses in a history. D: embedding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pixtag.errors import InputError
from pixtag.types import Doubles, Halfs, Ints, PostLog, Rankings

Ranker = Callable[[PostLog, int, int, int], Rankings]
"""Ranks posts `start..stop - 1` of a log, K tags each: `ranker(log, start, stop, k)`."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: which tags will this person's post of this time, with this photo, carry?"""

    at: float
    user: str | None
    embedding: Halfs | None


@dataclass(frozen=True, slots=True)
class PastPost:
    """A post that was public before the query."""

    at: float
    user: str | None
    tags: tuple[str, ...]
    embedding: Halfs | None


class Past:
    """Everything published before an instant; posts of this very instant are not past."""

    def __init__(self, log: PostLog, at: float, *, index: Uses | None = None) -> None:
        self._log = log
        self._at = at
        self._stop = int(np.searchsorted(log.at, at, side="left"))
        self._uses = index or Uses(log)

    def __len__(self) -> int:
        """How many posts are past."""
        return self._stop

    def uses(self, user: str | None) -> list[tuple[str, float]]:
        """Tag and time of each use by a person, oldest first; empty for a stranger."""
        number = self._uses.number.get(user) if user is not None else None
        if number is None:
            return []
        tag_ids, used_at = self._uses.of(number, before=self._at)
        return [(self._log.tags[t], at) for t, at in zip(tag_ids, used_at.tolist(), strict=True)]

    def posts(self, *, since: float = -np.inf) -> Iterator[PastPost]:
        """Posts of everyone from an instant on, oldest first."""
        for row in range(int(np.searchsorted(self._log.at, since, side="left")), self._stop):
            query = query_at(self._log, row)
            tags = tuple(self._log.tags_of(row))
            yield PastPost(query.at, query.user, tags, query.embedding)

    def counts(self, *, since: float = -np.inf) -> Counter[str]:
        """Uses of each tag by everyone from an instant on."""
        first = int(np.searchsorted(self._log.at, since, side="left"))
        begin, end = self._log.tag_start[min(first, self._stop)], self._log.tag_start[self._stop]
        ids, n = np.unique(self._log.tag_ids[begin:end], return_counts=True)
        return Counter({self._log.tags[t]: int(c) for t, c in zip(ids, n, strict=True)})

    def embeddings(self) -> Halfs:
        """Embeddings of the past posts, oldest first, `[len(past), D]`; zeros without a photo."""
        return self._log.embeddings[: self._stop]

    def tags_of(self, position: int) -> list[str]:
        """Tags of one past post, by its position in `embeddings()`; InputError for any other."""
        if not 0 <= position < self._stop:
            raise InputError(
                f"post {position} is not among the {self._stop} past posts",
                hint="a method may only look at what was published before its query",
            )
        return self._log.tags_of(position)


PointMethod = Callable[[Past, Query], Mapping[str, float]]
"""A method for one query at a time: scores of some tags, higher is likelier."""


def pointwise(method: PointMethod) -> Ranker:
    """Turn a function of one query into a ranker of many.

    Tags that it does not name, and those that nobody has ever used, are not ranked; equal scores
    are ranked by the order in which tags were first seen.
    """

    def rank(log: PostLog, start: int, stop: int, k: int) -> Rankings:
        index, uses = {tag: i for i, tag in enumerate(log.tags)}, Uses(log)
        ranked = unranked(log, start, stop, k)
        for row in range(start, stop):
            query = query_at(log, row)
            scores = method(Past(log, query.at, index=uses), query)
            known = [(index[tag], score) for tag, score in scores.items() if tag in index]
            ids = np.array([i for i, _ in known], np.int64)
            put_best(ranked[row - start], ids, np.array([s for _, s in known], np.float64))
        return as_rankings(log, start, ranked)

    return rank


def query_at(log: PostLog, row: int) -> Query:
    """Ask about the post at a position of the log."""
    number = int(log.user_of_post[row])
    return Query(
        at=float(log.at[row]),
        user=log.users[number] if number < len(log.users) else None,
        embedding=log.embeddings[row] if log.has_photo[row] else None,
    )


class Uses:
    """Every timed tag use of each person, in time order; `number` is the index of each person."""

    def __init__(self, log: PostLog) -> None:
        per_post = np.diff(log.tag_start)
        user, at = np.repeat(log.user_of_post, per_post), np.repeat(log.at, per_post)
        order = np.argsort(user, kind="stable")
        order = order[at[order] > -np.inf]
        self._tag_ids, self._at = log.tag_ids[order], at[order]
        self._start = np.searchsorted(user[order], np.arange(len(log.users) + 2))
        self._start[-1] = self._start[-2]  # nobody has no history
        pairs = user[order] * max(len(log.tags), 1) + self._tag_ids
        # Sorted once for everybody, since long histories are asked for time and again.
        self._local = np.unique(pairs, return_inverse=True)[1]
        self.number = {name: i for i, name in enumerate(log.users)}

    def of(self, user: int, *, before: float = np.inf) -> tuple[Ints, Doubles]:
        """Tags and times of a person's uses before an instant."""
        part = self._before(user, before)
        return self._tag_ids[part], self._at[part]

    def numbered(self, user: int, *, before: float) -> tuple[Ints, Ints, Doubles]:
        """Different tags `[n]`, ascending, and which of them and when each use was, `[H]`."""
        part = self._before(user, before)
        tag, local = self._tag_ids[part], self._local[part]
        if not len(local):
            return tag, local, self._at[part]
        local = local - local.min()
        ids = np.full(int(local.max()) + 1, -1, np.int64)
        ids[local] = tag
        return ids[ids >= 0], (np.cumsum(ids >= 0) - 1)[local], self._at[part]

    def _before(self, user: int, at: float) -> slice:
        begin, end = int(self._start[user]), int(self._start[user + 1])
        return slice(begin, begin + int(np.searchsorted(self._at[begin:end], at, side="left")))


def unranked(log: PostLog, start: int, stop: int, k: int) -> Ints:
    """Lists without a tag, `[B, K]`."""
    return np.full((stop - start, k), len(log.tags), np.int64)


def put_best(row: Ints, ids: Ints, scores: Doubles) -> None:
    """Write the best tags into a row of K, ties by first appearance."""
    k = len(row)
    if len(ids) > 4 * k:
        keep = scores >= np.partition(scores, len(ids) - k)[len(ids) - k]
        ids, scores = ids[keep], scores[keep]
    best = np.lexsort((ids, -scores))[:k]
    row[: len(best)] = ids[best]


def fill_up(row: Ints, more: Ints, n_tags: int) -> None:
    """Append tags that the row lacks, as far as there is room."""
    n = int((row < n_tags).sum())
    if n == len(row):
        return
    extra = more[~np.isin(more, row[:n])][: len(row) - n]
    row[n : n + len(extra)] = extra


def as_rankings(log: PostLog, start: int, ranked: Ints) -> Rankings:
    """Wrap ranked tags `[B, K]` of the posts from `start` on; no probabilities are claimed."""
    probs = np.zeros(ranked.shape, np.float32)
    return Rankings(np.arange(start, start + len(ranked)), ranked, probs, log.tags)


def posts_before(log: PostLog, start: int, stop: int) -> Ints:
    """How many posts lie before each post's instant, `[B]`."""
    return np.searchsorted(log.at, log.at[start:stop], side="left").astype(np.int64)


def totals_before(log: PostLog, start: int, stop: int) -> Iterator[tuple[int, Ints]]:
    """Number of uses before each post, and uses of each tag among them, `[T]`, counted along."""
    seen, totals = 0, np.zeros(len(log.tags), np.int64)
    for before in posts_before(log, start, stop):
        until = int(log.tag_start[before])
        if until - seen > len(totals):
            totals += np.bincount(log.tag_ids[seen:until], minlength=len(totals))
        else:
            np.add.at(totals, log.tag_ids[seen:until], 1)
        seen = until
        yield until, totals


def popular_rows(log: PostLog, start: int, stop: int, k: int) -> Ints:
    """Rank tags by all uses before each post, `[B, K]`."""
    n_tags, k_known = len(log.tags), min(k, len(log.tags))
    ranked = unranked(log, start, stop, k)
    if stop == start or not n_tags:
        return ranked
    stops = posts_before(log, start, stop)
    seen = int(log.tag_start[stops[0]])
    counts = np.bincount(log.tag_ids[:seen], minlength=n_tags)
    final = np.bincount(log.tag_ids[: log.tag_start[stops[-1]]], minlength=n_tags)
    # Counts only grow, so whatever enters the first k later ends at least at today's k-th.
    kth = np.partition(counts, n_tags - k_known)[n_tags - k_known]
    pool = np.flatnonzero((final >= kth) & (final > 0))
    place = np.full(n_tags, len(pool), np.int64)
    place[pool] = np.arange(len(pool))
    pooled = np.append(counts[pool], 0)
    last = -1
    for row, before in enumerate(stops):
        until = int(log.tag_start[before])
        if until == last:
            ranked[row] = ranked[row - 1]
            continue
        np.add.at(pooled, place[log.tag_ids[seen:until]], 1)
        seen = last = until
        used = np.flatnonzero(pooled[:-1])
        put_best(ranked[row], pool[used], pooled[used].astype(np.float64))
    return ranked


def uses_in(log: PostLog, rows: Ints) -> Ints:
    """The tag uses of some posts, one after the other."""
    lengths = log.tag_start[rows + 1] - log.tag_start[rows]
    shift = log.tag_start[rows] - (np.cumsum(lengths) - lengths)
    return log.tag_ids[np.arange(int(lengths.sum())) + np.repeat(shift, lengths)]
