"""`SqliteStore`: a store in one SQLite file.

Beside the file lie, where they were made, `FILE.photos/` (kept copies of photos) and
`FILE.snapshot*` (derived data that can be made again).
"""

from __future__ import annotations

import glob
import json
import os
import sqlite3
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from pixtag.errors import StoreError
from pixtag.lists import Lists
from pixtag.store import rows
from pixtag.store.base import WRONG_LENGTH, Changes, Cursor, Store
from pixtag.store.rows import ForgetResult
from pixtag.store.schema import MEMORY, connect, consistent, guarded, transaction
from pixtag.types import Bools, Halfs, Ints, Photo, Post, PostLog, microseconds

_DAMAGE = (
    ("PRAGMA integrity_check(20)", "SQLite reports: {0}"),
    ("PRAGMA foreign_key_check", "table {0}, row {1} points to nothing in {2}"),
    WRONG_LENGTH,
)  # queries that find damage in a store, and a sentence for each row

_HEADS = "SELECT id, post_id, user, posted_at_us, seen_at_us FROM posts"
_IN_ORDER = "ORDER BY posted_at_us, post_id"
_BY_POST = "ORDER BY post, position"
_CHOSEN = "IN (SELECT value FROM json_each(?))"

# Rows that only the removed posts kept alive, and leftovers of earlier updates.
_ORPHANS = {
    "embeddings": "digest NOT IN (SELECT digest FROM photos)",
    "tags": "id NOT IN (SELECT tag FROM tag_uses)",
    "users": "id NOT IN (SELECT user FROM posts WHERE user IS NOT NULL)",
    "failures": "target NOT IN (SELECT digest FROM photos UNION SELECT path FROM photos)",
}
_ALL = 2  # of what follows a removal nothing is done yet
_TRY_LATER = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}
_WHILE_LOADING = {"wal_autocheckpoint": 16_384, "cache_size": -65_536}  # pages; KiB of memory


class SqliteStore(Store):
    """A store in one SQLite file, over one connection; made by `Store.open`."""

    _most_at_once = 32_000

    def __init__(
        self,
        path: Path,
        *,
        create: bool = False,
        read_only: bool = False,
        busy_timeout_s: float = 5.0,
    ) -> None:
        self.is_in_memory = path == MEMORY
        if not self.is_in_memory:
            path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link
        super().__init__(str(path), path, read_only=read_only)
        self._lock = threading.RLock()
        self._db = connect(path, create=create, read_only=read_only, busy_timeout_s=busy_timeout_s)
        try:
            if not read_only and (what := self._meta("needs_compacting")):
                self._finish_removal(what)  # of a forgetting that was interrupted
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file. Nothing is lost by not calling it."""
        with self._lock, guarded(self.path):
            self._db.close()

    def reader(self) -> Store:
        """A connection of its own to the file; in memory there is none but this."""
        return self if self.is_in_memory else Store.open(self.path, read_only=True)

    def writer(self) -> Store:
        """As `reader`, for writing."""
        return self if self.is_in_memory else Store.open(self.path)

    def known_posts(self, post_ids: Collection[str]) -> dict[str, Post]:
        """As `Store.known_posts`."""
        with self.reading():
            found = self._fetch("SELECT id FROM posts", "post_id", post_ids)
            return {post.post_id: post for post in self._load([row for (row,) in found])}

    @property
    def mark(self) -> tuple[int, int]:
        """What other connections changed, and what this one did."""
        return self._all("PRAGMA data_version")[0][0], self._db.total_changes

    @property
    def revision(self) -> int:
        """The last number of the change log."""
        return self._meta("revision")

    @property
    def last_removal(self) -> int:
        """As `Store.last_removal`."""
        return self._meta("removed")

    @property
    def cursor(self) -> Cursor:
        """The revision."""
        return self.revision

    def changes_since(self, seq: Cursor, known: Iterable[str] = ()) -> Changes:
        """As `Store.changes_since`."""
        seq = int(seq)
        with self.reading() as db:
            last, removed = self._meta("revision"), self._meta("removed")
            if seq == last:
                return Changes(last, (), ())
            is_restored = seq > last
            query = "SELECT post_id FROM posts WHERE changed > ? ORDER BY changed, id"
            since = -1 if is_restored else seq
            changed = tuple(row[0] for row in db.execute(query, (since,)))
            if not (removed > seq or is_restored):
                return Changes(last, changed, ())
            stored = {row[0] for row in db.execute("SELECT post_id FROM posts")}
        return Changes(last, changed, tuple(name for name in known if name not in stored))

    def log(
        self,
        encoder_digest: str | None = None,
        post_ids: Collection[str] | None = None,
        *,
        seen_before: float | None = None,
    ) -> PostLog:
        """As `Store.log`."""
        with self.reading():
            heads = self._fetch(_HEADS, "post_id", post_ids, _IN_ORDER)
            if seen_before is not None:
                heads = [head for head in heads if (head[4] or 0) < seen_before * 1e6]
            is_all = post_ids is None and seen_before is None
            return self._laid_out(heads, encoder_digest, is_all=is_all)

    def logs(self, encoder_digest: str | None = None, *, n_posts: int) -> Generator[PostLog]:
        """As `Store.logs`."""
        with self.reading() as db:
            heads = db.execute(f"{_HEADS} {_IN_ORDER}")
            while part := heads.fetchmany(n_posts):
                yield self._laid_out(part, encoder_digest, is_all=False)

    def _laid_out(self, heads: list[Any], encoder_digest: str | None, *, is_all: bool) -> PostLog:
        """Posts as columns, by rows of `_HEADS`, which may be all that there are."""
        ids = np.fromiter((head[0] for head in heads), np.int64, len(heads))
        only = None if is_all else ids.tolist()
        people, user_of_post = rows.numbered(head[2] for head in heads)
        name_of = dict(self._fetch("SELECT id, name FROM users", "id", people))
        users = [name_of[row] for row in people]
        tags, tag_start, tag_ids = self._tags(ids, only)
        has_photo, embeddings = self._embeddings(ids, encoder_digest, only)
        names = [head[1] for head in heads]
        at = np.array([-np.inf if head[3] is None else head[3] / 1e6 for head in heads], np.float64)
        return PostLog(
            names, users, tags, user_of_post, at, tag_start, tag_ids, has_photo, embeddings
        )

    def _tags(self, ids: Ints, only: list[int] | None) -> tuple[list[str], Ints, Ints]:
        """Lay tag uses out post by post, tags numbered in order of first appearance."""
        pairs = _pairs(self._fetch("SELECT post, tag FROM tag_uses", "post", only, _BY_POST))
        place = _places(ids, pairs[:, 0])
        order = np.argsort(place, kind="stable")
        counts = np.bincount(place, minlength=len(ids))
        tag_start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        tag_rows, numbers = rows.numbered(pairs[order, 1].tolist())
        named = None if only is None else tag_rows
        name_of = dict(self._fetch("SELECT id, name FROM tags", "id", named))
        return [name_of[row] for row in tag_rows], tag_start, numbers

    def _embeddings(
        self, ids: Ints, encoder_digest: str | None, only: list[int] | None
    ) -> tuple[Bools, Halfs]:
        """Average the embeddings of each post's photos."""
        query = "SELECT id, width FROM encoders WHERE digest = ?"
        encoder, width = self._db.execute(query, (encoder_digest,)).fetchone() or (None, 0)
        if encoder is None:
            return np.zeros(len(ids), np.bool_), np.zeros((len(ids), 0), np.float16)
        photos = self._fetch("SELECT post, digest FROM photos", "post", only, _BY_POST)
        own = f"SELECT * FROM embeddings WHERE encoder = {int(encoder)}"  # noqa: S608
        query = f"SELECT digest, vector FROM ({own})"  # noqa: S608
        found = self._fetch(query, "digest", None if only is None else {name for _, name in photos})
        number = {digest: i for i, (digest, _) in enumerate(found)}
        vectors = np.frombuffer(b"".join(row[1] for row in found), "<f2").reshape(-1, width)
        known = _pairs([(post, number[digest]) for post, digest in photos if digest in number])
        place = _places(ids, known[:, 0])
        return rows.mean_vectors(vectors, place, known[:, 1], n_posts=len(ids))

    def find_post_by_digest(self, digest: str) -> Post | None:
        """As `Store.find_post_by_digest`."""
        query = """SELECT post FROM photos JOIN posts ON posts.id = post
            WHERE digest = ? AND digest != '' ORDER BY posted_at_us DESC, post_id DESC LIMIT 1"""
        return next(iter(self._load([row for (row,) in self._all(query, digest)])), None)

    def missing_photos(self, encoder_digest: str) -> list[Photo]:
        """As `Store.missing_photos`."""
        query = """SELECT min(path), digest FROM photos WHERE digest != '' AND NOT EXISTS (
                SELECT 1 FROM embeddings JOIN encoders ON encoders.id = encoder
                WHERE embeddings.digest = photos.digest AND encoders.digest = ?)
            AND digest NOT IN (SELECT target FROM failures)
            AND path NOT IN (SELECT target FROM failures)
            GROUP BY digest ORDER BY min(post), min(position)"""
        found = self._all(query, encoder_digest)
        return [Photo(rows.path_from_db(path), digest) for path, digest in found]

    def damage(self) -> list[str]:
        """Let SQLite check every page of the file, and check what it cannot know."""
        found: list[str] = []
        try:
            with closing(connect(self.path, read_only=True)) as db:
                for query, sentence in _DAMAGE:
                    broken: list[tuple[Any, ...]] = db.execute(query).fetchall()
                    found += [sentence.format(*row) for row in broken if row != ("ok",)]
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
                what = f"{self.path} cannot be checked: {error}"
                raise StoreError(what, hint="close what else uses it, then try again") from error
            found.append(f"SQLite reports: {error}")
        return found

    def snapshot_file(self, key: str) -> Path | None:
        """One file beside the store, whatever the key."""
        del key
        return None if self.is_in_memory else self.path.with_name(self.path.name + ".snapshot")

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """As `Store.reading`."""
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
        """As `Store.writing`."""
        self._require_writable()
        with self._lock, guarded(self.path):
            if self._db.in_transaction:
                yield self._db
                return
            with transaction(self._db):
                yield self._db

    @contextmanager
    def _loading(self) -> Generator[None]:
        """Hold more pages in memory, and write them into the file itself less often."""
        with self._lock, guarded(self.path):
            before = {name: self._all(f"PRAGMA {name}")[0][0] for name in _WHILE_LOADING}
        try:
            with self._lock, guarded(self.path):
                self._set(_WHILE_LOADING)
            yield
        finally:
            # What is committed stays so, whether this can be done or not.
            with self._lock, suppress(sqlite3.Error):
                self._set(before)
                self._db.execute("PRAGMA shrink_memory")
                if not self._db.in_transaction:
                    self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _set(self, settings: Mapping[str, int]) -> None:
        for name, value in settings.items():
            self._db.execute(f"PRAGMA {name} = {value}")

    def _meta(self, name: str) -> Any:  # noqa: ANN401 - a number or a text
        with self._lock, guarded(self.path), consistent(self.path):
            found = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
            if found is None or not isinstance(
                found[0], str if name in {"identity", "secret"} else int
            ):
                raise ValueError(f"no {name}")
            return found[0]

    def _all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401
        with self._lock, guarded(self.path):
            return self._db.execute(query, values).fetchall()

    def _fetch(
        self, query: str, column: str, only: Collection[Any] | None, order: str = ""
    ) -> list[tuple[Any, ...]]:
        """Run a query for all rows, or for those whose column holds one of some values."""
        if only is None:
            return self._db.execute(f"{query} {order}").fetchall()
        query = f"{query} WHERE {column} {_CHOSEN} {order}"
        return self._db.execute(query, (json.dumps(list(only)),)).fetchall()

    def _lists_of(self, entries: list[tuple[Any, ...]]) -> Lists:
        with consistent(self.path):
            return super()._lists_of(entries)

    def _load(self, ids: list[int]) -> list[Post]:
        with self.reading():
            tags = defaultdict[int, list[str]](list)
            uses = "SELECT post, name FROM tag_uses JOIN tags ON tags.id = tag"
            for post, tag in self._fetch(uses, "post", ids, _BY_POST):
                tags[post].append(tag)
            photos = defaultdict[int, list[Photo]](list)
            shown = "SELECT post, path, digest FROM photos"
            for post, path, digest in self._fetch(shown, "post", ids, _BY_POST):
                photos[post].append(Photo(rows.path_from_db(path), digest))
            heads = """SELECT p.id, post_id, name, posted_at_us
                FROM posts p LEFT JOIN users u ON u.id = user"""
            found = {
                row: Post(name, user, rows.seconds(at), tuple(tags[row]), tuple(photos[row]))
                for row, name, user, at in self._fetch(heads, "p.id", ids)
            }
            return [found[row] for row in ids if row in found]

    def _add_batch(self, batch: list[Post], seen_at: Mapping[str, int]) -> Counter[str]:
        stored = self.known_posts([post.post_id for post in batch])
        latest = dict(stored)
        counts: Counter[str] = Counter()
        for post in batch:
            before, latest[post.post_id] = latest.get(post.post_id), post
            is_same = before == post
            counts["added" if before is None else "unchanged" if is_same else "updated"] += 1
        fresh = [post for name, post in latest.items() if stored.get(name) != post]
        if fresh:
            self._write_posts(fresh, seen_at, stored.keys())
        return counts

    def _write_posts(
        self, posts: list[Post], seen_at: Mapping[str, int], known: Collection[str]
    ) -> None:
        """Insert posts, or replace those whose post_ids are `known`, all in one revision."""
        revision = self._next_revision()
        users = self._ids("users", {p.user_id for p in posts if p.user_id is not None})
        tags = self._ids("tags", {tag for post in posts for tag in post.tags})
        old = [post for post in posts if post.post_id in known]
        row_of: dict[str, int] = {}
        if old:
            names = [post.post_id for post in old]
            row_of = dict(self._fetch("SELECT post_id, id FROM posts", "post_id", names))
            stale = [(row,) for row in row_of.values()]
            for table in ("tag_uses", "photos"):
                self._db.executemany(f"DELETE FROM {table} WHERE post = ?", stale)  # noqa: S608
            changed = ((*_head(post, users), revision, row_of[post.post_id]) for post in old)
            query = "UPDATE posts SET user = ?, posted_at_us = ?, changed = ? WHERE id = ?"
            self._db.executemany(query, changed)
        if new := [post for post in posts if post.post_id not in known]:
            (last,) = self._db.execute("SELECT coalesce(max(id), 0) FROM posts").fetchone()
            row_of |= {post.post_id: row for row, post in enumerate(new, last + 1)}
            now = microseconds(time.time())
            made = (
                (row, p.post_id, *_head(p, users), revision, seen_at.get(p.post_id, now))
                for row, p in enumerate(new, last + 1)
            )
            query = """INSERT INTO posts (id, post_id, user, posted_at_us, changed, seen_at_us)
                VALUES (?, ?, ?, ?, ?, ?)"""
            self._db.executemany(query, made)
        uses = ((row_of[p.post_id], i, tags[tag]) for p in posts for i, tag in enumerate(p.tags))
        self._db.executemany("INSERT INTO tag_uses VALUES (?, ?, ?)", uses)
        shown = [(row_of[p.post_id], i, one) for p in posts for i, one in enumerate(p.photos)]
        photos = [(row, i, rows.path_to_db(one.path), one.digest) for row, i, one in shown]
        self._db.executemany("INSERT INTO photos VALUES (?, ?, ?, ?)", photos)
        readable = ((path,) for _, _, path, digest in photos if digest)
        self._db.executemany("DELETE FROM failures WHERE target = ?", readable)

    def _write_vectors(self, encoder_digest: str, digests: Sequence[str], vectors: Halfs) -> None:
        encoder = rows.encoder_row(self._db, encoder_digest, vectors.shape[1])
        query = """INSERT INTO embeddings (encoder, digest, vector) VALUES (?, ?, ?)
            ON CONFLICT (digest, encoder) DO UPDATE SET vector = excluded.vector"""
        made = ((encoder, d, v.tobytes()) for d, v in zip(digests, vectors, strict=True))
        self._db.executemany(query, made)
        revision = self._next_revision()
        shown = "id IN (SELECT post FROM photos WHERE digest = ?)"
        query = f"UPDATE posts SET changed = ? WHERE {shown}"  # noqa: S608
        self._db.executemany(query, ((revision, digest) for digest in digests))

    def _remove(self, *, user_id: str | None, post_ids: Collection[str]) -> ForgetResult:
        with self._lock:
            before = self._size_bytes()
            self._db.execute("PRAGMA secure_delete = ON")
            with self.writing() as db:
                removed = self._delete_rows(user_id, post_ids)
                if removed["posts"]:
                    query = "UPDATE meta SET value = ? WHERE name = 'removed'"
                    db.execute(query, (self._next_revision(),))
                query = "UPDATE meta SET value = ? WHERE name = 'needs_compacting'"
                db.execute(query, (_ALL,))
            n_files, is_compacted = self._finish_removal(_ALL)
            return ForgetResult(
                removed["posts"], removed["tag_uses"], removed["photos"], removed["embeddings"],
                n_files, before, self._size_bytes(), is_compacted=is_compacted,
                had_lists=removed["lists"] > 0,
            )  # fmt: skip

    def _finish_removal(self, what: int) -> tuple[int, bool]:
        """Do what follows when rows were removed: files, then the space that the rows had.

        The file is rewritten without what was deleted, and the write-ahead log emptied. `what` is
        `needs_compacting`: `_ALL`, or less when the files are gone already.

        Gives how many files went; and False when another process has the store open or the disk
        has no room: the next opening for writing tries again.
        """
        n_files, db = 0, self._db
        with guarded(self.path):
            if what == _ALL:
                if not self.is_in_memory:
                    used = {row[0] for row in db.execute("SELECT DISTINCT digest FROM photos")}
                    derived = self.path.parent.glob(glob.escape(self.path.name) + ".snapshot*")
                    files = [*rows.copies_beside(self.path), *derived]
                    n_files = rows.remove_all(files, used)
                db.execute("UPDATE meta SET value = 1 WHERE name = 'needs_compacting'")
            try:
                db.execute("VACUUM")
                is_busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in _TRY_LATER:
                    raise
                return n_files, False
            if not is_busy:
                db.execute("UPDATE meta SET value = 0 WHERE name = 'needs_compacting'")
        return n_files, not is_busy

    def _delete_rows(self, user_id: str | None, post_ids: Collection[str]) -> dict[str, int]:
        """Say by table how many rows went; of photos, how many nobody shows now."""
        whose = "user = (SELECT id FROM users WHERE name = ?)"
        query = f"SELECT id FROM posts WHERE {whose} OR post_id {_CHOSEN}"  # noqa: S608
        found = self._db.execute(query, (user_id, json.dumps(list(post_ids))))
        chosen = (json.dumps([row[0] for row in found]),)
        query = f"SELECT DISTINCT digest FROM photos WHERE post {_CHOSEN} AND digest != ''"  # noqa: S608
        digests = (json.dumps([row[0] for row in self._db.execute(query, chosen)]),)
        removed: dict[str, int] = {}
        for table, column in (("tag_uses", "post"), ("photos", "post"), ("posts", "id")):
            found = self._db.execute(f"DELETE FROM {table} WHERE {column} {_CHOSEN}", chosen)  # noqa: S608
            removed[table] = found.rowcount
        query = "SELECT count(*) FROM json_each(?) WHERE value NOT IN (SELECT digest FROM photos)"
        (removed["photos"],) = self._db.execute(query, digests).fetchone()
        for table, is_orphan in _ORPHANS.items():
            removed[table] = self._db.execute(f"DELETE FROM {table} WHERE {is_orphan}").rowcount  # noqa: S608
        return {**removed, "lists": rows.delete_records(self._db, user_id)}

    def _size_bytes(self) -> int:
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def _path_key(self, path: str) -> str | bytes:
        return rows.path_to_db(path)

    def seen_at(self, post_ids: list[str]) -> dict[str, int]:
        """As `Store.seen_at`."""
        with self.reading():
            found = self._fetch("SELECT post_id, seen_at_us FROM posts", "post_id", post_ids)
            return {name: at for name, at in found if at is not None}

    def _next_revision(self) -> int:
        self._db.execute("UPDATE meta SET value = value + 1 WHERE name = 'revision'")
        return self._meta("revision")

    def _ids(self, table: str, names: set[str]) -> dict[str, int]:
        """Look names up in `users` or `tags`, adding those that are new."""
        query = f"SELECT name, id FROM {table}"  # noqa: S608
        found = dict(self._fetch(query, "name", names))
        if new := sorted(names - found.keys()):
            made = ((name,) for name in new)
            self._db.executemany(f"INSERT INTO {table} (name) VALUES (?)", made)  # noqa: S608
            found |= dict(self._fetch(query, "name", new))
        return found


def _head(post: Post, users: Mapping[str, int]) -> tuple[int | None, int | None]:
    """A post's person and time as they are kept."""
    user = None if post.user_id is None else users[post.user_id]
    return user, None if post.posted_at is None else microseconds(post.posted_at)


def _pairs(rows: list[tuple[Any, ...]]) -> Ints:
    return np.fromiter(chain.from_iterable(rows), np.int64, 2 * len(rows)).reshape(-1, 2)


def _places(rows: Ints, wanted: Ints) -> Ints:
    """Where each wanted row stands in `rows`; LookupError for one that is not there."""
    order = np.argsort(rows, kind="stable")
    found = np.searchsorted(rows, wanted, sorter=order)
    if len(wanted) and (found.max() == len(rows) or (rows[order[found]] != wanted).any()):
        raise LookupError("a tag or photo of a post that is not there")
    return order[found].astype(np.int64)
