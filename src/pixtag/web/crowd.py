"""How everybody uses a tag, as far as that may be told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from pixtag.evidence import LAST_TICK, NOBODY, View, seconds, ticks
from pixtag.predictor import moment_of
from pixtag.signals.trend import LEAST_PEOPLE, WINDOWS_HOURS

_LAST_POSTS, _SHOWN = 500, 10


@dataclass(frozen=True, slots=True)
class TagFacts:
    """Use of a tag; counts of people below three are given as none."""

    tag: str
    n_people: int
    n_posts: int
    first_at: float | None  # Unix seconds UTC, where a use has a time
    people_by_hours: dict[str, int]
    goes_with: list[str]


def tag_facts(view: View, tag: str) -> TagFacts | None:
    """What is known of a normalised tag; None while fewer than three people have used it."""
    found = view.id_of(tag)
    tags, now = np.array([found]), ticks(np.array([moment_of(view, None)]))
    if found < 0 or view.named_with(tags, now)[0] < LEAST_PEOPLE:
        return None
    counts = view.counts(tags, now)
    inside = view.window(tags, np.array([NOBODY]), now, WINDOWS_HOURS).reshape(-1)
    hours = {
        f"{hours:g}": int(n) if n >= LEAST_PEOPLE else 0
        for hours, n in zip(WINDOWS_HOURS, inside, strict=True)
    }
    _, slots = view.carrying(tags, now, limit=_LAST_POSTS)
    _, others = view.uses_of(slots)
    beside = [one for one, _ in Counter(others.tolist()).most_common(20 * _SHOWN) if one != found]
    ids = np.array(beside, np.int64)
    people = view.named_with(ids, np.repeat(now, len(ids))) if len(ids) else ids
    public = [view.tags[one] for one, n in zip(beside, people, strict=True) if n >= LEAST_PEOPLE]
    first = int(counts.first[0])
    return TagFacts(
        tag, int(counts.people[0]), int(counts.uses[0]),
        None if first >= LAST_TICK or first <= 0 else seconds(first), hours, public[:_SHOWN],
    )  # fmt: skip
