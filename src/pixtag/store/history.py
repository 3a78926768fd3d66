"""Whose posts are whose, and what a person uses: every tag with its count and times."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pixtag.store import Store
from pixtag.store.rows import safe_text, seconds
from pixtag.types import Post, microseconds

# Everything that names a person, beside the posts, and what a person has there but once.
_NAMING: dict[str, tuple[str, ...]] = {
    "bundle_users": ("bundle",),
    "keys": (),
    "lists": ("list", "tag"),
    "requests": (),
    "served": (),
    "sets": ("name",),
}
_AT_ONCE = 500


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


def posts_at(store: Store, moments: Iterable[float], *, kind: str) -> list[Post]:
    """Posts of some instants (Unix seconds UTC) whose ids begin with a kind of source."""
    instants = sorted({microseconds(at) for at in moments})
    names: list[str] = []
    with store.reading() as db:
        for start in range(0, len(instants), _AT_ONCE):
            part = instants[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(part))
            query = f"SELECT post_id FROM posts WHERE posted_at_us IN ({marks}) ORDER BY id"  # noqa: S608
            names += [name for (name,) in db.execute(query, part)]
        return [*store.known_posts([n for n in names if n.startswith(f"{kind}-")]).values()]


def rename_person(store: Store, old: str, new: str) -> None:
    """Give a person's posts, and all else that names them, to another name."""
    with store.writing() as db:
        store.add_posts([replace(post, user_id=new) for post in store.posts(user_id=old)])
        was, will = safe_text(old), safe_text(new)
        for table, once in _NAMING.items():
            query, values = f"UPDATE {table} SET user_name = ? WHERE user_name = ?", [will, was]  # noqa: S608
            if once:
                same = " AND ".join(f"other.{name} = {table}.{name}" for name in once)
                there = f"SELECT 1 FROM {table} AS other WHERE other.user_name = ? AND {same}"  # noqa: S608
                query, values = f"{query} AND NOT EXISTS ({there})", [*values, will]
            db.execute(query, values)
            db.execute(f"DELETE FROM {table} WHERE user_name = ?", (was,))  # noqa: S608
