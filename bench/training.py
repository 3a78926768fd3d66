"""How long training takes with embeddings at hand, and how much memory it needs.

    python bench/training.py [--size small] [--posts 100000] [--store STORE] [--json FILE]

Trains in a process of its own on the evaluation set that lies in the repository (11,975 posts), on
a store, or on invented posts without photos, and watches it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

from _figures import Figures, evaluation_log, invented_log

from pixtag.encoder import load_encoder
from pixtag.network import SHAPES
from pixtag.store import Store
from pixtag.types import PostLog

WANTED_S, WANTED_GIB = 240.0, 2.0
WANTED_LARGE_S, WANTED_LARGE_GIB = 600.0, 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", default="small", choices=list(SHAPES))
    parser.add_argument("--store", type=Path, help="the evaluation set by default")
    parser.add_argument("--posts", type=int, help="so many invented ones without photos")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        told = context.Queue()
        child = context.Process(
            target=train, args=(asked.store, asked.posts, asked.size, folder, told)
        )
        child.start()
        child.join()
        if child.exitcode:
            sys.exit(child.exitcode)
        found = told.get()
    figures, is_large = Figures(), bool(asked.posts)
    wanted = {
        "training, s": WANTED_LARGE_S if is_large else WANTED_S,
        "peak memory of the whole process, GiB": WANTED_LARGE_GIB if is_large else WANTED_GIB,
    }
    for name, value in found.items():
        figures.add(name, value, at_most=wanted.get(name))
    figures.write(asked.json)


def train(
    store: Path | None, n_posts: int | None, size: str, folder: str, told: multiprocessing.Queue
) -> None:
    """Train in this process and tell what it took."""
    from pixtag.train.config import TrainConfig
    from pixtag.train.fit import fit

    digest = load_encoder().digest
    log = invented_log(n_posts) if n_posts else read(store, digest)
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
        out=Path(folder) / "trained.model",
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
        return evaluation_log()
    with Store.open(store, read_only=True) as opened:
        return opened.log(digest)


if __name__ == "__main__":
    main()
