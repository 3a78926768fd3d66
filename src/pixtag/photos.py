"""Finding photos under paths, and the tags that lie beside them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pixtag.tags import find_hashtags, tidy_tags

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
