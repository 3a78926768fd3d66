"""Connections to a PostgreSQL server, the schema there, and its errors in plain words."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pixtag.errors import UPDATE, StoreError
from pixtag.places import printable
from pixtag.store.rows import Rows

Connection = psycopg.Connection[tuple[Any, ...]]

SCHEMA = "pixtag"  # everything lies in this schema of the database
_MOST_CONNECTIONS = 8  # of one object
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0
_LOCK = 0x50585447  # of migrations: "PXTG"
_DEFAULTS: dict[str, Any] = {
    "application_name": "pixtag",
    "client_encoding": "UTF8",
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "tcp_user_timeout": 10_000,
}


def _ported(name: str) -> str:
    """A migration of the SQLite file in PostgreSQL's words."""
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    text = re.sub(r"\bTEXT\b", 'TEXT COLLATE "C"', text.replace(" WITHOUT ROWID", ""))
    text = text.replace("id INTEGER PRIMARY KEY", "id ID PRIMARY KEY")
    text = re.sub(r"\bINTEGER\b", "BIGINT", text).replace("BLOB", "BYTEA")
    return text.replace("id ID PRIMARY KEY", "id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY")


MIGRATIONS = {
    3: Path(__file__).with_name("postgres_3.sql").read_text(encoding="utf-8")
    + _ported("version_3.sql"),
    4: Path(__file__).with_name("postgres_4.sql").read_text(encoding="utf-8"),
}
"""What each version of the schema changes; there was no PostgreSQL before version 3."""


class CollidedError(StoreError):
    """Another transaction got between; the same work can be done again."""


class Server:
    """Connections to one database, of which a thread has at most one.

    Idle ones are kept. While the server cannot be reached, it is asked again after pauses that
    grow to five seconds; in between everybody gets the error at once.
    """

    def __init__(self, address: str, *, busy_timeout_s: float) -> None:
        self.address, self._busy_timeout_s = printable(address), busy_timeout_s
        with explained(self.address):
            given = conninfo_to_dict(address)
            self._target = make_conninfo("", **{**_DEFAULTS, **given})
        self.database = str(given.get("dbname") or given.get("user") or "default")
        self._idle: list[Connection] = []
        self._lock, self._local = threading.Lock(), threading.local()
        self._places = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._ask_at, self._pause_s = 0.0, 0.0
        self._is_closed = False

    @property
    def held(self) -> Connection | None:
        """The connection of the transaction that this thread is in."""
        return getattr(self._local, "connection", None)

    def close(self) -> None:
        """Close idle connections, and the others when they are given back."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def transaction(self, begin: bytes) -> Generator[Connection]:
        """Run a transaction on a connection of this thread's, or go on with the one that it is in.

        An empty `begin` makes each statement one of its own.
        """
        with explained(self.address):
            if (held := self.held) is not None:
                yield held
                return
            if not self._places.acquire(timeout=self._busy_timeout_s):
                what = f"all {_MOST_CONNECTIONS} connections to {self.address} are busy"
                raise StoreError(what, hint="try again")
            try:
                connection = self._begun(begin)
                self._local.connection = connection
                try:
                    yield connection
                    if begin:
                        connection.execute(b"COMMIT")
                finally:
                    self._local.connection = None
                    self._give_back(connection)
            finally:
                self._places.release()

    def _begun(self, begin: bytes) -> Connection:
        while True:
            with self._lock:
                idle = self._idle.pop() if self._idle else None
            connection = idle or self._connected()
            try:
                connection.pgconn.consume_input()  # an end of the connection shows here
                if begin:
                    connection.execute(begin)
            except psycopg.OperationalError:
                connection.close()
                if idle is None:
                    raise
            else:
                return connection

    def _give_back(self, connection: Connection) -> None:
        with suppress(psycopg.Error):
            if connection.info.transaction_status in {
                psycopg.pq.TransactionStatus.INTRANS, psycopg.pq.TransactionStatus.INERROR,
            }:  # fmt: skip
                connection.execute(b"ROLLBACK")
        is_idle = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with self._lock:
            if is_idle and not self._is_closed:
                self._idle.append(connection)
                return
        connection.close()

    def _connected(self) -> Connection:
        with self._lock:
            if self._is_closed:
                raise StoreError(f"{self.address} was closed", hint="open it again")
            if time.monotonic() < self._ask_at:
                raise _unreachable(self.address, "it could not be reached a moment ago")
        try:
            connection: Connection = psycopg.connect(self._target, autocommit=True)
        except psycopg.OperationalError:
            with self._lock:
                self._pause_s = min(max(2 * self._pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
                self._ask_at = time.monotonic() + self._pause_s
            raise
        self._pause_s = 0.0
        settings = {
            "search_path": f"{SCHEMA}, pg_temp",
            "lock_timeout": f"{self._busy_timeout_s * 1e3:.0f}",
            "client_min_messages": "warning",
            "jit": "off",
        }
        for name, value in settings.items():
            query = b"SELECT set_config(%s, %s, false)"
            connection.execute(query, (name, value), prepare=False)
        return connection


class Portable:
    """A connection for SQL that is written for both engines, with `?` for each value."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, query: str, values: Sequence[Any] = (), /) -> Rows:
        """Run a statement."""
        cursor = psycopg.ClientCursor(self._connection)
        return cursor.execute(_translated(query), _plain(values))

    def executemany(self, query: str, values: Iterable[Sequence[Any]], /) -> object:
        """Run a statement once for each row of values."""
        cursor = psycopg.ClientCursor(self._connection)
        return cursor.executemany(_translated(query), [_plain(row) for row in values])


@lru_cache(1024)
def _translated(query: str) -> bytes:
    """Turn `?` outside quotes into psycopg's `%s`."""
    parts = query.replace("%", "%%").split("'")
    parts[::2] = [part.replace("?", "%s") for part in parts[::2]]
    return "'".join(parts).encode()


def _plain(values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(int(value) if isinstance(value, bool) else value for value in values)


def bring_up_to_date(server: Server, *, create: bool, read_only: bool) -> None:
    """Make the schema where there is none, if `create`, or do the migrations that it lacks."""
    newest = max(MIGRATIONS)
    with server.transaction(b"") as db:
        version = _version(db)
        is_restored = bool(version) and not read_only and _is_restored(db)
    if version is None and not (create and not read_only):
        hint = f"make one with `pixtag import PATH --store {server.address}`"
        raise StoreError(f"there is no store in {server.address}", hint=hint)
    if version is not None and version > newest:
        versions = f"store version {version}, this one reads up to {newest}"
        what = f"{server.address} was written by a newer Pixtag ({versions})"
        raise StoreError(what, hint=UPDATE)
    if version == newest and not is_restored:
        return
    with server.transaction(b"BEGIN") as db:
        db.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        # Read under the lock: another process may have done it in the meantime.
        if (version := _version(db)) is None:
            _make(db, server.address)
        for number in sorted(n for n in MIGRATIONS if n > (version or 0)):
            db.execute(MIGRATIONS[number].encode())
            db.execute("INSERT INTO schema_version VALUES (%s, now())", (number,))
        for name, n_bytes in (("identity", 16), ("secret", 32)):
            query = "INSERT INTO names VALUES (%s, %s) ON CONFLICT DO NOTHING"
            db.execute(query, (name, secrets.token_hex(n_bytes)))
        if _is_restored(db):
            # Numbers of transactions of another server say nothing here: every reader begins anew.
            db.execute("UPDATE posts SET changed = pg_current_xact_id()")
            db.execute("DELETE FROM removals")
            query = "UPDATE names SET value = %s WHERE name = 'identity'"
            db.execute(query, (secrets.token_hex(16),))


def _version(db: Connection) -> int | None:
    # By a query: to_regclass may answer from a cache of before the lock.
    table = f"schemaname = '{SCHEMA}' AND tablename = 'schema_version'"
    if not _one(db, f"SELECT count(*) FROM pg_tables WHERE {table}")[0]:  # noqa: S608
        return None
    return _one(db, "SELECT coalesce(max(version), 0) FROM schema_version")[0]


def _is_restored(db: Connection) -> bool:
    """Whether posts come from a server that had counted further, by way of a dump."""
    later = "changed >= pg_snapshot_xmax(pg_current_snapshot())"
    return bool(_one(db, f"SELECT EXISTS (SELECT FROM posts WHERE {later})")[0])  # noqa: S608


def _make(db: Connection, address: str) -> None:
    encoding, schema = _one(db, f"SELECT getdatabaseencoding(), to_regnamespace('{SCHEMA}')")
    if encoding != "UTF8":
        what = f"{address} is encoded as {encoding}, which cannot hold every hashtag"
        raise StoreError(what, hint="createdb --encoding=UTF8 --template=template0 NAME")
    if schema is None:
        db.execute(f"CREATE SCHEMA {SCHEMA}".encode())
    db.execute("CREATE TABLE schema_version (version int PRIMARY KEY, applied_at timestamptz)")


def _one(db: Connection, query: str) -> tuple[Any, ...]:
    found = db.execute(query.encode()).fetchone()
    return () if found is None else found


@contextmanager
def explained(address: str) -> Generator[None]:
    """Turn PostgreSQL's errors into a `StoreError` that says what to do."""
    try:
        yield
    except psycopg.Error as error:
        raise _explained(error, address) from error


_BUSY = "another process is writing to {address}", "wait until it has finished, then try again"
_RIGHTS = "{address}: {error}", "docs/postgresql.md lists the rights that a store needs"
_FULL = (
    "no space left for {address}",
    "make room on its disk and run it again: what was finished is kept",
)
_EXPLAINED = {
    "25006": ("{address} can only be read: {error}", "name the primary server, not a replica"),
    "42501": _RIGHTS,
    "53100": _FULL,
    "55P03": _BUSY,
}
_AGAIN = {"40001", "40P01", "23505"}  # others got between: not in a row, deadlock, same key
_GONE = ("08", "57P", "53300")  # the connection is lost, the server stops, or has no place


def _unreachable(address: str, why: str) -> StoreError:
    hint = "check the address, and that the server runs and has this database and user"
    return StoreError(f"{address} cannot be reached: {why}", hint=hint)


def _explained(error: psycopg.Error, address: str) -> StoreError:
    text = " ".join(str(error).split())
    state = error.sqlstate or ""
    if state in _AGAIN:
        return CollidedError(_BUSY[0].format(address=address), hint=_BUSY[1])
    if state.startswith(_GONE) or (not state and isinstance(error, psycopg.OperationalError)):
        return _unreachable(address, text.rpartition("FATAL: ")[2])  # what the server says, if any
    message, hint = _EXPLAINED.get(state, ("{address}: {error}", "check that it is a Pixtag store"))
    return StoreError(message.format(address=address, error=text), hint=hint)
