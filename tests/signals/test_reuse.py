"""Own history against its formula, one post at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from asking import Asking, questions_about, sampled, small_logs
from pixtag.rank import read
from pixtag.signals import CONTEXT_NAMES
from pixtag.signals.context import context
from pixtag.signals.reuse import DECAYS, GAP_FADE, POST_SCALES, propose_own
from pixtag.types import Post, PostLog
from worlds import START_AT, observed, world

FLOOR = 1e-5
YEAR_DAYS, SEASON_DAYS = 365.25, 4.0


def check(log, questions, *, n_known=20):
    got = Asking(log, questions, n_known=n_known)
    for i, user, tick, _ in got:
        own = got.own(user, tick)
        for t, tag in enumerate(got.tags):
            uses = [
                ((tick - p.tick) / 100, len(own) - 1 - n)
                for n, p in enumerate(own)
                if tag in p.tags
            ]
            hours = [max(age, 60.0) / 3600.0 for age, _ in uses]
            for decay in DECAYS:
                level = max(sum(h**-decay for h in hours), FLOOR)
                expected = np.log(level) - np.log(FLOOR)
                assert got[f"reuse_decay_{decay}"][i, t] == pytest.approx(expected, abs=2e-4)
            for scale in POST_SCALES:
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
            days = np.array([age for age, _ in uses]) / 86_400.0
            years = np.round(days / YEAR_DAYS)
            season = (years > 0) & (np.abs(days - years * YEAR_DAYS) <= SEASON_DAYS)
            assert got["own_season"][i, t] == pytest.approx(np.log1p(season.sum()), abs=1e-5)
        check_rhythm(got, i, tick, own, got.tags)


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


def uses_near(own, tag, tick, period_s, n):
    """Uses near this time of a period by the kernel as it is defined, all of them, their fading.

    Uses fade over the person's posts up to the last of them, and all of them from there on.
    """
    ranks = [rank for rank, post in enumerate(reversed(own)) if tag in post.tags]
    near = total = 0.0
    for rank in ranks:
        turn = 2 * np.pi * (tick - own[-1 - rank].tick) / 100 / period_s
        waves = sum((1 - k / (n + 1)) * np.cos(k * turn) for k in range(1, n + 1))
        near += np.exp((ranks[0] - rank) / 512.0) * (1 + 2 * waves)
        total += np.exp((ranks[0] - rank) / 512.0)
    return max(near, 0.0), total, np.exp(-ranks[0] / 512.0) if ranks else 0.0


def check_rhythm(got, i, tick, own, tags):
    """Uses at this hour, and on this weekday, against all of the person's uses then."""
    rhythms = (("own_hour_lift", 86_400.0, 4), ("own_weekday_lift", 7 * 86_400.0, 6))
    for name, period_s, n in rhythms:
        uses = [uses_near(own, tag, tick, period_s, n) for tag in tags]
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
    check(log, sampled(log, 25))


@settings(max_examples=25)
@given(small_logs())
def test_ties_and_missing_times_people_and_tags_change_nothing(log):
    if len(log):
        check(log, questions_about(log, np.arange(len(log)), shift_s=1800.0), n_known=3)


def test_a_recent_habit_beats_an_old_one_and_a_frequent_one_beats_a_rare_one():
    day = 86_400.0
    posts = [Post(f"a{i}", "ana", START_AT + i * day, ("old",)) for i in range(3)]
    posts += [Post(f"b{i}", "ana", START_AT + (30 + i) * day, ("new",)) for i in range(3)]
    posts += [Post("c", "ana", START_AT + 31.5 * day, ("rare",))]
    log = PostLog.of(posts)
    got = Asking(log, questions_about(log, [len(log) - 1], shift_s=day), n_known=0)
    level = dict(zip(got.tags, got["reuse_decay_0.5"][0], strict=True))
    assert level["new"] > level["old"] > 0
    assert level["new"] > level["rare"]


def test_a_use_in_the_same_season_of_last_year_is_known():
    posts = [
        Post("a", "ana", START_AT, ("carnival",)),
        Post("b", "ana", START_AT + 200 * 86_400.0, ("other",)),
    ]
    log = PostLog.of(posts)
    check(log, questions_about(log, [0, 1], shift_s=366.0 * 86_400.0), n_known=0)


def test_ages_from_a_minute_to_ten_years_follow_the_power_law():
    log = PostLog.of([Post("a", "ana", START_AT, ("x",))])
    for hours in np.geomspace(1 / 60, 10 * 365 * 24, 40):
        got = Asking(log, questions_about(log, [0], shift_s=3600.0 * hours), n_known=0)
        for decay in DECAYS:
            level = max(hours**-decay, FLOOR)
            expected = np.log(level) - np.log(FLOOR)
            assert got[f"reuse_decay_{decay}"][0, 0] == pytest.approx(expected, abs=1e-2)


def test_people_of_many_tags_are_offered_more_of_them():
    posts = [Post(f"a{i}", "ana", START_AT + 60.0 * i, (f"tag{i}",)) for i in range(300)]
    posts += [Post(f"b{i}", "bo", START_AT + 60.0 * i, (f"tag{i}",)) for i in range(200)]
    log = PostLog.of(posts)
    late = questions_about(log, [len(log) - 1, len(log) - 2], users=("ana", "bo"), shift_s=9e4)
    got = Asking(log, late, n_known=0)
    question, tag = propose_own(got.asked, limit=60, many=250, further=30)
    assert np.bincount(question).tolist() == [90, 60]
    assert {got.tags[t] for t in tag[question == 1]} == {f"tag{i}" for i in range(140, 200)}


def test_the_strongest_own_tags_are_proposed_and_nobody_elses():
    log = world()
    got = Asking(log, sampled(log, 30))
    question, tag = propose_own(got.asked, limit=5, many=250, further=0)
    for i, user, tick, _ in got:
        own = {t for p in got.own(user, tick) for t in p.tags}
        proposed = [got.tags[t] for t in tag[question == i]]
        assert len(proposed) == min(5, len(own))
        assert set(proposed) <= own


def check_context(log, questions, *, n_known=20):
    got = Asking(log, questions, n_known=n_known)
    told = dict(zip(CONTEXT_NAMES, context(got.asked).T, strict=True))
    for i, user, tick, past in got:
        every, own = got.past.own(user, tick), got.own(user, tick)
        assert told["history_log"][i] == pytest.approx(np.log1p(len(own)), abs=1e-5)
        assert told["history_on"][i] == bool(own)
        share = (len(own) + 1) / (len(every) + 1)
        assert told["tagged_share"][i] == pytest.approx(share, abs=1e-5)
        assert told["posts_log"][i] == pytest.approx(np.log1p(len(past)), abs=1e-5)
        recent = range(max(0, len(own) - 10), len(own))
        repeats = [n > 0 and set(own[n].tags) == set(own[n - 1].tags) for n in recent]
        expected = np.mean(repeats) if repeats else 0.0
        assert told["repeat_share"][i] == pytest.approx(expected, abs=1e-5)
        lengths = [len(own[n].tags) for n in recent]
        expected = np.log1p(np.mean(lengths)) if lengths else 0.0
        assert told["own_tags_a_post"][i] == pytest.approx(expected, abs=1e-5)
        photos = np.mean([p.photo is not None for p in own]) if own else 0.0
        assert told["own_photo_share"][i] == pytest.approx(photos, abs=1e-5)
        hours = (tick - own[-1].tick) / 360_000 if own else 0.0
        assert told["gap_log_hours"][i] == pytest.approx(np.log1p(hours), abs=1e-4)
        is_lively = any(p.is_timed and p.tick >= tick - 168 * 360_000 for p in past)
        assert told["trend_on"][i] == is_lively


def test_the_length_of_a_history_and_its_repetitions_are_known():
    log = world()
    check_context(log, sampled(log, 60))
    late = questions_about(log, np.arange(len(log) - 60, len(log)), shift_s=1.0)
    model, evidence = observed(log)
    told = context(read(model, evidence.view(), late))
    assert told[:, CONTEXT_NAMES.index("repeat_share")].max() > 0.0


@settings(max_examples=25)
@given(small_logs())
def test_ties_and_missing_parts_do_not_disturb_what_is_known_of_a_person(log):
    if len(log):
        check_context(log, questions_about(log, np.arange(len(log)), shift_s=9.0), n_known=3)
