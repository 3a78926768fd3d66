"""How many posts a second go through all signals and the network, and where the time goes.

    python bench/replay.py [--bundle FILE] [--posts 12000] [--store STORE] [--json FILE]

Replays a whole log as evaluation does: every post ranked with what was known before it. The log is
the evaluation set that lies in the repository, or a store's, or with `--posts` an invented one of
that size without photos.

Prints posts a second of plain runs, and from one more run on one thread, with a stopwatch around
every part, the share of reading, of each signal and of the network.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _figures import Figures, evaluation_log, invented_log, seconds, seconds_of_processor

from pixtag import rank as ranking
from pixtag.bundle import load_bundle
from pixtag.model import model_of
from pixtag.signals.spec import Table
from pixtag.store import Store

WANTED_PER_SECOND = 2000
PARTS = (
    "ask",
    "look",
    "Similar",
    "own_memory",
    "near_memory",
    "lately_memory",
    "companies",
    "describe_slots",
    "propose",
    "_cut",
    "context",
    "scores",
    "calibrated",
    "best_of",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bundle", type=Path, help="the shipped one by default")
    parser.add_argument("--posts", type=int, help="an invented log of this size")
    parser.add_argument("--store", type=Path, help="a store's posts")
    parser.add_argument("--last", type=int, help="rank only so many, the last ones")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    bundle = load_bundle(asked.bundle)
    if asked.store:
        with Store.open(asked.store, read_only=True) as store:
            log = store.log(bundle.manifest.encoder_digest)
    elif asked.posts:
        log = invented_log(asked.posts, vocabulary=bundle.vocabulary)
    else:
        log = evaluation_log()
    figures = Figures()
    model = model_of(bundle).without_prior()
    view = model.evidence(log).view()
    rows = np.arange(log.n_untimed, len(log))[-(asked.last or len(log)) :]
    questions = ranking.questions_of(log, rows, width=model.knowledge.encoder_width)

    def run() -> None:
        ranking.rank(model, view, questions, k=10)

    def run_alone() -> None:
        parts, ranking.MOST_PARTS = ranking.MOST_PARTS, 1
        try:
            run()
        finally:
            ranking.MOST_PARTS = parts

    building_s = seconds(lambda: model.evidence(log))
    taken = [(seconds_of_processor(run), seconds(run_alone)) for _ in range(asked.runs)]
    wall_s, cpu_s = min(both for both, _ in taken)
    n = len(questions)
    figures.add("posts", n)
    figures.add("observing them, posts a second", len(log) / building_s)
    figures.add("posts a second", n / wall_s, least=WANTED_PER_SECOND)
    figures.add("posts a second, slowest run", n / max(both for both, _ in taken)[0])
    figures.add("cores at work in the fastest run", cpu_s / wall_s)
    figures.add("posts a second of one processor", n / cpu_s)
    figures.add("posts a second on one thread", n / min(alone for _, alone in taken))
    parts = profile(run_alone)
    total = sum(parts.values())
    for name, value in sorted(parts.items(), key=lambda part: -part[1]):
        figures.add(f"share of {name}", value / total)
    figures.write(asked.json)


def profile(work: Callable[[], None]) -> dict[str, float]:
    """Run with a stopwatch around every part: processor seconds without the parts inside it."""
    spent: dict[str, float] = defaultdict(float)
    inside: list[float] = []

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: object, **kwargs: object) -> object:
            inside.append(0.0)
            started = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                taken = time.process_time() - started
                spent[name] += taken - inside.pop()
                if inside:
                    inside[-1] += taken

        return call

    known = {name: getattr(ranking, name) for name in (*PARTS, "Interests", "FEATURES")}
    table: Table = ranking.FEATURES
    signals = [replace(s, compute=timed(f"signal {s.name}", s.compute)) for s in table.signals]
    ranking.FEATURES = Table(signals)
    for name in PARTS:
        setattr(ranking, name, timed(name, known[name]))
    interests = known["Interests"]
    ranking.Interests = type(  # type: ignore[misc]
        "Timed", (), {"of": staticmethod(timed("interests", interests.of))}
    )
    try:
        timed("the rest", work)()
    finally:
        for name, original in known.items():
            setattr(ranking, name, original)
    return dict(spent)


if __name__ == "__main__":
    main()
