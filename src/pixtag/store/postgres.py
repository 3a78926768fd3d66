"""`PostgresStore`: a store in a schema of a PostgreSQL database (14 or later), for many servers.

A post is one row, with its tags and photos in it and the number of the transaction that last
changed it. Nothing is counted in the transaction of a request, so writers wait for each other only
where they bring the same new name; whoever reads derives counts. Embeddings are bytes: no extension
is needed.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from pixtag.errors import StoreError
from pixtag.places import cache_folder, default_store
from pixtag.store import rows
from pixtag.store.base import Changes, Cursor, Store
from pixtag.store.rows import ForgetResult
from pixtag.store.server import SCHEMA, CollidedError, Portable, Server, bring_up_to_date
from pixtag.types import Bools, Halfs, Photo, Post, PostLog, microseconds

_FEW = 32  # posts that are inserted one by one; more come by COPY
_TRIES = 4
_SNAPSHOT = b"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"

_COLUMNS = ("post_id", '"user"', "posted_at_us", "seen_at_us", "tags", "paths", "digests")
_TYPES = ("text", "text", "int8", "int8", "text[]", "bytea[]", "text[]")
_LIST = ", ".join(_COLUMNS)
# Rows of posts become posts, unless they are known and the same; says of each whether it is new.
_UPSERT = """ON CONFLICT (post_id) DO UPDATE SET "user" = excluded."user",
    posted_at_us = excluded.posted_at_us, tags = excluded.tags, paths = excluded.paths,
    digests = excluded.digests, changed = excluded.changed
    WHERE (posts."user", posts.posted_at_us, posts.tags, posts.paths, posts.digests)
        IS DISTINCT FROM (excluded."user", excluded.posted_at_us, excluded.tags,
            excluded.paths, excluded.digests)
    RETURNING xmax = 0"""
_INSERT = f"""INSERT INTO posts ({_LIST})
    VALUES ({", ".join(f"%s::{kind}" for kind in _TYPES)}) {_UPSERT}"""  # noqa: S608
_INCOMING = f"""CREATE TEMPORARY TABLE IF NOT EXISTS incoming (place int4,
    {", ".join(f"{name} {kind}" for name, kind in zip(_COLUMNS, _TYPES, strict=True))})
    ON COMMIT DELETE ROWS"""
_COPY = f"COPY incoming (place, {_LIST}) FROM STDIN WITH (FORMAT BINARY)"
_TAKE_OVER = f"""WITH taken AS (DELETE FROM incoming RETURNING *)
    INSERT INTO posts ({_LIST}) SELECT {_LIST} FROM taken ORDER BY place {_UPSERT}"""  # noqa: S608

# What became visible since a snapshot: rows of transactions that were not finished in it. That is
# exact however many write at once, and long transactions hold nobody back.
_NEW = "changed >= pg_snapshot_xmin({0}) AND NOT pg_visible_in_snapshot(changed, {0})"
_SINCE = "%(since)s::pg_snapshot"
_CHANGES = f"""SELECT pg_current_snapshot()::text,
    pg_snapshot_xmax({_SINCE}) > pg_snapshot_xmax(pg_current_snapshot()),
    EXISTS (SELECT FROM removals WHERE {_NEW.format(_SINCE)}),
    ARRAY(SELECT post_id FROM posts WHERE {_NEW.format(_SINCE)} ORDER BY changed, id)"""  # noqa: S608
_LAST = "(SELECT changed::text::bigint FROM {} ORDER BY changed DESC LIMIT 1)"
_EVER = "3:3:"  # the snapshot before the first transaction

_HEADS = 'SELECT post_id, "user", posted_at_us, tags, digests FROM posts'
_IN_ORDER = "ORDER BY posted_at_us NULLS FIRST, post_id"


class PostgresStore(Store):
    """A store in a PostgreSQL database; made by `Store.open`.

    Threads have a connection each while they need one. Of damage it finds the length of embeddings;
    the rest is PostgreSQL's own (`pg_amcheck`). Kept copies of photos and derived files lie
    on the machine that made them, in the user's data and cache folders.
    """

    poll_s = 0.1
    _most_at_once = 8_000

    def __init__(
        self, address: str, *, create: bool, read_only: bool, busy_timeout_s: float
    ) -> None:
        self._server = Server(address, busy_timeout_s=busy_timeout_s)
        self._encoders: dict[str | None, tuple[int, int]] = {}  # row and width, which never change
        try:
            bring_up_to_date(self._server, create=create, read_only=read_only)
            self._identity = str(self._meta("identity"))
            name = f"{self._server.database.replace('/', '_')}-{self._identity[:8]}"
            path = default_store().with_name(f"postgresql-{name}")
            super().__init__(self._server.address, path, read_only=read_only)
            if not read_only:
                with suppress(OSError):
                    path.parent.mkdir(parents=True, exist_ok=True)
                self._catch_up_with_removals()
        except BaseException:
            self.close()
            raise

    def _catch_up_with_removals(self) -> None:
        """Delete copies whose posts went elsewhere, or here by a process that was killed then.

        Snapshots of the posts go when they are read next (`LiveEvidence`).
        """
        if (last := self.last_removal) and not (
            self._noted.exists() and self._noted.read_text(encoding="ascii") == str(last)
        ):
            self._remove_copies()

    @property
    def _noted(self) -> Path:
        """Holds the last removal after which this machine's copies were looked through."""
        return self.path.with_name(self.path.name + ".removed")

    def close(self) -> None:
        """Close the connections. Nothing is lost by not calling it."""
        self._server.close()

    def known_posts(self, post_ids: Collection[str]) -> dict[str, Post]:
        """As `Store.known_posts`."""
        query = "SELECT id FROM posts WHERE post_id = ANY(%(names)s)"
        found = self._load([row for (row,) in self._rows(query, names=[*post_ids])])
        return {post.post_id: post for post in found}

    @property
    def revision(self) -> int:
        """The highest number of a transaction that changed posts, with all before it finished."""
        finished = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1"
        changed = f"greatest({_LAST.format('posts')}, {_LAST.format('removals')}, 0)"
        return self._all(f"SELECT least({changed}, {finished})")[0][0]

    @property
    def last_removal(self) -> int:
        """As `Store.last_removal`."""
        return self._all(f"SELECT coalesce({_LAST.format('removals')}, 0)")[0][0]

    @property
    def cursor(self) -> Cursor:
        """The database's snapshot."""
        return self._all("SELECT pg_current_snapshot()::text")[0][0]

    def changes_since(self, seq: Cursor, known: Iterable[str] = ()) -> Changes:
        """As `Store.changes_since`; one statement, which sees one state."""
        last, is_restored, has_removed, changed = self._rows(_CHANGES, since=str(seq))[0]
        if is_restored:
            last, _, _, changed = self._rows(_CHANGES, since=_EVER)[0]
        if not (is_restored or has_removed):
            return Changes(last, tuple(changed), ())
        stored = {name for (name,) in self._rows("SELECT post_id FROM posts")}
        return Changes(last, tuple(changed), tuple(name for name in known if name not in stored))

    def log(
        self,
        encoder_digest: str | None = None,
        post_ids: Collection[str] | None = None,
        *,
        seen_before: float | None = None,
    ) -> PostLog:
        """As `Store.log`."""
        chosen: list[str] = []
        if post_ids is not None:
            chosen.append("post_id = ANY(%(names)s)")
        if seen_before is not None:
            chosen.append("coalesce(seen_at_us, 0) < %(before)s")
        where = f"WHERE {' AND '.join(chosen)}" if chosen else ""
        with self.reading():
            heads = self._rows(
                f"{_HEADS} {where} {_IN_ORDER}", names=[*(post_ids or ())],
                before=None if seen_before is None else microseconds(seen_before),
            )  # fmt: skip
            return self._laid_out(heads, encoder_digest, is_all=not chosen)

    def logs(self, encoder_digest: str | None = None, *, n_posts: int) -> Generator[PostLog]:
        """As `Store.logs`, by a cursor of the server's."""
        with self._server.transaction(_SNAPSHOT) as db:
            db.execute(b"SET LOCAL cursor_tuple_fraction = 1")  # all of it will be read
            with psycopg.ServerCursor(db, "posts_in_order") as cursor:
                cursor.execute(f"{_HEADS} {_IN_ORDER}".encode(), binary=True)
                while heads := cursor.fetchmany(n_posts):
                    yield self._laid_out(heads, encoder_digest, is_all=False)

    def _laid_out(self, heads: list[Any], encoder_digest: str | None, *, is_all: bool) -> PostLog:
        """Posts as columns, by rows of `_HEADS`, which may be all that there are."""
        shown = [head[4] for head in heads]
        has_photo, embeddings = self._embeddings(encoder_digest, shown, is_all=is_all)
        users, user_of_post = rows.numbered([head[1] for head in heads])
        tags, tag_ids = rows.numbered(list(chain.from_iterable(head[3] for head in heads)))
        tag_start = np.cumsum([0, *(len(head[3]) for head in heads)], dtype=np.int64)
        at = [-np.inf if head[2] is None else head[2] / 1e6 for head in heads]
        names = [head[0] for head in heads]
        log_at = np.array(at, np.float64)
        return PostLog(
            names, users, tags, user_of_post, log_at, tag_start, tag_ids, has_photo, embeddings
        )

    def _embeddings(
        self, encoder_digest: str | None, shown: list[list[str]], *, is_all: bool
    ) -> tuple[Bools, Halfs]:
        """Average the embeddings of the photos of each post."""
        if encoder_digest not in self._encoders:
            query = "SELECT digest, id, width FROM encoders WHERE digest = %(digest)s"
            found = self._rows(query, digest=encoder_digest)
            self._encoders |= {digest: (row, width) for digest, row, width in found}
        if (encoder := self._encoders.get(encoder_digest)) is None:
            return np.zeros(len(shown), np.bool_), np.zeros((len(shown), 0), np.float16)
        encoder_id, width = encoder
        query = "SELECT digest, vector FROM embeddings WHERE encoder = %(encoder)s"
        if not is_all:
            query += " AND digest = ANY(%(digests)s)"
        digests = [] if is_all else list({*chain.from_iterable(shown)})
        found = []
        if is_all or digests:
            found = self._rows(query, encoder=encoder_id, digests=digests)
        number = {digest: i for i, (digest, _) in enumerate(found)}
        vectors = np.frombuffer(b"".join(row[1] for row in found), "<f2").reshape(-1, width)
        pairs = [(i, number[d]) for i, names in enumerate(shown) for d in names if d in number]
        place, source = np.array(pairs, np.int64).reshape(-1, 2).T
        return rows.mean_vectors(vectors, place, source, n_posts=len(shown))

    def find_post_by_digest(self, digest: str) -> Post | None:
        """As `Store.find_post_by_digest`."""
        query = """SELECT id FROM posts WHERE digests @> ARRAY[%(digest)s] AND %(digest)s <> ''
            ORDER BY posted_at_us DESC NULLS LAST, post_id DESC LIMIT 1"""
        found = self._rows(query, digest=digest)
        return next(iter(self._load([row for (row,) in found])), None)

    def missing_photos(self, encoder_digest: str) -> list[Photo]:
        """As `Store.missing_photos`."""
        query = """SELECT (array_agg(path ORDER BY path))[1], digest
            FROM posts, unnest(paths, digests) WITH ORDINALITY AS photo (path, digest, position)
            WHERE digest <> '' AND NOT EXISTS (
                SELECT FROM embeddings JOIN encoders ON encoders.id = encoder
                WHERE embeddings.digest = photo.digest AND encoders.digest = %(encoder)s)
            AND convert_to(digest, 'UTF8') NOT IN (SELECT target FROM failures)
            AND path NOT IN (SELECT target FROM failures)
            GROUP BY digest ORDER BY min(posts.id), min(position)"""
        found = self._rows(query, encoder=encoder_digest)
        return [Photo(rows.path_from_db(path), digest) for path, digest in found]

    def snapshot_file(self, key: str) -> Path | None:
        """One in the user's cache folder for each key."""
        return cache_folder() / f"{self._identity}-{key[-16:]}.snapshot"

    @contextmanager
    def reading(self) -> Generator[Portable]:
        """As `Store.reading`."""
        with self._server.transaction(_SNAPSHOT) as db:
            yield Portable(db)

    @contextmanager
    def writing(self) -> Generator[Portable]:
        """As `Store.writing`."""
        self._require_writable()
        with self._server.transaction(b"BEGIN") as db:
            yield Portable(db)

    def _write(self, work: Callable[[], Counter[str] | None]) -> Counter[str] | None:
        """Do some work in one transaction; again when another one got between."""
        for n_left in reversed(range(_TRIES)):
            try:
                return super()._write(work)
            except CollidedError:
                if not n_left or self._server.held is not None:
                    raise
                time.sleep(random.uniform(0.0, 0.1))  # noqa: S311 - so that two don't meet again
        raise AssertionError

    def _meta(self, name: str) -> Any:  # noqa: ANN401 - a number or a text
        table = "names" if name in {"identity", "secret"} else "meta"
        found = self._rows(f"SELECT value FROM {table} WHERE name = %(name)s", name=name)  # noqa: S608
        if not found:
            raise StoreError(f"{self._server.address} has lost its {name}", hint="restore a backup")
        return found[0][0]

    def _all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401
        with self._server.transaction(b"") as db:
            return Portable(db).execute(query, values).fetchall()

    def _rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401
        """Run one query of this module's."""
        with self._server.transaction(b"") as db:
            return psycopg.Cursor(db).execute(query.encode(), values, binary=True).fetchall()

    def _load(self, ids: list[int]) -> list[Post]:
        query = f"SELECT id, {_LIST} FROM posts WHERE id = ANY(%(ids)s)"  # noqa: S608
        found: dict[int, Post] = {}
        for row, post_id, user, at, _, tags, paths, digests in self._rows(query, ids=ids):
            pairs = zip(map(rows.path_from_db, paths), digests, strict=True)
            photos = tuple(Photo(path, digest) for path, digest in pairs)
            found[row] = Post(post_id, user, rows.seconds(at), tuple(tags), photos)
        return [found[row] for row in ids if row in found]

    def _add_batch(self, batch: list[Post], seen_at: Mapping[str, int]) -> Counter[str]:
        counts: Counter[str] = Counter()
        now = microseconds(time.time())
        with self._server.transaction(b"BEGIN") as db:
            for part in _without_repeats(batch):
                made = [self._row(post, seen_at.get(post.post_id, now)) for post in part]
                if len(made) > _FEW:  # in order, so that two who bring the same names don't meet
                    self._name("users", {p.user_id for p in part if p.user_id is not None})
                    self._name("tags", {tag for p in part for tag in p.tags})
                is_new = _inserted(db, made) if len(made) <= _FEW else _copied(db, made)
                n_new = sum(is_new)
                counts["added"] += n_new
                counts["updated"] += len(is_new) - n_new
                counts["unchanged"] += len(made) - len(is_new)
            readable = [self._path_key(p.path) for post in batch for p in post.photos if p.digest]
            if readable:
                db.execute("DELETE FROM failures WHERE target = ANY(%s)", (readable,))
        return counts

    def _name(self, table: str, names: set[str]) -> None:
        query = f"""INSERT INTO {table} (id) SELECT name FROM unnest(%(names)s::text[]) AS name
            WHERE NOT EXISTS (SELECT FROM {table} WHERE id = name) ON CONFLICT DO NOTHING"""  # noqa: S608
        self._change(query, names=sorted(names))

    def _row(self, post: Post, seen_at_us: int) -> tuple[Any, ...]:
        at_us = None if post.posted_at is None else microseconds(post.posted_at)
        paths = [self._path_key(photo.path) for photo in post.photos]
        digests = [photo.digest for photo in post.photos]
        return post.post_id, post.user_id, at_us, seen_at_us, list(post.tags), paths, digests

    def _write_vectors(self, encoder_digest: str, digests: Sequence[str], vectors: Halfs) -> None:
        with self._server.transaction(b"BEGIN") as db:
            encoder = rows.encoder_row(Portable(db), encoder_digest, vectors.shape[1])
            query = """INSERT INTO embeddings (encoder, digest, vector) VALUES (%s, %s, %b)
                ON CONFLICT (digest, encoder) DO UPDATE SET vector = excluded.vector"""
            pairs = sorted(zip(digests, vectors, strict=True), key=lambda pair: pair[0])
            db.cursor().executemany(query, [(encoder, d, v.tobytes()) for d, v in pairs])
            db.execute(
                """UPDATE posts SET changed = pg_current_xact_id()
                WHERE digests && %s AND changed <> pg_current_xact_id()""",
                (list(digests),),
            )

    def _remove(self, *, user_id: str | None, post_ids: Collection[str]) -> ForgetResult:
        self._require_writable()
        before = self._size_bytes()
        removed: Counter[str] = Counter()

        def work() -> None:
            removed.clear()
            removed.update(self._deleted(user_id, [*post_ids]))

        self._write(work)
        derived = [*cache_folder().glob(f"{self._identity}-*.snapshot")]
        n_files = self._remove_copies() + rows.remove_all(derived, set())
        return ForgetResult(
            removed["posts"], removed["tag_uses"], removed["photos"], removed["embeddings"],
            n_files, before, self._size_bytes(), had_lists=removed["lists"] > 0,
        )  # fmt: skip

    def _remove_copies(self) -> int:
        """Delete this machine's copies of removed posts' photos, whoever removed them; note it."""
        last = self.last_removal
        copies = rows.copies_beside(self.path)
        query = """SELECT name FROM unnest(%(names)s::text[]) AS name
            WHERE EXISTS (SELECT FROM posts WHERE digests @> ARRAY[name])"""
        used = {name for (name,) in self._rows(query, names=[file.stem for file in copies])}
        n_files = rows.remove_all(copies, used)
        with suppress(OSError):
            self._noted.write_text(str(last), encoding="ascii")
        return n_files

    def _deleted(self, user_id: str | None, post_ids: list[str]) -> dict[str, int]:
        """Say by table how many rows went; of photos, how many nobody shows now."""
        query = """DELETE FROM posts WHERE "user" = %(user)s OR post_id = ANY(%(names)s)
            RETURNING tags, paths, digests, "user" """
        gone = self._rows(query, user=user_id, names=post_ids)
        if gone:
            self._change("INSERT INTO removals DEFAULT VALUES")
        # What a job that was killed has left names photos; one that runs tidies up itself.
        alive = "SELECT job FROM workers WHERE seen_until > clock_timestamp()"
        self._change(f"DELETE FROM shards WHERE job NOT IN ({alive})")  # noqa: S608
        digests = list({*chain.from_iterable(row[2] for row in gone)} - {""})
        query = """SELECT name FROM unnest(%(names)s::text[]) AS name
            WHERE NOT EXISTS (SELECT FROM posts WHERE digests @> ARRAY[name])"""
        photos = [name for (name,) in self._rows(query, names=digests)]
        # Of a person every trace: photos of earlier forms of their posts too.
        whole = "digest NOT IN (SELECT unnest(digests) FROM posts)" if user_id else "false"
        query = f"DELETE FROM embeddings WHERE digest = ANY(%(photos)s) OR {whole}"  # noqa: S608
        n_embeddings = self._change(query, photos=photos)
        targets = [*chain.from_iterable(row[1] for row in gone), *(d.encode() for d in photos)]
        self._change(
            """DELETE FROM failures WHERE target = ANY(%(targets)s)
            AND NOT EXISTS (SELECT FROM posts WHERE target = ANY(paths))""", targets=targets,
        )  # fmt: skip
        tags, users = [*chain.from_iterable(row[0] for row in gone)], [row[3] for row in gone]
        for table, names, uses in (
            ("tags", tags, "tag_uses WHERE tag = tags.id"),
            ("users", users, 'posts WHERE "user" = users.id'),
        ):
            query = f"""DELETE FROM {table} WHERE id = ANY(%(names)s::text[])
                AND NOT EXISTS (SELECT FROM {uses})"""  # noqa: S608
            self._change(query, names=list({*names}))
        with self.writing() as db:
            n_lists = rows.delete_records(db, user_id)
        return {
            "posts": len(gone), "tag_uses": len(tags), "photos": len(photos),
            "embeddings": n_embeddings, "lists": n_lists,
        }  # fmt: skip

    def _change(self, query: str, **values: Any) -> int:  # noqa: ANN401
        with self._server.transaction(b"BEGIN") as db:
            return db.execute(query.encode(), values).rowcount

    def _size_bytes(self) -> int:
        query = """SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
            WHERE relnamespace = to_regnamespace(%(schema)s) AND relkind = 'r'"""
        return self._rows(query, schema=SCHEMA)[0][0]

    def _path_key(self, path: str) -> bytes:
        kept = rows.path_to_db(path)
        return kept if isinstance(kept, bytes) else kept.encode()

    def seen_at(self, post_ids: list[str]) -> dict[str, int]:
        """As `Store.seen_at`."""
        query = """SELECT post_id, seen_at_us FROM posts
            WHERE post_id = ANY(%(names)s) AND seen_at_us IS NOT NULL"""
        return dict(self._rows(query, names=post_ids))


def _without_repeats(batch: list[Post]) -> Iterator[list[Post]]:
    """Cut a batch where a post comes again: one statement changes a row once."""
    part: dict[str, Post] = {}
    for post in batch:
        if post.post_id in part:
            yield [*part.values()]
            part = {}
        part[post.post_id] = post
    yield [*part.values()]


def _inserted(db: psycopg.Connection[Any], made: list[tuple[Any, ...]]) -> list[bool]:
    """Insert or change posts one by one; for each that was not the same, whether it is new."""
    cursor = db.cursor()
    cursor.executemany(_INSERT.encode(), made, returning=True)
    found: list[bool] = []
    while True:
        found += [is_new for (is_new,) in cursor.fetchall()]
        if not cursor.nextset():
            return found


def _copied(db: psycopg.Connection[Any], made: list[tuple[Any, ...]]) -> list[bool]:
    """As `_inserted`, all at once."""
    db.execute(_INCOMING.encode())
    cursor = db.cursor()
    with cursor.copy(_COPY.encode()) as copy:
        copy.set_types(["int4", *_TYPES])
        for place, row in enumerate(made):
            copy.write_row((place, *row))
    return [is_new for (is_new,) in db.execute(_TAKE_OVER.encode()).fetchall()]
