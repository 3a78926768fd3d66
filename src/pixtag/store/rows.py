"""Posts to and from their rows: one by one, and all as columns."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from pixtag.types import Bools, Halfs, Ints, Photo, Post, PostLog

if TYPE_CHECKING:
    import sqlite3

MAX_SECONDS = 2.0**33
"""Within this of 1970 (1698 to 2242) a float of Unix seconds tells every microsecond apart."""


def write_posts(
    db: sqlite3.Connection, posts: list[Post], row_of: dict[str, int], revision: int
) -> None:
    """Insert posts, or replace those that have a row, as changed by a revision."""
    users = _ids(db, "users", {p.user_id for p in posts if p.user_id is not None})
    tags = _ids(db, "tags", {tag for post in posts for tag in post.tags})
    now = microseconds(time.time())
    for post in posts:
        user = None if post.user_id is None else users[post.user_id]
        head = (user, microseconds(post.posted_at), revision)
        row = row_of.get(post.post_id)
        if row is None:
            cursor = db.execute(
                "INSERT INTO posts (user, posted_at_us, changed, post_id, seen_at_us) "
                "VALUES (?, ?, ?, ?, ?)",
                (*head, post.post_id, now),
            )
            row_of[post.post_id] = int(cursor.lastrowid or 0)
            continue
        db.execute(
            "UPDATE posts SET user = ?, posted_at_us = ?, changed = ? WHERE id = ?", (*head, row)
        )
        db.execute("DELETE FROM tag_uses WHERE post = ?", (row,))
        db.execute("DELETE FROM photos WHERE post = ?", (row,))
    db.executemany(
        "INSERT INTO tag_uses VALUES (?, ?, ?)",
        ((row_of[p.post_id], i, tags[t]) for p in posts for i, t in enumerate(p.tags)),
    )
    photos = [
        (row_of[p.post_id], i, path_to_db(photo.path), photo.digest)
        for p in posts
        for i, photo in enumerate(p.photos)
    ]
    db.executemany("INSERT INTO photos VALUES (?, ?, ?, ?)", photos)
    db.executemany(
        "DELETE FROM failures WHERE target = ?", ((path,) for _, _, path, d in photos if d)
    )


def known_posts(db: sqlite3.Connection, post_ids: Collection[str]) -> dict[str, tuple[int, Post]]:
    """Read those of some posts that the store has, with their rows, by post_id."""
    rows = _fetch(db, "SELECT id FROM posts", "post_id", post_ids)
    loaded = load_posts(db, [row[0] for row in rows])
    return {post.post_id: (row, post) for row, post in loaded.items()}


def load_posts(db: sqlite3.Connection, rows: list[int]) -> dict[int, Post]:
    """Read whole posts by their row."""
    if not rows:
        return {}
    tags: dict[int, list[str]] = {}
    uses = "SELECT post, name FROM tag_uses JOIN tags ON tags.id = tag"
    for post, tag in _fetch(db, uses, "post", rows, "ORDER BY post, position"):
        tags.setdefault(post, []).append(tag)
    photos: dict[int, list[Photo]] = {}
    shown = "SELECT post, path, digest FROM photos"
    for post, path, digest in _fetch(db, shown, "post", rows, "ORDER BY post, position"):
        photos.setdefault(post, []).append(Photo(path_from_db(path), digest))
    heads = _fetch(
        db,
        "SELECT posts.id, post_id, name, posted_at_us FROM posts "
        "LEFT JOIN users ON users.id = user",
        "posts.id",
        rows,
    )
    return {
        row: Post(post_id, user, seconds(at), tuple(tags.get(row, ())), tuple(photos.get(row, ())))
        for row, post_id, user, at in heads
    }


def read_log(
    db: sqlite3.Connection,
    encoder_digest: str | None,
    post_ids: Collection[str] | None = None,
    *,
    seen_before: float | None = None,
) -> PostLog:
    """Read posts, their tags and the mean embedding of their photos as columns.

    Args:
        db: The store, inside a transaction, so that all queries see one state.
        encoder_digest: Whose embeddings to read; none when None.
        post_ids: Only these posts; all when None.
        seen_before: Only posts that the store knew before, Unix seconds UTC.
    """
    heads = _fetch(
        db,
        "SELECT id, post_id, user, posted_at_us, seen_at_us FROM posts",
        "post_id",
        post_ids,
        "ORDER BY posted_at_us, post_id",
    )
    if seen_before is not None:
        heads = [head for head in heads if (head[4] or 0) < seen_before * 1e6]
        post_ids = {head[1] for head in heads}
    rows = np.fromiter((head[0] for head in heads), np.int64, len(heads))
    only = None if post_ids is None else rows.tolist()
    users, user_of_post = _users(db, [head[2] for head in heads])
    tags, tag_start, tag_ids = _tags(db, rows, only)
    has_photo, embeddings = _embeddings(db, rows, encoder_digest, only)
    return PostLog(
        post_ids=[head[1] for head in heads],
        users=users,
        tags=tags,
        user_of_post=user_of_post,
        at=np.array([-np.inf if h[3] is None else h[3] / 1e6 for h in heads], np.float64),
        tag_start=tag_start,
        tag_ids=tag_ids,
        has_photo=has_photo,
        embeddings=embeddings,
    )


def _users(db: sqlite3.Connection, user_rows: list[int | None]) -> tuple[list[str], Ints]:
    """Number people in order of first appearance; nobody gets the number after the last."""
    order: dict[int, int] = {}
    for row in user_rows:
        if row is not None:
            order.setdefault(row, len(order))
    name_of = dict(_fetch(db, "SELECT id, name FROM users", "id", order))
    numbers = [len(order) if row is None else order[row] for row in user_rows]
    return [name_of[row] for row in order], np.array(numbers, np.int64)


def _tags(
    db: sqlite3.Connection, rows: Ints, only: list[int] | None
) -> tuple[list[str], Ints, Ints]:
    """Lay tag uses out post by post, tags numbered in order of first appearance."""
    uses = _fetch(db, "SELECT post, tag FROM tag_uses", "post", only, "ORDER BY post, position")
    pairs = _pairs(uses)
    place = _places(rows, pairs[:, 0])
    order = np.argsort(place, kind="stable")
    counts = np.bincount(place, minlength=len(rows))
    tag_start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    tag_rows, first, inverse = np.unique(pairs[order, 1], return_index=True, return_inverse=True)
    by_first = np.argsort(first, kind="stable")
    number = np.empty(len(tag_rows), np.int64)
    number[by_first] = np.arange(len(tag_rows))
    named = None if only is None else tag_rows.tolist()
    name_of = dict(_fetch(db, "SELECT id, name FROM tags", "id", named))
    return [name_of[row] for row in tag_rows[by_first].tolist()], tag_start, number[inverse]


def _embeddings(
    db: sqlite3.Connection, rows: Ints, encoder_digest: str | None, only: list[int] | None
) -> tuple[Bools, Halfs]:
    """Average the embeddings of each post's photos."""
    encoder = db.execute(
        "SELECT id, width FROM encoders WHERE digest = ?", (encoder_digest,)
    ).fetchone()
    if encoder is None:
        return np.zeros(len(rows), np.bool_), np.zeros((len(rows), 0), np.float16)
    width: int = encoder[1]
    photos = _fetch(db, "SELECT post, digest FROM photos", "post", only, "ORDER BY post, position")
    found = _fetch(
        db,
        f"SELECT digest, vector FROM (SELECT * FROM embeddings WHERE encoder = {int(encoder[0])})",  # noqa: S608
        "digest",
        None if only is None else {digest for _, digest in photos},
    )
    number = {digest: i for i, (digest, _) in enumerate(found)}
    vectors = np.frombuffer(b"".join(row[1] for row in found), "<f2").reshape(-1, width)
    known = _pairs([(post, number[digest]) for post, digest in photos if digest in number])
    place, source = _places(rows, known[:, 0]), known[:, 1]
    counts = np.bincount(place, minlength=len(rows))
    embeddings = np.zeros((len(rows), width), np.float16)
    is_single = counts[place] == 1
    embeddings[place[is_single]] = vectors[source[is_single]]
    # Posts with several photos are few: average them in full precision.
    several, start = np.unique(place[~is_single], return_index=True)
    if len(several):
        sums = np.add.reduceat(vectors[source[~is_single]].astype(np.float32), start, axis=0)
        embeddings[several] = (sums / counts[several, None]).astype(np.float16)
    return counts > 0, embeddings


def _fetch(
    db: sqlite3.Connection,
    query: str,
    column: str,
    only: Collection[Any] | None,
    order: str = "",
) -> list[tuple[Any, ...]]:
    """Run a query for all rows, or for those whose column holds one of some values."""
    if only is None:
        return db.execute(f"{query} {order}").fetchall()
    return db.execute(
        f"{query} WHERE {column} IN (SELECT value FROM json_each(?)) {order}",  # noqa: S608
        (json.dumps(list(only)),),
    ).fetchall()


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
    ordered = sorted(names)
    db.executemany(
        f"INSERT OR IGNORE INTO {table} (name) VALUES (?)",  # noqa: S608
        ((name,) for name in ordered),
    )
    return dict(_fetch(db, f"SELECT name, id FROM {table}", "name", ordered))  # noqa: S608


def microseconds(at: float | None) -> int | None:
    """Turn Unix seconds into the whole number that is kept; exact within `MAX_SECONDS` of 1970."""
    if at is None:
        return None
    # `at * 1e6` in one go would be off by one from 2041 on.
    whole = math.floor(at)
    return whole * 1_000_000 + round((at - whole) * 1e6)


def seconds(at_us: int | None) -> float | None:
    """Turn what is kept into Unix seconds."""
    return None if at_us is None else at_us / 1e6


def safe_text(text: str) -> str:
    """Escape what is no valid Unicode."""
    return text.encode("utf-8", "backslashreplace").decode()


def path_to_db(path: str) -> str | bytes:
    """Keep a path as text, or as its bytes when they are no valid Unicode."""
    for errors in ("strict", "surrogateescape"):
        try:
            raw = path.encode("utf-8", errors)
        except UnicodeEncodeError:
            continue
        return path if errors == "strict" else raw
    return safe_text(path)  # no file can have this name


def path_from_db(value: str | bytes) -> str:
    """Read a path as the file system's functions take it."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
