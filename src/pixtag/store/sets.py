"""Sets of tags that a person saved under a name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from pixtag.errors import InputError
from pixtag.store import Store
from pixtag.store.rows import is_safe
from pixtag.tags import tidy_tags

MOST_LETTERS = 80  # of a name
MOST_SETS = 200  # of a person


class TagSet(NamedTuple):
    """Tags under a name; normalised, in the order of writing."""

    name: str
    tags: tuple[str, ...]


def saved_sets(store: Store, user: str) -> list[TagSet]:
    """List a person's sets by name."""
    query = "SELECT name, tags FROM sets WHERE user_name = ? ORDER BY name"
    with store.reading() as db:
        found = db.execute(query, (user,)).fetchall()
    return [TagSet(name, tuple(json.loads(tags))) for name, tags in found]


def save_set(store: Store, user: str, name: str, tags: Iterable[str]) -> TagSet:
    """Keep tags, as somebody wrote them, under a name; a set of that name is replaced.

    InputError: the name is empty, too long or no text, no tag is one, or there are too many sets.
    """
    name, kept = " ".join(name.split()), tidy_tags(tags)
    if not (0 < len(name) <= MOST_LETTERS and is_safe(name) and user and is_safe(user)):
        hint = f"1 to {MOST_LETTERS} letters"
        raise InputError(f"{name[:MOST_LETTERS]!r} is no name of a set", hint=hint)
    if not kept:
        raise InputError(f"the set {name!r} has no hashtag", hint="write some, as #sun #sea")
    with store.writing() as db:
        query = "SELECT count(*) FROM sets WHERE user_name = ? AND name != ?"
        if db.execute(query, (user, name)).fetchone()[0] >= MOST_SETS:
            raise InputError(f"there are {MOST_SETS} sets already", hint="remove one first")
        db.execute(
            "INSERT INTO sets (user_name, name, tags) VALUES (?, ?, ?) "
            "ON CONFLICT (user_name, name) DO UPDATE SET tags = excluded.tags",
            (user, name, json.dumps(kept, ensure_ascii=False)),
        )
    return TagSet(name, kept)


def remove_set(store: Store, user: str, name: str) -> None:
    """Remove a set; one that is not there is ignored."""
    with store.writing() as db:
        db.execute("DELETE FROM sets WHERE user_name = ? AND name = ?", (user, name))
