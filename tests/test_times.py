"""The one parser of times: the same for what files hold and what people type."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtag.errors import InputError
from pixtag.types import (
    DOUBTFUL,
    EARLIEST_US,
    LATEST_US,
    NO_ZONE,
    OUT_OF_RANGE,
    UNREADABLE,
    iso_time,
    parse_time,
    read_time,
)

MAY = "2026-05-01T00:00:00+00:00"
NOON = "2026-03-01T12:00:00+00:00"
OFFSET = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("value", "expected", "oddity"),
    [
        ("2026-03-01", "2026-03-01T00:00:00+00:00", NO_ZONE),
        ("2026-03-01T12:00:00+05:30", "2026-03-01T06:30:00+00:00", ""),
        (" 2026-03-01 12:00:00.5Z ", "2026-03-01T12:00:00.500000+00:00", ""),
        (1_772_366_400, NOON, ""),
        ("1772366400", NOON, ""),
        (1_772_366_400_000, NOON, ""),
        (1_772_366_400_000_000, NOON, ""),
        (1_772_366_400.25, "2026-03-01T12:00:00.250000+00:00", ""),
        (datetime(2026, 3, 1, 13, tzinfo=OFFSET), NOON, ""),
        # Digits alone of 4, 6 or 8 places are a date, never seconds.
        ("2026", "2026-01-01T00:00:00+00:00", NO_ZONE),
        ("202605", MAY, NO_ZONE),
        ("2026-05", MAY, NO_ZONE),
        ("20260501", MAY, NO_ZONE),
        (20260501, MAY, NO_ZONE),
        ("20260501.0", MAY, NO_ZONE),
        (20260501.0, MAY, NO_ZONE),
        # Other small numbers are hardly the time of a post.
        (0, None, DOUBTFUL),
        ("7", None, DOUBTFUL),
        ("46143", None, DOUBTFUL),
        ("1234567", None, DOUBTFUL),
        ("999999999", None, DOUBTFUL),
        (-1.5, None, DOUBTFUL),
        (2026.5, None, DOUBTFUL),
        (100_000_000_000, None, DOUBTFUL),
        ("10000000000", None, OUT_OF_RANGE),
        ("20260501183000", None, OUT_OF_RANGE),
        (1e300, None, OUT_OF_RANGE),
        ("1500-01-01T00:00Z", None, OUT_OF_RANGE),
        ("20261301", None, UNREADABLE),
        ("2026-13-01", None, UNREADABLE),
        ("yesterday", None, UNREADABLE),
        (math.nan, None, UNREADABLE),
        (10**400, None, UNREADABLE),
        ([2026], None, UNREADABLE),
        (None, None, ""),
        (" ", None, ""),
        (True, None, ""),
    ],
)
def test_times_in_every_form(value: object, expected: str | None, oddity: str) -> None:
    at, told = read_time(value)
    assert (iso_time(at), told) == (expected, oddity)


@given(st.integers(EARLIEST_US, LATEST_US - 1))
def test_times_survive_writing_and_reading_to_the_microsecond(at_us: int) -> None:
    text = iso_time(at_us / 1e6)
    assert text == (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).isoformat()
    assert read_time(text) == (at_us / 1e6, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-01", datetime(2026, 5, 1, tzinfo=UTC)),
        ("20260501", datetime(2026, 5, 1, tzinfo=UTC)),
        (" 2026-05-01T18:30 ", datetime(2026, 5, 1, 18, 30, tzinfo=UTC)),
        ("2026-05-01T18:30+02:00", datetime(2026, 5, 1, 16, 30, tzinfo=UTC)),
        ("2026-05-01 18:30:05.25Z", datetime(2026, 5, 1, 18, 30, 5, 250_000, tzinfo=UTC)),
    ],
)
def test_typed_times(text: str, expected: datetime) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is no time"),
        ("now-ish", "is no time"),
        ("2026-13-01", "is no time"),
        ("20261301", "is no time"),
        ("12345", "is a doubtful time"),
        ("0001-01-01T00:00+05:00", "is too far away"),
    ],
)
def test_typed_times_that_are_none_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        parse_time(text)
    assert caught.value.hint
