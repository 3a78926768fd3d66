"""Words and the bridge: tags from what the encoder names, also tags that nobody has used."""

from __future__ import annotations

import json
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handmade import class_names
from pixtag.encoder import class_synonyms, classifier, load_encoder
from pixtag.errors import ModelError, ShapeError
from pixtag.images import decode
from pixtag.model import readers_of_classes
from pixtag.signals.words import BRIDGE_FLOOR, Bridge, Classifier, Words, class_tag_matrix

ROOT = Path(__file__).parent.parent.parent
SAMPLES = ROOT / "samples"
SHARED_DATA = ROOT.parent / "shared" / "data"

FIFTY = """
    amazing architecture autumn baby beach beer bicycle birthday books bridge bus car chocolate
    christmas church city clouds coffee concert dance desert drums fashion fishing football garden
    guitar hiking horse ice kitchen lake lighthouse mountains museum music night ocean office
    painting pizza rain river running shoes snow soccer sunset train wedding
""".split()  # noqa: SIM905 - a list of words reads better as lines


@cache
def words() -> Words:
    return Words.load(Classifier(*classifier()), class_synonyms())


def looks_like(name: str) -> np.ndarray:
    """An embedding that the encoder would call by this name, `[1, 1280]`."""
    weight = classifier()[0][class_names().index(name)]
    return (weight / np.linalg.norm(weight) * 12.0)[None].astype(np.float32)


def nearest(embedding: np.ndarray, tags: list[str]) -> list[str]:
    similarity = words().photo_vectors(embedding)[0] @ words().tag_vectors(tags).T
    return [tags[i] for i in np.argsort(-similarity)]


@pytest.mark.parametrize(
    ("tag", "parts"),
    [
        ("icecream", ["ice", "cream"]),
        ("italiandinner", ["italian", "dinner"]),
        ("dogsofinstagram", ["dogs", "of", "instagram"]),
        ("catstagram", ["cat", "stagram"]),
        ("ilovemydog", ["i", "love", "my", "dog"]),
        ("mexicanfood", ["mexican", "food"]),
        ("goldengatebridge", ["golden", "gate", "bridge"]),
        ("sunset_2019", ["sunset"]),
        ("SunSet", ["sunset"]),
        ("pizza", ["pizza"]),
        ("", []),
        ("2024", []),
        ("xqzvkwj", []),
        ("犬", []),
    ],
)
def test_tags_are_split_into_words(tag, parts):
    assert words().split(tag) == parts


def test_a_compound_says_what_its_words_say_and_fillers_add_nothing():
    both, same, dog, shouted = words().tag_vectors(
        ["icecream", "cream_ice", "dogsofinstagram", "dogs"]
    )
    np.testing.assert_allclose(both, same, atol=1e-6)
    np.testing.assert_allclose(dog, shouted, atol=1e-6)


def test_related_tags_are_closer_than_others():
    tags = ["puppylove", "dogsofinstagram", "italiandinner", "pasta", "mountains", "hiking"]
    similarity = words().tag_vectors(tags) @ words().tag_vectors(tags).T
    for i in range(0, 6, 2):
        others = [j for j in range(6) if j // 2 != i // 2]
        assert similarity[i, i + 1] > similarity[i, others].max(), tags[i]


def test_tags_without_known_words_are_nothing():
    vectors = words().tag_vectors(["xqzvkwj", "dog", "2024", "", "ofthe", "犬", "a" * 5000])
    assert np.flatnonzero(vectors.any(axis=1)).tolist() == [1]
    assert words().tag_vectors([]).shape == (0, 50)


@given(st.lists(st.text(max_size=40), max_size=8))
def test_any_tags_give_unit_vectors_or_nothing_whatever_stands_beside_them(tags):
    vectors = words().tag_vectors(tags)
    length = np.linalg.norm(vectors, axis=1)
    assert np.all((np.abs(length - 1) < 1e-4) | (length == 0))
    for tag, vector in zip(tags, vectors, strict=True):
        np.testing.assert_allclose(words().tag_vectors([tag])[0], vector, atol=1e-6)


@given(st.text("abcdeghilmnoprstu", min_size=1, max_size=70))
def test_a_split_holds_words_of_the_tag_in_order(tag):
    rest = tag
    for word in words().split(tag):
        assert word in rest
        rest = rest[rest.index(word) + len(word) :]


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("golden retriever", "dog"),
        ("tabby", "cat"),
        ("ice cream", "dessert"),
        ("acoustic guitar", "guitar"),
        ("daisy", "flower"),
        ("lakeside", "lake"),
    ],
)
def test_what_a_class_shows_is_among_the_nearest_of_fifty_tags(name, tag):
    tags = [*(t for t in FIFTY if t != tag), tag]
    assert tag in nearest(looks_like(name), tags)[:5]


def embedded(*photos: Path) -> np.ndarray:
    encoder = load_encoder(n_threads=1)
    return encoder.embed(np.stack([decode(p, target_px=encoder.input_px) for p in photos]))


def test_a_photo_of_a_cat_says_cat():
    tags = [*FIFTY, "catsofinstagram"]
    assert "catsofinstagram" in nearest(embedded(SAMPLES / "cat.jpg"), tags)[:3]


@pytest.mark.shared
def test_photos_of_dogs_say_dog():
    dogs: list[Path] = []
    with (SHARED_DATA / "world" / "posts.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            post = json.loads(line)
            if {"dog", "puppy"} <= set(post["tags"]):
                dogs.append(SHARED_DATA / "world" / post["image"])
            if len(dogs) == 20:
                break
    said = [nearest(row[None], [*FIFTY, "dog"])[:3] for row in embedded(*dogs)]
    assert sum("dog" in tags for tags in said) >= 16


def test_photos_become_unit_vectors_and_no_photo_stays_nothing():
    rows = np.concatenate([looks_like("pug"), np.zeros((1, 1280)), looks_like("pizza")])
    length = np.linalg.norm(words().photo_vectors(rows.astype(np.float32)), axis=1)
    assert length == pytest.approx([1, 0, 1], abs=1e-5)
    assert words().photo_vectors(np.zeros((0, 1280), np.float32)).shape == (0, 50)


def test_changed_photos_are_looked_at_anew():
    rows = looks_like("pug")
    first = words().photo_vectors(rows)
    rows[:] = looks_like("pizza")
    assert not np.allclose(words().photo_vectors(rows), first)


def small_bridge(seed: int, *, n_classes: int, n_tags: int, width: int = 6):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(n_classes, width)).astype(np.float32)
    bias = rng.normal(size=n_classes).astype(np.float32)
    matrix = np.where(rng.random((n_classes, n_tags)) < 0.3, rng.random((n_classes, n_tags)), 0)
    matrix = matrix.astype(np.float16)
    return rng, weight, bias, matrix, Bridge(matrix, Classifier(weight, bias))


@given(st.integers(0, 999), st.integers(1, 30), st.integers(0, 12), st.integers(0, 5))
def test_the_bridge_is_the_expected_weight_over_the_likeliest_classes(seed, n_classes, n_tags, n):
    rng, weight, bias, matrix, bridge = small_bridge(seed, n_classes=n_classes, n_tags=n_tags)
    photos = rng.normal(size=(n, 6)).astype(np.float32)
    scores = bridge.scores(photos)
    assert scores.shape == (n, n_tags)
    assert scores.dtype == np.float32
    for photo, row in zip(photos, scores, strict=True):
        power = np.exp((weight.astype(np.float64) @ photo + bias) / 2.0)
        chance = power / power.sum()
        chance[np.argsort(-chance)[20:]] = 0.0
        expected = sum(chance[c] * matrix[c].astype(np.float64) for c in range(n_classes))
        wanted = np.log(expected + BRIDGE_FLOOR) - np.log(BRIDGE_FLOOR)
        np.testing.assert_allclose(row, wanted, atol=1e-3)
        assert np.all(row[expected == 0] == 0)


def test_one_photo_gets_from_the_bridge_what_it_gets_among_others_and_no_photo_nothing():
    rng, *_, bridge = small_bridge(3, n_classes=40, n_tags=25)
    photos = rng.normal(size=(6, 6)).astype(np.float32)
    photos[2] = 0.0
    together = bridge.scores(photos)
    assert not together[2].any()
    for i in range(6):
        np.testing.assert_allclose(bridge.scores(photos[i : i + 1])[0], together[i], atol=1e-5)


def test_a_class_leads_to_its_tags_the_likeliest_first():
    names, tags = class_names(), ["dog", "puppy", "retriever", "pizza"]
    of_class = [[] for _ in names]
    of_class[names.index("golden retriever")] = ["dog", "notinvocabulary", "puppy"]
    of_class[names.index("pizza")] = ["pizza"]
    bridge = Bridge(class_tag_matrix(of_class, tags), Classifier(*classifier()))
    dog, pizza = bridge.scores(
        np.concatenate([looks_like("golden retriever"), looks_like("pizza")])
    )
    assert dog[0] > dog[1] > dog[3]
    assert dog[2] == 0
    assert pizza.argmax() == 3


def test_the_first_tag_of_a_class_is_the_name_of_a_thing():
    of_class = [["a", "b"], ["c", "a"], ["gone", "d", "e"], []]
    tags = list("abcdef")
    shape = np.zeros((4, 6), np.float32), np.zeros(4, np.float32)
    bridge = Bridge(class_tag_matrix(of_class, tags), Classifier(*shape))
    assert [t for t, named in zip(tags, bridge.names, strict=True) if named] == ["a", "c", "d"]
    assert Bridge(np.zeros((4, 0), np.float16), Classifier(*shape)).names.shape == (0,)


def test_weights_fall_with_the_place_in_the_list():
    matrix = class_tag_matrix([["a", "gone", "b", "a"], [], list("abcdefghijkl")], list("lba"))
    assert matrix.tolist() == [[0, 45, 80], [0, 0, 0], [10, 60, 80]]
    assert class_tag_matrix([["a"]], []).shape == (1, 0)


def test_a_bridge_or_an_embedding_of_another_encoder_is_refused():
    with pytest.raises(ShapeError, match="bridge wants"):
        Bridge(np.zeros((3, 4), np.float16), Classifier(*classifier()))
    with pytest.raises(ShapeError, match="1280"):
        words().photo_vectors(np.ones((2, 24), np.float32))
    with pytest.raises(ModelError, match="does not name the classes"):
        readers_of_classes(encoder_digest="f" * 64, matrix=None, has_words=True)
    assert readers_of_classes(encoder_digest="", matrix=None, has_words=False) == (None, None)


def test_many_tags_are_split_in_seconds():
    rng = np.random.default_rng(0)
    known = ["sunset", "beach", "dog", "lovers", "food", "my", "xqz", "travel", "best", "life"]
    tags = ["".join(rng.choice(known, 3)) + f"{i:x}" for i in range(20_000)]
    fresh = Words.load(Classifier(*classifier()), class_synonyms())
    start = time.process_time()
    fresh.tag_vectors(tags)
    assert time.process_time() - start < 4.0  # about 0.5 s on an idle core
