"""Looking at the photos of a store that no embedding is known of yet."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pixtag import images
from pixtag.encoder import Encoder, OnnxEncoder, n_processors
from pixtag.errors import ImageError
from pixtag.store import Store
from pixtag.types import Halfs, Photo

BATCH_PHOTOS = 16
"""Photos that are looked at, kept and lost together."""

_WAITING_PER_WORKER = 2

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """What became of the photos without an embedding.

    Attributes:
        embedded: Photos that have one now.
        failed: Photos that could not be read; the store lists them as failures.
        faults: How many photos failed of each `images.Fault`, most first.
    """

    embedded: int
    failed: int
    faults: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Photos that were looked at, and those that could not be.

    Shapes:
        M: photos that could be read. D: embedding width.
    """

    digests: list[str]
    embeddings: Halfs
    failures: list[tuple[Photo, ImageError]]


def embed_missing(
    store: Store, encoder: Encoder, *, on_progress: OnProgress | None = None
) -> EmbedResult:
    """Embed the photos of a store that have no embedding by this encoder.

    Every batch is kept as soon as it is done, so an interrupted run loses little and the next one
    goes on. A photo that vanished, changed or is broken is recorded as a failure and the others go
    on; every run tries again what failed before.

    Each worker reads, decodes and encodes a batch on one processor: nobody waits for anybody, and
    the encoder works better with one thread on each of two batches than with two on one.

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
        for batch in _looked_at(missing, encoder, n_workers):
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


def _looked_at(photos: list[Photo], encoder: Encoder, n_workers: int) -> Iterator[_Batch]:
    """Look at photos in batches, several at once; results come in order, as they are ready."""
    with ThreadPoolExecutor(n_workers, thread_name_prefix="look") as workers:
        waiting: deque[Future[_Batch]] = deque()
        try:
            for start in range(0, len(photos), BATCH_PHOTOS):
                batch = photos[start : start + BATCH_PHOTOS]
                waiting.append(workers.submit(_look, batch, encoder))
                if len(waiting) >= n_workers * _WAITING_PER_WORKER:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # On Ctrl-C nobody needs what has not begun.
            workers.shutdown(wait=True, cancel_futures=True)


def _look(photos: list[Photo], encoder: Encoder) -> _Batch:
    side = encoder.input_px
    pixels = np.empty((len(photos), side, side, 3), np.uint8)
    digests: list[str] = []
    failures: list[tuple[Photo, ImageError]] = []
    for photo in photos:
        try:
            pixels[len(digests)] = _pixels(photo, side)
        except ImageError as error:
            failures.append((photo, error))
        else:
            digests.append(photo.digest)
    embeddings = encoder.embed(pixels[: len(digests)]).astype(np.float16)
    return _Batch(digests, embeddings, failures)


def _pixels(photo: Photo, side_px: int) -> images.Pixels:
    data = images.read(Path(photo.path))
    # An embedding is kept under the digest, so it must be of these very bytes.
    if hashlib.sha256(data).hexdigest() != photo.digest:
        raise ImageError(
            f"{photo.path} has changed since it was imported",
            hint="import its posts again",
            fault=images.Fault.CHANGED,
        )
    return images.decode(data, target_px=side_px, name=photo.path)


def _target(photo: Photo, error: ImageError) -> str:
    """Name what failed: the file where it is out of reach, or the photo wherever it lies."""
    out_of_reach = {images.Fault.MISSING, images.Fault.UNREADABLE, images.Fault.CHANGED}
    return photo.path if error.fault in out_of_reach else photo.digest
