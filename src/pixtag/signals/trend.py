"""Trend: how many other people use a tag now, and how that compares with what is usual."""

from __future__ import annotations

import numpy as np

from pixtag.evidence import DAY_TICKS, distinct
from pixtag.signals.asked import Asked, Pairs
from pixtag.signals.spec import Feature, Signal
from pixtag.types import Floats, Ints

WINDOWS_HOURS = (1.0, 6.0, 24.0, 72.0, 168.0)
LIFT_HOURS = WINDOWS_HOURS[1:]
SHRINK = 0.5
PROPOSE_HOURS = (24.0, 168.0)


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
    usual = np.array(LIFT_HOURS)[:, None] / 24.0 * rate
    lift = np.log((people[1:] + SHRINK) / (usual + SHRINK))
    active = np.maximum(_posts_in(asked, 24.0), 1.0)[question]
    age = np.maximum(asked.tick[question] - facts.first, 0) / DAY_TICKS
    columns = [
        *lift,
        *np.log1p(people),
        np.log1p(100.0 * people[WINDOWS_HOURS.index(24.0)] / active),
        np.log(rate),
        np.log(facts.on_weekday + 1.0) - np.log(facts.days / 7.0 + 1.0),
        np.log1p(age),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _posts_in(asked: Asked, hours: float) -> Ints:
    """Posts of the last hours before each question, `[B]`."""
    since = np.maximum(asked.tick - int(hours / 24.0 * DAY_TICKS), 1)
    return asked.n_posts - asked.view.totals(since).posts


def propose_rising(asked: Asked, *, limit: int) -> tuple[Ints, Ints]:
    """Tags that rise, as of the last full hour, and those used by several of the last posts."""
    rising = [
        asked.view.rising(tick, hours=PROPOSE_HOURS, shrink=SHRINK, limit=limit)
        for tick in asked.tick.tolist()
    ]
    question = np.repeat(np.arange(len(asked)), [len(tags) for tags in rising])
    found, tag = asked.view.just_used(asked.tick)
    n_tags = asked.n_tags
    keys = np.sort(found * n_tags + tag)
    keys = distinct(keys[1:][keys[1:] == keys[:-1]])
    return (
        np.concatenate([question, keys // n_tags]),
        np.concatenate([*rising, keys % n_tags]).astype(np.int64),
    )


TREND = Signal(
    "trend",
    (
        *(Feature(f"trend_lift_{int(h)}h", ("trend",), "rising") for h in LIFT_HOURS),
        *(Feature(f"trend_people_{int(h)}h", ("trend",), "rising") for h in WINDOWS_HOURS),
        Feature("trend_share_24h", ("trend",), "rising"),
        Feature("daily_rate_log", ("trend",), "rising"),
        Feature("weekday_lift", ("trend",), "weekday"),
        Feature("first_seen_log_days", ("trend",), "rising"),
    ),
    _trend,
)
