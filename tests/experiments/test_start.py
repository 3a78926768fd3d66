"""Every experiment, and the tool that makes the shipped model, starts as its docstring says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MODULES = sorted(
    f"{folder}.{path.stem}"
    for folder in ("experiments", "tools")
    for path in (ROOT / folder).glob("*.py")
    if re.search(rf"^    (?:python -m|pixtag) {folder}\.{path.stem}\b", path.read_text(), re.M)
)


@pytest.mark.parametrize("module", MODULES)
def test_it_starts_from_the_top_of_the_repository(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout
