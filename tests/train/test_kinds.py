"""Labelled photos as a second bridge."""

from __future__ import annotations

import numpy as np

from pixtag.train.pixels import fit_kinds

VOCABULARY = ["love", "tea", "cup", "car"]
TAGS = {"tea": ["tea", "cup"], "car": ["car"], "boat": ["boat"]}


def _photos(n: int, seed: int) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    labels = ["tea" if i % 2 else "car" for i in range(n)]
    center = np.array([[1.0] * 8 if label == "tea" else [-1.0] * 8 for label in labels])
    return (center + rng.normal(0, 0.5, (n, 8))).astype(np.float32), labels


def test_new_photos_of_a_kind_lead_to_its_tags_in_order():
    embeddings, labels = _photos(80, 0)
    bridge = fit_kinds(embeddings, labels, TAGS, VOCABULARY).bridge()
    asked, shown = _photos(20, 1)
    scores = bridge.scores(asked)
    for row, label in zip(scores, shown, strict=True):
        love, tea, cup, car = row
        assert love == 0
        assert (tea > cup > car) if label == "tea" else (car > tea)


def test_a_kind_without_a_photo_is_never_named():
    embeddings, labels = _photos(80, 0)
    kinds = fit_kinds(embeddings, labels, TAGS, [*VOCABULARY, "boat"])
    asked, _ = _photos(20, 1)
    assert (kinds.bridge().scores(asked)[:, 4] < 0.5).all()


def test_a_photo_of_none_of_the_kinds_is_not_named_at_any_price():
    embeddings, labels = _photos(80, 0)
    rng = np.random.default_rng(2)
    strange = rng.normal(0, 0.5, (81, 8)) + np.array([4.0, -4.0] * 4)
    rows = np.concatenate([embeddings, strange[:80]]).astype(np.float32)
    asked = strange[80:].astype(np.float32)
    forced = fit_kinds(embeddings, labels, TAGS, VOCABULARY).bridge().scores(asked)
    free = (
        fit_kinds(rows, [*labels, *["none"] * 80], {**TAGS, "none": []}, VOCABULARY)
        .bridge()
        .scores(asked)
    )
    assert free.max() < forced.max() - 1.0
