"""Counts of tags from outside in a store: by source, day and tag, and how the last fetches went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pixtag.errors import InputError
from pixtag.store import Store
from pixtag.store.rows import is_safe, seconds
from pixtag.tags import normalise_tag
from pixtag.types import OutsideCount, microseconds

MOST_COUNTED = 10**12  # uses of a tag on a day beyond which a count is nonsense
FIRST_DAY = 12_053  # 2003-01-01: no network counted tags before
_DAY_S = 86_400
_MOST_NAME = 200  # letters of a source's name


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """What a store knows of one source: days since 1970, times in Unix seconds UTC."""

    source: str
    n_tags: int = 0
    n_counts: int = 0
    first_day: int | None = None
    last_day: int | None = None
    tried_at: float | None = None  # of the last fetch; None for a source that is a file
    fetched_at: float | None = None  # of the last one that succeeded
    problem: str = ""  # why the last one failed


def put_outside(store: Store, counts: Iterable[OutsideCount]) -> int:
    """Keep counts, all or none, in the place of those of the same source, day and tag.

    Gives how many there were. InputError: one is no count (`check_count`).
    """
    rows: list[tuple[object, ...]] = []
    for count in counts:
        check_count(count)
        seen_at_us = microseconds(count.seen_at)
        rows.append((count.source, count.tag, count.day, count.uses, count.accounts, seen_at_us))
    if rows:
        with store.writing() as db:
            query = """INSERT INTO outside VALUES (?, ?, ?, ?, ?, ?)
                ON CONFLICT (source, day, tag) DO UPDATE SET uses = excluded.uses,
                accounts = excluded.accounts, seen_at_us = excluded.seen_at_us"""
            db.executemany(query, rows)
            db.execute("UPDATE meta SET value = value + 1 WHERE name = 'outside'")
    return len(rows)


def check_count(count: OutsideCount) -> None:
    """Raise `InputError` unless a count can be: of a tag, of a day that came, people <= uses."""
    today = int(count.seen_at // _DAY_S)
    what = ""
    if not (count.source and len(count.source) <= _MOST_NAME and is_safe(count.source)):
        what = f"{count.source[:60]!r} is no name of a source"
    elif normalise_tag(count.tag) != count.tag:
        what = f"{count.tag[:60]!r} is no tag"
    elif not FIRST_DAY <= count.day <= today + 1:  # servers may be a day ahead of this clock
        what = f"a count of #{count.tag} is of a day that is not from 2003 to today"
    elif not 0 <= count.accounts <= count.uses <= MOST_COUNTED:
        what = f"{count.uses} uses of #{count.tag} by {count.accounts} people cannot be"
    if what:
        raise InputError(what, hint="give tag, time, count and perhaps accounts, none negative")


def note_fetch(store: Store, source: str, *, at: float, problem: str = "") -> None:
    """Note that a source was asked at a time (Unix seconds UTC), and why that failed, if it did."""
    at_us = microseconds(at)
    with store.writing() as db:
        db.execute(
            "INSERT INTO fetches VALUES (?, ?, ?, ?) ON CONFLICT (source) DO UPDATE SET "
            "tried_at_us = excluded.tried_at_us, message = excluded.message, "
            "fetched_at_us = coalesce(excluded.fetched_at_us, fetches.fetched_at_us)",
            (source, at_us, None if problem else at_us, problem[:500]),
        )


def outside_revision(store: Store) -> int:
    """Grows with every change of the counts from outside."""
    return store.outside_revision


def outside_counts(store: Store) -> tuple[int, list[OutsideCount]]:
    """The revision and every count from outside, by source, day and tag."""
    with store.reading() as db:
        seq = store.outside_revision
        query = "SELECT source, tag, day, uses, accounts, seen_at_us FROM outside"
        return seq, [
            OutsideCount(source, tag, int(day), int(uses), int(accounts), seen_at_us / 1e6)
            for source, tag, day, uses, accounts, seen_at_us in db.execute(query)
        ]


def outside_sources(store: Store) -> list[SourceSummary]:
    """What is known of each source, by name; those that never answered too."""
    query = """SELECT source, count(DISTINCT tag), count(*), min(day), max(day) FROM outside
        GROUP BY source"""
    with store.reading() as db:
        found = {row[0]: row for row in db.execute(query)}
        fetches = {row[0]: row[1:] for row in db.execute("SELECT * FROM fetches")}
    out: list[SourceSummary] = []
    for source in sorted(found.keys() | fetches.keys()):
        _, n_tags, n_counts, first, last = found.get(source, (source, 0, 0, None, None))
        tried, fetched, problem = fetches.get(source, (None, None, ""))
        times = seconds(tried), seconds(fetched)
        out.append(SourceSummary(source, n_tags, n_counts, first, last, *times, problem))
    return out
