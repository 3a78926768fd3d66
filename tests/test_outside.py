"""What rises on other servers, in suggestions and among what trends."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pixtag.lists import Lists, edit_global_lists
from pixtag.predictor import Predictor
from pixtag.store import Store
from pixtag.store.outside import put_outside
from pixtag.types import OutsideCount, Photo, Post
from trend_server import RISES, STEADY

SAMPLES = Path(__file__).parent.parent / "samples"
AT = datetime(2026, 6, 10, 18, tzinfo=UTC)
DAY = int(AT.timestamp() // 86_400)
SERVER = "mastodon.example"


def counts(tag, accounts=RISES, *, source=SERVER, seen=AT - timedelta(minutes=5)):
    seen_at = seen.timestamp()
    return [OutsideCount(source, tag, DAY - i, 2 * n, n, seen_at) for i, n in enumerate(accounts)]


OTHERS = [c for tag in ("silentsunday", "politics", "gamedev") for c in counts(tag, STEADY)]
CAT_TAG, COFFEE_TAG = "sofacat", "espressoday"  # of no vocabulary


@pytest.fixture(scope="module")
def bundle():
    return Predictor.load()._bundle


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "my.sqlite", create=True) as store:
        yield store


@pytest.fixture
def predictor(bundle, store):
    with Predictor.load(bundle, store) as predictor:
        yield predictor


def five(predictor, photo="cat", at=AT, **given) -> dict[str, str]:
    """Tags for a photo of the package, each with its first reason."""
    found = predictor.suggest(SAMPLES / f"{photo}.jpg", at=at, **given)
    return {s.tag: s.reasons[0].text for s in found}


def test_a_stranger_with_a_fitting_photo_is_told_what_rises(predictor, store):
    assert CAT_TAG not in five(predictor, k=50)
    put_outside(store, [*counts(CAT_TAG), *counts(COFFEE_TAG), *OTHERS])
    cat, coffee = five(predictor), five(predictor, "coffee")
    assert cat[CAT_TAG] == f"rising on {SERVER}: 512 people today"
    assert COFFEE_TAG in coffee
    assert COFFEE_TAG not in cat
    assert CAT_TAG not in coffee
    assert not {"silentsunday", "politics", "gamedev"} & {*cat, *coffee}


def test_a_tag_that_pixels_know_is_raised_where_it_fits(predictor, store):
    def prob(photo):
        found = predictor.suggest(SAMPLES / f"{photo}.jpg", at=AT, k=60)
        return {s.tag: s.prob for s in found}.get("cats", 0.0)

    before = prob("cat")
    put_outside(store, [*counts("cats"), *OTHERS])
    assert prob("cat") > 1.5 * before > 0
    assert "cats" not in five(predictor, "coffee")


def test_without_counts_answers_are_the_same_to_the_bit(predictor, store):
    def answers():
        return [predictor.suggest(SAMPLES / f"{n}.jpg", at=AT, k=20) for n in ("cat", "coffee")]

    before = answers()
    store.add_posts([])
    put_outside(store, [])
    assert answers() == before
    # Nor does anything that lies ahead, or that two people used.
    put_outside(
        store, [replace(c, day=c.day + 40, seen_at=c.seen_at + 4e6) for c in counts("cats")]
    )
    put_outside(store, counts(CAT_TAG, (2, 1, 2)))
    assert answers() == before


def test_the_same_is_answered_twice_and_by_another_process(predictor, store, bundle):
    put_outside(store, [*counts(CAT_TAG), *OTHERS])
    first = predictor.suggest(SAMPLES / "cat.jpg", at=AT, k=20)
    assert predictor.suggest(SAMPLES / "cat.jpg", at=AT, k=20) == first
    with Predictor.load(bundle, store.path) as other:  # a connection of its own, opened later
        assert other.suggest(SAMPLES / "cat.jpg", at=AT, k=20) == first
        put_outside(store, counts("catnap", (900, 1, 1, 1, 1, 1, 1)))
        assert "catnap" in five(other, k=60)


def test_a_question_about_the_past_reads_what_was_known_then(predictor, store):
    put_outside(store, [*counts(CAT_TAG), *OTHERS])
    assert CAT_TAG in five(predictor, at=AT)
    assert CAT_TAG not in five(predictor, at=AT - timedelta(days=1), k=5)
    assert CAT_TAG not in five(predictor, at=AT - timedelta(days=30), k=60)
    assert predictor.trending(AT - timedelta(minutes=10)) == []
    assert [r.tag for r in predictor.trending(AT)] == [CAT_TAG]


def test_it_fades_when_nothing_new_comes(predictor, store):
    put_outside(store, [*counts(CAT_TAG), *OTHERS])
    tomorrow = five(predictor, at=AT + timedelta(days=1))
    assert tomorrow[CAT_TAG] == f"rising on {SERVER}: 512 people yesterday"
    for days in (5, 30):
        assert CAT_TAG not in five(predictor, at=AT + timedelta(days=days))
        assert predictor.trending(AT + timedelta(days=days)) == []


def test_people_forgotten_here_take_nothing_of_it_with_them(predictor, store):
    store.add_posts([Post(f"p{i}", "ana", AT.timestamp() - 9e5 - i, ("sea",)) for i in range(4)])
    put_outside(store, [*counts(CAT_TAG), *OTHERS])
    assert CAT_TAG in five(predictor)
    predictor.forget("ana")
    assert CAT_TAG in five(predictor)


def test_denied_and_shaming_words_are_not_taken_from_outside(predictor, store):
    shaming = [*counts("fatcat"), *counts("fatty"), *counts("stupid")]
    put_outside(store, [*counts(CAT_TAG), *shaming, *OTHERS])
    assert {r.tag for r in predictor.trending(AT)} == {CAT_TAG, "fatcat"}
    assert not {"fatty", "stupid"} & set(five(predictor, k=80))
    assert CAT_TAG not in five(predictor, lists=Lists(deny=(CAT_TAG,)), k=80)
    edit_global_lists("deny", [CAT_TAG], remove=False)
    store.edit_lists("deny", ["fatcat"], user_id=None, remove=False)
    assert predictor.trending(AT) == []


def test_what_trends_names_its_source(predictor, store):
    at = AT.timestamp()
    people = [f"user{i}" for i in range(6)]
    posts = [
        Post(f"{u}{d}", u, at - d * 86_400 - 500, ("sky",)) for u in people for d in range(2, 30)
    ]
    posts += [Post(f"{u}-now", u, at - 3600, ("eclipse",)) for u in people]
    store.add_posts(posts)
    put_outside(store, [*counts(CAT_TAG), *counts("eclipse", (9, 2, 2, 2), source="b"), *OTHERS])
    found = {r.tag: (r.source, r.n_people) for r in predictor.trending(AT)}
    assert found == {CAT_TAG: (SERVER, 512), "eclipse": ("", 6)}


def test_somebody_with_a_history_keeps_their_own_tags(predictor, store):
    """A crowd of 500 elsewhere does not push out what a person puts on every photo like this."""
    mine = ("minkathecat", "berlincat", "mymink")
    photo, at = Photo(str(SAMPLES / "cat.jpg"), ""), AT.timestamp() - 9e4
    predictor.observe(Post(f"p{i}", "ana", at - 86_400.0 * i, mine, (photo,)) for i in range(12))
    before = five(predictor, user="ana")
    put_outside(store, [*counts(CAT_TAG), *OTHERS])
    assert set(mine) <= set(before)
    assert set(mine) <= set(five(predictor, user="ana"))
