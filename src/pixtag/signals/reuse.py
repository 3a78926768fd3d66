"""The person's own history: base-level learning, counts and recency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pixtag.signals.columns import DAY_S, Block, Columns, Pairs, ragged, strongest_first
from pixtag.types import Floats, Ints

DECAYS = (0.5, 1.0, 1.7)
RANK_SCALES = (2.0, 8.0, 32.0)
HOUR_S = 3600.0


class Reuse:
    """What a person's own uses say about the next post.

    Base-level learning (Anderson and Schooler 1991; Kowald et al. 2017): the log of the summed
    uses of a tag, each discounted by a power law of its age; three decays. Beside it the same
    idea over the person's own posts instead of the clock: a use fades with every later post.

    Shapes:
        B: queries. P: pairs. E: own uses of all queries.
    """

    names = (
        *(f"reuse_decay_{d}" for d in DECAYS),
        *(f"reuse_posts_{int(s)}" for s in RANK_SCALES),
        "own_uses_log",
        "own_share",
        "own_last_log_hours",
        "own_last_log_posts",
        "own_in_last_post",
        "own_same_weekday",
        "own_same_hour",
    )
    context_names = ("history_log", "gap_log_hours", "own_tags_a_post", "repeat_share")

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        n = len(columns)
        place = np.empty(n, np.int64)
        place[columns.posts_by_user] = np.arange(n)
        self._place_of_post = place
        self._repeats = self._find_repeats()

    def _find_repeats(self) -> Floats:
        """1 where a post has exactly the tag set of the person's post before, `[N]`."""
        columns = self._columns
        order = columns.posts_by_user
        out = np.zeros(len(order), np.float32)
        # A set is known by the sum of its tags' hashes, which wraps around at 64 bits.
        sums = np.cumsum(np.r_[np.uint64(0), _hashes(columns.tag)], dtype=np.uint64)
        content = (sums[columns.tag_start[1:]] - sums[columns.tag_start[:-1]])[order]
        n_tags = columns.n_tags_of_post[order]
        user = columns.user[order]
        same = (content[1:] == content[:-1]) & (n_tags[1:] == n_tags[:-1])
        out[1:] = same & (user[1:] == user[:-1])
        return out

    def uses(self, block: Block) -> tuple[Ints, Ints, Ints, Ints]:
        """Own uses before each query.

        Returns:
            Query, tag, row and rank (0 for the last post) of each use, `[E]` each.
        """
        columns = self._columns
        start, stop = columns.own_uses(block.user, block.cut)
        stranger = block.user >= columns.n_users
        length = np.where(stranger, 0, stop - start)
        query, use = ragged(start, length)
        row = columns.use_row_by_user[use]
        _, last = columns.own_posts(block.user, block.cut)
        rank = last[query] - 1 - self._place_of_post[row]
        return query, columns.use_tag_by_user[use], row, rank

    def propose(self, block: Block, *, limit: int) -> tuple[Ints, Ints]:
        """The person's own tags, the strongest by base-level learning (decay .5 and by posts)."""
        query, tag, row, rank = self.uses(block)
        if not len(query):
            return query, tag
        pairs = Pairs(query, tag, n_queries=len(block), n_tags=self._columns.n_tags)
        age = np.maximum(block.at[query] - self._columns.at[row], 1.0) / HOUR_S
        weight = age**-0.5 + np.exp(-rank / RANK_SCALES[1])
        strength = pairs.total(query, tag, weight)
        return top_per_query(pairs.query, pairs.tag, strength, limit=limit)

    def features(self, block: Block, pairs: Pairs) -> Floats:
        """Own evidence at the pairs, `[P, 13]`, as in `names`; 0 for a tag never used."""
        columns = self._columns
        query, tag, row, rank = self.uses(block)
        place = pairs.find(query, tag)
        found = place < len(pairs)
        query, row, rank, place = query[found], row[found], rank[found], place[found]
        n = len(pairs)

        def total(weight: Floats) -> Floats:
            return np.bincount(place, weights=weight, minlength=n).astype(np.float32)

        at_row = columns.at[row]
        age_hours = np.maximum(block.at[query] - at_row, 60.0) / HOUR_S
        log_age = np.log(age_hours).astype(np.float32)
        count = np.bincount(place, minlength=n).astype(np.float32)
        used = count > 0
        out = np.zeros((n, len(self.names)), np.float32)
        for i, decay in enumerate(DECAYS):
            out[:, i] = _log_or_floor(total(np.exp(-decay * log_age)), floor=1e-5)
        for i, scale in enumerate(RANK_SCALES):
            out[:, 3 + i] = _log_or_floor(total(np.exp(-rank / scale)), floor=1e-5)
        start, stop = columns.own_posts(block.user, block.cut)
        history = np.maximum(stop - start, 1)[pairs.query]
        out[:, 6] = np.log1p(count)
        out[:, 7] = count / history
        last_age = np.full(n, np.inf, np.float32)
        np.minimum.at(last_age, place, log_age)
        out[:, 8] = np.where(used, last_age, 12.0)
        last_rank = np.full(n, np.inf)
        np.minimum.at(last_rank, place, rank)
        out[:, 9] = np.where(used, np.log1p(np.where(used, last_rank, 0.0)), 8.0)
        out[:, 10] = last_rank == 0
        phase = (block.at[query] - at_row) / DAY_S
        weekly = np.abs(phase / 7.0 - np.round(phase / 7.0)) < 1 / 14
        hourly = np.abs(phase - np.round(phase)) < 1 / 12
        out[:, 11] = total(weekly.astype(np.float32)) / np.maximum(count, 1.0)
        out[:, 12] = total(hourly.astype(np.float32)) / np.maximum(count, 1.0)
        return out

    def context(self, block: Block) -> Floats:
        """What is known of the person, `[B, 4]`, as in `context_names`; zeros for a stranger."""
        columns = self._columns
        start, stop = columns.own_posts(block.user, block.cut)
        n_posts = np.where(block.user < columns.n_users, stop - start, 0)
        out = np.zeros((len(block), len(self.context_names)), np.float32)
        known = n_posts > 0
        out[:, 0] = np.log1p(n_posts)
        last = columns.posts_by_user[np.maximum(stop - 1, 0)] if len(columns) else start
        gap_hours = np.zeros(len(block))
        if len(columns):
            gap_hours[known] = (block.at - columns.at[last])[known] / HOUR_S
        out[:, 1] = np.where(known, np.log1p(np.maximum(gap_hours, 0.0)), 0.0)
        recent = np.minimum(n_posts, 10)
        query, place = ragged(stop - recent, recent)
        if len(place):
            lengths = columns.n_tags_of_post[columns.posts_by_user[place]]
            mean = np.bincount(query, weights=lengths, minlength=len(block))
            same = np.bincount(query, weights=self._repeats[place], minlength=len(block))
            out[:, 2] = np.log1p(mean / np.maximum(recent, 1))
            out[:, 3] = same / np.maximum(recent, 1)
        return out


def top_per_query(query: Ints, tag: Ints, strength: Floats, *, limit: int) -> tuple[Ints, Ints]:
    """Keep the strongest `limit` entries of each query; ties by the smaller tag index.

    Strengths are compared to about four digits, so that rounding in a sum cannot decide.

    Args:
        query: Query of each entry, `[P]`, ascending.
        tag: Tag of each entry, `[P]`, ascending within a query.
        strength: Higher is better, `[P]`, positive.
        limit: Entries kept for each query.
    """
    count = np.bincount(query)
    if not len(count) or count.max() <= limit:
        return query, tag
    order = strongest_first(query, np.log(np.maximum(strength, 1e-30)), step=1e-4)
    first = np.cumsum(count) - count
    within = np.arange(len(query)) - first[query]
    kept = order[within < limit]
    return query[kept], tag[kept]


def _hashes(tags: Ints) -> NDArray[np.uint64]:
    """Scatter small numbers over 64 bits (splitmix64), so that sums of some tell which."""
    mixed = (tags.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _log_or_floor(total: Floats, *, floor: float) -> Floats:
    """Natural log, shifted so that the floor is 0 and everything seen is positive."""
    return np.log(np.maximum(total, floor)) - np.float32(np.log(floor))
