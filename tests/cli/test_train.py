"""`pixtag train`, as a person runs it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import handmade
from pixtag.bundle import load_bundle
from pixtag.encoder import OnnxEncoder
from pixtag.errors import ModelError
from pixtag.images import digest
from pixtag.predictor import Predictor
from pixtag.store import Store
from pixtag.types import Photo, Post
from tiny_onnx import tiny_encoder

QUICK = {"PIXTAG_TRAIN_EPOCHS": "4", "PIXTAG_TRAIN_BATCH": "32", "PIXTAG_TRAIN_FOLDS": "2"}
DAY_S = 86_400.0
START_AT = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Posts of nine people; each look has its tags, and no photo was embedded yet."""
    photos = {
        look: [handmade.photo(tmp_path / f"{look}{i}.jpg", look, i) for i in range(5)]
        for look in handmade.LOOKS
    }
    rng = np.random.default_rng(0)
    looks = list(handmade.LOOKS)
    posts: list[Post] = []
    for i in range(300):
        look = looks[int(rng.integers(3))]
        path = photos[look][int(rng.integers(5))]
        posts.append(
            Post(
                f"p{i}",
                f"u{rng.integers(9)}",
                START_AT + i * DAY_S / 4,
                tuple(handmade.LOOKS[look]),
                (Photo(str(path), digest(path)),),
            )
        )
    with Store.open(tmp_path / "my.sqlite", create=True) as opened:
        opened.add_posts(posts)
    return tmp_path / "my.sqlite"


def test_a_model_of_another_encoder_is_trained_saved_and_served(store, pixtag):
    folder = store.parent
    (folder / "tiny.onnx").write_bytes(tiny_encoder())
    done = pixtag(
        "train", "--store", store, "--out", "mine", "--size", "tiny", "--encoder", "tiny.onnx",
        "--json", env=QUICK, timeout_s=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # Baselines on pixels are there when the embeddings of that encoder are read.
    measured = pixtag(
        "evaluate", "--store", store, "--encoder", "tiny.onnx", "--baselines-only", "--no-cold",
        "--no-ablation",
    )  # fmt: skip
    assert measured.returncode == 0, measured.stderr
    assert "image_neighbours" in measured.stdout
    (folder / "tiny.onnx").unlink()
    own = OnnxEncoder(tiny_encoder(), name="tiny", n_threads=1)
    manifest = json.loads(done.stdout)
    assert (manifest["encoder_digest"], manifest["encoder_width"]) == (own.digest, own.width)
    assert load_bundle(folder / "mine").encoder == tiny_encoder()
    for look, tags in handmade.LOOKS.items():
        photo = handmade.photo(folder / "new.jpg", look, 77)
        for served in (Predictor.load(folder / "mine"), Predictor.load(folder / "mine", store)):
            found = served.suggest(photo, k=2)
            assert {s.tag for s in found} == set(tags)
            assert "pixels" in {reason.source for reason in found[0].reasons}
    shown = pixtag("new.jpg", "--model", "mine", "--json")
    assert shown.returncode == 0, shown.stderr
    with pytest.raises(ModelError, match="needs the encoder"):
        Predictor(load_bundle(folder / "mine"), encoder=handmade.encoder()).suggest(photo)


def test_what_lies_in_the_way_is_said_before_any_training(store, pixtag):
    (store.parent / "old").mkdir()
    (store.parent / "cat.jpg").write_bytes(b"a photo")
    for out, message in (("old", "is a folder"), ("cat.jpg", "not a model")):
        done = pixtag("train", "--store", store, "--out", out, "--size", "tiny", env=QUICK)
        assert done.returncode == 2
        assert message in done.stderr
        assert "hint:" in done.stderr
        assert not (store.parent / f"{out}.partial").exists()


def test_an_encoder_that_is_none_is_refused(store, pixtag):
    (store.parent / "bad.onnx").write_bytes(b"not a graph")
    done = pixtag("train", "--store", store, "--out", "mine", "--encoder", "bad.onnx")
    assert done.returncode == 1
    assert "cannot be used as an encoder" in done.stderr
