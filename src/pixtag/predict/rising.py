"""What is rising: tags that more people use than usual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pixtag.signals.columns import Block, Columns
from pixtag.signals.counts import Counts
from pixtag.signals.trend import WINDOWS_HOURS, Trend
from pixtag.types import PostLog

LEAST_PEOPLE = 3
"""Fewer people than this in a window are no trend, and a private tag stays private."""

LEAST_RISE = 1.5
"""Rates below this many times the usual one are everyday noise."""


@dataclass(frozen=True, slots=True)
class Rising:
    """A tag that more people use than usual.

    Attributes:
        tag: Normalised, without '#'.
        times_usual: Its rate over what is usual for it, shrunk towards 1 for small counts.
        n_people: People who used it in the window.
        window_hours: The window before the time asked about in which the rise is surest.
    """

    tag: str
    times_usual: float
    n_people: int
    window_hours: float


def rising_tags(log: PostLog, *, at: float, k: int) -> list[Rising]:
    """Find the tags that rise at a time.

    In each window the people who used a tag are compared with how many are usual; the rise in
    standard deviations of a Poisson count decides the order and the window shown.

    Args:
        log: Posts; those without a time say nothing.
        at: Unix seconds UTC; only posts before it count.
        k: How many at most.

    Returns:
        The surest first; ties by tag.
    """
    columns = Columns(log, n_tags=len(log.tags))
    counts = Counts(columns, prior_people=np.zeros(len(log.tags)))
    trend = Trend(columns)
    nobody = np.array([columns.n_users], np.int64)
    block = Block(
        columns, np.array([at]), nobody, np.zeros((1, 1), np.float32), np.zeros(1, np.bool_)
    )
    counts.advance(block.base)
    tags, people = trend.window_counts(block)
    if not len(tags):
        return []
    rate = counts.rate_per_day(block, tags)
    ratio = np.exp(trend.lifts(block, people, rate))[:, 0]
    people = people[:, 0]
    expected = rate[0][None] * (np.array(WINDOWS_HOURS)[:, None] / 24.0)
    sigma = (people - expected) / np.sqrt(expected + 1.0)
    sigma[(people < LEAST_PEOPLE) | (ratio < LEAST_RISE)] = -np.inf
    window = np.argmax(sigma, axis=0)
    best = sigma[window, np.arange(len(tags))]
    found = [
        (-round(float(best[i]), 6), log.tags[tags[i]], i)
        for i in np.flatnonzero(np.isfinite(best)).tolist()
    ]
    return [
        Rising(
            tag=tag,
            times_usual=float(ratio[window[i], i]),
            n_people=int(people[window[i], i]),
            window_hours=WINDOWS_HOURS[window[i]],
        )
        for _, tag, i in sorted(found)[:k]
    ]
