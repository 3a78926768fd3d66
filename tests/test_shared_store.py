"""Somebody new, or on something new, in a store that others fill with other things."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pixtag import Predictor
from pixtag.types import Post

SAMPLES = Path(__file__).parent.parent / "samples"
AT = datetime(2026, 5, 14, 12, tzinfo=UTC)
DAY_S = 86_400.0


@pytest.fixture(scope="module")
def chances() -> dict[str, dict[str, dict[str, float]]]:
    """Chances of the five by who asks and what the photo shows; ana has coffee alone."""
    now = AT.timestamp()
    mine = [Post(f"a{i}", "ana", now - DAY_S * (i + 1), ("coffee",)) for i in range(20)]
    others = [
        Post(f"o{i}", f"u{i % 30}", now - DAY_S * (i + 1) / 10, ("food", "love"))
        for i in range(300)
    ]
    with Predictor.load() as predictor:
        predictor.observe([*mine, *others])
        return {
            who: {
                photo: {
                    s.tag: s.prob
                    for s in predictor.suggest(SAMPLES / f"{photo}.jpg", user=user, at=AT)
                }
                for photo in ("mountains", "flower")
            }
            for who, user in (("ana", "ana"), ("nobody", None))
        }


def test_what_everybody_posts_is_not_put_on_a_strangers_photo_of_something_else(chances):
    for photo in ("mountains", "flower"):
        assert not {"food", "love"} & chances["nobody"][photo].keys()
    assert max(chances["nobody"]["flower"], key=chances["nobody"]["flower"].get) == "flowers"


def test_what_nobody_there_uses_yet_is_no_word_against_something_new(chances):
    assert (
        chances["ana"]["mountains"]["mountains"] > 0.3 * chances["nobody"]["mountains"]["mountains"]
    )
    assert "flowers" in chances["ana"]["flower"]
