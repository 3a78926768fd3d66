"""Suggestions as they were served, what became of them, and how well their chances held."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pixtag.store import Store
from pixtag.types import Suggestion, microseconds

Verdict = Literal["accepted", "refused", "added"]
KEPT = 100_000  # suggestions, the newest
N_BINS = 10
_Z = 1.96  # of a 95 % interval


@dataclass(frozen=True, slots=True)
class ServedRow:
    """Suggestions as they were served to a person."""

    name: str
    user: str | None
    served_at: float  # Unix seconds UTC, as the next
    at: float
    model: str
    revision: int  # of the store when it was asked
    has_photo: bool
    suggestions: tuple[Suggestion, ...]


def add_served(store: Store, rows: Sequence[ServedRow], *, kept: int = KEPT) -> None:
    """Keep served suggestions, and of all that were ever served only the newest.

    Those of a person who was forgotten since they were answered are left out.
    """
    own = "SELECT count(*) FROM posts JOIN users ON users.id = posts.user WHERE users.name = ?"
    columns = "name, user_name, served_at_us, at_us, model, revision, has_photo, n_own, suggestions"
    query = f"INSERT INTO served ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
    with store.writing() as db:
        removed = store.last_removal
        for row in rows:
            (n_own,) = db.execute(own, (row.user,)).fetchone()
            if row.user is not None and not n_own and removed > row.revision:
                continue
            shown = json.dumps([_shown(one) for one in row.suggestions], ensure_ascii=False)
            times = microseconds(row.served_at), microseconds(row.at)
            about = row.model, row.revision, int(row.has_photo), n_own, shown
            db.execute(query, (row.name, row.user, *times, *about))
        (last,) = db.execute("SELECT max(id) FROM served").fetchone()
        if last is not None and last > kept:
            db.execute("DELETE FROM feedback WHERE served <= ?", (last - kept,))
            db.execute("DELETE FROM served WHERE id <= ?", (last - kept,))


def _shown(one: Suggestion) -> list[object]:
    return [one.tag, round(one.prob, 6), one.reasons[0].source if one.reasons else "general"]


def add_feedback(
    store: Store, name: str, verdicts: Iterable[tuple[str, Verdict]], *, user: str | None = None
) -> bool:
    """Say what became of tags of a served suggestion; the last verdict on a tag holds.

    False when nothing of that name was served, or not to that person (None: anybody).
    """
    query = """INSERT INTO feedback (served, tag, verdict, given_at_us) VALUES (?, ?, ?, ?)
        ON CONFLICT (served, tag) DO UPDATE SET verdict = excluded.verdict,
        given_at_us = excluded.given_at_us"""
    now = microseconds(time.time())
    with store.writing() as db:
        found = db.execute("SELECT id, user_name FROM served WHERE name = ?", (name,)).fetchone()
        if found is None or (user is not None and found[1] != user):
            return False
        for tag, verdict in verdicts:
            db.execute(query, (found[0], tag, verdict, now))
    return True


@dataclass(frozen=True, slots=True)
class Bin:
    """Suggestions of about the same chance, and how many of them were kept."""

    low: float
    high: float
    n: int
    n_kept: int
    mean_prob: float

    @property
    def share(self) -> float:
        """How many of them were kept."""
        return self.n_kept / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of that share (Wilson 1927)."""
        n, p, z2 = self.n, self.share, _Z * _Z
        middle, scale = (p + z2 / (2 * n)), 1 + z2 / n
        half = _Z * (p * (1 - p) / n + z2 / (4 * n * n)) ** 0.5
        return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


@dataclass(frozen=True, slots=True)
class ServedReport:
    """What became of suggestions; shares are of those with feedback."""

    n_served: int
    n_judged: int  # of them with feedback
    n_shown: int  # tags of those
    n_kept: int
    n_refused: int
    n_added: int  # further tags that people added themselves
    bins: tuple[Bin, ...]  # of chance, those that hold any


def served_report(store: Store, *, user: str | None = None) -> ServedReport:
    """Compare what was suggested with what became of it, for a person or everybody (None).

    A suggestion of which nothing was said counts only where something was said of another one of
    the same set: then it was not kept.
    """
    whose, values = ("", ()) if user is None else ("WHERE user_name = ?", (user,))
    with store.reading() as db:
        (n_served,) = db.execute(f"SELECT count(*) FROM served {whose}", values).fetchone()  # noqa: S608
        said: dict[int, dict[str, str]] = {}
        shown: dict[int, list[tuple[str, float]]] = {}
        query = f"""SELECT served, tag, verdict, suggestions FROM feedback
            JOIN served ON served.id = feedback.served {whose} ORDER BY served, tag"""  # noqa: S608
        for served, tag, verdict, text in db.execute(query, values):
            said.setdefault(served, {})[tag] = verdict
            if served not in shown:
                shown[served] = [(one[0], float(one[1])) for one in json.loads(text)]
    judged = [
        (prob, said[served].get(tag, "")) for served, tags in shown.items() for tag, prob in tags
    ]
    added = sum(
        verdict == "added" or (verdict == "accepted" and tag not in dict(shown[served]))
        for served, verdicts in said.items()
        for tag, verdict in verdicts.items()
    )
    kept = [(prob, verdict == "accepted") for prob, verdict in judged]
    n_refused = sum(verdict == "refused" for _, verdict in judged)
    n_kept = sum(is_kept for _, is_kept in kept)
    return ServedReport(n_served, len(shown), len(judged), n_kept, n_refused, added, _bins(kept))


def _bins(kept: list[tuple[float, bool]]) -> tuple[Bin, ...]:
    found: dict[int, list[tuple[float, bool]]] = {}
    for prob, is_kept in kept:
        found.setdefault(min(int(prob * N_BINS), N_BINS - 1), []).append((prob, is_kept))
    return tuple(
        Bin(
            i / N_BINS,
            (i + 1) / N_BINS,
            len(rows),
            sum(is_kept for _, is_kept in rows),
            sum(prob for prob, _ in rows) / len(rows),
        )
        for i, rows in sorted(found.items())
    )
