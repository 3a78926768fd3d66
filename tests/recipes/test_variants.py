"""Training over and over: by seed and by sources, taken up where it was left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pixtag.store import Store
from pixtag.types import Post
from worlds import world

ROOT = Path(__file__).parent.parent.parent
QUICK = {"PIXTAG_TRAIN_EPOCHS": "2", "PIXTAG_TRAIN_BATCH": "64", "PIXTAG_TRAIN_FOLDS": "2"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("variants")
    log = world(600, seed=4, has_photos=False)
    with Store.open(made / "my.sqlite", create=True) as store:
        store.add_posts(
            Post(
                name,
                log.users[user] if user < len(log.users) else None,
                at if at > 0 else None,
                tuple(log.tags_of(row)),
            )
            for row, (name, user, at) in enumerate(
                zip(log.post_ids, log.user_of_post.tolist(), log.at.tolist(), strict=True)
            )
        )
    return made


def run(folder, recipe, *words):
    command = [sys.executable, str(ROOT / "recipes" / recipe), "--store", "my.sqlite"]
    return subprocess.run(
        [*command, "--period", "validation", "--size", "tiny", "--out", "made", *words],
        cwd=folder,
        env={**os.environ, **QUICK, "XDG_CONFIG_HOME": str(folder)},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=600,
    )


def test_seeds_spread_and_a_second_run_trains_nothing(folder):
    done = run(folder, "seed_spread.py", "--seeds", "2")
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "made" / "spread-validation.json").read_text())["metrics"]
    low, high = sorted(found["p@5"]["values"])
    assert low < high
    assert found["p@5"]["mean"] == pytest.approx((low + high) / 2)
    assert found["p@5"]["sd"] == pytest.approx((high - low) / 2**0.5)
    assert (found["p@5"]["min"], found["p@5"]["max"]) == (low, high)
    made = [path for path in (folder / "made").iterdir() if not path.suffix]
    bundles = {path: path.stat().st_mtime_ns for path in made}
    assert len(bundles) == 2
    again = run(folder, "seed_spread.py", "--seeds", "2")
    assert again.stdout == done.stdout
    assert {path: path.stat().st_mtime_ns for path in bundles} == bundles
    looks = (folder / "my.sqlite.looks.jsonl").read_text().splitlines()
    assert [json.loads(look)["period"] for look in looks] == ["validation"] * 2


def test_every_set_of_sources_has_a_network_of_its_own(folder):
    done = run(folder, "retrained_ablations.py")
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "made" / "retrained-validation.json").read_text())
    assert len(found["retrained"]) == len(found["one_network"]) == 8
    assert len(found["all_minus"]) == 7
    p5 = {name: figure["p@5"]["mean"] for name, figure in found["retrained"].items()}
    # Without photos there are no pixels to learn from: these are the same trainings.
    assert p5["history"] == p5["pixels+history"]
    assert p5["history"] > p5["nothing"]
    assert p5["history+trend"] != p5["history"]
    lift = found["lift"]["history"]["p@5"]
    assert lift["mean"] == pytest.approx(p5["pixels+history+trend"] - p5["pixels+trend"])
    assert lift["low"] > 0


def test_a_missing_store_is_an_error_with_a_hint(tmp_path):
    done = run(tmp_path, "seed_spread.py")
    assert done.returncode == 1
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr
