"""The evaluation set that ships in the repository."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from pixtag.encoder import load_encoder
from pixtag.evaluate import compare
from pixtag.evaluate.baselines import base_level, image_neighbours
from pixtag.splits import temporal_split
from pixtag.store import Store

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location(
        "evaluation_set", ROOT / "tools" / "evaluation_set.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_packing_loses_next_to_nothing(tool):
    rng = np.random.default_rng(0)
    exact = np.maximum(rng.gamma(0.5, 0.5, (200, 64)) - 0.1, 0).astype(np.float32)
    again = tool.unpack(*tool.pack(exact))
    cosine = (exact * again).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(again, axis=1)
    assert cosine.min() > 0.9999
    constant = np.full((3, 2), 7.0, np.float32)
    assert np.array_equal(tool.unpack(*tool.pack(constant)), constant)


def test_the_set_is_small_and_gives_the_known_figures(tool, tmp_path):
    folder = ROOT / "evalset"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20e6
    path = tmp_path / "world.sqlite"
    tool.build_store(folder, path)
    with Store.open(path, read_only=True) as store:
        log = store.log(load_encoder().digest)
    assert (len(log), len(log.users), len(log.tags)) == (11_975, 448, 1_131)
    assert log.has_photo.all()
    start, stop = temporal_split(log).bounds("test")
    rankers = {"base_level": base_level(0.5), "image_neighbours": image_neighbours()}
    made = compare(log, start, stop, rankers).methods
    assert made["base_level"].values["p@5"].mean() == pytest.approx(0.420, abs=0.002)
    # The neighbours show that each embedding lies at its own post.
    assert made["image_neighbours"].values["p@5"].mean() == pytest.approx(0.273, abs=0.005)
