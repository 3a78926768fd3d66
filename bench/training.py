"""How long training takes with embeddings at hand, and how much memory it needs.

    python bench/training.py [--size small] [--store STORE] [--json FILE]

Trains in a process of its own on the evaluation set that lies in the repository (11,975 posts),
or on a store, and watches it. Wanted: under 5 minutes and 2 GiB on two cores.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import replay as replay_bench

from pixtag.encoder import load_encoder
from pixtag.network import SHAPES
from pixtag.store import Store
from pixtag.types import PostLog

WANTED_S, WANTED_GIB = 300.0, 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", default="small", choices=list(SHAPES))
    parser.add_argument("--store", type=Path, help="the evaluation set by default")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        told = context.Queue()
        child = context.Process(target=train, args=(asked.store, asked.size, folder, told))
        child.start()
        child.join()
        if child.exitcode:
            sys.exit(child.exitcode)
        figures = told.get()
    for name, value in figures.items():
        print(f"{name:<44} {value:10,.2f}")
    print(f"wanted: under {WANTED_S:,.0f} s and {WANTED_GIB:.0f} GiB on two cores")
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")


def train(store: Path | None, size: str, folder: str, told: multiprocessing.Queue) -> None:
    """Train in this process and tell what it took."""
    from pixtag.train.config import TrainConfig
    from pixtag.train.fit import fit

    digest = load_encoder().digest
    log = read(store, digest)
    stages: dict[str, float] = {}
    last = [time.perf_counter(), ""]

    def on_stage(stage: str, done: int, total: int) -> None:
        now = time.perf_counter()
        name = last[1] or stage
        stages[f"{name}, s"] = stages.get(f"{name}, s", 0.0) + now - last[0]
        last[0], last[1] = now, stage

    wall, cpu = time.perf_counter(), time.process_time()
    fit(
        log,
        out=Path(folder) / "bundle",
        config=TrainConfig(size=size),
        encoder_digest=digest,
        on_stage=on_stage,
    )
    wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    told.put(
        {
            "posts": float(len(log)),
            "training, s": wall_s,
            "processor seconds": cpu_s,
            "peak memory of the whole process, GiB": peak / 2**30,
            **stages,
        }
    )


def read(store: Path | None, digest: str) -> PostLog:
    """The posts to train on."""
    if store is None:
        return replay_bench.evaluation_log()
    with Store.open(store, read_only=True) as opened:
        return opened.log(digest)


if __name__ == "__main__":
    main()
