"""The photos of a store: embedding those that have no embedding yet, and checking all of them."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np

from pixtag import images
from pixtag.encoder import Encoder, OnnxEncoder, n_processors
from pixtag.errors import ImageError, ModelError, StoreError
from pixtag.store import Store
from pixtag.types import Halfs, Photo

BATCH_PHOTOS = 16
"""Photos that are embedded, kept and lost together."""

_WAITING_PER_WORKER = 2

OnProgress = Callable[[int, int], None]

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """What became of photos without an embedding: how many have one, how many failed of each fault.

    The store lists those that failed; `faults` counts each `images.Fault`, most first.
    """

    embedded: int
    failed: int
    faults: dict[str, int]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: the path, an `images.Fault` or `damaged` or `no embedding`, why."""

    target: str
    fault: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class _Batch:
    """Photos that could be read, their embeddings `[M, D]`, and those that could not be read."""

    digests: list[str]
    embeddings: Halfs
    failures: list[tuple[Photo, ImageError]]


def embed_missing(
    store: Store, encoder: Encoder, *, on_progress: OnProgress | None = None
) -> EmbedResult:
    """Embed the photos of a store that have no embedding by this encoder.

    Every batch is kept as soon as it is done, so an interrupted run loses little and the next one
    goes on. A photo that vanished, changed or is broken is recorded as a failure and the others go
    on; every run tries again what failed before. Each worker reads, decodes and encodes a batch on
    one processor: two batches with a thread each are faster than one with two.

    Args:
        store: Open for writing.
        encoder: Whose embeddings are wanted.
        on_progress: Called with photos done (failed ones too) and photos in all.

    Raises:
        StoreError: The store cannot be written to.
        ModelError: The encoder's embeddings do not fit half precision.
    """
    store.clear_failures()
    missing = store.missing_photos(encoder.digest)
    n_total = len(missing)
    if isinstance(encoder, OnnxEncoder) and n_total > BATCH_PHOTOS:
        encoder = encoder.with_threads(1)
    embedded = 0
    failed: dict[str, str] = {}
    # A photo that lies in several places is tried in the next one when it fails in the first.
    while missing:
        starts = range(0, len(missing), BATCH_PHOTOS)
        batches = [missing[start : start + BATCH_PHOTOS] for start in starts]
        for _, batch in _in_parallel(partial(_embedded, encoder=encoder), batches):
            if batch.digests:
                store.put_embeddings(encoder.digest, batch.digests, batch.embeddings)
            for photo, error in batch.failures:
                store.record_failure(_target(photo, error), error.fault, error.message)
                failed[photo.digest] = error.fault
            for digest in batch.digests:
                failed.pop(digest, None)
            embedded += len(batch.digests)
            if on_progress is not None:
                on_progress(embedded + len(failed), n_total)
        missing = store.missing_photos(encoder.digest)
    faults = dict(Counter(failed.values()).most_common())
    return EmbedResult(embedded=embedded, failed=len(failed), faults=faults)


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
    hint = "run `pixtag import` on the same posts again, with the same --encoder if one was given"
    problems.extend(
        Problem(photo.path, "no embedding", f"{photo.path} has not been looked at yet", hint)
        for photo in store.missing_photos(encoder_digest)
        if photo.digest in in_order
    )
    return problems


def _embedded(photos: list[Photo], encoder: Encoder) -> _Batch:
    side = encoder.input_px
    pixels = np.empty((len(photos), side, side, 3), np.uint8)
    batch = _Batch([], np.empty((0, encoder.width), np.float16), [])
    for photo in photos:
        try:
            data = images.read(Path(photo.path))
            # An embedding is kept under the digest, so it must be of these very bytes.
            if hashlib.sha256(data).hexdigest() != photo.digest:
                raise images.changed(photo.path)
            decoded = images.decode(data, target_px=side, name=photo.path)
        except ImageError as error:
            batch.failures.append((photo, error))
        else:
            pixels[len(batch.digests)] = decoded
            batch.digests.append(photo.digest)
    with np.errstate(over="ignore"):
        embeddings = encoder.embed(pixels[: len(batch.digests)]).astype(np.float16)
    if not np.isfinite(embeddings).all():
        raise ModelError(
            f"the encoder {encoder.digest[:12]} gives embeddings beyond half precision",
            hint="scale its output `embedding` to at most 65,504",
        )
    return replace(batch, embeddings=embeddings)


def _target(photo: Photo, error: ImageError) -> str:
    """Name what failed: the file where it is out of reach, or the photo wherever it lies."""
    out_of_reach = {images.Fault.MISSING, images.Fault.UNREADABLE, images.Fault.CHANGED}
    return photo.path if error.fault in out_of_reach else photo.digest


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


def _in_parallel(
    function: Callable[[Item], Result], items: list[Item], on_progress: OnProgress | None = None
) -> Iterator[tuple[Item, Result]]:
    """Apply a function on all processors; results come in order, as they are ready."""
    n_ahead = n_processors() * _WAITING_PER_WORKER
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(n_processors(), thread_name_prefix="photos") as workers:
        try:
            for place, item in enumerate(items):
                coming = items[place + len(waiting) : place + n_ahead]
                waiting.extend(workers.submit(function, one) for one in coming)
                yield item, waiting.popleft().result()
                if on_progress is not None:
                    on_progress(place + 1, len(items))
        finally:
            # On Ctrl-C nobody needs what has not begun.
            workers.shutdown(wait=True, cancel_futures=True)


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
                f"{path} cannot be checked: {error}", hint="close what else uses it, then try again"
            ) from error
        found.append(f"SQLite reports: {error}")
    return [Problem(str(path), "damaged", f"{path} is damaged: {what}", hint) for what in found]


def _connected(path: Path) -> sqlite3.Connection:
    log = path.with_name(path.name + "-wal")
    # On a read-only disk SQLite could not make the index that a log needs.
    is_frozen = not log.exists() and not os.access(path.parent, os.W_OK)
    mode = "ro&immutable=1" if is_frozen else "ro"
    return sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode={mode}", uri=True)
