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


def run(folder, experiment, *words, is_training=True):
    command = [sys.executable, "-m", f"experiments.{experiment}", "--store", "my.sqlite"]
    flags = ("--period", "validation", "--size", "tiny", "--out", "made")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [*command, *(flags if is_training else ()), *words],
        cwd=folder,
        env={**os.environ, **QUICK, "XDG_CONFIG_HOME": str(folder), "PYTHONPATH": path},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=600,
    )


def test_seeds_spread_and_a_second_run_trains_nothing(folder):
    done = run(folder, "seed_spread", "--seeds", "2")
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "made" / "spread-validation.json").read_text())["metrics"]
    low, high = sorted(found["p@5"]["values"])
    assert found["p@5"]["mean"] == pytest.approx((low + high) / 2)
    assert found["p@5"]["sd"] == pytest.approx((high - low) / 2**0.5)
    assert (found["p@5"]["min"], found["p@5"]["max"]) == (low, high)
    made = [path for path in (folder / "made").iterdir() if not path.suffix]
    bundles = {path: path.stat().st_mtime_ns for path in made}
    assert len(bundles) == 2
    again = run(folder, "seed_spread", "--seeds", "2")
    assert again.stdout == done.stdout
    assert {path: path.stat().st_mtime_ns for path in bundles} == bundles
    looks = (folder / "my.sqlite.looks.jsonl").read_text().splitlines()
    assert [json.loads(look)["period"] for look in looks] == ["validation"] * 2


def test_every_set_of_sources_has_a_network_of_its_own(folder):
    done = run(folder, "retrained_ablations")
    assert done.returncode == 0, done.stderr
    rows = json.loads((folder / "made" / "retrained-validation.json").read_text())["rows"]
    found = {(r["segment"], r["method"], r["metric"], r["other"]): r for r in rows}
    own = {method for segment, method, _, _ in found if segment == "all, by sources"}
    assert len(own) == 8
    assert {f"one network: {name}" for name in own} <= {method for _, method, _, _ in found}

    def p5(name):
        return found["all, by sources", name, "p@5", ""]["mean"]

    # Without photos there are no pixels to learn from: these are the same trainings.
    assert p5("history") == p5("pixels+history")
    assert p5("history") > p5("nothing")
    whole = "pixels+history+trend"
    lift = found["all, by sources", whole, "p@5", "pixels+trend"]
    assert lift["mean"] == pytest.approx(p5(whole) - p5("pixels+trend"))
    assert lift["low"] > 0
    shared = found["all", "history", "p@5", "one network: history"]
    assert shared["low"] <= shared["mean"] <= shared["high"]


def test_the_worth_of_a_leak_is_told_beside_the_honest_figures(folder):
    done = run(folder, "leak_worth", "--json", "leak.json", is_training=False)
    assert done.returncode == 0, done.stderr
    assert "most used: everything minus most used: honest" in done.stdout
    rows = json.loads((folder / "leak.json").read_text())["rows"]
    added = {(r["segment"], r["method"], r["metric"]): r for r in rows if r["other"]}
    # The post that is asked about is the latest of all, so a method that looks at times finds it.
    leak = added["all", "base level, d = 1: everything", "r@5"]
    assert leak["other"] == "base level, d = 1: honest"
    assert leak["low"] > 0


def test_a_missing_store_is_an_error_with_a_hint(tmp_path):
    done = run(tmp_path, "seed_spread")
    assert done.returncode == 1
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr
