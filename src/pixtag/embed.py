"""Embedding the photos of a store that have no embedding by an encoder yet."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pixtag import images
from pixtag.encoder import Encoder, OnnxEncoder, n_processors
from pixtag.errors import ImageError, ModelError
from pixtag.store import Store
from pixtag.types import Halfs, Photo

BATCH_PHOTOS = 16
"""Photos that are embedded, kept and lost together."""

_WAITING_PER_WORKER = 2

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """What became of photos without an embedding: how many have one, how many failed of each fault.

    The store lists those that failed; `faults` counts each `images.Fault`, most first.
    """

    embedded: int
    failed: int
    faults: dict[str, int]


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
    """
    store.clear_failures()
    missing = store.missing_photos(encoder.digest)
    n_total, n_workers = len(missing), n_processors()
    if isinstance(encoder, OnnxEncoder) and n_total > BATCH_PHOTOS:
        encoder = encoder.with_threads(1)
    embedded = 0
    failed: dict[str, str] = {}
    # A photo that lies in several places is tried in the next one when it fails in the first.
    while missing:
        for batch in _in_batches(missing, encoder, n_workers):
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


def _in_batches(photos: list[Photo], encoder: Encoder, n_workers: int) -> Iterator[_Batch]:
    """Embed photos in batches, several at once; results come in order, as they are ready."""
    with ThreadPoolExecutor(n_workers, thread_name_prefix="embed") as workers:
        waiting: deque[Future[_Batch]] = deque()
        try:
            for start in range(0, len(photos), BATCH_PHOTOS):
                batch = photos[start : start + BATCH_PHOTOS]
                waiting.append(workers.submit(_embedded, batch, encoder))
                if len(waiting) >= n_workers * _WAITING_PER_WORKER:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # On Ctrl-C nobody needs what has not begun.
            workers.shutdown(wait=True, cancel_futures=True)


def _embedded(photos: list[Photo], encoder: Encoder) -> _Batch:
    side = encoder.input_px
    pixels = np.empty((len(photos), side, side, 3), np.uint8)
    batch = _Batch([], np.empty((0, encoder.width), np.float16), [])
    for photo in photos:
        try:
            pixels[len(batch.digests)] = _pixels(photo, side)
        except ImageError as error:
            batch.failures.append((photo, error))
        else:
            batch.digests.append(photo.digest)
    with np.errstate(over="ignore"):
        embeddings = encoder.embed(pixels[: len(batch.digests)]).astype(np.float16)
    if not np.isfinite(embeddings).all():
        raise ModelError(
            f"the encoder {encoder.digest[:12]} gives embeddings beyond half precision",
            hint="scale its output `embedding` to at most 65,504",
        )
    return replace(batch, embeddings=embeddings)


def _pixels(photo: Photo, side_px: int) -> images.Pixels:
    data = images.read(Path(photo.path))
    # An embedding is kept under the digest, so it must be of these very bytes.
    if hashlib.sha256(data).hexdigest() != photo.digest:
        raise images.changed(photo.path)
    return images.decode(data, target_px=side_px, name=photo.path)


def _target(photo: Photo, error: ImageError) -> str:
    """Name what failed: the file where it is out of reach, or the photo wherever it lies."""
    out_of_reach = {images.Fault.MISSING, images.Fault.UNREADABLE, images.Fault.CHANGED}
    return photo.path if error.fault in out_of_reach else photo.digest
