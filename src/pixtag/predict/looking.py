"""From photo files to embeddings, and to the posts that show them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING

import numpy as np

from pixtag import images
from pixtag.errors import ImageError, PixtagError
from pixtag.types import Floats, Post

if TYPE_CHECKING:
    from pixtag.encoder import Encoder
    from pixtag.store import Store

_N_READERS = 2


class NoEncoder:
    """Stands in for a bundle that was trained without photos: reads them and sees nothing."""

    digest, width, input_px = "", 0, 64

    def embed(self, images: images.Pixels) -> Floats:
        """Give embeddings without any width, `[B, 0]`."""
        return np.zeros((len(images), 0), np.float32)


class Looker:
    """Reads photos and embeds them; the encoder is loaded when the first photo comes.

    Args:
        load: Gives the encoder.
    """

    def __init__(self, load: Callable[[], Encoder]) -> None:
        self._load = load
        self._lock = Lock()
        self._encoder: Encoder | None = None

    @property
    def encoder(self) -> Encoder:
        """The encoder."""
        with self._lock:
            if self._encoder is None:
                self._encoder = self._load()
            return self._encoder

    def prepare(self) -> None:
        """Begin to load the encoder while others work."""
        Thread(target=self._load_quietly, daemon=True).start()

    def _load_quietly(self) -> None:
        # What is wrong is said when somebody waits for the encoder.
        with contextlib.suppress(PixtagError):
            _ = self.encoder

    def look(self, photo: Path | str | bytes) -> Floats:
        """Embed one photo, `[D]`.

        Raises:
            ImageError: It cannot be read.
        """
        encoder = self.encoder
        return encoder.embed(self._pixels(photo)[None])[0]

    def look_at(self, photos: Sequence[Path]) -> list[Floats | PixtagError]:
        """Embed several photos together.

        Returns:
            For each its embedding `[D]`, or why there is none.
        """
        encoder = self.encoder
        if len(photos) == 1:
            decoded = [self._decoded(photos[0])]
        else:
            with ThreadPoolExecutor(_N_READERS) as readers:
                decoded = list(readers.map(self._decoded, photos))
        pixels = [p for p in decoded if not isinstance(p, PixtagError)]
        rows = iter(encoder.embed(np.stack(pixels)) if pixels else ())
        return [p if isinstance(p, PixtagError) else next(rows) for p in decoded]

    def readable(self, photos: Iterable[Path]) -> list[Floats]:
        """Embed those photos that can be read, `[D]` each."""
        paths = list(photos)
        rows = self.look_at(paths) if paths else []
        return [row for row in rows if not isinstance(row, PixtagError)]

    def _decoded(self, photo: Path) -> images.Pixels | PixtagError:
        try:
            if photo.is_dir():
                raise ImageError(
                    f"no photo in the folder {photo}",
                    hint="give a folder with JPEG, PNG, WebP, GIF, BMP, TIFF or HEIC files",
                )
            return self._pixels(photo)
        except PixtagError as error:
            return error

    def _pixels(self, photo: Path | str | bytes) -> images.Pixels:
        source = Path(photo) if isinstance(photo, str) else photo
        return images.decode(source, target_px=self.encoder.input_px)


def known_posts(store: Store, photos: Iterable[Path]) -> dict[Path, Post]:
    """Find the posts of a store that show some photos, by the content of the files.

    Returns:
        The latest post of each photo that has one; unreadable photos have none.
    """
    found: dict[Path, Post] = {}
    for photo in photos:
        try:
            digest = images.digest(photo)
        except ImageError:
            continue
        post = store.find_post_by_digest(digest)
        if post is not None:
            found[photo] = post
    return found
