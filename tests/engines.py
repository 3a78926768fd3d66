"""Photos of one colour each, an encoder of the mean colour, and a worker to be killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from onnx_file import write_mean_colour
from pixtag import images
from pixtag.encoder import OnnxEncoder, load_encoder
from pixtag.store import Store
from pixtag.types import Photo, Post

N_PHOTOS = 100


def fill(store: Store, folder: Path, n: int = N_PHOTOS) -> None:
    """Posts with a photo each."""
    for i in range(n):
        Image.new("RGB", (40, 30), (2 * i, 255 - 2 * i, i)).save(folder / f"{i:03d}.png")
    store.add_posts(
        Post(f"p{i:03d}", "ana", 1000.0 + i, ("sea",), (Photo(str(path), images.digest(path)),))
        for i, path in enumerate(sorted(folder.glob("*.png")))
    )


def encoder(folder: Path) -> OnnxEncoder:
    return load_encoder(write_mean_colour(folder / "mean.onnx"))


def embeddings(store: Store, digest: str) -> bytes:
    log = store.log(digest)
    assert log.has_photo.all()
    return log.embeddings.tobytes()


class Slow:
    """The same encoder, which begins to hang at its n-th batch, with the marker file made."""

    def __init__(self, inner: OnnxEncoder, marker: Path, n: int) -> None:
        self._inner, self._marker, self._left = inner, marker, n
        self.digest, self.width, self.input_px = inner.digest, inner.width, inner.input_px
        self.interpolation = inner.interpolation

    def embed(self, photos: np.ndarray) -> np.ndarray:
        self._left -= 1
        if self._left < 0:
            self._marker.touch()
            time.sleep(600)
        return self._inner.embed(photos)


def main(address: str, model: str, marker: str) -> None:
    """Embed with others until it is killed."""
    from pixtag.engine.postgres import PostgresEngine
    from pixtag.photos import embed_missing

    with Store.open(address) as store, PostgresEngine(store, "test", lease_s=1.5) as engine:
        slow = Slow(load_encoder(Path(model)), Path(marker), 2)
        embed_missing(store, slow, engine=engine)


if __name__ == "__main__":
    main(*sys.argv[1:])
