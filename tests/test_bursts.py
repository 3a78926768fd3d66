"""A rise larger than any that training has met: shown first where it fits the photo."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pixtag import Predictor
from pixtag.types import Floats, Post

SAMPLES = Path(__file__).parent.parent / "samples"
NOW = datetime(2026, 5, 7, 18, tzinfo=UTC)
HOUR_S, DAY_S = 3600.0, 86_400.0
EVERYDAY = (("love", "happy"), ("nature", "travel"), ("food", "yummy"), ("cat", "cute"))


@pytest.fixture(scope="module")
def photos() -> dict[str, Floats]:
    with Predictor.load() as predictor:
        return {name: predictor.embed(SAMPLES / f"{name}.jpg") for name in ("cat", "river")}


@pytest.fixture
def predictor() -> Iterator[Predictor]:
    """A store of sixty people who posted everyday things, about ten a day, for a month."""
    with Predictor.load() as predictor:
        predictor.observe(
            Post(f"p{i}", f"u{i % 60}", NOW.timestamp() - (i + 1) * DAY_S / 10, EVERYDAY[i % 4])
            for i in range(300)
        )
        yield predictor


def _rise(predictor: Predictor, tag: str, n: int, *, n_people: int | None = None) -> None:
    """Let some people use a tag in the last hour."""
    predictor.observe(
        Post(
            f"{tag}{i}", f"u{i % (n_people or n)}", NOW.timestamp() - HOUR_S * (i + 1) / 20, (tag,)
        )
        for i in range(n)
    )


def _shown(predictor: Predictor, photo: Floats, **asked: object) -> list[str]:
    from pixtag.choose import Wishes

    answer = predictor.answer(photo, Wishes.of(5, **asked), at=NOW)  # type: ignore[arg-type]
    return [suggestion.tag for suggestion in answer.suggestions]


def test_eight_people_within_the_hour_are_shown_first_on_a_photo_that_it_fits(predictor, photos):
    _rise(predictor, "worldcatday", 8)
    assert _shown(predictor, photos["cat"])[0] == "worldcatday"
    assert "worldcatday" not in _shown(predictor, photos["river"])
    (first, *_) = predictor.suggest(SAMPLES / "cat.jpg", at=NOW)
    assert any("rising" in reason.text for reason in first.reasons)
    assert 0.4 < first.prob < 0.95, "about its share of the hour's posts"


@pytest.mark.parametrize(("n", "n_people"), [(4, 4), (8, 1)], ids=["few people", "one person"])
def test_few_people_are_no_burst(predictor, photos, n: int, n_people: int):
    _rise(predictor, "worldcatday", n, n_people=n_people)
    assert _shown(predictor, photos["cat"])[0] == "cat"


def test_a_burst_of_a_while_ago_is_over(predictor, photos):
    predictor.observe(
        Post(f"old{i}", f"u{i}", NOW.timestamp() - 20 * DAY_S - 60 * i, ("worldcatday",))
        for i in range(8)
    )
    assert "worldcatday" not in _shown(predictor, photos["cat"])


def test_who_is_asked_about_is_not_among_those_who_rise(predictor, photos):
    _rise(predictor, "worldcatday", 5)
    assert _shown(predictor, photos["cat"])[0] == "worldcatday"
    assert _shown(predictor, photos["cat"], user="u0")[0] != "worldcatday"


def test_the_chance_falls_with_what_else_is_posted(predictor, photos):
    _rise(predictor, "worldcatday", 8)
    (before, *_) = predictor.suggest(SAMPLES / "cat.jpg", at=NOW)
    predictor.observe(
        Post(f"much{i}", f"u{i}", NOW.timestamp() - 60 * (i + 1), ("food",)) for i in range(20)
    )
    after = {s.tag: s.prob for s in predictor.suggest(SAMPLES / "cat.jpg", at=NOW)}
    assert after["worldcatday"] < before.prob
