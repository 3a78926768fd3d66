"""`Service`: what the page and the API do with one store, without HTTP."""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Generic, Self, TypeVar

import numpy as np
from PIL import Image

from pixtag.bundle import Bundle
from pixtag.choose import Wishes
from pixtag.errors import InputError, PixtagError, StoreError
from pixtag.formats import sniff
from pixtag.lists import Lists, global_lists
from pixtag.live import STALE_S
from pixtag.outputs import replacing
from pixtag.photos import NOT_KEPT
from pixtag.predictor import Predictor
from pixtag.store import Store
from pixtag.store.keys import KeyRecord, find_key
from pixtag.store.served import KEPT, ServedRow, Verdict, add_feedback, add_served
from pixtag.types import Floats, Photo, Post, Suggestion

MOST_KNOWN = 10_000  # names whose values are held while the store is away, those read last
_WRITTEN_EVERY_S = 0.1  # served suggestions are written together
Value = TypeVar("Value")
log = logging.getLogger("pixtag.web")


@dataclass(frozen=True, slots=True)
class Served:
    """Suggestions as they were served; `name` is what feedback names."""

    name: str
    at: float  # Unix seconds UTC that was judged at
    suggestions: tuple[Suggestion, ...]
    unsure: bool  # not sure what the photo shows: strangers get few then
    model: str  # digest of the model's file
    revision: int  # of the store: the answer knows all up to it
    user: str | None = field(default=None)
    embedding: Floats | None = field(default=None, compare=False)  # of the photo, `[D]`


class Service:
    """Suggests, publishes and learns; threads share one. Posts are durable when it returns.

    Args:
        store: A store that can be written.
        bundle: The model; the shipped one when None.
        is_logging: Keep each served suggestion, so that feedback joins to it.
        n_logged: How many of them, the newest.
    """

    def __init__(
        self,
        store: Store,
        bundle: Bundle | None = None,
        *,
        is_logging: bool = True,
        n_logged: int = KEPT,
    ) -> None:
        if store.is_read_only:
            raise StoreError("the store is for reading only", hint="serve one that can be written")
        self.store = store
        # Reading waits for no commit of another thread.
        self.reader = store.reader()
        self.predictor = Predictor.load(bundle, store)
        # Suggestions go on from memory while the store is away.
        self._known = LastKnown(self._revision_and_lists)
        self.find_key = LastKnown[KeyRecord | None](partial(find_key, self.reader))
        self._log = _ServedLog(store, n_logged) if is_logging else None
        self.is_logging = is_logging
        self._is_closed = False
        self._not_ready: str | None = "the model is being loaded"
        self._warming = threading.Thread(target=self._warm_up, name="pixtag-warm-up")
        self._warming.start()

    def close(self) -> None:
        """Finish what is being answered, and write what was served; once is enough."""
        if self._is_closed:
            return
        self._is_closed = True
        self._warming.join()
        if self._log is not None:
            self._log.close()
        self.predictor.close()
        if self.reader is not self.store:
            self.reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _warm_up(self) -> None:
        """Look at nothing in particular once, so that nobody's first question waits for it."""
        try:
            self.predictor.answer(_grey_photo(), Wishes.of(5))
            self._not_ready = None
        except Exception as error:  # noqa: BLE001 - told by `problems`, and in full here
            log.warning("the model cannot be used: %s", error)
            self._not_ready = "the model cannot be used"

    def revision(self) -> int | None:
        """The store's last change; None while the store cannot be read."""
        try:
            return self.reader.revision
        except StoreError as error:
            log.warning("the store cannot be read: %s", error.message)
            return None

    def problems(self) -> list[str]:
        """Why questions cannot be answered now, for anybody to read; nothing when they can."""
        found = [self._not_ready] if self._not_ready else []
        if self.revision() is None:
            found.append("the store cannot be read")
        return found

    def embed(self, photo: bytes) -> Floats:
        """Look at a photo, decoded under limits: its embedding `[D]`. ImageError: it is none."""
        return self.predictor.embed(photo)

    def suggest(
        self,
        photo: bytes | Floats | None = None,
        *,
        user: str | None = None,
        history: Sequence[str] = (),
        accepted: Sequence[str] = (),
        refused: Sequence[str] = (),
        k: int = 5,
        platform: str | None = None,
        at: datetime | None = None,
    ) -> Served:
        """Answer one question, with the lists of the person and of everybody here.

        Args:
            photo: A file's bytes, or an embedding `[D]`; None to go by history and trend alone.
            user: Whose photo it is.
            history: Further tags that the person uses, repeated if often.
            accepted: Chosen already.
            refused: Not wanted.
            k: How many in all, accepted ones included.
            platform: Its cap on tags holds.
            at: The time to suggest for; now by default.
        """
        revision, lists = self._known(user or "")
        lists = global_lists().joined(lists)
        wishes = Wishes.of(k, accepted, refused, platform, lists=lists, user=user, history=history)
        answer = self.predictor.answer(photo, wishes, at=at)
        served = Served(
            secrets.token_urlsafe(12), answer.at, answer.suggestions, answer.unsure,
            self.predictor.model_digest, revision, user, answer.embedding,
        )  # fmt: skip
        if self._log is not None:
            self._log.add(served)
        return served

    def _revision_and_lists(self, user: str) -> tuple[int, Lists]:
        """What the store holds: its revision, and lists of everybody and of a person, or nobody."""
        revision, lists = self.reader.revision, self.reader.lists(None)
        return revision, lists.joined(self.reader.lists(user)) if user else lists

    def publish(
        self,
        post: Post,
        embedding: Floats | None = None,
        *,
        photos: Sequence[bytes] = (),
        is_kept: bool = False,
        within: Callable[[Store], None] | None = None,
    ) -> None:
        """Put a post into the store, durable on return; the next answer knows it.

        Photos given as bytes are looked at and forgotten, but for their digest and embedding.

        Args:
            post: The post, without photos.
            embedding: Of its only photo, where that was looked at before, `[D]`.
            photos: Its photos.
            is_kept: Keep the photos themselves beside the store too.
            within: Called with the store inside the post's own transaction.

        Raises:
            ImageError: One of the photos is none; then nothing is put.
        """
        names = [hashlib.sha256(photo).hexdigest() for photo in photos]
        rows = [self.predictor.embed(photo) for photo in photos]
        if embedding is not None and not photos:
            names, rows = [hashlib.sha256(embedding.tobytes()).hexdigest()], [embedding]
        copies: list[tuple[Path, bytes]] = []
        if is_kept and not self.store.is_in_memory:
            folder, named = self.store.photos_folder, zip(names, photos, strict=True)
            copies = [(folder / f"{name}.{sniff(p[:64]) or 'jpg'}", p) for name, p in named]
        paths = [str(path) for path, _ in copies] or [f"{NOT_KEPT}{name}" for name in names]
        post = replace(post, photos=tuple(map(Photo, paths, names)))
        vectors = {n: row.astype(np.float16) for n, row in zip(names, rows, strict=True)}
        with self.store.writing():
            if within is not None:
                within(self.store)
            for path, photo in copies:
                _keep(path, photo)
            digest = self.predictor.encoder_digest if vectors else None
            self.store.add_posts([post], encoder_digest=digest, embeddings=vectors)
        self.predictor.observe(())  # takes over what the store holds

    def feedback(
        self, served: str, verdicts: Sequence[tuple[str, Verdict]], *, user: str | None = None
    ) -> None:
        """Say what became of the tags of a served suggestion; a later verdict replaces one.

        With `user` only of what was served to that person. InputError: nothing of that name was.
        """
        if self._log is not None:
            self._log.flush()
        if not add_feedback(self.store, served, verdicts, user=user):
            raise InputError(
                f"no suggestion {served!r} was served", hint="give the id that came with it"
            )

    def forget(self, user: str) -> None:
        """Remove a person with all that derives from them."""
        if self._log is not None:
            self._log.forget(user)
        self.predictor.forget(user)
        self._known.drop(user)


def _keep(path: Path, photo: bytes) -> None:
    if not path.exists():
        path.parent.mkdir(0o700, exist_ok=True)
        with replacing(path) as out:
            out.write(photo)


def _grey_photo() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(buffer, "PNG")
    return buffer.getvalue()


class LastKnown(Generic[Value]):
    """Reads a value by a name; while the store is away the value that was read last.

    Not for longer than answers stand on the last view. Names are held as their digests, since
    some are keys. Threads may share one.

    Args:
        read: Gives the value of a name; None is not held.
        stale_s: How old a value may be.
    """

    def __init__(self, read: Callable[[str], Value], *, stale_s: float = STALE_S) -> None:
        self._read, self._stale_s = read, stale_s
        self._held: dict[bytes, tuple[float, Value]] = {}
        self._lock = threading.Lock()

    def __call__(self, name: str) -> Value:
        """The value of a name; StoreError where it cannot be read and was not lately."""
        digest, now = _digest(name), time.monotonic()
        try:
            found = self._read(name)
        except StoreError:
            held = self._held.get(digest)
            if held is None or now - held[0] > self._stale_s:
                raise
            return held[1]
        with self._lock:
            self._held.pop(digest, None)
            if found is not None:
                self._held[digest] = now, found
            oldest = next(iter(self._held), digest)
            if oldest != digest and (
                len(self._held) > MOST_KNOWN or now - self._held[oldest][0] > self._stale_s
            ):
                del self._held[oldest]
        return found

    def drop(self, name: str) -> None:
        """Hold nothing of a name."""
        with self._lock:
            self._held.pop(_digest(name), None)


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()


class _ServedLog:
    """Writes what was served on a thread of its own, so that no answer waits for the disk."""

    def __init__(self, store: Store, n_kept: int) -> None:
        self._store, self._n_kept = store, n_kept
        self._waiting: list[ServedRow] = []
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._is_needed, self._is_over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="pixtag-served")
        self._thread.start()

    def close(self) -> None:
        """Write what waits, then end."""
        self._is_over.set()
        self._is_needed.set()
        self._thread.join()
        self.flush()

    def add(self, served: Served) -> None:
        """Keep an answer."""
        row = ServedRow(
            served.name, served.user, time.time(), served.at, served.model, served.revision,
            served.embedding is not None, served.suggestions,
        )  # fmt: skip
        with self._lock:
            self._waiting.append(row)
        self._is_needed.set()

    def forget(self, user: str) -> None:
        """Drop what waits of a person."""
        with self._writing, self._lock:
            self._waiting = [row for row in self._waiting if row.user != user]

    def flush(self) -> None:
        """Write what was served until now."""
        with self._writing:
            with self._lock:
                rows, self._waiting = self._waiting, []
            if rows:
                add_served(self._store, rows, kept=self._n_kept)

    def _run(self) -> None:
        while not self._is_over.is_set():
            self._is_needed.wait()
            self._is_over.wait(_WRITTEN_EVERY_S)
            self._is_needed.clear()
            try:
                self.flush()
            except PixtagError as error:
                log.warning("what was served is not kept: %s", error.message)
