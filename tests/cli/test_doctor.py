"""pixtag doctor: broken photos in folders, and stores that are not as they should be."""

from __future__ import annotations

import json
import re
import sqlite3
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from pixtag import images
from pixtag.encoder import load_encoder
from pixtag.photos import NOT_KEPT
from pixtag.store import Store
from pixtag.types import Photo, Post

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photos = tmp_path / "photos"
    (photos / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.png", "deep/c.webp"):
        noise = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(photos / name)
    (photos / "notes.txt").write_text("no photo, and not named as one")
    return photos


@pytest.fixture
def store_path(folder: Path) -> Path:
    """A store whose three photos all have an embedding."""
    path = folder.parent / "my.sqlite"
    encoder = load_encoder(n_threads=1)
    photos = [Photo(str(p), images.digest(p)) for p in sorted(folder.rglob("*.*g"))]
    photos += [Photo(str(p), images.digest(p)) for p in folder.rglob("*.webp")]
    rows = np.zeros((len(photos), encoder.width), np.float16)
    with Store.open(path, create=True) as store:
        store.add_posts(Post(f"p{i}", "ana", float(i), ("x",), (p,)) for i, p in enumerate(photos))
        store.put_embeddings(encoder.digest, [p.digest for p in photos], rows)
    return path


def report(pixtag, path: Path) -> tuple[int, dict]:
    done = pixtag("doctor", path, "--json")
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


def faults(found: dict) -> dict[str, str]:
    """Fault of each photo, by its name."""
    return {p["target"].rsplit("/", 1)[-1]: p["fault"] for p in found["problems"]}


def test_a_folder_in_order(pixtag, folder):
    done = pixtag("doctor", folder)
    assert done.returncode == 0
    assert done.stdout == ""
    assert "in order: 3 photos checked" in done.stderr


def test_broken_photos_are_listed_with_their_fault(pixtag, folder):
    whole = (folder / "a.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").touch()
    (folder / "page.jpg").write_text("<html>")
    (folder / "deep" / "film.jpg").write_bytes(b"\x00\x00\x00\x20ftypisom" + bytes(50))
    code, found = report(pixtag, folder)
    assert code == 1
    assert (found["kind"], found["photos"]) == ("folder", 7)
    assert faults(found) == {
        "half.jpg": "truncated",
        "empty.jpg": "empty",
        "page.jpg": "not an image",
        "film.jpg": "video",
    }
    assert all(p["hint"] and p["message"] for p in found["problems"])
    done = pixtag("doctor", folder)
    assert done.returncode == 1
    assert re.search(r"^ ?truncated +.*half\.jpg", done.stdout, re.MULTILINE)
    assert "1 truncated" in done.stderr
    assert "hint: empty: " in done.stderr


def test_a_single_photo(pixtag, folder):
    assert report(pixtag, folder / "b.png")[0] == 0
    assert report(pixtag, folder / "notes.txt")[0] == 1


def test_a_path_to_nothing(pixtag, tmp_path):
    done = pixtag("doctor", tmp_path / "gone")
    assert done.returncode == 2
    assert "hint:" in done.stderr


def test_a_store_in_order(pixtag, store_path):
    code, found = report(pixtag, store_path)
    assert (code, found["kind"], found["photos"], found["problems"]) == (0, "store", 3, [])


def test_photos_that_vanished_or_changed(pixtag, store_path, folder):
    (folder / "a.jpg").unlink()
    (folder / "b.png").write_bytes((folder / "deep" / "c.webp").read_bytes())
    code, found = report(pixtag, store_path)
    assert code == 1
    assert faults(found) == {"a.jpg": "missing", "b.png": "changed"}


def test_photos_that_were_left_out_on_purpose(pixtag, store_path):
    with Store.open(store_path) as store:
        photo = Photo(f"{NOT_KEPT}{'ab' * 32}", "ab" * 32)
        store.add_posts([Post("sent", "ana", 9.0, ("x",), (photo,))])
    code, found = report(pixtag, store_path)
    assert (code, found["problems"], found["not_kept"]) == (0, [], 1)
    assert "not kept: 1 photo" in pixtag("doctor", store_path).stderr


def test_photos_without_an_embedding(pixtag, store_path, folder):
    Image.new("RGB", (50, 50), (1, 2, 3)).save(folder / "new.png")
    with Store.open(store_path) as store:
        photo = Photo(str(folder / "new.png"), images.digest(folder / "new.png"))
        store.add_posts([Post("new", "ana", 9.0, (), (photo,))])
    code, found = report(pixtag, store_path)
    assert code == 1
    assert faults(found) == {"new.png": "no embedding"}
    assert "pixtag import" in found["problems"][0]["hint"]


def test_photos_that_could_not_be_looked_at(pixtag, store_path, folder):
    broken = folder / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with Store.open(store_path) as store:
        photo = Photo(str(broken), images.digest(broken))
        store.add_posts([Post("broken", "ana", 9.0, (), (photo,))])
        store.record_failure(photo.digest, "truncated", "its data end too early")
    assert faults(report(pixtag, store_path)[1]) == {"broken.png": "truncated"}


def test_a_damaged_store(pixtag, store_path):
    size = store_path.stat().st_size
    with store_path.open("r+b") as file:
        for place in range(3 * 8192, size - 8192, 8192):
            file.seek(place)
            file.write(bytes(range(200)))
    done = pixtag("doctor", store_path)
    assert done.returncode == 1
    assert "damaged" in done.stdout + done.stderr
    assert "backup" in " ".join((done.stdout + done.stderr).split())


def test_an_embedding_that_was_cut(pixtag, store_path):
    with sqlite3.connect(store_path) as db:
        db.execute("UPDATE embeddings SET vector = x'0011' WHERE id = 2")
    db.close()
    code, found = report(pixtag, store_path)
    assert code == 1
    assert found["faults"] == {"damaged": 1}


def test_another_programs_database(pixtag, tmp_path):
    with sqlite3.connect(tmp_path / "other.sqlite") as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    done = pixtag("doctor", tmp_path / "other.sqlite")
    assert done.returncode == 1
    assert "not a Pixtag store" in done.stderr


def test_a_text_named_as_a_store_is_none(pixtag, tmp_path):
    (tmp_path / "notes.sqlite").write_text("Dear diary, " * 100)
    done = pixtag("doctor", tmp_path / "notes.sqlite")
    assert done.returncode == 1
    assert "not a Pixtag store" in done.stderr


def test_checking_changes_nothing(pixtag, store_path):
    before = store_path.read_bytes()
    pixtag("doctor", store_path)
    assert store_path.read_bytes() == before
