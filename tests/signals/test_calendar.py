"""The calendar: its dates, what they say of tags, and the same weeks of earlier years."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pytest

from asking import Asking, ask, questions_about
from pixtag.rank import candidates
from pixtag.signals import SOURCES, Table
from pixtag.signals.calendar import (
    CALENDAR,
    LEAST_LIFT,
    OUTSIDE,
    SEASON_DAYS,
    SMOOTH,
    YEAR_DAYS,
    calendar,
    dates,
    propose_calendar,
)
from pixtag.tags import normalise_tag
from pixtag.types import Post, PostLog, Sources
from plain import DAY_TICKS
from worlds import model_for, world

NAMES = [feature.name for feature in CALENDAR.features]


def at(day: str) -> float:
    return datetime.fromisoformat(f"{day}T12:00+00:00").timestamp()


def lift(tag: str, day: str) -> float:
    row, _ = calendar().find(tag)
    return float(calendar().lifts(date.fromisoformat(day).toordinal())[:, row].sum())


@pytest.mark.parametrize(
    ("occasion", "days"),
    [
        ("Easter", "2000-04-21 2024-03-29 2025-04-18 2026-04-03 2038-04-23"),
        ("Good Friday", "2026-04-03"),
        ("Carnival", "2024-02-09 2025-02-28 2026-02-13"),
        ("Thanksgiving", "2024-11-28 2025-11-27 2026-11-26"),
        ("Black Friday", "2024-11-29 2026-11-27"),
        ("Mother's Day", "2025-05-11 2026-05-10"),
        ("Mothering Sunday", "2025-03-30 2026-03-15"),
        ("Father's Day", "2025-06-15 2026-06-21"),
        ("Father's Day, Brazil", "2026-08-09"),
        ("Memorial Day", "2025-05-26 2026-05-25"),
        ("Labor Day", "2025-09-01 2026-09-07"),
        ("Burning Man", "2025-08-24 2026-08-30"),
        ("Oktoberfest", "2024-09-21 2025-09-20 2026-09-19"),
        ("Midsummer", "2025-06-20 2026-06-19"),
        ("Advent", "2024-12-01 2025-11-30 2026-11-29"),
        ("Earth Hour", "2024-03-23 2025-03-22 2026-03-28"),
        ("Super Bowl", "2024-02-11 2025-02-09 2026-02-08"),
        ("Lunar New Year", "2024-02-10 2025-01-29 2026-02-17"),
        ("Ramadan", "2024-03-11 2025-03-01 2026-02-18 2030-01-05 2030-12-26"),
        ("Diwali", "2024-10-31 2025-10-20 2026-11-08"),
        ("Halloween", "2026-10-31"),
    ],
)
def test_an_occasion_falls_on_its_days(occasion: str, days: str):
    (one,) = [o for o in calendar().yearly if o.name == occasion]
    years = sorted({int(day[:4]) for day in days.split()})
    assert [str(day) for year in years for day in dates(one.on, year)] == days.split()


def test_the_table_is_whole_and_its_tags_are_in_the_form_that_pixtag_keeps():
    every = [*calendar().yearly, *calendar().weekly]
    for one in every:
        tags = one.tags.split()
        assert tags == [normalise_tag(tag) for tag in tags], one.name
        assert len(tags) == len(set(tags)), one.name
        assert one.lasts >= 1, one.name
        assert min(one.before, one.after) >= 0, one.name
        assert one.share > 0, one.name
        if not one.weekdays:
            for year in range(2015, 2036):
                assert dates(one.on, year), (one.name, year)
    assert {day for one in calendar().weekly for day in one.weekdays} == set(range(7))


def test_what_was_counted_is_of_tags_alone_and_leaves_the_table_as_it_is():
    from pixtag.signals.calendar import _DATA, load_safetensors

    counted = load_safetensors(_DATA.joinpath("calendar.safetensors").read_bytes())
    names = counted["names"].tobytes().decode().split()
    assert set(counted) == {"names", "weeks", "weekdays"}
    assert names == [normalise_tag(name) for name in names]
    assert counted["weeks"].shape == (len(names), 53)
    assert counted["weekdays"].shape == (len(names), 7)
    covered = {tag for o in (*calendar().yearly, *calendar().weekly) for tag in o.tags.split()}
    assert not covered & set(names)


@pytest.mark.parametrize(
    ("tag", "usual", "unusual"),
    [
        ("halloween", "2026-10-31", "2026-04-30"),
        ("halloween2026", "2026-10-28", "2027-10-28"),
        ("happynewyear2027", "2026-12-31", "2025-12-31"),
        ("pumpkin", "2026-10-25", "2026-02-25"),
        ("christmas", "2026-12-24", "2026-07-24"),
        ("ostern", "2026-04-05", "2026-06-05"),
        ("diadasmães", "2026-05-10", "2026-08-10"),
        ("diadospais", "2026-08-09", "2026-06-21"),
        ("ramadan", "2026-03-01", "2026-06-01"),
        ("summer", "2026-07-15", "2026-01-15"),  # English words are the north's
        ("verão", "2026-01-15", "2026-07-15"),  # and Portuguese ones the south's
        ("inverno", "2026-07-15", "2026-01-15"),
        ("schnee", "2026-01-20", "2026-07-20"),  # counted
        ("october", "2026-10-10", "2026-03-10"),
        ("tbt", "2026-10-29", "2026-10-31"),  # a Thursday
        ("weekend", "2026-10-31", "2026-10-28"),
    ],
)
def test_a_tag_is_above_its_mean_in_its_days_and_below_it_outside(
    tag: str, usual: str, unusual: str
):
    got = {}
    log = PostLog.of([Post("p", "ana", at("2020-01-01"), (tag, "lake"))])
    for day in (usual, unusual):
        asking = Asking(log, ask(None, at(day)), n_known=2)
        values = CALENDAR.compute(asking.asked, asking.pairs)[:, :2].sum(axis=1)
        got[day] = dict(zip(asking.tags, values.tolist(), strict=True))
    assert got[usual][tag] >= LEAST_LIFT * 0.99
    assert got[unusual][tag] < 0
    assert got[usual]["lake"] == got[unusual]["lake"] == 0


def test_words_of_both_hemispheres_are_usual_twice_a_year():
    for day in ("2026-07-15", "2026-01-15"):
        assert lift("verano", day) > 0.2
    assert lift("verano", "2026-04-15") < -1.0


def test_uses_over_a_year_come_to_what_is_usual():
    """Rates are over the mean: a year's sum to its days, but for what moves with the moon."""
    days = range(date(2026, 1, 1).toordinal(), date(2027, 1, 1).toordinal())
    mean = np.mean([np.exp(calendar().lifts(day)) for day in days], axis=0)
    for tag in ("halloween", "christmas", "newyear", "summer", "verano", "mothersday"):
        assert mean[0, calendar().rows[tag]] == pytest.approx(1.0, abs=0.05), tag
    for tag in ("tbt", "weekend", "sunday"):
        assert mean[1, calendar().rows[tag]] == pytest.approx(1.0, abs=0.05), tag
    peak = np.max([calendar().lifts(day)[0] for day in days], axis=0)
    row = calendar().rows["halloween"]
    assert calendar().peak[row] == pytest.approx(peak[row], abs=1e-5)


def test_years_of_unknown_moons_say_nothing():
    assert lift("ramadan", "2036-10-20") == lift("ramadan", "1999-12-20") == 0
    assert lift("ramadan", "2026-09-01") == pytest.approx(np.log(OUTSIDE))


def years_of_posts() -> PostLog:
    """Six people over four years; some posts without tags, time or person; a tag of the summer."""
    rng = np.random.default_rng(5)
    posts = []
    for i, day in enumerate(np.sort(rng.uniform(0, 1400, 500))):
        when = datetime.fromtimestamp(at("2020-01-01") + 86_400 * day, UTC)
        tags = ["lake"] * (rng.random() < 0.4) + ["swim"] * (when.month in {6, 7})
        tags += ["mine"] * (i % 6 == 0) + ["halloween"] * (rng.random() < 0.1)
        user = None if i % 17 == 0 else f"user{i % 6}"
        moment = None if i % 29 == 0 else when.timestamp()
        posts.append(Post(f"p{i:03d}", user, moment, tuple(tags)))
    return PostLog.of(posts)


def test_the_same_weeks_of_earlier_years_are_what_a_plain_count_gives():
    log = years_of_posts()
    got = Asking(log, questions_about(log, np.arange(0, len(log), 11)), n_known=1)
    silent = Asking(log, got.questions, n_known=1, sources=Sources(history=False))
    values = CALENDAR.compute(got.asked, got.pairs)
    alone = CALENDAR.compute(silent.asked, silent.pairs)
    np.testing.assert_array_equal(values, alone)
    season = values[:, NAMES.index("season_lift")].reshape(len(got.questions), -1)
    some = 0
    for i, user, tick, past in got:
        others = [p for p in past if user is None or p.user != user or not p.tags or not p.is_timed]
        around = [
            p
            for p in others
            if p.is_timed
            and any(
                -SEASON_DAYS <= (p.tick - tick) / DAY_TICKS + n * YEAR_DAYS < SEASON_DAYS
                for n in (1, 2, 3)
            )
        ]
        for t, tag in enumerate(got.tags):
            share = sum(tag in p.tags for p in others) / max(len(others), 1)
            expected = share * len(around)
            seen = sum(tag in p.tags for p in around)
            plain = np.log((seen + SMOOTH) / (expected + SMOOTH))
            assert season[i, t] == pytest.approx(plain, abs=1e-4), (i, tag)
            some += plain != 0
    assert some > 50
    assert season[:, got.tags.index("swim")].max() > 0.5


def test_a_block_is_computed_as_its_questions_one_by_one():
    log = years_of_posts()
    questions = questions_about(log, np.arange(3, len(log), 37))
    block = Asking(log, questions, n_known=2)
    together = CALENDAR.compute(block.asked, block.pairs).reshape(len(questions), -1, len(NAMES))
    proposed = list(zip(*propose_calendar(block.asked, limit=3), strict=True))
    for i in range(len(questions)):
        one = Asking(log, questions.take(np.array([i])), n_known=2)
        np.testing.assert_array_equal(together[i], CALENDAR.compute(one.asked, one.pairs))
        _, tags = propose_calendar(one.asked, limit=3)
        assert [t for q, t in proposed if q == i] == tags.tolist()


def test_it_is_silent_with_trend_and_with_nothing_else():
    log = years_of_posts()
    table = Table([CALENDAR])
    questions = questions_about(log, np.arange(400, 420))
    for silent in SOURCES:
        got = Asking(log, questions, sources=Sources(**{silent: False}))
        assert table.compute(got.asked, got.pairs).any() == (silent != "trend")


def test_a_store_that_has_seen_no_october_is_offered_halloween_then_and_only_then():
    posts = [Post(f"p{i}", f"user{i}", at(f"2026-06-0{i + 1}"), ("garden",)) for i in range(5)]
    before = [Post(f"q{i}", f"user{i}", None, ("halloween", "october")) for i in range(5)]
    log = PostLog.of([*before, *posts])
    for day, expected in (("2026-10-28", {"halloween", "october"}), ("2026-07-28", set())):
        got = Asking(log, ask(None, at(day)), n_known=3)
        _, tag = propose_calendar(got.asked, limit=5)
        assert {got.tags[t] for t in tag} == expected
    got = Asking(log, ask(None, at("2026-10-28")), n_known=3)
    assert [got.tags[t] for t in propose_calendar(got.asked, limit=1)[1]] == ["halloween"]


def test_the_calendars_tags_have_the_ids_behind_the_vocabulary_in_all_evidence():
    log = world(300)
    model = model_for(log, n_known=5)
    view = model.evidence(log).view()
    assert view.tags[:5] == model.knowledge.vocabulary
    assert view.id_of("halloween") == model.fixed_tags.index("halloween") >= 5
    found = candidates(model, view, ask("nobody", at("2026-10-28"), width=24))
    assert view.id_of("halloween") in found.tag


def test_what_is_usual_now_is_listed_with_its_occasion():
    usual = calendar().usual(at("2026-10-28"), k=20)
    assert (usual[0].tag, usual[0].occasion) == ("halloween", "Halloween")
    assert usual[0].times_usual == pytest.approx(np.exp(lift("halloween", "2026-10-28")))
    assert len({one.tag for one in usual}) == len(usual) == 20
    assert "wednesday" in {one.tag for one in usual}
    assert min(one.times_usual for one in usual) >= 1.0
    assert [one.tag for one in calendar().usual(at("2026-10-28"), k=1)] == ["halloween"]
