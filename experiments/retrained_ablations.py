"""What each source adds when every set of sources gets a network of its own.

    python -m experiments.retrained_ablations --store world.sqlite --out out/retrained
    python -m experiments.retrained_ablations --store world.sqlite --period validation

`pixtag evaluate` asks one network with sources silenced. Here eight are trained, each with one set
of pixels, history and trend alone (candidates too) and none dropped on the way; beside them
stands the one network. The difference is what sharing a network costs. Finished bundles are taken
up again.
"""

from __future__ import annotations

from dataclasses import replace

from experiments.harness import Task, arguments, finish, ranker_of, run, settings_of

from pixtag.evaluate import Comparison, Figures, Row
from pixtag.evaluate.tables import SOURCES, means
from pixtag.evaluate.temporal import ALL_SOURCES
from pixtag.types import Sources

METRICS = ("p@1", "p@5", "r@5", "r@10")
SHARED = "one network: "


def main() -> None:
    """Train nine networks and measure them."""
    parser = arguments(__doc__, "out/retrained")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    task = Task.of(given.store, given.period, given.out)
    usual = settings_of(given.size, given.seed)
    alone = usual.model_copy(update={"drop_sources": 0.0})
    rankers = {s.name: ranker_of(task.trained(alone, s), s) for s in ALL_SOURCES}
    shared = task.trained(usual, Sources())
    rankers |= {f"{SHARED}{s.name}": ranker_of(shared, s) for s in ALL_SOURCES}
    rows = rows_of(task.measured(rankers))
    title = f"Networks of their own against one network, {given.period} period"
    figures = Figures("retrained-ablations", title, rows, METRICS)
    finish(figures, given.out / f"retrained-{given.period}.json")


def rows_of(compared: Comparison) -> list[Row]:
    """Networks of their own as an ablation; then each minus the one network with that set."""
    names = [s.name for s in ALL_SOURCES]
    own = replace(compared, methods={name: compared.methods[name] for name in names})
    rows = [row for row in means(own, SOURCES, metrics=METRICS) if row.method in names]
    for name in names:
        pair = {n: compared.methods[n] for n in (name, f"{SHARED}{name}")}
        rows += means(replace(compared, methods=pair), metrics=METRICS)
    # A perfect ranking is the same in all of them.
    return list({(r.segment, r.method, r.metric, r.kind, r.other): r for r in rows}.values())


if __name__ == "__main__":
    run(main)
