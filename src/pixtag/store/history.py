"""What a person uses: every tag with its count and times, read straight from the rows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pixtag.store import Store
from pixtag.store.rows import safe_text, seconds


@dataclass(frozen=True, slots=True)
class TagUse:
    """A tag of a person's; first and last time are Unix seconds UTC, or None without any."""

    tag: str
    n_uses: int
    first_at: float | None
    last_at: float | None


def n_posts_of(store: Store, user: str) -> int:
    """Count the posts of a person; 0 for somebody who is not known."""
    query = "SELECT count(*) FROM posts JOIN users ON users.id = posts.user WHERE users.name = ?"
    with store.reading() as db:
        return int(db.execute(query, (safe_text(user),)).fetchone()[0])


def tags_of(store: Store, user: str, *, at_most: int) -> list[TagUse]:
    """List the tags of a person, the most used and then the latest first."""
    query = """SELECT tags.name, count(*), min(posted_at_us), max(posted_at_us) FROM tag_uses
        JOIN posts ON posts.id = tag_uses.post JOIN tags ON tags.id = tag_uses.tag
        JOIN users ON users.id = posts.user WHERE users.name = ? GROUP BY tags.name
        ORDER BY count(*) DESC, coalesce(max(posted_at_us), 0) DESC, tags.name LIMIT ?"""
    with store.reading() as db:
        rows = db.execute(query, (safe_text(user), at_most)).fetchall()
    return [TagUse(tag, n, seconds(first), seconds(last)) for tag, n, first, last in rows]


def own_post_id(store: Store, given: str, user: str) -> str:
    """The name in the store of a post that a person who may reach only their own calls so.

    A name that is not theirs is told apart, so that it neither replaces another's post nor shows
    that there is one.
    """
    is_there, whose = user_of(store, given)
    if is_there and whose == user:
        return given
    return f"{given}@{hashlib.sha256(user.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def user_of(store: Store, post_id: str) -> tuple[bool, str | None]:
    """Whether there is a post, and whose it is."""
    query = """SELECT users.name FROM posts LEFT JOIN users ON users.id = posts.user
        WHERE post_id = ?"""
    with store.reading() as db:
        row = db.execute(query, (safe_text(post_id),)).fetchone()
    return (False, None) if row is None else (True, row[0])
