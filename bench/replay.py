"""How many posts a second go through all signals and the network, and where the time goes.

    python bench/replay.py [--bundle FOLDER] [--posts 12000] [--json FILE]

Replays a whole log as evaluation and training do: every post scored with what was known before
it, then ranked and calibrated. The log is the evaluation set that lies in the repository; with
`--posts` it is an invented one of that size. Without `--bundle` the weights are random, which
takes the same time as trained ones.

Prints posts a second of a plain run, and the share of each part from a second run with a
stopwatch around every signal.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pixtag.state import CONTEXT_NAMES, FEATURE_NAMES, INPUT_NAMES, scoring

from pixtag import replay as replaying
from pixtag.bundle import Bundle, Manifest, Trained, anonymous_log, load_bundle
from pixtag.encoder import SHIPPED_DIGEST
from pixtag.network import SHAPES, Widths, initial_weights
from pixtag.signals import (
    columns,
    cooccurrence,
    counts,
    habits,
    head,
    memory,
    prototypes,
    reuse,
    trend,
    uses,
    words,
)
from pixtag.types import Post, PostLog

EVALSET = Path(__file__).parent.parent / "evalset"
N_PEOPLE, N_TAGS, N_LOOKS, N_DAYS = 450, 1100, 80, 120
DAY_S = 86_400.0
WANTED_PER_SECOND = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bundle", type=Path, help="random weights by default")
    parser.add_argument("--posts", type=int, help="an invented log of this size")
    parser.add_argument("--size", default="small", choices=list(SHAPES))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    log = invented_log(asked.posts) if asked.posts else evaluation_log()
    bundle = load_bundle(asked.bundle) if asked.bundle else random_bundle(log, asked.size)
    started = time.perf_counter()
    state = replaying.state_of(bundle, log)
    built_s = time.perf_counter() - started
    queries = state.queries_of(log, np.arange(log.n_untimed, len(log)))

    def run() -> None:
        replaying.rank(state, bundle, queries, k=10)

    def run_alone() -> None:
        parts, replaying.MOST_PARTS = replaying.MOST_PARTS, 1
        try:
            run()
        finally:
            replaying.MOST_PARTS = parts

    run()
    # They take turns, so that noise meets both alike.
    taken = [(seconds(run), seconds(run_alone)) for _ in range(asked.runs)]
    wall_s, cpu_s = min(both for both, _ in taken)
    figures = {
        "posts": float(len(queries)),
        "posts a second": len(queries) / wall_s,
        "posts a second, slowest run": len(queries) / max(both for both, _ in taken)[0],
        "cores at work in the fastest run": cpu_s / wall_s,
        "posts a second on one thread": len(queries) / min(alone for _, alone in taken)[0],
        "building the state, s": built_s,
    }
    for name, value in figures.items():
        print(f"{name:<32} {value:10,.2f}")
    print(f"wanted: at least {WANTED_PER_SECOND:,} posts a second on two cores")
    parts = profile(run_alone)
    total = sum(parts.values())
    print("\nwhere the time goes, on one thread")
    for name, value in sorted(parts.items(), key=lambda part: -part[1]):
        if value > 0.003 * total:
            print(f"{name:<44} {value / total:6.1%} {1e6 * value / len(queries):8.1f} us a post")
    if asked.json:
        asked.json.write_text(json.dumps(figures | {"parts": parts}, indent=2) + "\n")


def seconds(work: Callable[[], None]) -> tuple[float, float]:
    """Time by the clock and by the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def evaluation_log() -> PostLog:
    """The evaluation set with its embeddings, as `recipes/evaluation_set.py` packed them."""
    with gzip.open(EVALSET / "posts.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    posts = [
        Post(
            r["post_id"],
            r["user_id"],
            datetime.fromisoformat(r["posted_at"]).timestamp(),
            tuple(r["tags"]),
        )
        for r in records
    ]
    packed = np.load(EVALSET / "embeddings.npz")
    rows = packed["floor"] + (packed["step"] * packed["codes"].astype(np.float32)) ** 2
    ids = [post.post_id for post in posts]
    return PostLog.of(posts, dict(zip(ids, rows.astype(np.float16), strict=True)))


def invented_log(n_posts: int, *, width: int = 1280) -> PostLog:
    """People with favourite tags and looks, and tags that rise and fall."""
    rng = np.random.default_rng(6)
    looks = np.abs(rng.normal(0, 0.5, (N_LOOKS, width)))
    tags_of_look = rng.integers(0, N_TAGS, (N_LOOKS, 30))
    favourites = rng.integers(0, N_TAGS, (N_PEOPLE, 12))
    person = np.minimum(rng.geometric(0.01, n_posts), N_PEOPLE) - 1
    times = 1_767_225_600.0 + np.sort(rng.uniform(0, N_DAYS * DAY_S, n_posts))
    posts: list[Post] = []
    embeddings: dict[str, np.ndarray] = {}
    for i in range(n_posts):
        look = int(rng.integers(N_LOOKS))
        own, seen = rng.choice(favourites[person[i]], 3), rng.choice(tags_of_look[look], 3)
        event = N_TAGS + int((times[i] - times[0]) // (10 * DAY_S))
        tags = dict.fromkeys(f"tag{t}" for t in (*own, *seen, event))
        posts.append(Post(f"p{i}", f"user{person[i]}", float(times[i]), tuple(tags)))
        row = looks[look] + np.abs(rng.normal(0, 0.3, width))
        embeddings[f"p{i}"] = row.astype(np.float16)
    return PostLog.of(posts, embeddings)


def random_bundle(log: PostLog, size: str) -> Bundle:
    """A bundle that has learned nothing, with every signal."""
    rng = np.random.default_rng(0)
    people = np.zeros(len(log.tags), np.int64)
    row = np.repeat(np.arange(len(log)), np.diff(log.tag_start))
    pairs = np.unique(log.user_of_post[row] * len(log.tags) + log.tag_ids)
    np.add.at(people, pairs % len(log.tags), 1)
    vocabulary = [log.tags[t] for t in np.flatnonzero(people >= 3)]
    shape = SHAPES[size]
    widths = Widths(
        features=len(FEATURE_NAMES),
        context=len(CONTEXT_NAMES),
        own_keys=len(memory.OwnMemory.key_names),
        near_keys=len(memory.Neighbours.key_names),
    )
    weights = initial_weights(shape, widths, seed=0)
    encoder_width = log.embeddings.shape[1]
    weights |= {
        "norm/mean": np.zeros(widths.features, np.float32),
        "norm/std": np.ones(widths.features, np.float32),
        "norm/context_mean": np.zeros(widths.context, np.float32),
        "norm/context_std": np.ones(widths.context, np.float32),
        "source/needed": np.zeros((3, widths.features), np.float32),
        "calibration/slope": np.array(1.0, np.float32),
        "calibration/context": np.zeros(widths.context, np.float32),
        "calibration/bias": np.array(0.0, np.float32),
        "calibration/knots": np.linspace(-20, 20, 24).astype(np.float32),
        "calibration/values": np.linspace(0.001, 0.99, 24).astype(np.float32),
        "head/center": log.embeddings.astype(np.float32).mean(axis=0),
        "head/projection": rng.normal(0, 0.03, (encoder_width, shape.joint)).astype(np.float32),
        "head/tag_vectors": rng.normal(0, 1, (len(vocabulary), shape.joint)).astype(np.float32),
        "head/tag_bias": np.zeros(len(vocabulary), np.float32),
    }
    bridge = np.where(rng.random((1000, len(vocabulary))) < 0.02, 0.4, 0.0)
    return Bundle(
        manifest=Manifest(
            pixtag="0",
            size=size,
            config={"words": True},
            encoder_digest=SHIPPED_DIGEST,
            encoder_width=encoder_width,
            trained=Trained(n_posts=0),
            feature_names=INPUT_NAMES,
        ),
        vocabulary=vocabulary,
        weights=weights,
        prior=anonymous_log(vocabulary, [], np.zeros((0, shape.joint), np.float16)),
        extras={
            "prior_people": np.zeros(len(vocabulary), np.float32),
            "bridge": bridge.astype(np.float16),
        },
    )


MEASURED: tuple[tuple[Any, str], ...] = (
    *((counts.Counts, n) for n in ("advance", "public", "propose", "features", "rate_per_day")),
    *((reuse.Reuse, n) for n in ("propose", "features", "context", "own_tags")),
    *((uses.OwnUses, n) for n in ("last_uses", "_prepare", "power_laws")),
    (habits.Habits, "features"),
    *((memory.OwnMemory, n) for n in ("recall",)),
    *((memory.Neighbours, n) for n in ("recall",)),
    *((memory.Memory, n) for n in ("propose", "with_key")),
    *((prototypes.Prototypes, n) for n in ("advance", "scores", "propose", "features")),
    *((trend.Trend, n) for n in ("window_counts", "lifts", "propose", "features")),
    *((cooccurrence.CoOccurrence, n) for n in ("advance", "given", "features", "propose")),
    *((head.Head, n) for n in ("project", "log_probs")),
    *((words.Bridge, n) for n in ("scores",)),
    *((words.Words, n) for n in ("photo_vectors",)),
    (words.Classifier, "likeliest"),
    (columns.Block, "__init__"),
    (columns.Pairs, "__init__"),
    (columns.Queries, "take"),
    (scoring, "top_of_rows"),
    *((scoring.BlockScorer, n) for n in ("_propose", "_features", "_taste", "_pixel_features")),
    *((scoring.BlockScorer, n) for n in ("_context", "_pack", "_describe_memories", "_look")),
    (replaying, "scores"),
    (replaying, "calibrated"),
    (replaying, "inputs_of"),
    (replaying, "best_of"),
)


def profile(work: Callable[[], None]) -> dict[str, float]:
    """Run with a stopwatch around every part: seconds in each, without the parts inside it."""
    spent: dict[str, float] = defaultdict(float)
    inside: list[float] = []
    originals: list[tuple[Any, str, Any]] = []

    def timed(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            inside.append(0.0)
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                taken = time.perf_counter() - started
                spent[name] += taken - inside.pop()
                if inside:
                    inside[-1] += taken

        return call

    for owner, name in MEASURED:
        original = getattr(owner, name, None)
        if original is None:
            continue
        where = owner.__name__.rpartition(".")[2]
        originals.append((owner, name, original))
        setattr(owner, name, timed(f"{where}.{name}", original))
    try:
        timed("everything else", work)()
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)
    return dict(spent)


if __name__ == "__main__":
    main()
