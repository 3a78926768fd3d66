"""Popularity and weekly rhythm, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from asking import Asked, queries_about, sampled, small_logs
from pixtag.signals.columns import DAY_S, Queries
from pixtag.signals.counts import Counts
from pixtag.types import Post, PostLog
from worlds import START_AT, state_of, world


def check(state, queries):
    asked = Asked(state, queries)
    got = asked.table(Counts.names, state.counts.features(asked.block, asked.pairs))
    public = state.counts.public(asked.block, least_people=3)
    for i, _, at, past in asked:
        for t, tag in enumerate(state.tags):
            uses = [p for p in past if tag in p.tags]
            people = {p.person for p in uses}
            assert got["uses_log"][i, t] == pytest.approx(np.log1p(len(uses)), abs=1e-5)
            assert got["people_log"][i, t] == pytest.approx(np.log1p(len(people)), abs=1e-5)
            assert public[i, t] == (len(people) >= 3)
            times = [p.at for p in uses if p.is_timed]
            age_days = (at - min(times)) / DAY_S if times else 0.0
            assert got["first_seen_log_days"][i, t] == pytest.approx(np.log1p(age_days), abs=1e-4)


def test_every_number_is_what_a_plain_count_gives():
    log = world()
    check(state_of(log), sampled(log, 25))


@settings(max_examples=25)
@given(small_logs())
def test_ties_and_missing_times_and_people_change_nothing(log):
    if len(log):
        check(state_of(log, n_known=3), queries_about(log, np.arange(len(log))))


def test_the_cursor_may_go_back():
    log = world()
    state = state_of(log)
    late = sampled(log, 20).take(np.arange(20))
    order = np.argsort(late.at)
    fresh = Asked(state_of(log), late.take(order[:5]))
    expected = fresh.state.counts.features(fresh.block, fresh.pairs)
    Asked(state, late.take(order[-5:]))
    again = Asked(state, late.take(order[:5]))
    assert np.allclose(state.counts.features(again.block, again.pairs), expected, atol=1e-6)


def test_a_tag_of_one_weekday_is_expected_on_that_day():
    monday = START_AT - START_AT % DAY_S + (-((START_AT // DAY_S + 3) % 7) % 7) * DAY_S
    posts = [
        Post(f"w{week}{user}", user, monday + (7 * week + 0.4) * DAY_S, ("mondays",))
        for week in range(6)
        for user in ("ana", "bo", "cy")
    ]
    posts += [
        Post(f"d{day}{user}", user, monday + (day + 0.4) * DAY_S, ("daily",))
        for day in range(42)
        for user in ("ana", "bo", "cy")
    ]
    state = state_of(PostLog.of(posts), n_known=0)
    at = monday + (42 + np.array([0.5, 3.5])) * DAY_S
    empty = np.zeros((2, 1), np.float32)
    asked = Asked(state, Queries(at, (None, None), empty, np.zeros(2, np.bool_)))
    got = asked.table(Counts.names, state.counts.features(asked.block, asked.pairs))
    mondays, daily = (got["weekday_lift"][:, state.tags.index(t)] for t in ("mondays", "daily"))
    assert mondays[0] > 1.0
    assert mondays[1] < -1.0
    assert np.abs(daily).max() < 0.2


def test_a_person_who_floods_is_one_person():
    posts = [Post(f"a{i}", "ana", START_AT + i, ("flood",)) for i in range(50)]
    posts += [Post(f"b{i}", f"user{i}", START_AT + 60 + i, ("wide",)) for i in range(4)]
    log = PostLog.of(posts)
    state = state_of(log, n_known=0)
    asked = Asked(state, queries_about(log, [len(log) - 1], shift_s=1.0))
    public = state.counts.public(asked.block, least_people=3)
    _, tag = state.counts.propose(asked.block, public, limit=5)
    assert [state.tags[t] for t in tag] == ["wide"]
