"""The bench of cost against size, on two small stores."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import postgres_server

BENCH = Path(__file__).parent.parent.parent / "bench" / "scale.py"


def bench(*words: object) -> None:
    command = [sys.executable, BENCH, *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def test_measures_each_size_in_each_store_and_draws_it(tmp_path):
    pytest.importorskip("psycopg", reason="needs the extra `postgres`")
    pytest.importorskip("matplotlib", reason="needs the extra `train`")
    if postgres_server.programs() is None:
        pytest.skip("no PostgreSQL here")
    made = tmp_path / "table.json"
    few = ("--asked", 2, "--seconds", 0.2, "--writers", 1)
    bench("--sizes", "200,600", *few, "--json", made, "--plots", tmp_path)
    rows = json.loads(made.read_text())
    kept = [(row["posts"], row["store"]) for row in rows]
    assert kept == [(n, store) for n in (200, 600) for store in ("file", "PostgreSQL")]
    for row in rows:
        assert row["memory, MiB"] > 50  # the encoder alone takes as much
        assert row["store, MiB"] > 0
        assert row["suggest, ms: median"] > 0
        assert ("snapshot, MiB" in row) == (row["posts"] == 600)
        is_shared = row["store"] == "PostgreSQL"
        assert ("1 writers unbounded, durable posts/s" in row) == is_shared
    drawn = {path.name: path.read_text() for path in tmp_path.glob("*.svg")}
    assert sorted(drawn) == ["scale-answers.svg", "scale-room.svg", "scale-start.svg"]
    again = tmp_path / "again"
    again.mkdir()
    bench("--read", made, "--plots", again)
    assert {path.name: path.read_text() for path in again.glob("*.svg")} == drawn
