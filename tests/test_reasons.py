"""Reasons: what is said holds, and what doesn't hold is not said."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from pixtag.reasons import Facts, ago, goes_with, reasons
from pixtag.reasons import said as true_of
from pixtag.signals import FEATURES, REASONS

FRIDAY = datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp()


def said(group: str, **facts: object) -> str:
    """What one group says, alone."""
    return true_of(Facts(at=FRIDAY, **facts))[group]  # type: ignore[arg-type]


def test_every_feature_has_a_reason_that_can_be_said() -> None:
    named = [int(column) for group in REASONS for column in FEATURES.of_reason(group)]
    assert sorted(named) == list(range(len(FEATURES)))
    assert list(true_of(Facts(at=FRIDAY))) == list(REASONS)


@pytest.mark.parametrize(
    ("group", "facts", "text"),
    [
        ("picture", {}, ""),
        ("picture", {"raise_log": 0.4}, ""),  # a generic tag that this photo doesn't raise
        ("picture", {"raise_log": 0.4, "likeness": 0.9}, ""),
        ("picture", {"raise_log": 2.0}, "in the picture"),
        ("picture", {"raise_log": -1.0, "call": 0.1}, "in the picture"),
        ("picture", {"likeness": 0.1}, ""),
        ("picture", {"likeness": 0.6}, "in the picture"),
        ("neighbours", {"n_near": 48}, ""),
        ("neighbours", {"n_near": 48, "n_near_with": 3}, "on 3 of the 48 most similar photos"),
        ("own uses", {}, ""),
        (
            "own uses",
            {"n_own": 12, "last_own_at": FRIDAY - 3 * 86400},
            "you used it 3 days ago, 12 times",
        ),
        ("own uses", {"n_own": 1, "last_own_at": FRIDAY - 7300}, "you used it 2 hours ago"),
        ("own uses", {"n_own": 1, "n_given": 2}, "in the history you gave, 2 times"),
        ("own posts", {}, ""),
        ("own posts", {"n_own_posts": 1, "is_on_last": True}, "on your last post"),
        ("own posts", {"n_own_posts": 4, "is_on_last": True}, "on 4 of your latest posts"),
        ("own posts", {"n_own_posts": 4, "is_on_alike": True}, "on a photo of yours like this"),
        ("rising", {"rise": 1.4}, ""),
        ("rising", {"rise": 1.6}, "rising: 1.6 times its usual rate"),
        ("rising", {"rise": 15.4}, "rising: 15 times its usual rate"),
        ("weekday", {"n_weekday": 1, "n_days": 1}, ""),  # once on a Friday is no habit
        ("weekday", {"n_weekday": 4, "n_days": 28}, ""),
        ("weekday", {"n_weekday": 6, "n_days": 14}, "usual on Fridays (UTC)"),
        ("weekday", {"weekday_lift": 1.5}, "usual on Fridays (UTC)"),
        ("season", {"season_lift": 0.4}, ""),
        ("season", {"season_lift": 2.7}, "usual at this time of the year"),
        ("company", {"partner": "lake"}, "goes with #lake"),
        ("popular", {"n_people": 2, "n_all_people": 41}, ""),
        ("popular", {"n_people": 3, "n_all_people": 410}, "3 people use it"),
        ("popular", {"n_people": 30, "n_all_people": 41}, "popular: 30 people use it"),
        (
            "popular",
            {"n_people": 30, "n_all_people": 41, "share_elsewhere": 0.5},
            "popular: 30 people use it",  # never the prior's people among the store's
        ),
        ("popular", {"n_people": 1, "n_all_people": 41, "share_elsewhere": 0.1}, "popular"),
        ("popular", {"share_elsewhere": 0.001}, ""),
    ],
)
def test_a_claim_is_made_only_where_it_holds(group: str, facts: dict, text: str) -> None:
    assert said(group, **facts) == text


def test_what_added_most_is_said_first_and_what_added_nothing_not_at_all() -> None:
    facts = Facts(at=FRIDAY, raise_log=3.0, partner="lake", n_people=9, n_all_people=9)
    added = dict.fromkeys(REASONS, 0.0)
    found = reasons([*(added | {"company": 1.5, "picture": 0.5}).values()], facts)
    assert [(r.source, r.text, r.weight) for r in found] == [
        ("general", "goes with #lake", 1.5),
        ("pixels", "in the picture", 0.5),
    ]


def test_a_reason_is_owed() -> None:
    nothing = [0.0] * len(REASONS)
    (only,) = reasons(nothing, Facts(at=FRIDAY, share_elsewhere=0.3))
    assert only.text == "popular", "it added nothing, and yet it is true"
    (guess,) = reasons([2.0] * len(REASONS), Facts(at=FRIDAY))
    assert guess.text.startswith("a guess")


def test_a_tag_goes_with_another_where_they_meet_oftener_than_usual() -> None:
    together, uses = np.array([[4.0], [40.0], [1.0]]), np.array([5.0, 100.0, 1.0])

    def found(first: int, stop: int, tag_uses: float) -> int:
        part = slice(first, stop)
        (best,) = goes_with(together[part], uses[part], np.array([tag_uses]), 1000.0)
        return int(best)

    assert found(0, 3, 50.0) == 0
    assert found(1, 3, 400.0) == -1, "as often as anywhere"
    assert found(2, 3, 5.0) == -1, "one post is no company"
    assert found(0, 0, 5.0) == -1


@pytest.mark.parametrize(
    ("age_s", "text"),
    [
        (0, "just now"),
        (61, "1 minute ago"),
        (7300, "2 hours ago"),
        (86400 * 6.9, "6 days ago"),
        (86400 * 8, "1 week ago"),
        (86400 * 100, "3 months ago"),
        (86400 * 800, "2 years ago"),
    ],
)
def test_ages_are_said_as_people_say_them(age_s: float, text: str) -> None:
    assert ago(age_s) == text
