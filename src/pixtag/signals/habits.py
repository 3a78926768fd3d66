"""Habits: which of a person's earlier sets of tags were posted at a moment like this one."""

from __future__ import annotations

import numpy as np

from pixtag.signals.columns import DAY_S, Block, Columns, Pairs, ragged
from pixtag.types import Floats, Ints

WINDOW = 256
"""Latest posts of a person that are looked at."""

FADE_POSTS = 128.0
HOUR_S = 3600.0
SHRINK = 0.5
FLOOR = 1e-3


class Habits:
    """Shares of the person's earlier sets that carry a tag, weighted by how alike the moment was.

    A set is weighted by what came before it (how much the set before it overlaps with the last
    one), by its own overlap with the last one, by hour, by weekday and by the gap before it.
    Each share is shrunk to the share among all recent sets.

    Shapes:
        B: queries. P: pairs. S: earlier posts of all queries. A: their uses.
    """

    names = (
        "habit_recent",
        "habit_follows",
        "habit_follows_same",
        "habit_beside",
        "habit_hour",
        "habit_weekday",
        "habit_gap",
        "habit_moment",
    )

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def features(self, block: Block, pairs: Pairs) -> Floats:
        """Log shares at the pairs, `[P, 8]`, as in `names`; 0 where no earlier set has the tag."""
        columns = self._columns
        start, stop = columns.own_posts(block.user, block.cut)
        n_own = np.where(block.user < columns.n_users, np.minimum(stop - start, WINDOW + 1), 0)
        query, place = ragged(stop - n_own, n_own)
        if not len(query):
            return np.zeros((len(pairs), len(self.names)), np.float32)
        row = columns.posts_by_user[place]
        slot, use = ragged(columns.tag_start[row], columns.n_tags_of_post[row])
        tag = columns.tag[use]
        last = columns.posts_by_user[stop - 1]
        alike = self._overlap(query, slot, tag, row, last, n_queries=len(block))
        weights = self._weights(block, query, row, stop[query] - 1 - place, last, alike)
        pair = pairs.find(query[slot], tag)
        kept = pair < len(pairs)
        pair, slot = pair[kept], slot[kept]
        out = np.empty((len(pairs), len(self.names)), np.float32)
        usual = np.float32(0.0)
        for i, weight in enumerate(weights):
            carried = np.bincount(pair, weights=weight[slot], minlength=len(pairs))
            total = np.bincount(query, weights=weight, minlength=len(block))[pairs.query]
            share = (carried + SHRINK * usual) / (total + SHRINK)
            usual = share if i == 0 else usual
            out[:, i] = np.log(share / FLOOR + 1.0)
        return out

    def _overlap(
        self, query: Ints, slot: Ints, tag: Ints, row: Ints, last: Ints, *, n_queries: int
    ) -> Floats:
        """Shared tags over all tags (Jaccard) of each earlier set and the last one, `[S]`."""
        columns = self._columns
        asked = np.unique(query)
        owner, use = ragged(columns.tag_start[last[asked]], columns.n_tags_of_post[last[asked]])
        in_last = np.zeros((n_queries, columns.n_tags), np.bool_)
        in_last[asked[owner], columns.tag[use]] = True
        shared = np.bincount(slot, weights=in_last[query[slot], tag], minlength=len(row))
        n_tags = columns.n_tags_of_post
        every = np.maximum(n_tags[row] + n_tags[last[query]] - shared, 1.0)
        return (shared / every).astype(np.float32)

    def _weights(
        self, block: Block, query: Ints, row: Ints, rank: Ints, last: Ints, alike: Floats
    ) -> list[Floats]:
        """The weight of each earlier set for each of `names`, `[S]` each."""
        columns = self._columns
        # The slot before belongs to the same person but where a query's window begins.
        has_before = np.r_[False, query[1:] == query[:-1]]
        before = np.where(has_before, np.r_[0.0, alike[:-1]], 0.0)
        at = columns.at[row]
        gap = np.where(has_before, at - np.r_[0.0, at[:-1]], np.nan)
        age = block.at[query] - at
        now_gap = (block.at - columns.at[last])[query]
        days = age / DAY_S
        recent = np.exp(-rank / FADE_POSTS)
        hour = np.abs(days - np.round(days)) < 1.5 / 24
        weekday = np.abs(days / 7.0 - np.round(days / 7.0)) < 0.25 / 7
        closeness = np.log(np.maximum(gap, 60.0)) - np.log(np.maximum(now_gap, 60.0))
        gap_close = np.where(has_before, np.exp(-2.0 * np.nan_to_num(closeness) ** 2), 0.0)
        moment = (0.05 + before) * (0.2 + hour) * (0.2 + gap_close) * np.exp(-rank / 64.0)
        return [
            recent,
            recent * before,
            recent * (before > 0.999),
            recent * alike * (rank > 0),
            recent * hour,
            recent * weekday,
            recent * gap_close,
            moment * has_before,
        ]
