"""The store: posts, tag uses, photos, embeddings and lists in one SQLite file.

Beside the file lie, where they were made, `FILE.photos/` (kept copies of photos) and
`FILE.snapshot*` (derived data that can be made again).
"""

from __future__ import annotations

import math
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from pixtag.errors import InputError, StoreError
from pixtag.lists import ListName, Lists
from pixtag.store import rows
from pixtag.store.rows import BundleRecord, ForgetResult, is_safe, safe_text
from pixtag.store.schema import MEMORY, connect, consistent, guarded, transaction
from pixtag.types import Halfs, Photo, Post, PostLog, microseconds

__all__ = ["AddResult", "BundleRecord", "Changes", "Failure", "ForgetResult", "Store", "Summary"]

_BATCH_POSTS = 1000
_BATCH_S = 2.0
"""A batch is committed when it is full or has gathered for this long: what a kill can lose."""


@dataclass(frozen=True, slots=True)
class AddResult:
    """How many of the given posts were new, known otherwise (the new form holds), or known."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """What a reader who was up to date at some revision has to do to be so again."""

    last_seq: int  # the revision that this leads to; ask for the changes since then next
    changed: tuple[str, ...]  # posts to read again: new, replaced, or with other embeddings
    gone: tuple[str, ...]  # posts of the reader's that the store no longer has


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of what a store holds: different people, tags and readable photos; all embeddings.

    First and last time are Unix seconds UTC, or None; people come with the most posts first.
    """

    n_posts: int
    n_people: int
    n_tags: int
    n_tag_uses: int
    n_photos: int
    n_embeddings: int
    n_untimed: int
    first_at: float | None
    last_at: float | None
    posts_per_person: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A photo, by its digest or (out of reach) by its path, that could not be used, and why."""

    target: str
    kind: str
    message: str


class Store:
    """Posts, photos and embeddings in one SQLite file. Open it with `Store.open`.

    One object may be shared by threads. Reads see what was committed when they began.
    """

    def __init__(self, db: sqlite3.Connection, path: Path, *, read_only: bool = False) -> None:
        self._db, self._lock = db, threading.RLock()
        self.path = path  # absolute; there is no such file when in memory
        self.is_in_memory, self.is_read_only = path == MEMORY, read_only
        self.photos_folder = path.with_name(path.name + ".photos")  # of kept copies; may not exist

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        create: bool = False,
        read_only: bool = False,
        busy_timeout_s: float = 5.0,
    ) -> Self:
        """Open a store's file, made when missing if `create`; an older one is brought up to date.

        StoreError: it is missing, no store, newer, damaged, cannot be opened, or another process
        held it for longer than `busy_timeout_s`.
        """
        file = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link
        db = connect(file, create=create, read_only=read_only, busy_timeout_s=busy_timeout_s)
        store = cls(db, file, read_only=read_only)
        try:
            if not read_only and store._meta("needs_compacting"):
                rows.compact(db, file)  # a forgetting that was interrupted
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def in_memory(cls) -> Self:
        """Make an empty store that is in no file and goes with the object."""
        return cls(connect(MEMORY, create=True), MEMORY)

    def close(self) -> None:
        """Close the file. Nothing is lost by not calling it."""
        with self._lock, guarded(self.path):
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def revision(self) -> int:
        """Grows with every change of posts or embeddings: the last number of the change log."""
        return self._meta("revision")

    @property
    def identity(self) -> str:
        """Random name that the store got when it was made; two stores never share it."""
        return str(self._meta("identity"))

    @property
    def secret(self) -> bytes:
        """Random bytes that servers of this store sign with; never shown."""
        return bytes.fromhex(str(self._meta("secret")))

    def add_posts(
        self,
        posts: Iterable[Post],
        *,
        encoder_digest: str | None = None,
        embeddings: Mapping[str, Halfs] | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> AddResult:
        """Add posts, or bring known ones up to date, in batches; the last of a post_id holds.

        The encoder's `embeddings`, `[D]` by digest of a photo, go in the commit of their posts;
        `on_progress` is told the number of posts taken so far.

        InputError: a name is no valid Unicode, a time is out of range (1698 to 2242), embeddings
        as for `put_embeddings`. StoreError: the store cannot be written; earlier batches stay.
        """
        known = embeddings or {}
        if known and encoder_digest is None:
            raise InputError("embeddings without their encoder", hint="give encoder_digest too")
        counts: Counter[str] = Counter()
        for batch in _batches(posts, on_progress):
            photos = (photo.digest for post in batch for photo in post.photos)
            shown = list(dict.fromkeys(digest for digest in photos if digest in known))
            vectors = rows.checked_vectors(shown, [known[d] for d in shown]) if shown else None
            with self.writing():
                counts += self._add_batch(batch)
                if vectors is not None:
                    self._write_vectors(str(encoder_digest), shown, vectors)
        return AddResult(**counts)

    def changes_since(self, seq: int, known: Iterable[str] = ()) -> Changes:
        """Tell a reader which posts changed since a revision, and which of theirs were removed.

        Nothing is kept of a removed post, not even its name: the `known` posts of the reader are
        compared with the store's. After a backup was restored (the store is behind `seq`) all
        posts are changed. A reader begins with `revision`, then reads `log`.
        """
        with self.reading():
            last, removed = self._meta("revision"), self._meta("removed")
            if seq == last:
                return Changes(last, (), ())
            is_restored = seq > last
            query = "SELECT post_id FROM posts WHERE changed > ? ORDER BY changed, id"
            since = -1 if is_restored else seq
            changed = tuple(row[0] for row in self._db.execute(query, (since,)))
            if not (removed > seq or is_restored):
                return Changes(last, changed, ())
            stored = {row[0] for row in self._db.execute("SELECT post_id FROM posts")}
        return Changes(last, changed, tuple(name for name in known if name not in stored))

    def posts(self, *, user_id: str | None = None) -> Iterator[Post]:
        """Read a person's or all posts in time order, ties by post_id, untimed ones first."""
        whose = "" if user_id is None else "WHERE user = (SELECT id FROM users WHERE name = ?)"
        query = f"SELECT id FROM posts {whose} ORDER BY posted_at_us, post_id"  # noqa: S608
        values = [] if user_id is None else [safe_text(user_id)]
        ids = [row for (row,) in self._all(query, *values)]
        for start in range(0, len(ids), _BATCH_POSTS):
            yield from self._load(ids[start : start + _BATCH_POSTS])

    def log(
        self,
        encoder_digest: str | None = None,
        post_ids: Collection[str] | None = None,
        *,
        seen_before: float | None = None,
    ) -> PostLog:
        """Read all posts, or those of `post_ids` that are there, as columns in a log's order.

        Embeddings are the encoder's, a post's the mean over its photos; without one D = 0. With
        `seen_before` (Unix seconds UTC) only posts that the store had learned of before that.
        """
        with self.reading():
            return rows.read_log(self._db, encoder_digest, post_ids, seen_before=seen_before)

    def find_post_by_digest(self, digest: str) -> Post | None:
        """Find the latest post with the photo whose bytes have this SHA-256, hex."""
        query = """SELECT post FROM photos JOIN posts ON posts.id = post
            WHERE digest = ? AND digest != '' ORDER BY posted_at_us DESC, post_id DESC LIMIT 1"""
        return next(iter(self._load([row for (row,) in self._all(query, digest)])), None)

    def summary(self) -> Summary:
        """Count what the store holds."""
        with self.reading():
            first, last, *counts = self._db.execute(
                """SELECT min(posted_at_us), max(posted_at_us), count(*), count(DISTINCT user),
                    (SELECT count(DISTINCT tag) FROM tag_uses), (SELECT count(*) FROM tag_uses),
                    (SELECT count(DISTINCT digest) FROM photos WHERE digest != ''),
                    (SELECT count(*) FROM embeddings), count(*) - count(posted_at_us) FROM posts"""
            ).fetchone()
            query = """SELECT name, count(*) FROM posts JOIN users ON users.id = user
                GROUP BY user ORDER BY count(*) DESC, name"""
            people = tuple(self._db.execute(query))
            span = {"first_at": rows.seconds(first), "last_at": rows.seconds(last)}
            return Summary(*counts, **span, posts_per_person=people)

    def people(self, *, at_most: int) -> list[str]:
        """Name people with posts, by name, but not more than a few of many."""
        query = """SELECT name FROM users WHERE EXISTS
            (SELECT 1 FROM posts WHERE user = users.id) ORDER BY name LIMIT ?"""
        return [name for (name,) in self._all(query, at_most)]

    def missing_photos(self, encoder_digest: str) -> list[Photo]:
        """List readable photos without embedding or failure, each digest once, in posts' order."""
        query = """SELECT min(path), digest FROM photos WHERE digest != '' AND NOT EXISTS (
                SELECT 1 FROM embeddings JOIN encoders ON encoders.id = encoder
                WHERE embeddings.digest = photos.digest AND encoders.digest = ?)
            AND digest NOT IN (SELECT target FROM failures)
            AND path NOT IN (SELECT target FROM failures)
            GROUP BY digest ORDER BY min(post), min(position)"""
        found = self._all(query, encoder_digest)
        return [Photo(rows.path_from_db(path), digest) for path, digest in found]

    def put_embeddings(
        self, encoder_digest: str, digests: Sequence[str], embeddings: Halfs
    ) -> None:
        """Keep embeddings `[M, D]` (fp16) of photos `[M]`; a known one is replaced.

        ShapeError: not one row a photo, or D differs from what this encoder gave before.
        InputError: a number is not finite.
        """
        vectors = rows.checked_vectors(digests, embeddings)
        if len(digests):
            with self.writing():
                self._write_vectors(encoder_digest, digests, vectors)

    def record_failure(self, target: str, kind: str, message: str) -> None:
        """Note that a photo, by digest or by a path out of reach, is not to be tried for now.

        Importing a post that shows it readable again clears a path's note.
        """
        with self.writing():
            row = rows.path_to_db(target), safe_text(kind), safe_text(message)
            self._db.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?)", row)

    def failures(self) -> list[Failure]:
        """List the photos that cannot be used, by target."""
        found = self._all("SELECT target, kind, message FROM failures ORDER BY target")
        return [Failure(rows.path_from_db(target), kind, why) for target, kind, why in found]

    def clear_failures(self) -> None:
        """Let every failed photo be tried again."""
        with self.writing():
            self._db.execute("DELETE FROM failures")

    def record_bundle(
        self, path: str | Path, digest: str, trained_until: float | None, user_ids: Iterable[str]
    ) -> None:
        """Note that a model was trained on these people's posts; replaces a note of its path.

        `trained_until` is the time of the last post it was fitted on, Unix seconds UTC, or None.
        """
        key = rows.path_to_db(os.path.abspath(path))  # noqa: PTH100 - a bundle may be a link
        with self.writing():
            old = "(SELECT id FROM bundles WHERE path = ?)"
            self._db.execute(f"DELETE FROM bundle_users WHERE bundle IN {old}", (key,))  # noqa: S608
            until_us = None if trained_until is None else microseconds(trained_until)
            query = "INSERT OR REPLACE INTO bundles (path, bundle_digest, trained_until_us)"
            made = self._db.execute(f"{query} VALUES (?, ?, ?)", (key, digest, until_us))
            users = ((made.lastrowid, safe_text(user)) for user in user_ids)
            self._db.executemany("INSERT OR IGNORE INTO bundle_users VALUES (?, ?)", users)

    def bundles_trained_on(self, user_id: str) -> list[BundleRecord]:
        """List the models that were trained on a person's posts, by path."""
        query = """SELECT path, bundle_digest, trained_until_us FROM bundles
            JOIN bundle_users ON bundle = bundles.id WHERE user_name = ? ORDER BY path"""
        found = self._all(query, safe_text(user_id))
        return [BundleRecord(rows.path_from_db(p), d, rows.seconds(t)) for p, d, t in found]

    def forget(self, user_id: str) -> ForgetResult:
        """Remove a person: posts, tag uses, embeddings, lists, kept copies, derived files.

        Photos that somebody else's post shows too stay, as does what lies elsewhere: the person's
        own files and the models that were trained on them.
        """
        bundles = tuple(self.bundles_trained_on(user_id))
        with self._lock:
            found = rows.remove_rows(self._db, self.path, self.writing, user_id=user_id)
        return replace(found, bundles=bundles)

    def remove_posts(self, post_ids: Collection[str]) -> int:
        """Remove posts in the way of `forget` and say how many; unknown ones are ignored."""
        with self._lock:
            return rows.remove_rows(self._db, self.path, self.writing, post_ids=post_ids).posts

    def lists(self, user_id: str | None = None) -> Lists:
        """Give a person's lists of tags; those of everybody in this store for None."""
        query = "SELECT list, tag FROM lists WHERE user_name = ? ORDER BY id"
        found = self._all(query, safe_text(user_id or ""))
        with consistent(self.path):
            return Lists().with_entries(found)

    def edit_lists(
        self, name: ListName, tags: Iterable[str], *, user_id: str | None, remove: bool
    ) -> list[str]:
        """Change a list of a person's, or of everybody's in this store for None, as `Lists.edited`.

        InputError: a tag or the person's name is none.
        """
        if user_id is not None and not (user_id and is_safe(user_id)):
            what = f"{user_id!r} is no name of a person"
            raise InputError(what, hint="give a name in valid Unicode")
        with self.writing():
            after, changed = self.lists(user_id).edited(name, tags, remove=remove)
            self._put_lists(user_id, after)
        return changed

    def _add_batch(self, batch: list[Post]) -> Counter[str]:
        with consistent(self.path):
            stored = rows.known_posts(self._db, [post.post_id for post in batch])
        latest = dict(stored)
        counts: Counter[str] = Counter()
        for post in batch:
            before, latest[post.post_id] = latest.get(post.post_id), post
            is_same = before == post
            counts["added" if before is None else "unchanged" if is_same else "updated"] += 1
        fresh = [post for name, post in latest.items() if stored.get(name) != post]
        if fresh:
            rows.write_posts(self._db, fresh, self._next_revision())
        return counts

    def _write_vectors(self, encoder_digest: str, digests: Sequence[str], vectors: Halfs) -> None:
        rows.write_vectors(self._db, encoder_digest, digests, vectors, self._next_revision())

    def _next_revision(self) -> int:
        self._db.execute("UPDATE meta SET value = value + 1 WHERE name = 'revision'")
        return self._meta("revision")

    def _load(self, ids: list[int]) -> list[Post]:
        with self.reading():
            return rows.load_posts(self._db, ids)

    def _put_lists(self, user_id: str | None, lists: Lists) -> None:
        self._db.execute("DELETE FROM lists WHERE user_name = ?", (user_id or "",))
        entries = ((user_id or "", name, tag) for name, tag in lists.entries())
        query = "INSERT INTO lists (user_name, list, tag) VALUES (?, ?, ?)"
        self._db.executemany(query, entries)

    def _meta(self, name: str) -> Any:  # noqa: ANN401 - a number or a text
        with self._lock, guarded(self.path), consistent(self.path):
            found = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
            if found is None or not isinstance(
                found[0], str if name in {"identity", "secret"} else int
            ):
                raise ValueError(f"no {name}")
            return found[0]

    def _all(self, query: str, *values: str | int) -> list[tuple[Any, ...]]:
        with self._lock, guarded(self.path):
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """Hold one state of the file over several queries; for the modules of this package."""
        with self._lock, guarded(self.path), consistent(self.path):
            if self._db.in_transaction:
                yield self._db
                return
            self._db.execute("BEGIN")
            try:
                yield self._db
            finally:
                self._db.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection]:
        """Run one transaction, durable when it ends: all of it is kept or nothing.

        What is written inside it by this store's other methods belongs to it.
        """
        if self.is_read_only:
            what = f"{self.path} was opened for reading only"
            raise StoreError(what, hint="open it without read_only")
        with self._lock, guarded(self.path):
            if self._db.in_transaction:
                yield self._db
                return
            with transaction(self._db):
                yield self._db


def _batches(
    posts: Iterable[Post], on_progress: Callable[[int], None] | None
) -> Iterator[list[Post]]:
    """Cut posts into batches by count and by the time that gathering them took."""
    batch: list[Post] = []
    started_s = time.monotonic()
    for n_taken, post in enumerate(posts, 1):
        _check(post)
        batch.append(post)
        if on_progress is not None:
            on_progress(n_taken)
        if len(batch) == _BATCH_POSTS or time.monotonic() - started_s > _BATCH_S:
            yield batch
            batch, started_s = [], time.monotonic()
    if batch:
        yield batch


def _check(post: Post) -> None:
    for name in (post.post_id, post.user_id or "", *post.tags):
        if not is_safe(name):
            what = f"post {post.post_id!r} holds a name that cannot be kept: {name!r}"
            raise InputError(what, hint="leave out lone surrogates and NUL")
    at = post.posted_at
    if at is not None and not (math.isfinite(at) and abs(at) < rows.MAX_SECONDS):
        hint = "times from 1698 to 2242 can be kept; use None for an unknown one"
        raise InputError(f"post {post.post_id!r} has the time {at}, out of range", hint=hint)
