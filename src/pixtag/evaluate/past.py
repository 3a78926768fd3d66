"""Rankers from outside: a researcher's own method on a point-in-time view, and an oracle's file.

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
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from pixtag.errors import InputError
from pixtag.tags import normalise_tag
from pixtag.types import Doubles, Halfs, Ints, PostLog, Rankings

Ranker = Callable[[PostLog, int, int, int], Rankings]
"""Ranks posts `start..stop - 1` of a log, K tags each: `ranker(log, start, stop, k)`."""

ORACLE, N_ORACLE = "oracle", 10
_HINT = f'each line is {{"post_id": "...", "tags": [{N_ORACLE} tags, likeliest first]}}'


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: which tags will this person's post of this time, with this photo, carry?"""

    at: float
    user: str | None
    embedding: Halfs | None


@dataclass(frozen=True, slots=True)
class PastPost(Query):
    """A post that was public before the query."""

    tags: tuple[str, ...]


class Past:
    """Everything published before an instant; posts of this very instant are not past."""

    def __init__(self, log: PostLog, at: float, *, index: Uses | None = None) -> None:
        self._log, self._at = log, at
        self._stop = self._first_since(at)
        self._uses = index or Uses(log)

    def __len__(self) -> int:
        return self._stop

    def _first_since(self, at: float) -> int:
        return int(np.searchsorted(self._log.at, at, side="left"))

    def uses(self, user: str | None) -> list[tuple[str, float]]:
        """Tag and time of each use by a person, oldest first; empty for a stranger."""
        if user not in self._uses.number:
            return []
        tag_ids, used_at = self._uses.of(self._uses.number[user], before=self._at)
        return [(self._log.tags[t], at) for t, at in zip(tag_ids, used_at.tolist(), strict=True)]

    def posts(self, *, since: float = -np.inf) -> Iterator[PastPost]:
        """Posts of everyone from an instant on, oldest first."""
        for row in range(self._first_since(since), self._stop):
            query = query_at(self._log, row)
            tags = tuple(self._log.tags_of(row))
            yield PastPost(query.at, query.user, query.embedding, tags)

    def counts(self, *, since: float = -np.inf) -> Counter[str]:
        """Uses of each tag by everyone from an instant on."""
        first = min(self._first_since(since), self._stop)
        begin, end = self._log.tag_start[[first, self._stop]]
        return Counter(self._log.tags[t] for t in self._log.tag_ids[begin:end].tolist())

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


def pointwise(method: Callable[[Past, Query], Mapping[str, float]]) -> Ranker:
    """Turn a function from one query to scores of some tags, higher is likelier, into a ranker.

    Tags that it does not name, and those that nobody has ever used, are not ranked; equal scores
    are ranked by the order in which tags were first seen.
    """

    def each(log: PostLog, start: int, stop: int, k: int) -> Scores:
        index, uses = {tag: i for i, tag in enumerate(log.tags)}, Uses(log)
        for row in range(start, stop):
            query = query_at(log, row)
            scores = method(Past(log, query.at, index=uses), query)
            known = {index[tag]: score for tag, score in scores.items() if tag in index}
            yield np.array([*known], np.int64), np.array([*known.values()], np.float64)

    return ranker_of(each, fills_up=False)


def query_at(log: PostLog, row: int) -> Query:
    """Ask about the post at a position of the log."""
    user = [*log.users, None][int(log.user_of_post[row])]
    embedding = log.embeddings[row] if log.has_photo[row] else None
    return Query(float(log.at[row]), user, embedding)


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
        self.number: dict[str | None, int] = {name: i for i, name in enumerate(log.users)}

    def of(self, user: int, *, before: float) -> tuple[Ints, Doubles]:
        """Tags and times of a person's uses before an instant."""
        begin, end = int(self._start[user]), int(self._start[user + 1])
        stop = begin + int(np.searchsorted(self._at[begin:end], before, side="left"))
        return self._tag_ids[begin:stop], self._at[begin:stop]


# ------------------------------------------------------------------ rankings from scores

Scores = Iterator[tuple[Ints, Doubles]]
"""For each post the tags `[n]` that are scored and their scores `[n]`, higher is likelier."""


def ranker_of(each: Callable[[PostLog, int, int, int], Scores], *, fills_up: bool = True) -> Ranker:
    """Rank by scores, ties by first appearance; then, if wished, by popularity so far.

    No probabilities are claimed.
    """

    def rank(log: PostLog, start: int, stop: int, k: int) -> Rankings:
        n_tags = len(log.tags)
        ranked = np.full((stop - start, k), n_tags, np.int64)
        popular = popular_rows(log, start, stop, k) if fills_up else ranked
        for row, (ids, scores) in enumerate(each(log, start, stop, k)):
            put_best(ranked[row], ids, scores)
            if fills_up and (n := int((ranked[row] < n_tags).sum())) < k:
                extra = popular[row][~np.isin(popular[row], ranked[row, :n])][: k - n]
                ranked[row, n : n + len(extra)] = extra
        return Rankings(
            np.arange(start, stop), ranked, np.zeros(ranked.shape, np.float32), log.tags
        )

    return rank


def put_best(row: Ints, ids: Ints, scores: Doubles) -> None:
    """Write the best tags into a row of K, ties by first appearance."""
    k = len(row)
    if len(ids) > 4 * k:
        keep = scores >= np.partition(scores, len(ids) - k)[len(ids) - k]
        ids, scores = ids[keep], scores[keep]
    best = np.lexsort((ids, -scores))[:k]
    row[: len(best)] = ids[best]


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
    ranked = np.full((stop - start, k), len(log.tags), np.int64)
    pool, last = np.zeros(0, np.int64), -1
    for row, (until, totals) in enumerate(totals_before(log, start, stop)):
        if until == last:
            ranked[row] = ranked[row - 1]
            continue
        if last < 0 and len(totals):
            # Counts only grow, so whatever enters the first k later reaches at least today's k-th.
            n_last = int(log.tag_start[posts_before(log, stop - 1, stop)[0]])
            final = np.bincount(log.tag_ids[:n_last], minlength=len(totals))
            least = np.partition(totals, -min(k, len(totals)))[-min(k, len(totals))]
            pool = np.flatnonzero(final >= max(least, 1))
        used, last = pool[totals[pool] > 0], until
        put_best(ranked[row], used, totals[used].astype(np.float64))
    return ranked


# ------------------------------------------------------------------ an oracle


def read_oracle(path: Path) -> Ranker:
    """Read the rankings of one who knew what can be known, such as a simulation's true chances.

    No method that learns can beat it but by luck. The file is JSON Lines with a `post_id` and ten
    `tags`, likeliest first.

    Raises:
        InputError: The file is missing, a line of it is broken, repeated or short, or (when the
            ranker is called) it lacks a tagged post of the period.
    """
    tags_of: dict[str, list[str]] = {}
    for number, line in enumerate(_lines(path, "the oracle", _HINT), 1):
        if line.strip():
            where = f"{path}, line {number}"
            post_id, tags = _read_line(line, where)
            if post_id in tags_of:
                raise InputError(f"{where}: post {post_id!r} stands there twice", hint=_HINT)
            tags_of[post_id] = tags

    def rank(log: PostLog, start: int, stop: int, k: int) -> Rankings:
        places = np.flatnonzero(np.diff(log.tag_start)[start:stop] > 0).tolist()
        asked = [log.post_ids[start + place] for place in places]
        missing = [post_id for post_id in asked if post_id not in tags_of]
        if missing:
            raise InputError(
                f"the oracle lacks {len(missing):,} of the {len(asked):,} posts that are "
                f"measured, the first is {missing[0]!r}",
                hint="the file must rank tags for every post of the period",
            )
        tags = sorted({tag for post_id in asked for tag in tags_of[post_id]})
        index = {tag: i for i, tag in enumerate(tags)}
        ids = np.full((stop - start, min(k, N_ORACLE)), len(tags), np.int64)
        for place, post_id in zip(places, asked, strict=True):
            ids[place] = [index[tag] for tag in tags_of[post_id][: ids.shape[1]]]
        return Rankings(np.arange(start, stop), ids, np.zeros(ids.shape, np.float32), tags)

    return rank


def _read_line(line: str, where: str) -> tuple[str, list[str]]:
    try:
        record: object = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where} is not JSON: {line[:60]!r}", hint=_HINT) from error
    fields = cast("dict[str, object]", record) if isinstance(record, dict) else {}
    post_id, given = fields.get("post_id"), fields.get("tags")
    if not isinstance(post_id, str) or not isinstance(given, list):
        raise InputError(f"{where} lacks post_id or tags: {line[:60]!r}", hint=_HINT)
    raws = [raw for raw in cast("list[object]", given) if isinstance(raw, str)]
    tags = [tag for tag in dict.fromkeys(map(normalise_tag, raws)) if tag]
    if len(tags) < N_ORACLE:
        lacking = f"{where}: {len(tags)} different tags where {N_ORACLE} are needed"
        raise InputError(lacking, hint=_HINT)
    return post_id, tags[:N_ORACLE]


def read_post_ids(path: Path) -> frozenset[str]:
    """Read names of posts, one a line; InputError when there are none."""
    hint = "the file names one post_id a line"
    names = frozenset(line.strip() for line in _lines(path, "the posts", hint) if line.strip())
    if not names:
        raise InputError(f"{path} names no post", hint=hint)
    return names


def _lines(path: Path, what: str, hint: str) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"cannot read {what} {path}: {reason}", hint=hint) from error
