"""What each signal adds inside the model, on a bundle that was really trained."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from experiments.signals import signal_lift

from pixtag.evaluate import PIXTAG, References, evaluate, model_of
from pixtag.evaluate.metrics import metric_names
from pixtag.evaluate.tables import Figures, mean_rows
from pixtag.signals import FEATURES, SIGNALS
from pixtag.splits import temporal_split
from worlds import bundle, world

PERIOD = dict(zip(("start", "stop"), temporal_split(world()).bounds("test"), strict=True))


@pytest.fixture(scope="module")
def measured():
    log = world()
    split = temporal_split(log)
    model = model_of(bundle())
    found = evaluate(log, model=model, split=split, methods=References(), ablation=False)
    return found, signal_lift(log, bundle(), found.comparison, **PERIOD)


def test_every_feature_belongs_to_one_signal():
    columns = np.concatenate([FEATURES.of_signal(signal.name) for signal in SIGNALS])
    assert sorted(columns.tolist()) == list(range(len(FEATURES)))


def test_the_whole_is_what_the_evaluation_measured(measured):
    found, lift = measured
    for name, values in found.comparison.methods[PIXTAG].values.items():
        assert (lift[PIXTAG][name] == values).all(), name


def test_what_matters_costs(measured):
    found, lift = measured
    rows = mean_rows(lift, found.comparison.bootstrap, metrics=metric_names())
    figures = Figures("signals", "", rows)

    def lost(signal, way, metric):
        row = figures.find(PIXTAG, metric, minus=f"{signal} ({way})")
        return row.mean, row.low, row.high

    others = set(figures.values("other", kind="difference"))
    assert others == {f"{s.name} ({w})" for s in SIGNALS for w in ("dropped", "shuffled")}
    # People repeat themselves here: what they used last comes first, and the order shows it best.
    assert lost("reuse", "shuffled", "p@5")[0] > 0
    assert lost("reuse", "shuffled", "ndcg@5")[1] > 0


def test_what_is_silent_costs_nothing():
    log = replace(world(), has_photo=np.zeros(len(world()), np.bool_))
    split = temporal_split(log)
    model = model_of(bundle())
    blind = evaluate(log, model=model, split=split, methods=References(), ablation=False)
    lift = signal_lift(log, bundle(), blind.comparison, **PERIOD)
    silent = [s.name for s in SIGNALS if all("pixels" in f.sources for f in s.features)]
    assert silent
    for name in silent:
        for metric, values in lift[PIXTAG].items():
            assert (lift[f"{name} (shuffled)"][metric] == values).all(), (name, metric)


def test_shuffling_is_the_same_every_time_and_changes_with_the_seed(measured):
    found, lift = measured
    log = world()
    again = signal_lift(log, bundle(), found.comparison, **PERIOD)
    other = signal_lift(log, bundle(), found.comparison, **PERIOD, seed=1)
    key = "reuse (shuffled)"
    assert all((again[key][m] == v).all() for m, v in lift[key].items())
    assert any((other[key][m] != v).any() for m, v in lift[key].items())
    dropped = "reuse (dropped)"
    assert all((other[dropped][m] == v).all() for m, v in lift[dropped].items())


def test_one_person_alone(measured):
    log, split = world(), temporal_split(world())
    user = log.users[log.user_of_post[-1]]
    model, none = model_of(bundle()), References()
    alone = evaluate(log, model=model, split=split, user=user, methods=none, ablation=False)
    lift = signal_lift(log, bundle(), alone.comparison, **PERIOD)
    whole = measured[0].comparison
    mine = np.isin(whole.rows, alone.comparison.rows)
    assert 0 < mine.sum() < len(mine)
    assert (lift[PIXTAG]["p@5"] == whole.methods[PIXTAG].values["p@5"][mine]).all()
