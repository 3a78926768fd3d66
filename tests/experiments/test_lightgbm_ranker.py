"""Trees that weigh the network's signals, fitted on its own examples."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
pytest.importorskip("lightgbm", reason="LightGBM is not installed")

from experiments.lightgbm_ranker import fitted_trees

from pixtag.evaluate import References, evaluate, leakcheck
from pixtag.evaluate.baselines import popularity
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
    return fitted_trees(*trained, seed=0)


def test_trees_learn_to_rank(fitted):
    found = evaluate(
        world(), split=temporal_split(world()), methods=References({"popularity": popularity}),
        more=fitted,
    )  # fmt: skip
    p5 = {name: m.values["p@5"].mean() for name, m in found.comparison.methods.items()}
    assert p5["lightgbm"] > 2 * p5["popularity"]
    assert set(found.settings) == {"lightgbm"}


def test_the_same_examples_give_the_same_trees(trained, fitted):
    log, split = world(), temporal_split(world())
    again = fitted_trees(*trained, seed=0)
    first, second = (r.rankers["lightgbm"](log, *split.bounds("test"), 20) for r in (fitted, again))
    assert (first.tag_ids == second.tag_ids).all()


def test_trees_do_not_look_ahead(fitted):
    ranker = fitted.rankers["lightgbm"]
    report = leakcheck(world(), lambda log, a, b: ranker(log, a, b, 20), n_times=3, start=490)
    assert report.leaks == ()
    assert report.n_compared > 50
