"""Postings: for every key its sorted times, so that a count before a moment is one bisection.

    postings = postings.add(key, tick, row)        a new object; the old one stays as it was
    postings.before(key, tick)                     how many entries of a key lie before a moment
    postings.rows(key, since, until, limit=32)     the entries themselves

Entries live in sorted segments of geometrically growing size (a log-structured merge tree) and a
small sorted tail that is copied at every insertion. Nothing is changed in place, so a reader keeps
a consistent view without a lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pixtag.errors import StoreError
from pixtag.types import Bools, Doubles, Ints

TICKS_PER_S = 100
ORIGIN_S = -1_262_304_000.0
"""1930-01-01; ticks count from here."""

TIME_BITS = 39
UNTIMED = 0
LAST_TICK = (1 << TIME_BITS) - 1
"""After every moment that a post can have."""

ROW_BITS = 31
MOST_KEYS = 1 << (63 - TIME_BITS)
DAY_TICKS = 86_400 * TICKS_PER_S
HOUR_TICKS = 3_600 * TICKS_PER_S

TABLE_CELLS = 16
"""Cells of a table a value, up to which `distinct` makes one."""

TAIL_ROWS = 4096
GROWTH = 8

LARGE, MANY_KEYS = 1 << 19, 100
"""Entries of a segment, and keys, from which a search of all of it mostly waits for memory."""


def ticks(at: Doubles) -> Ints:
    """Turn Unix seconds into hundredths of a second since 1930, rounded down.

    Args:
        at: Unix seconds UTC, any shape; `-inf` for a post without a time.

    Returns:
        0 for `-inf`; otherwise from 1 on, at most `LAST_TICK` (the year 2104, and `inf`).
    """
    at = np.asarray(at, np.float64)
    timed = np.isfinite(at)
    scaled = np.floor((np.where(timed, at, 0.0) - ORIGIN_S) * TICKS_PER_S)
    out = np.clip(scaled, 1, LAST_TICK - 1).astype(np.int64)
    out[~timed] = np.where(at[~timed] > 0, LAST_TICK, UNTIMED)
    return out


def seconds(tick: int) -> float:
    """Unix seconds in the middle of a hundredth of a second, which `ticks` turns back."""
    return (tick + 0.5) / TICKS_PER_S + ORIGIN_S


def ragged(start: Ints, length: Ints) -> tuple[Ints, Ints]:
    """Expand runs into their elements.

    Args:
        start: First element of each run, `[R]`.
        length: Number of elements of each run, `[R]`, not negative.

    Returns:
        The run of each element `[E]` and the element itself `[E]`.
    """
    owner = np.arange(len(length)).repeat(length)
    first = length.cumsum() - length
    return owner, np.arange(len(owner)) + (start - first).take(owner)


def distinct(keys: Ints, *, below: int | None = None) -> Ints:
    """The different values among some that are not negative, ascending.

    Args:
        keys: Values, in any order.
        below: What all are less than; where it is not much more than their number, a table of
            that length is quicker than sorting.
    """
    if below is not None and below <= TABLE_CELLS * len(keys):
        is_there = np.zeros(below, np.bool_)
        is_there[keys] = True
        return np.flatnonzero(is_there)
    ordered = np.sort(keys)
    return ordered[is_first(ordered)]


def numbered(values: Ints) -> tuple[Ints, Ints]:
    """The number of each of some small values among the distinct ones, and these, ascending."""
    is_there = np.zeros(int(values.max(initial=0)) + 1, np.bool_)
    is_there[values] = True
    found = np.flatnonzero(is_there)
    number = np.empty(len(is_there), np.int64)
    number[found] = np.arange(len(found))
    return number[values], found


def repeated(keys: Ints, *, below: int) -> Ints:
    """The different values, all less than `below`, that are there at least twice, ascending."""
    if below <= TABLE_CELLS * len(keys):
        return np.flatnonzero(np.bincount(keys, minlength=below) > 1)
    ordered = np.sort(keys)
    return distinct(ordered[1:][ordered[1:] == ordered[:-1]])


def is_first(ordered: Ints) -> Bools:
    """Whether each of some values is another than the one before it."""
    out = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=out[1:])
    return out


def is_ascending(keys: Ints) -> bool:
    """Whether each value is larger than the one before it."""
    return bool((keys[1:] > keys[:-1]).all())


def is_among(keys: Ints, ordered: Ints) -> Bools:
    """Whether each key is one of some ascending ones."""
    if not len(ordered):
        return np.zeros(len(keys), np.bool_)
    place = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    return ordered[place] == keys


def check_keys(key: Ints) -> None:
    """Raise `StoreError` when there are more keys than fit, `[E]`, one at least."""
    if int(key.max()) >= MOST_KEYS:
        raise StoreError(
            f"more than {MOST_KEYS:,} different keys (people, or tags by weekday)",
            hint="divide the store: one by region or by year",
        )


@dataclass(frozen=True)
class Segment:
    """Entries sorted by key, then time, then what decides ties.

    Attributes:
        packed: Key and tick in one number, `[E]`, ascending.
        entry: What decides ties, and the payload, in one number, `[E]`.
    """

    packed: Ints
    entry: Ints

    @classmethod
    def of(cls, packed: Ints, entry: Ints) -> Segment:
        """Sort entries, in any order."""
        if not (packed & LAST_TICK).any():  # without times all of a key are tied
            order = np.lexsort((entry, packed))
            return cls(packed[order], entry[order])
        order = np.argsort(packed, kind="stable")
        packed = packed[order]  # one by one: of many entries each takes a gigabyte
        entry = entry[order]
        del order
        same = packed[1:] == packed[:-1]
        if same.any():
            tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
            entry[tied] = entry[tied][np.lexsort((entry[tied], packed[tied]))]
        return cls(packed, entry)

    def __len__(self) -> int:
        return len(self.packed)

    @cached_property
    def _starts(self) -> Ints:
        """First entry of every key, `[keys + 1]`."""
        count = np.bincount(self.packed >> TIME_BITS) if len(self) else np.zeros(0, np.int64)
        return np.concatenate([[0], np.cumsum(count)])

    @cached_property
    def _count(self) -> Ints:
        """Entries of every key, then 0 for all beyond, `[keys + 1]`."""
        return np.append(np.diff(self._starts), 0)

    @cached_property
    def _is_tail(self) -> bool:
        return len(self) <= TAIL_ROWS

    @cached_property
    def _latest(self) -> int:
        """Tick of the last entry of any key."""
        return int((self.packed & LAST_TICK).max(initial=UNTIMED))

    def start(self, key: Ints) -> Ints:
        """Entries before the first of each key, `[P]`."""
        if self._is_tail:
            return self.packed.searchsorted(key << TIME_BITS)
        return self._starts.take(key, mode="clip")

    def place(self, key: Ints, tick: Ints | int) -> Ints:
        """Entries before each key and tick, `[P]`."""
        if not self._is_tail and self._is_over(tick):
            return self.start(key + 1)
        if len(self) > LARGE and len(key) > MANY_KEYS:
            return self._bisected(key, (key << TIME_BITS) | tick)
        return self.packed.searchsorted((key << TIME_BITS) | tick)

    def before(self, key: Ints, tick: Ints) -> Ints:
        """Entries of each key before each moment, `[P]`."""
        if not self._is_tail and self._is_over(tick):
            return self._count.take(key, mode="clip")
        return self.place(key, tick) - self.start(key)

    def _is_over(self, tick: Ints | int) -> bool:
        """Whether all entries lie before all of some moments."""
        earliest = tick if isinstance(tick, int) else np.minimum.reduce(tick, initial=LAST_TICK)
        return bool(earliest > self._latest)

    def _bisected(self, key: Ints, packed: Ints) -> Ints:
        """Entries before each one, `[P]`, all at once and looked for among those of its key."""
        low, high = self.start(key), self.start(key + 1)
        for _ in range(int((high - low).max(initial=0)).bit_length()):
            middle = (low + high) >> 1
            is_less = (self.packed.take(middle, mode="clip") < packed) & (middle < high)
            low, high = np.where(is_less, middle + 1, low), np.where(is_less, high, middle)
        return low


@dataclass(frozen=True)
class Postings:
    """Entries of many keys in time order; immutable.

    Shapes:
        P: pairs of a key and a moment. E: entries found.
    """

    segments: tuple[Segment, ...] = field(default=())

    def __len__(self) -> int:
        return sum(len(segment) for segment in self.segments)

    def add(self, key: Ints, tick: Ints, row: Ints, tie: Ints | int = 0) -> Postings:
        """Insert entries, in any order.

        Args:
            key: Not negative, below `MOST_KEYS`, `[E]`.
            tick: From `ticks`, `[E]`.
            row: Payload, `[E]`.
            tie: Decides the order of entries of one key and tick, whenever they were added; 32
                bits, `[E]` or one for all.

        Raises:
            StoreError: There are more keys than fit.
        """
        if not len(key):
            return self
        check_keys(key)
        packed = (key << TIME_BITS) | tick
        new = Segment.of(packed, (np.asarray(tie, np.int64) << ROW_BITS) | row)
        segments = list(self.segments)
        if segments and len(segments[-1]) <= TAIL_ROWS and len(new) <= TAIL_ROWS:
            new = _inserted(segments.pop(), new)
        segments.append(new)
        # A closed segment is merged with the one before it unless that is much larger.
        while len(segments) > 1 and len(segments[-1]) > TAIL_ROWS:
            if len(segments[-2]) > GROWTH * len(segments[-1]):
                break
            last = segments.pop()
            segments.append(_merged(segments.pop(), last))
        return Postings(tuple(segments))

    def remove(self, key: Ints, tick: Ints, row: Ints) -> Postings:
        """Take entries out; those that are not there are ignored."""
        if not len(key):
            return self
        packed = (key << TIME_BITS) | tick
        kept: list[Segment] = []
        for segment in self.segments:
            start = np.searchsorted(segment.packed, packed)
            stop = np.searchsorted(segment.packed, packed, side="right")
            owner, place = ragged(start, stop - start)
            gone = distinct(place[_row(segment.entry[place]) == row[owner]])
            if len(gone):
                segment = Segment(np.delete(segment.packed, gone), np.delete(segment.entry, gone))
            if len(segment):
                kept.append(segment)
        return Postings(tuple(kept))

    def before(self, key: Ints, tick: Ints) -> Ints:
        """Count the entries of each key strictly before each moment, `[P]`."""
        if not self.segments:
            return np.zeros(len(key), np.int64)
        first, *others = (segment.before(key, tick) for segment in self.segments)
        return sum(others, first)

    def first(self, key: Ints) -> Ints:
        """Tick of the first entry of each key, `[P]`; `LAST_TICK` where there is none."""
        least = np.full(len(key), LAST_TICK, np.int64)
        for segment in self.segments:
            place = np.minimum(segment.start(key), len(segment) - 1)
            found = segment.packed[place]
            tick = np.where(found >> TIME_BITS == key, found & LAST_TICK, LAST_TICK)
            least = np.minimum(least, tick)
        return least

    def rows(
        self, key: Ints, since: Ints | int, until: Ints, *, limit: int | None = None
    ) -> tuple[Ints, Ints, Ints]:
        """List the entries of each key from `since` to before `until`.

        Args:
            key: `[P]`.
            since: First tick that counts, `[P]` or one for all.
            until: First tick that does not, `[P]`.
            limit: Keep the last so many of each.

        Returns:
            Pair `[E]`, ascending; tick `[E]`, ascending within a pair; payload `[E]`.
        """
        parts: list[tuple[Ints, Ints, Ints]] = []
        for segment in self.segments:
            from_first = isinstance(since, int) and since == UNTIMED
            start = segment.start(key) if from_first else segment.place(key, since)
            stop = np.maximum(start, segment.place(key, until))
            if limit is not None:
                start = np.maximum(start, stop - limit)
            if (stop > start).any():
                owner, place = ragged(start, stop - start)
                parts.append((owner, segment.packed[place] & LAST_TICK, segment.entry[place]))
        if not parts:
            none = np.zeros(0, np.int64)
            return none, none, none
        if len(parts) == 1:
            owner, tick, entry = parts[0]
        else:
            owner, tick, entry = _joined(parts, n=len(key), limit=limit)
        return owner, tick, _row(entry)


def _row(entry: Ints) -> Ints:
    return entry & ((1 << ROW_BITS) - 1)


def _joined(
    parts: Sequence[tuple[Ints, Ints, Ints]], *, n: int, limit: int | None
) -> tuple[Ints, Ints, Ints]:
    owner, tick, entry = (np.concatenate([part[i] for part in parts]) for i in range(3))
    joined = Segment.of((owner << TIME_BITS) | tick, entry)
    owner, tick, entry = joined.packed >> TIME_BITS, joined.packed & LAST_TICK, joined.entry
    if limit is not None:
        stop = np.cumsum(np.bincount(owner, minlength=n))
        kept = np.arange(len(owner)) >= stop[owner] - limit
        owner, tick, entry = owner[kept], tick[kept], entry[kept]
    return owner, tick, entry


def _merged(left: Segment, right: Segment) -> Segment:
    return Segment.of(
        np.concatenate([left.packed, right.packed]), np.concatenate([left.entry, right.entry])
    )


def _inserted(tail: Segment, new: Segment) -> Segment:
    place = np.searchsorted(tail.packed, new.packed, side="right")
    if (tail.packed[place - 1] == new.packed).any():
        return _merged(tail, new)
    packed, entry = (
        np.insert(a, place, b) for a, b in ((tail.packed, new.packed), (tail.entry, new.entry))
    )
    return Segment(packed, entry)
