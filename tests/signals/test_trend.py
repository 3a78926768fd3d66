"""Trend: distinct other people lately, against what is usual."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from asking import Asked, queries_about, sampled, small_logs
from pixtag.signals.columns import DAY_S, Queries
from pixtag.signals.trend import WINDOWS_HOURS, Trend
from pixtag.types import Post, PostLog
from worlds import START_AT, state_of, world


def features(state, asked):
    tags, counts = state.trend.window_counts(asked.block)
    rate = state.counts.rate_per_day(asked.block, np.arange(len(state.tags))).ravel()
    values = state.trend.features(asked.block, asked.pairs, tags, counts, rate)
    return asked.table(Trend.names, values)


def check(state, queries):
    asked = Asked(state, queries)
    got = features(state, asked)
    for i, user, at, past in asked:
        for hours in WINDOWS_HOURS:
            lately = [p for p in past if p.is_timed and p.at >= at - hours * 3600.0]
            for t, tag in enumerate(state.tags):
                people = {p.person for p in lately if tag in p.tags}
                n = len(people - {user})
                seen = got[f"trend_people_{int(hours)}h"][i, t]
                assert seen == pytest.approx(np.log1p(n), abs=1e-5), (tag, hours)


def test_people_in_every_window_are_counted_once_and_the_asker_never():
    log = world()
    check(state_of(log), sampled(log, 25))


@settings(max_examples=25)
@given(small_logs())
def test_ties_and_missing_times_and_people_change_nothing(log):
    if len(log):
        check(state_of(log, n_known=3), queries_about(log, np.arange(len(log))))


def usual_days() -> list[Post]:
    """Five people who post `usual` every day for forty days."""
    return [
        Post(f"u{day}{user}", f"user{user}", START_AT + (day + 0.1 * user) * DAY_S, ("usual",))
        for day in range(40)
        for user in range(5)
    ]


def lift(posts: list[Post], *, user: str | None) -> dict[str, float]:
    state = state_of(PostLog.of(posts), n_known=0)
    asked = Asked(
        state,
        Queries(
            np.array([START_AT + 40 * DAY_S]),
            (user,),
            np.zeros((1, 1), np.float32),
            np.zeros(1, np.bool_),
        ),
    )
    return dict(zip(state.tags, features(state, asked)["trend_lift_24h"][0], strict=True))


def fresh(users: list[str | None], *, times: int = 1) -> list[Post]:
    return [
        Post(f"f{i}-{n}", user, START_AT + (39.6 + 0.01 * i + 0.001 * n) * DAY_S, ("fresh",))
        for i, user in enumerate(users)
        for n in range(times)
    ]


def test_what_rises_has_a_lift_and_what_is_usual_has_none():
    lifts = lift([*usual_days(), *fresh(["user0", "user1", "user2"])], user="user4")
    assert lifts["fresh"] > 1.0
    assert abs(lifts["usual"]) < 0.3


def test_one_persons_flood_moves_no_more_than_one_post():
    once = lift([*usual_days(), *fresh(["user0"])], user="user4")["fresh"]
    flood = lift([*usual_days(), *fresh(["user0"], times=30)], user="user4")["fresh"]
    assert flood == pytest.approx(once)
    assert flood < lift([*usual_days(), *fresh(["user0", "user1"])], user="user4")["fresh"]


def test_the_askers_own_posts_are_no_trend():
    own = lift([*usual_days(), *fresh(["user4"], times=5)], user="user4")["fresh"]
    assert own < 0.05
    assert lift([*usual_days(), *fresh(["user4"], times=5)], user="user3")["fresh"] > 0.5


def test_posts_of_nobody_are_a_trend_for_strangers_too():
    posts = [*usual_days(), *fresh([None, None, None])]
    assert lift(posts, user=None)["fresh"] > 1.0
    assert lift(posts, user=None)["fresh"] == pytest.approx(lift(posts, user="user4")["fresh"])


def test_rising_public_tags_are_proposed():
    log = PostLog.of([*usual_days(), *fresh(["user0", "user1", "user2"])])
    state = state_of(log, n_known=0)
    asked = Asked(state, queries_about(log, [len(log) - 1], users=("user4",), shift_s=3600.0))
    tags, counts = state.trend.window_counts(asked.block)
    rate = state.counts.rate_per_day(asked.block, tags)
    lifts = state.trend.lifts(asked.block, counts, rate)
    public = state.counts.public(asked.block, least_people=3)
    _, tag = state.trend.propose(tags, counts, lifts, public, limit=1)
    assert {state.tags[t] for t in tag} == {"fresh"}
    nothing = state.trend.propose(tags, counts, lifts, ~public, limit=1)
    assert len(nothing[0]) == 0
