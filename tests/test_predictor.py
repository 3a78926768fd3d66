"""Predictor: the right evidence speaks, at the right time, and says why."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import handmade
import pixtag
import pixtag.predictor as predictor_module
from pixtag import images
from pixtag.bundle import hash_post_ids
from pixtag.choose import Wishes
from pixtag.errors import ImageError, InputError, ModelError, ShapeError, StoreError
from pixtag.evaluate.model import model_of
from pixtag.evidence import MemoryEvidence, NoModel
from pixtag.images import digest
from pixtag.ingest import find_sources, import_posts
from pixtag.lists import Lists
from pixtag.model import evidence_of
from pixtag.photos import photos_under, sidecar_tags
from pixtag.predictor import Predictor
from pixtag.rank import candidates, rank
from pixtag.signals import FEATURES, INPUT_NAMES, Questions
from pixtag.signals.trend import rising_tags
from pixtag.store import Store
from pixtag.store.sqlite import SqliteStore
from pixtag.train.config import TrainConfig
from pixtag.train.fit import fit
from pixtag.types import Photo, Post, PostLog, Sources

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def post(name: str, user: str | None, when: datetime | None, *tags: str, photo: Path | None = None):
    photos = () if photo is None else (Photo(str(photo), digest(photo)),)
    return Post(name, user, None if when is None else when.timestamp(), tags, photos)


def days(n: float) -> datetime:
    """An instant n days before noon."""
    return NOON - timedelta(days=n)


def make_store(path: Path, posts: list[Post]) -> Path:
    with Store.open(path, create=True) as store:
        store.add_posts(posts)
        encoder = handmade.encoder()
        from pixtag.images import decode

        for photo in store.missing_photos(encoder.digest):
            row = encoder.embed(decode(Path(photo.path))[None]).astype(np.float16)
            store.put_embeddings(encoder.digest, [photo.digest], row)
    return path


@pytest.fixture
def stranger() -> Predictor:
    return Predictor(handmade.bundle(), encoder=handmade.encoder())


@pytest.fixture(scope="module")
def shipped() -> Predictor:
    """The shipped bundle, without a store."""
    return Predictor.load()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Ana tags her coffee, three friends start to use a tag on the last day."""
    posts = [post(f"ana-{i}", "ana", days(i), "coffee", "latteart") for i in range(3, 9)]
    posts += [post("ana-secret", "ana", days(2), "secretproject")]
    posts += [post(f"{u}-old", u, days(20), "sky") for u in ("bo", "cy", "di")]
    posts += [post(f"{u}-{i}", u, days(i), "sky") for u in ("bo", "cy") for i in range(5, 30)]
    posts += [post(f"{u}-new", u, days(0.2), "eclipse") for u in ("bo", "cy", "di")]
    return make_store(tmp_path / "s.sqlite", posts)


def view_of(posts: list[Post]):
    """A view of posts that no model describes."""
    evidence = MemoryEvidence((), NoModel())
    evidence.observe(PostLog.of(posts))
    return evidence.view()


def tags(suggestions) -> list[str]:
    return [s.tag for s in suggestions]


def texts(suggestions, tag: str) -> str:
    (found,) = [s for s in suggestions if s.tag == tag]
    return "; ".join(r.text for r in found.reasons)


@pytest.mark.parametrize("look", list(handmade.LOOKS))
def test_a_stranger_gets_what_the_photo_shows(
    stranger: Predictor, tmp_path: Path, look: str
) -> None:
    found = stranger.suggest(handmade.photo(tmp_path / "p.jpg", look, seed=7))
    assert set(tags(found)[:2]) == set(handmade.LOOKS[look])
    assert found[0].reasons[0].text == "in the picture"
    assert [s.prob for s in found] == sorted((s.prob for s in found), reverse=True)
    assert all(0 < s.prob < 1 for s in found)


def test_path_text_and_bytes_are_the_same_photo(stranger: Predictor, tmp_path: Path) -> None:
    path = handmade.photo(tmp_path / "p.jpg", "sky")
    from_path = stranger.suggest(path, at=NOON)
    assert stranger.suggest(str(path), at=NOON) == from_path
    assert stranger.suggest(path.read_bytes(), at=NOON) == from_path


def test_own_history_speaks_up_to_the_moment_asked_about(store: Path) -> None:
    predictor = Predictor.load(handmade.bundle(), store)
    found = predictor.suggest(None, user="ana", at=NOON)
    assert set(tags(found)[:2]) == {"coffee", "latteart"}
    assert "you used it 3 days ago, 6 times" in texts(found, "coffee")
    earlier = predictor.suggest(None, user="ana", at=days(5.5))
    assert "you used it 12 hours ago, 3 times" in texts(earlier, "coffee")
    assert "coffee" not in tags(predictor.suggest(None, user="ana", at=days(9)))
    assert "coffee" not in tags(predictor.suggest(None, user="nobody known", at=NOON))


def test_a_private_tag_stays_private(store: Path) -> None:
    predictor = Predictor.load(handmade.bundle(), store)
    assert "secretproject" in tags(predictor.suggest(None, user="ana", at=NOON, k=50))
    for user in (None, "bo"):
        assert "secretproject" not in tags(predictor.suggest(None, user=user, at=NOON, k=50))


@pytest.mark.parametrize(
    ("users", "is_public"),
    [((None,) * 9, False), (("x", "y") * 4 + (None,), False), ("xyz" * 3, True)],
)
def test_posts_of_nobody_make_no_tag_public(
    tmp_path: Path, users: tuple[str | None, ...], is_public: bool
) -> None:
    """They may all be of one person."""
    lively = [post(f"s-{i}", user, days(0.1 + i / 1000), "wedding") for i, user in enumerate(users)]
    usual = [post(f"o-{i}", f"u{i % 4}", days(i / 10), "calm") for i in range(90)]
    with Store.open(tmp_path / "s.sqlite", create=True) as store:
        store.add_posts([*usual, *lively])
        predictor = Predictor.load(handmade.bundle(), store)
        assert ("wedding" in [r.tag for r in predictor.trending(NOON)]) == is_public
        for user in (None, "u1"):
            offered = tags(predictor.suggest(None, user=user, at=NOON, k=50))
            assert ("wedding" in offered) == is_public


def test_a_rising_tag_is_offered_while_it_rises(store: Path) -> None:
    predictor = Predictor.load(handmade.bundle(), store)
    found = predictor.suggest(None, at=NOON)
    assert "eclipse" in tags(found)
    assert "rising" in texts(found, "eclipse")
    assert "eclipse" not in tags(predictor.suggest(None, at=days(1), k=50))
    assert [r.tag for r in predictor.trending(NOON)] == ["eclipse"]
    assert predictor.trending(NOON)[0].n_people == 3
    assert predictor.trending(days(1)) == []


def test_one_persons_flood_is_no_trend() -> None:
    flood = [post(f"f-{i}", "ana", days(i / 100), "spam") for i in range(1, 50)]
    flood += [post(f"o-{i}", "bo", days(i), "calm") for i in range(30)]
    assert rising_tags(view_of(flood), at=NOON.timestamp(), k=9) == []


def test_trends_need_posts(stranger: Predictor) -> None:
    with pytest.raises(InputError, match="trends") as caught:
        stranger.trending()
    assert "store" in caught.value.hint


def test_a_typed_history_counts_like_one(stranger: Predictor) -> None:
    found = stranger.suggest(None, history=["Dog", "#dog", "Night Life", "love"], k=3, at=NOON)
    assert tags(found)[0] in {"dog", "love"}
    assert "nightlife" in tags(found)
    assert texts(found, "dog") == "in the history you gave, 2 times"
    assert "dog" not in tags(stranger.suggest(None, k=50, at=NOON)), "it must not stay"


def test_a_typed_history_adds_to_the_stores(store: Path) -> None:
    predictor = Predictor.load(handmade.bundle(), store)
    found = predictor.suggest(None, user="ana", history=["tea"], at=NOON)
    assert {"tea", "coffee"} <= set(tags(found))
    assert "in the history you gave" in texts(found, "tea")
    assert "you used it 3 days ago" in texts(found, "coffee")


def test_accepted_draws_in_its_company_and_refused_stays_out(tmp_path: Path) -> None:
    posts = [
        post(f"{user}-{i}", user, days(i), "lake", "swan")
        for i, user in enumerate(["bo", "cy", "di", "ed"])
    ]
    posts += [
        post(f"x-{user}-{i}", user, days(i), "road", "car")
        for i, user in enumerate(["bo", "cy", "di", "ed"])
    ]
    predictor = Predictor.load(handmade.bundle(), make_store(tmp_path / "s.sqlite", posts))
    found = predictor.suggest(None, at=NOON, accepted=["Lake"])
    assert tags(found)[0] == "swan"
    assert "goes with #lake" in texts(found, "swan")
    assert "lake" not in tags(found)
    assert "swan" not in tags(predictor.suggest(None, at=NOON, accepted=["lake"], refused=["Swan"]))
    assert tags(predictor.suggest(None, at=NOON, accepted=["car"]))[0] == "road"


@pytest.fixture
def kin(tmp_path: Path) -> Predictor:
    """#dawn and #sunup say the same on the same photos; #tide goes with other photos."""
    photos = [handmade.photo(tmp_path / f"{look}.jpg", look, 5) for look in ("sky", "leaves")]
    people = [f"u{i}" for i in range(14)]
    posts = [post("ana-1", "ana", days(40), "dawn"), post("ana-2", "ana", days(40), "sunup")]
    for day in (22, 23):
        for i, user in enumerate(people):
            word = ("dawn", "sunup")[(i + day) % 2]
            posts.append(post(f"{user}-{day}", user, days(day), word, "early", photo=photos[0]))
    posts += [post(f"{u}-t", u, days(22), "tide", photo=photos[1]) for u in people[:8]]
    return Predictor.load(handmade.bundle(), make_store(tmp_path / "s.sqlite", posts))


ONLY = Lists(allow=("dawn", "sunup", "tide"))


def test_a_stranger_is_not_shown_the_same_twice(kin: Predictor) -> None:
    crowded = kin.suggest(None, at=NOON, k=2, lists=ONLY, allow_similar=True)
    assert set(tags(crowded)) == {"dawn", "sunup"}
    found = kin.suggest(None, at=NOON, k=2, lists=ONLY)
    assert "tide" in tags(found)
    assert len(found) == 2
    assert set(tags(kin.suggest(None, at=NOON, k=3, lists=ONLY))) == set(ONLY.allow)
    assert "tide" in tags(kin.suggest(None, at=NOON, k=2, lists=ONLY, accepted=["dawn"]))


def test_somebody_who_uses_both_is_shown_both(kin: Predictor) -> None:
    assert set(tags(kin.suggest(None, user="ana", at=NOON, k=2, lists=ONLY))) == {"dawn", "sunup"}


def test_what_says_the_same_as_a_refused_tag_counts_less(kin: Predictor) -> None:
    lists = Lists(allow=("sunup", "tide", "dawn"))
    assert tags(kin.suggest(None, at=NOON, k=1, lists=lists, refused=["dawn"])) == ["tide"]
    deny = Lists(allow=lists.allow, deny=("dawn",))
    assert tags(kin.suggest(None, at=NOON, k=1, lists=deny)) == ["sunup"], "only itself is denied"


def test_lists_are_obeyed(store: Path) -> None:
    predictor = Predictor.load(handmade.bundle(), store)
    asked = {"user": "ana", "at": NOON}
    free = tags(predictor.suggest(None, k=4, **asked))
    assert "coffee" in free
    denied = predictor.suggest(None, k=50, lists=Lists(deny=("coffee",)), **asked)
    assert "coffee" not in tags(denied)
    assert "latteart" in tags(denied)
    lists = Lists(allow=("sky", "coffee"), always=("studioana", "latteart"))
    found = predictor.suggest(None, k=4, lists=lists, **asked)
    assert tags(found) == ["coffee", "sky", "studioana", "latteart"]
    assert [s.prob > 0 for s in found] == [True, True, False, True]
    assert texts(found, "studioana") == "always: it is on your list"
    short = predictor.suggest(None, k=4, platform="threads", lists=lists, **asked)
    assert tags(short) == ["studioana"]


def test_a_platform_cuts_k(store: Path) -> None:
    predictor = Predictor.load(handmade.bundle(), store)
    assert len(predictor.suggest(None, at=NOON, k=7)) == 7
    assert len(predictor.suggest(None, at=NOON, k=7, platform="instagram")) == 5
    assert len(predictor.suggest(None, at=NOON, platform="threads")) == 1
    accepted = ["eclipse", "sky"]
    assert len(predictor.suggest(None, at=NOON, platform="instagram", accepted=accepted)) == 3
    assert predictor.suggest(None, at=NOON, platform="threads", accepted=accepted) == []
    with pytest.raises(InputError, match="unknown platform 'myspace'"):
        predictor.suggest(None, platform="myspace")
    with pytest.raises(InputError, match="unknown platform"):
        list(predictor.answers([], platform="myspace"))


SAMPLES = sorted((Path(__file__).parent.parent / "samples").glob("*.jpg"))


def test_what_is_typed_and_surely_not_in_the_photo_does_not_come_first() -> None:
    photos = {path.stem: path for path in SAMPLES}
    with Predictor.load() as predictor:
        flower = predictor.suggest(photos["flower"], history=["cats"] * 3)
        assert "flowers" in tags(flower)
        assert "cats" not in tags(flower)
        assert tags(predictor.suggest(photos["cat"], history=["cats"] * 3))[0] == "cats"


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """The demo's people, who post without photos, with the shipped model."""
    path = tmp_path_factory.mktemp("demo") / "s.sqlite"
    with Store.open(path, create=True) as opened:
        import_posts(find_sources([SAMPLES[0].parent.parent / "demo" / "posts.jsonl"]), opened)
    return Predictor.load(store=path)


@pytest.mark.parametrize("name", ["mountains", "river", "sunset"])
def test_an_archive_without_photos_leaves_what_a_photo_of_something_else_shows(
    invented: Predictor, name: str
) -> None:
    photo, at = SAMPLES[0].with_name(f"{name}.jpg"), datetime(2026, 5, 27, 8, tzinfo=UTC)
    five = tags(invented.suggest(photo, user="ana", at=at))
    assert name in five
    assert not {"misterwhiskers", "anasmornings", "catlover"} & set(five)
    own = tags(invented.suggest(SAMPLES[0].with_name("cat.jpg"), user="ana", at=at, k=10))
    assert {"cat", "misterwhiskers"} <= set(own)


def test_it_says_so_where_it_is_not_sure_also_to_a_person(
    invented: Predictor, shipped: Predictor
) -> None:
    at, photos = (
        datetime(2026, 5, 27, 8, tzinfo=UTC),
        [SAMPLES[0].with_name(f"{name}.jpg") for name in ("rocket", "cat")],
    )
    rocket, cat = invented.answers(photos, user="ana", at=at)
    assert (rocket.unsure, cat.unsure) == (True, False)
    assert len(rocket.suggestions) == 5, "their own tags may still be right"
    (strange,) = shipped.answers(photos[:1], at=at)
    assert strange.unsure
    assert len(strange.suggestions) <= 3


@pytest.mark.parametrize("photo", SAMPLES, ids=lambda path: path.stem)
def test_a_smaller_set_begins_a_larger_one(shipped: Predictor, photo: Path) -> None:
    (answer,) = shipped.answers([photo], k=10, at=NOON)
    ten = tags(answer.suggestions)
    assert 0 < len(ten) <= 3 if answer.unsure else len(ten) == 10
    for k in (1, 3, 5):
        assert tags(shipped.suggest(photo, k=k, at=NOON)) == ten[:k]
    assert tags(shipped.suggest(photo, platform="threads", at=NOON)) == ten[:1]


@pytest.mark.parametrize("photo", SAMPLES, ids=lambda path: path.stem)
def test_a_generic_tag_is_not_in_the_picture(shipped: Predictor, photo: Path) -> None:
    lists = Lists(allow=("love", "instagood", "igers", "happy", "likeforlike", "beautiful"))
    found = shipped.suggest(photo, lists=lists, at=NOON)
    assert found
    assert not [s.tag for s in found if "in the picture" in texts(found, s.tag)]
    shown = shipped.suggest(photo, at=NOON)
    assert "in the picture" in {r.text for s in shown for r in s.reasons}


def test_a_set_pasted_on_everything_does_not_push_out_what_a_photo_shows(tmp_path: Path) -> None:
    """Tags that no model knows, on twenty posts without photos; then a cat and a coffee."""
    pasted = ("meingarten", "gardenlife", "slowliving", "lenasgarten", "allotmentdiary")
    posts = [post(f"p{i}", "lena", days(i + 1), *pasted) for i in range(20)]
    predictor = Predictor.load(store=make_store(tmp_path / "s.sqlite", posts))
    for name, names in (("cat", {"cat", "kitten", "kitty"}), ("coffee", {"coffee"})):
        photo = Path(__file__).parent.parent / "samples" / f"{name}.jpg"
        found = tags(predictor.suggest(photo, user="lena", at=NOON))
        assert names & set(found)
        assert len(set(found) & set(pasted)) <= 2


def test_the_stores_own_people_are_counted(tmp_path: Path) -> None:
    """#love has many people behind the bundle's prior, three in this store, one without a name."""
    posts = [post(f"p{u}{i}", u, days(i + 1), "love") for u in ("bo", "cy", "di") for i in (0, 1)]
    posts += [post("nobody", None, days(1), "love")]
    posts += [post("lone", "bo", days(1), "tide"), post("more", "cy", days(1), "tide")]
    path = make_store(tmp_path / "s.sqlite", posts)
    predictor = Predictor.load(handmade.bundle(), path)
    found = predictor.suggest(None, k=50, at=NOON)
    assert "popular: 3 people use it" in texts(found, "love")
    early = predictor.suggest(None, k=50, at=days(300))
    assert "popular" in texts(early, "love").split("; ")
    for suggestion in [*found, *early]:
        assert suggestion.reasons, "a reason is owed"


def test_fewer_than_k_when_there_is_little(stranger: Predictor) -> None:
    assert 0 < len(stranger.suggest(None, k=100)) < 100
    assert len(stranger.suggest(None, k=2)) == 2


def test_answers_come_in_order_and_survive_broken_photos(
    stranger: Predictor, tmp_path: Path
) -> None:
    looks = list(handmade.LOOKS) * 7
    paths = [handmade.photo(tmp_path / f"{i:02}.jpg", look, i) for i, look in enumerate(looks)]
    paths[4].write_bytes(b"\xff\xd8\xff cut")
    paths.insert(9, tmp_path / "gone.jpg")
    answers = list(stranger.answers(paths, at=NOON))
    assert [a.photo for a in answers] == [str(p) for p in paths]
    broken = [i for i, a in enumerate(answers) if a.error is not None]
    assert broken == [4, 9]
    assert all(isinstance(answers[i].error, ImageError) for i in broken)
    for path, answer in zip(paths, answers, strict=True):
        if answer.error is None:
            alone = stranger.suggest(path, at=NOON)
            assert tags(answer.suggestions) == tags(alone)
            probs = [[s.prob for s in found] for found in (answer.suggestions, alone)]
            np.testing.assert_allclose(*probs, atol=1e-4)


def test_a_known_photo_is_judged_as_of_its_post(tmp_path: Path) -> None:
    photos = [handmade.photo(tmp_path / f"{i}.jpg", "sky", i) for i in range(4)]
    posts = [post(f"p{i}", "ana", days(4 - i), f"day{i}", photo=p) for i, p in enumerate(photos)]
    predictor = Predictor.load(handmade.bundle(), make_store(tmp_path / "s.sqlite", posts))
    answers = list(predictor.answers(photos, user="ana", k=50))
    for i, answer in enumerate(answers):
        assert answer.own_tags == (f"day{i}",)
        assert answer.is_as_posted
        assert answer.at == days(4 - i).timestamp()
        own = {t for t in tags(answer.suggestions) if t.startswith("day")}
        assert own == {f"day{j}" for j in range(i)}, "it saw its own or a later post"


@pytest.mark.parametrize("at", [None, NOON])
def test_a_known_photo_never_looks_itself_up(tmp_path: Path, at: datetime | None) -> None:
    photos = [handmade.photo(tmp_path / f"{i}.jpg", "sky", i) for i in range(4)]
    untimed = [post(f"p{i}", f"u{i}", None, "mylabel", photo=p) for i, p in enumerate(photos)]
    folder = make_store(tmp_path / "s.sqlite", untimed)
    predictor = Predictor.load(handmade.bundle(), folder)
    for answer in predictor.answers(photos, at=at, k=50):
        assert answer.own_tags == ("mylabel",)
        assert "mylabel" not in tags(answer.suggestions)
    fresh = handmade.photo(tmp_path / "fresh.jpg", "sky", 99)
    assert "mylabel" in tags(predictor.suggest(fresh, k=50)), "others may use those posts"


def test_a_photo_of_the_training_is_called_so(tmp_path: Path) -> None:
    seen, new = (handmade.photo(tmp_path / f"{n}.jpg", "sky", i) for i, n in enumerate("ab"))
    posts = [post("old-3", "ana", days(1), "sky", photo=seen)]
    posts += [post("new", "ana", days(1), "sky", photo=new)]
    predictor = Predictor.load(handmade.bundle(), make_store(tmp_path / "s.sqlite", posts))
    assert handmade.bundle().has_seen(["old-3"])[0]
    assert [a.is_trained_on for a in predictor.answers([seen, new])] == [True, False]


def test_changes_of_the_store_are_noticed(store: Path) -> None:
    predictor = Predictor.load(handmade.bundle(), store)
    before = tags(predictor.suggest(None, user="ana", at=NOON, k=50))
    with Store.open(store) as writer:
        writer.add_posts([post("ana-tea", "ana", days(0.1), "tea")])
    assert "tea" not in before
    assert "tea" in tags(predictor.suggest(None, user="ana", at=NOON, k=50))
    with Store.open(store) as writer:
        writer.forget("ana")
    assert "tea" not in tags(predictor.suggest(None, user="ana", at=NOON, k=50))


def test_observing_is_like_having_it_in_the_store(tmp_path: Path) -> None:
    photos = [handmade.photo(tmp_path / f"{i}.jpg", "leaves", i) for i in range(3)]
    posts = [post(f"p{i}", "ana", days(i + 1), "moss", photo=p) for i, p in enumerate(photos)]
    stored = Predictor.load(handmade.bundle(), make_store(tmp_path / "s.sqlite", posts))
    watching = Predictor(handmade.bundle(), encoder=handmade.encoder())
    watching.observe(posts[:2])
    watching.observe(posts[2:])
    fresh = handmade.photo(tmp_path / "new.jpg", "leaves", 9)
    one, two = (p.suggest(fresh, user="ana", at=NOON) for p in (stored, watching))
    assert tags(one) == tags(two)
    np.testing.assert_allclose([s.prob for s in one], [s.prob for s in two], atol=1e-4)
    watching.retract([p.post_id for p in posts])
    assert "moss" not in tags(watching.suggest(fresh, user="ana", at=NOON, k=50))


def test_a_private_tag_of_somebody_forgotten_never_comes_back(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.sqlite", create=True) as store:
        predictor = Predictor(handmade.bundle(), store=store, encoder=handmade.encoder())
        with predictor:
            predictor.observe([post("a", "ana", days(2), "mysecret")])
            assert "mysecret" in tags(predictor.suggest(None, user="ana", at=NOON, k=50))
            store.add_posts([post("b", "bo", days(1), "tea")])
            assert "tea" in tags(predictor.suggest(None, user="bo", at=NOON, k=50))
            assert "mysecret" in tags(predictor.suggest(None, user="ana", at=NOON, k=50))
            store.forget("ana")
            store.add_posts([post("c", "bo", days(0.5), "cake")])
            assert "mysecret" not in tags(predictor.suggest(None, user="ana", at=NOON, k=50))
            predictor.observe([post("d", "ana", days(0.1), "coffee")])
            assert "mysecret" not in tags(predictor.suggest(None, user="ana", at=NOON, k=50))
            predictor.forget("ana")
            assert "coffee" not in tags(predictor.suggest(None, user="ana", at=NOON, k=50))
        assert [p.post_id for p in store.posts()] == ["b", "c"], "what was observed is kept"


def test_what_another_process_writes_is_seen(store: Path) -> None:
    script = (
        "import sys; from pixtag.store import Store; from pixtag.types import Post\n"
        "with Store.open(sys.argv[1]) as s:\n"
        "    s.add_posts([Post('x', 'ana', float(sys.argv[2]), ('tea',))])"
    )
    with Predictor.load(handmade.bundle(), store) as predictor:
        assert "tea" not in tags(predictor.suggest(None, user="ana", at=NOON, k=50))
        at = str(days(0.1).timestamp())
        subprocess.run([sys.executable, "-c", script, str(store), at], check=True)
        assert "tea" in tags(predictor.suggest(None, user="ana", at=NOON, k=50))


def test_a_store_that_is_only_read_takes_no_posts(store: Path) -> None:
    with Predictor.load(handmade.bundle(), store) as predictor:
        for change in (
            lambda: predictor.observe([post("x", "ana", NOON, "tea")]),
            lambda: predictor.retract(["ana-3"]),
            lambda: predictor.forget("ana"),
        ):
            with pytest.raises(StoreError, match="for reading only") as caught:
                change()
            assert "Store.open" in caught.value.hint


def test_now_comes_after_every_post_that_is_there(tmp_path: Path) -> None:
    """A post of this very moment counts, and one by a clock that runs ahead; not next year's."""
    now = datetime.now(UTC)
    posts = [
        post("old", "ana", now - timedelta(days=3), "tea"),
        post("ahead", "ana", now + timedelta(hours=5), "cake"),
        post("far", "ana", now + timedelta(days=400), "flyingcar"),
    ]
    predictor = Predictor.load(handmade.bundle(), make_store(tmp_path / "s.sqlite", posts))
    found = tags(predictor.suggest(None, user="ana", k=50))
    assert {"tea", "cake"} <= set(found)
    assert "flyingcar" not in found
    (note,) = predictor.notes(user="ana")
    assert note.startswith("1 of 3 posts")
    watching = Predictor(handmade.bundle(), encoder=handmade.encoder())
    watching.observe(posts[:2])
    last = posts[1].posted_at
    for i in range(3):
        watching.observe([replace(posts[1], post_id=f"same-{i}", posted_at=last, tags=(f"n{i}",))])
        assert f"n{i}" in tags(watching.suggest(None, user="ana", k=50))


@pytest.fixture
def sudden(tmp_path: Path) -> Path:
    """Eight people use #love within some hours, after 40 days of other tags."""
    people = [f"u{i}" for i in range(12)]
    posts = [
        post(f"{u}-{d}", u, days(d + i / 50), "sky", f"of{u}")
        for d in range(1, 41)
        for i, u in enumerate(people)
        if (d + i) % 4 == 0
    ]
    posts += [post(f"{u}-love", u, days(0.01 * (i + 1)), "love") for i, u in enumerate(people[:8])]
    return make_store(tmp_path / "sudden.sqlite", posts)


def test_what_the_prior_knows_can_still_rise(sudden: Path, pixtag) -> None:
    bundle = handmade.bundle()
    bare = replace(bundle, prior=bundle.prior.select(np.zeros(0, np.int64)))
    shown = pixtag("trending", "--store", sudden, "--at", NOON.isoformat(), "--json")
    (line,) = [json.loads(line) for line in shown.stdout.splitlines()]
    for one in (bundle, bare):
        with Predictor.load(one, sudden) as predictor:
            (love,) = predictor.trending(NOON)
            assert (love.tag, love.n_people) == ("love", 8)
            assert love.times_usual == pytest.approx(line["times_usual"])
            assert love.times_usual > 5
            model, view = predictor._past.now()
            questions = Questions(
                at=np.array([NOON.timestamp()]),
                users=(None,),
                embeddings=np.zeros((1, 1280), np.float32),
                has_photo=np.zeros(1, np.bool_),
            )
            found = candidates(model, view, questions)
            (place,) = np.flatnonzero(found.tag[0] == view.id_of("love"))
            rise = found.features[0, place, FEATURES.column(f"trend_lift_{love.window_hours:.0f}h")]
            assert np.exp(rise) == pytest.approx(love.times_usual, rel=1e-4)
            assert "rising" in texts(predictor.suggest(None, at=NOON, k=20), "love")


def test_a_question_without_a_photo_waits_for_nobodys_photos(
    stranger: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = handmade.photo(tmp_path / "p.jpg", "sky")
    expected = stranger.suggest(path, at=NOON)
    go_on, decode = threading.Event(), images.decode

    def blocked(*args, **kwargs):
        assert go_on.wait(60)
        return decode(*args, **kwargs)

    monkeypatch.setattr(images, "decode", blocked)
    with ThreadPoolExecutor(12) as threads:
        waiting = [threads.submit(stranger.suggest, path, at=NOON) for _ in range(12)]
        try:
            assert stranger.suggest(None, at=NOON)
            assert not any(one.done() for one in waiting)
        finally:
            go_on.set()
        assert all(one.result() == expected for one in waiting)


def test_a_question_without_a_photo_waits_for_no_ranking_of_those_with_one(
    stranger: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = handmade.photo(tmp_path / "p.jpg", "sky")
    expected = stranger.suggest(path, at=NOON), stranger.suggest(None, at=NOON)
    ranking, go_on, real = threading.Event(), threading.Event(), predictor_module.answered

    def blocked(model, view, at, has_photo, seen, wishes):
        if has_photo[0]:
            ranking.set()
            assert go_on.wait(60)
        return real(model, view, at, has_photo, seen, wishes)

    monkeypatch.setattr(predictor_module, "answered", blocked)
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(stranger.suggest, path, at=NOON) for _ in range(4)]
        try:
            assert ranking.wait(60)
            assert stranger.suggest(None, at=NOON) == expected[1]
            assert not any(one.done() for one in waiting)
        finally:
            go_on.set()
        assert all(one.result() == expected[0] for one in waiting)


def test_while_one_reads_a_large_import_the_others_go_on(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor.load(handmade.bundle(), store)
    before = predictor.suggest(None, user="bo", at=NOON, k=50)
    with Store.open(store) as writer:
        writer.add_posts(post(f"m{i}", "bo", days(1 + i / 900), "imported") for i in range(900))
    reading, go_on, log = threading.Event(), threading.Event(), SqliteStore.log

    def blocked(self, *args, **kwargs):
        reading.set()
        assert go_on.wait(60)
        return log(self, *args, **kwargs)

    monkeypatch.setattr(SqliteStore, "log", blocked)
    with ThreadPoolExecutor(1) as threads:
        follower = threads.submit(predictor.suggest, None, user="bo", at=NOON, k=50)
        try:
            assert reading.wait(60)
            assert predictor.suggest(None, user="bo", at=NOON, k=50) == before
        finally:
            go_on.set()
        assert "imported" in tags(follower.result())
    assert "imported" in tags(predictor.suggest(None, user="bo", at=NOON, k=50))


def test_closing_closes_what_was_opened(store: Path) -> None:
    with Predictor.load(handmade.bundle(), store) as predictor:
        predictor.suggest(None, at=NOON)
    for asked in (None, b"a photo"):
        with pytest.raises(StoreError, match="was closed") as caught:
            predictor.suggest(asked, at=NOON)
        assert "Predictor.load" in caught.value.hint
    with pytest.raises(StoreError, match="was closed"):
        list(predictor.answers([SAMPLES[0]]))
    with pytest.raises(StoreError, match="was closed"):
        predictor.embed(SAMPLES[0])
    with pytest.raises(StoreError, match="was closed"):
        predictor.look_at([SAMPLES[0]])
    with Store.open(store) as mine:
        with Predictor.load(handmade.bundle(), mine) as predictor:
            predictor.suggest(None, at=NOON)
        assert mine.summary().n_posts, "a store that was given stays open"


FORKS = """
import multiprocessing, sys, warnings
from pixtag import Predictor
from pixtag.errors import StoreError

def ask():
    try:
        predictor.suggest(sys.argv[1])
    except StoreError as error:
        sys.exit(error.hint)

warnings.simplefilter("ignore")  # newer Pythons warn of a fork beside threads
predictor = Predictor.load()
predictor.suggest(sys.argv[1])
child = multiprocessing.get_context("fork").Process(target=ask)
child.start()
child.join(60)
child.kill()
"""


def test_a_forked_process_is_told_to_make_its_own() -> None:
    words = [sys.executable, "-c", FORKS, str(SAMPLES[0])]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert "in each process" in done.stderr


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e38, -7e4])
def test_an_embedding_holds_numbers_that_can_be_kept(stranger: Predictor, number: float) -> None:
    rows = np.zeros(stranger._bundle.manifest.encoder_width, np.float64)
    rows[0] = number
    with pytest.raises(ShapeError, match="far too large"):
        stranger.answer(rows, Wishes.of(5))


def test_one_text_of_tags_is_split_as_on_the_command_line(stranger: Predictor) -> None:
    for history in ("#coffee, latteart", ["coffee", "latteart"]):
        wishes = Wishes.of(5, "dusk sea", "#rain", history=history)
        assert wishes.history == ("coffee", "latteart")
        assert (wishes.accepted, wishes.refused) == (("dusk", "sea"), frozenset({"rain"}))


def test_asking_while_others_change_the_store(store: Path, tmp_path: Path) -> None:
    """Nobody fails, whoever publishes sees it at once, and what is forgotten stays forgotten."""
    predictor = Predictor.load(handmade.bundle(), Store.open(store))
    path = handmade.photo(tmp_path / "p.jpg", "sky")
    stop = threading.Event()

    def ask_on(user: str | None) -> int:
        n = 0
        while not stop.is_set() or not n:
            photo = path if n % 3 == 0 else None
            assert predictor.suggest(photo, user=user, at=NOON, history=["tea"], k=9)
            assert predictor.trending(NOON) is not None
            n += 1
        return n

    def publish() -> None:
        for i in range(12):
            predictor.observe([post(f"n{i}", "eve", days(0.5 - i / 100), f"new{i}", photo=path)])
            assert f"new{i}" in tags(predictor.suggest(None, user="eve", at=NOON, k=50))
            if i % 3 == 2:
                predictor.retract([f"n{i}"])
                assert f"new{i}" not in tags(predictor.suggest(None, user="eve", at=NOON, k=50))

    def bring_in() -> None:
        with Store.open(store, busy_timeout_s=60) as other:
            for i in range(6):
                other.add_posts(post(f"i{i}-{j}", "fay", days(2), f"more{j}") for j in range(99))

    def forget() -> None:
        predictor.forget("ana")
        assert "coffee" not in tags(predictor.suggest(None, user="ana", at=NOON, k=50))

    with ThreadPoolExecutor(6) as threads:
        asking = [threads.submit(ask_on, user) for user in ("bo", "eve", None)]
        changing = [threads.submit(change) for change in (publish, bring_in, forget)]
        try:
            for one in changing:
                one.result()
        finally:
            stop.set()
        for one in asking:
            one.result()
    with Store.open(store, read_only=True) as opened:
        log = opened.log(handmade.encoder().digest)
    _, view = predictor._past.now()
    _, again = evidence_of(handmade.bundle(), log)
    assert view.n_posts == again.view().n_posts == len(log)
    fresh = Predictor.load(handmade.bundle(), store)
    for user in ("ana", "bo", "eve", "fay", None):
        one, two = (p.suggest(path, user=user, at=NOON, k=50) for p in (predictor, fresh))
        assert tags(one) == tags(two)
        np.testing.assert_allclose([s.prob for s in one], [s.prob for s in two], atol=1e-5)
    predictor.close()


def test_rank_sees_only_what_lies_before() -> None:
    posts = [post(f"p{i}", "ana", days(10 - i), f"t{i}", "daily") for i in range(10)]
    ranker = model_of(handmade.bundle())
    ranked = ranker(PostLog.of(posts), 5, 10, 20, Sources())
    assert ranked.rows.tolist() == [5, 6, 7, 8, 9]
    for row, ids in zip(ranked.rows.tolist(), ranked.tag_ids.tolist(), strict=True):
        names = {ranked.tags[t] for t in ids if t < len(ranked.tags)}
        assert f"t{row - 1}" in names
        assert not names & {f"t{i}" for i in range(row, 10)}
        assert ranked.tags[ids[0]] == "daily"
    deaf = ranker(PostLog.of(posts), 5, 10, 200, Sources(history=False))
    names = {deaf.tags[t] for t in deaf.tag_ids.ravel().tolist() if t < len(deaf.tags)}
    assert "daily" not in names


def test_notes_name_what_would_surprise(store: Path, stranger: Predictor) -> None:
    predictor = Predictor.load(handmade.bundle(), store)
    assert predictor.notes(user="ana", at=NOON) == []
    (unknown,) = predictor.notes(user="Ana", at=NOON)
    assert "nobody called 'Ana'" in unknown
    assert "'ana'" not in unknown, "who else is in the store is nobody's business"
    (early,) = predictor.notes(at=days(400))
    assert "nothing counts" in early
    (nobody,) = stranger.notes(user="ana")
    assert "without a store" in nobody


def test_a_clock_that_lags_behind_the_posts_is_noted(tmp_path: Path) -> None:
    later = datetime.now(UTC) + timedelta(days=400)
    posts = [post("now", "ana", NOON, "tea"), post("later", "ana", later, "flyingcar")]
    predictor = Predictor.load(handmade.bundle(), make_store(tmp_path / "s.sqlite", posts))
    (note,) = predictor.notes(user="ana")
    assert note.startswith("1 of 2 posts in the store are later than tomorrow")
    assert "flyingcar" not in tags(predictor.suggest(None, user="ana", k=50))


def test_threads_may_share_one(store: Path, tmp_path: Path) -> None:
    predictor = Predictor.load(handmade.bundle(), store)
    photos = [
        handmade.photo(tmp_path / f"{n}.jpg", look, 3) for n, look in enumerate(handmade.LOOKS)
    ]
    asked = [(p, u, days(n)) for n in range(6) for p in photos for u in ("ana", "bo", None)]

    def ask(question) -> list:
        photo, user, at = question
        return predictor.suggest(photo, user=user, at=at)

    alone = [ask(question) for question in asked]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(ask, asked))
    for mine, others in zip(alone, together, strict=True):
        assert tags(mine) == tags(others)
        # Products of several rows round otherwise than those of one.
        assert [s.prob for s in mine] == pytest.approx([s.prob for s in others], abs=1e-5)
        assert [[r.text for r in s.reasons] for s in mine] == [
            [r.text for r in s.reasons] for s in others
        ]


def test_typed_tags_of_one_are_nobody_elses_beside_others(store: Path) -> None:
    predictor = Predictor.load(handmade.bundle(), store)
    typed = ("mine1", "mine2", "mine3")

    def ask(number: int) -> list[str]:
        history = typed if number % 3 == 0 else None
        return tags(predictor.suggest(None, user="ana", history=history, at=NOON, k=50))

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ask, range(48)))
    for number, five in enumerate(found):
        assert set(typed) <= set(five) if number % 3 == 0 else not set(typed) & set(five)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"k": 0}, "k = 0"), ({"at": datetime(2026, 1, 1)}, "has no zone")],  # noqa: DTZ001
)
def test_impossible_questions_are_refused(stranger: Predictor, options, message: str) -> None:
    with pytest.raises(InputError, match=message):
        stranger.suggest(None, **options)
    with pytest.raises(InputError, match=message):
        list(stranger.answers([], **options))


def test_a_foreign_encoder_is_refused(tmp_path: Path) -> None:
    class Other:
        digest, width, input_px = "0" * 64, 1280, 224
        interpolation = "bilinear"

        def embed(self, images):
            raise AssertionError

    predictor = Predictor(handmade.bundle(), encoder=Other())
    with pytest.raises(ModelError, match="needs the encoder"):
        predictor.suggest(handmade.photo(tmp_path / "p.jpg", "sky"))


def test_a_bundle_with_other_signals_is_refused() -> None:
    bundle = handmade.bundle()
    one, two, *rest = INPUT_NAMES["features"]
    swapped = {**bundle.manifest.feature_names, "features": (two, one, *rest)}
    older = replace(bundle, manifest=replace(bundle.manifest, feature_names=swapped))
    with pytest.raises(ModelError, match="whose signals were others") as caught:
        Predictor(older)
    assert f"{two} (here {one}), {one} (here {two})" in caught.value.message
    assert "pixtag train" in caught.value.hint
    with pytest.raises(ModelError, match="whose signals were others"):
        evidence_of(older, PostLog.of([]))


def test_a_bundle_without_eyes_goes_by_the_rest(store: Path, tmp_path: Path) -> None:
    bundle = handmade.bundle()
    no_width = {
        "head/center": np.zeros(0, np.float32),
        "head/projection": np.zeros((0, handmade.WIDTH), np.float32),
    }
    bundle = replace(
        bundle,
        weights={**bundle.weights, **no_width},
        manifest=replace(bundle.manifest, encoder_width=0),
    )
    predictor = Predictor.load(bundle, Store.open(store))
    assert any("without photos" in note for note in predictor.notes(at=NOON))
    photo = handmade.photo(tmp_path / "p.jpg", "sky")
    found = predictor.suggest(photo, user="ana", at=NOON)
    assert found == predictor.suggest(None, user="ana", at=NOON)
    assert "coffee" in tags(found)
    assert not [r for s in found for r in s.reasons if r.source == "pixels"]
    photo.write_bytes(b"")
    (answer,) = predictor.answers([photo], user="ana", at=NOON)
    assert isinstance(answer.error, ImageError)
    predictor.observe([post("o", "ana", days(0.1), "tea", photo=handmade.photo(photo, "sky"))])
    assert "tea" in tags(predictor.suggest(None, user="ana", at=NOON))


def test_a_trained_bundle_predicts_from_disk(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    looks = list(handmade.LOOKS)
    seen = {look: np.stack([handmade.embedding(look, i) for i in range(4)]) for look in looks}
    posts, embeddings = [], {}
    for i in range(300):
        look, user = looks[int(rng.integers(3))], f"u{rng.integers(9)}"
        posts.append(post(f"p{i}", user, days(300 - i), *handmade.LOOKS[look], f"of{user}"))
        noisy = seen[look][int(rng.integers(4))] + rng.normal(0, 0.05, 1280)
        embeddings[f"p{i}"] = noisy.astype(np.float16)
    fit(
        PostLog.of(posts, embeddings),
        out=tmp_path / "bundle",
        config=TrainConfig(size="tiny", epochs=6, batch=16, head_epochs=8, folds=2),
        encoder_digest=handmade.encoder().digest,
    )
    predictor = Predictor.load(tmp_path / "bundle")
    for look in looks:
        found = predictor.suggest(handmade.photo(tmp_path / "p.jpg", look, 77))
        assert set(tags(found)[:2]) == set(handmade.LOOKS[look])
        assert "pixels" in {reason.source for reason in found[0].reasons}
        assert not [t for t in tags(found) if t.startswith("of")], "one person's tag"


def test_folders_are_searched_and_files_taken_as_they_are(tmp_path: Path) -> None:
    names = ["b/2.JPG", "b/1.png", "a.webp", "notes.txt", ".hidden.jpg", ".git/x.jpg", "b/._1.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = photos_under([tmp_path, tmp_path / "notes.txt", tmp_path / "gone.jpg"])
    assert [str(p.relative_to(tmp_path)) for p in found] == [
        "a.webp",
        "b/1.png",
        "b/2.JPG",
        "notes.txt",
        "gone.jpg",
    ]
    (tmp_path / "empty").mkdir()
    assert list(photos_under([tmp_path / "empty"])) == [tmp_path / "empty"]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("p.txt", "Sky, Night Life,\nana\n", ("sky", "nightlife")),
        ("p.txt", "Look! #Sky #sky at the #lake\nmore", ("sky", "lake")),
        ("p.txt", "sky", ("sky",)),
        ("p.txt", "a photo of the sky", None),
        ("p.txt", "", None),
        ("q.txt", "sky", None),
    ],
)
def test_a_sidecar_gives_the_photos_tags(tmp_path: Path, name: str, text: str, expected) -> None:
    (tmp_path / name).write_text(text)
    assert sidecar_tags(tmp_path / "p.jpg") == expected
    if name == "p.txt":
        assert sidecar_tags(tmp_path / "p_2.jpg") == expected


@pytest.fixture
def big_store(tmp_path: Path) -> Path:
    """Enough posts that a snapshot is kept; every tenth has one of six photos."""
    photos = [
        handmade.photo(tmp_path / "photos" / f"{i}.jpg", look, i)
        for i, look in enumerate([*handmade.LOOKS] * 2)
    ]
    posts = [
        post(
            f"p{i}",
            f"user {i % 7}" if i % 11 else None,
            days(600 - i) if i % 13 else None,
            f"tag{i % 17}",
            "zebra" if i % 2 else f"only{i % 40}",
            photo=photos[i % 6] if i % 10 == 0 else None,
        )
        for i in range(600)
    ]
    return make_store(tmp_path / "big [1].sqlite", posts)


def snapshots(store: Path) -> list[Path]:
    return [p for p in store.parent.iterdir() if p.name.startswith(store.name + ".snapshot")]


def ask(bundle, store: Path, photo: Path):
    return Predictor.load(bundle, store).suggest(photo, user="user 3", at=NOON, k=50)


@pytest.mark.parametrize("has_seen_it", [False, True])
def test_a_store_is_seen_as_evaluation_sees_it(
    big_store: Path, tmp_path: Path, has_seen_it: bool
) -> None:
    bundle = handmade.bundle()
    if has_seen_it:  # then the bundle's prior is left out
        bundle = replace(
            bundle, seen=hash_post_ids([f"p{i}" for i in range(600)], salt=handmade.SALT)
        )
    served = Predictor.load(bundle, big_store)
    with Store.open(big_store) as store:
        log = store.log(handmade.encoder().digest)
    model, evidence = evidence_of(bundle, log)
    questions = Questions(
        at=np.array([NOON.timestamp(), days(300).timestamp()]),
        users=("user 3", None),
        embeddings=np.stack([handmade.embedding("sky", 3)] * 2),
        has_photo=np.ones(2, np.bool_),
    )
    one = rank(*served._past.now(), questions, k=60)
    two = rank(model, evidence.view(), questions, k=60)
    names = [[r.tags[t] if t < len(r.tags) else "" for t in r.tag_ids.ravel()] for r in (one, two)]
    assert names[0] == names[1]
    np.testing.assert_array_equal(one.probs, two.probs)


@pytest.mark.parametrize("has_seen_it", [False, True])
def test_a_snapshot_changes_nothing(big_store: Path, tmp_path: Path, has_seen_it: bool) -> None:
    bundle = handmade.bundle()
    if has_seen_it:  # then the bundle's prior is left out
        bundle = replace(
            bundle, seen=hash_post_ids([f"p{i}" for i in range(600)], salt=handmade.SALT)
        )
    photo = handmade.photo(tmp_path / "new.jpg", "leaves", 50)
    first = ask(bundle, big_store, photo)
    (kept,) = snapshots(big_store)
    written_at = kept.stat().st_mtime_ns
    assert ask(bundle, big_store, photo) == first
    assert snapshots(big_store) == [kept]
    assert kept.stat().st_mtime_ns == written_at, "it was not used"


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other store"])
def test_a_damaged_snapshot_is_made_again(big_store: Path, tmp_path: Path, damage: str) -> None:
    photo = handmade.photo(tmp_path / "new.jpg", "leaves", 50)
    first = ask(handmade.bundle(), big_store, photo)
    (kept,) = snapshots(big_store)
    raw = kept.read_bytes()
    if damage == "other store":
        make_store(tmp_path / "other.sqlite", [post(f"x{i}", "z", NOON, "q") for i in range(600)])
        ask(handmade.bundle(), tmp_path / "other.sqlite", photo)
        (foreign,) = snapshots(tmp_path / "other.sqlite")
        kept.write_bytes(foreign.read_bytes())
    else:
        flipped = raw[:5000] + bytes([raw[5000] ^ 4]) + raw[5001:]
        kept.write_bytes({"flip": flipped, "cut": raw[:-9], "empty": b""}[damage])
    assert ask(handmade.bundle(), big_store, photo) == first
    assert kept.read_bytes() == raw


def test_who_may_not_read_the_store_may_not_read_its_snapshot(big_store: Path) -> None:
    for mode in (0o600, 0o640):
        big_store.chmod(mode)
        Predictor.load(handmade.bundle(), big_store).suggest(None, at=NOON)
        (kept,) = snapshots(big_store)
        assert kept.stat().st_mode & 0o777 == mode
        kept.unlink()


def test_a_snapshot_never_outlives_what_it_holds(big_store: Path, tmp_path: Path) -> None:
    photo = handmade.photo(tmp_path / "new.jpg", "leaves", 50)
    assert "tag3" in tags(ask(handmade.bundle(), big_store, photo))
    with Store.open(big_store) as store:
        store.add_posts([post("late", "user 3", days(0.5), "brandnew")])
    assert "brandnew" in tags(ask(handmade.bundle(), big_store, photo))
    assert any(b"user 3" in p.read_bytes() for p in snapshots(big_store))
    with Store.open(big_store) as store:
        store.forget("user 3")
    assert snapshots(big_store) == []
    assert "brandnew" not in tags(ask(handmade.bundle(), big_store, photo))
    assert not any(b"user 3" in p.read_bytes() for p in snapshots(big_store))


def test_public_names_are_all_there() -> None:
    assert len(pixtag.__all__) <= 22
    for name in pixtag.__all__:
        assert getattr(pixtag, name).__name__ == name
    with pytest.raises(AttributeError, match="Predictr"):
        pixtag.Predictr  # noqa: B018
