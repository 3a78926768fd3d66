"""Finished steps of a run in the folder `OUT.partial`, so that a kill loses an epoch at most."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from pixtag.bundle import replace_file

Arrays = dict[str, NDArray[Any]]


class Checkpoints:
    """Arrays by step name, written whole or not at all, and the training curves.

    Args:
        folder: Made when missing, emptied when it belongs to another plan.
        plan: Everything that decides the result.
    """

    def __init__(self, folder: Path, plan: Mapping[str, object]) -> None:
        self.folder = folder
        self._curves = folder / "curves.jsonl"
        text = json.dumps(plan, sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()
        marker = folder / "plan"
        if folder.exists() and (not marker.is_file() or marker.read_text() != digest):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if not marker.is_file():
            replace_file(marker, digest.encode())

    def load(self, step: str) -> Arrays | None:
        """The arrays of a step, or None when it was not finished."""
        try:
            return safetensors.numpy.load((self.folder / f"{step}.safetensors").read_bytes())
        except (SafetensorError, OSError):
            return None

    def save(self, step: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep the arrays of a finished step."""
        whole = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
        replace_file(self.folder / f"{step}.safetensors", safetensors.numpy.save(whole))

    def note(self, line: Mapping[str, object]) -> None:
        """Append a point (`stage`, `step`, `loss`, ...) to the training curves."""
        before = self._curves.read_text() if self._curves.exists() else ""
        replace_file(self._curves, (before + json.dumps(line) + "\n").encode())

    def curves(self) -> list[dict[str, Any]]:
        """Every point of the curves; of two for one step the later."""
        text = self._curves.read_text() if self._curves.exists() else ""
        lines = [json.loads(line) for line in text.splitlines() if line]
        return list({(line["stage"], line["step"]): line for line in lines}.values())

    def finish(self, out: Path) -> None:
        """Leave the curves beside the written model as JSON Lines and PNG; the folder goes."""
        if self._curves.exists():
            out.with_name(f"{out.name}.curves.jsonl").write_bytes(self._curves.read_bytes())
            draw_curves(self.curves(), out.with_name(f"{out.name}.curves.png"))
        shutil.rmtree(self.folder, ignore_errors=True)


def draw_curves(points: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plot loss, and `validation_p@5` where it was measured, by epoch into a PNG."""
    # The plot needs no window and leaves no state behind.
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for stage in dict.fromkeys(p["stage"] for p in points):
        mine = [p for p in points if p["stage"] == stage]
        left.plot([p["step"] for p in mine], [p["loss"] for p in mine], marker="o", label=stage)
    left.legend()
    left.set(xlabel="epoch", ylabel="listwise loss", title="fit period")
    judged = [p for p in points if "validation_p@5" in p]
    precision = [p["validation_p@5"] for p in judged]
    right.plot([p["step"] for p in judged], precision, marker="o", color="tab:green")
    right.set(xlabel="epoch", ylabel="P@5", title="calibration period")
    figure.savefig(path, dpi=120)
