"""Opening the store's file, its numbered migrations, and SQLite's errors in plain words."""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from pixtag.errors import InputError, StoreError

if TYPE_CHECKING:
    from collections.abc import Generator

APPLICATION_ID = 0x50585447
"""Marks a SQLite file as ours: "PXTG"."""

MEMORY = Path(":memory:")
"""The path of a store that is in no file."""

# Three fp16 rows of 1,280 numbers a page; 4,096 would hold one and waste a third.
_PAGE_BYTES = 8192

_FIRST = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE tags (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE posts (id INTEGER PRIMARY KEY, post_id TEXT NOT NULL UNIQUE,
    user INTEGER REFERENCES users, posted_at_us INTEGER);
CREATE INDEX posts_by_time ON posts (posted_at_us, post_id);
CREATE INDEX posts_by_user ON posts (user, posted_at_us);
CREATE TABLE tag_uses (post INTEGER NOT NULL REFERENCES posts, position INTEGER NOT NULL,
    tag INTEGER NOT NULL REFERENCES tags, PRIMARY KEY (post, position)) WITHOUT ROWID;
CREATE INDEX tag_uses_by_tag ON tag_uses (tag);
-- A path that is no valid Unicode is kept as its bytes.
CREATE TABLE photos (post INTEGER NOT NULL REFERENCES posts, position INTEGER NOT NULL,
    path NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (post, position)) WITHOUT ROWID;
CREATE INDEX photos_by_digest ON photos (digest);
CREATE TABLE encoders (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, width INTEGER NOT NULL);
CREATE TABLE embeddings (id INTEGER PRIMARY KEY, encoder INTEGER NOT NULL REFERENCES encoders,
    digest TEXT NOT NULL, vector BLOB NOT NULL, UNIQUE (digest, encoder));
CREATE TABLE failures (target PRIMARY KEY, kind TEXT NOT NULL, message TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE bundles (id INTEGER PRIMARY KEY, path NOT NULL UNIQUE, bundle_digest TEXT NOT NULL,
    trained_until_us INTEGER);
CREATE TABLE bundle_users (bundle INTEGER NOT NULL REFERENCES bundles, user_name TEXT NOT NULL,
    PRIMARY KEY (bundle, user_name)) WITHOUT ROWID;
CREATE INDEX bundle_users_by_user ON bundle_users (user_name);
INSERT INTO meta VALUES ('revision', 0), ('needs_compacting', 0);
"""

_CHANGES_AND_LISTS = """
-- The log of changes: the revision that last changed a post, and the last that removed any.
ALTER TABLE posts ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
UPDATE posts SET changed = (SELECT value FROM meta WHERE name = 'revision');
CREATE INDEX posts_by_change ON posts (changed);
-- When the store learned of a post; NULL for those of earlier versions.
ALTER TABLE posts ADD COLUMN seen_at_us INTEGER;
INSERT INTO meta VALUES ('removed', 0);
DELETE FROM tag_uses WHERE EXISTS (SELECT 1 FROM tag_uses AS earlier WHERE
    earlier.post = tag_uses.post AND earlier.tag = tag_uses.tag
    AND earlier.position < tag_uses.position);
DROP INDEX tag_uses_by_tag;
CREATE UNIQUE INDEX tag_uses_by_tag ON tag_uses (tag, post);
-- '' as user_name: everybody in this store. A person may have lists and no posts.
CREATE TABLE lists (id INTEGER PRIMARY KEY, user_name TEXT NOT NULL, list TEXT NOT NULL,
    tag TEXT NOT NULL, UNIQUE (user_name, list, tag));
"""

MIGRATIONS = (_FIRST, _CHANGES_AND_LISTS)
"""What each version of the schema changes, in order. Never edit one that was released."""


def connect(
    path: Path, *, create: bool, read_only: bool, busy_timeout_s: float
) -> sqlite3.Connection:
    """Open the store's file and bring its schema up to date.

    Args:
        path: The file, or `MEMORY`.
        create: Make it when it is missing or empty.
        read_only: Never write, but to bring an older schema up to date first.
        busy_timeout_s: How long to wait for another process's lock, seconds.

    Returns:
        A connection in autocommit mode, for any thread that holds the store's lock.

    Raises:
        StoreError: The file is missing, no store, newer, damaged, busy, or cannot be opened.
    """
    is_new = path == MEMORY or _check_place(path, create=create and not read_only)
    is_frozen = read_only and _is_frozen(path)
    mode = "rwc" if is_new else "ro" if read_only else "rw"
    if is_frozen:
        mode = "ro&immutable=1"  # a store on a read-only disk: WAL could not make its index
    name = str(path) if path == MEMORY else f"file:{quote(os.fsencode(path))}?mode={mode}"
    with guarded(path):
        db = sqlite3.connect(
            name,
            uri=path != MEMORY,
            timeout=busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
        )
    try:
        with guarded(path):
            is_ready = _prepare(db, path, is_new=is_new, read_only=read_only)
    except BaseException:
        db.close()
        raise
    if is_ready:
        return db
    db.close()
    if is_frozen:
        raise StoreError(
            f"{path} was written by an older Pixtag and cannot be brought up to date here",
            hint="copy it to a place that can be written to",
        )
    connect(path, create=False, read_only=False, busy_timeout_s=busy_timeout_s).close()
    return connect(path, create=False, read_only=True, busy_timeout_s=busy_timeout_s)


@contextmanager
def guarded(path: Path) -> Generator[None]:
    """Turn SQLite's errors into a `StoreError` that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explained(error, path) from error
    except UnicodeDecodeError as error:  # in a name that SQLite quotes in its own message
        raise _damaged(path, str(error)) from error


@contextmanager
def consistent(path: Path) -> Generator[None]:
    """Turn rows that do not fit together, as only a damaged file holds, into a `StoreError`."""
    try:
        yield
    except (LookupError, TypeError, ValueError, OverflowError, InputError) as error:
        raise _damaged(path, f"rows do not fit together: {error}") from error


def _damaged(path: Path, detail: str) -> StoreError:
    return StoreError(
        f"{path} is damaged ({detail})",
        hint="restore it from a backup, or move it away and import again",
    )


def _check_place(path: Path, *, create: bool) -> bool:
    """Tell whether the file has yet to be made."""
    if path.is_dir():
        raise StoreError(f"{path} is a folder, not a store", hint="name a file, as in my.sqlite")
    try:
        size_bytes = path.stat().st_size
    except OSError:
        size_bytes = None
    if size_bytes:
        return False
    if create:
        if not path.parent.is_dir():
            raise StoreError(
                f"the folder {path.parent} for the store does not exist", hint="make it first"
            )
        return True
    what = "there is no store at" if size_bytes is None else "this file is empty, not a store:"
    raise _not_yet(path, what)


def _not_yet(path: Path, what: str) -> StoreError:
    return StoreError(
        f"{what} {path}", hint=f"make one with `pixtag import PATH --store {path.name}`"
    )


def _is_frozen(path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    return not log.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def _prepare(db: sqlite3.Connection, path: Path, *, is_new: bool, read_only: bool) -> bool:
    """Set the connection up and migrate; False for an older store that is only to be read."""
    if is_new:
        db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA cache_size = -32768")
    db.execute("PRAGMA temp_store = MEMORY")
    if is_new:
        _migrate(db)
        return True
    (application_id,) = db.execute("PRAGMA application_id").fetchone()
    if application_id != APPLICATION_ID:
        n_tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if n_tables:
            raise StoreError(
                f"{path} is a database of another program, not a Pixtag store",
                hint="check the path, or choose a new name",
            )
        if read_only:
            raise _not_yet(path, "this file is empty, not a store:")
    version = _version(db)
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} was written by a newer Pixtag (store version {version}, this one reads up to "
            f"{len(MIGRATIONS)})",
            hint="upgrade Pixtag: pip install --upgrade pixtag",
        )
    if version < len(MIGRATIONS) and not read_only:
        _migrate(db)
    return version >= len(MIGRATIONS) or not read_only


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT max(version) FROM schema_version").fetchone()[0] or 0)


def _migrate(db: sqlite3.Connection) -> None:
    """Apply the missing migrations, each in a transaction of its own."""
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute(
            "CREATE TABLE IF NOT EXISTS schema_version "
            "(version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)"
        )
        # Read inside the transaction: another process may have done it in the meantime.
        for number in range(_version(db) + 1, len(MIGRATIONS) + 1):
            for statement in MIGRATIONS[number - 1].split(";\n"):
                db.execute(statement)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            db.execute("INSERT INTO schema_version VALUES (?, ?)", (number, now))
        db.execute("INSERT OR IGNORE INTO meta VALUES ('identity', ?)", (secrets.token_hex(16),))
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


_CHECK_OWNER = "check who owns the file and its folder"
_EXPLAINED = {
    sqlite3.SQLITE_BUSY: (
        "another process is writing to {path}",
        "wait until it has finished, then try again",
    ),
    sqlite3.SQLITE_FULL: (
        "no space left for {path}",
        "make room on the disk and run it again: what was finished is kept",
    ),
    sqlite3.SQLITE_NOTADB: ("{path} is not a Pixtag store", "check the path"),
    sqlite3.SQLITE_READONLY: ("{path} cannot be written to", _CHECK_OWNER),
    sqlite3.SQLITE_CANTOPEN: ("{path} cannot be opened", _CHECK_OWNER),
    sqlite3.SQLITE_IOERR: (
        "reading or writing {path} failed ({error})",
        "check the disk and the space left on it, then run it again",
    ),
}
_EXPLAINED[sqlite3.SQLITE_LOCKED] = _EXPLAINED[sqlite3.SQLITE_BUSY]
_EXPLAINED[sqlite3.SQLITE_PERM] = _EXPLAINED[sqlite3.SQLITE_READONLY]


def _explained(error: sqlite3.Error, path: Path) -> StoreError:
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if primary == sqlite3.SQLITE_CORRUPT:
        return _damaged(path, str(error))
    message, hint = _EXPLAINED.get(
        primary or 0, ("{path}: {error}", "check that it is a Pixtag store")
    )
    return StoreError(message.format(path=path, error=error), hint=hint)
