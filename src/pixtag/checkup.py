"""What is wrong with a folder of photos or with a store."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from pixtag import images
from pixtag.encoder import n_processors
from pixtag.errors import ImageError, StoreError
from pixtag.store import Store
from pixtag.types import Photo

OnProgress = Callable[[int, int], None]

_CHUNK = 256

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: the path, an `images.Fault` or `damaged` or `no embedding`, why."""

    target: str
    fault: str
    message: str
    hint: str


def check_photos(photos: Iterable[Path], *, on_progress: OnProgress | None = None) -> list[Problem]:
    """Decode photos and list those that cannot be; progress is photos done and photos in all."""
    checked = _in_parallel(images.check, list(photos), on_progress)
    return [_problem(str(path), error) for path, error in checked if error is not None]


def check_store(
    store: Store, encoder_digest: str, *, on_progress: OnProgress | None = None
) -> list[Problem]:
    """Check a store: its file, that its photos are there and unchanged, its embeddings.

    Args:
        store: Open; nothing is written.
        encoder_digest: Whose embeddings every photo should have.
        on_progress: Called with photos done and photos in all.

    Returns:
        Damage of the file first, then photos in order of their posts, then what lacks an embedding
        although its photo is in order.
    """
    problems = _damage(store.path)
    if problems:
        return problems  # what a damaged file says about photos cannot be trusted
    photos = list(dict.fromkeys(photo for post in store.posts() for photo in post.photos))
    known = {failure.target: failure for failure in store.failures()}
    in_order: set[str] = set()
    for photo, error in _in_parallel(_difference, photos, on_progress):
        failure = known.get(photo.digest)
        if error is not None:
            problems.append(_problem(photo.path, error))
        elif failure is not None:
            hint = "copy the photo again from where it came from, then import its posts again"
            problems.append(Problem(photo.path, failure.kind, failure.message, hint))
        else:
            in_order.add(photo.digest)
    hint = "run `pixtag import` on the same posts again"
    problems.extend(
        Problem(photo.path, "no embedding", f"{photo.path} has not been looked at yet", hint)
        for photo in store.missing_photos(encoder_digest)
        if photo.digest in in_order
    )
    return problems


def _problem(target: str, error: ImageError) -> Problem:
    return Problem(target, str(error.fault), error.message, error.hint)


def _difference(photo: Photo) -> ImageError | None:
    """Compare a file with what was imported."""
    try:
        digest = images.digest(Path(photo.path))
    except ImageError as error:
        return error
    if digest == photo.digest:
        return None
    unread = "could not be read when it was imported, but can be now"
    return images.changed(photo.path) if photo.digest else images.changed(photo.path, unread)


def _damage(path: Path) -> list[Problem]:
    """Let SQLite check every page of the file, and check what it cannot know."""
    hint = "restore it from a backup, or move it away and import again"
    queries = (
        ("PRAGMA integrity_check(20)", "SQLite reports: {0}"),
        ("PRAGMA foreign_key_check", "table {0}, row {1} points to nothing in {2}"),
        (
            "SELECT embeddings.digest FROM embeddings JOIN encoders ON encoders.id = encoder "
            "WHERE length(vector) != 2 * width LIMIT 20",
            "the embedding of photo {0} has the wrong length",
        ),
    )
    found: list[str] = []
    try:
        with closing(_connected(path)) as db:
            for query, sentence in queries:
                rows: list[tuple[Any, ...]] = db.execute(query).fetchall()
                found += [sentence.format(*row) for row in rows if row != ("ok",)]
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
            raise StoreError(
                f"{path} cannot be checked: {error}",
                hint="close what else uses it, then try again",
            ) from error
        found.append(f"SQLite reports: {error}")
    return [Problem(str(path), "damaged", f"{path} is damaged: {what}", hint) for what in found]


def _connected(path: Path) -> sqlite3.Connection:
    log = path.with_name(path.name + "-wal")
    # On a read-only disk SQLite could not make the index that a log needs.
    is_frozen = not log.exists() and not os.access(path.parent, os.W_OK)
    mode = "ro&immutable=1" if is_frozen else "ro"
    return sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode={mode}", uri=True)


def _in_parallel(
    function: Callable[[Item], Result], items: list[Item], on_progress: OnProgress | None
) -> Iterator[tuple[Item, Result]]:
    """Apply a function on all processors, in order, a chunk at a time so that Ctrl-C is quick."""
    with ThreadPoolExecutor(n_processors()) as workers:
        for start in range(0, len(items), _CHUNK):
            chunk = items[start : start + _CHUNK]
            for done, pair in enumerate(zip(chunk, workers.map(function, chunk), strict=True), 1):
                yield pair
                if on_progress is not None:
                    on_progress(start + done, len(items))
