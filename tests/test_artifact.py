"""A bundle survives the disk exactly, and a damaged one says what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtag import artifact
from pixtag.artifact import Bundle, Manifest, Trained, load_bundle, save_bundle
from pixtag.errors import InputError, ModelError


def make_bundle(**changes: object) -> Bundle:
    rng = np.random.default_rng(0)
    prior = artifact.anonymous_log(
        ["dog", "sunset", "日没"],
        [[0], [1, 2], []],
        rng.normal(size=(3, 4)),
    )
    manifest = Manifest(
        pixtag="0.1.0",
        size="tiny",
        config={"decay": 0.5, "windows_hours": [6, 24]},
        encoder_digest="e" * 64,
        encoder_width=8,
        trained=Trained(
            n_posts=3,
            first_at=1.25,
            until_at=1_700_000_000.000001,
            calibrated_until=1_700_000_050.5,
            posts_digest=artifact.posts_digest(["a", "b", "c"]),
        ),
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    bundle = Bundle(
        manifest=manifest,
        vocabulary=["dog", "日没"],
        weights={"head.w": rng.normal(size=(4, 2)).astype(np.float32), "a": np.arange(3)},
        prior=prior,
        extras={"popularity": np.array([3, 1, 2])},
        seen=artifact.hash_post_ids(["c", "a", "b"]),
        card="# Card\n",
    )
    return replace(bundle, **changes)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    bundle = make_bundle()
    saved = save_bundle(tmp_path / "new" / "bundle", bundle)
    loaded = load_bundle(tmp_path / "new" / "bundle")
    assert loaded.manifest == saved.manifest
    assert loaded.manifest.trained == bundle.manifest.trained
    assert loaded.manifest.config == bundle.manifest.config
    assert loaded.vocabulary == bundle.vocabulary
    assert loaded.card == bundle.card
    assert set(loaded.weights) == set(bundle.weights)
    for name, array in bundle.weights.items():
        assert loaded.weights[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded.weights[name], array)
    np.testing.assert_array_equal(loaded.extras["popularity"], [3, 1, 2])
    assert [loaded.prior.tags_of(i) for i in range(3)] == [["dog"], ["sunset", "日没"], []]
    np.testing.assert_array_equal(loaded.prior.embeddings, bundle.prior.embeddings)
    assert loaded.prior.n_untimed == 3
    assert loaded.manifest.trained_until == 1_700_000_050.5


def test_a_transposed_array_is_saved_as_it_looks(tmp_path: Path) -> None:
    grid = np.arange(6.0).reshape(2, 3)
    save_bundle(tmp_path / "b", make_bundle(weights={"w": grid.T}))
    np.testing.assert_array_equal(load_bundle(tmp_path / "b").weights["w"], grid.T)


def test_digest_ignores_only_the_moment_of_writing(tmp_path: Path) -> None:
    bundle = make_bundle()
    later = bundle.manifest.model_copy(update={"created_at": datetime(2027, 1, 1, tzinfo=UTC)})
    one = save_bundle(tmp_path / "one", bundle)
    two = save_bundle(tmp_path / "two", replace(bundle, manifest=later))
    other = save_bundle(tmp_path / "three", make_bundle(card="# Other\n"))
    assert one.manifest.digest == two.manifest.digest != other.manifest.digest


def test_a_bundle_knows_the_posts_it_saw_but_not_their_names(tmp_path: Path) -> None:
    save_bundle(tmp_path / "b", make_bundle(seen=artifact.hash_post_ids(["post-77", "x"])))
    loaded = load_bundle(tmp_path / "b")
    assert loaded.has_seen(["new", "x", "post-77"]).tolist() == [False, True, True]
    assert not any(b"post-77" in file.read_bytes() for file in (tmp_path / "b").iterdir())
    assert make_bundle(seen=np.zeros(0, np.uint64)).has_seen(["x"]).tolist() == [False]


@given(st.lists(st.text(st.characters(), max_size=4), max_size=6), st.randoms())
def test_posts_digest_is_of_a_set(ids: list[str], random: object) -> None:
    shuffled = ids + ids[:1]
    random.shuffle(shuffled)
    assert artifact.posts_digest(shuffled) == artifact.posts_digest(ids)
    assert artifact.posts_digest([*ids, "longer than any"]) != artifact.posts_digest(ids)


@pytest.mark.parametrize("name", artifact.REQUIRED)
@pytest.mark.parametrize("place", [0, -1])
def test_a_flipped_byte_is_found_and_named(tmp_path: Path, name: str, place: int) -> None:
    save_bundle(tmp_path / "b", make_bundle())
    content = bytearray((tmp_path / "b" / name).read_bytes())
    content[place] ^= 0x10
    (tmp_path / "b" / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"damaged: {name}") as caught:
        load_bundle(tmp_path / "b")
    assert "copy the bundle again" in caught.value.hint


@pytest.mark.parametrize("name", [*artifact.REQUIRED, artifact.MANIFEST])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    save_bundle(tmp_path / "b", make_bundle())
    (tmp_path / "b" / name).unlink()
    with pytest.raises(ModelError, match=name):
        load_bundle(tmp_path / "b")


@pytest.mark.parametrize("name", artifact.REQUIRED)
def test_garbage_is_a_model_error_even_unverified(tmp_path: Path, name: str) -> None:
    save_bundle(tmp_path / "b", make_bundle())
    (tmp_path / "b" / name).write_bytes(b"\xff{not it")
    with pytest.raises(ModelError):
        load_bundle(tmp_path / "b", verify=False)


def test_a_newer_format_says_to_update(tmp_path: Path) -> None:
    save_bundle(tmp_path / "b", make_bundle())
    (tmp_path / "b" / "manifest.json").write_text('{"format": 2, "layout": "unheard of"}')
    with pytest.raises(ModelError, match="format 2") as caught:
        load_bundle(tmp_path / "b")
    assert "update Pixtag" in caught.value.hint


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "x"}', "\x00", '{"format": 1}'])
def test_a_broken_manifest_is_a_model_error(tmp_path: Path, text: str) -> None:
    save_bundle(tmp_path / "b", make_bundle())
    (tmp_path / "b" / "manifest.json").write_text(text)
    with pytest.raises(ModelError, match=r"manifest\.json is damaged"):
        load_bundle(tmp_path / "b")


def test_a_manifest_cannot_point_outside(tmp_path: Path) -> None:
    save_bundle(tmp_path / "b", make_bundle())
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    manifest["files"]["../secret"] = "0" * 64
    (tmp_path / "b" / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "secret").write_text("s")
    with pytest.raises(ModelError, match="points outside"):
        load_bundle(tmp_path / "b")


def test_not_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist") as caught:
        load_bundle(tmp_path / "nothing")
    assert "pixtag train" in caught.value.hint
    with pytest.raises(ModelError, match="not a bundle"):
        load_bundle(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="is not a folder"):
        load_bundle(tmp_path / "file")


def test_another_encoder_is_refused() -> None:
    bundle = make_bundle()
    bundle.check_encoder("e" * 64, 8)
    for digest, width in [("f" * 64, 8), ("e" * 64, 9)]:
        with pytest.raises(ModelError, match="needs the encoder eeeeeeeeeeee"):
            bundle.check_encoder(digest, width)


def test_an_encoder_of_its_own_travels_along(tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(b"graph")
    save_bundle(tmp_path / "b", make_bundle(encoder_path=tmp_path / "mine.onnx"))
    loaded = load_bundle(tmp_path / "b")
    assert loaded.encoder_path is not None
    assert loaded.encoder_path.read_bytes() == b"graph"
    again = save_bundle(tmp_path / "b", loaded)
    assert again.encoder_path is not None
    assert again.encoder_path.read_bytes() == b"graph"


def test_replacing_leaves_only_the_new_one(tmp_path: Path) -> None:
    save_bundle(tmp_path / "b", make_bundle(card="old"))
    save_bundle(tmp_path / "b", make_bundle(card="new"))
    assert load_bundle(tmp_path / "b").card == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_what_is_not_a_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(InputError, match="not a bundle"):
        save_bundle(tmp_path / "photos", make_bundle())
    with pytest.raises(InputError, match="is a file"):
        save_bundle(tmp_path / "photos" / "cat.jpg", make_bundle())
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


def test_failed_writing_keeps_the_old_one(tmp_path: Path) -> None:
    save_bundle(tmp_path / "b", make_bundle(card="old"))
    with pytest.raises(ModelError, match="cannot write"):
        save_bundle(tmp_path / "b", make_bundle(encoder_path=tmp_path / "absent.onnx"))
    assert load_bundle(tmp_path / "b").card == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_killed_between_the_renames_the_old_one_is_read(tmp_path: Path) -> None:
    save_bundle(tmp_path / "b", make_bundle(card="old"))
    (tmp_path / "b").rename(tmp_path / ".b.previous")
    assert load_bundle(tmp_path / "b").card == "old"
    save_bundle(tmp_path / "b", make_bundle(card="new"))
    assert load_bundle(tmp_path / "b").card == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_prior_with_people_is_refused(tmp_path: Path) -> None:
    named = replace(make_bundle().prior, users=["ana"])
    with pytest.raises(ModelError, match="people"):
        save_bundle(tmp_path / "b", make_bundle(prior=named))
    timed = replace(make_bundle().prior, at=np.array([0.0, 1.0, 2.0]))
    with pytest.raises(ModelError, match="times"):
        save_bundle(tmp_path / "b", make_bundle(prior=timed))
