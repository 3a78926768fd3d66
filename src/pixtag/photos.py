"""Photo files: finding them, reading and embedding them, and the tags that lie beside them."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pixtag import images
from pixtag.bundle import Bundle
from pixtag.errors import ImageError, PixtagError
from pixtag.tags import find_hashtags, tidy_tags
from pixtag.types import Floats, Photo, Post

if TYPE_CHECKING:
    from pixtag.encoder import Encoder

BATCH = 16  # photos that are decoded and embedded together
N_AT_ONCE = min(4, os.cpu_count() or 1)
"""Photos that are decoded at once, each up to half a gigabyte of pixels, and batches that are
embedded at once: more would only crowd out questions that need neither."""

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif")
)
_MAX_SIDECAR_BYTES = 65_536


def photos_under(paths: Iterable[Path]) -> Iterator[Path]:
    """List the photos that files and folders stand for.

    Yields:
        A file as it is, whatever its name; a folder's photos at any depth, sorted by path,
        without hidden ones. A folder that holds none stands for itself, so that whoever reads
        it can say so.
    """
    for path in paths:
        yield from (sorted(_photos_in(path)) or [path]) if path.is_dir() else [path]


def _photos_in(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found = (Path(place) / name for name in names if not name.startswith("."))
        yield from (path for path in found if path.suffix.lower() in SUFFIXES)


def sidecar_tags(photo: Path) -> tuple[str, ...] | None:
    """Read the normalised tags that a text file beside a photo gives; None without any.

    `NAME.txt` belongs to `NAME.jpg`; to `NAME_1.jpg`, `NAME_2.jpg`, ... too where those have
    none of their own. Its hashtags count; without any, the comma-separated tags of line 1.
    """
    shared = photo.with_name(re.sub(r"_\d+$", "", photo.stem) + ".txt")
    for path in dict.fromkeys((photo.with_suffix(".txt"), shared)):
        with contextlib.suppress(OSError, ValueError), path.open("rb") as file:
            text = file.read(_MAX_SIDECAR_BYTES).decode("utf-8-sig", "replace")
            line = text.partition("\n")[0].strip()
            # A line of several words without a comma is a sentence, not a tag.
            listed = line.split(",") if "," in line or len(line.split()) == 1 else ()
            if tags := tidy_tags(find_hashtags(text)) or tidy_tags(listed):
                return tags
    return None


def digest_of(photo: Path) -> str:
    """Digest of a photo's file; empty when it cannot be read."""
    with contextlib.suppress(ImageError):
        return images.digest(photo)
    return ""


def with_digests(post: Post) -> Post:
    """The post with the digests of those of its photos that can be read."""
    photos = (Photo(p.path, p.digest or digest_of(Path(p.path))) for p in post.photos)
    return replace(post, photos=tuple(photos))


class NoEncoder:
    """Stands in for a model that was trained without photos: reads them and sees nothing."""

    digest, width, input_px = "", 0, 64

    def embed(self, images: images.Pixels) -> Floats:
        """Give embeddings without any width, `[B, 0]`."""
        return np.zeros((len(images), 0), np.float32)


def _decoded(photo: Path | str | bytes, target_px: int) -> images.Pixels:
    source = Path(photo) if isinstance(photo, str) else photo
    if isinstance(source, Path) and source.is_dir():
        raise ImageError(
            f"no photo in the folder {source}",
            hint="give a folder with JPEG, PNG, WebP, GIF, BMP, TIFF or HEIC files",
        )
    return images.decode(source, target_px=target_px)


class PhotoReader:
    """Decodes photos on threads of its own and embeds them by the encoder, loaded when needed."""

    def __init__(self, bundle: Bundle, encoder: Encoder | None) -> None:
        self._bundle, self._given = bundle, encoder
        self._encoder: Encoder | None = None
        self._loading = threading.Lock()
        self._encoding = threading.BoundedSemaphore(N_AT_ONCE)
        self._decoders = ThreadPoolExecutor(N_AT_ONCE, thread_name_prefix="pixtag-decode")

    def close(self) -> None:
        """Finish what is being decoded."""
        self._decoders.shutdown()

    def prepare(self) -> None:
        """Begin to load the encoder while others work."""

        def load() -> None:
            # What is wrong is said when somebody waits for the encoder.
            with contextlib.suppress(PixtagError):
                self._ready()

        threading.Thread(target=load, daemon=True).start()

    def _ready(self) -> Encoder:
        with self._loading:
            if self._encoder is None:
                if not self._bundle.manifest.encoder_width:
                    self._encoder = NoEncoder()
                elif self._given is not None:
                    self._bundle.check_encoder(self._given.digest, self._given.width)
                self._encoder = self._encoder or self._given or self._bundle.load_encoder()
            return self._encoder

    def look_at(self, photos: Sequence[Path | str | bytes]) -> list[Floats | PixtagError]:
        """Embed photos together: for each its embedding `[D]`, or why there is none."""
        encoder = self._ready()

        def decoded(photo: Path | str | bytes) -> images.Pixels | PixtagError:
            try:
                return _decoded(photo, encoder.input_px)
            except PixtagError as error:
                return error

        results = list(self._decoders.map(decoded, photos))
        pixels = [p for p in results if not isinstance(p, PixtagError)]
        with self._encoding:
            rows = iter(encoder.embed(np.stack(pixels)) if pixels else ())
        return [p if isinstance(p, PixtagError) else next(rows) for p in results]

    def begin(self, photo: Path | str | bytes) -> Future[Floats]:
        """Embed a photo on a thread while the caller does something else: its embedding `[D]`."""

        def embedded() -> Floats:
            encoder = self._ready()
            pixels = _decoded(photo, encoder.input_px)
            with self._encoding:
                return encoder.embed(pixels[None])[0]

        return self._decoders.submit(embedded)

    def look_at_posts(self, posts: Sequence[Post]) -> dict[str, Floats]:
        """Embeddings `[D]` of those photos of posts that can be read, by path."""
        paths = list(dict.fromkeys(photo.path for post in posts for photo in post.photos))
        if not self._bundle.manifest.encoder_width:
            return {}
        found: dict[str, Floats] = {}
        for start in range(0, len(paths), BATCH):
            batch = paths[start : start + BATCH]
            rows = zip(batch, self.look_at(batch), strict=True)
            found |= {path: row for path, row in rows if not isinstance(row, PixtagError)}
        return found
