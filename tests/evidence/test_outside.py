"""Counts from outside: what is known when, on which scale, and how it fades."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtag.evidence import Crowd, Outside
from pixtag.evidence.outside import CROWD, LISTED
from pixtag.types import OutsideCount

DAY_S = 86_400
TODAY = 20_600
NOW = TODAY * DAY_S + 18 * 3600.0
HOURS = (1.0, 6.0, 24.0, 72.0, 168.0)
RISES = (512, 20, 8, 9, 12, 7, 10)  # today's accounts, then those of the six days before
STEADY = (60, 80, 80, 80, 80, 80, 80)


def week(tag, accounts, *, source="one.example", seen_at=NOW - 60, today=TODAY):
    """Counts of a tag, the latest day first."""
    return [OutsideCount(source, tag, today - i, 2 * n, n, seen_at) for i, n in enumerate(accounts)]


def at(counts, when: float = NOW) -> Crowd | None:
    return Outside(counts).at(when, HOURS)


def of(crowd: Crowd | None, name: str, tag: str) -> float:
    assert crowd is not None
    return float(np.asarray(getattr(crowd, name))[..., crowd.tags.index(tag)])


def test_a_tag_that_rises_is_told_from_one_that_is_always_there():
    crowd = at([*week("eclipse", RISES), *week("photo", STEADY)])
    assert crowd is not None
    assert crowd.tags == ["eclipse", "photo"]
    assert crowd.source == ["one.example"] * 2
    assert crowd.accounts.tolist() == [512, 80]  # the busier of the last two days
    assert crowd.day.tolist() == [TODAY, TODAY - 1]
    # 512 in 18 hours and a quarter of yesterday's 20, over a mean of 11 a day.
    assert of(crowd, "times", "eclipse") == pytest.approx((517 + 0.5) / (11 + 0.5), rel=1e-3)
    assert of(crowd, "times", "photo") == pytest.approx(1.0, abs=0.05)
    assert of(crowd, "rise", "eclipse") > 10 * abs(of(crowd, "rise", "photo"))


def test_a_large_server_counts_as_a_crowd_and_a_small_one_as_it_is():
    small = at(week("eclipse", (9, 0, 0, 0, 0, 0, 0)))
    assert small is not None
    assert small.people[2].tolist() == pytest.approx([9.0])
    factor = 1000
    large = at([*week("eclipse", (9 * factor, 0)), *week("photo", (factor, 10 * factor))])
    assert large is not None
    assert of(large, "usual", "photo") == pytest.approx(CROWD)
    assert large.accounts.tolist() == [9 * factor, 10 * factor]


def test_a_short_list_and_all_of_a_servers_tags_say_the_same_of_a_tag():
    listed = [c for i in range(LISTED) for c in week(f"tag{i}x", (100, 100, 100))]
    rest = [c for i in range(300) for c in week(f"rare{i}x", (50, 50, 50))]
    short, whole = at(listed), at([*listed, *rest])
    assert of(short, "usual", "tag0x") == of(whole, "usual", "tag0x")
    assert of(short, "rise", "tag0x") == of(whole, "rise", "tag0x")


def test_it_fades_day_by_day_when_nothing_new_comes():
    counts = [*week("eclipse", RISES), *week("photo", STEADY)]
    crowds = [at(counts, NOW + days * DAY_S) for days in (0, 0.5, 1, 2, 4, 6, 9)]
    lasting = [c for c in crowds if c is not None and "eclipse" in c.tags]
    assert len(lasting) == 6
    for window in range(len(HOURS)):
        people = [float(c.people[window, c.tags.index("eclipse")]) for c in lasting]
        assert people == sorted(people, reverse=True)
    rises = [of(c, "rise", "eclipse") for c in lasting]
    assert rises == sorted(rises, reverse=True)
    assert [of(c, "times", "eclipse") > 1.5 for c in lasting] == [
        True,
        True,
        True,
        True,
        False,
        False,
    ]
    assert crowds[-1] is None


def test_a_count_is_known_from_when_it_was_read_or_from_the_end_of_its_day():
    start = TODAY * DAY_S
    read_today = [OutsideCount("a", "eclipse", TODAY, 90, 90, start + 36_000.0)]
    assert at(read_today, start + 35_999.0) is None
    assert at(read_today, start + 36_001.0) is not None
    read_later = [OutsideCount("a", "eclipse", TODAY, 90, 90, start + 40.0 * DAY_S)]
    assert at(read_later, start + DAY_S - 1.0) is None
    assert at(read_later, start + DAY_S + 1.0) is not None


def test_three_accounts_make_a_tag_public():
    assert at(week("secret", (2, 2, 2))) is None
    assert at(week("secret", (2, 3, 0))) is not None
    # Uses of one person don't.
    assert at([OutsideCount("a", "flood", TODAY, 5000, 1, NOW - 60)]) is None
    # Two sources are two lots of people of which nobody knows that they differ.
    assert at([*week("secret", (2,)), *week("secret", (2,), source="b")]) is None


def test_words_that_shame_people_are_not_heard():
    assert at([*week("fatty", RISES), *week("slut", RISES)]) is None


def test_of_two_sources_the_one_speaks_where_a_tag_rises_most():
    counts = [
        *week("eclipse", STEADY, source="a.example"),
        *week("eclipse", (90, 1, 1, 1, 1, 1, 1), source="b.example"),
        *week("photo", (20, *STEADY[1:]), source="b.example"),
        *week("photo", STEADY, source="a.example"),
    ]
    crowd = at(counts)
    assert crowd is not None
    assert crowd.tags == ["eclipse", "photo"]
    assert crowd.source == ["b.example", "a.example"]
    assert crowd.accounts.tolist() == [90, 80]


def test_without_earlier_days_nobody_knows_what_is_usual():
    crowd = at(week("eclipse", (512,)))
    assert crowd is not None
    assert np.isnan(crowd.usual).all()
    assert of(crowd, "times", "eclipse") == pytest.approx(1.0)
    # A source that was read on other days counts as one that did not name it.
    crowd = at([*week("eclipse", (512,)), *week("photo", STEADY)])
    assert of(crowd, "times", "eclipse") > 100


_COUNTS = st.lists(
    st.builds(
        OutsideCount,
        source=st.sampled_from(["a", "b"]),
        tag=st.sampled_from(["eclipse", "photo", "sky"]),
        day=st.integers(TODAY - 20, TODAY + 1),
        uses=st.just(10**6),
        accounts=st.integers(0, 10**6),
        seen_at=st.floats(NOW - 20 * DAY_S, NOW + 2 * DAY_S),
    ),
    unique_by=lambda c: (c.source, c.tag, c.day),
    max_size=30,
)


@given(_COUNTS, st.floats(-12, 1.9))
def test_what_comes_later_changes_nothing(counts, days):
    when = NOW + days * DAY_S
    known = [c for c in counts if min(c.seen_at, (c.day + 1) * DAY_S) <= when]
    mine, alone = at(counts, when), at(known, when)
    assert (mine is None) == (alone is None)
    if mine is not None and alone is not None:
        assert (mine.tags, mine.source) == (alone.tags, alone.source)
        for name in ("people", "usual", "accounts", "day", "rise", "times", "window"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(alone, name))
        assert np.isfinite(mine.people).all()
        assert (mine.people >= 0).all()
