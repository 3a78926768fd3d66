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
    "embeddings": "DELETE FROM embeddings WHERE digest NOT IN (SELECT digest FROM photos)",
    "tags": "DELETE FROM tags WHERE id NOT IN (SELECT tag FROM tag_uses)",
    "users": "DELETE FROM users WHERE id NOT IN (SELECT user FROM posts WHERE user IS NOT NULL)",
    "failures": (
        "DELETE FROM failures WHERE target NOT IN (SELECT digest FROM photos) "
        "AND target NOT IN (SELECT path FROM photos)"
    ),
}
_TRY_LATER = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """A bundle that was trained on this store, until a time (Unix seconds UTC) or None."""

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
        bundles: Bundles that were trained on the person. They are not changed.
        is_compacted: False when another process or a full disk kept the file from shrinking; the
            next opening for writing tries again.
        had_lists: Whether the person had lists of tags, which went too.
    """

    posts: int
    tag_uses: int
    photos: int
    embeddings: int
    files: int
    bytes_before: int
    bytes_after: int
    bundles: tuple[BundleRecord, ...]
    is_compacted: bool
    had_lists: bool = False


def remove_rows(
    db: sqlite3.Connection,
    path: Path,
    writing: Callable[[], AbstractContextManager[None]],
    *,
    user_id: str | None = None,
    post_ids: Collection[str] = (),
    bundles: tuple[BundleRecord, ...] = (),
) -> ForgetResult:
    """Remove posts, what is derived from them, and a person's lists and records.

    Args:
        db: The store, in the file `path`.
        path: Its file, beside which derived files lie.
        writing: Opens a transaction on it.
        user_id: Whose posts, and what else the store knows of them.
        post_ids: Posts to remove in addition.
        bundles: Bundles that were trained on them, for the result.
    """
    bytes_before = _size_bytes(path)
    db.execute("PRAGMA secure_delete = ON")
    with writing():
        removed = _delete_rows(db, user_id, post_ids)
        if removed["posts"]:
            db.execute("UPDATE meta SET value = value + 1 WHERE name = 'revision'")
            db.execute(
                "UPDATE meta SET value = (SELECT value FROM meta WHERE name = 'revision') "
                "WHERE name = 'removed'"
            )
        db.execute("UPDATE meta SET value = 1 WHERE name = 'needs_compacting'")
        used: set[str] = {row[0] for row in db.execute("SELECT DISTINCT digest FROM photos")}
    n_files = 0 if path == MEMORY else _remove_copies(path, used) + _remove_snapshots(path)
    is_compacted = compact(db, path)
    return ForgetResult(
        posts=removed["posts"],
        tag_uses=removed["tag_uses"],
        photos=removed["photos"],
        embeddings=removed["embeddings"],
        files=n_files,
        bytes_before=bytes_before,
        bytes_after=_size_bytes(path),
        bundles=bundles,
        is_compacted=is_compacted,
        had_lists=bool(removed["lists"]),
    )


def compact(db: sqlite3.Connection, path: Path) -> bool:
    """Rewrite the file without what was deleted, and empty the write-ahead log.

    Returns:
        False when another process has the store open or the disk has no room for the new file;
        the next opening for writing tries again.
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
    db.execute("CREATE TEMP TABLE gone_posts AS SELECT id FROM posts WHERE 0")
    db.execute("CREATE TEMP TABLE gone_photos AS SELECT digest FROM photos WHERE 0")
    db.execute(
        "INSERT INTO gone_posts SELECT id FROM posts "
        "WHERE user = (SELECT id FROM users WHERE name = ?) "
        "OR post_id IN (SELECT value FROM json_each(?))",
        (user_id, json.dumps(list(post_ids))),
    )
    db.execute(
        "INSERT INTO gone_photos SELECT DISTINCT digest FROM photos "
        "WHERE post IN (SELECT id FROM gone_posts) AND digest != ''"
    )
    removed = {
        table: db.execute(
            f"DELETE FROM {table} WHERE {column} IN (SELECT id FROM gone_posts)"  # noqa: S608
        ).rowcount
        for table, column in (("tag_uses", "post"), ("photos", "post"), ("posts", "id"))
    }
    (removed["photos"],) = db.execute(
        "SELECT count(*) FROM gone_photos WHERE digest NOT IN (SELECT digest FROM photos)"
    ).fetchone()
    for table, statement in _ORPHANS.items():
        removed[table] = db.execute(statement).rowcount
    for table in ("bundle_users", "lists"):
        removed[table] = db.execute(
            f"DELETE FROM {table} WHERE user_name = ?",  # noqa: S608
            (user_id,),
        ).rowcount
    db.execute("DROP TABLE gone_posts")
    db.execute("DROP TABLE gone_photos")
    return removed


def _remove_copies(path: Path, used: set[str]) -> int:
    """Delete kept copies of photos that no post shows; they are named by digest."""
    folder = path.with_name(path.name + ".photos")
    if not folder.is_dir():
        return 0
    gone = [file for file in folder.iterdir() if file.stem not in used and file.is_file()]
    for file in gone:
        file.unlink(missing_ok=True)
    return len(gone)


def _remove_snapshots(path: Path) -> int:
    """Delete derived files beside the store; they are made again when needed."""
    gone = [file for file in path.parent.iterdir() if file.name.startswith(path.name + ".snapshot")]
    for file in gone:
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)
    return len(gone)


def _size_bytes(path: Path) -> int:
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
