"""Other ways to weigh the network's signals, fitted on its own examples."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from pixtag.evaluate import References, evaluate, fitted_rankers, leakcheck
from pixtag.evaluate.baselines import popularity
from pixtag.evaluate.rankers import listwise_loss
from pixtag.splits import temporal_split
from pixtag.train.fit import fit
from worlds import QUICK, world


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    kept = []
    bundle = fit(
        world(), out=tmp_path_factory.mktemp("rankers") / "bundle", config=QUICK,
        on_examples=lambda train, valid: kept.append((train, valid)),
    )  # fmt: skip
    return bundle, *kept[0]


@pytest.fixture(scope="module")
def fitted(trained):
    return fitted_rankers(*trained, seed=0)


def test_both_learn_to_rank(fitted):
    references, notes = fitted
    assert notes == ()
    found = evaluate(
        world(), split=temporal_split(world()), methods=References({"popularity": popularity}),
        more=references,
    )  # fmt: skip
    p5 = {name: m.values["p@5"].mean() for name, m in found.comparison.methods.items()}
    assert set(p5) == {"popularity", "linear_blend", "lightgbm"}
    assert min(p5["linear_blend"], p5["lightgbm"]) > 2 * p5["popularity"]
    assert set(found.settings) == {"linear_blend", "lightgbm"}


def test_the_same_examples_give_the_same_rankers(trained, fitted):
    log, split = world(), temporal_split(world())
    again, _ = fitted_rankers(*trained, seed=0)
    for name, ranker in fitted[0].rankers.items():
        first, second = (r(log, *split.bounds("test"), 20) for r in (ranker, again.rankers[name]))
        assert (first.tag_ids == second.tag_ids).all(), name


def test_neither_looks_ahead(fitted):
    log = world()
    for name, ranker in fitted[0].rankers.items():
        report = leakcheck(
            log, lambda log, a, b, ranker=ranker: ranker(log, a, b, 20), n_times=3, start=490
        )
        assert report.leaks == (), name
        assert report.n_compared > 50


def test_the_slope_of_the_blend_is_that_of_its_loss(trained):
    bundle, train, _ = trained

    def loss(weights):
        return listwise_loss(bundle, train, weights, l2=1e-2)

    zero = np.zeros(train.found.features.shape[2])
    for feature in (3, 7):
        step = zero.copy()
        step[feature] = 1e-2
        rise = (loss(step)[0] - loss(-step)[0]) / 2e-2
        assert loss(zero)[1][feature] == pytest.approx(rise, rel=0.02, abs=1e-4)


def test_without_lightgbm_one_line_says_so(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    references, notes = fitted_rankers(*trained)
    assert list(references.rankers) == ["linear_blend"]
    assert len(notes) == 1
    assert "pip install 'pixtag[lightgbm]'" in notes[0]
