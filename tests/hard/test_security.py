"""What docs/security.md promises is held by tests that are there; models bring no files to read."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

import archives
import handmade
from pixtag.encoder import load_encoder
from pixtag.errors import ModelError
from pixtag.ingest import find_sources, import_posts
from pixtag.predictor import Predictor
from pixtag.store import Store
from pixtag.types import Post
from pixtag.web.app import create_app
from pixtag.web.service import Service
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


def test_a_new_store_is_its_owners_alone(tmp_path: Path) -> None:
    """Its file, what SQLite puts beside it, kept photos and the snapshot."""
    path, model = tmp_path / "s.sqlite", handmade.bundle_file(tmp_path / "model")
    folder = archives.write_tree(tmp_path / "in", {"a.jpg": archives.jpeg(1), "a.txt": "sea"})
    before = os.umask(0o022)
    try:
        with Store.open(path, create=True) as store:
            import_posts(find_sources([folder]), store, keep_copies=True)
            store.add_posts(Post(f"p{i}", "ana", 1e9 + i, ("sea",)) for i in range(600))
            with Predictor.load(model, store=store) as predictor:
                predictor.now()
            made = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.glob("s.sqlite*")}
    finally:
        os.umask(before)
    private = dict.fromkeys(("s.sqlite", "s.sqlite-wal", "s.sqlite-shm"), 384)
    assert made == private | {"s.sqlite.photos": 0o700, "s.sqlite.snapshot": 0o600}


def test_pages_do_not_show_where_the_store_lies(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.sqlite", create=True) as store:
        app = create_app(Service(store, handmade.bundle()))
        with TestClient(app, base_url="http://localhost") as client:
            app.state.service.reader.close()
            for path in ("/mine", "/api/v1/users/ana/history"):
                found = client.get(path, headers={"accept": "text/html"})
                assert found.status_code == 503
                assert str(tmp_path) not in found.text


def test_nothing_is_ever_unpickled() -> None:
    """No module imports what runs code from data, but for what Ray's nodes send each other."""
    risky = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
    found = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found += [(path.name, a.name) for a in node.names if a.name.split(".")[0] in risky]
            elif isinstance(node, ast.ImportFrom):
                names = {*(node.module or "").split("."), *(one.name for one in node.names)}
                found += [(path.name, name) for name in names & risky]
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                is_off = isinstance(node.value, ast.Constant) and node.value.value is False
                found += [] if is_off else [(path.name, "allow_pickle")]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                found += [(path.name, node.func.id)] if node.func.id in {"eval", "exec"} else []
    assert found == [("ray.py", "cloudpickle")]
