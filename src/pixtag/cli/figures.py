"""What `pixtag evaluate` prints: tables of its figures, the short ones."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from pixtag.cli import output

if TYPE_CHECKING:
    from pixtag.evaluate import Figures

_SHOWN = ("p@1", "p@5", "r@5", "r@10", "ndcg@5", "mrr")
_KNOWABLE = ("p@1", "p@5", "r@5", "r@10", "ndcg@5")


def show(figures: Figures) -> None:
    """Print the tables.

    Args:
        figures: Of an evaluation.
    """
    measured = figures["split"]["measured"]
    rows = [
        [name, *(_interval(values[m]) for m in _SHOWN)]
        for name, values in figures["methods"].items()
    ]
    rows.append(["perfect ranking", *(f"{figures['ceiling'][m]:.3f}" for m in _SHOWN)])
    output.print_table(
        {"method": "left", **dict.fromkeys(_SHOWN, "right")},
        rows,
        title=(
            f"{measured['n_posts']:,} posts of {measured['n_people']:,} people, "
            f"{measured['from'][:10]} to {measured['to'][:10]} ({figures['split']['period']})"
        ),
    )
    if "ablation" in figures:
        output.print_table(
            {"sources": "left", **dict.fromkeys(_SHOWN, "right")},
            [
                [name, *(_interval(values[m]) for m in _SHOWN)]
                for name, values in figures["ablation"].items()
            ],
        )
        output.print_table(
            {"added by": "left", **dict.fromkeys(_SHOWN, "right")},
            [[name, *(_interval(v[m]) for m in _SHOWN)] for name, v in figures["lift"].items()],
        )
    if "knowable" in figures:
        _show_knowable(figures["knowable"])
    if "signals" in figures:
        _show_signals(figures["signals"])
    _show_segments(figures)
    _show_over_time(figures)
    _show_breadth(figures)
    if "calibration" in figures:
        output.print_line(f"expected calibration error {figures['calibration']['ece']:.3f}")


def _show_segments(figures: Figures) -> None:
    methods = _short(figures)
    rows: list[list[Any]] = []
    segments = figures["segments"]
    for label, part in [
        *((f"history {name}", part) for name, part in segments["history"].items()),
        *((f"{name} set", part) for name, part in segments["set"].items()),
        *([("cold people", segments["cold"])] if "cold" in segments else []),
    ]:
        if part["n_posts"]:
            rows.append(_row(label, f"{part['n_posts']:,} posts", "p@5", part, methods))
    bands = [(f"{name} tags", part) for name, part in segments["tags"].items()]
    for label, part in [*bands, ("new tags once known", segments["new_tags"]["known"])]:
        if part["n_uses"]:
            rows.append(_row(label, f"{part['n_uses']:,} uses", "r@10", part, methods))
    everyone = {"methods": figures["per_person"], "paired": figures.get("paired_per_person", {})}
    n_people = figures["split"]["measured"]["n_people"]
    rows.append(_row("everyone weighs the same", f"{n_people:,} people", "p@5", everyone, methods))
    added = ["pixtag - base_level"] * ({"pixtag", "base_level"} <= {*methods})
    output.print_table(
        {
            "segment": "left",
            "size": "right",
            "metric": "left",
            **dict.fromkeys([*methods, *added], "right"),
        },
        rows,
    )


def _short(figures: Figures) -> list[str]:
    return [m for m in ("pixtag", "base_level", "popularity") if m in figures["methods"]]


def _row(label: str, size: str, metric: str, part: Figures, methods: list[str]) -> list[str]:
    """Figures of some methods, and what the first adds to base-level learning."""
    row = [label, size, metric, *(_interval(part["methods"][m][metric]) for m in methods)]
    if methods[:2] == ["pixtag", "base_level"]:
        row.append(_interval(part["paired"]["base_level"][metric]))
    return row


def _show_knowable(found: Figures) -> None:
    names = {"of_all": "share of the oracle", "above_base": "the same above base_level"}
    output.print_table(
        {"knowable": "left", **dict.fromkeys(_KNOWABLE, "right")},
        [[names[n], *(_interval(v[m]) for m in _KNOWABLE)] for n, v in found.items()],
    )


def _show_signals(signals: Figures) -> None:
    shown = [(way, m) for way in ("dropped", "shuffled") for m in ("p@1", "p@5")]
    output.print_table(
        {"lost without": "left", **{f"{m} {way}": "right" for way, m in shown}},
        [
            [name, *(_interval(ways[way][m]) for way, m in shown)]
            for name, ways in signals.items()
            if any(ways[way][m][end] for way, m in shown for end in ("mean", "low", "high"))
        ],
    )


def _show_over_time(figures: Figures) -> None:
    output.print_table(
        {"p@5 by tenths in time": "left", **{str(i + 1): "right" for i in range(10)}},
        [
            [m, *(f"{part['methods'][m]['p@5']['mean']:.3f}" for part in figures["drift"])]
            for m in _short(figures)
        ],
    )


def _show_breadth(figures: Figures) -> None:
    columns = ("coverage", "popularity", "redundancy")
    output.print_table(
        {"first five": "left", **dict.fromkeys(columns, "right")},
        [
            [
                "as used" if m == "truth" else m,
                *(f"{figures['breadth'][m][c]:.3f}" for c in columns),
            ]
            for m in [*_short(figures), "truth"]
        ],
    )


def _interval(figure: dict[str, float]) -> str:
    if not isfinite(figure["mean"]):
        return "-"
    low, high = (f"{figure[end]:.3f}".replace("0.", ".", 1) for end in ("low", "high"))
    return f"{figure['mean']:.3f} {low}\u2013{high}"
