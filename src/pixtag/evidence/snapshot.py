"""Evidence in one file beside its store, so that a start need not read every post again.

What doesn't fit the key or its own checksums counts as absent, and whoever loads it asks the
store for the changes since then.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from pixtag.evidence.memory import Derive, MemoryEvidence
from pixtag.evidence.postings import Postings, Segment
from pixtag.evidence.records import Names
from pixtag.evidence.view import View

FORMAT = 1

_PARTS = tuple(f.name for f in fields(Segment))
_KINDS = {"i8": "I64", "i4": "I32", "f4": "F32", "f2": "F16", "u1": "U8"}
_NAMES = ("tags", "users", "post_ids")


def save_evidence(
    evidence: MemoryEvidence, path: Path, *, key: str, seq: int | str, mode: int = 0o600
) -> bool:
    """Write evidence to a file, which appears at once when it is whole.

    It stands for a store's changes up to `seq` and depends on `key`: the store and the model.
    Nothing is written (False) when rows of retracted or replaced posts remain: their names must
    not outlive them. Names hold no NUL.

    Raises:
        OSError: The file cannot be written.
    """
    view = evidence.view()
    if len(view.tick) != view.n_posts:
        return False
    users = view.people.names[: int(view.user.max(initial=-1)) + 1]
    names = dict(zip(_NAMES, (view.tags[: view.n_tags], users, evidence.post_ids), strict=True))
    arrays: dict[str, NDArray[Any]] = {}
    n_segments: dict[str, int] = {}
    for name, value in ((f.name, getattr(view, f.name)) for f in fields(View)):
        if isinstance(value, np.ndarray):
            arrays[name] = value
        elif isinstance(value, Postings):
            n_segments[name] = len(value.segments)
            for i, segment in enumerate(value.segments):
                arrays |= {f"{name}/{i}/{part}": getattr(segment, part) for part in _PARTS}
    for name, texts in names.items():
        arrays[f"names/{name}"] = np.frombuffer("\0".join(texts).encode(), np.uint8)
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    about = {
        "key": f"{FORMAT} {key}",
        "seq": seq,
        "in_order": view.photos_in_order,
        "segments": n_segments,
        "n": {name: len(texts) for name, texts in names.items()},
        "crc": {name: _checksum(array) for name, array in arrays.items()},
    }
    text = json.dumps(about)
    part = path.with_name(f"{path.name}.new-{os.getpid()}-{threading.get_ident()}")
    try:
        part.touch(0o600)
        _write(arrays, part, {"about": f"{zlib.crc32(text.encode())} {text}"})
        part.chmod(mode)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return True


def _write(arrays: dict[str, NDArray[Any]], path: Path, about: dict[str, str]) -> None:
    """Write a safetensors file array by array: the library's own writer holds all of it twice."""
    header: dict[str, Any] = {"__metadata__": about}
    end = 0
    # The widest numbers first, so that each array is aligned.
    ordered = sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0]))
    for name, array in ordered:
        start, end = end, end + array.nbytes
        shape, kind = list(array.shape), _KINDS[array.dtype.str[1:]]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, array in ordered:
            file.write(array.reshape(-1).view(np.uint8).data)


def load_evidence(
    path: Path, *, key: str, n_fixed: int, derive: Derive
) -> tuple[MemoryEvidence, int | str] | None:
    """Read what `save_evidence` wrote with `n_fixed` tags of a model: evidence and `seq`.

    None when the file is missing, damaged, or of another key.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            crc, _, text = (file.metadata() or {})["about"].partition(" ")
            about = json.loads(text)
            if crc != str(zlib.crc32(text.encode())) or about["key"] != f"{FORMAT} {key}":
                return None
            arrays = {name: file.get_tensor(name) for name in about["crc"]}
        if any(_checksum(array) != about["crc"][name] for name, array in arrays.items()):
            return None
        tags, users, post_ids = (_texts(arrays[f"names/{n}"], about["n"][n]) for n in _NAMES)
        names, people = Names(tags[:n_fixed]), Names()
        names.ids_of(tags[n_fixed:])
        people.ids_of(users)
        parts: dict[str, Any] = {n: array for n, array in arrays.items() if "/" not in n}
        for name, n in about["segments"].items():
            of = ({part: arrays[f"{name}/{i}/{part}"] for part in _PARTS} for i in range(n))
            parts[name] = Postings(tuple(Segment(**segment) for segment in of))
        in_order = bool(about["in_order"])
        view = View(names, people, len(tags), photos_in_order=in_order, **parts)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None
    return MemoryEvidence.restored(view, post_ids, derive), about["seq"]


def _checksum(array: NDArray[Any]) -> int:
    return zlib.crc32(array.reshape(-1).view(np.uint8).data)


def _texts(array: NDArray[Any], n: int) -> list[str]:
    texts = array.tobytes().decode().split("\0") if n else []
    if len(texts) != n:
        raise ValueError("names were lost")
    return texts
