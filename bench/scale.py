"""What it costs as a store grows, in a file and in PostgreSQL.

    python bench/scale.py [--sizes 10000,1000000] [--json FILE] [--plots docs/images]
    python bench/scale.py --read docs/scale.json --plots docs/images

Invented stores of 10,000 to 1,000,000 posts without photos: a person and a tag for every ten posts
(at most a million of each), tags by Zipf's law, people with heavy-tailed numbers of posts, fifty
bursts; the last post was made just now. Each is kept in an SQLite file and, where there is a
server, in PostgreSQL, which flushes every commit to the disk:

- posts a second in bulk, and what a post takes on the disk;
- a new process ready to answer from all posts and from a snapshot, and its memory;
- suggestions without a photo; all posts of a person read by index; one post observed, its durable
  commit included. People are drawn as they post, so the busiest come most often;
- durable posts a second of four writers, and suggestions beside them (PostgreSQL).

`--address` names a database that may hold such posts already: then they are not written again.
`--plots` draws the costs against size.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import postgres
from _figures import Figures, invented_log, posts_of, seconds_of_processor

from pixtag.bundle import load_bundle
from pixtag.predictor import Predictor
from pixtag.store import Store
from pixtag.types import Post

FILE, POSTGRES = "file", "PostgreSQL"
SIZES = "10000,30000,100000,300000,1000000"
MOST_NAMES, N_BURSTS = 1_000_000, 50
READY_S, OWN_MS = 60.0, 10.0  # wanted of PostgreSQL at a million posts
MIB = 2**20
PLOTS = {
    "answers": ("milliseconds", {
        "suggest (processor), ms: median": "suggest (processor), median",
        "suggest (processor), ms: 99th percentile": "suggest (processor), 99th percentile",
        "observe, ms: median": "observe, durable, median",
        "own posts, ms: median": "own posts by index, median",
    }),
    "start": ("seconds", {
        "ready from all posts, s": "ready from all posts",
        "ready from a snapshot, s": "ready from a snapshot",
        "bulk load, s": "bulk load",
    }),
    "room": ("MiB", {
        "memory at most while reading all posts, MiB": "memory while reading all posts",
        "memory, MiB": "memory of a server",
        "store, MiB": "store on disk",
        "snapshot, MiB": "snapshot",
    }),
}  # fmt: skip
GREY = "#808080"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", default=SIZES, help="posts, by commas")
    parser.add_argument("--only", choices=(FILE, POSTGRES), help="one kind of store")
    parser.add_argument("--address", help="a PostgreSQL database, filled before or empty")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rate", type=float, default=300.0, help="posts a second of all writers")
    parser.add_argument("--writers", type=int, default=4, help="processes that write at once")
    parser.add_argument("--asked", type=int, default=300, help="posts observed, and people read")
    parser.add_argument("--json", type=Path, help="where to write the table, row by row")
    parser.add_argument("--plots", type=Path, help="a folder for scale-*.svg")
    parser.add_argument("--read", type=Path, help="a table of earlier; nothing is measured")
    asked = parser.parse_args()
    if asked.read:
        table = json.loads(asked.read.read_text())
    else:
        kinds = [FILE, POSTGRES] if postgres.has_server() else [FILE]
        kinds = [kind for kind in kinds if asked.only in (None, kind)]
        table, bare = [], started(None)[2]
        for n, kind in itertools.product(map(int, asked.sizes.split(",")), kinds):
            print(f"== {n:,} posts, {kind}", flush=True)
            table.append({"posts": n, "store": kind, **measured(n, kind, bare, asked).values})
            if asked.json:
                asked.json.write_text(json.dumps(table, indent=2) + "\n")
    if asked.plots:
        draw(sorted(table, key=lambda row: row["posts"]), asked.plots)


def measured(n: int, kind: str, bare: float, asked: argparse.Namespace) -> Figures:
    """One row of the table, in a folder that goes with it; a bare process takes `bare` MiB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder)
        server = postgres.server(asked.address) if kind == POSTGRES else nullcontext()
        with server as address:
            figures = Figures()
            measure(figures, n, address or str(folder / "store.sqlite"), folder, bare, asked)
            return figures


def measure(
    figures: Figures, n: int, address: str, folder: Path, bare: float, asked: argparse.Namespace
) -> None:
    bundle = load_bundle()
    is_postgres = address.startswith("postgresql")
    with Store.open(address, create=True) as store:
        if not (known := known_posts(store, n, asked.asked)):
            add_load(figures, store, n, bundle.vocabulary)
            known = known_posts(store, n, asked.asked)
        people = [post.user_id or "" for post in known]
        add_disk(figures, store, is_postgres=is_postgres)
        add_starts(figures, n, address, folder, bare, is_postgres=is_postgres)
        own = [
            seconds_of_processor(lambda p=p: list(store.posts(user_id=p)))
            for p in people[: asked.asked]
        ]
        postgres.tell(figures, "own posts", own, median_ms=OWN_MS if is_postgres else None)
        with Predictor.load(bundle, store) as predictor:
            predictor.suggest(None)
            postgres.tell(figures, "suggest", postgres.ask(predictor, people, asked.seconds))
            new = [replace(post, post_id=f"new-{post.post_id}") for post in known[: asked.asked]]
            observed = [
                seconds_of_processor(
                    lambda p=p: predictor.observe([replace(p, posted_at=time.time())])
                )
                for p in new
            ]
            postgres.tell(figures, "observe", observed)
            commits = [replace(post, post_id=f"newer-{post.post_id}") for post in new]
            alone = [seconds_of_processor(lambda p=p: store.add_posts([p])) for p in commits]
            postgres.tell(figures, "the store's commit of a post", alone)
            if is_postgres:
                postgres.under_load(figures, "", address, predictor, people, asked)


def known_posts(store: Store, n: int, asked: int) -> list[Post]:
    """Posts of an invented log of N that a store holds, people as they post; none without it."""
    chosen = np.random.default_rng(0).integers(0, n, 2 * asked).tolist()
    names = [f"post{i:08d}" for i in chosen]
    found = store.known_posts(names)
    return [found[name] for name in names] if len(found) == len(set(names)) else []


def add_load(figures: Figures, store: Store, n: int, vocabulary: Sequence[str]) -> None:
    """Fill a store with an invented log; which is gone afterwards."""
    log = invented_log(
        n, vocabulary=vocabulary, bursts=N_BURSTS,
        people=min(MOST_NAMES, n // 10), tags=min(MOST_NAMES, max(500, n // 10)),
    )  # fmt: skip
    log = replace(log, at=log.at + (time.time() - log.at[-1]))
    before = written_mib()
    taken, busy = seconds_of_processor(lambda: store.add_posts(posts_of(log, range(n))))
    figures.add("bulk load, s", taken)
    figures.add("bulk load (processor of this process), s", busy)
    figures.add("bulk load, posts/s", n / taken)
    figures.add("bulk load, written by this process, MiB", written_mib() - before)


def written_mib() -> float:
    """What this process has had written to the disk."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / MIB for line in lines if line.startswith("write_bytes:"))


def add_disk(figures: Figures, store: Store, *, is_postgres: bool) -> None:
    """What the store takes on the disk."""
    if is_postgres:
        with store.reading() as db:
            query = "SELECT pg_database_size(current_database())"
            size = int(db.execute(query).fetchone()[0])
    else:
        beside = store.path.parent.glob(f"{store.path.name}*")
        size = sum(file.stat().st_size for file in beside)
    figures.add("store, MiB", size / MIB)


def add_starts(
    figures: Figures, n: int, address: str, folder: Path, bare: float, *, is_postgres: bool
) -> None:
    """A process of its own that reads every post, and one that reads the snapshot."""
    taken, busy, memory, most = started(address)
    figures.add("ready from all posts, s", taken)
    figures.add("ready from all posts (processor), s", busy)
    figures.add("memory at most while reading all posts, MiB", most)
    snapshot = sum(file.stat().st_size for file in folder.rglob("*.snapshot"))
    if snapshot:
        taken, busy, memory, _ = started(address)
        at_most = READY_S if is_postgres else None
        figures.add("ready from a snapshot, s", taken, at_most=at_most)
        figures.add("ready from a snapshot (processor), s", busy)
        figures.add("snapshot, MiB", snapshot / MIB)
    figures.add("memory, MiB", memory)
    figures.add("memory a post, bytes", (memory - bare) * MIB / n)


def started(address: str | None) -> tuple[float, float, float, float]:
    """Seconds by the clock and processor until a new process has answered; its MiB, and at most."""
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    child = context.Process(target=start, args=(address, told))
    child.start()
    child.join()
    if child.exitcode:
        sys.exit(child.exitcode)
    return told.get()


def start(address: str | None, told: multiprocessing.Queue) -> None:
    """Load the model and the store, answer, and have the encoder at hand, as a server does."""
    wall, cpu = time.perf_counter(), time.process_time()
    with Predictor.load(load_bundle(), address) as predictor:
        predictor.suggest(None)
        taken, busy = time.perf_counter() - wall, time.process_time() - cpu
        predictor.encoder()
        told.put((taken, busy, memory_mib("VmRSS"), memory_mib("VmHWM")))


def memory_mib(name: str) -> float:
    """Of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def draw(table: list[dict[str, object]], folder: Path) -> None:
    """Costs against size, log-log: a file's as full lines, PostgreSQL's as dashes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    coloured = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    for name, (unit, kinds) in PLOTS.items():
        # Grey can be read on a light page and on a dark one; the same figures give the same bytes.
        with rc_context({"svg.hashsalt": "pixtag", **dict.fromkeys(coloured, GREY)}):
            figure = Figure((8, 4), layout="constrained")
            axes = figure.subplots()
            for (i, (key, label)), store in itertools.product(
                enumerate(kinds.items()), (FILE, POSTGRES)
            ):
                rows = [row for row in table if row["store"] == store and key in row]
                of = [[row["posts"] for row in rows], [row[key] for row in rows]]
                dash = "--" if store == POSTGRES else "-"
                line = axes.plot(*of, dash, marker="o", markersize=3, color=f"C{i}")
                line[0].set_label(f"{label}, {store}" if rows else "_")
            axes.set(xscale="log", yscale="log", xlabel="posts", ylabel=unit)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
            figure.legend(loc="outside right upper", frameon=False, fontsize="small")
            path = folder / f"scale-{name}.svg"
            figure.savefig(path, transparent=True, metadata={"Date": None})
            path.write_text("\n".join(map(str.rstrip, path.read_text().splitlines())) + "\n")
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
