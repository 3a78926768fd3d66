"""Hashtags that people put into the first comment instead of the caption."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

COMMENT_WINDOW_S = 600.0
"""An own comment this soon after a post belongs to it."""


@dataclass(frozen=True, slots=True)
class Comment:
    """An own comment on own media.

    Attributes:
        at: Unix seconds UTC.
        tags: Its hashtags as written.
    """

    at: float
    tags: tuple[str, ...]


def assign_comments(posted_at: list[float | None], comments: list[Comment]) -> list[list[Comment]]:
    """Give each comment to the latest post that came at most ten minutes before it.

    Args:
        posted_at: Time of each post, Unix seconds UTC, in any order.
        comments: Own comments, in any order.

    Returns:
        Comments of each post, earliest first.
    """
    timed = sorted((at, i) for i, at in enumerate(posted_at) if at is not None)
    times = [at for at, _ in timed]
    given: list[list[Comment]] = [[] for _ in posted_at]
    for comment in sorted(comments, key=lambda one: one.at):
        place = bisect_right(times, comment.at) - 1
        if place >= 0 and comment.at - times[place] <= COMMENT_WINDOW_S:
            given[timed[place][1]].append(comment)
    return given
