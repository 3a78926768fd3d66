"""Draws the training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw_curves(notes: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plot loss and precision on the calibration period by epoch.

    Args:
        notes: Lines with `step`, `loss` and `validation_p@5`.
        path: PNG to write.
    """
    # The plot needs no window and leaves no state behind.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(8, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    steps = [n["step"] for n in notes]
    left.plot(steps, [n["loss"] for n in notes], marker="o")
    left.set(xlabel="epoch", ylabel="listwise loss", title="fit period")
    right.plot(steps, [n["validation_p@5"] for n in notes], marker="o", color="tab:green")
    right.set(xlabel="epoch", ylabel="P@5", title="calibration period")
    figure.savefig(path, dpi=120)
