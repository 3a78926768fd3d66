"""Reading the whole store as columns, quickly."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from pixtag.types import Bools, Halfs, Ints, PostLog

if TYPE_CHECKING:
    import sqlite3


def read_log(db: sqlite3.Connection, encoder_digest: str | None) -> PostLog:
    """Read all posts, their tags and the mean embedding of their photos.

    Args:
        db: The store, inside a transaction, so that all queries see one state.
        encoder_digest: Whose embeddings to read; none when None.

    Returns:
        Posts in time order, ties by post_id, those without a time first.
    """
    heads = db.execute(
        "SELECT id, post_id, user, posted_at_us FROM posts ORDER BY posted_at_us, post_id"
    ).fetchall()
    rows = np.fromiter((head[0] for head in heads), np.int64, len(heads))
    users, user_of_post = _users(db, [head[2] for head in heads])
    at = np.array([-np.inf if h[3] is None else h[3] / 1e6 for h in heads], np.float64)
    tags, tag_start, tag_ids = _tags(db, rows)
    has_photo, embeddings = _embeddings(db, rows, encoder_digest)
    return PostLog(
        post_ids=[head[1] for head in heads],
        users=users,
        tags=tags,
        user_of_post=user_of_post,
        at=at,
        tag_start=tag_start,
        tag_ids=tag_ids,
        has_photo=has_photo,
        embeddings=embeddings,
    )


def _users(db: sqlite3.Connection, user_rows: list[int | None]) -> tuple[list[str], Ints]:
    """Number people in order of first appearance; nobody gets the number after the last."""
    name_of: dict[int, str] = dict(db.execute("SELECT id, name FROM users").fetchall())
    order: dict[int, int] = {}
    for row in user_rows:
        if row is not None:
            order.setdefault(row, len(order))
    numbers = [len(order) if row is None else order[row] for row in user_rows]
    return [name_of[row] for row in order], np.array(numbers, np.int64)


def _tags(db: sqlite3.Connection, rows: Ints) -> tuple[list[str], Ints, Ints]:
    """Lay tag uses out post by post, tags numbered in order of first appearance."""
    pairs = _pairs(db.execute("SELECT post, tag FROM tag_uses ORDER BY post, position").fetchall())
    place = _places(rows, pairs[:, 0])
    order = np.argsort(place, kind="stable")
    counts = np.bincount(place, minlength=len(rows))
    tag_start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    tag_rows, first, inverse = np.unique(pairs[order, 1], return_index=True, return_inverse=True)
    by_first = np.argsort(first, kind="stable")
    number = np.empty(len(tag_rows), np.int64)
    number[by_first] = np.arange(len(tag_rows))
    name_of: dict[int, str] = dict(db.execute("SELECT id, name FROM tags").fetchall())
    return [name_of[row] for row in tag_rows[by_first].tolist()], tag_start, number[inverse]


def _embeddings(
    db: sqlite3.Connection, rows: Ints, encoder_digest: str | None
) -> tuple[Bools, Halfs]:
    """Average the embeddings of each post's photos."""
    has_photo = np.zeros(len(rows), np.bool_)
    found = db.execute(
        "SELECT embeddings.digest, vector, width FROM embeddings "
        "JOIN encoders ON encoders.id = encoder WHERE encoders.digest = ?",
        (encoder_digest,),
    ).fetchall()
    if not found:
        return has_photo, np.zeros((len(rows), 0), np.float16)
    width: int = found[0][2]
    number = {digest: i for i, (digest, _, _) in enumerate(found)}
    vectors = np.frombuffer(b"".join(row[1] for row in found), "<f2").reshape(-1, width)
    photos = db.execute(
        "SELECT post, digest FROM photos WHERE digest != '' ORDER BY post, position"
    ).fetchall()
    known = _pairs([(post, number[digest]) for post, digest in photos if digest in number])
    place, source = _places(rows, known[:, 0]), known[:, 1]
    counts = np.bincount(place, minlength=len(rows))
    has_photo = counts > 0
    embeddings = np.zeros((len(rows), width), np.float16)
    is_single = counts[place] == 1
    embeddings[place[is_single]] = vectors[source[is_single]]
    # Posts with several photos are few: average them in full precision.
    several, start = np.unique(place[~is_single], return_index=True)
    if len(several):
        sums = np.add.reduceat(vectors[source[~is_single]].astype(np.float32), start, axis=0)
        embeddings[several] = (sums / counts[several, None]).astype(np.float16)
    return has_photo, embeddings


def _pairs(rows: list[tuple[int, int]]) -> Ints:
    return np.fromiter(chain.from_iterable(rows), np.int64, 2 * len(rows)).reshape(-1, 2)


def _places(rows: Ints, wanted: Ints) -> Ints:
    """Where each wanted row stands in `rows`.

    Raises:
        LookupError: A wanted row is not there.
    """
    order = np.argsort(rows, kind="stable")
    found = np.searchsorted(rows, wanted, sorter=order)
    if len(wanted) and (found.max() == len(rows) or (rows[order[found]] != wanted).any()):
        raise LookupError("a tag or photo of a post that is not there")
    return order[found].astype(np.int64)
