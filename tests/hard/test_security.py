"""What docs/security.md promises is held by tests that are there; models bring no files to read."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from pixtag.encoder import load_encoder
from pixtag.errors import ModelError
from tiny_onnx import encoder_with_weights_in

ROOT = Path(__file__).parents[2]
SECURITY = ROOT / "docs" / "security.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_test_that_holds_a_promise_is_there() -> None:
    named = NAMED.findall(SECURITY.read_text(encoding="utf-8"))
    assert len(named) > 40
    missing = []
    for file, name in named:
        path = ROOT / file
        tree = ast.parse(path.read_text(encoding="utf-8")) if path.exists() else ast.Module([], [])
        there = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        if name not in there:
            missing.append(f"{file}::{name}")
    assert missing == []


def test_every_promise_names_a_test() -> None:
    rows = re.findall(r"^\| (?!promise|---)(.+?) \| (.+) \|$", SECURITY.read_text(), re.MULTILINE)
    assert len(rows) > 25
    assert [promise for promise, tests in rows if not NAMED.search(tests)] == []


@pytest.mark.parametrize("place", ["weights.bin", "../weights.bin", "absolute"])
def test_a_strangers_encoder_reads_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """An ONNX graph may name a file for its weights; such a graph is refused."""
    (tmp_path / "here").mkdir()
    for folder in (tmp_path, tmp_path / "here"):
        np.ones(48, np.float32).tofile(folder / "weights.bin")
    monkeypatch.chdir(tmp_path / "here")
    where = str(tmp_path / "here" / "weights.bin") if place == "absolute" else place
    with pytest.raises(ModelError):
        load_encoder(encoder_with_weights_in(where))


def test_nothing_is_ever_unpickled() -> None:
    """No module imports what runs code from data."""
    risky = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
    found = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found += [(path.name, a.name) for a in node.names if a.name.split(".")[0] in risky]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in risky:
                found.append((path.name, str(node.module)))
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                is_off = isinstance(node.value, ast.Constant) and node.value.value is False
                found += [] if is_off else [(path.name, "allow_pickle")]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                found += [(path.name, node.func.id)] if node.func.id in {"eval", "exec"} else []
    assert found == []
