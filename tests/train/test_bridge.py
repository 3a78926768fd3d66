"""What reads the encoder's classes: alike in training and serving, and with its encoder alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from handmade import class_names
from onnx_file import write_mean_colour
from pixtag.bundle import load_bundle
from pixtag.encoder import SHIPPED_DIGEST, classifier, load_encoder
from pixtag.errors import ModelError
from pixtag.model import evidence_of, model_of
from pixtag.rank import candidates, questions_of
from pixtag.signals import FEATURES
from pixtag.splits import temporal_split
from pixtag.train import fit as fitting
from pixtag.train.fit import fit
from pixtag.train.plan import Auxiliary
from pixtag.types import PostLog
from worlds import QUICK, world

BRIDGE, WORDS = FEATURES.columns(["bridge", "words"]).tolist()

CLASSES = {
    "dog": "golden retriever",
    "cat": "tabby",
    "pizza": "pizza",
    "beach": "seashore",
    "car": "sports car",
    "flower": "daisy",
    "guitar": "acoustic guitar",
    "bird": "robin",
    "shoe": "running shoe",
    "church": "church",
}
"""What the looks of the small world are called, and the class that the encoder names."""


@cache
def world_of_classes() -> PostLog:
    """The small world as the shipped encoder would see it: each look is one of its classes."""
    log, things = world(400), list(CLASSES)
    tags = [f"{things[int(t[4])]}{t[6]}" if t.startswith("look") else t for t in log.tags]
    log = replace(log, tags=tags)
    weight = classifier()[0][[class_names().index(name) for name in CLASSES.values()]]
    rng = np.random.default_rng(5)
    rows = np.zeros((len(log), weight.shape[1]), np.float16)
    for row in np.flatnonzero(log.has_photo):
        looks = [things.index(t[:-1]) for t in log.tags_of(row) if t[:-1] in CLASSES]
        direction = weight[looks[0]] if looks else weight.mean(axis=0)
        rows[row] = direction * 8.0 + 0.1 * rng.normal(size=weight.shape[1])
    return replace(log, embeddings=rows)


def tags_of_class() -> list[list[str]]:
    tags: list[list[str]] = [[] for _ in class_names()]
    for thing, name in CLASSES.items():
        tags[class_names().index(name)] = [f"{thing}{i}" for i in range(6)]
    return tags


def test_the_shipped_encoder_is_the_one_that_has_the_classes():
    assert load_encoder(n_threads=1).digest == SHIPPED_DIGEST


def test_serving_computes_what_training_learned_from(monkeypatch, tmp_path):
    log, learned = world_of_classes(), fitting.fit_network
    seen: list[fitting.Examples] = []

    def look_on(config, checkpoints, train, judged, told):
        seen.extend((train.heard, judged))
        return learned(config, checkpoints, train, judged, told)

    monkeypatch.setattr(fitting, "fit_network", look_on)
    fit(
        log,
        out=tmp_path / "b",
        config=QUICK,
        encoder_digest=SHIPPED_DIGEST,
        auxiliary=Auxiliary(bridge_tags=tags_of_class()),
    )
    bundle = load_bundle(tmp_path / "b")
    matrix = bundle.extras["bridge"]
    assert matrix.shape == (1000, len(bundle.vocabulary))
    row = matrix[class_names().index("tabby")]
    assert row[bundle.vocabulary.index("cat0")] == 80
    assert bundle.manifest.config["words"] is True

    split = temporal_split(log)
    rows = np.arange(split.train_stop, split.valid_stop)
    model, evidence = evidence_of(bundle, log.select(np.arange(split.valid_stop)))
    questions = questions_of(log, rows, width=log.embeddings.shape[1])
    served, (train, valid) = candidates(model, evidence.view(), questions), seen
    assert np.array_equal(served.tag, valid.found.tag[:, : served.tag.shape[1]])
    learned_from = valid.found.features[:, : served.tag.shape[1]].astype(np.float32)
    np.testing.assert_allclose(served.features, learned_from, rtol=2e-3, atol=2e-3)
    for examples in (train, valid):
        features = examples.found.features.astype(np.float32)
        for column in (BRIDGE, WORDS):
            used, unused = features[examples.used], features[~examples.used]
            assert used[:, column].mean() > 2 * unused[:, column].mean() > 0
            assert features[:, :, column].min() == 0


def test_without_photos_of_the_shipped_encoder_nothing_reads_classes(tmp_path):
    strange = fit(world(400), out=tmp_path / "a", config=QUICK, encoder_digest="e" * 64)
    blind = fit(
        world(400, seed=4, has_photos=False),
        out=tmp_path / "b",
        config=QUICK,
        encoder_digest=SHIPPED_DIGEST,
    )
    for bundle in (strange, blind):
        assert bundle.manifest.config["words"] is False
        assert "bridge" not in bundle.extras
        assert model_of(bundle).knowledge.words is model_of(bundle).knowledge.bridge is None


def test_an_encoder_brings_its_own_words(tmp_path):
    """Photos lie near the words for what they show; a tag of such words is known without use."""
    log, looks = world(400), np.eye(24, dtype=np.float32)[:3]
    things = dict(zip(("dog", "pizza", "beach"), looks.tolist(), strict=True))
    of_tag = {t: [*things][int(t[4]) % 3] for t in log.tags if t.startswith("look")}
    tags = [f"{of_tag[t]}{t[4:]}" if t in of_tag else t for t in log.tags]
    log = replace(log, tags=tags, embeddings=np.zeros((len(log), 24), np.float16))
    rng = np.random.default_rng(0)
    for row in np.flatnonzero(log.has_photo):
        shown = [things.get(t.rstrip("-0123456789"), [0.0] * 24) for t in log.tags_of(row)]
        log.embeddings[row] = np.sum(shown, axis=0) + rng.normal(0, 0.1, 24)
    encoder = load_encoder(write_mean_colour(tmp_path / "e.onnx", words=things, times=8))
    fit(log, out=tmp_path / "b", config=QUICK, encoder_digest=encoder.digest, encoder=encoder)
    bundle = load_bundle(tmp_path / "b")
    assert bundle.manifest.config["words"] is True
    model, evidence = evidence_of(bundle, log)
    questions = questions_of(log, np.arange(300, 340), width=24)
    found = candidates(model, evidence.view(), questions)
    used = [set(log.tags_of(row)) for row in range(300, 340)]
    fits = [
        (found.features[row, place, WORDS], model.fixed_tags[tag] in used[row])
        for row, place in zip(*np.nonzero(found.filled), strict=True)
        if (tag := found.tag[row, place]) < len(bundle.vocabulary)
        and model.fixed_tags[tag].startswith(tuple(things))
        and log.has_photo[300 + row]
    ]
    right, wrong = ([float(f) for f, is_used in fits if is_used is kind] for kind in (True, False))
    assert np.mean(right) > np.mean(wrong) + 0.2
    words = model.knowledge.words
    assert words is not None
    assert (words.photo_vectors(looks) @ words.tag_vectors(["mydog", "beaches"]).T).argmax(0)[
        0
    ] == 0

    nothing = QUICK.model_copy(update={"words": False})
    fit(log, out=tmp_path / "c", config=nothing, encoder_digest=encoder.digest, encoder=encoder)
    assert not load_bundle(tmp_path / "c").group("words")


def test_words_can_be_left_out(tmp_path):
    log, config = world_of_classes(), QUICK.model_copy(update={"words": False})
    bundle = fit(log, out=tmp_path / "b", config=config, encoder_digest=SHIPPED_DIGEST)
    model, evidence = evidence_of(bundle, log)
    questions = questions_of(log, np.arange(300, 320), width=log.embeddings.shape[1])
    found = candidates(model, evidence.view(), questions)
    assert not found.features[:, :, [BRIDGE, WORDS]].any()


def test_a_bridge_needs_the_encoder_that_has_the_classes(tmp_path):
    with pytest.raises(ModelError, match="does not name the classes"):
        fit(
            world(400),
            out=tmp_path / "b",
            config=QUICK,
            encoder_digest="e" * 64,
            auxiliary=Auxiliary(bridge_tags=tags_of_class()),
        )
    assert not list(tmp_path.iterdir())
