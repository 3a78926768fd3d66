"""Photo files: finding them, reading and embedding them, and the tags that lie beside them."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pixtag import images
from pixtag.bundle import Bundle
from pixtag.errors import ImageError, PixtagError
from pixtag.tags import find_hashtags, tidy_tags
from pixtag.types import Floats, Post

if TYPE_CHECKING:
    from pixtag.encoder import Encoder

BATCH = 16
"""Photos that are decoded and embedded together."""

N_DECODERS = 4
"""Photos that are decoded at once, each up to half a gigabyte of pixels."""

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif")
)
"""Endings of the files in a folder that are taken for photos, in lower case."""

_MAX_SIDECAR_BYTES = 65_536
_NUMBERED = re.compile(r"_\d+$")


def photos_under(paths: Iterable[Path]) -> Iterator[Path]:
    """List the photos that some paths stand for.

    Args:
        paths: Files and folders.

    Yields:
        A file as it is, whatever its name; a folder's photos at any depth, sorted by path,
        without hidden ones. A folder that holds none stands for itself, so that whoever reads
        it can say so.
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(_photos_in(path))
        yield from found or [path]


def _photos_in(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(place) / name


def sidecar_tags(photo: Path) -> tuple[str, ...] | None:
    """Read the tags that a text file beside a photo gives.

    `NAME.txt` belongs to `NAME.jpg`; to `NAME_1.jpg`, `NAME_2.jpg`, ... too where those have
    none of their own. Its hashtags count; without any, the comma-separated tags of line 1.

    Args:
        photo: The photo's file.

    Returns:
        Normalised tags; None without such a file, or when its text is no list of tags.
    """
    shared = photo.with_name(_NUMBERED.sub("", photo.stem) + ".txt")
    for path in dict.fromkeys((photo.with_suffix(".txt"), shared)):
        try:
            with path.open("rb") as file:
                text = file.read(_MAX_SIDECAR_BYTES).decode("utf-8-sig", "replace")
        except (OSError, ValueError):
            continue
        tags = tidy_tags(find_hashtags(text)) or _listed(text)
        if tags:
            return tags
    return None


def _listed(text: str) -> tuple[str, ...]:
    line = text.partition("\n")[0].strip()
    # A line of several words without a comma is a sentence, not a tag.
    is_list = "," in line or len(line.split()) == 1
    return tidy_tags(line.split(",")) if is_list else ()


class NoEncoder:
    """Stands in for a model that was trained without photos: reads them and sees nothing."""

    digest, width, input_px = "", 0, 64

    def embed(self, images: images.Pixels) -> Floats:
        """Give embeddings without any width, `[B, 0]`."""
        return np.zeros((len(images), 0), np.float32)


class PhotoReader:
    """Decodes photos on threads of its own, and embeds them; the encoder is loaded when needed.

    Args:
        bundle: The model whose encoder it is.
        encoder: The encoder, where it is loaded already.
    """

    def __init__(self, bundle: Bundle, encoder: Encoder | None) -> None:
        self._bundle = bundle
        self._given = encoder
        self._encoder: Encoder | None = None
        self._loading = threading.Lock()
        self._decoders = ThreadPoolExecutor(N_DECODERS, thread_name_prefix="pixtag-decode")

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
                    self._encoder = self._given
                else:
                    self._encoder = self._bundle.load_encoder()
            return self._encoder

    def look_at(self, photos: Sequence[Path | str | bytes]) -> list[Floats | PixtagError]:
        """Embed photos together: for each its embedding `[D]`, or why there is none."""
        encoder = self._ready()

        def decoded(photo: Path | str | bytes) -> images.Pixels | PixtagError:
            try:
                source = Path(photo) if isinstance(photo, str) else photo
                if isinstance(source, Path) and source.is_dir():
                    raise ImageError(
                        f"no photo in the folder {source}",
                        hint="give a folder with JPEG, PNG, WebP, GIF, BMP, TIFF or HEIC files",
                    )
                return images.decode(source, target_px=encoder.input_px)
            except PixtagError as error:
                return error

        results = list(self._decoders.map(decoded, photos))
        pixels = [p for p in results if not isinstance(p, PixtagError)]
        rows = iter(encoder.embed(np.stack(pixels)) if pixels else ())
        return [p if isinstance(p, PixtagError) else next(rows) for p in results]

    def look_at_posts(self, posts: Sequence[Post]) -> dict[str, Floats]:
        """Embeddings `[D]` of those photos of posts that can be read, by path."""
        paths = list(dict.fromkeys(photo.path for post in posts for photo in post.photos))
        found: dict[str, Floats] = {}
        if not self._bundle.manifest.encoder_width:
            return found
        for start in range(0, len(paths), BATCH):
            batch = paths[start : start + BATCH]
            rows = zip(batch, self.look_at(batch), strict=True)
            found |= {path: row for path, row in rows if not isinstance(row, PixtagError)}
        return found
