"""The moment that a question is about: its check, what it is by default, and posts after it."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import numpy as np

from pixtag.errors import InputError
from pixtag.evidence import View, seconds, ticks

DAY_S = 86_400.0


def check_time(at: datetime | None) -> None:
    """Raise `InputError` for a time without a zone."""
    if at is not None and at.tzinfo is None:
        raise InputError(
            f"the time {at} has no zone", hint="use an aware one: datetime(..., tzinfo=UTC)"
        )


def moment_of(view: View, at: datetime | None) -> float:
    """Unix seconds UTC that are asked about.

    Without `at` it is now, but after every post that is not more than a day ahead of the clock.
    """
    if at is not None:
        return at.timestamp()
    now = time.time()
    tomorrow = int(ticks(np.array([now + DAY_S]))[0])
    return max(now, seconds(view.latest(tomorrow) + 1))


def notes_on_times(view: View, at: datetime | None) -> list[str]:
    """Say how many posts are later than the moment and do not count; nothing where none is."""
    when = time.time() + DAY_S if at is None else at.timestamp()
    n, n_before = view.n_timed(ticks(np.array([np.inf, when]))).tolist()
    n_later, day = n - n_before, minute_of(when)
    if at is None and n_later:
        return [
            f"{n_later:,} of {n:,} posts in the store are later than tomorrow ({day}) and "
            "do not count; --at asks about another time"
        ]
    if n and n_later == n:
        return [f"every post in the store is later than {day}: nothing counts"]
    return []


def minute_of(at: float) -> str:
    """Write Unix seconds for a person: "2026-05-01 18:30 UTC"."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
