"""Removing a person from a store, so that their data cannot be found in its files."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from pixtag.lists import forget_lists, store_lists_path
from pixtag.store.results import BundleRecord, ForgetResult
from pixtag.store.schema import guarded

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

# Rows that only the removed posts kept alive, and leftovers of earlier updates.
_ORPHANS = {
    "embeddings": "DELETE FROM embeddings WHERE digest NOT IN (SELECT digest FROM photos)",
    "tags": "DELETE FROM tags WHERE id NOT IN (SELECT tag FROM tag_uses)",
    "users": ("DELETE FROM users WHERE id NOT IN (SELECT user FROM posts WHERE user IS NOT NULL)"),
    "failures": (
        "DELETE FROM failures WHERE target NOT IN (SELECT digest FROM photos) "
        "AND target NOT IN (SELECT path FROM photos)"
    ),
}
_TRY_LATER = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}


def forget_person(
    db: sqlite3.Connection,
    path: Path,
    writing: Callable[[], AbstractContextManager[None]],
    user_id: str,
    bundles: tuple[BundleRecord, ...],
) -> ForgetResult:
    """Remove a person's posts and everything derived from them.

    Args:
        db: The store.
        path: Its file.
        writing: Opens a transaction on it.
        user_id: The person.
        bundles: Bundles that were trained on them, for the result.

    Returns:
        What was removed.

    Raises:
        StoreError: The store cannot be written.
        ConfigError: The store's file of lists holds what cannot be; nothing is removed.
    """
    had_lists = forget_lists(store_lists_path(path), user_id)
    bytes_before = _size_bytes(path)
    db.execute("PRAGMA secure_delete = ON")
    with writing():
        removed = _delete_rows(db, user_id)
        db.execute("UPDATE meta SET value = value + 1 WHERE name = 'revision'")
        db.execute("UPDATE meta SET value = 1 WHERE name = 'needs_compacting'")
        used: set[str] = {row[0] for row in db.execute("SELECT DISTINCT digest FROM photos")}
    n_files = _remove_copies(path, used) + _remove_snapshots(path)
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
        had_lists=had_lists,
    )


def compact(db: sqlite3.Connection, path: Path) -> bool:
    """Rewrite the file without what was deleted, and empty the write-ahead log.

    Args:
        db: The store, outside a transaction.
        path: Its file.

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


def _delete_rows(db: sqlite3.Connection, user_id: str) -> dict[str, int]:
    theirs = "(SELECT posts.id FROM posts JOIN users ON users.id = user WHERE name = ?)"
    db.execute("CREATE TEMP TABLE IF NOT EXISTS gone (digest TEXT PRIMARY KEY)")
    db.execute("DELETE FROM gone")
    db.execute(
        f"INSERT OR IGNORE INTO gone SELECT digest FROM photos WHERE post IN {theirs} "  # noqa: S608
        "AND digest != ''",
        (user_id,),
    )
    removed: dict[str, int] = {}
    for table, column in (("tag_uses", "post"), ("photos", "post"), ("posts", "id")):
        removed[table] = db.execute(
            f"DELETE FROM {table} WHERE {column} IN {theirs}",  # noqa: S608
            (user_id,),
        ).rowcount
    (removed["photos"],) = db.execute(
        "SELECT count(*) FROM gone WHERE digest NOT IN (SELECT digest FROM photos)"
    ).fetchone()
    for table, statement in _ORPHANS.items():
        removed[table] = db.execute(statement).rowcount
    db.execute("DELETE FROM bundle_users WHERE user_name = ?", (user_id,))
    db.execute("DELETE FROM gone")
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
