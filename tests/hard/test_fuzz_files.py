"""Our own files damaged, or made by a stranger who knows the format: models, snapshots, stores."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import handmade
from fuzzing import altered, cases, damaged, tallied
from pixtag import bundle as files
from pixtag.bundle import Bundle, load_bundle, save_bundle
from pixtag.errors import ModelError
from pixtag.evidence import load_evidence, save_evidence
from pixtag.predictor import Predictor, Wishes
from pixtag.store import Store
from pixtag.types import Post
from worlds import model_for, world

if TYPE_CHECKING:
    from pathlib import Path

    from fuzzing import Tally

# Numbers that overflow in a stranger's model warn; a person sees the error that follows.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

AT = 1_772_366_400.0
POSTS = [Post(f"p{i}", f"u{i % 3}", AT + 3600 * i, ("sky", f"t{i % 4}")) for i in range(12)]


# Models


def asked(path: Path, store: Store) -> None:
    """Load a model and ask it: chances come, or an error that names the model."""
    with Predictor(load_bundle(path), store=store) as predictor:
        photo = handmade.embedding("sky")
        for user in (None, "u1"):
            found = predictor.answer(photo, Wishes.of(5, (), (), None, False, None, user))
            for one in found.suggestions:
                assert 0 <= one.prob <= 1
                assert one.tag.encode()


@pytest.fixture(scope="module")
def posts():
    """A store with posts whose photos the model's encoder has seen."""
    with Store.in_memory() as store:
        store.add_posts(POSTS)
        yield store


def test_models_with_damaged_bytes(tmp_path: Path, posts: Store) -> None:
    path = handmade.bundle_file(tmp_path / "model")
    whole = path.read_bytes()
    head = whole[: int.from_bytes(whole[:8], "little") + 8]

    def check(tally: Tally) -> None:
        @given(damaged([head], (b'"F32"', b'"BOOL"', b"[0,0]", b"[9999999999999]", b"}", b",")))
        @cases(4)
        def run(data: bytes) -> None:
            path.write_bytes(data + whole[len(head) :])
            with tally.case(data[:80]):
                asked(path, posts)

        run()

    tallied("bytes of models", check)


CHANGES = {
    "drop": None,
    "one row less": lambda a: a[:-1] if a.ndim and len(a) else a,
    "one row more": lambda a: np.concatenate([a, a[:1]]) if a.ndim and len(a) else a,
    "one column less": lambda a: a[..., :-1].copy() if a.ndim else a,
    "flat": lambda a: a.reshape(-1),
    "deep": lambda a: a[None],
    "turned": lambda a: a.T.copy(),
    "empty": lambda a: np.zeros(0, a.dtype),
    "one number": lambda a: np.zeros((), a.dtype),
    "not a number": lambda a: np.full(a.shape, np.nan, np.float32),
    "infinite": lambda a: np.full(a.shape, np.inf, np.float32),
    "huge": lambda a: np.full(a.shape, 3e38, np.float32),
    "whole": lambda a: np.nan_to_num(a).astype(np.int64),
    "short": lambda a: np.nan_to_num(a).astype(np.uint8),
    "true or false": lambda a: a.astype(np.bool_),
    "negative": lambda a: (-np.abs(a.astype(np.float64)) - 1).astype(a.dtype),
    "backwards": lambda a: a[::-1].copy() if a.ndim else a,
    "far": lambda a: np.full(a.shape, 10**9).astype(a.dtype),
}


def changed(bundle: Bundle, part: str, name: str, how: str) -> Bundle:
    change = CHANGES[how]
    if part == "prior":
        array = getattr(bundle.prior, name)
        return (
            bundle
            if change is None
            else replace(bundle, prior=replace(bundle.prior, **{name: change(array)}))
        )
    arrays = dict(getattr(bundle, part))
    array = arrays.pop(name)
    if change is not None:
        arrays[name] = change(array)
    return replace(bundle, **{part: arrays})


def places(bundle: Bundle) -> list[tuple[str, str]]:
    prior = [("prior", n) for n in ("tag_start", "tag_ids", "has_photo", "embeddings")]
    return prior + [(part, n) for part in ("weights", "extras") for n in getattr(bundle, part)]


def test_models_of_strangers(tmp_path: Path, posts: Store) -> None:
    """Arrays of other shapes, kinds and values under sums that are right."""
    path, bundle = tmp_path / "model", handmade.bundle()
    change = st.tuples(st.sampled_from(places(bundle)), st.sampled_from(sorted(CHANGES)))

    def check(tally: Tally) -> None:
        @given(st.lists(change, min_size=1, max_size=2, unique_by=lambda one: one[0]))
        @cases(6)
        def run(changes: list[tuple[tuple[str, str], str]]) -> None:
            made = bundle
            try:
                for (part, name), how in changes:
                    made = changed(made, part, name, how)
                save_bundle(path, made)
            except (ValueError, IndexError, TypeError):
                return  # no stranger could write it either
            with tally.case(changes):
                asked(path, posts)

        run()

    tallied("models of strangers", check)


def test_manifests_of_strangers(tmp_path: Path, posts: Store) -> None:
    """Other values in the file's JSON, under sums that are right."""
    path = handmade.bundle_file(tmp_path / "model")
    arrays = load_file(path)
    with safe_open(path, framework="numpy") as file:
        document = json.loads(file.metadata()["pixtag"])
    held = document["manifest"]
    held["config"] = {"rank": {"max_candidates": 40, "own_slots": 8}, "words": False}
    parts = held.pop("digests"), held.pop("feature_names")
    texts = {name: document[name] for name in ("vocabulary", "prior_tags", "card")}

    def check(tally: Tally) -> None:
        @given(altered({"manifest": held, "texts": texts}))
        @cases(5)
        def run(given: Any) -> None:
            if not isinstance(given, dict):
                return
            texts, manifest = given.get("texts"), given.get("manifest")
            found = dict(texts) if isinstance(texts, dict) else {}
            if isinstance(manifest, dict):
                digests = files._digests(arrays, found)
                manifest = {"digests": digests, "feature_names": parts[1], **manifest}
            made = {"manifest": manifest, "sha256": files._digest_of_json(manifest), **found}
            save_file(arrays, path, {"pixtag": json.dumps(made)})
            with tally.case(given):
                asked(path, posts)

        run()

    tallied("manifests of strangers", check)


# Snapshots


def test_snapshots(tmp_path: Path) -> None:
    log = world(60)
    model = model_for(log)
    path, n = tmp_path / "snapshot", len(model.fixed_tags)
    evidence = model.evidence(log)
    assert save_evidence(evidence, path, key="k", seq=7)
    whole = path.read_bytes()
    size = int.from_bytes(whole[:8], "little") + 8

    def check(tally: Tally) -> None:
        @given(
            damaged([whole[:size]], (b'"F32"', b'"U8"', b"[0]", b"}", b":")),
            damaged([whole[size:]]),
        )
        @cases(4)
        def run(head: bytes, rest: bytes) -> None:
            path.write_bytes(head + rest)
            with tally.case(head[:80]):
                found = load_evidence(path, key="k", n_fixed=n, derive=model.derive)
                is_whole = head + rest == whole
                assert found is not None if is_whole else True
                if found is not None:
                    assert list(found[0].post_ids) == list(evidence.post_ids)
                    assert found[1] == 7

        run()

    tallied("snapshots", check)


# Stores


def test_stores(tmp_path: Path) -> None:
    path = tmp_path / "seed.sqlite"
    with Store.open(path, create=True) as store:
        store.add_posts(POSTS)
        store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole, victim = path.read_bytes(), tmp_path / "s.sqlite"

    def check(tally: Tally) -> None:
        @given(
            st.lists(
                st.tuples(st.integers(0, len(whole) - 1), st.binary(min_size=1, max_size=8)),
                max_size=12,
            )
        )
        @cases(4)
        def run(edits: list[tuple[int, bytes]]) -> None:
            data = bytearray(whole)
            for at, piece in edits:
                data[at : at + len(piece)] = piece
            for left in ("-wal", "-shm"):
                victim.with_name(victim.name + left).unlink(missing_ok=True)
            victim.write_bytes(data)
            with tally.case(edits), Store.open(victim) as store:
                posts = list(store.posts())
                store.summary()
                assert len(store.log().post_ids) == len(posts)
                store.changes_since(0)
                store.add_posts([Post("new", "u9", AT, ("sky",))])
                store.forget("u1")

        run()

    tallied("stores", check)


def test_what_does_not_fit_together_is_no_model(tmp_path: Path) -> None:
    bundle = handmade.bundle()
    head = {**bundle.weights, "head/tag_bias": bundle.weights["head/tag_bias"][:-1]}
    for weights in (head, {n: a for n, a in bundle.weights.items() if n != "score/out"}):
        save_bundle(tmp_path / "m", replace(bundle, weights=weights))
        with pytest.raises(ModelError, match="does not fit together") as caught:
            Predictor.load(tmp_path / "m")
        assert caught.value.hint
