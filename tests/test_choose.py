"""The set that is shown: what a stranger sees, and near-synonyms, which are learned from use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from asking import ask
from pixtag.choose import (
    POOL,
    Seen,
    Wishes,
    as_a_stranger,
    best_set,
    greedy,
    history_like,
    names_first,
    usual_share,
    worth_of,
)
from pixtag.lists import Lists
from pixtag.rank import read
from pixtag.signals import OWN_KEYS
from pixtag.synonyms import Usage, look_alike, near_synonyms
from pixtag.types import Post, PostLog
from worlds import START_AT, model_for, world

FLOOR = 1e-3
"""Expected weight below which classes and kinds say nothing."""


def _seen(
    uses: list[int],
    *,
    classes: list[float] | None = None,
    kinds: list[float] | None = None,
    names: list[int] = [],  # noqa: B006 - never changed
) -> Seen:
    """What a photo says where a thousand posts are known."""
    nothing = np.zeros(len(uses), np.float32)
    return Seen(
        usual=usual_share(np.array(uses, np.float32), 1000),
        classes=nothing if classes is None else np.array(classes, np.float32),
        kinds=nothing if kinds is None else np.array(kinds, np.float32),
        is_name=np.isin(np.arange(len(uses)), names),
    )


def _worth(probs: list[float], seen: Seen | None) -> np.ndarray:
    return worth_of(np.array(probs, np.float32), seen, floor=FLOOR)


def test_a_stranger_gets_the_special_tag_before_the_common_one_of_about_the_same_chance():
    probs = [0.32, 0.30]  # love on a third of all posts; espresso on few
    stranger, known = _worth(probs, _seen([330, 5])), _worth(probs, None)
    assert stranger[1] > stranger[0]
    assert known[0] > known[1], "without a photo, or with a history, chance alone decides"


def test_a_far_likelier_common_tag_still_comes_first():
    worth = _worth([0.8, 0.05], _seen([330, 5]))
    assert worth[0] > worth[1]


def test_where_no_kind_is_sure_the_classes_of_the_encoder_outdo_the_kinds():
    probs = [0.3, 0.1]  # sports by a vague kind; portrait by the classes
    vague = _seen([5, 5], classes=[0, 0.054], kinds=[0.05, 0])
    sure = _seen([5, 5], classes=[0, 0.054], kinds=[0.7, 0])
    assert _worth(probs, vague).argmax() == 1
    assert _worth(probs, sure).argmax() == 0


def test_a_stranger_is_told_what_the_photo_shows_before_what_goes_with_it():
    probs = [0.5, 0.45, 0.4, 0.35, 0.3, 0.02, 0.01]
    classes = [0.02, 0.02, 0.02, 0.02, 0.02, 0.054, 0.002]
    seen = _seen([5] * 7, classes=classes, kinds=[1.0] * 7, names=[4, 5, 6])
    first = names_first(_worth(probs, seen), seen)
    assert first == [4, 5]  # the last is called for too faintly to be kept a place


def test_a_name_that_labels_or_classes_only_whisper_keeps_no_place():
    probs, names = [0.6, 0.5, 0.01, 0.01], [0, 1, 2, 3]
    kinds = [0.9, 0.5, 0.12, 0.0]  # .12 would do for itself, not beside .9
    sure = _seen([5] * 4, kinds=kinds, names=names)
    assert names_first(_worth(probs, sure), sure) == [0, 1]
    called = _seen([5] * 4, kinds=[0.9, 0.5, 0.3, 0.0], names=names)
    assert names_first(_worth(probs, called), called) == [0, 1, 2]
    for weight, n in ((0.02, 2), (0.06, 3)):
        vague = _seen([5] * 4, classes=[0, 0, 0, weight], names=names)
        assert len(names_first(_worth([0.6, 0.5, 1e-4, 1e-5], vague), vague)) == n


def test_without_names_of_things_worth_alone_orders():
    seen = _seen([5] * 3)
    worth = _worth([0.1, 0.5, 0.3], seen)
    assert np.argsort(-worth).tolist() == [1, 2, 0]


def test_kept_places_come_first_but_not_for_two_that_say_the_same():
    worth = np.log(np.array([0.5, 0.4, 0.2, 0.1], np.float32))
    nobody = np.zeros(4, np.bool_)
    assert greedy(worth, _pairs(4), is_own=nobody, first=[2, 3]) == [2, 3, 0, 1]
    assert greedy(worth, _pairs(4, (2, 3)), is_own=nobody, first=[2, 3]) == [2, 0, 1, 3]


TAGS = ["alpha", "beta", "view", "air", "gamma", "delta", "moss", "stone", "alphas", "lone", "sky"]


@pytest.fixture(scope="module")
def used() -> Usage:
    """#alpha and #beta stand for each other, #gamma comes with #delta; #lone is hardly used."""
    sky, leaves = np.eye(8)[:2]
    posts = []
    for i in range(40):
        posts.append((sky, (("alpha", "beta")[i % 2], "view", "air")))
        posts.append((leaves, ("gamma", "delta", "moss" if i % 3 else "stone")))
    posts += [(leaves, ("alphas", "moss"))] * 30
    posts += [(sky, ("lone", "view", "air"))] * 4
    rng = np.random.default_rng(0)
    carries = np.zeros((len(posts), len(TAGS)), np.int64)
    photos = np.zeros((len(TAGS), 8))
    for row, (photo, names) in zip(carries, posts, strict=True):
        row[[TAGS.index(name) for name in names]] = 1
        photos[row > 0] += photo + rng.normal(0, 0.02, 8)
    beside = [(np.flatnonzero(row), row[row > 0]) for row in carries.T @ carries]
    ids = np.arange(len(TAGS))
    return Usage.of(carries.sum(axis=0), ids, [(ids, beside)], look_alike(photos))


def _same(used: Usage, one: str, other: str) -> bool:
    found = near_synonyms(used)
    assert np.array_equal(found, found.T)
    assert not found.diagonal().any()
    return bool(found[TAGS.index(one), TAGS.index(other)])


def test_near_synonyms_are_found_by_their_use(used: Usage):
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
def test_what_is_no_near_synonym(used: Usage, one: str, other: str, why: str):
    assert not _same(used, one, other), why


def test_counts_of_the_last_posts_alone_say_the_same(used: Usage):
    """The commoner tag's list of posts is cut, so its row counts fewer than the rarer one's."""
    together = used.together.copy()
    together[TAGS.index("beta")] //= 2
    cut = replace(used, together=together)
    assert np.array_equal(near_synonyms(cut), near_synonyms(used))


@pytest.mark.parametrize(
    ("n_together", "company", "is_same"), [(0, 0.88, False), (0, 0.92, True), (15, 0.88, True)]
)
def test_tags_that_never_meet_need_more_company_in_common(
    n_together: int, company: float, is_same: bool
):
    """#rose and #tulips stand beside much the same, and are two things."""
    together = np.array([[20, n_together], [n_together, 20]], np.float32)
    beside = company * (1.0 - np.eye(2, dtype=np.float32))
    found = near_synonyms(Usage(np.full(2, 20.0, np.float32), together, beside))
    assert found[0, 1] == is_same


def test_no_tags_have_no_near_synonyms():
    none = np.zeros((0, 0), np.float32)
    assert near_synonyms(Usage(np.zeros(0), none, none)).shape == (0, 0)


def _pairs(n: int, *pairs: tuple[int, int]) -> np.ndarray:
    same = np.zeros((n, n), np.bool_)
    for one, other in pairs:
        same[one, other] = same[other, one] = True
    return same


def test_the_second_of_a_kind_gives_way_to_what_is_half_as_likely():
    worth = np.log(np.array([0.5, 0.4, 0.25, 0.15], np.float32))
    nobody = np.zeros(4, np.bool_)
    assert greedy(worth, _pairs(4, (0, 1)), is_own=nobody) == [0, 2, 1, 3]
    assert greedy(worth, _pairs(4), is_own=nobody) == [0, 1, 2, 3]


def test_a_persons_own_tags_stand_beside_each_other():
    worth = np.log(np.array([0.5, 0.4, 0.25], np.float32))
    own = np.array([True, True, False])
    assert greedy(worth, _pairs(3, (0, 1)), is_own=own) == [0, 1, 2]


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


def test_the_set_is_shown_likeliest_first_but_for_what_says_the_same():
    probs = np.array([0.1, 0.5, 0.4, 0.3, 0.05, 0.9], np.float32)
    worth = np.array([6.0, 5.0, 4.0, 3.0, 2.0, 1.0], np.float32)
    nobody = np.zeros(6, np.bool_)
    assert best_set(worth, np.log(probs), _pairs(6), is_own=nobody) == [1, 2, 3, 0, 4, 5]
    same = _pairs(6, (1, 2))
    assert best_set(worth, np.log(probs), same, is_own=nobody)[:3] == [1, 3, 2]


@pytest.mark.parametrize("seed", range(20))
def test_a_smaller_set_begins_a_larger_one(seed: int):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, POOL + 20))
    probs = np.sort(rng.random(n).astype(np.float32))[::-1]
    classes, kinds = rng.random((2, n)).tolist()
    seen = _seen(rng.integers(1, 500, n).tolist(), classes=classes, kinds=kinds, names=[*range(9)])
    worth = _worth(probs.tolist(), seen)
    names, is_own = [f"t{i}" for i in range(n)], rng.random(n) < 0.2

    def same_meaning(asked) -> np.ndarray:
        assert len(asked) <= POOL + 2
        groups = np.array([int(tag[1:]) % 7 for tag in asked])
        alike = (groups[:, None] == groups) & ~np.eye(len(groups), dtype=np.bool_)
        uses = np.full(len(asked), 50.0)
        return near_synonyms(Usage(uses, np.diag(uses), alike.astype(np.float32)))

    def chosen(k: int) -> list[int]:
        wishes = Wishes.of(k + 1, ("t3",), ("t5",))
        first = names_first(worth, seen)
        return wishes.chosen(
            names, probs, worth, is_own=is_own, same_meaning=same_meaning, first=first
        )

    longest = chosen(100)
    assert sorted(longest) == [i for i in range(n) if i not in (3, 5)]
    for k in (1, 2, 3, 5, 10, 50):
        assert chosen(k) == longest[:k]


def _set_of(names: list[str], *, seen: Seen | None, own: tuple[str, ...] = ()) -> list[str]:
    """The set of five from tags that are ever less likely, and are never used together."""
    n = len(names)
    probs = np.linspace(0.5, 0.1, n).astype(np.float32)

    def never(tags) -> np.ndarray:
        return np.zeros((len(tags), len(tags)), np.bool_)

    is_own, unsure = np.isin(names, own), seen is not None and seen.is_unsure
    best = Wishes.of(5).chosen(
        names, probs, np.log(probs), is_own=is_own, same_meaning=never, seen=seen, unsure=unsure
    )
    return [names[i] for i in best]


MUSHROOMS = ["mushroom", "mushrooms", "nature", "love", "photography", "forest", "autumn", "food"]


def test_a_set_has_no_word_twice_and_a_strangers_two_general_ones():
    seen = _seen([5] * 8, kinds=[0.8] * 8)
    assert _set_of(MUSHROOMS, seen=seen) == ["mushroom", "nature", "love", "forest", "autumn"]


def test_what_a_person_uses_may_stand_twice():
    own = ("mushroom", "mushrooms", "nature", "love", "photography")
    assert _set_of(MUSHROOMS, seen=None, own=own) == MUSHROOMS[:5]


def test_a_photo_of_people_is_shamed_by_no_tag_and_a_thing_must_be_seen():
    names = ["sexy", "dog", "monkey", "portrait", "style", "smile", "hat", "city"]
    seen = replace(_seen([5] * 8, kinds=[0.0, 0.6, *[0.0] * 6]), person=0.9)
    assert _set_of(names, seen=seen) == ["dog", "portrait", "style", "smile", "hat"]
    assert "monkey" in _set_of(names, seen=replace(seen, person=0.1))


def test_a_photo_that_nothing_names_gets_fewer_tags():
    faint, clear = _seen([5] * 8), _seen([5] * 8, classes=[0.5] * 8)
    names, faint, clear = list("abcdefgh"), replace(faint, person=0.1), replace(clear, person=0.1)
    assert not replace(faint, person=None).is_unsure, "a model without labels cannot tell"
    assert (faint.is_unsure, clear.is_unsure) == (True, False)
    assert len(_set_of(names, seen=faint)) < len(_set_of(names, seen=clear)) == 5


def test_on_an_unlike_photo_what_is_not_the_persons_comes_as_a_stranger_would_get_it():
    seen = replace(_seen([5] * 4, kinds=[0.0, 0.0, 0.1, 0.6], names=[2, 3]), history="unlike")
    probs = np.array([0.9, 0.4, 0.3, 0.01], np.float32)
    own = np.array([True, False, False, False])
    worth, first = as_a_stranger(
        probs, np.array([0, 0, 1, 4], np.float32), seen, is_own=own, five=[3, 2]
    )
    assert np.exp(worth).tolist() == pytest.approx([0.9, 0.01, 0.3, 0.4]), "chances change places"
    assert first == [3], "one place is kept, for what the photo surely shows"
    faint = replace(seen, kinds=np.zeros(4, np.float32))
    _, first = as_a_stranger(probs, worth, faint, is_own=own, five=[3, 2])
    assert first == []
    assert names_first(worth, replace(seen, history="like")) == []


def test_a_photo_is_unlike_posts_by_photos_else_by_names_that_the_person_never_used():
    day, width = 86_400.0, 24
    log = world(300)
    model = model_for(log)
    shown = log.embeddings[int(np.flatnonzero(log.has_photo)[5])]
    seen = _seen([5] * 3, kinds=[0.0, 0.6, 0.7], names=[1, 2])
    never, before = np.zeros(3, np.bool_), np.array([False, False, True])
    cases = [(shown, never, "like"), (-shown, before, "unlike"), (None, never, "unlike")]
    for photo, is_own, expected in [*cases, (None, before, "like")]:  # .7 of 1.3 are hers
        posts = [Post(f"p{i}", "ana", START_AT + i * day, ("tango",)) for i in range(3)]
        photos = {} if photo is None else {post.post_id: photo for post in posts}
        view = model.knowledge.evidence(PostLog.of(posts, photos)).view()
        asked = read(model, view, ask("ana", START_AT + 9 * day, shown, width=width))
        assert history_like(asked, 0, seen, is_own) == expected
    most_is_new = replace(seen, kinds=np.array([0.0, 0.8, 0.7], np.float32))
    assert history_like(asked, 0, most_is_new, before) == "unlike", "one old name of two"
    unsure = replace(seen, kinds=np.full(3, 0.05, np.float32))
    assert history_like(asked, 0, unsure, never) == "unknown", "nothing is sure enough to tell"
    for strange in (
        ask("bo", START_AT + 9 * day, shown, width=width),
        replace(ask(None, START_AT, shown, width=width), history=(("tango",),)),
    ):
        assert history_like(read(model, view, strange), 0, seen, never) == "none"


def test_beside_own_tags_an_unlike_photo_keeps_its_things_before_what_goes_with_them():
    seen = replace(_seen([5] * 6, kinds=[0, 0.5, 0.4, 0.4, 0.3, 0.2], names=[1, 4, 5]))
    seen = replace(seen, history="unlike")
    probs = np.array([0.9, 0.5, 0.4, 0.3, 0.2, 0.1], np.float32)
    own = np.arange(6) == 0
    worth, _ = as_a_stranger(probs, np.log(probs), seen, is_own=own, five=[1, 2, 3, 4, 5])
    assert np.argsort(-worth, kind="stable").tolist() == [0, 1, 4, 5, 2, 3]


def test_beside_own_tags_the_telling_one_of_a_strangers_names_stays():
    # A bathroom: #kitchen is as likely and used on forty times as many posts.
    seen = replace(_seen([200, 200, 5, 200], kinds=[0.0] + [0.3] * 3, names=[1, 2, 3]))
    seen = replace(seen, history="unlike")
    probs, own = np.array([0.9, 0.5, 0.25, 0.3], np.float32), np.arange(4) == 0
    worth, first = as_a_stranger(probs, np.log(probs), seen, is_own=own, five=[1, 3, 2])
    assert np.argsort(-worth).tolist() == [0, 2, 1, 3]
    assert first == [2]


def test_a_photo_like_the_persons_keeps_the_most_special_of_what_is_surely_new():
    seen = replace(_seen([500, 500, 5], kinds=[0.0, 0.5, 0.4], names=[1, 2]), history="near")
    worth = np.log(np.array([0.9, 0.5, 0.01], np.float32))
    assert names_first(worth, seen) == [2], "#food is likelier, #salad says more"
    assert names_first(worth, replace(seen, kinds=seen.kinds * 0.7)) == [1], "less sure of #salad"


def test_a_photo_like_the_persons_that_surely_shows_something_else_keeps_that_a_place():
    seen = _seen([5] * 4, kinds=[0.0, 0.2, 0.5, 0.1], names=[1, 2, 3])
    worth = np.log(np.array([0.9, 0.5, 0.01, 0.3], np.float32))
    assert names_first(worth, replace(seen, history="near")) == [2]
    faint = replace(seen, kinds=seen.kinds / 2)
    assert names_first(worth, replace(faint, history="near")) == []
    assert names_first(worth, replace(seen, history="like")) == []
    probs = np.exp(worth)
    near = worth_of(probs, replace(seen, history="near"), floor=0.1)
    assert near == pytest.approx(worth), "the rest comes by chance, as on a photo like theirs"


@pytest.mark.parametrize(("cosine", "expected"), [(0.5, "unlike"), (0.7, "near"), (0.9, "like")])
def test_how_alike_photos_must_be_depends_on_what_they_show(cosine, expected):
    model = model_for(world(300))
    width, day = model.knowledge.encoder_width, 86_400.0
    shown = world(300).embeddings[int(np.flatnonzero(world(300).has_photo)[5])]
    posts = [Post(f"p{i}", "ana", START_AT + i * day, ("tango",)) for i in range(3)]
    past = PostLog.of(posts, {post.post_id: shown for post in posts})
    question = ask("ana", START_AT + 9 * day, shown, width=width)
    asked = read(model, model.knowledge.evidence(past).view(), question)
    asked.own_memory.keys[..., OWN_KEYS.index("similarity")] = cosine
    seen = _seen([5] * 3, kinds=[0.0, 0.6, 0.7], names=[1, 2])
    assert history_like(asked, 0, seen, np.zeros(3, np.bool_)) == expected
    used = np.array([False, False, True])
    assert history_like(asked, 0, seen, used) == ("unlike" if expected == "unlike" else "like")


def test_tags_of_things_that_an_unlike_photo_does_not_show_count_less():
    seen = replace(
        _seen([5] * 3, kinds=[0.0, 0.0, 0.6], names=[0, 2]),
        history="unlike",
        is_foreign=np.array([True, False, False]),
    )
    own, probs = np.array([True, True, False]), np.array([0.8, 0.4, 0.3], np.float32)
    worth, _ = as_a_stranger(probs, np.log(probs), seen, is_own=own, five=[2])
    assert np.argsort(-worth).tolist() == [1, 2, 0]


def test_a_set_made_for_other_photos_leaves_places_for_what_the_photo_shows():
    probs = np.array([0.9, 0.9, 0.9, 0.9, 0.9, 0.2, 0.1, 0.05], np.float32)
    own = np.arange(8) < 5
    seen = replace(_seen([5] * 8, kinds=[*[0.0] * 5, 0.6, 0.3, 0.2], names=[5]), history="unlike")
    worth, first = as_a_stranger(probs, np.log(probs), seen, is_own=own, five=[5])
    assert (np.argsort(-worth, kind="stable")[:5].tolist(), first) == ([0, 1, 5, 6, 7], [5])
    common = replace(seen, is_common=np.arange(8) == 0)
    worth, _ = as_a_stranger(probs, np.log(probs), common, is_own=own, five=[5])
    assert set(np.argsort(-worth, kind="stable")[:2].tolist()) == {1, 2}, "a signature stays"
    faint = replace(seen, kinds=np.zeros(8, np.float32))
    worth, _ = as_a_stranger(probs, np.log(probs), faint, is_own=own, five=[])
    assert sorted(np.argsort(-worth, kind="stable")[:5].tolist()) == [0, 1, 2, 3, 4]


def test_what_was_settled_stands_together_though_it_says_the_same():
    names, probs = ["gym", "fitness", "sweat"], np.array([0.5, 0.4, 0.3], np.float32)

    def chosen(settled: list[int]) -> list[str]:
        best = Wishes.of(2).chosen(
            names, probs, np.log(probs), is_own=np.zeros(3, np.bool_),
            same_meaning=lambda every: _pairs(len(every), (0, 1)), settled=settled,
        )  # fmt: skip
        return [names[i] for i in best]

    assert chosen([]) == ["gym", "sweat"]
    assert chosen([0, 1]) == ["gym", "fitness"]
