"""How much the figures move from seed to seed: the same training, over and over.

    python -m experiments.seed_spread --store world.sqlite --seeds 5 --out out/seeds
    python -m experiments.seed_spread --store world.sqlite --period validation

Each seed trains a bundle on what `pixtag evaluate` would train on and is measured on the same
posts in the same way. Finished bundles are kept under --out and taken up again, so an interrupted
run goes on. Every look is logged.
"""

from __future__ import annotations

import numpy as np
from experiments.harness import Task, arguments, ranker_of, run, settings_of

from pixtag.cli import output
from pixtag.evaluate.past import Ranker
from pixtag.types import Sources

METRICS = ("p@1", "p@5", "r@5", "r@10", "ndcg@5", "mrr")


def spread(values: list[float]) -> dict[str, float | list[float]]:
    """Mean, standard deviation (of a sample), smallest, largest, and each."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return {
        "mean": float(np.mean(values)),
        "sd": deviation,
        "min": min(values),
        "max": max(values),
        "values": values,
    }


def main() -> None:
    """Train with several seeds and measure each."""
    parser = arguments(__doc__, "out/seeds")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    task = Task.of(given.store, given.period, given.out)
    rankers: dict[str, Ranker] = {}
    for seed in range(given.seeds):
        bundle = task.trained(settings_of(given.size, seed), Sources())
        rankers[f"seed {seed}"] = ranker_of(bundle)
    methods = task.measured(rankers).methods.values()
    found = {m: spread([float(s.values[m].mean()) for s in methods]) for m in METRICS}
    ends = ("mean", "sd", "min", "max")
    output.print_table(
        {"metric": "left", **dict.fromkeys(ends, "right")},
        [[metric, *(f"{one[end]:.4f}" for end in ends)] for metric, one in found.items()],
        title=f"{given.seeds} seeds, {given.period} period, {len(task.log):,} posts in the log",
    )
    path = given.out / f"spread-{given.period}.json"
    path.write_text(output.to_json({"period": given.period, "metrics": found}, indent=2) + "\n")
    output.say(f"wrote {path}")


if __name__ == "__main__":
    run(main)
