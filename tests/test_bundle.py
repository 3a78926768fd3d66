"""A model survives the disk exactly, and a damaged or foreign one says what is wrong with it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from pixtag import bundle as files
from pixtag.bundle import Bundle, Manifest, Trained, hash_post_ids, load_bundle, save_bundle
from pixtag.errors import InputError, ModelError

NAMES = {"features": ("look", "reuse", "trend"), "context": ("pixels_on",), "own_keys": ("age",)}
SALT = "0badcafe"


def make_bundle(**changes: object) -> Bundle:
    rng = np.random.default_rng(0)
    manifest = Manifest(
        pixtag="0.1.0",
        size="tiny",
        config={"decay": 0.5, "windows_hours": [6, 24]},
        feature_names=NAMES,
        encoder_digest="e" * 64,
        encoder_width=8,
        trained=Trained(
            n_posts=3,
            first_at=1.25,
            until_at=1_700_000_000.000001,
            calibrated_until=1_700_000_050.5,
        ),
        salt=SALT,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    bundle = Bundle(
        manifest=manifest,
        vocabulary=["dog", "日没"],
        weights={
            "head/w": rng.normal(size=(4, 2)).astype(np.float32),
            "head/b": np.float64(2.5)[()].reshape(()),
            "a": np.arange(3),
        },
        prior=files.anonymous_log(
            ["dog", "sunset", "日没"], [[0], [1, 2], []], rng.normal(size=(3, 4))
        ),
        extras={"popularity": np.array([3, 1, 2]), "none": np.zeros((0, 4), np.float16)},
        seen=hash_post_ids(["c", "a", "b"], salt=SALT),
        card="# Card\n",
    )
    return replace(bundle, **changes)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A model on disk."""
    save_bundle(tmp_path / "b", make_bundle())
    return tmp_path / "b"


def document_of(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["pixtag"])


def rewrite(path: Path, document: object, **arrays: np.ndarray) -> None:
    save_file(load_file(path) | arrays, path, {"pixtag": json.dumps(document)})


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    bundle = make_bundle()
    saved = save_bundle(tmp_path / "new" / "bundle", bundle)
    loaded = load_bundle(tmp_path / "new" / "bundle")
    assert loaded.manifest == saved.manifest
    assert loaded.manifest.trained == bundle.manifest.trained
    assert loaded.manifest.config == bundle.manifest.config
    assert loaded.manifest.salt == SALT
    assert loaded.vocabulary == bundle.vocabulary
    assert loaded.card == bundle.card
    assert loaded.encoder is None
    for given_, found in ((bundle.weights, loaded.weights), (bundle.extras, loaded.extras)):
        assert set(found) == set(given_)
        for name, array in given_.items():
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
            np.testing.assert_array_equal(found[name], array)
            assert not found[name].flags.writeable
    assert [loaded.prior.tags_of(i) for i in range(3)] == [["dog"], ["sunset", "日没"], []]
    np.testing.assert_array_equal(loaded.prior.embeddings, bundle.prior.embeddings)
    assert loaded.prior.n_untimed == 3
    assert loaded.manifest.trained_until == 1_700_000_050.5
    assert set(loaded.group("head")) == {"w", "b"}


def test_a_transposed_array_is_saved_as_it_looks(tmp_path: Path) -> None:
    grid = np.arange(6.0).reshape(2, 3)
    save_bundle(tmp_path / "b", make_bundle(weights={"w": grid.T}))
    np.testing.assert_array_equal(load_bundle(tmp_path / "b").weights["w"], grid.T)


@given(st.lists(st.text(st.characters(), max_size=4), unique=True, max_size=4))
def test_any_tag_survives(tmp_path_factory: pytest.TempPathFactory, tags: list[str]) -> None:
    path = tmp_path_factory.mktemp("tags") / "b"
    save_bundle(path, make_bundle(vocabulary=tags))
    assert load_bundle(path).vocabulary == tags


def test_the_digest_ignores_only_the_moment_of_writing_and_the_salt(tmp_path: Path) -> None:
    one = save_bundle(tmp_path / "one", make_bundle())
    later = {"created_at": datetime(2027, 1, 1, tzinfo=UTC), "salt": "ff"}
    two = make_bundle(
        manifest=replace(make_bundle().manifest, **later), seen=hash_post_ids("abc", salt="ff")
    )
    two = save_bundle(tmp_path / "two", two)
    assert one.manifest.digest == two.manifest.digest
    for change in ({"card": "# Other\n"}, {"vocabulary": ["dog"]}, {"weights": {"a": np.ones(3)}}):
        other = save_bundle(tmp_path / "other", make_bundle(**change))
        assert other.manifest.digest != one.manifest.digest


def test_a_model_knows_the_posts_it_saw_but_not_their_names(tmp_path: Path) -> None:
    seen = hash_post_ids(["post-77", "x", "\ud800"], salt=SALT)
    save_bundle(tmp_path / "b", make_bundle(seen=seen))
    loaded = load_bundle(tmp_path / "b")
    assert loaded.has_seen(["new", "x", "post-77", "\ud800"]).tolist() == [False, True, True, True]
    assert b"post-77" not in (tmp_path / "b").read_bytes()
    assert make_bundle(seen=np.zeros(0, np.uint64)).has_seen(["x"]).tolist() == [False]


def test_hashes_of_two_models_share_nothing() -> None:
    ids = [f"p{i}" for i in range(100)]
    kept = {"pixtag": "0", "size": "tiny", "feature_names": NAMES, "encoder_digest": ""}
    salts = [Manifest(**kept, encoder_width=0, trained=Trained(n_posts=0)).salt for _ in range(2)]
    one, two = (hash_post_ids(ids, salt=salt) for salt in salts)
    assert len(bytes.fromhex(salts[0])) == 16
    assert one.dtype == np.uint64
    assert len(np.unique([one, two])) == 200


@pytest.mark.parametrize("place", ["features", "context", "own_keys"])
def test_inputs_with_other_names_are_refused_by_name(place: str) -> None:
    bundle = make_bundle()
    bundle.check_features(NAMES)
    bundle.check_features({group: list(names) for group, names in NAMES.items()})
    more = {**NAMES, place: (*NAMES[place], "moon")}
    with pytest.raises(ModelError, match=r"nothing \(here moon\)") as caught:
        bundle.check_features(more)
    assert place.replace("_", " ") in caught.value.message
    assert "pixtag train" in caught.value.hint
    with pytest.raises(ModelError, match=r"\(here nothing\)"):
        bundle.check_features({**NAMES, place: ()})
    with pytest.raises(ModelError, match=r"nothing \(here moon\)"):
        bundle.check_features({**NAMES, "near_keys": ("moon",)})


def test_swapped_inputs_are_refused_though_their_number_fits() -> None:
    swapped = {**NAMES, "features": ("look", "trend", "reuse")}
    with pytest.raises(ModelError, match=r"reuse \(here trend\), trend \(here reuse\)"):
        make_bundle().check_features(swapped)


def test_only_the_first_of_many_differing_names_are_said() -> None:
    many = tuple(f"signal{i}" for i in range(50))
    with pytest.raises(ModelError, match="and 47 more") as caught:
        make_bundle().check_features({**NAMES, "features": many})
    assert "signal3" not in caught.value.message


def test_a_flipped_bit_is_found_wherever_it_is(saved: Path) -> None:
    whole = saved.read_bytes()
    rng = np.random.default_rng(0)
    # Every third byte, and all of the start.
    for place in sorted({*range(64), *range(64, len(whole), 3)}):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        saved.write_bytes(flipped)
        with pytest.raises(ModelError) as caught:
            load_bundle(saved)
        assert caught.value.hint


@pytest.mark.parametrize(
    ("part", "name"),
    [("weights", "a"), ("extras", "popularity"), ("prior", "embeddings"), ("seen", "hashes")],
)
def test_an_altered_part_is_named(saved: Path, part: str, name: str) -> None:
    key = f"{part}/{name}"
    array = load_file(saved)[key].copy()
    array.reshape(-1)[0] += 1
    rewrite(saved, document_of(saved), **{key: array})
    with pytest.raises(ModelError, match=f"damaged: its part {part} is not") as caught:
        load_bundle(saved)
    assert "copy the model again" in caught.value.hint


@pytest.mark.parametrize("name", ["vocabulary", "prior_tags", "card"])
def test_an_altered_text_is_named(saved: Path, name: str) -> None:
    rewrite(saved, document_of(saved) | {name: ["dogs", "日没", "more"]})
    with pytest.raises(ModelError, match=f"damaged: its part {name} is not"):
        load_bundle(saved)


def test_an_array_too_many_or_too_few_is_found(saved: Path) -> None:
    document, arrays = document_of(saved), load_file(saved)
    rewrite(saved, document, **{"encoder/onnx": np.zeros(3, np.uint8)})
    with pytest.raises(ModelError, match="its part encoder is not"):
        load_bundle(saved)
    del arrays["weights/a"]
    save_file(arrays, saved, {"pixtag": json.dumps(document)})
    with pytest.raises(ModelError, match="its part weights is not"):
        load_bundle(saved)


def test_an_altered_manifest_is_found(saved: Path) -> None:
    document = document_of(saved)
    document["manifest"]["trained"]["until_at"] = 5.0
    rewrite(saved, document)
    with pytest.raises(ModelError, match="damaged: its part manifest is not"):
        load_bundle(saved)


def test_a_cut_file_is_damaged(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in [*range(40, len(whole), 97), len(whole) - 1]:
        saved.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="damaged"):
            load_bundle(saved)


@pytest.mark.parametrize("content", [b"", b"\xff{not it", b"\x00" * 100, b"x" * 1000])
def test_a_foreign_file_is_not_a_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b").write_bytes(content)
    with pytest.raises(ModelError, match="is not a model") as caught:
        load_bundle(tmp_path / "b")
    assert "pixtag train" in caught.value.hint


def test_weights_of_something_else_are_not_a_model(tmp_path: Path) -> None:
    for metadata in (None, {"format": "pt"}):
        save_file({"w": np.ones(3)}, tmp_path / "b", metadata)
        with pytest.raises(ModelError, match="is not a model"):
            load_bundle(tmp_path / "b")


@pytest.mark.parametrize(
    "document",
    [None, [], {}, 3, {"manifest": 3}, {"manifest": {"format": "x"}}, {"manifest": {"format": 2}}],
)
def test_a_broken_document_is_a_model_error(saved: Path, document: object) -> None:
    rewrite(saved, document)
    with pytest.raises(ModelError, match="damaged"):
        load_bundle(saved)


def test_a_newer_format_says_to_update_and_an_older_one_to_train(saved: Path) -> None:
    rewrite(saved, {"manifest": {"format": 3, "layout": "unheard of"}})
    with pytest.raises(ModelError, match="format 3") as caught:
        load_bundle(saved)
    assert "update Pixtag" in caught.value.hint
    rewrite(saved, {"manifest": {"format": 1}})
    with pytest.raises(ModelError, match="format 1") as caught:
        load_bundle(saved)
    assert "update" not in caught.value.hint
    assert "pixtag train" in caught.value.hint


def test_a_folder_of_an_older_version_says_to_train_anew(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"format": 1}')
    with pytest.raises(ModelError, match="older versions") as caught:
        load_bundle(tmp_path)
    assert "pixtag train" in caught.value.hint


def test_no_file_and_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"nothing: No such file") as caught:
        load_bundle(tmp_path / "nothing")
    assert "pixtag train" in caught.value.hint
    monkeypatch.setattr(files, "default_bundle_path", lambda: tmp_path / "gone")
    with pytest.raises(ModelError, match="no model came with this installation"):
        load_bundle()


def test_another_encoder_is_refused() -> None:
    bundle = make_bundle()
    bundle.check_encoder("e" * 64, 8)
    for digest, width in [("f" * 64, 8), ("e" * 64, 9)]:
        with pytest.raises(ModelError, match="needs the encoder eeeeeeeeeeee"):
            bundle.check_encoder(digest, width)
    with pytest.raises(ModelError, match="needs the encoder eeeeeeeeeeee"):
        bundle.load_encoder()


def test_an_encoder_of_its_own_travels_along(tmp_path: Path) -> None:
    save_bundle(tmp_path / "b", make_bundle(encoder=b"graph"))
    loaded = load_bundle(tmp_path / "b")
    assert loaded.encoder == b"graph"
    save_bundle(tmp_path / "b", loaded)
    assert load_bundle(tmp_path / "b").encoder == b"graph"
    with pytest.raises(ModelError, match="the model's own encoder cannot be used"):
        loaded.load_encoder()


def test_replacing_leaves_only_the_new_one(tmp_path: Path) -> None:
    save_bundle(tmp_path / "b", make_bundle(card="old"))
    save_bundle(tmp_path / "b", make_bundle(card="new"))
    assert load_bundle(tmp_path / "b").card == "new"
    (tmp_path / "b").write_bytes((tmp_path / "b").read_bytes()[:200])
    save_bundle(tmp_path / "b", make_bundle(card="over a damaged one"))
    assert load_bundle(tmp_path / "b").card == "over a damaged one"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_what_is_not_a_model_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    cat = tmp_path / "photos" / "cat.jpg"
    cat.write_bytes(b"a photo")
    with pytest.raises(InputError, match="is a folder"):
        save_bundle(tmp_path / "photos", make_bundle())
    with pytest.raises(InputError, match="not a model"):
        save_bundle(cat, make_bundle())
    assert list((tmp_path / "photos").iterdir()) == [cat]
    assert cat.read_bytes() == b"a photo"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failed_writing_keeps_the_old_one(
    saved: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    owner = os if step == "fsync" else Path
    monkeypatch.setattr(owner, step, fail)
    with pytest.raises(ModelError, match="cannot write the model") as caught:
        save_bundle(saved, make_bundle(card="new"))
    assert "make room" in caught.value.hint
    assert load_bundle(saved).card == "# Card\n"
    assert [p.name for p in saved.parent.iterdir()] == ["b"]


def test_a_prior_with_people_is_refused(tmp_path: Path) -> None:
    named = replace(make_bundle().prior, users=["ana"])
    timed = replace(make_bundle().prior, at=np.array([0.0, 1.0, 2.0]))
    for prior in (named, timed):
        with pytest.raises(ModelError, match="people or times"):
            save_bundle(tmp_path / "b", make_bundle(prior=prior))
    assert not list(tmp_path.iterdir())
