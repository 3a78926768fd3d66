"""What training leaves on the way, so that a kill loses an epoch at most.

Everything lies in a folder `OUT.partial` that goes when the bundle is written. A plan names the
posts and the settings: what another plan left there is not taken up.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

Arrays = dict[str, NDArray[Any]]


class Checkpoints:
    """Arrays by step name, written whole or not at all.

    Args:
        folder: Made when missing, emptied when it belongs to another plan.
        plan: Everything that decides the result.
    """

    def __init__(self, folder: Path, plan: Mapping[str, object]) -> None:
        self.folder = folder
        text = json.dumps(plan, sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()
        marker = folder / "plan"
        if folder.exists() and (not marker.is_file() or marker.read_text() != digest):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if not marker.is_file():
            _write(marker, digest.encode())

    def load(self, step: str) -> Arrays | None:
        """The arrays of a step, or None when it was not finished."""
        path = self.folder / f"{step}.safetensors"
        if not path.is_file():
            return None
        try:
            return safetensors.numpy.load(path.read_bytes())
        except (SafetensorError, OSError):
            return None

    def save(self, step: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep the arrays of a finished step."""
        whole = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
        _write(self.folder / f"{step}.safetensors", safetensors.numpy.save(whole))

    def note(self, line: Mapping[str, object], *, fresh: bool = False) -> None:
        """Append to the training curves (JSON Lines), or start them."""
        path = self.folder / "curves.jsonl"
        before = "" if fresh or not path.exists() else path.read_text()
        _write(path, (before + json.dumps(line) + "\n").encode())

    def curves(self) -> list[dict[str, Any]]:
        """Every note of this plan; of two for one step the later."""
        path = self.folder / "curves.jsonl"
        if not path.exists():
            return []
        lines = [json.loads(line) for line in path.read_text().splitlines() if line]
        last = {(line["stage"], line["step"]): line for line in lines}
        return list(last.values())

    def remove(self) -> None:
        """Everything is in the bundle: the folder goes."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    staging = path.with_name(f"{path.name}.new")
    with staging.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    staging.replace(path)
