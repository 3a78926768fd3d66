"""The photos of a store: embedding those that have no embedding yet, and checking all of them."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pixtag import images
from pixtag.encoder import Encoder, OnnxEncoder, n_processors
from pixtag.errors import ImageError, ModelError, StoreError
from pixtag.store import Store
from pixtag.store.schema import connect
from pixtag.types import Halfs, Photo

BATCH_PHOTOS = 16
"""Photos that are embedded, kept and lost together."""

_WAITING_PER_WORKER = 2
_OUT_OF_REACH = {images.Fault.MISSING, images.Fault.UNREADABLE, images.Fault.CHANGED}

OnProgress = Callable[[int, int], None]

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """How many photos got an embedding and how many failed, in all and of each `images.Fault`."""

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


def embed_missing(
    store: Store, encoder: Encoder, *, on_progress: OnProgress | None = None
) -> EmbedResult:
    """Embed the photos of a store that have no embedding by this encoder.

    Every batch is kept as soon as it is done, so an interrupted run loses little and the next one
    goes on. A photo that vanished, changed or is broken is recorded as a failure and tried again
    by the next run. Each worker encodes a batch on one processor: two batches with a thread each
    are faster than one with two. `on_progress` gets photos done (failed ones too) and in all.

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
        for _, done in _in_parallel(partial(_embedded, encoder=encoder), batches):
            digests, embeddings, failures = done
            if digests:
                store.put_embeddings(encoder.digest, digests, embeddings)
            for photo, error in failures:
                # The file where it is out of reach, else the photo wherever it lies.
                target = photo.path if error.fault in _OUT_OF_REACH else photo.digest
                store.record_failure(target, error.fault, error.message)
                failed[photo.digest] = error.fault
            for digest in digests:
                failed.pop(digest, None)
            embedded += len(digests)
            if on_progress is not None:
                on_progress(embedded + len(failed), n_total)
        missing = store.missing_photos(encoder.digest)
    return EmbedResult(embedded, len(failed), dict(Counter(failed.values()).most_common()))


def check_photos(photos: Iterable[Path], *, on_progress: OnProgress | None = None) -> list[Problem]:
    """Decode photos and list those that cannot be; progress is photos done and photos in all."""
    checked = _in_parallel(images.check, list(photos), on_progress)
    return [
        Problem(str(path), str(error.fault), error.message, error.hint)
        for path, error in checked
        if error is not None
    ]


def check_store(
    store: Store, encoder_digest: str, *, on_progress: OnProgress | None = None
) -> list[Problem]:
    """Check a store: its file, that its photos are there and unchanged, an encoder's embeddings.

    Returns:
        Damage of the file alone; else photos in order of their posts, then what lacks an embedding
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
            problems.append(Problem(photo.path, str(error.fault), error.message, error.hint))
        elif failure is not None:
            hint = "copy the photo again from where it came from, then import its posts again"
            problems.append(Problem(photo.path, failure.kind, failure.message, hint))
        else:
            in_order.add(photo.digest)
    hint = "run `pixtag import` on the same posts again, with the same --encoder if one was given"
    unseen = [one.path for one in store.missing_photos(encoder_digest) if one.digest in in_order]
    why = "{} has not been looked at yet"
    return problems + [Problem(path, "no embedding", why.format(path), hint) for path in unseen]


def _embedded(
    photos: list[Photo], encoder: Encoder
) -> tuple[list[str], Halfs, list[tuple[Photo, ImageError]]]:
    """Give the digests of those that can be read, their embeddings `[M, D]`, and the others."""
    side = encoder.input_px
    pixels = np.empty((len(photos), side, side, 3), np.uint8)
    digests: list[str] = []
    failures: list[tuple[Photo, ImageError]] = []
    for photo in photos:
        try:
            data = images.read(Path(photo.path))
            # An embedding is kept under the digest, so it must be of these very bytes.
            if hashlib.sha256(data).hexdigest() != photo.digest:
                raise images.changed(photo.path)
            pixels[len(digests)] = images.decode(data, target_px=side, name=photo.path)
            digests.append(photo.digest)
        except ImageError as error:
            failures.append((photo, error))
    with np.errstate(over="ignore"):
        embeddings = encoder.embed(pixels[: len(digests)]).astype(np.float16)
    if not np.isfinite(embeddings).all():
        raise ModelError(
            f"the encoder {encoder.digest[:12]} gives embeddings beyond half precision",
            hint="scale its output `embedding` to at most 65,504",
        )
    return digests, embeddings, failures


def _difference(photo: Photo) -> ImageError | None:
    """Compare a file with what was imported."""
    try:
        digest = images.digest(Path(photo.path))
    except ImageError as error:
        return error
    if digest == photo.digest:
        return None
    if photo.digest:
        return images.changed(photo.path)
    return images.changed(photo.path, "could not be read when it was imported, but can be now")


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
        with closing(connect(path, create=False, read_only=True, busy_timeout_s=5)) as db:
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
