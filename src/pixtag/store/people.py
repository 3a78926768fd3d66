"""Posts and people of a store that come again under other names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from pixtag.store import Store, rows
from pixtag.types import Post, microseconds

# Everything that names a person, beside the posts.
_NAMING = ("bundle_users", "keys", "lists", "requests", "served", "sets")


def owner_of(store: Store, post_id: str) -> str | None:
    """Whose post it is; None for nobody's and for an unknown one."""
    query = "SELECT name FROM posts JOIN users ON users.id = user WHERE post_id = ?"
    with store.reading() as db:
        found = db.execute(query, (rows.safe_text(post_id),)).fetchone()
    return None if found is None else found[0]


def posts_at(store: Store, moments: Iterable[float], *, kind: str) -> list[Post]:
    """Posts of some instants (Unix seconds UTC) whose ids begin with a kind of source."""
    query = """SELECT posts.id FROM json_each(?) JOIN posts ON posted_at_us = value
        WHERE post_id GLOB ?"""
    instants = json.dumps(sorted({microseconds(at) for at in moments}))
    with store.reading() as db:
        return rows.load_posts(db, [i for (i,) in db.execute(query, (instants, f"{kind}-*"))])


def rename_person(store: Store, old: str, new: str) -> None:
    """Give a person's posts, and all else that names them, to another name."""
    with store.writing() as db:
        store.add_posts([replace(post, user_id=new) for post in store.posts(user_id=old)])
        for table in _NAMING:
            values = (rows.safe_text(new), rows.safe_text(old))
            db.execute(f"UPDATE OR IGNORE {table} SET user_name = ? WHERE user_name = ?", values)  # noqa: S608
            db.execute(f"DELETE FROM {table} WHERE user_name = ?", values[1:])  # noqa: S608
