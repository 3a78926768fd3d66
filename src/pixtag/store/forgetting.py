"""Removing posts and people from a store, so that their data cannot be found in its files."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pixtag.store.schema import MEMORY, guarded

# Rows that only the removed posts kept alive, and leftovers of earlier updates.
_ORPHANS = {
    "embeddings": "digest NOT IN (SELECT digest FROM photos)",
    "tags": "id NOT IN (SELECT tag FROM tag_uses)",
    "users": "id NOT IN (SELECT user FROM posts WHERE user IS NOT NULL)",
    "failures": "target NOT IN (SELECT digest FROM photos UNION SELECT path FROM photos)",
}
_TRY_LATER = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """A model that was trained on this store, until a time (Unix seconds UTC) or None."""

    path: str
    bundle_digest: str
    trained_until: float | None


@dataclass(frozen=True, slots=True)
class ForgetResult:
    """What was removed for a person, and what remains elsewhere.

    Attributes:
        photos: Photos of theirs that nobody else's post shows.
        files: Copies of photos and derived files removed beside the store.
        bytes_before: Size of the store's files, and so `bytes_after`.
        bundles: Models that were trained on the person. They are not changed.
        is_compacted: False when another process or a full disk kept the file from shrinking; the
            next opening for writing tries again.
    """

    posts: int
    tag_uses: int
    photos: int
    embeddings: int
    files: int
    bytes_before: int
    bytes_after: int
    bundles: tuple[BundleRecord, ...] = ()
    is_compacted: bool = True
    had_lists: bool = False


def remove_rows(
    db: sqlite3.Connection,
    path: Path,
    writing: Callable[[], AbstractContextManager[None]],
    *,
    user_id: str | None = None,
    post_ids: Collection[str] = (),
) -> ForgetResult:
    """Remove posts, a person's posts, lists and records, and what is derived from them.

    `writing` opens a transaction on `db`, which is in the file `path`.
    """
    bytes_before = _size_bytes(path)
    db.execute("PRAGMA secure_delete = ON")
    with writing():
        removed = _delete_rows(db, user_id, post_ids)
        if removed["posts"]:
            db.execute("UPDATE meta SET value = value + 1 WHERE name = 'revision'")
            revision = "(SELECT value FROM meta WHERE name = 'revision')"
            db.execute(f"UPDATE meta SET value = {revision} WHERE name = 'removed'")  # noqa: S608
        db.execute("UPDATE meta SET value = 1 WHERE name = 'needs_compacting'")
        used: set[str] = {row[0] for row in db.execute("SELECT DISTINCT digest FROM photos")}
    n_files = 0 if path == MEMORY else _remove_files(path, used)
    is_compacted = compact(db, path)
    return ForgetResult(
        posts=removed["posts"],
        tag_uses=removed["tag_uses"],
        photos=removed["photos"],
        embeddings=removed["embeddings"],
        files=n_files,
        bytes_before=bytes_before,
        bytes_after=_size_bytes(path),
        is_compacted=is_compacted,
        had_lists=bool(removed["lists"]),
    )


def compact(db: sqlite3.Connection, path: Path) -> bool:
    """Rewrite the file without what was deleted, and empty the write-ahead log.

    False when another process has the store open or the disk has no room for the new file; the
    next opening for writing tries again.
    """
    with guarded(path):
        try:
            db.execute("VACUUM")
            is_busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _TRY_LATER:
                raise
            return False
        if is_busy:
            return False
        db.execute("UPDATE meta SET value = 0 WHERE name = 'needs_compacting'")
    return True


def _delete_rows(
    db: sqlite3.Connection, user_id: str | None, post_ids: Collection[str]
) -> dict[str, int]:
    """Say by table how many rows went; of photos, how many nobody shows now."""
    chosen = "IN (SELECT value FROM json_each(?))"
    whose = "user = (SELECT id FROM users WHERE name = ?)"
    query = f"SELECT id FROM posts WHERE {whose} OR post_id {chosen}"  # noqa: S608
    found = db.execute(query, (user_id, json.dumps(list(post_ids))))
    rows = (json.dumps([row[0] for row in found]),)
    query = f"SELECT DISTINCT digest FROM photos WHERE post {chosen} AND digest != ''"  # noqa: S608
    digests = (json.dumps([row[0] for row in db.execute(query, rows)]),)
    removed: dict[str, int] = {}
    for table, column in (("tag_uses", "post"), ("photos", "post"), ("posts", "id")):
        found = db.execute(f"DELETE FROM {table} WHERE {column} {chosen}", rows)  # noqa: S608
        removed[table] = found.rowcount
    query = "SELECT count(*) FROM json_each(?) WHERE value NOT IN (SELECT digest FROM photos)"
    (removed["photos"],) = db.execute(query, digests).fetchone()
    for table, is_orphan in _ORPHANS.items():
        removed[table] = db.execute(f"DELETE FROM {table} WHERE {is_orphan}").rowcount  # noqa: S608
    for table in ("bundle_users", "lists"):
        found = db.execute(f"DELETE FROM {table} WHERE user_name = ?", (user_id,))  # noqa: S608
        removed[table] = found.rowcount
    return removed


def _remove_files(path: Path, used: set[str]) -> int:
    """Delete derived files, and copies of photos (named by digest) that no post shows."""
    folder = path.with_name(path.name + ".photos")
    copies = list(folder.iterdir()) if folder.is_dir() else []
    gone = [file for file in copies if file.stem not in used and file.is_file()]
    gone += [f for f in path.parent.iterdir() if f.name.startswith(path.name + ".snapshot")]
    for file in gone:
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)
    return len(gone)


def _size_bytes(path: Path) -> int:
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
