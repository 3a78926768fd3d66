"""Reading times as files give them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from pixtag.errors import InputError
from pixtag.ingest.report import Problems
from pixtag.store.rows import microseconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

EARLIEST_US = (datetime(1700, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
LATEST_US = (datetime(2240, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
"""Times outside are slips; inside, a float of Unix seconds is exact to the microsecond."""

# A number of this size or more counts thousandths (or millionths) of a second: as seconds it
# would lie after the year 5138, as milliseconds before 1974 only for what is smaller.
_MILLISECONDS_FROM = 1e11
_MICROSECONDS_FROM = 1e14


def read_time(value: object, problems: Problems, where: str) -> float | None:
    """Read a time in any of the forms that files use.

    Args:
        value: ISO 8601 text, a datetime, Unix seconds, milliseconds or microseconds (told apart
            by size), or nothing.
        problems: Counts what is odd: no zone (read as UTC), out of range, unreadable.
        where: The post, for the examples.

    Returns:
        Unix seconds UTC to the microsecond, or None when there is no usable time.
    """
    if isinstance(value, str):
        value = value.strip()
    if value is None or value == "" or isinstance(value, bool):
        return None
    at_us = (
        _number_us(value) if isinstance(value, int | float) else _text_us(value, problems, where)
    )
    if at_us is None:
        problems.add("unreadable time", f"{where}: {value!r}")
        return None
    if not EARLIEST_US <= at_us < LATEST_US:
        problems.add("time out of range", f"{where}: {value!r}")
        return None
    return at_us / 1e6


def iso_time(at: float | None) -> str | None:
    """Write Unix seconds as ISO 8601 in UTC, exact to the microsecond.

    Example:
        >>> iso_time(-0.5)
        '1969-12-31T23:59:59.500000+00:00'
    """
    at_us = microseconds(at)
    return None if at_us is None else (_EPOCH + timedelta(microseconds=at_us)).isoformat()


def given_time(text: str) -> float:
    """Read a time that somebody typed.

    Args:
        text: ISO 8601 (UTC unless it names a zone), or Unix seconds.

    Returns:
        Unix seconds UTC to the microsecond.

    Raises:
        InputError: It is no time.
    """
    at = read_time(text, Problems(), "")
    if at is None:
        raise InputError(f"{text!r} is no time", hint="write it as 2026-03-01T18:30 or 2026-03-01")
    return at


def _number_us(value: float) -> int | None:
    if not math.isfinite(value):
        return None
    if abs(value) >= _MICROSECONDS_FROM:
        return round(value)
    if abs(value) >= _MILLISECONDS_FROM:
        return round(value * 1e3)
    return microseconds(value)


def _text_us(value: object, problems: Problems, where: str) -> int | None:
    moment = value if isinstance(value, datetime) else None
    if isinstance(value, str):
        try:
            return _number_us(float(value))
        except ValueError:
            pass
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
    if moment is None:
        return None
    if moment.tzinfo is None:
        problems.add("time without a zone, read as UTC", f"{where}: {value}")
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND
