"""Trend: the recent rate of a tag among other people against its usual rate."""

from __future__ import annotations

import numpy as np

from pixtag.signals.columns import Block, Columns, Pairs, numbered, ragged
from pixtag.signals.head import top_of_rows
from pixtag.types import Bools, Floats, Ints

WINDOWS_HOURS = (6.0, 24.0, 72.0, 168.0)
SHRINK = 0.5
PROPOSE_WINDOWS = (1, 3)


class Trend:
    """Distinct other people who used a tag in several recent windows, against expectation.

    One person's flood counts once, and the person asked about never counts, so a trend is
    never just their own history. Ratios are shrunk towards 1 for small counts.

    Shapes:
        B: queries. T: tags. W: windows. P: pairs. K: tags used in the longest window.
    """

    names = (
        *(f"trend_lift_{int(h)}h" for h in WINDOWS_HOURS),
        *(f"trend_people_{int(h)}h" for h in WINDOWS_HOURS),
    )

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def window_counts(self, block: Block) -> tuple[Ints, Floats]:
        """Count distinct other people for every tag used lately.

        Returns:
            The tags `[K]`, ascending, and the counts `[W, B, K]`.
        """
        columns = self._columns
        longest_s = max(WINDOWS_HOURS) * 3600.0
        start = int(columns.cut(np.array([block.at.min() - longest_s]))[0])
        start = max(start, int(np.searchsorted(columns.at, -np.inf, side="right")))
        uses = columns.uses_between(start, max(int(block.cut.max()), start))
        tags, column = numbered(columns.tag[uses], n_tags=columns.n_tags)
        counts = np.zeros((len(WINDOWS_HOURS), len(block), len(tags)), np.float32)
        if len(tags):
            self._count_everyone(block, uses, column, counts)
            self._take_out_own(block, start, column, counts)
        return tags, counts

    def _count_everyone(self, block: Block, uses: slice, column: Ints, out: Floats) -> None:
        """Count the people behind every tag, the asker too.

        A use counts for the queries after it, up to the one whose window it leaves; and from
        the one whose window has left the same person's use before. With the queries in time
        order that is a run of them, so its two ends are noted and summed up once.
        """
        columns = self._columns
        row, previous = columns.row[uses], columns.previous_at[uses]
        at, of_tag = columns.at[row], column[columns.tag[uses]]
        order = np.argsort(block.at, kind="stable")
        n_tags = out.shape[2]
        size = (len(block) + 1) * n_tags
        first_after = np.searchsorted(block.cut[order], row, side="right")
        for window, hours in enumerate(WINDOWS_HOURS):
            since = block.at[order] - hours * 3600.0
            late = slice(int(np.searchsorted(at, since[0])), None)
            begin = np.searchsorted(since, previous[late], side="right")
            end = np.searchsorted(since, at[late], side="right")
            # A run that ends before it begins is none: its two ends cancel.
            begin = np.minimum(np.maximum(first_after[late], begin), end)
            steps = np.bincount(begin * n_tags + of_tag[late], minlength=size)
            steps -= np.bincount(end * n_tags + of_tag[late], minlength=size)
            out[window, order] = steps.reshape(-1, n_tags)[:-1].cumsum(axis=0)

    def _take_out_own(self, block: Block, start: int, column: Ints, counts: Floats) -> None:
        """Take the asker's own uses from row `start` on out of the counts.

        Args:
            block: The queries.
            start: First row of the longest window.
            column: Place of each tag among those counted, `[T + 1]`.
            counts: Of everyone, `[W, B, K]`; changed.
        """
        columns = self._columns
        _, begin = columns.own_uses(block.user, np.full(len(block), start))
        _, end = columns.own_uses(block.user, block.cut)
        known = block.user < columns.n_users
        query, place = ragged(begin, np.where(known, np.maximum(end - begin, 0), 0))
        use = columns.uses_by_user[place]
        at, previous = columns.at[columns.row[use]], columns.previous_at[use]
        entry = query * counts.shape[2] + column[columns.tag[use]]
        for window, hours in enumerate(WINDOWS_HOURS):
            since = block.at[query] - hours * 3600.0
            counted = (at >= since) & (previous < since)
            own = np.bincount(entry[counted], minlength=counts[window].size)
            counts[window] -= own.reshape(counts[window].shape)

    def lifts(self, block: Block, counts: Floats, rate_per_day: Floats) -> Floats:
        """Log ratio of seen to expected people, shrunk, `[W, B, K]`.

        Args:
            block: The queries.
            counts: From `window_counts`, `[W, B, K]`.
            rate_per_day: Usual uses a day of the same tags before each query, `[B, K]`.
        """
        days = np.array(WINDOWS_HOURS, np.float32)[:, None, None] / 24.0
        return np.log((counts + SHRINK) / (rate_per_day[None] * days + SHRINK))

    def propose(
        self, tags: Ints, counts: Floats, lifts: Floats, public: Bools, *, limit: int
    ) -> tuple[Ints, Ints]:
        """Public tags that at least two other people used lately and that rise the most."""
        query_parts: list[Ints] = []
        tag_parts: list[Ints] = []
        for window in PROPOSE_WINDOWS:
            usable = (counts[window] >= 2) & public[:, tags]
            strength = lifts[window] + 0.5 * np.log1p(counts[window])
            query, column = top_of_rows(np.where(usable, strength, -np.inf), limit=limit)
            query_parts.append(query)
            tag_parts.append(tags[column])
        return np.concatenate(query_parts), np.concatenate(tag_parts)

    def features(
        self, block: Block, pairs: Pairs, tags: Ints, counts: Floats, rate_per_day: Floats
    ) -> Floats:
        """Lifts and counts at the pairs, `[P, 2 W]`, as in `names`.

        Args:
            block: The queries.
            pairs: The candidates.
            tags: From `window_counts`, `[K]`.
            counts: From `window_counts`, `[W, B, K]`.
            rate_per_day: Usual uses a day of each candidate, `[P]`.
        """
        _, column = numbered(tags, n_tags=self._columns.n_tags)
        at = column[pairs.tag]
        out: list[Floats] = []
        people: list[Floats] = []
        for window, hours in enumerate(WINDOWS_HOURS):
            padded = np.concatenate([counts[window], np.zeros((len(block), 1), np.float32)], axis=1)
            seen = padded[pairs.query, at]
            out.append(np.log((seen + SHRINK) / (rate_per_day * (hours / 24.0) + SHRINK)))
            people.append(np.log1p(seen))
        return np.stack([*out, *people], axis=1).astype(np.float32)
