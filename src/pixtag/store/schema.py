"""Opening the store's file, its numbered migrations, and SQLite's errors in plain words."""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from pixtag.errors import UPDATE, FullError, InputError, StoreError

APPLICATION_ID = 0x50585447  # marks a SQLite file as ours: "PXTG"
MEMORY = Path(":memory:")  # the path of a store that is in no file
_PAGE_BYTES = 8192  # holds three fp16 rows of 1,280 numbers; 4,096 would hold one, wasting a third
_LOG_BYTES = 2**26  # of the write-ahead log that stay on the disk once they are in the file
_ASKED_MS = 10  # SQLite asks after 1, 3, 8 and 10
_EMPTY = "this file is empty, not a store:"

_FILES = (Path(__file__).with_name(f"version_{number}.sql") for number in (1, 2, 3))
MIGRATIONS = tuple(file.read_text(encoding="utf-8") for file in _FILES)
"""What each version of the schema changes, in order. Never edit one that was released."""


def connect(
    path: Path, *, create: bool = False, read_only: bool = False, busy_timeout_s: float = 5.0
) -> sqlite3.Connection:
    """Open the store's file, or `MEMORY`, with its schema up to date, in autocommit mode.

    With `create` a missing or empty file is made; with `read_only` nothing is written but to bring
    an older schema up to date first. StoreError: as for `Store.open`.
    """
    is_new = path == MEMORY or _check_place(path, create=create and not read_only)
    is_frozen = read_only and _is_frozen(path)
    mode = "rwc" if is_new else "ro" if read_only else "rw"
    if is_frozen:
        mode = "ro&immutable=1"  # a store on a read-only disk: WAL could not make its index
    name = str(path) if path == MEMORY else f"file:{quote(os.fsencode(path))}?mode={mode}"
    if is_new and path != MEMORY:
        with suppress(OSError):  # SQLite says it better
            path.touch(0o600)  # for its owner alone, and so is what SQLite puts beside it
    with guarded(path):
        db = sqlite3.connect(
            name, busy_timeout_s, isolation_level=None, check_same_thread=False, uri=path != MEMORY
        )
        try:
            is_ready = _prepare(db, path, is_new=is_new, read_only=read_only)
        except BaseException:
            db.close()
            raise
    if is_ready:
        return db
    db.close()
    if is_frozen:
        what = f"{path} was written by an older Pixtag and cannot be brought up to date here"
        raise StoreError(what, hint="copy it to a place that can be written to")
    connect(path, busy_timeout_s=busy_timeout_s).close()
    return connect(path, read_only=True, busy_timeout_s=busy_timeout_s)


@contextmanager
def transaction(db: sqlite3.Connection) -> Generator[None]:
    """Write all of it or nothing."""
    _begin(db)
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite itself may have rolled back, as on a full disk
            db.execute("ROLLBACK")
        raise


def _begin(db: sqlite3.Connection) -> None:
    """Begin to write, waiting for others as long as the connection does, but asking more often.

    SQLite asks ten times a second, and an import pauses for less than that.
    """
    (most_ms,) = db.execute("PRAGMA busy_timeout").fetchone()
    until_s = time.monotonic() + most_ms / 1e3
    db.execute(f"PRAGMA busy_timeout = {min(most_ms, _ASKED_MS)}")
    try:
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not is_busy or time.monotonic() >= until_s:
                    raise
            else:
                return
    finally:
        db.execute(f"PRAGMA busy_timeout = {most_ms}")


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
    hint = "restore it from a backup, or move it away and import again"
    return StoreError(f"{path} is damaged ({detail})", hint=hint)


def _check_place(path: Path, *, create: bool) -> bool:
    """Tell whether the file has yet to be made."""
    if path.is_dir():
        raise StoreError(f"{path} is a folder, not a store", hint="name a file, as in my.sqlite")
    is_there = os.access(path, os.F_OK)
    if is_there and path.stat().st_size:
        return False
    if not create:
        raise _not_yet(path, _EMPTY if is_there else "there is no store at")
    if not path.parent.is_dir():
        what = f"the folder {path.parent} for the store does not exist"
        raise StoreError(what, hint="make it first")
    return True


def _not_yet(path: Path, what: str) -> StoreError:
    hint = f"make one with `pixtag import PATH --store {path.name}`"
    return StoreError(f"{what} {path}", hint=hint)


def _is_frozen(path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    return not log.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def _prepare(db: sqlite3.Connection, path: Path, *, is_new: bool, read_only: bool) -> bool:
    """Set the connection up and migrate; False for an older store that is only to be read."""
    if is_new:
        db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        db.execute("PRAGMA journal_mode = WAL")
    for setting in ("foreign_keys = ON", "synchronous = FULL", "cache_size = -32768"):
        db.execute(f"PRAGMA {setting}")
    db.execute("PRAGMA temp_store = MEMORY")
    db.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
    if is_new:
        _migrate(db)
        return True
    (application_id,) = db.execute("PRAGMA application_id").fetchone()
    if application_id != APPLICATION_ID:
        if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            what = f"{path} is a database of another program, not a Pixtag store"
            raise StoreError(what, hint="check the path, or choose a new name")
        if read_only:
            raise _not_yet(path, _EMPTY)
        _migrate(db)  # whoever made the file was killed before its first table
        return True
    if not (version := _version(db)):
        raise _damaged(path, "it has lost the number of its version")
    if version > len(MIGRATIONS):
        versions = f"store version {version}, this one reads up to {len(MIGRATIONS)}"
        what = f"{path} was written by a newer Pixtag ({versions})"
        raise StoreError(what, hint=UPDATE)
    if version < len(MIGRATIONS) and not read_only:
        _migrate(db)
    return version == len(MIGRATIONS) or not read_only


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT max(version) FROM schema_version").fetchone()[0] or 0)


def _migrate(db: sqlite3.Connection) -> None:
    """Apply the missing migrations."""
    with transaction(db):
        columns = "version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL"
        db.execute(f"CREATE TABLE IF NOT EXISTS schema_version ({columns})")
        # Read inside the transaction: another process may have done it in the meantime.
        for number in range(_version(db) + 1, len(MIGRATIONS) + 1):
            for statement in MIGRATIONS[number - 1].split(";\n"):
                db.execute(statement)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            db.execute("INSERT INTO schema_version VALUES (?, ?)", (number, now))
        for name, n_bytes in (("identity", 16), ("secret", 32)):
            random = secrets.token_hex(n_bytes)
            db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (name, random))
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


# What SQLite says of a store that has lost a part, or the count of the steps that made it.
_LACKING = re.compile(r"no such (table|column)|duplicate column name|table \S+ already exists")
_BUSY = "another process is writing to {path}", "wait until it has finished, then try again"
_OWNER = "{path} cannot be written to", "check who owns the file and its folder"
_FULL = "make room on the disk and run it again: what was finished is kept"
_BROKEN_DISK = "check the disk and the space left on it, then run it again"
_EXPLAINED = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_FULL: ("no space left for {path}", _FULL),
    sqlite3.SQLITE_NOTADB: ("{path} is not a Pixtag store", "check the path"),
    sqlite3.SQLITE_READONLY: _OWNER,
    sqlite3.SQLITE_PERM: _OWNER,
    sqlite3.SQLITE_CANTOPEN: ("{path} cannot be opened", _OWNER[1]),
    sqlite3.SQLITE_IOERR: ("reading or writing {path} failed ({error})", _BROKEN_DISK),
}


def _explained(error: sqlite3.Error, path: Path) -> StoreError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_CORRUPT or _LACKING.match(str(error)):
        return _damaged(path, str(error))
    message, hint = _EXPLAINED.get(code, ("{path}: {error}", "check that it is a Pixtag store"))
    kind = FullError if code == sqlite3.SQLITE_FULL else StoreError
    return kind(message.format(path=path, error=error), hint=hint)
