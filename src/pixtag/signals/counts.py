"""Popularity, weekly rhythm and the running counts behind them."""

from __future__ import annotations

import numpy as np

from pixtag.signals.columns import DAY_S, Block, Columns, Pairs, numbered
from pixtag.types import Bools, Doubles, Floats, Ints


class Counts:
    """How often, by how many people and on which weekdays each tag was used.

    Running sums up to a cursor; a block adds what lies between the cursor and each query.

    Shapes:
        T: tags. B: queries. L: local tags of a block. P: pairs.

    Args:
        columns: The observed posts.
        prior_people: People who used each tag elsewhere, `[T]`, counted before everything.
    """

    names = ("people_log", "uses_log", "daily_rate_log", "weekday_lift", "first_seen_log_days")

    def __init__(self, columns: Columns, *, prior_people: Doubles) -> None:
        self._columns = columns
        self.cursor = 0
        self.prior_people = prior_people
        self.uses = np.zeros(columns.n_tags)
        self.people = prior_people.copy()
        self.daily = np.zeros(columns.n_tags)
        self.weekday = np.zeros((columns.n_tags, 8))
        timed = np.isfinite(columns.at)
        self._started_at = float(columns.at[timed][0]) if timed.any() else np.inf
        self.first_at = np.full(columns.n_tags, np.inf)
        order = np.arange(len(columns.tag))[::-1]
        use_at = columns.at[columns.row[order]]
        finite = np.isfinite(use_at)
        self.first_at[columns.tag[order][finite]] = use_at[finite]

    def advance(self, row: int) -> None:
        """Move the cursor to a row, forwards or backwards."""
        if row == self.cursor:
            return
        low, high = sorted((self.cursor, row))
        sign = 1.0 if row >= self.cursor else -1.0
        uses = self._columns.uses_between(low, high)
        tag = self._columns.tag[uses]
        np.add.at(self.uses, tag, sign)
        np.add.at(self.people, tag[self._columns.is_first[uses]], sign)
        daily = self._columns.is_daily[uses]
        np.add.at(self.daily, tag[daily], sign)
        weekday = self._columns.weekday[self._columns.row[uses]]
        np.add.at(self.weekday, (tag[daily], weekday[daily]), sign)
        self.cursor = row

    def people_before(self, block: Block) -> tuple[Floats, Floats]:
        """People who used each tag: at the cursor `[T]`, and the correction `[B, L]`."""
        first = block.membership(self._columns.is_first[block.uses])
        return self.people.astype(np.float32), block.before @ first

    def public(self, block: Block, *, least_people: int) -> Bools:
        """Which tags enough people have used to offer them to others, `[B, T]`."""
        base, correction = self.people_before(block)
        out = np.repeat((base >= least_people)[None, :], len(block), axis=0)
        out[:, block.local_tags] = base[block.local_tags] + correction >= least_people
        return out

    def propose(self, block: Block, public: Bools, *, limit: int) -> tuple[Ints, Ints]:
        """The tags of most people before each query; ties by the smaller tag index.

        Returns:
            Query and tag of each proposal, at most `limit` a query.
        """
        return self._most(block, public, *self.people_before(block), limit=limit)

    def propose_here(self, block: Block, public: Bools, *, limit: int) -> tuple[Ints, Ints]:
        """The tags used most in posts with a time: those of the store, beside a large prior.

        Returns:
            Query and tag of each proposal, at most `limit` a query.
        """
        member = block.membership(self._columns.is_daily[block.uses])
        return self._most(
            block, public, self.daily.astype(np.float32), block.before @ member, limit=limit
        )

    @staticmethod
    def _most(
        block: Block, public: Bools, base: Floats, correction: Floats, *, limit: int
    ) -> tuple[Ints, Ints]:
        n_head = min(len(base), limit + len(block.local_tags))
        tags = np.arange(len(base))
        if n_head < len(base):
            # The index makes every key distinct, so that ties end the same way in any block.
            keys = tags - base.astype(np.float64) * len(base)
            head = np.argpartition(keys, n_head - 1)[:n_head]
            tags, _ = numbered(np.append(head, block.local_tags), n_tags=len(base))
        count = np.repeat(base[tags][None, :], len(block), axis=0)
        count[:, np.searchsorted(tags, block.local_tags)] += correction
        count[~public[:, tags]] = -1.0
        keep = min(limit, len(tags))
        order = np.argsort(-count, axis=1, kind="stable")[:, :keep]
        query, rank = np.nonzero(np.take_along_axis(count, order, axis=1) > 0)
        return query, tags[order[query, rank]]

    def features(self, block: Block, pairs: Pairs) -> Floats:
        """Popularity and rhythm at the pairs, `[P, 5]`, as in `names`."""
        columns = self._columns
        daily_uses = columns.is_daily[block.uses]
        daily_member = block.membership(daily_uses)
        base_people, people = self.people_before(block)
        uses = self.uses[pairs.tag] + block.at_pairs(block.before @ block.member, pairs)
        n_people = base_people[pairs.tag] + block.at_pairs(people, pairs)
        daily = self.daily[pairs.tag] + block.at_pairs(block.before @ daily_member, pairs)
        weekday = ((np.floor(block.at / DAY_S) + 3) % 7).astype(np.int64)
        same = columns.weekday[block.rows][None, :] == weekday[:, None]
        on_day = self.weekday[pairs.tag, weekday[pairs.query]]
        on_day = on_day + block.at_pairs((block.before * same) @ daily_member, pairs)
        lived_days = np.maximum(block.at - self._started_at, DAY_S) / DAY_S
        first_at = self.first_at[pairs.tag]
        age_days = np.maximum(block.at[pairs.query] - first_at, 0.0) / DAY_S
        never = first_at >= block.at[pairs.query]
        out = np.empty((len(pairs), len(self.names)), np.float32)
        out[:, 0] = np.log1p(n_people)
        out[:, 1] = np.log1p(uses)
        out[:, 2] = np.log(daily + 0.5) - np.log(lived_days)[pairs.query]
        out[:, 3] = np.log(on_day + 1.0) - np.log(daily / 7.0 + 1.0)
        out[:, 4] = np.where(never, 0.0, np.log1p(age_days))
        return out

    def rate_per_day(self, block: Block, pairs_or_tags: Ints) -> Floats:
        """Long-run (person, day) uses a day of some tags before each query, `[B, len(tags)]`."""
        tags = pairs_or_tags
        daily_member = block.membership(self._columns.is_daily[block.uses])
        daily = block.to_dense(self.daily.astype(np.float32), block.before @ daily_member)[:, tags]
        lived_days = np.maximum(block.at - self._started_at, DAY_S) / DAY_S
        return (daily / lived_days[:, None]).astype(np.float32)
