"""The observed posts as columns, and the block of queries that is asked about them.

Everything that a signal answers is a function of the posts before a query's time. The columns
keep every observed post in time order, so "before" is a row number: the query's cut. Signals
either look up rows below the cut directly or keep running sums up to a cursor and correct them
for the few rows between the cursor and the cut, so that a block of queries and the same
queries one at a time see exactly the same past.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pixtag.types import Bools, Doubles, Floats, Ints, Numbers, PostLog

DAY_S = 86_400.0


def ragged(start: Ints, length: Ints) -> tuple[Ints, Ints]:
    """Expand runs into their elements.

    Args:
        start: First element of each run, `[R]`.
        length: Number of elements of each run, `[R]`, not negative.

    Returns:
        The run of each element `[E]` and the element itself `[E]`.
    """
    owner = np.repeat(np.arange(len(length)), length)
    first = np.cumsum(length) - length
    return owner, np.arange(len(owner)) - np.repeat(first - start, length)


def numbered(tags: Ints, *, n_tags: int) -> tuple[Ints, Ints]:
    """Number the distinct tags among some.

    Args:
        tags: In any order, `[E]`, values in `0..n_tags - 1`.
        n_tags: Number of all tags, T.

    Returns:
        The distinct tags, ascending `[K]`, and the place of every tag among them `[T + 1]`; K for
        a tag that is not among them, and for T, which pads.
    """
    seen = np.zeros(n_tags + 1, np.bool_)
    seen[tags] = True
    distinct = np.flatnonzero(seen)
    place = np.full(n_tags + 1, len(distinct), np.int64)
    place[distinct] = np.arange(len(distinct))
    return distinct, place


def strongest_first(query: Ints, strength: Numbers, *, step: float) -> Ints:
    """Order entries by query, then by strength; ties by their place.

    Strengths are compared in whole steps, so that rounding in a sum cannot decide. One sort of
    whole numbers is several times quicker than a sort by three keys.

    Args:
        query: Query of each entry, `[P]`, not negative.
        strength: Finite; beyond four million steps all are alike, `[P]`.
        step: Size of a step.

    Returns:
        `[P]`.
    """
    most = 1 << 22
    steps = np.clip(np.rint(strength.astype(np.float64) / step), -most, most - 1)
    keys = (query * (2 * most) + (most - 1 - steps.astype(np.int64))) * len(query)
    return np.argsort(keys + np.arange(len(query)))


@dataclass(frozen=True)
class Queries:
    """Questions to the state: who posts what when.

    Shapes:
        B: queries. D: encoder width. A: accepted tags of all queries.

    Attributes:
        at: Unix seconds UTC, `[B]`.
        users: The person of each query, or None.
        embeddings: Encoder embeddings, `[B, D]`; zeros without a photo.
        has_photo: Whether the query has a photo, `[B]`.
        accepted: Tags that the person has chosen already, one tuple a query; empty tuples or an
            empty tuple when there are none.
    """

    at: Doubles
    users: tuple[str | None, ...]
    embeddings: Floats
    has_photo: Bools
    accepted: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.at)

    def take(self, index: Ints) -> Queries:
        """Keep some queries, in the order of `index`."""
        return Queries(
            at=self.at[index],
            users=tuple(self.users[i] for i in index),
            embeddings=self.embeddings[index],
            has_photo=self.has_photo[index],
            accepted=tuple(self.accepted[i] for i in index) if self.accepted else (),
        )


def concat_logs(first: PostLog, second: PostLog) -> PostLog:
    """Join two logs into one sorted log; people and tags of the same name are the same.

    A post of `second` with the id of one of `first` replaces it.
    """
    replaced = set(second.post_ids)
    kept = np.array([p not in replaced for p in first.post_ids], np.bool_)
    if not kept.all():
        first = first.select(kept)
    users = list(dict.fromkeys([*first.users, *second.users]))
    tags = list(dict.fromkeys([*first.tags, *second.tags]))
    user_index = {u: i for i, u in enumerate(users)}
    tag_index = {t: i for i, t in enumerate(tags)}
    user_parts: list[Ints] = []
    tag_parts: list[Ints] = []
    for log in (first, second):
        users_of_log = [user_index[u] for u in log.users]
        of_user = np.array([*users_of_log, len(users)], np.int64)
        of_tag = np.array([tag_index[t] for t in log.tags], np.int64)
        user_parts.append(of_user[log.user_of_post])
        tag_parts.append(of_tag[log.tag_ids])
    width = max(first.embeddings.shape[1], second.embeddings.shape[1])
    embeddings = np.zeros((len(first) + len(second), width), np.float16)
    embeddings[: len(first), : first.embeddings.shape[1]] = first.embeddings
    embeddings[len(first) :, : second.embeddings.shape[1]] = second.embeddings
    joined = PostLog(
        post_ids=[*first.post_ids, *second.post_ids],
        users=users,
        tags=tags,
        user_of_post=np.concatenate(user_parts),
        at=np.concatenate([first.at, second.at]),
        tag_start=np.concatenate(
            [first.tag_start, second.tag_start[1:] + first.tag_start[-1]]
        ).astype(np.int64),
        tag_ids=np.concatenate(tag_parts),
        has_photo=np.concatenate([first.has_photo, second.has_photo]),
        embeddings=embeddings,
    )
    in_order = len(first) == 0 or len(second) == 0 or first.at[-1] < second.at[0]
    if in_order:
        return joined
    order = np.array(
        sorted(range(len(joined)), key=lambda i: (joined.at[i], joined.post_ids[i])), np.int64
    )
    return joined.select(order)


class Columns:
    """Observed posts in time order, with the indexes that several signals share.

    Shapes:
        N: posts. E: tag uses. U: people. T: tags.

    Attributes:
        at: Unix seconds UTC, `[N]`, ascending; `-inf` without a time.
        user: Person of each post, `[N]`; U where nobody is named or the post has no time.
        tag_start: Uses of post i are `tag_start[i]` to `tag_start[i + 1]`, `[N + 1]`.
        tag: Tag of each use, `[E]`.
        row: Post of each use, `[E]`.
        previous_at: When the same person used the same tag before, `[E]`; `-inf` if never.
        is_first: Whether a use is its person's first of the tag, `[E]`. Each post of nobody
            counts as a person of its own.
        is_daily: Whether a use is its person's first of the tag on that UTC day, `[E]`.
        weekday: 0 to 6 of each post, UTC, `[N]`; 7 without a time.
    """

    def __init__(self, log: PostLog, *, n_tags: int) -> None:
        self.n_tags = n_tags
        self.n_users = len(log.users)
        self.at = log.at
        timed = np.isfinite(log.at)
        self.user = np.where(timed, log.user_of_post, self.n_users)
        self.tag_start = log.tag_start
        self.tag = log.tag_ids
        self.n_tags_of_post = np.diff(log.tag_start)
        self.row = np.repeat(np.arange(len(log)), self.n_tags_of_post)
        self.has_photo = log.has_photo
        days = np.floor(np.where(timed, log.at, 0.0) / DAY_S).astype(np.int64)
        self.weekday = np.where(timed, (days + 3) % 7, 7)
        self._index_users()
        self._index_repeats(days, log.user_of_post)

    def __len__(self) -> int:
        return len(self.at)

    def _index_users(self) -> None:
        n = len(self.at)
        order = np.argsort(self.user, kind="stable")
        self.posts_by_user = order
        self._user_key = self.user[order] * (n + 1) + order
        use_user = self.user[self.row]
        use_order = np.argsort(use_user, kind="stable")
        self.uses_by_user = use_order
        self.use_tag_by_user = self.tag[use_order]
        self.use_row_by_user = self.row[use_order]
        self._use_key = use_user[use_order] * (n + 1) + self.use_row_by_user

    def _index_repeats(self, days: Ints, user_of_post: Ints) -> None:
        # A post without a time has no place in a history, yet its person is still one person.
        n_uses = len(self.tag)
        use_user = user_of_post[self.row]
        named = use_user < self.n_users
        person = np.where(named, use_user, self.n_users + self.row)
        order = np.lexsort((self.row, self.tag, person))
        same = np.zeros(n_uses, np.bool_)
        same[1:] = (person[order][1:] == person[order][:-1]) & (
            self.tag[order][1:] == self.tag[order][:-1]
        )
        use_at = self.at[self.row]
        use_day = days[self.row]
        previous = np.full(n_uses, -np.inf)
        previous[order[1:][same[1:]]] = use_at[order[:-1][same[1:]]]
        same_day = np.zeros(n_uses, np.bool_)
        same_day[1:] = same[1:] & (use_day[order][1:] == use_day[order][:-1])
        self.previous_at = previous
        self.is_first = np.empty(n_uses, np.bool_)
        self.is_first[order] = ~same
        self.is_daily = np.empty(n_uses, np.bool_)
        self.is_daily[order] = ~same_day

    def cut(self, at: Doubles) -> Ints:
        """Number of posts strictly before each time, `[B]`."""
        return np.searchsorted(self.at, at, side="left").astype(np.int64)

    def own_posts(self, user: Ints, cut: Ints) -> tuple[Ints, Ints]:
        """Where a person's posts before a cut stand in `posts_by_user`: start and stop, `[B]`."""
        base = user * (len(self.at) + 1)
        return np.searchsorted(self._user_key, base), np.searchsorted(self._user_key, base + cut)

    def own_uses(self, user: Ints, cut: Ints) -> tuple[Ints, Ints]:
        """Where a person's uses before a cut stand in the arrays by user: start, stop, `[B]`."""
        base = user * (len(self.at) + 1)
        return np.searchsorted(self._use_key, base), np.searchsorted(self._use_key, base + cut)

    def is_other(self, rows: Ints | slice, user: Ints) -> Bools:
        """Whether posts are by somebody else than each person, `[B, number of rows]`.

        A post of nobody is nobody's own, not even a stranger's.
        """
        stranger = (user >= self.n_users)[:, None]
        return (self.user[rows][None, :] != user[:, None]) | stranger

    def uses_between(self, start_row: int, stop_row: int) -> slice:
        """The uses of the posts from one row to before another."""
        return slice(int(self.tag_start[start_row]), int(self.tag_start[stop_row]))


class Block:
    """Queries close together in time, with what all signals need to know about them.

    Shapes:
        B: queries. R: rows between the cursor and the last cut. L: tags used in those rows.
        J: width of the joint space.

    Attributes:
        at: Query times, `[B]`.
        user: Index of the person, `[B]`; U for a stranger.
        cut: Rows before each query, `[B]`.
        photo: Unit vectors in the joint space, `[B, J]`; zeros without a photo.
        has_photo: `[B]`.
        base: Rows below this are before every query; running sums stand here.
        before: 1 where a row from `base` on is before a query, `[B, R]`.
        local_tags: Tags used in those rows, `[L]`.
        member: 1 where a row carries a local tag, `[R, L]`.
    """

    def __init__(
        self, columns: Columns, at: Doubles, user: Ints, photo: Floats, has_photo: Bools
    ) -> None:
        self.at = at
        self.user = user
        self.photo = photo
        self.has_photo = has_photo
        self.cut = columns.cut(at)
        self.base = int(self.cut.min())
        stop = int(self.cut.max())
        self.rows = np.arange(self.base, stop)
        self.before = (self.rows[None, :] < self.cut[:, None]).astype(np.float32)
        self.uses = columns.uses_between(self.base, stop)
        tag = columns.tag[self.uses]
        self.local_tags, self._local = numbered(tag, n_tags=columns.n_tags)
        self.local_of_use = self._local[tag]
        self.row_of_use = columns.row[self.uses] - self.base
        self.member = self.membership(np.ones(len(tag), np.bool_))

    def __len__(self) -> int:
        return len(self.at)

    def see(self, photo: Floats, has_photo: Bools) -> None:
        """Take other photos than at the start, `[B, J]` and `[B]`."""
        self.photo, self.has_photo = photo, has_photo

    def membership(self, counted: Bools) -> Floats:
        """1 where a row's use of a local tag is `counted` (a mask over the uses), `[R, L]`."""
        out = np.zeros((len(self.rows), len(self.local_tags)), np.float32)
        out[self.row_of_use[counted], self.local_of_use[counted]] = 1.0
        return out

    def local_index(self, tags: Ints) -> Ints:
        """Column of each tag in `member`; L for tags that are not local."""
        return self._local[tags]

    def at_pairs(self, correction: Floats, pairs: Pairs) -> Floats:
        """Read a correction `[B, L]` at pairs `[P]`; 0 for tags that are not local."""
        padded = np.concatenate([correction, np.zeros((len(correction), 1), np.float32)], axis=1)
        return padded[pairs.query, self._local[pairs.tag]]

    def to_dense(self, base: Floats, correction: Floats) -> Floats:
        """Spread sums at the cursor `[T]` over the queries and correct them, `[B, T]`."""
        out = np.repeat(base[None, :].astype(np.float32), len(self), axis=0)
        out[:, self.local_tags] += correction
        return out


class Pairs:
    """The candidates of a block: distinct (query, tag) pairs with constant-time look-up.

    Shapes:
        P: pairs. B: queries. T: tags.

    Attributes:
        query: Query of each pair, `[P]`, ascending.
        tag: Tag of each pair, `[P]`, ascending within a query.
    """

    def __init__(self, query: Ints, tag: Ints, *, n_queries: int, n_tags: int) -> None:
        seen = np.zeros(n_queries * n_tags, np.bool_)
        seen[query * n_tags + tag] = True
        keys = np.flatnonzero(seen)
        self.n_queries = n_queries
        self.n_tags = n_tags
        self.query, self.tag = np.divmod(keys, n_tags)
        self._position = np.full(n_queries * n_tags, len(keys), np.int32)
        self._position[keys] = np.arange(len(keys), dtype=np.int32)

    def __len__(self) -> int:
        return len(self.query)

    def find(self, query: Ints, tag: Ints) -> Ints:
        """Position of (query, tag) among the pairs; `len(pairs)` when it is not a candidate."""
        return self._position[query * self.n_tags + tag].astype(np.int64)

    def total(self, query: Ints, tag: Ints, weight: Floats | Doubles) -> Floats:
        """Sum the weights of entries (query, tag) at the pairs, `[P]`."""
        found = self.find(query, tag)
        return np.bincount(found, weights=weight, minlength=len(self) + 1)[:-1].astype(np.float32)
