"""Copying all that a store holds into another one, on whatever engine; may be run again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pixtag.errors import InputError
from pixtag.store import rows
from pixtag.store.base import AddResult, Store
from pixtag.store.rows import Database

# Besides posts, embeddings, failures and notes of models. Answers to repeated requests stay.
_TABLES = ("lists", "keys", "served", "sets", "outside", "fetches", "written")
_AT_ONCE = 500
_OF = "FROM embeddings JOIN encoders ON encoders.id = encoder WHERE encoders.digest = ?"

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What came over; what the target had already is not counted but among `posts`."""

    posts: AddResult
    embeddings: int
    records: dict[str, int]  # rows of other tables


def copy_store(
    source: Store, target: Store, *, on_progress: OnProgress | None = None
) -> CopyResult:
    """Bring everything over that a store holds, batch by batch; a finished batch is kept.

    What the target holds besides stays; a post of both becomes as the source's. Whoever calls it
    again after an interruption goes on: nothing comes twice. `on_progress` gets posts done and in
    all. Photos and their kept copies stay where they are.

    InputError: it is the same store. StoreError: one cannot be read or the other not written.
    """
    if source.identity == target.identity:
        what = f"{source.address} and {target.address} are the same store"
        raise InputError(what, hint="name another one to copy to")
    n_posts = source.summary().n_posts

    def tell(n_done: int) -> None:
        if on_progress is not None:
            on_progress(n_done, n_posts)

    posts = target.add_posts(source.posts(), on_progress=tell, seen_at=source.seen_at)
    with source.reading() as db:
        encoders = db.execute("SELECT digest, width FROM encoders").fetchall()
    n_embeddings = sum(_copy_vectors(source, target, *encoder) for encoder in encoders)
    known = {failure.target for failure in target.failures()}
    failures = [failure for failure in source.failures() if failure.target not in known]
    for failure in failures:
        target.record_failure(failure.target, failure.kind, failure.message)
    records = Counter({"failures": len(failures), "models": _copy_bundles(source, target)})
    with target.writing() as to, source.reading() as of:
        for table in _TABLES:
            records[table] = _copy_table(of, to, table)
        query = """SELECT name, tag, verdict, given_at_us FROM feedback
            JOIN served ON served.id = served ORDER BY feedback.id"""
        given = """INSERT INTO feedback (served, tag, verdict, given_at_us)
            SELECT id, ?, ?, ? FROM served WHERE name = ? ON CONFLICT DO NOTHING"""
        for name, *rest in of.execute(query).fetchall():
            records["feedback"] += to.execute(given, (*rest, name)).rowcount
        if records["outside"]:
            to.execute("UPDATE meta SET value = value + 1 WHERE name = 'outside'")
    return CopyResult(posts, n_embeddings, {name: n for name, n in records.items() if n})


def _copy_vectors(source: Store, target: Store, encoder: str, width: int) -> int:
    """Bring the embeddings over that the target lacks, and say how many."""
    query = f"SELECT embeddings.digest {_OF}"
    with target.reading() as db:
        known = {digest for (digest,) in db.execute(query, (encoder,))}
    with source.reading() as db:
        missing = [d for (d,) in db.execute(f"{query} ORDER BY 1", (encoder,)) if d not in known]
    for start in range(0, len(missing), _AT_ONCE):
        part = missing[start : start + _AT_ONCE]
        marks = ", ".join("?" * len(part))
        query = f"SELECT embeddings.digest, vector {_OF} AND embeddings.digest IN ({marks})"
        with source.reading() as db:
            found = db.execute(query, (encoder, *part)).fetchall()
        vectors = np.frombuffer(b"".join(vector for _, vector in found), "<f2")
        target.put_embeddings(encoder, [d for d, _ in found], vectors.reshape(-1, width))
    return len(missing)


def _copy_bundles(source: Store, target: Store) -> int:
    with source.reading() as db:
        query = "SELECT id, path, bundle_digest, trained_until_us FROM bundles ORDER BY id"
        bundles = db.execute(query).fetchall()
        users = db.execute("SELECT bundle, user_name FROM bundle_users").fetchall()
    for row, path, digest, until_us in bundles:
        names = [name for bundle, name in users if bundle == row]
        target.record_bundle(rows.path_from_db(path), digest, rows.seconds(until_us), names)
    return len(bundles)


def _copy_table(of: Database, to: Database, table: str) -> int:
    """Bring the rows over that the target lacks; numbers of rows are the target's own."""
    found = of.execute(f"SELECT * FROM {table}")  # noqa: S608
    names = [column[0] for column in found.description]
    kept = [place for place, name in enumerate(names) if name != "id"]
    columns, marks = ", ".join(names[i] for i in kept), ", ".join("?" * len(kept))
    query = f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608
    ordered = sorted(found.fetchall()) if "id" in names else found.fetchall()
    return sum(to.execute(query, [row[i] for i in kept]).rowcount for row in ordered)
