"""What is refused before any work is done."""

from __future__ import annotations

from datetime import datetime

from pixtag.errors import InputError


def check_question(k: int, at: datetime | None) -> None:
    """Refuse what cannot be answered.

    Args:
        k: Hashtags asked for.
        at: The time asked about.

    Raises:
        InputError: `k` is not positive, or `at` has no zone.
    """
    if k < 1:
        raise InputError(f"k = {k}: at least one hashtag must be asked for", hint="use k=5")
    if at is not None and at.tzinfo is None:
        raise InputError(
            f"the time {at} has no zone", hint="use an aware one: datetime(..., tzinfo=UTC)"
        )
