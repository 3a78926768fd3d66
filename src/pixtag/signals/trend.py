"""Trend: how many other people use a tag now, and how that compares with what is usual."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from pixtag.evidence import DAY_TICKS, Evidence, repeated, ticks
from pixtag.signals.asked import Asked, Pairs
from pixtag.signals.outside import LEAST_RISE, WINDOWS_HOURS
from pixtag.signals.spec import Feature, Signal
from pixtag.types import Floats, Ints

LEVEL_FLOOR = 0.05  # people that every tag is given on top, in its share of the recent posts
LIFT_HOURS = WINDOWS_HOURS[1:]
SHRINK = 0.5
PROPOSE_HOURS = (24.0, 168.0)
LEAST_PEOPLE = 3
"""Fewer people than this in a window are no trend, and a private tag stays private."""


@dataclass(frozen=True, slots=True)
class Rising:
    """A tag that more people use than usual.

    Attributes:
        tag: Normalised, without '#'.
        times_usual: Its rate over what is usual for it, shrunk towards 1 for small counts.
        n_people: People who used it in the window.
        window_hours: The window before the time asked about in which the rise is surest.
        source: Who counted, outside the store; empty for the store's own people. From outside
            `n_people` are those of the busier of the last two days.
    """

    tag: str
    times_usual: float
    n_people: int
    window_hours: float
    source: str = ""


Found = list[tuple[float, Rising]]
"""Rising tags, each with how surely it rises."""


def rising_tags(view: Evidence, *, at: float, k: int, denied: Collection[str] = ()) -> list[Rising]:
    """Find the tags whose rate rises most surely, in standard deviations of a Poisson count.

    Args:
        view: The past; what it knows from outside the store counts too.
        at: Unix seconds UTC; only posts before it count.
        k: How many at most.
        denied: Tags that are not taken from outside.

    Returns:
        The surest first; ties by tag. Each tag once, where it rises most.
    """
    best = dict[str, tuple[float, Rising]]()
    for sigma, one in (*_rising_here(view, at), *_rising_outside(view, at, denied)):
        if one.tag not in best or sigma > best[one.tag][0]:
            best[one.tag] = sigma, one
    ordered = sorted(best.values(), key=lambda pair: (-pair[0], pair[1].tag))
    return [one for _, one in ordered[:k]]


def _rising_outside(view: Evidence, at: float, denied: Collection[str]) -> Found:
    crowd = None if view.outside is None else view.outside.at(at, WINDOWS_HOURS)
    if crowd is None:
        return []
    # Without earlier days nobody knows what is usual, so nothing rises.
    risen = (crowd.times >= LEAST_RISE) & (crowd.rise > 0) & (crowd.accounts >= LEAST_PEOPLE)
    found: Found = []
    for i in np.flatnonzero(risen & ~np.isin(crowd.tags, list(denied))).tolist():
        times, n, hours = float(crowd.times[i]), int(crowd.accounts[i]), crowd.window[i]
        one = Rising(crowd.tags[i], times, n, WINDOWS_HOURS[hours], crowd.source[i])
        found.append((float(crowd.rise[i]), one))
    return found


def _rising_here(view: Evidence, at: float) -> Found:
    moment = int(ticks(np.array([at]))[0])
    tags, people = view.people_lately(moment, WINDOWS_HOURS)
    if not len(tags):
        return []
    moments = np.full(len(tags), moment)
    rate = (view.counts(tags, moments).days + 0.5) / view.lived_days(moments)
    expected = rate * np.array(WINDOWS_HOURS)[:, None] / 24.0
    ratio = (people + SHRINK) / (expected + SHRINK)
    sigma = (people - expected) / np.sqrt(expected + 1.0)
    sigma[(people < LEAST_PEOPLE) | (ratio < LEAST_RISE)] = -np.inf
    sigma[:, view.named_with(tags, moments) < LEAST_PEOPLE] = -np.inf  # nobody's may be one's own
    window = np.argmax(sigma, axis=0)
    column = np.arange(len(tags))
    best, ratio, people = sigma[window, column], ratio[window, column], people[window, column]
    names, hours = view.tags, WINDOWS_HOURS
    return [
        (
            round(float(best[i]), 6),
            Rising(names[tags[i]], float(ratio[i]), int(people[i]), hours[window[i]]),
        )
        for i in np.flatnonzero(best > 0).tolist()
    ]


def _trend(asked: Asked, pairs: Pairs) -> Floats:
    """Level and lift of the distinct other people in several windows, rhythm and birth of a tag.

    One person's flood counts once, and the person asked about never counts, so a trend is never
    just their own history. Ratios are shrunk towards 1 for small counts.
    """
    facts, question = asked.facts(pairs), pairs.question
    people = asked.view.window(
        pairs.tag, asked.asker[question], asked.tick[question], WINDOWS_HOURS
    )
    lived = asked.lived_days[question]
    rate = (facts.days + 0.5) / lived
    at = [WINDOWS_HOURS.index(hours) for hours in PROPOSE_HOURS]
    shares = (people[at] + LEVEL_FLOOR) / (asked.lately_posted[at] + 1.0)[:, question]
    usual = np.array(LIFT_HOURS)[:, None] / 24.0 * rate
    lift = np.log((people[1:] + SHRINK) / (usual + SHRINK))
    age = np.maximum(asked.tick[question] - facts.first, 0) / DAY_TICKS
    columns = [
        *lift,
        *np.log1p(people),
        *np.log(shares),
        np.log(rate),
        np.log(facts.on_weekday + 1.0) - np.log(facts.days / 7.0 + 1.0),
        np.log1p(age),
    ]
    return np.array(columns).T.astype(np.float32)


def propose_rising(asked: Asked, *, limit: int) -> tuple[Ints, Ints]:
    """Tags of most people lately and that rise, and those used by several of the last posts."""
    rising = [
        asked.view.rising(tick, hours=PROPOSE_HOURS, shrink=SHRINK, limit=limit)
        for tick in asked.tick.tolist()
    ]
    question = np.repeat(np.arange(len(asked)), [len(tags) for tags in rising])
    found, tag = asked.just_used
    n_tags = asked.n_tags
    keys = repeated(found * n_tags + tag, below=len(asked) * n_tags)
    return (
        np.concatenate([question, keys // n_tags]),
        np.concatenate([*rising, keys % n_tags]).astype(np.int64),
    )


TREND = Signal(
    "trend",
    (
        *(Feature(f"trend_lift_{int(h)}h", ("trend",), "rising") for h in LIFT_HOURS),
        *(Feature(f"trend_people_{int(h)}h", ("trend",), "rising") for h in WINDOWS_HOURS),
        *(Feature(f"trend_level_{int(h)}h", ("trend",), "rising") for h in PROPOSE_HOURS),
        Feature("daily_rate_log", ("trend",), "rising"),
        Feature("weekday_lift", ("trend",), "weekday"),
        Feature("first_seen_log_days", ("trend",), "rising"),
    ),
    _trend,
)
