"""Other libraries beside Pixtag: the same posts, and none of them sees what lies ahead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from experiments import library_systems as systems
from pixtag.evaluate import compare, leakcheck
from pixtag.evaluate.baselines import base_level
from pixtag.splits import temporal_split
from pixtag.store import Store
from pixtag.types import Post, Rankings
from worlds import world

ROOT = Path(__file__).parent.parent.parent
QUICK = {"N_EXAMPLES": 150, "N_CHECKED": 60, "MOST_ROUNDS": 5}
LIBRARIES = {"base level (Python)": "math", "LightGBM ranker": "lightgbm"}
MORE = {"LensKit item-kNN": "lenskit", "implicit BM25": "implicit"}


@pytest.fixture(scope="module")
def log():
    return world(600, seed=4, has_photos=False)


def ranker_of(name, split):
    system = systems.SYSTEMS[name]

    def rank(log, start, stop, k=systems.K):
        ask = system.fit(log, split, split.valid_stop, system.tried[0])
        ids = np.full((stop - start, k), len(log.tags), np.int64)
        for place, row in enumerate(range(start, stop)):
            found = ask(row)[:k]
            ids[place, : len(found)] = found
        return Rankings(np.arange(start, stop), ids, np.zeros(ids.shape, np.float32), log.tags)

    return rank


@pytest.mark.parametrize("name", [n for n, m in (LIBRARIES | MORE).items() if find_spec(m)])
def test_nothing_ahead_moves_a_ranking(name, log, monkeypatch):
    for knob, value in QUICK.items():
        monkeypatch.setattr(systems, knob, value)
    split = temporal_split(log)
    # What they fitted knows all before the test period, so only posts of that may be asked about.
    start = split.valid_stop + 5
    found = leakcheck(log, ranker_of(name, split), n_times=3, n_before=5, start=start)
    assert found.n_compared > 50
    assert not found.leaks


def test_base_level_in_plain_python_is_the_baseline(log):
    split = temporal_split(log)
    plain = ranker_of("base level (Python)", split)
    found = compare(log, *split.bounds("test"), {"plain": plain, "arrays": base_level(0.5)})
    r5 = {name: scored.values["r@5"].mean() for name, scored in found.methods.items()}
    assert r5["plain"] == pytest.approx(r5["arrays"], abs=0.01)  # ties may fall otherwise
    assert r5["plain"] > 0.2


def test_a_run_measures_what_is_installed_and_says_what_is_not(log, tmp_path):
    names = [*log.users, None]
    with Store.open(tmp_path / "my.sqlite", create=True) as store:
        store.add_posts(
            Post(post_id, names[user], at if at > 0 else None, tuple(log.tags_of(row)))
            for row, (post_id, user, at) in enumerate(
                zip(log.post_ids, log.user_of_post.tolist(), log.at.tolist(), strict=True)
            )
        )
    wanted = ["base level (Python)", *MORE]
    flags = ["--store", "my.sqlite", "--json", "found.json", "--every", "2"]
    flags += [word for name in wanted for word in ("--system", name)]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.libraries", *flags],
        cwd=tmp_path,
        env={
            **os.environ,
            "XDG_CONFIG_HOME": str(tmp_path),
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        },
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    rows = {r["system"]: r for r in json.loads((tmp_path / "found.json").read_text())["rows"]}
    assert list(rows) == wanted
    for name, row in rows.items():
        assert name in done.stdout
        if name in MORE and not find_spec(MORE[name]):
            assert row["note"] == "not installed"
            continue
        mean, low, high = row["r@5"]
        assert 0 < low <= mean <= high
        assert row["answer_ms"] > 0
        assert row["peak_mb"] > 10
    looks = (tmp_path / "my.sqlite.looks.jsonl").read_text().splitlines()
    assert [json.loads(look)["period"] for look in looks] == ["test"]
