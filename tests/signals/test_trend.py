"""Trend and popularity: distinct other people lately against what is usual, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from asking import Asking, ask, questions_about, sampled, small_logs
from pixtag.signals.popularity import PRIOR_POSTS, propose_popular
from pixtag.signals.trend import (
    LEVEL_FLOOR,
    LIFT_HOURS,
    PROPOSE_HOURS,
    SHRINK,
    WINDOWS_HOURS,
    propose_rising,
)
from pixtag.types import Post, PostLog
from plain import DAY_TICKS, HOUR_TICKS
from worlds import DAY_S, START_AT, world


def check(log, questions, *, n_known=20):
    """Every feature of trend and popularity, beside a prior."""
    got = Asking(log, questions, n_known=n_known)
    n_prior = got.model.knowledge.prior.n_posts
    for i, user, tick, past in got:
        lived = got.past.lived_days(tick)
        for t, tag in enumerate(got.tags):
            rate = (len(got.past.days(tag, tick)) + 0.5) / lived
            people = {h: got.past.window(tag, user, tick, h) for h in WINDOWS_HOURS}
            expected = {f"trend_people_{int(h)}h": np.log1p(n) for h, n in people.items()}
            for hours in LIFT_HOURS:
                usual = hours / 24 * rate
                lift = np.log((people[hours] + SHRINK) / (usual + SHRINK))
                expected[f"trend_lift_{int(hours)}h"] = lift
            for hours in PROPOSE_HOURS:
                n_posts = sum(p.is_timed and p.tick >= tick - hours * HOUR_TICKS for p in past)
                level = np.log((people[hours] + LEVEL_FLOOR) / (n_posts + 1))
                expected[f"trend_level_{int(hours)}h"] = level
            expected["daily_rate_log"] = np.log(rate)
            n_days = len(got.past.days(tag, tick))
            weekday = got.past.on_weekday(tag, tick) + 1
            expected["weekday_lift"] = np.log(weekday) - np.log(n_days / 7 + 1)
            first = got.past.first(tag, tick)
            days = 0.0 if first is None else (tick - first) / DAY_TICKS
            expected["first_seen_log_days"] = np.log1p(days)

            uses, of_prior = sum(tag in p.tags for p in past), len(got.of_prior(tag))
            everyone = len(got.past.people(tag, tick)) + got.prior_people(tag)
            expected["people_log"] = np.log1p(everyone)
            expected["uses_log"] = np.log1p(uses + of_prior)
            weight = min(PRIOR_POSTS, n_prior)
            rate = (uses + weight * of_prior / max(n_prior, 1)) / max(len(past) + weight, 1)
            expected["usage_rate_log"] = np.log(rate + 1e-5)
            for name, value in expected.items():
                assert got[name][i, t] == pytest.approx(value, abs=2e-4), (name, tag)


def test_every_number_is_what_a_plain_count_gives():
    log = world()
    check(log, sampled(log, 25))


@settings(max_examples=25)
@given(small_logs())
def test_ties_and_missing_times_and_people_change_nothing(log):
    if len(log):
        check(log, questions_about(log, np.arange(len(log))), n_known=3)


def usual_days() -> list[Post]:
    """Five people who post `usual` every day for forty days."""
    return [
        Post(f"u{day}{user}", f"user{user}", START_AT + (day + 0.1 * user) * DAY_S, ("usual",))
        for day in range(40)
        for user in range(5)
    ]


def lift(posts: list[Post], *, user: str | None) -> dict[str, float]:
    got = Asking(PostLog.of(posts), ask(user, START_AT + 40 * DAY_S), n_known=1)
    return dict(zip(got.tags, got["trend_lift_24h"][0].tolist(), strict=True))


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


def test_rising_tags_of_three_people_are_proposed():
    for users, expected in ((["user0", "user1", "user2"], {"fresh"}), (["user0", "user1"], set())):
        log = PostLog.of([*usual_days(), *fresh(users)])
        got = Asking(log, ask("user4", START_AT + 40 * DAY_S), n_known=0)
        _, tag = propose_rising(got.asked, limit=1)
        # Tags on several of the last posts are proposed too.
        assert {got.tags[t] for t in tag} - {"usual"} >= expected
        rising = got.view.rising(int(got.asked.tick[0]), hours=(24.0,), shrink=SHRINK, limit=1)
        assert {got.tags[t] for t in rising} - {"usual"} == expected


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
    log = PostLog.of(posts)
    lifts = {}
    for day in (42.5, 45.5):
        got = Asking(log, ask(None, monday + day * DAY_S), n_known=2)
        lifts[day] = dict(zip(got.tags, got["weekday_lift"][0].tolist(), strict=True))
    assert lifts[42.5]["mondays"] > 1.0
    assert lifts[45.5]["mondays"] < -1.0
    assert max(abs(lifts[day]["daily"]) for day in lifts) < 0.2


def test_weekdays_are_those_of_the_calendar_also_before_1970():
    old = START_AT - 20_000 * DAY_S
    assert old < 0
    posts = [Post(f"p{d}{u}", u, old + d * DAY_S, (f"day{d}",)) for d in range(7) for u in "abc"]
    got = Asking(PostLog.of(posts), ask(None, old + (700 + 3) * DAY_S), n_known=0)
    on = dict(zip(got.tags, got["weekday_lift"][0].tolist(), strict=True))
    assert max(on, key=lambda tag: on[tag]) == "day3"


def test_a_person_who_floods_is_one_person():
    posts = [Post(f"a{i}", "ana", START_AT + i, ("flood",)) for i in range(50)]
    posts += [Post(f"b{i}", f"user{i}", START_AT + 60 + i, ("wide",)) for i in range(4)]
    got = Asking(PostLog.of(posts), ask(None, START_AT + DAY_S), n_known=0)
    _, tag = propose_popular(got.asked, limit=5)
    assert [got.tags[t] for t in tag] == ["wide", "flood"]
