"""kill -9 at any moment: the store stays whole, and the next run ends as if nothing had happened.

`make slow` kills 200 times, and a server a hundred times (tests/web/test_live.py).
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import archives
import handmade
from killed import Victims
from pixtag.bundle import load_bundle
from pixtag.predictor import Predictor
from pixtag.store import Store

if TYPE_CHECKING:
    from collections.abc import Generator

    from postgres_server import Databases

SHORT, LONG = 2, 35
FEW_OR_MANY = pytest.mark.parametrize(
    "n_kills", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)]
)
AT = 1_772_366_400


@pytest.fixture(scope="module")
def victims() -> Generator[Victims]:
    with Victims.ready() as ready:
        yield ready


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3,000 posts of seven people with 40 photos."""
    folder = tmp_path_factory.mktemp("posts")
    for i in range(40):
        (folder / f"{i}.jpg").write_bytes(archives.jpeg(i))
    rows = (
        {"post_id": f"p{i}", "user_id": f"u{i % 7}", "posted_at": AT + i, "image": f"{i % 40}.jpg",
         "tags": [f"tag{i % 90}x", "common"]}
        for i in range(3000)
    )  # fmt: skip
    (folder / "posts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "posts.jsonl"


@pytest.fixture(scope="module")
def imported(posts: Path, victims: Victims, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("imported") / "s.sqlite"
    victims.run("import_posts", path, posts)
    return path


def copied(path: Path, folder: Path) -> Path:
    """A store with all that lies beside it, in a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(path.parent, folder)
    return folder / path.name


def state(path: Path) -> tuple[object, ...]:
    """What a store holds, and that its file is whole."""
    with Store.open(path) as store:
        db = store._db
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        vectors = db.execute("SELECT digest, vector FROM embeddings ORDER BY digest").fetchall()
        assert len(store.log().post_ids) == store.summary().n_posts
        posts = [(p.post_id, p.user_id, p.posted_at, p.tags, p.photos) for p in store.posts()]
        return posts, vectors


def names(posts: object) -> list[object]:
    return [(p[0], p[1], p[2], p[3], [photo.digest for photo in p[4]]) for p in posts]  # type: ignore[attr-defined]


def files(path: Path) -> set[str]:
    folder = path.with_name(path.name + ".photos")
    return {file.name for file in folder.iterdir()} if folder.is_dir() else set()


@FEW_OR_MANY
def test_import(
    posts: Path, imported: Path, victims: Victims, tmp_path: Path, n_kills: int
) -> None:
    path, whole = tmp_path / "s.sqlite", state(imported)
    took_s = victims.run("import_posts", tmp_path / "timed.sqlite", posts)
    n_before = 0
    for _ in range(n_kills):
        victims.kill("import_posts", path, posts, within_s=took_s)
        if path.exists() and path.stat().st_size:
            found, _ = state(path)
            assert len(found) >= n_before  # type: ignore[arg-type]
            n_before = len(found) % 3000  # type: ignore[arg-type]
        if n_before == 0 and path.exists():  # it was over: begin anew
            shutil.rmtree(path.with_name(path.name + ".photos"), ignore_errors=True)
            for file in tmp_path.glob("s.sqlite*"):
                file.unlink()
    victims.run("import_posts", path, posts)
    found, _ = state(path)
    assert names(found) == names(whole[0])
    assert files(path) == files(imported)


@FEW_OR_MANY
def test_embed(imported: Path, victims: Victims, tmp_path: Path, n_kills: int) -> None:
    unbroken = copied(imported, tmp_path / "unbroken")
    took_s = victims.run("embed", unbroken)
    _, vectors = state(unbroken)
    assert len(vectors) == 40  # type: ignore[arg-type]
    path = copied(imported, tmp_path / "broken")
    for _ in range(n_kills):
        victims.kill("embed", path, within_s=took_s)
        _, found = state(path)
        if found == vectors:
            path = copied(imported, tmp_path / "broken")
    victims.run("embed", path)
    assert state(path)[1] == vectors


@FEW_OR_MANY
def test_forget(imported: Path, victims: Victims, tmp_path: Path, n_kills: int) -> None:
    """Who was forgotten as a kill came is gone with every file when the store is next opened."""
    base, alone = copied(imported, tmp_path / "base"), "0" * 64
    with Store.open(base) as store:
        store._db.execute("UPDATE photos SET digest = ? WHERE post = 1", (alone,))
    (base.with_name("s.sqlite.photos") / f"{alone}.jpg").write_bytes(b"of u0 alone")
    base.with_name("s.sqlite.snapshot").write_bytes(b"derived")
    unbroken = copied(base, tmp_path / "unbroken")
    took_s = victims.run("forget", unbroken, "u0")
    after, before = names(state(unbroken)[0]), names(state(base)[0])
    assert len(after) < len(before)
    assert f"{alone}.jpg" not in files(unbroken)
    for _ in range(n_kills):
        path = copied(base, tmp_path / "broken")
        victims.kill("forget", path, "u0", within_s=took_s)
        found = names(state(path)[0])
        if found == after:
            assert files(path) == files(unbroken)
            assert not path.with_name("s.sqlite.snapshot").exists()
        else:
            assert found == before
            victims.run("forget", path, "u0")
            assert names(state(path)[0]) == after
            assert files(path) == files(unbroken)


@FEW_OR_MANY
@pytest.mark.parametrize("version", [1, 2])
def test_migration(victims: Victims, tmp_path: Path, version: int, n_kills: int) -> None:
    old = tmp_path / "old" / "s.sqlite"
    old.parent.mkdir()
    made = Path(__file__).parents[1] / "golden" / "make.py"
    spec = importlib.util.spec_from_file_location("golden_make", made)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.make(version, old, copies=2000)
    unbroken = copied(old, tmp_path / "unbroken")
    took_s = victims.run("migrate", unbroken)
    whole = state(unbroken)
    for _ in range(n_kills):
        path = copied(old, tmp_path / "broken")
        victims.kill("migrate", path, within_s=took_s)
        with sqlite3.connect(path) as db:
            (found,) = db.execute("SELECT max(version) FROM schema_version").fetchone()
        db.close()
        assert found in {version, 3}  # all steps or none
        assert state(path) == whole


@FEW_OR_MANY
def test_snapshot(imported: Path, victims: Victims, tmp_path: Path, n_kills: int) -> None:
    """What a kill leaves of a snapshot is never taken for one, nor left for ever."""
    model = handmade.bundle_file(tmp_path / "model")
    unbroken = copied(imported, tmp_path / "unbroken")
    took_s = victims.run("follow", unbroken, model)
    asked = answers(unbroken, model)
    path = copied(imported, tmp_path / "broken")
    for _ in range(n_kills):
        for file in path.parent.glob("*.snapshot"):
            file.unlink()
        victims.kill("follow", path, model, within_s=took_s)
        assert answers(path, model) == asked
        left = {file.name for file in path.parent.glob("*.snapshot*")}
        assert left == {"s.sqlite.snapshot"}


def test_half_a_snapshot_is_swept_away_later(
    imported: Path, victims: Victims, tmp_path: Path
) -> None:
    path, model = copied(imported, tmp_path / "s"), handmade.bundle_file(tmp_path / "model")
    fresh, old = (path.with_name(f"s.sqlite.snapshot.new-{i}-1") for i in (1, 2))
    for half in (fresh, old):
        half.write_bytes(b"half")
    os.utime(old, (AT, AT))
    victims.run("follow", path, model)
    assert fresh.exists()  # somebody may be writing it
    assert not old.exists()


def answers(path: Path, model: Path) -> list[tuple[str, float]]:
    with Store.open(path) as store, Predictor(load_bundle(model), store=store) as predictor:
        found = predictor.suggest(None, user="u3", k=10)
        return [(one.tag, one.prob) for one in found]


@pytest.mark.slow
def test_train(victims: Victims, tmp_path: Path) -> None:
    took_s = victims.run("train", tmp_path / "unbroken")
    whole = load_bundle(tmp_path / "unbroken").manifest.digest
    out = tmp_path / "broken"
    for _ in range(8):
        if not victims.kill("train", out, within_s=took_s) and out.exists():
            assert load_bundle(out).manifest.digest == whole
            out.unlink()
    victims.run("train", out)
    assert load_bundle(out).manifest.digest == whole
    assert not out.with_name("broken.partial").exists()


def kept(address: str) -> tuple[list[object], dict[str, bytes]]:
    """What a store in PostgreSQL holds: posts, and the vectors of their photos."""
    with Store.open(address) as store:
        posts = [(p.post_id, p.user_id, p.posted_at, p.tags, p.photos) for p in store.posts()]
        log = store.log(handmade.encoder().digest)
    vectors = {log.post_ids[i]: log.embeddings[i].tobytes() for i in np.flatnonzero(log.has_photo)}
    return sorted(names(posts), key=str), vectors


@FEW_OR_MANY
def test_postgresql(
    posts: Path, victims: Victims, databases: Databases, tmp_path: Path, n_kills: int
) -> None:
    """Import, embed and forget, each killed in the middle and begun again, end as unbroken ones."""
    steps = [("import_posts", posts), ("embed",), ("forget", "u0")]

    def before(n: int) -> str:
        """A new database after the first steps."""
        address = databases.new()
        for work, *given in steps[:n]:
            victims.run(work, address, *given)
        return address

    unbroken, n_early = before(0), 0
    for n, (work, *given) in enumerate(steps):
        took_s, broken = victims.run(work, unbroken, *given), before(n)
        after = kept(unbroken)
        assert bool(after[1]) == (work != "import_posts")
        for _ in range(n_kills):
            n_early += victims.kill(work, broken, *given, within_s=took_s)
            if kept(broken) == after:  # it was over: begin anew
                databases.drop(broken)
                broken = before(n)
        victims.run(work, broken, *given)
        assert kept(broken) == after
        databases.drop(broken)
    databases.drop(unbroken)
    assert n_early
