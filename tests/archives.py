"""Real small photos, and archives as people have them, made by code."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pixtag.ingest import ImportReport, find_sources, import_posts
from pixtag.store import Store


def jpeg(seed: int, *, image_format: str = "JPEG") -> bytes:
    """A small photo, different for every seed."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (6, 8, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).resize((64, 48)).save(out, image_format)
    return out.getvalue()


MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 100


def write_tree(root: Path, files: dict[str, bytes | str | Any]) -> Path:
    """Write files by name; values that are not bytes or text become JSON."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_bytes(content))
    return root


def write_zip(path: Path, files: dict[str, bytes | str | Any]) -> Path:
    """The same in a zip."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, as_bytes(content))
    return path


def as_bytes(content: object) -> bytes:
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode()
    return json.dumps(content).encode()


class Importer:
    """Imports into one store and looks at what came of it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, *paths: Path, kind: str | None = None, **options: Any) -> ImportReport:
        with Store.open(self.path, create=True) as store:
            return import_posts(find_sources(paths, kind), store, **options)

    @property
    def posts(self):
        with Store.open(self.path) as store:
            return list(store.posts())

    @property
    def tags(self) -> list[tuple[str, ...]]:
        return [post.tags for post in self.posts]
