"""The person's own history: base-level learning, counts and recency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pixtag.signals.columns import DAY_S, Block, Columns, Pairs, ragged, strongest_first
from pixtag.signals.uses import (
    GAP_FADE,
    GAPS,
    HOUR_S,
    LEAST_AGE_S,
    POST_SCALES,
    POSTS,
    RHYTHM,
    OwnUses,
    close_in_day_and_week,
)
from pixtag.types import Floats, Ints

DECAYS = (0.5, 1.0, 1.7)
RANK_SCALES = tuple(POST_SCALES.tolist())
YEAR_S = 365.25 * DAY_S
SEASON_S = 4.0 * DAY_S
RHYTHM_SHRINK = 2.0
"""Uses at the person's usual times that a tag is given on top of its own."""

PROPOSAL_WEIGHTS = (1.0 / POST_SCALES).astype(np.float32)
MANY_TAGS = 250
NEVER_LOG_HOURS, NEVER_LOG_POSTS = 12.0, 8.0


class Reuse:
    """What a person's own uses say about the next post.

    Base-level learning (Anderson and Schooler 1991; Kowald et al. 2017): the log of the summed
    uses of a tag, each discounted by a power law of its age; three decays. Beside it the same
    idea over the person's own posts instead of the clock: a use fades with every later post.
    Then whether it is the tag's hour, weekday and season, and whether it is due: the age of its
    last use over the usual gap between its uses.

    Shapes:
        B: queries. P: pairs. Q: own tags of all queries.
    """

    names = (
        *(f"reuse_decay_{d}" for d in DECAYS),
        *(f"reuse_posts_{int(s)}" for s in RANK_SCALES),
        "own_uses_log",
        "own_share",
        "own_last_log_hours",
        "own_last_log_posts",
        "own_in_last_post",
        "own_hour_lift",
        "own_weekday_lift",
        "own_last_year",
        "due_hours",
        "due_posts",
        "gap_log_posts",
        "gap_spread",
    )
    context_names = ("history_log", "gap_log_hours", "own_tags_a_post", "repeat_share")
    of_unused = np.zeros(len(names) + 4, np.float32)
    of_unused[[10, 11]] = NEVER_LOG_HOURS, NEVER_LOG_POSTS
    """What `alone` says of a tag that the person has never used."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._uses = OwnUses(columns)
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

    def own_tags(self, block: Block) -> tuple[Ints, Ints]:
        """Query and tag of everything that the people asked about have used before, `[Q]`."""
        query, use = self._uses.last_uses(block)
        return query, self._uses.tag[use]

    def propose(self, block: Block, *, limit: int, further: int = 0) -> tuple[Ints, Ints]:
        """The person's own tags, the strongest by uses that fade over several scales.

        Args:
            block: The queries.
            limit: Proposals a query.
            further: Most further ones; a person gets one for each tag beyond the first
                `MANY_TAGS`.
        """
        query, use = self._uses.last_uses(block)
        uses = self._uses
        _, stop = self._columns.own_posts(block.user, block.cut)
        rank = stop[query] - 1 - uses.place[use]
        fading = np.exp(-rank.astype(np.float32)[:, None] / POST_SCALES)
        # A product of matrices would set off false alarms: BLAS reads lanes beyond short rows.
        strength = (uses.over_posts(use) * fading * PROPOSAL_WEIGHTS).sum(axis=1)
        beyond = np.bincount(query, minlength=len(block)) - MANY_TAGS
        most = limit + np.clip(beyond, 0, further)
        return top_per_query(query, uses.tag[use], strength, limit=most)

    def features(self, block: Block, pairs: Pairs) -> Floats:
        """Own evidence at the pairs, `[P, 20]`, as in `names`; 0 for a tag never used."""
        return self.with_lifts(self.alone(block, pairs), pairs)

    def with_lifts(self, alone: Floats, pairs: Pairs) -> Floats:
        """Compare each tag's times of use with those of the person's tags among the pairs.

        Args:
            alone: What each tag says by itself, `[P, 24]`, from `alone`; changed.
            pairs: The same pairs.

        Returns:
            As `features`.
        """
        day, week, count, fading = alone[:, len(self.names) :].T
        used = np.flatnonzero(count)
        if len(used):
            query, count, fading = pairs.query[used], count[used], fading[used]
            for i, near in enumerate((day, week)):
                lift = _lift(near[used], count, query, fading, n_queries=pairs.n_queries)
                alone[used, 13 + i] = lift
        return alone[:, : len(self.names)]

    def alone(self, block: Block, pairs: Pairs) -> Floats:
        """What each tag says by itself: `names` without the lifts, then what lifts need.

        Returns:
            `[P, 24]`; the last are the uses near this hour and this time of the week, all uses
            (these three faded), and how much a use has faded since the last; 0 for a tag never
            used.
        """
        columns, uses = self._columns, self._uses
        out = np.tile(self.of_unused, (len(pairs), 1))
        user = block.user[pairs.query]
        after = uses.find(user, pairs.tag, block.cut[pairs.query])
        first = uses.find(user, pairs.tag, np.zeros(len(pairs), np.int64))
        used = np.flatnonzero((after > first) & (user < columns.n_users))
        if not len(used):
            return out
        use, query, at = after[used] - 1, pairs.query[used], block.at[pairs.query[used]]
        sums = uses.sums(use)
        count = uses.ordinal[use] + 1.0
        start, stop = columns.own_posts(block.user, block.cut)
        rank = (stop[query] - 1 - uses.place[use]).astype(np.float32)
        log_hours = np.log(np.maximum(at - uses.at[use], LEAST_AGE_S) / HOUR_S)
        fading = np.exp(-rank[:, None] / POST_SCALES)
        faded = np.concatenate([uses.power_laws(use, at, DECAYS), sums[:, POSTS] * fading], axis=1)
        out[used, :8] = _log_or_floor(faded, floor=1e-5)
        out[used, 8] = np.log1p(count)
        out[used, 9] = count / (stop - start)[query]
        out[used, 10] = log_hours
        out[used, 11] = np.log1p(rank)
        out[used, 12] = rank == 0
        recent = sums[:, POSTS.stop - 1]
        near = close_in_day_and_week(sums[:, RHYTHM], recent, at)
        for i, values in enumerate((*near, recent, fading[:, -1]), start=len(self.names)):
            out[used, i] = values
        season = [columns.cut(block.at - YEAR_S + s) for s in (-SEASON_S, SEASON_S)]
        last_year = [uses.find(user[used], pairs.tag[used], cut[query]) for cut in season]
        out[used, 15] = np.log1p(last_year[1] - last_year[0])
        n_gaps = count - 1.0
        weight = (1.0 - GAP_FADE**n_gaps) / (1.0 - GAP_FADE)
        gaps = sums[:, GAPS] / np.maximum(weight, 1.0)[:, None]
        regular = n_gaps > 0
        out[used, 16] = np.where(regular, log_hours - gaps[:, 0], 0.0)
        out[used, 17] = np.where(regular, np.log1p(rank) - gaps[:, 1], 0.0)
        out[used, 18] = np.where(regular, gaps[:, 1], NEVER_LOG_POSTS)
        out[used, 19] = np.sqrt(np.maximum(gaps[:, 2] - gaps[:, 1] ** 2, 0.0))
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


def top_per_query(
    query: Ints, tag: Ints, strength: Floats, *, limit: int | Ints
) -> tuple[Ints, Ints]:
    """Keep the strongest entries of each query; ties by the smaller tag index.

    Strengths are compared to about four digits, so that rounding in a sum cannot decide.

    Args:
        query: Query of each entry, `[P]`, ascending.
        tag: Tag of each entry, `[P]`, ascending within a query.
        strength: Higher is better, `[P]`, positive.
        limit: Entries kept for each query, for all or `[B]`.
    """
    count = np.bincount(query)
    most = np.zeros_like(count) + (limit if isinstance(limit, int) else limit[: len(count)])
    if not (count > most).any():
        return query, tag
    order = strongest_first(query, np.log(np.maximum(strength, 1e-30)), step=1e-4)
    first = np.cumsum(count) - count
    within = np.arange(len(query)) - first[query]
    kept = order[within < most[query]]
    return query[kept], tag[kept]


def _hashes(tags: Ints) -> NDArray[np.uint64]:
    """Scatter small numbers over 64 bits (splitmix64), so that sums of some tell which."""
    mixed = (tags.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _lift(near: Floats, count: Floats, query: Ints, fading: Floats, *, n_queries: int) -> Floats:
    """How much more often a tag is used near this time than the person's tags are, log, `[Q]`."""
    usual = np.bincount(query, weights=near * fading, minlength=n_queries) + 1e-6
    usual /= np.bincount(query, weights=count * fading, minlength=n_queries) + 1e-6
    usual = np.clip(usual, 0.05, None)[query]
    return np.log((near + RHYTHM_SHRINK * usual) / (count + RHYTHM_SHRINK) / usual)


def _log_or_floor(total: Floats, *, floor: float) -> Floats:
    """Natural log, shifted so that the floor is 0 and everything seen is positive."""
    return np.log(np.maximum(total, floor)) - np.float32(np.log(floor))
