"""What each source adds when every set of sources gets a network of its own.

    python recipes/retrained_ablations.py --store world.sqlite --out out/retrained
    python recipes/retrained_ablations.py --store world.sqlite --period validation

`pixtag evaluate` asks one network with sources silenced. Here eight are trained, each with one set
of pixels, history and trend alone (candidates too) and none dropped on the way; beside them
stands the one network. The difference is what sharing a network costs. Finished bundles are taken
up again (see `seed_spread.py`).
"""

from __future__ import annotations

import sys
from dataclasses import replace

from seed_spread import METRICS, Task, arguments, ranker_of, settings_of

from pixtag.cli import output
from pixtag.errors import PixtagError
from pixtag.evaluate import Comparison, Figures
from pixtag.evaluate.run import ALL_SOURCES
from pixtag.types import Sources

_SHOWN = ("p@1", "p@5", "r@10")


def main() -> None:
    parser = arguments("Train a network for each set of sources.", "out/retrained")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    task = Task.of(given)
    usual = settings_of(given.size, given.seed)
    alone = usual.model_copy(update={"drop_sources": 0.0})
    rankers = {s.name: ranker_of(task.trained(alone, s), s) for s in ALL_SOURCES}
    shared = task.trained(usual, Sources())
    rankers |= {f"one network: {s.name}": ranker_of(shared, s) for s in ALL_SOURCES}
    figures = figures_of(task.measured(rankers))
    path = given.out / f"retrained-{given.period}.json"
    path.write_text(output.to_json({"period": given.period, **figures}, indent=2) + "\n")
    show(figures, given.period)
    print(f"wrote {path}", file=sys.stderr)


def figures_of(compared: Comparison) -> Figures:
    """Means of both kinds, what the full network has over each, and each source's lift."""
    boot = compared.bootstrap

    def mean(name: str) -> Figures:
        values = compared.methods[name].values
        return {m: boot.over_posts(values[m]).as_dict() for m in METRICS}

    def minus(name: str, other: str) -> Figures:
        first, second = (compared.methods[n].values for n in (name, other))
        return {m: boot.over_posts(first[m] - second[m]).as_dict() for m in METRICS}

    whole = Sources().name
    names = [s.name for s in ALL_SOURCES]
    return {
        "retrained": {n: mean(n) for n in names},
        "one_network": {n: mean(f"one network: {n}") for n in names},
        "all_minus": {n: minus(whole, n) for n in names[1:]},
        "retrained_minus_one_network": {n: minus(n, f"one network: {n}") for n in names},
        "lift": {
            source: minus(whole, replace(Sources(), **{source: False}).name)
            for source in ("pixels", "history", "trend")
        },
    }


def show(figures: Figures, period: str) -> None:
    """Print a table of each."""
    kinds = {
        "retrained": "trained with these alone",
        "one_network": "one network, others silenced",
        "retrained_minus_one_network": "the first minus the second",
        "all_minus": "all three minus these",
        "lift": "added to the other two",
    }
    print(f"{period} period; 95 % intervals over people")
    for kind, title in kinds.items():
        print(f"\n{title:34}" + "".join(f"{m:24}" for m in _SHOWN))
        for name, values in figures[kind].items():
            cells = (values[m] for m in _SHOWN)
            line = (f"{c['mean']:7.3f} [{c['low']:6.3f}, {c['high']:6.3f}]" for c in cells)
            print(f"{name:34}" + "".join(f"{cell:24}" for cell in line))


if __name__ == "__main__":
    try:
        main()
    except PixtagError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        sys.exit(1)
