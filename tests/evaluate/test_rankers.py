"""Other ways to weigh the network's signals, fitted on its own examples."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from pixtag.baselines import popularity
from pixtag.evaluate import evaluate, fitted_rankers, leakcheck
from pixtag.evaluate.rankers import _derivatives, _newton
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


def test_both_learn_to_rank_and_are_told_apart(fitted):
    references, notes = fitted
    assert notes == ()
    figures = evaluate(
        world(), split=temporal_split(world()), methods={"popularity": popularity}, more=references
    ).as_dict()
    p5 = {name: figure["p@5"]["mean"] for name, figure in figures["methods"].items()}
    assert set(p5) == {"popularity", "linear_blend", "lightgbm"}
    assert min(p5["linear_blend"], p5["lightgbm"]) > 2 * p5["popularity"]
    assert p5["linear_blend"] != p5["lightgbm"]
    assert set(figures["chosen"]) == {"linear_blend", "lightgbm"}


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


def test_the_blend_is_at_its_best(trained):
    bundle, train, _ = trained
    best = _newton(bundle, train, np.zeros(train.scored.features.shape[2]), 1e-2)
    least, slope, _ = _derivatives(bundle, train, best, 1e-2)
    assert np.abs(slope).max() < 1e-3
    rng = np.random.default_rng(0)
    for _ in range(5):
        aside = best + 0.1 * rng.normal(size=len(best))
        assert _derivatives(bundle, train, aside, 1e-2)[0] > least
    # The slope is that of the loss.
    step = np.zeros(len(best))
    step[3] = 1e-2
    rise = (
        _derivatives(bundle, train, step, 1e-2)[0] - _derivatives(bundle, train, -step, 1e-2)[0]
    ) / 2e-2
    assert _derivatives(bundle, train, 0 * step, 1e-2)[1][3] == pytest.approx(rise, rel=0.02)


def test_without_lightgbm_one_line_says_so(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    references, notes = fitted_rankers(*trained)
    assert list(references.rankers) == ["linear_blend"]
    assert len(notes) == 1
    assert "pip install 'pixtag[lightgbm]'" in notes[0]
