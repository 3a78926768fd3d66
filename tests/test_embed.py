"""Looking at the photos of a store: complete, resumable, never stopped by one bad photo."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import handmade
from onnx_file import write_mean_colour
from pixtag import images
from pixtag.encoder import load_encoder
from pixtag.errors import ModelError
from pixtag.photos import BATCH, PhotoReader, embed_missing
from pixtag.store import Store
from pixtag.types import Photo, Post

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from numpy.typing import NDArray

N_PHOTOS = 3 * BATCH + 5


class MeanColour:
    """An encoder whose embedding is the mean colour: quick, and known beforehand."""

    digest = "mean-colour"
    width = 3
    input_px = 32
    interpolation = "bilinear"

    def __init__(self) -> None:
        self.n_seen = 0
        self._lock = threading.Lock()

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self._lock:
            self.n_seen += len(images)
        return images.reshape(len(images), -1, 3).mean(1, dtype=np.float32)


def colour(i: int) -> tuple[int, int, int]:
    return (4 * i, 255 - 4 * i, 2 * i)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(N_PHOTOS):
        Image.new("RGB", (40, 30), colour(i)).save(tmp_path / f"{i:02d}.png")
    return tmp_path


@pytest.fixture
def store(folder: Path) -> Generator[Store]:
    with Store.open(folder / "s.sqlite", create=True) as opened:
        opened.add_posts(post(folder / f"{i:02d}.png", i) for i in range(N_PHOTOS))
        yield opened


def post(path: Path, i: int, post_id: str = "") -> Post:
    photo = Photo(str(path), images.digest(path))
    return Post(post_id or f"p{i:02d}", "ana", 1000.0 + i, ("tag",), (photo,))


def embeddings(store: Store, encoder: MeanColour) -> NDArray[np.float32]:
    log = store.log(encoder.digest)
    return np.where(log.has_photo[:, None], log.embeddings, np.nan).astype(np.float32)


def test_every_photo_gets_its_own_embedding(store: Store) -> None:
    encoder = MeanColour()
    seen: list[tuple[int, int]] = []
    result = embed_missing(store, encoder, on_progress=lambda *counts: seen.append(counts))
    assert (result.embedded, result.failed, result.faults) == (N_PHOTOS, 0, {})
    assert np.array_equal(embeddings(store, encoder), [colour(i) for i in range(N_PHOTOS)])
    assert seen[-1] == (N_PHOTOS, N_PHOTOS)
    assert seen == sorted(seen)


def test_a_second_run_looks_at_nothing(store: Store) -> None:
    embed_missing(store, MeanColour())
    encoder = MeanColour()
    assert embed_missing(store, encoder).embedded == 0
    assert encoder.n_seen == 0


def test_an_interrupted_run_keeps_what_was_done_and_the_next_goes_on(store: Store) -> None:
    def interrupt(n_done: int, n_total: int) -> None:
        if n_done >= 2 * BATCH:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_missing(store, MeanColour(), on_progress=interrupt)
    n_kept = store.summary().n_embeddings
    assert n_kept == 2 * BATCH
    encoder = MeanColour()
    result = embed_missing(store, encoder)
    assert result.embedded == encoder.n_seen == N_PHOTOS - n_kept
    assert np.array_equal(embeddings(store, encoder), [colour(i) for i in range(N_PHOTOS)])


def test_broken_photos_are_recorded_and_the_others_go_on(store: Store, folder: Path) -> None:
    (folder / "03.png").unlink()
    (folder / "20.png").write_bytes((folder / "21.png").read_bytes())
    broken = folder / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n this is no photo")
    empty = folder / "empty.jpg"
    empty.touch()
    store.add_posts([post(broken, 90), post(empty, 91)])
    encoder = MeanColour()
    result = embed_missing(store, encoder)
    assert result.embedded == N_PHOTOS - 2
    assert result.failed == 4
    assert set(result.faults) == {"missing", "changed", "empty", "broken"}
    missing = np.isnan(embeddings(store, encoder)).all(1)
    assert np.flatnonzero(missing).tolist() == [3, 20, N_PHOTOS, N_PHOTOS + 1]
    kinds = {failure.kind: failure for failure in store.failures()}
    assert kinds["missing"].target == str(folder / "03.png")
    assert kinds["changed"].target == str(folder / "20.png")
    assert str(broken) in kinds["broken"].message


def test_a_photo_that_comes_back_is_looked_at(store: Store, folder: Path) -> None:
    away = (folder / "03.png").rename(folder / "away.png")
    assert embed_missing(store, MeanColour()).failed == 1
    away.rename(folder / "03.png")
    assert embed_missing(store, MeanColour()).embedded == 1
    assert store.failures() == []


def test_a_photo_that_vanished_is_found_where_another_post_has_it(
    store: Store, folder: Path
) -> None:
    copy = folder / "zz-copy.png"
    copy.write_bytes((folder / "05.png").read_bytes())
    store.add_posts([post(copy, 95, "copy")])
    (folder / "05.png").unlink()
    result = embed_missing(store, MeanColour())
    assert (result.embedded, result.failed) == (N_PHOTOS, 0)


def test_a_photo_of_two_posts_is_looked_at_once(store: Store, folder: Path) -> None:
    store.add_posts([replace(post(folder / "05.png", 5), post_id="again")])
    encoder = MeanColour()
    assert embed_missing(store, encoder).embedded == encoder.n_seen == N_PHOTOS


def test_embeddings_that_the_store_cannot_hold_are_refused(store: Store, tmp_path: Path) -> None:
    deep = write_mean_colour(tmp_path / "deep.onnx", metadata={"image_std": [1e-9] * 3})
    with pytest.raises(ModelError, match="half precision") as caught:
        embed_missing(store, load_encoder(deep))
    assert caught.value.hint
    assert store.summary().n_embeddings == 0


@pytest.mark.parametrize("how", ["bilinear", "bicubic"])
def test_photos_are_scaled_as_the_encoder_wants(tmp_path: Path, how: images.Interpolation) -> None:
    class First(MeanColour):
        interpolation = how
        width = 32 * 32 * 3

        def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
            return images.reshape(len(images), -1).astype(np.float32)

    noise = np.random.default_rng(0).integers(0, 256, (70, 70, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    kind = getattr(Image.Resampling, how.upper())
    expected = np.asarray(Image.fromarray(noise).resize((32, 32), kind)).reshape(-1)
    with Store.open(tmp_path / "s.sqlite", create=True) as store:
        store.add_posts([post(tmp_path / "noise.png", 0)])
        embed_missing(store, First())
        assert np.array_equal(store.log(First.digest).embeddings[0], expected)
    known = handmade.bundle()
    manifest = replace(known.manifest, encoder_digest=First.digest, encoder_width=First.width)
    reader = PhotoReader(replace(known, manifest=manifest), First())
    assert np.array_equal(reader.look(tmp_path / "noise.png"), expected)
    assert np.array_equal(reader.look_at([tmp_path / "noise.png"])[0], expected)
    reader.close()


def test_photos_looked_at_side_by_side_get_the_same_numbers_as_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    known, encoder = handmade.bundle(), load_encoder()
    manifest = replace(known.manifest, encoder_digest=encoder.digest, encoder_width=encoder.width)
    reader = PhotoReader(replace(known, manifest=manifest), encoder)
    alone = [reader.look(path) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        beside = list(pool.map(reader.look, paths))
    together = reader.look_at(paths)
    reader.close()
    np.testing.assert_allclose(beside, alone, atol=1e-5)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_shipped_encoder_gives_the_same_as_one_by_one(store: Store, folder: Path) -> None:
    encoder = load_encoder()
    embed_missing(store, encoder)
    log = store.log(encoder.digest)
    for i in (0, BATCH, N_PHOTOS - 1):
        alone = encoder.embed(images.decode(folder / f"{i:02d}.png")[None])[0]
        assert np.abs(log.embeddings[i] - alone).max() < 0.01
