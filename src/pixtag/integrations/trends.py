"""Counts of tags from outside into a store: from files, and from servers of the Mastodon API.

import_trends(store, Path("tags.csv"), source="campus")
fetch_trends(store, "https://mastodon.example")
"""

from __future__ import annotations

import csv
import json
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from pixtag.errors import ArchiveError, InputError, PixtagError, ServerError
from pixtag.ingest.context import ImportReport
from pixtag.ingest.files import Look, as_dict, as_list, dig, lines, open_text
from pixtag.integrations.http import Client, KeyRefusedError, checked
from pixtag.store import Store
from pixtag.store.outside import check_count, note_fetch, put_outside
from pixtag.tags import normalise_tag
from pixtag.types import OutsideCount, read_time

PATH = "/api/v1/trends/tags"
PAGE = 20  # tags a page; Mastodon gives no more
MOST_PAGES = 20
MOST_BYTES = 2**20  # of one page; twenty tags have some 10 kB
TIMEOUT_S = 10.0  # of one wait for the server
DAY_S = 86_400

_COLUMNS = {
    "tag": ("tag", "hashtag", "name", "hashtags"),
    "time": ("time", "day", "date", "at", "timestamp"),
    "count": ("count", "uses", "posts", "n"),
    "accounts": ("accounts", "people", "users"),
}
_COLUMN_OF = {alias: column for column, names in _COLUMNS.items() for alias in names}
_NEEDED = ("tag", "time", "count")


@dataclass(slots=True)
class TrendReport:
    """What was read of a source, and what could not be."""

    source: str
    n_tags: int = 0
    n_counts: int = 0
    problems: Counter[str] = field(default_factory=Counter[str])  # by kind
    examples: dict[str, str] = field(default_factory=dict[str, str])  # of each kind the first


class _Counts:
    """Gathers counts of one source, adding up those of the same tag and day."""

    def __init__(self, source: str, seen_at: float) -> None:
        self.report, self._seen_at = TrendReport(source), seen_at
        self._found: dict[tuple[int, str], list[int]] = {}

    def add(self, tag: object, at: object, uses: object, accounts: object, where: str) -> None:
        """Take a count as written; one that cannot be is told and left out."""
        name = normalise_tag(tag) if isinstance(tag, str) else None
        seconds, oddity = read_time(at)
        n = _whole(uses)
        people = n if accounts is None or accounts == "" else _whole(accounts)
        problem = ""
        if name is None:
            problem = "no tag"
        elif seconds is None:
            problem = oddity or "no time"
        elif n is None or people is None:
            problem = "no whole number"
        else:
            day = int(seconds // DAY_S)
            try:
                # More people than uses is a slip: each of them used it once at least.
                check_count(
                    OutsideCount(self.report.source, name, day, n, min(people, n), self._seen_at)
                )
            except InputError:
                problem = "negative, too large, or of a day that has not come"
            else:
                kept = self._found.setdefault((day, name), [0, 0])
                kept[0] += n
                kept[1] += min(people, n)
        if problem:
            self.report.problems[problem] += 1
            example = f"{where}: {tag!r:.60}, {at!r:.40}, {uses!r:.40}"
            self.report.examples.setdefault(problem, example)

    def counts(self) -> list[OutsideCount]:
        """What was gathered."""
        source = self.report.source
        out = [
            OutsideCount(source, tag, day, uses, accounts, self._seen_at)
            for (day, tag), (uses, accounts) in self._found.items()
        ]
        self.report.n_counts, self.report.n_tags = len(out), len({c.tag for c in out})
        return out


def _whole(value: object) -> int | None:
    """A whole number, as one or as text; Mastodon writes text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if math.isfinite(number) and number.is_integer() else None


# ------------------------------------------------------------------ files


def import_trends(
    store: Store, path: Path, *, source: str | None = None, now: float | None = None
) -> TrendReport:
    """Read tag, time, count and perhaps accounts of a file into a store, all or nothing.

    CSV with a heading, or JSON Lines, plain or compressed. Counts of a tag on one day are added up,
    then take the place of those of the same source, tag and day. Without accounts each use counts
    as an account. The source is the file's name unless it is given.

    ArchiveError: the file cannot be read, lacks a column, or holds no count.
    """
    seen_at = time.time() if now is None else now
    if not path.is_file():
        raise ArchiveError(f"there is no file {path}", hint="check the path")
    name = source or path.name.split(".")[0] or "file"
    gathered, damage = _Counts(name, seen_at), ImportReport()
    for where, record in _records(path, damage):
        tag, at, uses, accounts = (record.get(column) for column in _COLUMNS)
        gathered.add(tag, at, uses, accounts, where)
    counts, report = gathered.counts(), gathered.report
    report.problems.update(damage.problems)
    report.examples = damage.examples | report.examples
    if not counts:
        # The path is named at the beginning, not with each example again.
        where = {
            kind: example.removeprefix(f"{path}").lstrip(" :")
            for kind, example in report.examples.items()
        }
        why = "; ".join(f"{kind} ({example})" for kind, example in where.items())
        what = f"{path} holds no count of a tag" + (f": {why}" if why else "")
        hint = "a line needs tag, time and count, as in sunset,2026-05-01,12"
        raise ArchiveError(what, hint=hint)
    put_outside(store, counts)
    return report


def _records(path: Path, report: ImportReport) -> Iterator[tuple[str, Mapping[str, object]]]:
    if Look(path).text.startswith(("{", "[")):
        yield from _json_records(path, report)
        return
    with open_text(path) as file:
        numbered = lines(file, path, report)
        head = next((line for _, line in numbered if line.strip()), "").lstrip("\ufeff")
        tables = {m: _places(next(csv.reader([head], delimiter=m), [])) for m in ",;\t|"}
        mark, places = max(tables.items(), key=lambda one: len(one[1]))
        if missing := [column for column in _NEEDED if column not in places]:
            what = f"{path} has no column {' or '.join(missing)} in its first line"
            what += f": {head[:60].strip()!r}"
            raise ArchiveError(what, hint="begin it with a line tag,time,count,accounts")
        for number, line in numbered:
            try:
                row = next(csv.reader([line], delimiter=mark, strict=True), [])
            except csv.Error:
                row = [line.strip()]
            if any(row):
                record = {name: row[i] for name, i in places.items() if i < len(row)}
                yield f"line {number}", record


def _json_records(path: Path, report: ImportReport) -> Iterator[tuple[str, Mapping[str, object]]]:
    with open_text(path) as file:
        for number, line in lines(file, path, report):
            try:
                record: Any = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if isinstance(record, dict):
                found = cast("dict[str, object]", record)
                places = {_COLUMN_OF.get(name.lower(), ""): name for name in reversed(found)}
                yield f"line {number}", {column: found[name] for column, name in places.items()}
            elif line.strip():
                report.add("no JSON object", f"line {number}: {line[:60].strip()}")


def _places(names: Sequence[str]) -> dict[str, int]:
    """Which column of a table is what; of several for one the first."""
    places = [(_COLUMN_OF.get(name.strip().lower(), ""), i) for i, name in enumerate(names)]
    return {column: i for column, i in reversed(places) if column}


# ------------------------------------------------------------------ servers


def fetch_trends(store: Store, url: str, *, now: float | None = None) -> TrendReport:
    """Ask a server what rises there (`/api/v1/trends/tags`) and keep its counts, all or nothing.

    Args:
        store: Takes the counts, under the server's name, and that it was asked.
        url: The server's name, its address, or the address of the list.
        now: When, Unix seconds UTC; the clock's time by default.

    Raises:
        InputError: The address is none of a web server.
        ServerError: It cannot be reached or gives another answer. What is known of it stays.
    """
    seen_at = time.time() if now is None else now
    address, source = address_of(url)
    gathered = _Counts(source, seen_at)
    try:
        for where, entry in _entries(address, source):
            _take(entry, where, gathered)
        counts = gathered.counts()
        if not counts and gathered.report.problems:
            kind, example = next(iter(gathered.report.examples.items()))
            raise _odd(source, f"no tag with a history of days ({kind}: {example})")
    except PixtagError as error:
        note_fetch(store, source, at=seen_at, problem=error.message)
        raise
    with store.writing():
        put_outside(store, counts)
        note_fetch(store, source, at=seen_at)
    return gathered.report


def address_of(url: str) -> tuple[str, str]:
    """The address of a server's list of tags, and the server's name. InputError: it is none."""
    parts = urlsplit(checked(re.split("[?#]", url)[0]))
    path = parts.path.rstrip("/")
    path = path if path.endswith("/trends/tags") else path + PATH
    source = f"{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    return parts._replace(netloc=parts.netloc.lower(), path=path).geturl(), source


def _entries(address: str, source: str) -> Iterator[tuple[str, object]]:
    """Every tag of the list, page after page, until one brings nothing new."""
    # Tried once: whoever follows a server asks it again the next time.
    client = Client(address, name=source, timeout_s=TIMEOUT_S, tries=1, most_json_bytes=MOST_BYTES)
    seen = set[str]()
    for page in range(MOST_PAGES):
        try:
            found = client.json("GET", "", query={"limit": PAGE, "offset": page * PAGE})
        except KeyRefusedError as error:
            hint = "some servers show their trends only to members"
            raise KeyRefusedError(error.message, hint=hint, status=error.status) from error
        if not isinstance(found, list):
            raise _odd(source, "its answer is no list of tags")
        entries, n_known = as_list(found), len(seen)
        for i, entry in enumerate(entries):
            if (name := _name_of(entry)) not in seen:
                seen.add(name)
                yield f"tag {page * PAGE + i + 1}", entry
        if len(seen) == n_known or len(entries) < PAGE:
            return


def _name_of(entry: object) -> str:
    return str(dig(entry, "name") or dig(entry, "hashtag") or "")


def _take(entry: object, where: str, gathered: _Counts) -> None:
    """Take a tag with its days: uses and accounts as text or numbers, a day in Unix seconds."""
    # A day that comes twice counts once.
    days = {str(dig(day, "day")): as_dict(day) for day in reversed(as_list(dig(entry, "history")))}
    if not days:
        gathered.add(_name_of(entry), None, None, None, where)
    for day in days.values():
        people = 0 if (told := day.get("accounts")) is None else told  # nobody for sure
        gathered.add(_name_of(entry), day.get("day"), day.get("uses"), people, where)


def _odd(source: str, what: str) -> ServerError:
    hint = "check that it is a server of Mastodon or Pixelfed that shows its trends"
    return ServerError(f"{source} gives no trends: {what}", hint=hint)


def follow(
    store: Store,
    urls: Sequence[str],
    every_s: float,
    stop: threading.Event,
    *,
    on_error: Callable[[str, PixtagError], None] | None = None,
) -> None:
    """Ask servers at once and every so often until `stop` is set; for a thread of its own.

    One that fails is noted in the store, told to `on_error`, and asked again the next time; what
    is known of it fades meanwhile.
    """
    while not stop.is_set():
        for url in urls:
            if stop.is_set():
                return
            try:
                fetch_trends(store, url)
            except PixtagError as error:
                if on_error is not None:
                    on_error(url, error)
        stop.wait(every_s)
