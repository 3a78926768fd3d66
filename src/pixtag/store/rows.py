"""Posts to and from their rows, as columns too, and their removal, after which no file has them."""

from __future__ import annotations

import glob
import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from pixtag.errors import InputError, ShapeError
from pixtag.store.schema import MEMORY, guarded
from pixtag.types import Bools, Halfs, Ints, Post, PostLog, microseconds

MAX_SECONDS = 2.0**33
"""Within this of 1970 (1698 to 2242) a float of Unix seconds tells every microsecond apart."""

HEADS = "SELECT id, post_id, user, posted_at_us, seen_at_us FROM posts"
IN_ORDER = "ORDER BY posted_at_us, post_id"
_CHOSEN = "IN (SELECT value FROM json_each(?))"

# Rows that only the removed posts kept alive, and leftovers of earlier updates.
_ORPHANS = {
    "embeddings": "digest NOT IN (SELECT digest FROM photos)",
    "tags": "id NOT IN (SELECT tag FROM tag_uses)",
    "users": "id NOT IN (SELECT user FROM posts WHERE user IS NOT NULL)",
    "failures": "target NOT IN (SELECT digest FROM photos UNION SELECT path FROM photos)",
}
Name = TypeVar("Name", bound=Hashable)
_ALL = 2  # of what follows a removal nothing is done yet
_TRY_LATER = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}


class Rows(Protocol):
    """What a query gave."""

    @property
    def rowcount(self) -> int:
        """How many rows a change touched."""
        ...

    @property
    def description(self) -> Any:  # noqa: ANN401 - a sequence, the name of each column first
        """Describe the columns."""
        ...

    def fetchone(self) -> Any:  # noqa: ANN401 - a tuple of what was selected, or None
        """Give the next row, if any."""
        ...

    def fetchall(self) -> list[Any]:
        """Give all rows."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class Database(Protocol):
    """A connection inside a transaction: SQL that all engines understand, `?` for each value."""

    def execute(self, query: str, values: Sequence[Any] = (), /) -> Rows:
        """Run a statement."""
        ...

    def executemany(self, query: str, values: Iterable[Sequence[Any]], /) -> object:
        """Run a statement once for each row of values."""
        ...


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """A model that was trained on this store, until a time (Unix seconds UTC) or None."""

    path: str
    bundle_digest: str
    trained_until: float | None


@dataclass(frozen=True, slots=True)
class ForgetResult:
    """What was removed for a person, and what remains elsewhere."""

    posts: int
    tag_uses: int
    photos: int  # of theirs that nobody else's post shows
    embeddings: int
    files: int  # copies of photos and derived files beside the store
    bytes_before: int  # of the store's files, and so `bytes_after`
    bytes_after: int
    bundles: tuple[BundleRecord, ...] = ()  # models trained on the person, which are not changed
    is_compacted: bool = True  # False when another process or a full disk kept it from shrinking
    had_lists: bool = False


def write_posts(
    db: sqlite3.Connection,
    posts: list[Post],
    revision: int,
    seen_at: Mapping[str, int],
    known: Collection[str],
) -> None:
    """Insert posts, or replace those whose post_ids are `known`, as changed by a revision."""
    users = _ids(db, "users", {p.user_id for p in posts if p.user_id is not None})
    tags = _ids(db, "tags", {tag for post in posts for tag in post.tags})
    old = [post for post in posts if post.post_id in known]
    row_of: dict[str, int] = {}
    if old:
        found = fetch(db, "SELECT post_id, id FROM posts", "post_id", [p.post_id for p in old])
        row_of = dict(found)
        stale = [(row,) for row in row_of.values()]
        for table in ("tag_uses", "photos"):
            db.executemany(f"DELETE FROM {table} WHERE post = ?", stale)  # noqa: S608
        changed = ((*_head(post, users), revision, row_of[post.post_id]) for post in old)
        query = "UPDATE posts SET user = ?, posted_at_us = ?, changed = ? WHERE id = ?"
        db.executemany(query, changed)
    if len(old) < len(posts):
        (last,) = db.execute("SELECT coalesce(max(id), 0) FROM posts").fetchone()
        new = [post for post in posts if post.post_id not in known]
        row_of |= {post.post_id: row for row, post in enumerate(new, last + 1)}
        now = microseconds(time.time())
        made = (
            (row_of[p.post_id], p.post_id, *_head(p, users), revision, seen_at.get(p.post_id, now))
            for p in new
        )
        query = """INSERT INTO posts (id, post_id, user, posted_at_us, changed, seen_at_us)
            VALUES (?, ?, ?, ?, ?, ?)"""
        db.executemany(query, made)
    uses = ((row_of[p.post_id], i, tags[tag]) for p in posts for i, tag in enumerate(p.tags))
    db.executemany("INSERT INTO tag_uses VALUES (?, ?, ?)", uses)
    shown = [(row_of[p.post_id], i, one) for p in posts for i, one in enumerate(p.photos)]
    photos = [(row, i, path_to_db(one.path), one.digest) for row, i, one in shown]
    db.executemany("INSERT INTO photos VALUES (?, ?, ?, ?)", photos)
    readable = ((path,) for _, _, path, digest in photos if digest)
    db.executemany("DELETE FROM failures WHERE target = ?", readable)


def _head(post: Post, users: Mapping[str, int]) -> tuple[int | None, int | None]:
    """A post's person and time as they are kept."""
    user = None if post.user_id is None else users[post.user_id]
    return user, None if post.posted_at is None else microseconds(post.posted_at)


def checked_vectors(digests: Sequence[str], embeddings: Halfs | Sequence[Halfs]) -> Halfs:
    """Embeddings of photos as one array, or an `InputError`."""
    if len({np.shape(row) for row in embeddings}) > 1:
        raise ShapeError("embeddings of different widths")
    vectors = np.ascontiguousarray(embeddings, np.dtype("<f2"))
    if vectors.ndim != 2 or len(vectors) != len(digests):
        raise ShapeError(f"{len(digests)} photos but embeddings of shape {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise InputError("an embedding holds a number that is not finite")
    return vectors


def encoder_row(db: Database, digest: str, width: int) -> int:
    """The row of an encoder, made where there is none. ShapeError: it gave another width before."""
    query = "SELECT id, width FROM encoders WHERE digest = ?"
    if not (found := db.execute(query, (digest,)).fetchone()):
        made = "INSERT INTO encoders (digest, width) VALUES (?, ?) ON CONFLICT DO NOTHING"
        db.execute(made, (digest, width))
        found = db.execute(query, (digest,)).fetchone()
    row, known = found
    if known != width:
        what = f"embeddings {width} wide from an encoder whose earlier ones"
        raise ShapeError(f"{what} are {known} wide")
    return row


def laid_out(
    db: sqlite3.Connection, heads: list[Any], encoder_digest: str | None, *, is_all: bool
) -> PostLog:
    """Posts as columns, by rows of `HEADS`, which may be all that there are."""
    rows = np.fromiter((head[0] for head in heads), np.int64, len(heads))
    only = None if is_all else rows.tolist()
    people, user_of_post = numbered(head[2] for head in heads)
    name_of = dict(fetch(db, "SELECT id, name FROM users", "id", people))
    users = [name_of[row] for row in people]
    tags, tag_start, tag_ids = _tags(db, rows, only)
    has_photo, embeddings = _embeddings(db, rows, encoder_digest, only)
    names = [head[1] for head in heads]
    at = np.array([-np.inf if head[3] is None else head[3] / 1e6 for head in heads], np.float64)
    return PostLog(names, users, tags, user_of_post, at, tag_start, tag_ids, has_photo, embeddings)


def numbered(names: Iterable[Name | None]) -> tuple[list[Name], Ints]:
    """Number names in order of first appearance; None gets the number after the last."""
    order: dict[Name, int] = {}
    found = [-1 if name is None else order.setdefault(name, len(order)) for name in names]
    numbers = np.array(found, np.int64)
    numbers[numbers < 0] = len(order)
    return [*order], numbers


def _tags(
    db: sqlite3.Connection, rows: Ints, only: list[int] | None
) -> tuple[list[str], Ints, Ints]:
    """Lay tag uses out post by post, tags numbered in order of first appearance."""
    uses = fetch(db, "SELECT post, tag FROM tag_uses", "post", only, "ORDER BY post, position")
    pairs = _pairs(uses)
    place = _places(rows, pairs[:, 0])
    order = np.argsort(place, kind="stable")
    counts = np.bincount(place, minlength=len(rows))
    tag_start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    tag_rows, numbers = numbered(pairs[order, 1].tolist())
    named = None if only is None else tag_rows
    name_of = dict(fetch(db, "SELECT id, name FROM tags", "id", named))
    return [name_of[row] for row in tag_rows], tag_start, numbers


def _embeddings(
    db: sqlite3.Connection, rows: Ints, encoder_digest: str | None, only: list[int] | None
) -> tuple[Bools, Halfs]:
    """Average the embeddings of each post's photos."""
    query = "SELECT id, width FROM encoders WHERE digest = ?"
    encoder, width = db.execute(query, (encoder_digest,)).fetchone() or (None, 0)
    if encoder is None:
        return np.zeros(len(rows), np.bool_), np.zeros((len(rows), 0), np.float16)
    photos = fetch(db, "SELECT post, digest FROM photos", "post", only, "ORDER BY post, position")
    query = f"SELECT digest, vector FROM (SELECT * FROM embeddings WHERE encoder = {int(encoder)})"  # noqa: S608
    found = fetch(db, query, "digest", None if only is None else {name for _, name in photos})
    number = {digest: i for i, (digest, _) in enumerate(found)}
    vectors = np.frombuffer(b"".join(row[1] for row in found), "<f2").reshape(-1, width)
    known = _pairs([(post, number[digest]) for post, digest in photos if digest in number])
    return mean_vectors(vectors, _places(rows, known[:, 0]), known[:, 1], n_posts=len(rows))


def mean_vectors(vectors: Halfs, place: Ints, source: Ints, *, n_posts: int) -> tuple[Bools, Halfs]:
    """Which posts have a photo with an embedding, and the mean over each one's, `[N, D]`.

    A pair of `place` and `source` says that a post shows the photo of a row of `vectors`.
    """
    order = np.argsort(place, kind="stable")
    place, source = place[order], source[order]
    embeddings = np.zeros((n_posts, vectors.shape[1]), np.float16)
    counts = np.bincount(place, minlength=n_posts)
    is_single = counts[place] == 1
    embeddings[place[is_single]] = vectors[source[is_single]]
    # Posts with several photos are few: average them in full precision.
    several, start = np.unique(place[~is_single], return_index=True)
    if len(several):
        sums = np.add.reduceat(vectors[source[~is_single]].astype(np.float32), start, axis=0)
        embeddings[several] = (sums / counts[several, None]).astype(np.float16)
    return counts > 0, embeddings


def remove_rows(
    db: sqlite3.Connection,
    path: Path,
    writing: Callable[[], AbstractContextManager[sqlite3.Connection]],
    *,
    user_id: str | None = None,
    post_ids: Collection[str] = (),
) -> ForgetResult:
    """Remove posts, or a person's posts, lists and records, with all that derives from them."""
    bytes_before = _size_bytes(path)
    db.execute("PRAGMA secure_delete = ON")
    with writing():
        removed = _delete_rows(db, user_id, post_ids)
        if removed["posts"]:
            db.execute("UPDATE meta SET value = value + 1 WHERE name = 'revision'")
            revision = "(SELECT value FROM meta WHERE name = 'revision')"
            db.execute(f"UPDATE meta SET value = {revision} WHERE name = 'removed'")  # noqa: S608
        db.execute(f"UPDATE meta SET value = {_ALL} WHERE name = 'needs_compacting'")  # noqa: S608
    n_files, is_compacted = finish_removal(db, path, _ALL)
    tables = ("posts", "tag_uses", "photos", "embeddings")
    posts, uses, photos, embeddings = (removed[table] for table in tables)
    found = ForgetResult(posts, uses, photos, embeddings, n_files, bytes_before, _size_bytes(path))
    return replace(found, is_compacted=is_compacted, had_lists=removed["lists"] > 0)


def finish_removal(db: sqlite3.Connection, path: Path, what: int) -> tuple[int, bool]:
    """Do what follows when rows were removed: files, then the space that rows had in the store's.

    The file is rewritten without what was deleted, and the write-ahead log emptied. `what` is the
    store's `needs_compacting`: `_ALL`, or less when the files are gone already.

    Gives how many files went; and False when another process has the store open or the disk has no
    room: the next opening for writing tries again.
    """
    n_files = 0
    with guarded(path):
        if what == _ALL:
            used: set[str] = {row[0] for row in db.execute("SELECT DISTINCT digest FROM photos")}
            derived = path.parent.glob(glob.escape(path.name) + ".snapshot*")
            n_files = 0 if path == MEMORY else remove_all([*copies_beside(path), *derived], used)
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


def _delete_rows(
    db: sqlite3.Connection, user_id: str | None, post_ids: Collection[str]
) -> dict[str, int]:
    """Say by table how many rows went; of photos, how many nobody shows now."""
    whose = "user = (SELECT id FROM users WHERE name = ?)"
    query = f"SELECT id FROM posts WHERE {whose} OR post_id {_CHOSEN}"  # noqa: S608
    found = db.execute(query, (user_id, json.dumps(list(post_ids))))
    rows = (json.dumps([row[0] for row in found]),)
    query = f"SELECT DISTINCT digest FROM photos WHERE post {_CHOSEN} AND digest != ''"  # noqa: S608
    digests = (json.dumps([row[0] for row in db.execute(query, rows)]),)
    removed: dict[str, int] = {}
    for table, column in (("tag_uses", "post"), ("photos", "post"), ("posts", "id")):
        found = db.execute(f"DELETE FROM {table} WHERE {column} {_CHOSEN}", rows)  # noqa: S608
        removed[table] = found.rowcount
    query = "SELECT count(*) FROM json_each(?) WHERE value NOT IN (SELECT digest FROM photos)"
    (removed["photos"],) = db.execute(query, digests).fetchone()
    for table, is_orphan in _ORPHANS.items():
        removed[table] = db.execute(f"DELETE FROM {table} WHERE {is_orphan}").rowcount  # noqa: S608
    return {**removed, "lists": delete_records(db, user_id)}


def delete_records(db: Database, user_id: str | None) -> int:
    """Remove what is kept of a person besides posts; say how many entries of lists that was."""
    db.execute("DELETE FROM bundle_users WHERE user_name = ?", (user_id,))
    served = "served IN (SELECT id FROM served WHERE user_name = ?)"
    db.execute(f"DELETE FROM feedback WHERE {served}", (user_id,))  # noqa: S608
    for table in ("keys", "requests", "served", "sets", "written"):
        db.execute(f"DELETE FROM {table} WHERE user_name = ?", (user_id,))  # noqa: S608
    return db.execute("DELETE FROM lists WHERE user_name = ?", (user_id,)).rowcount


def copies_beside(path: Path) -> list[Path]:
    """Kept copies of photos, named by digest."""
    folder = path.with_name(path.name + ".photos")
    return [file for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []


def remove_all(files: list[Path], used: set[str]) -> int:
    """Delete files and folders, but not those with one of these names, and say how many."""
    gone = [file for file in files if file.stem not in used]
    for file in gone:
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)
    return len(gone)


def _size_bytes(path: Path) -> int:
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def fetch(
    db: sqlite3.Connection, query: str, column: str, only: Collection[Any] | None, order: str = ""
) -> list[tuple[Any, ...]]:
    """Run a query for all rows, or for those whose column holds one of some values."""
    if only is None:
        return db.execute(f"{query} {order}").fetchall()
    query = f"{query} WHERE {column} {_CHOSEN} {order}"
    return db.execute(query, (json.dumps(list(only)),)).fetchall()


def _pairs(rows: list[tuple[Any, ...]]) -> Ints:
    return np.fromiter(chain.from_iterable(rows), np.int64, 2 * len(rows)).reshape(-1, 2)


def _places(rows: Ints, wanted: Ints) -> Ints:
    """Where each wanted row stands in `rows`; LookupError for one that is not there."""
    order = np.argsort(rows, kind="stable")
    found = np.searchsorted(rows, wanted, sorter=order)
    if len(wanted) and (found.max() == len(rows) or (rows[order[found]] != wanted).any()):
        raise LookupError("a tag or photo of a post that is not there")
    return order[found].astype(np.int64)


def _ids(db: sqlite3.Connection, table: str, names: set[str]) -> dict[str, int]:
    """Look names up in `users` or `tags`, adding those that are new."""
    query = f"SELECT name, id FROM {table}"  # noqa: S608
    found = dict(fetch(db, query, "name", names))
    if new := sorted(names - found.keys()):
        made = ((name,) for name in new)
        db.executemany(f"INSERT INTO {table} (name) VALUES (?)", made)  # noqa: S608
        found |= dict(fetch(db, query, "name", new))
    return found


def seconds(at_us: int | None) -> float | None:
    """Turn what is kept into Unix seconds."""
    return None if at_us is None else at_us / 1e6


def safe_text(text: str) -> str:
    """Escape what is no valid Unicode."""
    return text.encode("utf-8", "backslashreplace").decode()


def is_safe(name: str) -> bool:
    """Whether a name comes back as it was from the store."""
    return "\0" not in name and safe_text(name) == name


def path_to_db(path: str) -> str | bytes:
    """Keep a path as text, or as its bytes when they are no valid Unicode."""
    if safe_text(path) == path:
        return path
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return safe_text(path)  # no file can have this name


def path_from_db(value: str | bytes) -> str:
    """Read a path as the file system's functions take it."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
