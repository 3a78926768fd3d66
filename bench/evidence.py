"""How evidence and suggestions without a photo scale with the posts of a store.

    python bench/evidence.py [--sizes 10000,100000,1000000] [--bundle FILE] [--json FILE]

For each size an invented store of that many posts without photos, in a process of its own:

- opening it: from all its posts, and from its snapshot, ready to answer;
- bytes a post of the evidence, names included;
- observing one post with an embedding, merges included;
- `Predictor.observe`, which commits to the disk, beside the store's commit alone;
- the suggestion right after that, in turns with a warm one about somebody else; and the one right
  after a post that comes months late, which changes what was popular yesterday;
- suggestions with and without 20 typed tags, in turns; what typing costs is the difference.

Growth is from the smallest size to the largest. `--processor` measures the processor time of the
thread in the place of the clock: on a busy machine, what waits for others is left out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from _figures import (
    Figures,
    invented_log,
    one_by_one,
    posts_of,
    ratio_in_turns,
    seconds,
    seconds_of_thread,
)

from pixtag.bundle import load_bundle
from pixtag.evidence import MemoryEvidence, Postings, View
from pixtag.model import model_of
from pixtag.predictor import Predictor
from pixtag.store import Store
from pixtag.types import PostLog

N_TYPED = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bundle", type=Path, help="the shipped one by default")
    parser.add_argument("--sizes", default="10000,100000,1000000", help="posts, by commas")
    parser.add_argument("--observed", type=int, default=5_000, help="posts observed one by one")
    parser.add_argument("--asked", type=int, default=400, help="suggestions of each kind")
    parser.add_argument(
        "--processor", action="store_true", help="processor time instead, on a busy machine"
    )
    parser.add_argument("--no-store", action="store_true", help="evidence in memory alone")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    sizes = [int(size) for size in asked.sizes.split(",")]
    figures = Figures()
    context = multiprocessing.get_context("spawn")
    for size in sizes:
        told = context.Queue()
        child = context.Process(target=measure, args=(size, asked, told))
        child.start()
        child.join()
        if child.exitcode:
            sys.exit(child.exitcode)
        figures.values |= told.get()
    for name in ("observe, ms: median", "suggest, ms: median"):
        first, last = (figures.values.get(f"{n:,} posts: {name}") for n in (sizes[0], sizes[-1]))
        if first and last and len(sizes) > 1:
            figures.add(f"growth of {name.partition(',')[0]}", last / first, at_most=1.5)
    figures.write(asked.json)


def measure(n: int, asked: argparse.Namespace, told: multiprocessing.Queue) -> None:
    """Everything about one size."""
    figures, name = Figures(), f"{n:,} posts: "
    clock = seconds_of_thread if asked.processor else seconds
    bundle = load_bundle(asked.bundle)
    model = model_of(bundle).without_prior()
    log = invented_log(
        n + asked.observed,
        n_photos=0,
        width=model.knowledge.encoder_width,
        vocabulary=bundle.vocabulary,
    )
    first = PostLog(
        log.post_ids[:n],
        log.users,
        log.tags,
        log.user_of_post[:n],
        log.at[:n],
        log.tag_start[: n + 1],
        log.tag_ids[: log.tag_start[n]],
        log.has_photo[:n],
        log.embeddings[:n],
    )
    evidence = model.evidence(first)
    figures.add(f"{name}bytes a post", size_of(evidence) / n, at_most=1000)
    embedding = np.abs(np.random.default_rng(0).normal(0, 0.4, model.knowledge.encoder_width))
    taken: list[float] = []
    for one in one_by_one(log, range(n, n + asked.observed)):
        shown = PostLog(
            one.post_ids,
            one.users,
            one.tags,
            one.user_of_post,
            one.at,
            one.tag_start,
            one.tag_ids,
            np.ones(1, np.bool_),
            embedding[None].astype(np.float16),
        )
        taken.append(clock(lambda shown=shown: evidence.observe(shown)))
    figures.add_times(f"{name}observe", taken, median_ms=1.0, p99_ms=5.0)
    if not asked.no_store:
        with tempfile.TemporaryDirectory() as folder:
            with_store(figures, name, Path(folder) / "store.sqlite", log, n, asked)
    told.put(figures.values)


def with_store(
    figures: Figures, name: str, path: Path, log: PostLog, n: int, asked: argparse.Namespace
) -> None:
    """Open, observe and ask."""
    bundle = load_bundle(asked.bundle)
    clock = seconds_of_thread if asked.processor else seconds
    at = datetime.fromtimestamp(float(log.at[n]), UTC)
    with Store.open(path, create=True) as store:
        store.add_posts(posts_of(log, range(n)))
    figures.add(f"{name}opened without a snapshot, s", seconds(lambda: opened(bundle, path, at)))
    figures.add(
        f"{name}opened from its snapshot, s",
        min(seconds(lambda: opened(bundle, path, at)) for _ in range(3)),
        at_most=5.0,
    )
    people = [log.users[u] for u in log.user_of_post[n:].tolist()]
    typed = [log.tags[t] for t in log.tag_ids[:N_TYPED].tolist()]
    posts = posts_of(log, range(n, len(log)))
    with Store.open(path) as store, Predictor.load(bundle, store) as predictor:

        def suggest(i: int, history: list[str] | None = None) -> None:
            predictor.suggest(None, user=people[i % len(people)], at=at, history=history)

        for i in range(20):
            suggest(i)
        commits, observed, after, warm, late = [], [], [], [], []
        for i in range(asked.asked):
            commits.append(clock(lambda: store.add_posts([next(posts)])))
            suggest(i)
            post = next(posts)
            at = datetime.fromtimestamp((post.posted_at or 0.0) + 60, UTC)
            observed.append(clock(lambda post=post: predictor.observe([post])))
            after.append(clock(lambda i=i: suggest(i + 1)))
            warm.append(clock(lambda i=i: suggest(i + 2)))
        for i in range(min(40, asked.asked)):
            post = next(posts)
            long_ago = (post.posted_at or 0.0) - 90 * 86_400
            predictor.observe([replace(post, posted_at=long_ago)])
            late.append(clock(lambda i=i: suggest(i + 1)))
        figures.add_times(f"{name}the store's durable commit of a post", commits)
        figures.add_times(f"{name}observe with the durable commit", observed)
        figures.add(
            f"{name}suggest right after observing / warm",
            statistics.median(after) / statistics.median(warm),
            at_most=1.1,
        )
        figures.add(
            f"{name}suggest right after observing a post of long ago / warm",
            statistics.median(late) / statistics.median(warm),
        )
        figures.add_times(f"{name}suggest", warm, median_ms=4.0, p99_ms=12.0)
        plain, with_typed, _ = ratio_in_turns(
            [lambda i=i: suggest(i) for i in range(asked.asked)],
            [lambda i=i: suggest(i, typed) for i in range(asked.asked)],
            clock,
        )
        extra = statistics.median(b - a for a, b in zip(plain, with_typed, strict=True))
        figures.add(f"{name}{N_TYPED} typed tags cost, ms", 1e3 * extra, at_most=1.0)


def opened(bundle: object, path: Path, at: datetime) -> None:
    """Open a store and answer once."""
    with Predictor.load(bundle, path) as predictor:  # type: ignore[arg-type]
        predictor.suggest(None, at=at)


def size_of(evidence: MemoryEvidence) -> int:
    """Bytes of arrays, names and their index."""
    view = evidence.view()
    total = 0
    for part in (getattr(view, name) for name in View.__dataclass_fields__):
        if isinstance(part, np.ndarray):
            total += part.nbytes
        elif isinstance(part, Postings):
            total += sum(s.packed.nbytes + s.entry.nbytes for s in part.segments)
    ids = list(evidence.post_ids)
    total += sum(map(sys.getsizeof, (*ids, *view.tags, *view.people.names)))
    # A dictionary and a list of them, and the number of each.
    return total + sys.getsizeof(dict.fromkeys(ids)) + (8 + 32) * len(ids)


if __name__ == "__main__":
    main()
