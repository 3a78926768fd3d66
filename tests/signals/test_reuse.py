"""Own history against its formula, one post at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from asking import Asked, queries_about, sampled, small_logs
from pixtag.signals.reuse import DECAYS, RANK_SCALES, SEASON_S, YEAR_S, Reuse
from pixtag.signals.uses import GAP_FADE
from pixtag.types import Post, PostLog
from worlds import START_AT, state_of, world

FLOOR = 1e-5


def check(state, queries):
    asked = Asked(state, queries)
    got = asked.table(Reuse.names, state.reuse.features(asked.block, asked.pairs))
    for i, user, at, past in asked:
        own = [p for p in past if p.user == user and user is not None and p.is_timed]
        for t, tag in enumerate(state.tags):
            uses = [(at - p.at, len(own) - 1 - n) for n, p in enumerate(own) if tag in p.tags]
            hours = [max(age, 60.0) / 3600.0 for age, _ in uses]
            for decay in DECAYS:
                level = max(sum(h**-decay for h in hours), FLOOR)
                expected = np.log(level) - np.log(FLOOR)
                assert got[f"reuse_decay_{decay}"][i, t] == pytest.approx(expected, abs=2e-4)
            for scale in RANK_SCALES:
                level = max(sum(np.exp(-rank / scale) for _, rank in uses), FLOOR)
                expected = np.log(level) - np.log(FLOOR)
                assert got[f"reuse_posts_{int(scale)}"][i, t] == pytest.approx(expected, abs=2e-4)
            assert got["own_uses_log"][i, t] == pytest.approx(np.log1p(len(uses)), abs=1e-5)
            assert got["own_share"][i, t] == pytest.approx(len(uses) / max(len(own), 1), abs=1e-5)
            assert got["own_in_last_post"][i, t] == float(any(rank == 0 for _, rank in uses))
            if uses:
                assert got["own_last_log_hours"][i, t] == pytest.approx(
                    np.log(min(hours)), abs=1e-4
                )
                assert got["own_last_log_posts"][i, t] == pytest.approx(
                    np.log1p(min(rank for _, rank in uses)), abs=1e-5
                )
            check_gaps({n: got[n][i, t] for n in GAP_NAMES}, uses)
            season = [a for a, _ in uses if YEAR_S - SEASON_S < a <= YEAR_S + SEASON_S]
            assert got["own_last_year"][i, t] == pytest.approx(np.log1p(len(season)), abs=1e-5)
        check_rhythm(got, i, at, own, state.tags)


GAP_NAMES = ("due_hours", "due_posts", "gap_log_posts", "gap_spread")


def check_gaps(got, uses):
    """The age of the last use over the usual gap, where later gaps count more."""
    if len(uses) < 2:
        assert got["due_hours"] == got["due_posts"] == got["gap_spread"] == 0.0
        return
    ages = np.array([age for age, _ in uses])
    ranks = np.array([rank for _, rank in uses])
    weight = GAP_FADE ** np.arange(len(uses) - 1)[::-1]
    weight /= weight.sum()
    hours = weight @ np.log(np.maximum(-np.diff(ages), 60.0) / 3600.0)
    posts = weight @ np.log(-np.diff(ranks))
    spread = np.sqrt(max(weight @ np.log(-np.diff(ranks)) ** 2 - posts**2, 0.0))
    last_hours = np.log(max(ages[-1], 60.0) / 3600.0)
    assert got["due_hours"] == pytest.approx(last_hours - hours, abs=1e-3)
    assert got["due_posts"] == pytest.approx(np.log1p(ranks[-1]) - posts, abs=1e-4)
    assert got["gap_log_posts"] == pytest.approx(posts, abs=1e-4)
    assert got["gap_spread"] == pytest.approx(spread, abs=3e-2)


def uses_near(own, tag, at, period_s, n):
    """Uses near this time of a period by the kernel as it is defined, all of them, their fading.

    Uses fade over the person's posts up to the last of them, and all of them from there on.
    """
    ranks = [rank for rank, post in enumerate(reversed(own)) if tag in post.tags]
    near = total = 0.0
    for rank in ranks:
        turn = 2 * np.pi * (at - own[-1 - rank].at) / period_s
        waves = sum((1 - k / (n + 1)) * np.cos(k * turn) for k in range(1, n + 1))
        near += np.exp((ranks[0] - rank) / 512.0) * (1 + 2 * waves)
        total += np.exp((ranks[0] - rank) / 512.0)
    return max(near, 0.0), total, np.exp(-ranks[0] / 512.0) if ranks else 0.0


def check_rhythm(got, i, at, own, tags):
    """Uses at this hour, and on this weekday, against all of the person's uses then."""
    rhythms = (("own_hour_lift", 86_400.0, 4), ("own_weekday_lift", 7 * 86_400.0, 6))
    for name, period_s, n in rhythms:
        uses = [uses_near(own, tag, at, period_s, n) for tag in tags]
        everything = sum(total * fading for _, total, fading in uses)
        if not everything:
            assert not got[name][i].any()
            continue
        usual = max(sum(near * fading for near, _, fading in uses) / everything, 0.05)
        for t, (near, total, _) in enumerate(uses):
            lift = np.log((near + 2 * usual) / (total + 2) / usual) if total else 0.0
            assert got[name][i, t] == pytest.approx(lift, abs=5e-3)


def test_every_number_is_what_a_plain_reading_gives():
    log = world()
    check(state_of(log), sampled(log, 25))


@settings(max_examples=25)
@given(small_logs())
def test_ties_and_missing_times_people_and_tags_change_nothing(log):
    if len(log):
        check(state_of(log, n_known=3), queries_about(log, np.arange(len(log)), shift_s=1800.0))


def test_a_recent_habit_beats_an_old_one_and_a_frequent_one_beats_a_rare_one():
    day = 86_400.0
    posts = [Post(f"a{i}", "ana", START_AT + i * day, ("old",)) for i in range(3)]
    posts += [Post(f"b{i}", "ana", START_AT + (30 + i) * day, ("new",)) for i in range(3)]
    posts += [Post("c", "ana", START_AT + 31.5 * day, ("rare",))]
    log = PostLog.of(posts)
    state = state_of(log, n_known=0)
    asked = Asked(state, queries_about(log, [len(log) - 1], shift_s=day))
    got = asked.table(Reuse.names, state.reuse.features(asked.block, asked.pairs))
    level = dict(zip(state.tags, got["reuse_decay_0.5"][0], strict=True))
    assert level["new"] > level["old"] > 0
    assert level["new"] > level["rare"]


def test_a_use_in_the_same_season_of_last_year_is_known():
    posts = [
        Post("a", "ana", START_AT, ("carnival",)),
        Post("b", "ana", START_AT + 200 * 86_400.0, ("other",)),
    ]
    log = PostLog.of(posts)
    check(state_of(log, n_known=0), queries_about(log, [0, 1], shift_s=366.0 * 86_400.0))


def test_ages_from_a_minute_to_ten_years_follow_the_power_law():
    log = PostLog.of([Post("a", "ana", START_AT, ("x",))])
    state = state_of(log, n_known=0)
    for hours in np.geomspace(1 / 60, 10 * 365 * 24, 40):
        asked = Asked(state, queries_about(log, [0], shift_s=3600.0 * hours))
        got = asked.table(Reuse.names, state.reuse.features(asked.block, asked.pairs))
        for decay in DECAYS:
            level = max(hours**-decay, FLOOR)
            expected = np.log(level) - np.log(FLOOR)
            assert got[f"reuse_decay_{decay}"][0, 0] == pytest.approx(expected, abs=1e-2)


def test_people_of_many_tags_are_offered_more_of_them():
    posts = [Post(f"a{i}", "ana", START_AT + 60.0 * i, (f"tag{i}",)) for i in range(300)]
    posts += [Post(f"b{i}", "bo", START_AT + 60.0 * i, (f"tag{i}",)) for i in range(200)]
    log = PostLog.of(posts)
    state = state_of(log, n_known=0)
    late = queries_about(log, [len(log) - 1, len(log) - 2], users=("ana", "bo"), shift_s=9e4)
    query, tag = state.reuse.propose(Asked(state, late).block, limit=60, further=30)
    assert np.bincount(query).tolist() == [90, 60]
    assert {state.tags[t] for t in tag[query == 1]} == {f"tag{i}" for i in range(140, 200)}


def test_the_strongest_own_tags_are_proposed_and_nobody_elses():
    log = world()
    state = state_of(log)
    asked = Asked(state, sampled(log, 30))
    query, tag = state.reuse.propose(asked.block, limit=5)
    for i, user, _, past in asked:
        own = {
            t for p in past if p.user == user and user is not None and p.is_timed for t in p.tags
        }
        proposed = [state.tags[t] for t in tag[query == i]]
        assert len(proposed) == min(5, len(own))
        assert set(proposed) <= own


def check_context(state, queries):
    asked = Asked(state, queries)
    got = dict(zip(Reuse.context_names, state.reuse.context(asked.block).T, strict=True))
    for i, user, _, past in asked:
        own = [p for p in past if p.user == user and user is not None and p.is_timed]
        assert got["history_log"][i] == pytest.approx(np.log1p(len(own)), abs=1e-5)
        recent = range(max(0, len(own) - 10), len(own))
        repeats = [n > 0 and own[n].tags == own[n - 1].tags for n in recent]
        expected = np.mean(repeats) if repeats else 0.0
        assert got["repeat_share"][i] == pytest.approx(expected, abs=1e-5)


def test_the_length_of_a_history_and_its_repetitions_are_known():
    log = world()
    state = state_of(log)
    check_context(state, sampled(log, 60))
    late = queries_about(log, np.arange(len(log) - 60, len(log)), shift_s=1.0)
    assert state.reuse.context(Asked(state, late).block)[:, 3].max() > 0.0


@settings(max_examples=25)
@given(small_logs())
def test_ties_and_missing_parts_do_not_disturb_what_is_known_of_a_person(log):
    if len(log):
        check_context(
            state_of(log, n_known=3), queries_about(log, np.arange(len(log)), shift_s=9.0)
        )
