"""Posts and people of a store that come again under other names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pixtag.store import Store, rows
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


def owner_of(store: Store, post_id: str) -> str | None:
    """Whose post it is; None for nobody's and for an unknown one."""
    query = "SELECT name FROM posts JOIN users ON users.id = posts.user WHERE post_id = ?"
    with store.reading() as db:
        found = db.execute(query, (rows.safe_text(post_id),)).fetchone()
    return None if found is None else found[0]


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
        was, will = rows.safe_text(old), rows.safe_text(new)
        for table, once in _NAMING.items():
            query, values = f"UPDATE {table} SET user_name = ? WHERE user_name = ?", [will, was]  # noqa: S608
            if once:
                same = " AND ".join(f"other.{name} = {table}.{name}" for name in once)
                there = f"SELECT 1 FROM {table} AS other WHERE other.user_name = ? AND {same}"  # noqa: S608
                query, values = f"{query} AND NOT EXISTS ({there})", [*values, will]
            db.execute(query, values)
            db.execute(f"DELETE FROM {table} WHERE user_name = ?", (was,))  # noqa: S608
