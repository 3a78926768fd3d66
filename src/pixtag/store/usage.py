"""How tags are used, for people to look at: by whom, when, with what, and what became of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pixtag.store import Store
from pixtag.store.history import TagUse, tags_of
from pixtag.store.rows import path_from_db, seconds
from pixtag.types import Floats, Halfs

LEAST_PEOPLE = 3  # who use a tag before others see it
Project = Callable[[Floats], Floats]
_LAST = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of suggestions that a person judged."""

    accepted: int = 0
    refused: int = 0
    added: int = 0


class Earlier(NamedTuple):
    """A post with a photo, and how like another its photo is: a cosine."""

    post_id: str
    posted_at: float | None
    tags: tuple[str, ...]
    path: str  # of that photo
    likeness: float


def own_tags(store: Store, user: str, *, limit: int) -> list[tuple[TagUse, str]]:
    """A person's most used tags, each with the tag that is most often on the same posts.

    That is empty where none is on two.
    """
    query = """SELECT post, tags.name FROM tag_uses JOIN tags ON tags.id = tag
        JOIN posts ON posts.id = post JOIN users ON users.id = posts.user WHERE users.name = ?"""
    with store.reading() as db:
        found = tags_of(store, user, at_most=limit)
        posts: dict[int, list[str]] = {}
        for post, tag in db.execute(query, (user,)):
            posts.setdefault(post, []).append(tag)
    together = {one.tag: Counter[str]() for one in found}
    for tags in posts.values():
        for tag in tags:
            if tag in together:
                together[tag].update(other for other in tags if other != tag)
    return [(use, _most(together[use.tag])) for use in found]


def _most(beside: Counter[str]) -> str:
    best = min(beside.items(), key=lambda pair: (-pair[1], pair[0]), default=("", 0))
    return best[0] if best[1] > 1 else ""


def beside(store: Store, tag: str, user: str, *, limit: int) -> list[str]:
    """Tags on at least two of a person's posts with a tag, the most frequent first."""
    query = """SELECT other.name FROM tag_uses AS mine JOIN tags ON tags.id = mine.tag
        JOIN posts ON posts.id = mine.post JOIN users ON users.id = posts.user
        JOIN tag_uses AS theirs ON theirs.post = mine.post AND theirs.tag != mine.tag
        JOIN tags AS other ON other.id = theirs.tag WHERE tags.name = ? AND users.name = ?
        GROUP BY other.name HAVING count(*) > 1 ORDER BY count(*) DESC, other.name LIMIT ?"""
    with store.reading() as db:
        return [name for (name,) in db.execute(query, (tag, user, limit))]


def times_of(store: Store, tag: str) -> list[tuple[float, str | None]]:
    """When a tag was used, Unix seconds UTC, and by whom, in time order."""
    query = """SELECT posted_at_us, users.name FROM tag_uses JOIN tags ON tags.id = tag
        JOIN posts ON posts.id = post LEFT JOIN users ON users.id = posts.user
        WHERE tags.name = ? AND posted_at_us IS NOT NULL ORDER BY posted_at_us"""
    with store.reading() as db:
        return [(us / 1e6, who) for us, who in db.execute(query, (tag,))]


def post_times(store: Store, user: str) -> list[float]:
    """When a person posted, Unix seconds UTC, in time order."""
    query = """SELECT posted_at_us FROM posts JOIN users ON users.id = posts.user
        WHERE users.name = ? AND posted_at_us IS NOT NULL ORDER BY posted_at_us"""
    with store.reading() as db:
        return [us / 1e6 for (us,) in db.execute(query, (user,))]


def tags_from(
    store: Store, start: str, *, user: str | None, limit: int
) -> list[tuple[str, int, int]]:
    """Tags that begin so, with their uses by a person and by all, the person's first.

    Of what the person has not used, only tags that `LEAST_PEOPLE` use.
    """
    query = """SELECT tags.name, count(*) AS n, count(DISTINCT posts.user) AS people,
        sum(CASE WHEN users.name = ? THEN 1 ELSE 0 END) AS own
        FROM tags JOIN tag_uses ON tag = tags.id JOIN posts ON posts.id = post
        LEFT JOIN users ON users.id = posts.user
        WHERE tags.name >= ? AND tags.name < ? GROUP BY tags.name"""
    with store.reading() as db:
        found = db.execute(query, (user or "", start, start + _LAST)).fetchall()
    known = [(name, own, n) for name, n, people, own in found if own or people >= LEAST_PEOPLE]
    return sorted(known, key=lambda one: (-one[1], -one[2], one[0]))[:limit]


def kept(store: Store, user: str) -> Kept:
    """Count a person's verdicts on what was suggested."""
    query = """SELECT verdict, count(*) FROM feedback JOIN served ON served.id = feedback.served
        WHERE user_name = ? GROUP BY verdict"""
    with store.reading() as db:
        return Kept(**dict(db.execute(query, (user,)).fetchall()))


def withdraw(store: Store, served: str, tag: str) -> None:
    """Take a verdict on a served suggestion back; one that was not given is ignored."""
    with store.writing() as db:
        query = """DELETE FROM feedback
            WHERE tag = ? AND served IN (SELECT id FROM served WHERE name = ?)"""
        db.execute(query, (tag, served))


def most_alike(
    store: Store, user: str, encoder: str, photo: Floats, *, project: Project, least: float, k: int
) -> list[Earlier]:
    """A person's earlier posts whose photos are most like one `[D]`, the most similar first.

    Embeddings are the encoder's (its digest); those of a cosine of at least `least` are given,
    between unit vectors that `project` makes of embeddings `[N, D]`.
    """
    query = """SELECT posts.id, post_id, posted_at_us, vector, path FROM posts
        JOIN users ON users.id = posts.user JOIN photos ON photos.post = posts.id
        JOIN embeddings ON embeddings.digest = photos.digest
        JOIN encoders ON encoders.id = encoder AND encoders.digest = ?
        WHERE users.name = ? ORDER BY posts.id, photos.position"""
    with store.reading() as db:
        found = {row[0]: row for row in reversed(db.execute(query, (encoder, user)).fetchall())}
        rows = [row for row in found.values() if len(row[3]) == 2 * len(photo)]
        if not rows:
            return []
        vectors: Halfs = np.frombuffer(b"".join(row[3] for row in rows), "<f2")
        matrix = vectors.reshape(len(rows), -1).astype(np.float32)
        cosine = project(matrix) @ project(photo[None])[0]
        best = [i for i in np.argsort(-cosine, kind="stable")[:k].tolist() if cosine[i] >= least]
        query = "SELECT name FROM tag_uses JOIN tags ON tags.id = tag WHERE post = ?"
        query += " ORDER BY position"
        tags = [tuple(t for (t,) in db.execute(query, (rows[i][0],))) for i in best]
    return [
        Earlier(rows[i][1], seconds(rows[i][2]), names, path_from_db(rows[i][4]), float(cosine[i]))
        for i, names in zip(best, tags, strict=True)
    ]


def photo_of(store: Store, post_id: str, *, user: str | None) -> str | None:
    """The path of a post's first photo; None for no such post, or none of the person's if named."""
    query = """SELECT path, users.name FROM posts JOIN photos ON photos.post = posts.id
        LEFT JOIN users ON users.id = posts.user WHERE post_id = ? AND photos.digest != ''
        ORDER BY photos.position LIMIT 1"""
    with store.reading() as db:
        row = db.execute(query, (post_id,)).fetchone()
    if row is None or (user is not None and row[1] != user):
        return None
    return path_from_db(row[0])
