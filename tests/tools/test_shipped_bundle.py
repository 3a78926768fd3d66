"""The bundle that ships: what it knows, and what it must not know."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from pixtag import Predictor
from pixtag.bundle import default_bundle_path, load_bundle
from pixtag.evaluate import compare, model_of
from pixtag.evaluate.baselines import base_level
from pixtag.ingest import find_sources, import_posts
from pixtag.model import model_of as model_of_bundle
from pixtag.splits import temporal_split
from pixtag.store import Store
from pixtag.types import PostLog, Sources

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))
from tools.photo_labels import decoded  # noqa: E402 - programs, no package

PHOTOS = ROOT.parent / "shared" / "data"
OLD_LABELS = [
    "petstagram",
    "cute",
    "foodie",
    "dogsofinstagram",
    "sweet",
    "goodfood",
    "italiandinner",
    "breakfast",
    "chicken",
    "dogoftheday",
    "yummy",
    "instapets",
    "icecream",
    "cats",
    "mexicanfood",
    "animal",
    "adorable",
    "lovecats",
    "catstagram",
    "sandwich",
    "dessert",
    "eggs",
    "kitty",
    "pasta",
    "meow",
    "ilovemydog",
    "delish",
    "dog",
    "foodlover",
    "cake",
    "pizza",
    "puppylove",
]
FITTING = [
    "dog",
    "hamburger",
    "hot_dog",
    "lasagna",
    "breakfast_burrito",
    "tacos",
    "ice_cream",
    "chocolate_cake",
    "pizza",
    "cupcake",
    "food",
    "pad_krapow",
    "kai_palo",
    "guacamole",
    "waffle",
    "chicken_rice",
    "cashew_chicken",
    "donut",
    "cookie",
    "panda",
]


def test_all_old_labels_are_in_the_vocabulary():
    assert set(OLD_LABELS) <= set(load_bundle().vocabulary)


def test_no_invented_event_or_signature_is_known():
    invented = (ROOT / "tools" / "simulated_tags.txt").read_text().splitlines()
    bundle = load_bundle()
    assert not set(bundle.vocabulary) & set(invented)
    assert not set(bundle.prior.tags) & set(invented)


def test_bundle_with_the_encoder_is_at_most_45_mb():
    data = default_bundle_path().parent
    assert sum(f.stat().st_size for f in data.rglob("*") if f.is_file()) <= 45_000_000


@pytest.mark.shared
def test_no_photo_of_topics_or_with_captions_is_in_it():
    if not (PHOTOS / "topics").is_dir():
        pytest.skip("the shared embeddings are not beside this checkout")
    bundle = load_bundle()
    assert "topics" in bundle.card
    assert "captions" in bundle.card
    head, prior = model_of_bundle(bundle).knowledge.head, bundle.prior
    held = prior.embeddings[prior.has_photo].astype(np.float32)
    assert 10_000 < len(held) < 15_000, "photos of world and of concepts are there"
    assert not prior.embeddings[~prior.has_photo].any()
    for name in ("topics", "captions"):
        photos = head.project(decoded(PHOTOS / name / "embeddings.npz"))
        assert max(float((held @ rows.T).max()) for rows in np.array_split(photos, 20)) < 0.999


def test_nobody_is_named_in_it():
    bundle = load_bundle()
    assert bundle.prior.users == []
    assert bundle.prior.n_untimed == len(bundle.prior)


@pytest.mark.shared
def test_every_old_label_is_reached_from_a_fitting_photo():
    if not PHOTOS.is_dir():
        pytest.skip("the shared photos are not beside this checkout")
    photos = [p for kind in FITTING for p in sorted((PHOTOS / "photos" / kind).glob("*.jpg"))[:14]]
    pets = {"cats", "lovecats", "catstagram", "kitty", "meow", "adorable", "instapets"}
    photos += [ROOT / "samples" / "cat.jpg", *_cats()]
    seen = {s.tag for a in Predictor.load().answers(photos, k=10) for s in a.suggestions}
    assert not set(OLD_LABELS) - seen - pets, "foods and dogs"
    assert not pets - seen, "cats"


def _cats() -> list[Path]:
    import json

    lines = (PHOTOS / "ancestor" / "posts.jsonl").read_text().splitlines()
    posts = [json.loads(line) for line in lines]
    return [PHOTOS / p["image"] for p in posts if p["name"].startswith("cat/")][:200]


def against_base_level(log: PostLog, decay: float) -> dict[str, float]:
    """What the shipped bundle adds to base-level learning on the last fifth, by metric."""
    model = model_of(load_bundle())
    rankers = {
        "pixtag": lambda log, start, stop, k: model(log, start, stop, k, Sources()),
        "base_level": base_level(decay),
    }
    compared = compare(log, *temporal_split(log).bounds("test"), rankers)
    mine, theirs = (m.values for m in compared.methods.values())
    return {m: float((mine[m] - theirs[m]).mean()) for m in ("p@1", "r@5")}


@pytest.mark.shared
def test_real_histories_are_used_better_than_by_counting(tmp_path):
    path = PHOTOS / "tags" / "short-posts.jsonl.gz"
    if not path.is_file():
        pytest.skip("the shared logs are not beside this checkout")
    with Store.open(tmp_path / "short.sqlite", create=True) as store:
        import_posts(find_sources([path]), store)
        log = store.log("")
    gain = against_base_level(log.select(log.user_of_post % 4 == 0), 1.0)
    assert gain["p@1"] > 0.0
    assert gain["r@5"] > 0.0
