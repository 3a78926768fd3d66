"""The set that is shown: what a stranger sees, and near-synonyms, which are learned from use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pixtag.replay import state_of
from pixtag.signals.columns import Queries
from pixtag.state import CONTEXT_NAMES, FEATURE_NAMES, State, StateConfig

import handmade
from pixtag.lists import Lists
from pixtag.predict.choice import choose, names_first, near_synonyms, strangers_worth
from pixtag.predict.wishes import Wishes
from pixtag.types import Post, PostLog


def _context(*, history: float, pixels: float = 1.0) -> np.ndarray:
    context = np.zeros(len(CONTEXT_NAMES), np.float32)
    context[CONTEXT_NAMES.index("history_on")] = history
    context[CONTEXT_NAMES.index("pixels_on")] = pixels
    context[CONTEXT_NAMES.index("posts_log")] = np.log1p(1000)
    return context


def _features(uses: list[int]) -> np.ndarray:
    features = np.zeros((len(uses), len(FEATURE_NAMES)), np.float32)
    features[:, FEATURE_NAMES.index("uses_log")] = np.log1p(uses)
    return features


def test_a_stranger_gets_the_special_tag_before_the_common_one_of_about_the_same_chance():
    probs = np.array([0.32, 0.30], np.float32)  # love on a third of all posts; espresso on few
    features = _features([330, 5])
    stranger = strangers_worth(probs, features, _context(history=0.0))
    known = strangers_worth(probs, features, _context(history=1.0))
    assert stranger[1] > stranger[0]
    assert known[0] > known[1]


def test_a_far_likelier_common_tag_still_comes_first():
    probs = np.array([0.8, 0.05], np.float32)
    worth = strangers_worth(probs, _features([330, 5]), _context(history=0.0))
    assert worth[0] > worth[1]


def test_without_a_photo_chance_alone_decides():
    probs = np.array([0.32, 0.30], np.float32)
    worth = strangers_worth(probs, _features([330, 5]), _context(history=0.0, pixels=0.0))
    assert worth[0] > worth[1]


def _seen(**columns: list[float]) -> np.ndarray:
    features = _features([5] * len(next(iter(columns.values()))))
    for name, values in columns.items():
        features[:, FEATURE_NAMES.index(name)] = values
    return features


def test_where_no_kind_is_sure_the_classes_of_the_encoder_outdo_the_kinds():
    probs = np.array([0.3, 0.1], np.float32)  # sports by a vague kind; portrait by the classes
    vague = _seen(bridge=[0.0, 4.0], kinds=[np.log1p(50.0), 0.0])
    sure = _seen(bridge=[0.0, 4.0], kinds=[np.log1p(700.0), 0.0])
    stranger = _context(history=0.0)
    assert strangers_worth(probs, vague, stranger).argmax() == 1
    assert strangers_worth(probs, sure, stranger).argmax() == 0


def test_a_stranger_is_told_what_the_photo_shows_before_what_goes_with_it():
    probs = np.array([0.5, 0.45, 0.4, 0.35, 0.3, 0.02, 0.01], np.float32)
    features = _seen(bridge=[3.0, 3.0, 3.0, 3.0, 3.0, 4.0, 1.0], kinds=[7.0] * 7)
    is_name = np.array([False, False, False, False, True, True, True])
    _, first = names_first(probs, features, _context(history=0.0), is_name)
    assert first == [4, 5]  # the last is called for too faintly to be kept a place
    assert names_first(probs, features, _context(history=1.0), is_name)[1] == []


def test_without_names_of_things_worth_alone_orders():
    probs = np.array([0.1, 0.5, 0.3], np.float32)
    none = np.zeros(3, np.bool_)
    features = _seen(bridge=[0.0] * 3)
    worth, first = names_first(probs, features, _context(history=0.0), none)
    assert np.argsort(-worth).tolist() == [1, 2, 0]
    assert first == []
    worth, first = names_first(probs[:0], features[:0], _context(history=0.0), none[:0])
    assert (worth.shape, first) == ((0,), [])


def test_kept_places_come_first_but_not_for_two_that_say_the_same():
    worth = np.log(np.array([0.5, 0.4, 0.2, 0.1], np.float32))
    nobody = np.zeros(4, np.bool_)
    assert choose(worth, _pairs(4), k=3, is_own=nobody, first=[2, 3]) == [2, 3, 0]
    assert choose(worth, _pairs(4, (2, 3)), k=3, is_own=nobody, first=[2, 3]) == [2, 0, 1]


@pytest.fixture(scope="module")
def used() -> State:
    """#alpha and #beta stand for each other, #gamma comes with #delta; #lone is hardly used."""
    sky, leaves = handmade.embedding("sky", 10), handmade.embedding("leaves", 10)
    posts, photos = [], {}
    for i in range(40):
        posts.append((f"s{i}", sky, (("alpha", "beta")[i % 2], "view", "air")))
        posts.append((f"l{i}", leaves, ("gamma", "delta", "moss" if i % 3 else "stone")))
    posts += [(f"n{i}", leaves, ("alphas", "moss")) for i in range(30)]
    posts += [(f"r{i}", sky, ("lone", "view", "air")) for i in range(4)]
    rng = np.random.default_rng(0)
    for name, photo, _ in posts:
        photos[name] = (photo + rng.normal(0, 0.02, len(photo))).astype(np.float16)
    log = PostLog.of([Post(n, f"u{n}", 1e9, tags) for n, _, tags in posts], photos)
    state = state_of(handmade.bundle(), log)
    queries = Queries(
        np.array([2e9]), (None,), np.zeros((1, len(sky)), np.float32), np.zeros(1, np.bool_)
    )
    state.score(queries)
    return state


def _same(state: State, one: str, other: str) -> bool:
    tags = np.array([state.tag_index[one], state.tag_index[other]])
    found = near_synonyms(state, tags)
    assert np.array_equal(found, found.T)
    assert not found.diagonal().any()
    return bool(found[0, 1])


def test_near_synonyms_are_found_by_their_use(used: State):
    assert _same(used, "alpha", "beta"), "the same photos and company, never together"
    assert _same(used, "gamma", "delta"), "always together"


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("alpha", "alphas", "spelling says nothing: other photos"),
        ("alpha", "view", "mostly together on the same photos, and other company"),
        ("alpha", "gamma", "nothing in common"),
        ("lone", "beta", "too few uses"),
        ("alpha", "sky", "a tag that no post of the store carries"),
    ],
)
def test_what_is_no_near_synonym(used: State, one: str, other: str, why: str):
    assert not _same(used, one, other), why


def test_no_tags_and_no_counts_have_no_near_synonyms(used: State):
    assert near_synonyms(used, np.zeros(0, np.int64)).shape == (0, 0)
    bare = State(used.knowledge, StateConfig(counted_tags=1))
    assert not near_synonyms(bare, np.arange(3)).any()


def _pairs(n: int, *pairs: tuple[int, int]) -> np.ndarray:
    same = np.zeros((n, n), np.bool_)
    for one, other in pairs:
        same[one, other] = same[other, one] = True
    return same


def test_the_second_of_a_kind_gives_way_to_what_is_half_as_likely():
    worth = np.log(np.array([0.5, 0.4, 0.25, 0.15], np.float32))
    nobody = np.zeros(4, np.bool_)
    assert choose(worth, _pairs(4, (0, 1)), k=2, is_own=nobody) == [0, 2]
    assert choose(worth, _pairs(4, (0, 1)), k=3, is_own=nobody) == [0, 2, 1]
    assert choose(worth, _pairs(4, (0, 1)), k=9, is_own=nobody) == [0, 2, 1, 3]
    assert choose(worth, _pairs(4), k=2, is_own=nobody) == [0, 1]


def test_a_persons_own_tags_stand_beside_each_other():
    worth = np.log(np.array([0.5, 0.4, 0.25], np.float32))
    own = np.array([True, True, False])
    assert choose(worth, _pairs(3, (0, 1)), k=2, is_own=own) == [0, 1]


@pytest.mark.parametrize(
    ("k", "platform", "lists", "n_new", "always"),
    [
        (5, None, Lists(), 4, ()),
        (5, "threads", Lists(), 0, ()),
        (9, "Instagram", Lists(always=("me", "acc", "bad", "no")), 3, ("me",)),
        (2, None, Lists(always=("me", "too")), 0, ("me",)),
        (1, None, Lists(always=("me",)), 0, ()),
        (9, "mastodon", Lists(), 8, ()),
    ],
)
def test_accepted_and_always_added_tags_count_towards_the_cap(k, platform, lists, n_new, always):
    lists = replace(lists, deny=("no",))
    wishes = Wishes.of(k, ("#Acc",), ("BAD",), platform, lists=lists)
    assert (wishes.n_new, wishes.always) == (n_new, always)
    assert (wishes.accepted, wishes.refused) == (("acc",), frozenset({"bad"}))
