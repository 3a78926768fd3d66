"""Labels of photos as a second bridge: several a photo, and nothing said where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest

from pixtag.model import bridge_of_labels
from pixtag.train.pixels import PERSON, fit_kinds

VOCABULARY = ["love", "tea", "cup", "car", "boat"]
TAGS = {"boat": ["boat"], "car": ["car"], PERSON: [], "tea": ["tea", "cup"]}
BOAT, CAR, SOMEBODY, TEA = range(4)


def _photos(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Photos of tea, of a car, of both or of neither; somebody is on those of tea."""
    rng = np.random.default_rng(seed)
    targets = np.zeros((n, 4), np.float16)
    targets[:, TEA], targets[:, CAR] = rng.random((2, n)) < 0.4
    targets[:, SOMEBODY] = targets[:, TEA]
    looks = np.repeat(targets[:, [TEA, CAR]], 4, axis=1).astype(np.float32)
    return looks + rng.normal(0, 0.2, (n, 8)).astype(np.float32), targets


def _fitted(weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    embeddings, targets = _photos(600, 0)
    weight = np.ones_like(targets) if weight is None else weight
    return fit_kinds(embeddings, targets, weight, TAGS, VOCABULARY)


@pytest.fixture(scope="module")
def kinds() -> dict[str, np.ndarray]:
    return _fitted()


def test_a_photo_with_two_labels_leads_to_the_tags_of_both_in_order(kinds):
    embeddings, targets = _photos(40, 1)
    for row, has in zip(bridge_of_labels(kinds).scores(embeddings), targets > 0, strict=True):
        love, tea, cup, car, _ = row
        assert love == 0
        assert tea > cup
        if has[TEA] and has[CAR]:
            assert min(tea, car) > 5
        elif has[TEA] or has[CAR]:
            assert (tea > car) == has[TEA]


def test_whether_somebody_is_shown_is_a_chance_of_its_own(kinds):
    embeddings, targets = _photos(40, 1)
    bridge = bridge_of_labels(kinds)
    chances = np.array([bridge.person_chance(photo) for photo in embeddings])
    assert ((chances > 0.5) == (targets[:, SOMEBODY] > 0)).mean() > 0.95
    nobody = bridge_of_labels({**kinds, "person": np.zeros(0)})
    assert nobody.person_chance(embeddings[0]) is None


def test_a_label_without_a_photo_is_never_named(kinds):
    assert (bridge_of_labels(kinds).scores(_photos(20, 1)[0])[:, 4] < 0.5).all()


def test_what_is_not_known_is_no_no():
    """Half of the cars are not labelled: called no cars they lower its chance, left open not."""
    embeddings, targets = _photos(600, 0)
    missed = (targets[:, CAR] > 0) & (np.random.default_rng(2).random(600) < 0.8)
    lacking = targets.copy()
    lacking[missed, CAR] = 0
    open_ = np.ones_like(targets)
    open_[missed, CAR] = 0
    asked = embeddings[missed]
    said_no = fit_kinds(embeddings, lacking, np.ones_like(targets), TAGS, VOCABULARY)
    unknown = fit_kinds(embeddings, lacking, open_, TAGS, VOCABULARY)
    scores = [bridge_of_labels(k).scores(asked)[:, 3].mean() for k in (said_no, unknown)]
    assert scores[1] > scores[0] + 0.2
