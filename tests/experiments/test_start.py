"""Every experiment, and the tool that makes the shipped model, starts as its docstring says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MODULES = sorted(
    f"{path.parent.name}.{path.stem}"
    for path in [*(ROOT / "experiments").glob("*.py"), ROOT / "tools" / "shipped_bundle.py"]
    if "__main__" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", MODULES)
def test_it_starts_from_the_top_of_the_repository(module: str) -> None:
    path = ROOT / f"{module.replace('.', '/')}.py"
    assert f"    python -m {module} " in path.read_text(encoding="utf-8"), "as its docstring says"
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout
