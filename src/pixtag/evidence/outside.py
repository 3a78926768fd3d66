"""Tags of other servers as evidence: what their daily counts say as of a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pixtag.evidence.postings import distinct
from pixtag.types import Doubles, Floats, Ints, OutsideCount
from pixtag.wording import is_shaming

CROWD, LISTED = 100.0, 20
"""Accounts a day that one source counts as, at most, and its most used tags that they are of."""

USUAL_DAYS = 6
"""Days before a source's last one whose mean is what is usual: servers list a week."""

RISE_HOURS = (24.0, 72.0)
"""Windows in which a tag rises: shorter ones say nothing new of a day's count, longer ones last."""

LEAST_ACCOUNTS = 3
"""Accounts on one day from which a tag is public."""

_DAY_S, _HOUR_S = 86_400.0, 3_600.0
_SHRINK = 0.5


@dataclass(frozen=True)
class Crowd:
    """What sources outside say of N public tags at one moment; of each tag one source speaks.

    Shapes:
        N: tags, ascending by name. W: windows.

    Attributes:
        tags: Names.
        source: Who says it, a name each.
        people: Accounts in each window, scaled, `[W, N]`.
        usual: Accounts on a usual day, scaled, `[N]`; NaN where no earlier day is known.
        accounts: Accounts, as counted, on the busier of the source's last two days, `[N]`.
        day: That day, in days since 1970, `[N]`.
        rise: How surely each rises, in standard deviations of a Poisson count, `[N]`.
        times: Rate over the usual one, shrunk towards 1, of the surest window, `[N]`.
        window: That window, `[N]`.
    """

    tags: list[str]
    source: list[str]
    people: Floats
    usual: Doubles
    accounts: Ints
    day: Ints
    rise: Doubles
    times: Doubles
    window: Ints

    def __len__(self) -> int:
        return len(self.tags)


class Outside:
    """Counts of all sources and days, frozen; a question reads them as of its moment.

    **Nothing later is read.** A count is known from when it was read on, or from the end of its day
    where it was read after that, so that past days can be imported and asked about as of then. It
    spreads evenly over its day, or the part of it that had passed.

    **Level.** Accounts that used a tag in the last hours. So that large and small sources can be
    compared, a source is scaled to a crowd of `CROWD` accounts on its busiest day of the last week;
    one that is smaller is left as it is. Servers tell what rises and not how much is posted in all,
    so accounts are those of the `LISTED` most used tags: a short list and a whole server's counts
    say the same. Without new counts windows run empty, and the level fades.

    **Lift** is the rate over the mean of the six days before the source's last one; a tag that
    the source does not name on one of its days was not used on it.

    **Sources** are never added up: each has its own scale, and of each tag the one speaks where it
    rises most surely. Tags that fewer than `LEAST_ACCOUNTS` used on any known day, and those of the
    lists of words that shame people, say nothing.

    Args:
        counts: In any order; one for each source, tag and day.
    """

    def __init__(self, counts: Sequence[OutsideCount]) -> None:
        ordered = sorted(counts, key=lambda c: (c.day, c.source, c.tag))
        self._sources = sorted({c.source for c in ordered})
        tags = sorted({c.tag for c in ordered})
        barred = is_shaming(tags).tolist()
        self._tags = [tag for tag, is_barred in zip(tags, barred, strict=True) if not is_barred]
        source_of = {name: i for i, name in enumerate(self._sources)}
        tag_of = {name: i for i, name in enumerate(self._tags)}
        kept = [c for c in ordered if c.tag in tag_of]
        self._day = np.array([c.day for c in kept], np.int64)
        self._source = np.array([source_of[c.source] for c in kept], np.int64)
        self._pair = self._source * len(tag_of) + np.array([tag_of[c.tag] for c in kept], np.int64)
        self._accounts = np.array([c.accounts for c in kept], np.int64)
        self._start = self._day * _DAY_S
        seen_at = np.array([c.seen_at for c in kept], np.float64)
        self._known = np.minimum(seen_at, self._start + _DAY_S)
        # What was read in the first minutes of a day is not squeezed into them.
        self._stop = np.clip(seen_at, self._start + _HOUR_S, self._start + _DAY_S)

    def __len__(self) -> int:
        return len(self._day)

    def at(self, at: float, hours: Sequence[float]) -> Crowd | None:
        """What is known at a moment (Unix seconds UTC) of windows before it, or None for nothing.

        Windows ascend and hold `RISE_HOURS`.
        """
        today = int(at // _DAY_S)
        span = int(np.ceil(max(hours) / 24.0)) + USUAL_DAYS + 1
        first, last = np.searchsorted(self._day, [today - span, today + 1], side="left")
        rows = first + np.flatnonzero(self._known[first:last] <= at)
        if not len(rows):
            return None
        n_pairs, n_tags = len(self._sources) * len(self._tags), len(self._tags)
        day, source, accounts = self._day[rows], self._source[rows], self._accounts[rows]
        pairs = distinct(self._pair[rows], below=n_pairs)
        column = np.searchsorted(pairs, self._pair[rows])
        of_pair = pairs // n_tags
        busiest, latest, usual = self._usual(rows, column, of_pair)
        scale = np.minimum(1.0, CROWD / np.maximum(busiest, 1.0))[of_pair]
        people = np.zeros((len(hours), len(pairs)))
        start, stop = self._start[rows], np.minimum(self._stop[rows], at)
        for i, length in enumerate(hours):
            inside = np.maximum(stop - np.maximum(start, at - length * _HOUR_S), 0.0)
            share = inside / (self._stop[rows] - start)
            people[i] = np.bincount(column, accounts * share, len(pairs)) * scale
        usual *= scale
        expected = np.where(np.isnan(usual), people[hours.index(24.0)], usual)
        expected = expected * (np.array(hours)[:, None] / 24.0)
        sigma = (people - expected) / np.sqrt(expected + 1.0)
        sigma[[length not in RISE_HOURS for length in hours]] = -np.inf
        window, every = np.argmax(sigma, axis=0), np.arange(len(pairs))
        shrink = scale * _SHRINK  # the rate is shrunk as it was counted
        times = ((people + shrink) / (expected + shrink))[window, every]
        most = np.zeros(len(pairs), np.int64)
        np.maximum.at(most, column, accounts)
        # The later day of two that are as busy.
        packed = np.where(day >= latest[source] - 1, (accounts << 1) | (day == latest[source]), 0)
        last = np.zeros(len(pairs), np.int64)
        np.maximum.at(last, column, packed)
        rise = np.round(sigma[window, every], 6)
        left = people[-1] >= LEAST_ACCOUNTS * scale  # fewer in the longest window: it has faded
        heard = np.flatnonzero((most >= LEAST_ACCOUNTS) & left)
        # Of each tag the source where it rises most, then where more accounts use it.
        tag = pairs[heard] % n_tags
        order = np.lexsort((of_pair[heard], -people[-1, heard], -rise[heard], tag))
        best = heard[order[np.diff(tag[order], prepend=-1) > 0]]
        if not len(best):
            return None
        return Crowd(
            tags=[self._tags[t] for t in (pairs[best] % n_tags).tolist()],
            source=[self._sources[s] for s in of_pair[best].tolist()],
            people=people[:, best].astype(np.float32),
            usual=usual[best],
            accounts=last[best] >> 1,
            day=latest[of_pair[best]] - 1 + (last[best] & 1),
            rise=rise[best],
            times=times[best],
            window=window[best],
        )

    def _usual(self, rows: Ints, column: Ints, of_pair: Ints) -> tuple[Doubles, Ints, Doubles]:
        """Accounts of each source's busiest day in its last week, its last day, and usual ones.

        Returns:
            `[sources]`, `[sources]`, and accounts on a usual day of each pair `[P]`, NaN for those
            of a source without earlier days.
        """
        n_sources = len(self._sources)
        day, source, accounts = self._day[rows], self._source[rows], self._accounts[rows]
        latest = np.full(n_sources, -(1 << 40))
        np.maximum.at(latest, source, day)
        ago = latest[source] - day
        near = ago <= USUAL_DAYS
        n_cells = n_sources * (USUAL_DAYS + 1)
        cell = (source * (USUAL_DAYS + 1) + ago)[near]
        order = np.lexsort((-accounts[near], cell))
        n_cell = np.bincount(cell, minlength=n_cells)
        place = np.arange(len(cell)) - (np.cumsum(n_cell) - n_cell)[cell[order]]
        listed = order[place < LISTED]
        daily = np.bincount(cell[listed], accounts[near][listed], n_cells).reshape(n_sources, -1)
        n_days = (n_cell > 0).reshape(n_sources, -1)
        earlier = near & (ago > 0)
        total = np.bincount(column[earlier], accounts[earlier], len(of_pair))
        n_earlier = n_days[:, 1:].sum(axis=1)[of_pair]
        usual = np.where(n_earlier > 0, total / np.maximum(n_earlier, 1.0), np.nan)
        return daily.max(axis=1), latest, usual
