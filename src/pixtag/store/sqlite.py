"""`SqliteStore`: a store in one SQLite file.

Beside the file lie, where they were made, `FILE.photos/` (kept copies of photos) and
`FILE.snapshot*` (derived data that can be made again).
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from pixtag.errors import StoreError
from pixtag.lists import Lists
from pixtag.store import rows
from pixtag.store.base import WRONG_LENGTH, Changes, Cursor, Store
from pixtag.store.rows import ForgetResult
from pixtag.store.schema import MEMORY, connect, consistent, guarded, transaction
from pixtag.types import Halfs, Photo, Post, PostLog

_DAMAGE = (
    ("PRAGMA integrity_check(20)", "SQLite reports: {0}"),
    ("PRAGMA foreign_key_check", "table {0}, row {1} points to nothing in {2}"),
    WRONG_LENGTH,
)  # queries that find damage in a store, and a sentence for each row


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
                rows.finish_removal(self._db, path, what)  # of a forgetting that was interrupted
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
        with self.reading() as db:
            found = rows.fetch(db, "SELECT id FROM posts", "post_id", post_ids)
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
        with self.reading() as db:
            heads = rows.fetch(db, rows.HEADS, "post_id", post_ids, rows.IN_ORDER)
            if seen_before is not None:
                heads = [head for head in heads if (head[4] or 0) < seen_before * 1e6]
            is_all = post_ids is None and seen_before is None
            return rows.laid_out(db, heads, encoder_digest, is_all=is_all)

    def logs(self, encoder_digest: str | None = None, *, n_posts: int) -> Generator[PostLog]:
        """As `Store.logs`."""
        with self.reading() as db:
            heads = db.execute(f"{rows.HEADS} {rows.IN_ORDER}")
            while part := heads.fetchmany(n_posts):
                yield rows.laid_out(db, part, encoder_digest, is_all=False)

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

    def _lists_of(self, entries: list[tuple[Any, ...]]) -> Lists:
        with consistent(self.path):
            return super()._lists_of(entries)

    def _load(self, ids: list[int]) -> list[Post]:
        with self.reading() as db:
            tags = defaultdict[int, list[str]](list)
            uses = "SELECT post, name FROM tag_uses JOIN tags ON tags.id = tag"
            in_order = "ORDER BY post, position"
            for post, tag in rows.fetch(db, uses, "post", ids, in_order):
                tags[post].append(tag)
            photos = defaultdict[int, list[Photo]](list)
            shown = "SELECT post, path, digest FROM photos"
            for post, path, digest in rows.fetch(db, shown, "post", ids, in_order):
                photos[post].append(Photo(rows.path_from_db(path), digest))
            heads = """SELECT p.id, post_id, name, posted_at_us
                FROM posts p LEFT JOIN users u ON u.id = user"""
            found = {
                row: Post(name, user, rows.seconds(at), tuple(tags[row]), tuple(photos[row]))
                for row, name, user, at in rows.fetch(db, heads, "p.id", ids)
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
            rows.write_posts(self._db, fresh, self._next_revision(), seen_at, stored.keys())
        return counts

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
            return rows.remove_rows(
                self._db, self.path, self.writing, user_id=user_id, post_ids=post_ids
            )

    def _path_key(self, path: str) -> str | bytes:
        return rows.path_to_db(path)

    def seen_at(self, post_ids: list[str]) -> dict[str, int]:
        """As `Store.seen_at`."""
        with self.reading() as db:
            found = rows.fetch(db, "SELECT post_id, seen_at_us FROM posts", "post_id", post_ids)
            return {name: at for name, at in found if at is not None}

    def _next_revision(self) -> int:
        self._db.execute("UPDATE meta SET value = value + 1 WHERE name = 'revision'")
        return self._meta("revision")
