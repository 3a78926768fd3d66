"""Trend: the recent rate of a tag among other people against its usual rate."""

from __future__ import annotations

import numpy as np

from pixtag.signals.columns import Block, Columns, Pairs
from pixtag.signals.head import top_of_rows
from pixtag.types import Bools, Doubles, Floats, Ints

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
        stop = int(block.cut.max())
        uses = columns.uses_between(start, max(stop, start))
        order = np.argsort(columns.tag[uses], kind="stable")
        tag = columns.tag[uses][order]
        if not len(tag):
            empty = np.zeros((len(WINDOWS_HOURS), len(block), 0), np.float32)
            return np.zeros(0, np.int64), empty
        row = columns.row[uses][order]
        at = columns.at[row]
        previous = columns.previous_at[uses][order]
        others = (row[None, :] < block.cut[:, None]) & columns.is_other(row, block.user)
        first = np.flatnonzero(np.r_[True, np.diff(tag) > 0])
        counts = [
            self._distinct(others, at, previous, block.at - hours * 3600.0, first)
            for hours in WINDOWS_HOURS
        ]
        return tag[first], np.stack(counts)

    @staticmethod
    def _distinct(
        others: Bools, at: Doubles, previous: Doubles, since: Doubles, first: Ints
    ) -> Floats:
        # A use is its person's first in the window when the one before lies outside.
        newest = np.searchsorted(np.sort(at), since.min())
        if newest == len(at):
            return np.zeros((len(others), len(first)), np.float32)
        counted = others & (at >= since[:, None]) & (previous < since[:, None])
        return np.add.reduceat(counted, first, axis=1, dtype=np.int16).astype(np.float32)

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
            rough = np.round(np.where(usable, strength, -np.inf), 4)
            query, column = top_of_rows(rough, limit=limit)
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
        column = np.full(self._columns.n_tags + 1, len(tags), np.int64)
        column[tags] = np.arange(len(tags))
        at = column[pairs.tag]
        out: list[Floats] = []
        people: list[Floats] = []
        for window, hours in enumerate(WINDOWS_HOURS):
            padded = np.concatenate([counts[window], np.zeros((len(block), 1), np.float32)], axis=1)
            seen = padded[pairs.query, at]
            out.append(np.log((seen + SHRINK) / (rate_per_day * (hours / 24.0) + SHRINK)))
            people.append(np.log1p(seen))
        return np.stack([*out, *people], axis=1).astype(np.float32)
