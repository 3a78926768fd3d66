"""Draws the training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw_curves(notes: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plot loss and precision on the calibration period by epoch.

    Args:
        notes: Lines with `stage`, `step` and `loss`, and `validation_p@5` where it was measured.
        path: PNG to write.
    """
    # The plot needs no window and leaves no state behind.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(8, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for stage in dict.fromkeys(n["stage"] for n in notes):
        mine = [n for n in notes if n["stage"] == stage]
        left.plot([n["step"] for n in mine], [n["loss"] for n in mine], marker="o", label=stage)
    left.legend()
    left.set(xlabel="epoch", ylabel="listwise loss", title="fit period")
    judged = [n for n in notes if "validation_p@5" in n]
    precision = [n["validation_p@5"] for n in judged]
    right.plot([n["step"] for n in judged], precision, marker="o", color="tab:green")
    right.set(xlabel="epoch", ylabel="P@5", title="calibration period")
    figure.savefig(path, dpi=120)
