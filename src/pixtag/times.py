"""The parser and the writer of instants: Unix seconds UTC, exact to the microsecond."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from pixtag.errors import InputError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

EARLIEST_US = (datetime(1700, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
# Times outside are slips; inside, a float of Unix seconds is exact to the microsecond
LATEST_US = (datetime(2240, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
NO_ZONE = "time without a zone, read as UTC"
UNREADABLE = "unreadable time"
OUT_OF_RANGE = "time out of range"
DOUBTFUL = "doubtful time, left out: neither a date nor Unix time since September 2001"

_DATE = re.compile(r"([0-9]{4})(?:([0-9]{2})([0-9]{2})?)?(?:\.0+)?|([0-9]{4})-([0-9]{2})")
# What counts thousandths or millionths of a second is told by its size: as seconds the smallest
# of each would lie after the year 5138.
_UNITS_US = ((1e14, 1.0), (1e11, 1e3), (0.0, 1e6))
_PLAUSIBLE_US = 10**9 * 10**6  # Unix time with ten digits, nearly all that cameras and sites made


def read_time(value: object) -> tuple[float | None, str]:
    """Read an instant: ISO 8601 text (UTC unless it names a zone), a number, or a datetime.

    Digits alone of 4, 6 or 8 places are a date, as text or number, never seconds. Other numbers
    are Unix seconds, milliseconds or microseconds, told apart by size.

    Returns:
        Unix seconds UTC or None, and what is odd: `NO_ZONE` with an instant; `UNREADABLE`,
        `OUT_OF_RANGE`, `DOUBTFUL` without one; "" for nothing odd, also where no value was given.

    Example:
        >>> read_time("2026-05-01T02:00+02:00"), read_time("20260501")[0], read_time(12345)[0]
        ((1777593600.0, ''), 1777593600.0, None)
    """
    if isinstance(value, str):
        value = value.strip()
    if value is None or value == "" or isinstance(value, bool):
        return None, ""
    oddity = ""
    number = _number(value)
    moment = value if isinstance(value, datetime) else None
    try:
        if (date := _DATE.fullmatch(str(value))) is not None:
            year, month, day = date[1] or date[4], date[2] or date[5] or 1, date[3] or 1
            moment = datetime(int(year), int(month), int(day), tzinfo=UTC)
            oddity = NO_ZONE
        elif number is None and isinstance(value, str):
            moment = datetime.fromisoformat(value)
    except ValueError:
        return None, UNREADABLE
    if moment is not None:
        if moment.tzinfo is None:
            moment, oddity = moment.replace(tzinfo=UTC), NO_ZONE
        at_us = (moment - _EPOCH) // _MICROSECOND
    elif number is None or not math.isfinite(number):
        return None, UNREADABLE
    else:
        unit_us = next(unit for least, unit in _UNITS_US if abs(number) >= least)
        at_us = microseconds(number) if unit_us == 1e6 else round(number * unit_us)
        if at_us < _PLAUSIBLE_US:
            return None, DOUBTFUL if at_us >= EARLIEST_US else OUT_OF_RANGE
    return (at_us / 1e6, oddity) if EARLIEST_US <= at_us < LATEST_US else (None, OUT_OF_RANGE)


def parse_time(text: str) -> datetime:
    """Read a time as a person types it, or raise `InputError`; UTC when no zone is given."""
    at, oddity = read_time(text)
    if at is None:
        reason = {OUT_OF_RANGE: "is too far away", DOUBTFUL: "is a doubtful time"}
        raise InputError(
            f"{text!r} {reason.get(oddity, 'is no time')}",
            hint="write it as 2026-05-01 or 2026-05-01T18:30+02:00",
        )
    return as_datetime(at)


def as_datetime(at: float) -> datetime:
    """Turn Unix seconds into a datetime in UTC, exact to the microsecond."""
    return _EPOCH + timedelta(microseconds=microseconds(at))


def iso_time(at: float | None) -> str | None:
    """Write Unix seconds as ISO 8601 in UTC, exact to the microsecond; None stays None."""
    return None if at is None else as_datetime(at).isoformat()


def microseconds(at: float) -> int:
    """Turn Unix seconds into whole microseconds, exact from 1700 to 2240."""
    # `at * 1e6` in one go would be off by one from 2041 on.
    whole = math.floor(at)
    return whole * 1_000_000 + round((at - whole) * 1e6)


def _number(value: object) -> float | None:
    if not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except ValueError:
        return None
    except OverflowError:  # a whole number of more than 308 digits
        return math.inf
