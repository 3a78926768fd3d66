"""Photo files: finding them, their sidecar tags, and embedding those of a question or a store."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar

import numpy as np

from pixtag import images
from pixtag.bundle import Bundle
from pixtag.encoder import Encoder, OnnxEncoder, n_processors
from pixtag.engine import LOCAL, Arrays, Engine, Shard, in_order
from pixtag.errors import ArchiveError, ImageError, ModelError, PixtagError
from pixtag.formats import PHOTO_NAMES, PHOTO_SUFFIXES
from pixtag.store import Store
from pixtag.tags import find_hashtags, tidy_tags
from pixtag.types import Floats, Photo, Post

BATCH = 16  # photos that are decoded and embedded, and in a store kept and lost, together
N_AT_ONCE = min(4, os.cpu_count() or 1)
"""Photos that are decoded at once, each up to half a gigabyte of pixels, and batches that are
embedded at once: more would only crowd out questions that need neither."""

_MAX_SIDECAR_BYTES = 65_536
NOT_KEPT = "not-kept://"  # begins the path of a photo that was looked at and left out on purpose
_OUT_OF_REACH = {images.Fault.MISSING, images.Fault.UNREADABLE, images.Fault.CHANGED}

OnProgress = Callable[[int, int], None]
Item = TypeVar("Item")
Result = TypeVar("Result")


def photos_under(paths: Iterable[Path]) -> Iterator[Path]:
    """List the photos of files and folders: a file is one, whatever its name.

    A folder's are found at any depth, sorted by path, without hidden ones. One that holds none
    stands for itself, so that whoever reads it can say so.
    """
    for path in paths:
        yield from (sorted(_photos_in(path)) or [path]) if path.is_dir() else [path]


def _photos_in(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found = (Path(place) / name for name in names if not name.startswith("."))
        yield from (path for path in found if path.suffix.lower() in PHOTO_SUFFIXES)


def sidecar_tags(photo: Path) -> tuple[str, ...] | None:
    """Read the normalised tags that a text file beside a photo gives; None without any.

    `NAME.txt` belongs to `NAME.jpg`; to `NAME_1.jpg`, `NAME_2.jpg`, ... too where those have
    none of their own. Its hashtags count; without any, the comma-separated tags of line 1.
    """
    shared = photo.with_name(re.sub(r"_\d+$", "", photo.stem) + ".txt")
    for path in dict.fromkeys((photo.with_suffix(".txt"), shared)):
        with contextlib.suppress(OSError, ValueError, ArchiveError), path.open("rb") as file:
            from pixtag.ingest import library  # few photos have such a file
            from pixtag.ingest.files import text_of

            text, written = library.split_line(text_of(file.read(_MAX_SIDECAR_BYTES), path))
            line = text.partition("\n")[0].strip()
            # A line of several words without a comma is a sentence, not a tag.
            listed = line.split(",") if "," in line or len(line.split()) == 1 else ()
            if tags := tidy_tags(find_hashtags(text)) or tidy_tags(listed):
                own = tuple(library.without(tags, written))
                return own or None
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
    interpolation: images.Interpolation = "bilinear"

    def embed(self, images: images.Pixels) -> Floats:
        """Give embeddings without any width, `[B, 0]`."""
        return np.zeros((len(images), 0), np.float32)


def _decoded(photo: Path | str | bytes, encoder: Encoder) -> images.Pixels:
    source = Path(photo) if isinstance(photo, str) else photo
    if isinstance(source, Path) and source.is_dir():
        raise ImageError(
            f"no photo in the folder {source}", hint=f"give a folder with {PHOTO_NAMES} files"
        )
    side, how = encoder.input_px, encoder.interpolation
    return images.decode(source, target_px=side, interpolation=how)


class PhotoReader:
    """Decodes and embeds photos, a few at once, by the encoder, loaded when needed.

    A photo alone is embedded on all processors; several at once share them, a few threads each,
    which costs less than all processors for one after the other or for a batch. The numbers are
    the same.
    """

    def __init__(self, bundle: Bundle, encoder: Encoder | None) -> None:
        self._bundle, self._given = bundle, encoder
        self._encoder: Encoder | None = None
        self._sharing: Encoder | None = None  # the same with fewer threads
        self._loading, self._counting, self._n_busy = threading.Lock(), threading.Lock(), 0
        self._room = threading.BoundedSemaphore(N_AT_ONCE)
        self._threads = ThreadPoolExecutor(N_AT_ONCE, thread_name_prefix="pixtag-look")

    def close(self) -> None:
        """Finish what is being loaded or looked at."""
        self._threads.shutdown()

    def prepare(self) -> None:
        """Begin to load the encoder; what is wrong is said when somebody waits for it."""
        self._threads.submit(self.ready)

    def ready(self) -> Encoder:
        """The encoder, when it is loaded; `NoEncoder` for a model without photos."""
        with self._loading:
            if self._encoder is None:
                if not self._bundle.manifest.encoder_width:
                    self._encoder = NoEncoder()
                elif self._given is not None:
                    self._bundle.check_encoder(self._given.digest, self._given.width)
                self._encoder = self._encoder or self._given or self._bundle.load_encoder()
            return self._encoder

    def look_at(self, photos: Sequence[Path | str | bytes]) -> list[Floats | PixtagError]:
        """Embed photos: for each its embedding `[D]`, or why there is none."""
        self.ready()

        def looked(photo: Path | str | bytes) -> Floats | PixtagError:
            try:
                return self.look(photo)
            except PixtagError as error:
                return error

        return list((map if len(photos) == 1 else self._threads.map)(looked, photos))

    def look(self, photo: Path | str | bytes) -> Floats:
        """Embed a photo, `[D]`, on the caller's own thread: to wait for another costs 2 ms."""
        encoder = self.ready()
        with self._room:
            with self._counting:
                self._n_busy += 1
            try:
                pixels = _decoded(photo, encoder)
                return (self._shared() if self._n_busy > 1 else encoder).embed(pixels[None])[0]
            finally:
                with self._counting:
                    self._n_busy -= 1

    def _shared(self) -> Encoder:
        """The encoder for several calls at once."""
        encoder = self.ready()
        with self._loading:
            if self._sharing is None:
                is_ours = isinstance(encoder, OnnxEncoder)
                n_threads = max(1, n_processors() // N_AT_ONCE)
                self._sharing = encoder.with_threads(n_threads) if is_ours else encoder
            return self._sharing

    def look_at_posts(self, posts: Sequence[Post]) -> dict[str, Floats]:
        """Embeddings `[D]` of those photos of posts that can be read, by path."""
        paths = list(dict.fromkeys(photo.path for post in posts for photo in post.photos))
        found: dict[str, Floats] = {}
        for batch in _batches(paths) if self._bundle.manifest.encoder_width else ():
            rows = zip(batch, self.look_at(batch), strict=True)
            found |= {path: row for path, row in rows if not isinstance(row, PixtagError)}
        return found


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
    store: Store, encoder: Encoder, *, engine: Engine = LOCAL, on_progress: OnProgress | None = None
) -> EmbedResult:
    """Embed the photos of a store that have no embedding by this encoder, batch by batch.

    A finished batch is kept: an interrupted run loses little and the next one goes on. A photo
    that vanished, changed or is broken is recorded as a failure and tried again by the next run.
    Each worker encodes a batch on one processor: two batches with a thread each are faster than
    one with two. `on_progress` gets photos done (failed ones too) and in all. StoreError: the
    store cannot be written to. ModelError: the embeddings do not fit half precision.
    """
    store.clear_failures()
    missing = store.missing_photos(encoder.digest)
    n_total = len(missing)
    if isinstance(encoder, OnnxEncoder) and n_total > BATCH:
        encoder = encoder.with_threads(1)
    embedded = 0
    failed: dict[str, str] = {}

    def keep(shard: Shard, found: Arrays) -> Arrays:
        store.put_embeddings(encoder.digest, found["digests"].tolist(), found.pop("embeddings"))
        for _, fault, target, message in found["failures"].tolist():
            store.record_failure(target, fault, message)
        return found

    # A photo that lies in several places is tried in the next one when it fails in the first.
    for turn in count():
        if not missing:
            break
        shards = [[[one.path, one.digest] for one in batch] for batch in _batches(missing)]
        key = partial("photos, turn {}".format, turn)
        for found in engine.map(partial(_embedded, encoder=encoder), shards, key=key, keep=keep):
            digests: list[str] = found["digests"].tolist()
            failed |= {digest: fault for digest, fault, _, _ in found["failures"].tolist()}
            for digest in digests:
                failed.pop(digest, None)
            embedded += len(digests)
            if on_progress is not None:
                on_progress(embedded + len(failed), max(n_total, embedded + len(failed)))
        missing = store.missing_photos(encoder.digest)
    return EmbedResult(embedded, len(failed), dict(Counter(failed.values()).most_common()))


def check_photos(photos: Iterable[Path], *, on_progress: OnProgress | None = None) -> list[Problem]:
    """Decode photos and list those that cannot be; progress is photos done and photos in all."""
    checked = _followed(images.check, list(photos), on_progress)
    return [_problem(str(path), error) for path, error in checked if error is not None]


def check_store(
    store: Store, encoder_digest: str, *, on_progress: OnProgress | None = None
) -> tuple[list[Problem], int]:
    """Check a store: itself, that its photos are there and unchanged, an encoder's embeddings.

    Gives its own damage alone; else photos in order of their posts, then what lacks an
    embedding although its photo is in order. And how many photos were not kept on purpose.
    """
    hint = "restore it from a backup, or move it away and import again"
    broken = [f"{store.address} is damaged: {what}" for what in store.damage()]
    if problems := [Problem(store.address, "damaged", what, hint) for what in broken]:
        return problems, 0  # what a damaged store says about photos cannot be trusted
    photos = list(dict.fromkeys(photo for post in store.posts() for photo in post.photos))
    known = {failure.target: failure for failure in store.failures()}
    in_order: set[str] = set()
    n_not_kept = sum(photo.path.startswith(NOT_KEPT) for photo in photos)
    photos = [photo for photo in photos if "://" not in photo.path]  # seen once, elsewhere
    for photo, error in _followed(_difference, photos, on_progress):
        failure = known.get(photo.digest)
        if error is not None:
            problems.append(_problem(photo.path, error))
        elif failure is not None:
            hint = "copy the photo again from where it came from, then import its posts again"
            problems.append(Problem(photo.path, failure.kind, failure.message, hint))
        else:
            in_order.add(photo.digest)
    hint = "run `pixtag import` on the same posts again, with the same --encoder if one was given"
    unseen = [one.path for one in store.missing_photos(encoder_digest) if one.digest in in_order]
    why = "{} has not been looked at yet"
    problems += [Problem(path, "no embedding", why.format(path), hint) for path in unseen]
    return problems, n_not_kept


def _problem(path: str, error: ImageError) -> Problem:
    return Problem(path, str(error.fault), error.message, error.hint)


def _embedded(shard: Shard, encoder: Encoder) -> Arrays:
    """Embed photos, each a path and a digest: one shard.

    Returns:
        `digests` `[M]` of those that can be read, their `embeddings` `[M, D]`; and `failures` of
        the others: digest, fault, target and message, `[N, 4]`.
    """
    photos = [Photo(path, digest) for path, digest in shard]
    side, how = encoder.input_px, encoder.interpolation
    pixels = np.empty((len(photos), side, side, 3), np.uint8)
    digests: list[str] = []
    failures: list[tuple[str, str, str, str]] = []
    for photo in photos:
        try:
            data = images.read(Path(photo.path))
            # An embedding is kept under the digest, so it must be of these very bytes.
            if hashlib.sha256(data).hexdigest() != photo.digest:
                raise images.changed(photo.path)
            square = images.decode(data, target_px=side, interpolation=how, name=photo.path)
            pixels[len(digests)] = square
            digests.append(photo.digest)
        except ImageError as error:
            # The file where it is out of reach, else the photo wherever it lies.
            target = photo.path if error.fault in _OUT_OF_REACH else photo.digest
            failures.append((photo.digest, error.fault, target, error.message))
    with np.errstate(over="ignore"):
        embeddings = encoder.embed(pixels[: len(digests)]).astype(np.float16)
    if not np.isfinite(embeddings).all():
        what = f"the encoder {encoder.digest[:12]} gives embeddings beyond half precision"
        raise ModelError(what, hint="scale its output `embedding` to at most 65,504")
    return {
        "digests": np.array(digests, np.str_),
        "embeddings": embeddings,
        "failures": np.array(failures, np.str_).reshape(-1, 4),
    }


def _difference(photo: Photo) -> ImageError | None:
    """Compare a file with what was imported."""
    try:
        digest = images.digest(Path(photo.path))
    except ImageError as error:
        return error
    if photo.digest:
        return None if digest == photo.digest else images.changed(photo.path)
    return images.changed(photo.path, "could not be read when it was imported, but can be now")


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def _followed(
    function: Callable[[Item], Result], items: Sequence[Item], on_progress: OnProgress | None
) -> Iterator[tuple[Item, Result]]:
    """Apply a function on all processors, and say how far it is."""
    for place, found in enumerate(zip(items, in_order(function, items), strict=True)):
        yield found
        if on_progress is not None:
            on_progress(place + 1, len(items))
