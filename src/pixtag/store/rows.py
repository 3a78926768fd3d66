"""Whole posts to and from their rows, and the forms in which values are kept."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from pixtag.types import Photo, Post

if TYPE_CHECKING:
    import sqlite3

MAX_SECONDS = 2.0**33
"""Within this of 1970 (1698 to 2242) a float of Unix seconds tells every microsecond apart."""


def write_posts(db: sqlite3.Connection, posts: list[Post], row_of: dict[str, int]) -> None:
    """Insert posts, or replace those that have a row."""
    users = _ids(db, "users", {p.user_id for p in posts if p.user_id is not None})
    tags = _ids(db, "tags", {tag for post in posts for tag in post.tags})
    for post in posts:
        user = None if post.user_id is None else users[post.user_id]
        row = row_of.get(post.post_id)
        if row is None:
            cursor = db.execute(
                "INSERT INTO posts (post_id, user, posted_at_us) VALUES (?, ?, ?)",
                (post.post_id, user, microseconds(post.posted_at)),
            )
            row_of[post.post_id] = int(cursor.lastrowid or 0)
            continue
        db.execute(
            "UPDATE posts SET user = ?, posted_at_us = ? WHERE id = ?",
            (user, microseconds(post.posted_at), row),
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


def known_posts(db: sqlite3.Connection, post_ids: list[str]) -> dict[str, tuple[int, Post]]:
    """Read those of some posts that the store has, with their rows, by post_id."""
    rows = db.execute(
        "SELECT id FROM posts WHERE post_id IN (SELECT value FROM json_each(?))",
        (json.dumps(post_ids),),
    ).fetchall()
    loaded = load_posts(db, [row[0] for row in rows])
    return {post.post_id: (row, post) for row, post in loaded.items()}


def load_posts(db: sqlite3.Connection, rows: list[int]) -> dict[int, Post]:
    """Read whole posts by their row."""
    if not rows:
        return {}
    wanted = (json.dumps(rows),)
    chosen = "IN (SELECT value FROM json_each(?))"
    tags: dict[int, list[str]] = {}
    for post, tag in db.execute(
        f"SELECT post, name FROM tag_uses JOIN tags ON tags.id = tag "  # noqa: S608
        f"WHERE post {chosen} ORDER BY post, position",
        wanted,
    ):
        tags.setdefault(post, []).append(tag)
    photos: dict[int, list[Photo]] = {}
    for post, path, digest in db.execute(
        f"SELECT post, path, digest FROM photos WHERE post {chosen} ORDER BY post, position",  # noqa: S608
        wanted,
    ):
        photos.setdefault(post, []).append(Photo(path_from_db(path), digest))
    heads = db.execute(
        f"SELECT posts.id, post_id, name, posted_at_us FROM posts "  # noqa: S608
        f"LEFT JOIN users ON users.id = user WHERE posts.id {chosen}",
        wanted,
    )
    return {
        row: Post(
            post_id,
            user,
            seconds(at),
            tuple(tags.get(row, ())),
            tuple(photos.get(row, ())),
        )
        for row, post_id, user, at in heads
    }


def _ids(db: sqlite3.Connection, table: str, names: set[str]) -> dict[str, int]:
    """Look names up in `users` or `tags`, adding those that are new."""
    ordered = sorted(names)
    db.executemany(
        f"INSERT OR IGNORE INTO {table} (name) VALUES (?)",  # noqa: S608
        ((name,) for name in ordered),
    )
    rows = db.execute(
        f"SELECT name, id FROM {table} WHERE name IN (SELECT value FROM json_each(?))",  # noqa: S608
        (json.dumps(ordered),),
    )
    return dict(rows.fetchall())


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
