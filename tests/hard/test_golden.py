"""Files of earlier versions are opened for good: stores of every schema, and a model."""

from __future__ import annotations

import gzip
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

import handmade
from pixtag.bundle import load_bundle
from pixtag.errors import ModelError
from pixtag.predictor import Predictor
from pixtag.signals import INPUT_NAMES
from pixtag.store import Store
from pixtag.store.schema import MIGRATIONS
from pixtag.types import Photo, Post

GOLDEN = Path(__file__).parents[1] / "golden"
ONE, TWO, THREE = (Photo(f"/photos/{i + 1}.jpg", d) for i, d in enumerate(("a" * 64, "b" * 64, "")))
AT = 1_772_366_400.0
POSTS = [
    Post("p4", None, None, ("sea",), (THREE,)),
    Post("p1", "ana", AT, ("sea", "日没"), (ONE,)),
    Post("p2", "ana", AT + 3600.5, ("sea", "🌅sunset"), (TWO,)),
    Post("p3", "ben", AT + 7200, ("café",), (ONE,)),
    Post("p5", "ben", AT + 14_400, (), ()),
]
VERSIONS = range(1, len(MIGRATIONS) + 1)


def unpacked(version: int, folder: Path) -> Path:
    path = folder / "s.sqlite"
    packed = GOLDEN / f"version-{version}.sqlite.gz"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    return path


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_store_of_every_version_is_read_whole(
    tmp_path: Path, version: int, read_only: bool
) -> None:
    with Store.open(unpacked(version, tmp_path), read_only=read_only) as store:
        assert list(store.posts()) == POSTS
        assert (store.identity, store.revision) == ("golden", 7)
        assert len(store.secret) == 32
        assert [failure.target for failure in store.failures()] == ["/photos/3.jpg"]
        assert [one.path for one in store.bundles_trained_on("ana")] == ["/models/m"]
        log = store.log("e" * 64)
        assert log.has_photo.tolist() == [False, True, False, True, False]
        np.testing.assert_array_equal(log.embeddings[[1, 3]], [[1, 2, 3, -1]] * 2)
        assert store.lists("ana").deny == (("tbt",) if version > 2 else ())
        if not read_only:
            assert store.add_posts(POSTS).unchanged == 5
            assert store.forget("ana").posts == 2
            assert [post.post_id for post in store.posts()] == ["p4", "p3", "p5"]


def test_a_store_that_was_brought_up_to_date_has_the_tables_of_a_new_one(tmp_path: Path) -> None:
    def tables(path: Path) -> list[tuple[str, str]]:
        with sqlite3.connect(path) as db:
            found = db.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        db.close()
        return found

    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old, new = unpacked(1, tmp_path / "old"), tmp_path / "new" / "s.sqlite"
    for path in (old, new):
        Store.open(path, create=True).close()
    assert tables(old) == tables(new)


def test_a_model_of_this_release_is_read_or_refused_by_name() -> None:
    """What it holds stays readable; signals that are others since are named."""
    bundle = load_bundle(GOLDEN / "model.safetensors")
    assert bundle.vocabulary == [tag for tags in handmade.LOOKS.values() for tag in tags] + ["love"]
    assert [bundle.prior.tags_of(i) for i in (0, 8)] == [["zebra", "pattern"], ["sky", "blue"]]
    assert bundle.has_seen(["old-0", "new"]).tolist() == [True, False]
    assert bundle.manifest.digest.startswith("77b4cb715ab5ddd9")
    if bundle.manifest.feature_names == INPUT_NAMES:
        with Predictor(bundle) as predictor:
            assert {"sky", "blue"} <= {one.tag for one in predictor.suggest(sky())}
    else:
        with pytest.raises(ModelError, match="whose signals were others") as caught:
            Predictor(bundle)
        assert "pixtag train" in caught.value.hint


def sky() -> bytes:
    import io

    out = io.BytesIO()
    handmade.picture("sky", 3).save(out, "JPEG", quality=90)
    return out.getvalue()


def test_nothing_of_the_golden_files_is_large() -> None:
    assert sum(file.stat().st_size for file in GOLDEN.iterdir()) < 200_000
    assert json.dumps(sorted(f.name for f in GOLDEN.glob("*.gz"))) == json.dumps(
        [f"version-{version}.sqlite.gz" for version in VERSIONS]
    )
