"""`Leases`: shards of a job, which processes on any machine claim from a PostgreSQL store.

A process that works on a job renews its sign of life. Whoever has given none for a lease's length
counts as gone, and what it had claimed is claimed by others. The last one to leave a job, or the
first one to come to one that was left by a kill, removes what is kept of it.
"""

from __future__ import annotations

import secrets

from pixtag.errors import InputError
from pixtag.store.base import Store
from pixtag.store.rows import Database

_ALIVE = (
    "EXISTS (SELECT FROM workers WHERE workers.name = owner AND seen_until > clock_timestamp())"
)
_CLAIM = f"""UPDATE shards SET owner = ?, tries = tries + 1 WHERE (job, key, place) = (
    SELECT job, key, place FROM shards WHERE job = ? AND key = ? AND result IS NULL
        AND NOT (owner IS NOT NULL AND {_ALIVE})
    ORDER BY place LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING place, shard, tries"""  # noqa: S608
_RENEW = """INSERT INTO workers VALUES (?, ?, clock_timestamp() + make_interval(secs => ?))
    ON CONFLICT (name) DO UPDATE SET seen_until = excluded.seen_until"""
_OFFER = """INSERT INTO shards (job, key, place, shard) SELECT ?, ?, place - 1, shard
    FROM unnest(?::text[]) WITH ORDINALITY AS offered (shard, place)"""
_LOCK = 0x50585448  # of coming and going


class Leases:
    """One process's part in a job.

    Args:
        store: In PostgreSQL; the leases lie in it.
        job: Who gives the same name does the same work.
        lease_s: How long after its last sign of life a process counts as gone.
    """

    def __init__(self, store: Store, job: str, *, lease_s: float) -> None:
        from pixtag.store.postgres import PostgresStore

        if not isinstance(store, PostgresStore):
            hint = "name one, postgresql://USER@HOST/DATABASE, by --store or --address"
            raise InputError(f"{store.address} holds no leases: it is not in PostgreSQL", hint=hint)
        self._store, self._job, self._lease_s = store, job, lease_s
        self._name = secrets.token_hex(8)

    def join(self) -> None:
        """Begin to take part."""
        with self._store.writing() as db:
            self._tidy(db)
            db.execute(_RENEW, (self._name, self._job, self._lease_s))

    def leave(self) -> None:
        """Take part no longer: what is claimed and not finished is for others."""
        with self._store.writing() as db:
            db.execute("DELETE FROM workers WHERE name = ?", (self._name,))
            self._tidy(db)

    def _tidy(self, db: Database) -> None:
        db.execute("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
        db.execute("DELETE FROM workers WHERE seen_until < clock_timestamp()")
        db.execute("DELETE FROM shards WHERE job NOT IN (SELECT job FROM workers)")

    def renew(self) -> None:
        """Give a sign of life."""
        with self._store.writing() as db:
            db.execute(_RENEW, (self._name, self._job, self._lease_s))

    def offer(self, key: str, shards: list[str]) -> int:
        """Settle the shards of a key, unless another process did; how many there are."""
        with self._store.writing() as db:
            db.execute("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
            query = "SELECT count(*) FROM shards WHERE job = ? AND key = ?"
            known: int = db.execute(query, (self._job, key)).fetchone()[0]
            if not known:
                db.execute(_OFFER, (self._job, key, shards))
        return known or len(shards)

    def claim(self, key: str) -> tuple[int, str, int] | None:
        """Take the first shard that nobody who is alive has; its place, itself, times taken."""
        with self._store.writing() as db:
            return db.execute(_CLAIM, (self._name, self._job, key)).fetchone()

    def finish(self, key: str, place: int, result: bytes) -> None:
        """Keep the result of a shard; the first one counts."""
        query = "UPDATE shards SET result = ? WHERE job = ? AND key = ? AND place = ?"
        with self._store.writing() as db:
            db.execute(f"{query} AND result IS NULL", (result, self._job, key, place))

    def give_back(self, key: str) -> None:
        """Leave what is claimed and not finished to others, as if it had never been claimed."""
        query = "UPDATE shards SET owner = NULL, tries = tries - 1 WHERE job = ? AND key = ?"
        with self._store.writing() as db:
            db.execute(f"{query} AND owner = ? AND result IS NULL", (self._job, key, self._name))

    def result(self, key: str, place: int) -> tuple[bytes | None] | None:
        """What a shard gave, or None; None alone when nobody knows of such a shard any more."""
        query = "SELECT result FROM shards WHERE job = ? AND key = ? AND place = ?"
        with self._store.reading() as db:
            return db.execute(query, (self._job, key, place)).fetchone()
