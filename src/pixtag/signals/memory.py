"""Memories: the earlier posts that a query may copy tags from.

Two memories feed the network's attention: the person's own latest posts, and the posts of
everyone whose photos look most like this one. Each slot has a few key features; the network
learns from them which posts to copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pixtag.signals.columns import DAY_S, Block, Columns, Pairs, ragged
from pixtag.signals.reuse import top_per_query
from pixtag.types import Bools, Floats, Ints

HOUR_S = 3600.0
UNKNOWN_AGE_LOG_HOURS = 10.0
GROUP = 32
LEAST_SIMILARITY = -1.5


@dataclass(frozen=True)
class Memory:
    """Earlier posts offered to each query.

    Shapes:
        B: queries. M: slots. F: key features. A: entries (tag uses in all slots).

    Attributes:
        rows: Post in each slot, `[B, M]`; 0 where the slot is empty.
        filled: Whether a slot holds a post, `[B, M]`.
        keys: Key features, `[B, M, F]`; zeros in empty slots.
        query: Query of each entry, `[A]`.
        slot: Slot of each entry, `[A]`.
        tag: Tag of each entry, `[A]`.
    """

    rows: Ints
    filled: Bools
    keys: Floats
    query: Ints
    slot: Ints
    tag: Ints

    @staticmethod
    def empty(n_queries: int, n_slots: int, n_keys: int) -> Memory:
        """No earlier post for anyone."""
        shape, none = (n_queries, n_slots), np.zeros(0, np.int64)
        keys = np.zeros((*shape, n_keys), np.float32)
        return Memory(np.zeros(shape, np.int64), np.zeros(shape, np.bool_), keys, none, none, none)

    def with_key(self, index: int, of_entry: Floats, *, missing: float = 0.0) -> Memory:
        """The same memory with a key filled in: the mean over a slot's tags of a value each.

        Args:
            index: Which key.
            of_entry: `[A]`; entries that are not finite do not count.
            missing: For slots without a counted entry.
        """
        counted = np.isfinite(of_entry)
        n_slots = self.filled.shape[1]
        place = self.query[counted] * n_slots + self.slot[counted]
        n = np.bincount(place, minlength=self.filled.size)
        total = np.bincount(place, weights=of_entry[counted], minlength=self.filled.size)
        mean = np.where(n > 0, total / np.maximum(n, 1), missing).reshape(self.filled.shape)
        self.keys[:, :, index] = mean * self.filled
        return self

    def totals(self, pairs: Pairs, weights: Sequence[Floats]) -> Floats:
        """Total weight of the slots that carry each candidate, `[W, P]`.

        Args:
            pairs: Candidates.
            weights: W weights of each slot, `[B, M]` each.
        """
        n, width = len(weights), len(pairs) + 1
        place = pairs.find(self.query, self.tag) + width * np.arange(n)[:, None]
        of_slot = np.stack(weights).reshape(n, -1)
        of_entry = of_slot[:, self.query * self.filled.shape[1] + self.slot]
        total = np.bincount(place.ravel(), weights=of_entry.ravel(), minlength=n * width)
        return total.reshape(n, width)[:, :-1].astype(np.float32)

    def propose(
        self, weight: Floats, pairs_of: tuple[int, int], *, limit: int
    ) -> tuple[Ints, Ints]:
        """Tags of the slots, strongest total weight first.

        Args:
            weight: Of each slot, `[B, M]`.
            pairs_of: Number of queries and of tags.
            limit: Proposals a query.
        """
        n_queries, n_tags = pairs_of
        if not len(self.query):
            return self.query, self.tag
        pairs = Pairs(self.query, self.tag, n_queries=n_queries, n_tags=n_tags)
        strength = pairs.total(self.query, self.tag, weight[self.query, self.slot])
        return top_per_query(pairs.query, pairs.tag, strength, limit=limit)


def _entries(columns: Columns, rows: Ints, filled: Bools) -> tuple[Ints, Ints, Ints]:
    query, slot = np.nonzero(filled)
    row = rows[query, slot]
    owner, use = ragged(columns.tag_start[row], columns.n_tags_of_post[row])
    return query[owner], slot[owner], columns.tag[use]


class OwnMemory:
    """The person's latest posts (own visual memory).

    Keys: similarity of the photos, log age, place in the person's order, size of the tag set,
    closeness in hour of day and weekday, age over the person's usual gap.

    Shapes:
        B: queries. M: slots. N: posts. J: joint space.
    """

    key_names = (
        "similarity",
        "similarity_sharp",
        "has_both_photos",
        "fits_photo",
        "same_topic",
        "since_in_topic",
        "log_hours",
        "log_place",
        "is_last",
        "log_tags",
        "hour_close",
        "weekday_same",
    )

    def __init__(self, columns: Columns, photos: Floats, *, n_slots: int) -> None:
        self._columns = columns
        self._photos = photos
        self.n_slots = n_slots

    def recall(self, block: Block) -> Memory:
        """The last posts of each query's person before its time."""
        columns = self._columns
        start, stop = columns.own_posts(block.user, block.cut)
        n_own = np.where(block.user < columns.n_users, stop - start, 0)
        place = np.arange(self.n_slots)[None, :]
        filled = place < n_own[:, None]
        index = np.where(filled, stop[:, None] - 1 - place, 0)
        rows = columns.posts_by_user[index] if len(columns) else index
        rows = np.where(filled, rows, 0)
        keys = self._keys(block, rows, filled)
        memory = Memory(rows, filled, keys, *_entries(columns, rows, filled))
        self.see(memory, block)
        return memory

    def see(self, memory: Memory, block: Block) -> None:
        """Compare the photos of a memory with those of the queries: its first three keys."""
        rows, keys = memory.rows, memory.keys
        if not len(self._columns) or not block.has_photo.any():
            return
        similarity = np.einsum("bmj,bj->bm", self._photos[rows], block.photo)
        both = self._columns.has_photo[rows] & block.has_photo[:, None]
        keys[:, :, 0] = similarity * memory.filled
        keys[:, :, 1] = np.exp(4.0 * (similarity - 1.0)) * both * memory.filled
        keys[:, :, 2] = both & memory.filled

    def _keys(self, block: Block, rows: Ints, filled: Bools) -> Floats:
        columns = self._columns
        shape = (*rows.shape, len(self.key_names))
        if not len(columns):
            return np.zeros(shape, np.float32)
        unknown = np.zeros(rows.shape)
        age_s = np.where(filled, block.at[:, None] - columns.at[rows], 1.0)
        days = age_s / DAY_S
        place = np.broadcast_to(np.arange(rows.shape[1])[None, :], rows.shape)
        keys = np.stack(
            [
                *(unknown,) * 6,
                np.log(np.maximum(age_s, 60.0) / HOUR_S) / 4.0,
                np.log1p(place) / 2.0,
                place == 0,
                np.log1p(columns.n_tags_of_post[rows]) / 2.0,
                np.cos(2.0 * np.pi * days),
                np.abs(days / 7.0 - np.round(days / 7.0)) < 1 / 14,
            ],
            axis=-1,
        ).astype(np.float32)
        return keys * filled[..., None]


class Neighbours:
    """The posts of everyone whose photos look most like this one.

    Shapes:
        B: queries. M: slots. N: posts. J: joint space.
    """

    key_names = (
        "similarity",
        "similarity_sharp",
        "similarity_rank",
        "log_hours",
        "has_time",
        "is_own",
        "asker_uses",
        "log_tags",
        "same_topic",
    )
    context_names = ("nearest_similarity", "mean_similarity")

    def __init__(self, columns: Columns, photos: Floats, *, n_slots: int) -> None:
        self._columns = columns
        self._photos = photos
        self._without_photo = np.flatnonzero(~columns.has_photo)
        self.n_slots = n_slots

    def recall(self, block: Block) -> Memory:
        """The most similar posts before each query."""
        columns = self._columns
        if not block.has_photo.any():
            return Memory.empty(len(block), self.n_slots, len(self.key_names))
        stop = int(block.cut.max())
        similarity = block.photo @ self._photos[:stop].T
        unseen = block.rows[None, :] >= block.cut[:, None]
        similarity[:, block.base :][unseen] = -np.inf
        blind = self._without_photo[: np.searchsorted(self._without_photo, stop)]
        similarity[:, blind] = -np.inf
        similarity[~block.has_photo] = -np.inf
        rows, best = nearest(similarity, limit=self.n_slots)
        filled = np.isfinite(best) & block.has_photo[:, None]
        rows = np.where(filled, rows, 0)
        best = np.where(filled, best, 0.0).astype(np.float32)
        return Memory(
            rows, filled, self._keys(block, rows, filled, best), *_entries(columns, rows, filled)
        )

    def _keys(self, block: Block, rows: Ints, filled: Bools, similarity: Floats) -> Floats:
        columns = self._columns
        shape = (*rows.shape, len(self.key_names))
        if not len(columns):
            return np.zeros(shape, np.float32)
        at = columns.at[rows]
        timed = np.isfinite(at)
        age_s = np.where(timed, block.at[:, None] - np.where(timed, at, 0.0), 1.0)
        log_age = np.log(np.maximum(age_s, 60.0) / HOUR_S)
        own = (columns.user[rows] == block.user[:, None]) & (block.user < columns.n_users)[:, None]
        place = np.broadcast_to(np.arange(rows.shape[1])[None, :], rows.shape)
        keys = np.stack(
            [
                similarity,
                np.exp(8.0 * (similarity - 1.0)),
                np.log1p(place) / 2.0,
                np.where(timed, log_age, UNKNOWN_AGE_LOG_HOURS) / 4.0,
                timed,
                own,
                np.zeros_like(similarity),
                np.log1p(columns.n_tags_of_post[rows]) / 2.0,
                np.zeros_like(similarity),
            ],
            axis=-1,
        ).astype(np.float32)
        return keys * filled[..., None]

    def context(self, memory: Memory) -> Floats:
        """How close the neighbours are, `[B, 2]`, as in `context_names`."""
        n = np.maximum(memory.filled.sum(axis=1), 1)
        similarity = memory.keys[:, :, 0]
        return np.stack([similarity[:, 0], similarity.sum(axis=1) / n], axis=1)


def nearest(similarity: Floats, *, limit: int) -> tuple[Ints, Floats]:
    """The highest similarities of each row, best first; ties by the earlier column.

    At least `limit` groups of columns have a maximum as high as the `limit`-th best one, so
    nothing below that maximum is among the best: exact, and several times quicker than a search
    of everything.

    Args:
        similarity: `[B, N]`, at most 1.5; `-inf` is never better than anything.
        limit: Columns kept, M.

    Returns:
        Columns `[B, M]` and their similarities `[B, M]`; 0 and `-inf` where there are too few.
    """
    n_rows, n = similarity.shape
    least = np.full(n_rows, -np.inf, np.float32)
    n_groups = n // GROUP
    if n_groups > limit:
        grouped = similarity[:, : n_groups * GROUP].reshape(n_rows, GROUP, n_groups)
        least = np.partition(grouped.max(axis=1), -limit, axis=1)[:, -limit]
    # A little lower, since similarities that agree when rounded are ties.
    high = similarity >= np.maximum(least - 2e-5, LEAST_SIMILARITY)[:, None]
    row, column = np.divmod(np.flatnonzero(high), n)
    found = similarity[row, column]
    # Rounding keeps a last-bit difference from deciding which of two equal photos is taken.
    distance = np.rint((1.5 - found).astype(np.float64) * 1e5).astype(np.int64)
    order = np.argsort((row * (1 << 20) + distance) * (1 << 24) + column)
    count = np.bincount(row, minlength=n_rows)
    place = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    kept = order[place < limit]
    columns = np.zeros((n_rows, limit), np.int64)
    values = np.full((n_rows, limit), -np.inf, np.float32)
    columns[row[kept], place[place < limit]] = column[kept]
    values[row[kept], place[place < limit]] = found[kept]
    return columns, values
