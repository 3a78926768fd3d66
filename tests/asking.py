"""Asks signals about every tag at once, and what a plain reading of the log would answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from pixtag.signals.columns import DAY_S, Block, Pairs, Queries
from pixtag.types import Post, PostLog
from worlds import START_AT

if TYPE_CHECKING:
    from pixtag.state import State

WIDTH = 4
TAGS = tuple("abcdefg")
PEOPLE = ("ana", "bo", "cy", "di")


@dataclass(frozen=True)
class Seen:
    """A post as a person would read it."""

    post_id: str
    at: float
    user: str | None
    tags: frozenset[str]
    photo: np.ndarray | None

    @property
    def is_timed(self) -> bool:
        return self.at > -np.inf

    @property
    def person(self) -> str:
        """Each post of nobody is by a person of its own."""
        return f"nobody of {self.post_id}" if self.user is None else self.user


def seen_before(state: State, at: float) -> list[Seen]:
    """Every observed post strictly before a time, oldest first; photos in the joint space."""
    log = state.log
    users = [*log.users, None]
    return [
        Seen(
            log.post_ids[i],
            float(log.at[i]),
            users[log.user_of_post[i]],
            frozenset(log.tags_of(i)),
            log.embeddings[i].astype(np.float64) if log.has_photo[i] else None,
        )
        for i in range(len(log))
        if log.at[i] < at
    ]


class Asked:
    """A block of queries with every tag as a candidate."""

    def __init__(self, state: State, queries: Queries) -> None:
        self.state = state
        self.queries = queries
        columns = state.columns
        user = np.array([state.user_index.get(u, columns.n_users) for u in queries.users], np.int64)
        photo = state.knowledge.head.project(queries.embeddings * queries.has_photo[:, None])
        self.block = Block(columns, queries.at, user, photo, queries.has_photo)
        for signal in (state.counts, state.prototypes, state.cooccurrence):
            signal.advance(self.block.base)
        n_tags, n = len(state.tags), len(queries)
        query, tag = np.divmod(np.arange(n * n_tags), n_tags)
        self.pairs = Pairs(query, tag, n_queries=n, n_tags=n_tags)

    def __iter__(self):
        """Number, person, time and earlier posts of each query."""
        for i, (user, at) in enumerate(
            zip(self.queries.users, self.queries.at.tolist(), strict=True)
        ):
            yield i, user, at, seen_before(self.state, at)

    def table(self, names: tuple[str, ...], values: np.ndarray) -> dict[str, np.ndarray]:
        """Features `[P, S]` as one table `[B, T]` for each name."""
        shape = (len(self.queries), len(self.state.tags))
        return {name: values[:, i].reshape(shape) for i, name in enumerate(names)}


def queries_about(log: PostLog, rows, *, users=None, shift_s: float = 0.0) -> Queries:
    """Ask about posts of a log, as others or at other times if wanted."""
    rows = np.asarray(rows, np.int64)
    names = (*log.users, None)
    asked = tuple(names[u] for u in log.user_of_post[rows]) if users is None else users
    at = np.where(np.isfinite(log.at[rows]), log.at[rows], START_AT) + shift_s
    embeddings = np.zeros((len(rows), max(1, log.embeddings.shape[1])), np.float32)
    embeddings[:, : log.embeddings.shape[1]] = log.embeddings[rows]
    return Queries(at, asked, embeddings, log.has_photo[rows])


def sampled(log: PostLog, n: int = 30, seed: int = 3) -> Queries:
    """Posts from all of a log, some asked about as strangers, some before and after everything."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(log), n, replace=False))
    queries = queries_about(log, rows)
    users = list(queries.users)
    users[1], users[4] = None, "a stranger"
    at = queries.at.copy()
    at[0], at[-1] = log.at[np.isfinite(log.at)][0] - DAY_S, log.at[-1] + 3 * DAY_S
    at[5] += 1.0
    order = rng.permutation(n)
    return replace(queries, at=at, users=tuple(users)).take(order)


_POSTS = st.tuples(
    st.none() | st.integers(0, 300),
    st.sampled_from([*PEOPLE, None]),
    st.lists(st.sampled_from(TAGS), unique=True, max_size=4),
    st.integers(0, 9),
    st.integers(0, 4),
)


def small_logs(*, max_posts: int = 16, prefix: str = "p") -> st.SearchStrategy[PostLog]:
    """Few people, few tags, hours that tie; posts without time, person, photo or tags."""

    def build(drawn: list[tuple]) -> PostLog:
        posts, embeddings = [], {}
        for i, (hour, user, tags, place, photo) in enumerate(drawn):
            at = None if hour is None else START_AT + 3600.0 * hour
            post_id = f"{prefix}{place}{i:02d}"
            posts.append(Post(post_id, user, at, tuple(tags)))
            if photo:
                row = np.random.default_rng([i, photo]).normal(size=WIDTH)
                embeddings[post_id] = row.astype(np.float16)
        log = PostLog.of(posts, embeddings)
        if embeddings:
            return log
        return replace(log, embeddings=np.zeros((len(posts), WIDTH), np.float16))

    return st.lists(_POSTS, max_size=max_posts).map(build)
