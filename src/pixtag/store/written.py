"""Words that Pixtag wrote into another program's photos, and what became of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pixtag.store import Store

State = Literal["begun", "written", "confirmed", "removed"]
"""About to be written; written; the person's own since; taken away by the person."""


class Written:
    """The record of one place, such as somebody's account of a photo server.

    Args:
        store: Where it is kept.
        place: Names the place, the same whenever it is met again.
        user: Whose it is, so that it goes when they are forgotten.
    """

    def __init__(self, store: Store, place: str, user: str | None = None) -> None:
        self._store, self._place, self._user = store, place, user

    def all(self) -> dict[str, dict[str, State]]:
        """Each photo's words with their states; the word "" says that it was looked at."""
        found: dict[str, dict[str, State]] = {}
        query = "SELECT target, word, state FROM written WHERE place = ? ORDER BY target, word"
        with self._store.reading() as db:
            for target, word, state in db.execute(query, (self._place,)):
                found.setdefault(target, {})[word] = state
        return found

    def put(self, rows: Iterable[tuple[str, str]], state: State) -> None:
        """Note the state of words of photos, durable on return."""
        query = """INSERT INTO written (place, target, word, state, user_name)
            VALUES (?, ?, ?, ?, ?) ON CONFLICT (place, target, word)
            DO UPDATE SET state = excluded.state, user_name = excluded.user_name"""
        values = [(self._place, target, word, state, self._user) for target, word in rows]
        if values:
            with self._store.writing() as db:
                db.executemany(query, values)
