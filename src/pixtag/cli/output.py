"""Printing: data to stdout, everything else to stderr.

`print_table`, `print_json` and `print_json_line` write data. `say` writes a line for the person;
a verb's last one tells what was made and where. `progress` draws a bar for what takes long.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from rich.progress import Progress, TaskID
    from rich.table import Table

_PATIENCE_S = 2.0
"""A bar appears only for work that has taken this long."""

_PIPE_WIDTH = 160
"""Columns of a table that goes into a file or a pipe, where nobody's window cuts it."""


class _PipeConsole(Console):
    """A console that leaves a closed pipe to the caller instead of leaving the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        raise BrokenPipeError


def stdout_console(*, max_width: int = _PIPE_WIDTH) -> Console:
    """Make a console for data: colours and the window's width only on a terminal.

    Args:
        max_width: Widest in columns, for text that is read rather than looked through.
    """
    is_pipe = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    console = _PipeConsole(highlight=False, markup=False, emoji=False)
    console.width = max_width if is_pipe else min(console.width, max_width)
    return console


def stderr_console() -> Console:
    """Make a console for what is not data."""
    return _PipeConsole(stderr=True, highlight=False, markup=False, emoji=False)


def survive_odd_characters() -> None:
    """Print names that are no valid Unicode with escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    r"""Escape control characters, which could move the cursor or recolour a terminal.

    Example:
        >>> printable("a\x1b[2Jb")
        'a\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    # Joiners and marks that build emoji and scripts are not "printable" to Python but harmless.
    code = ord(character)
    is_control = code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000
    is_bidi_override = 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
    if is_control or is_bidi_override:
        return character.encode("unicode_escape").decode("ascii")
    return character


def say(text: str) -> None:
    """Write lines for the person to stderr, without waiting.

    Args:
        text: One or more lines.
    """
    lines = [printable(line) for line in text.split("\n")]
    # What was printed before must stand before it, also where both go into one file; a closed or
    # full stdout shows again when the command ends.
    with suppress(OSError):
        sys.stdout.flush()
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()


def print_line(text: str) -> None:
    """Write one line of data to stdout, as it is: for lines that are pasted or piped on."""
    sys.stdout.write(text + "\n")


def print_json(value: object) -> None:
    """Write one JSON document, indented, to stdout.

    Args:
        value: As for `to_json`.
    """
    sys.stdout.write(to_json(value, indent=2) + "\n")


def print_json_line(value: object) -> None:
    """Write one line of JSON Lines to stdout at once, so that a reader can follow.

    Args:
        value: As for `to_json`.
    """
    sys.stdout.write(to_json(value) + "\n")
    sys.stdout.flush()


def to_json(value: object, *, indent: int | None = None) -> str:
    """Write a value as JSON that every parser reads.

    Args:
        value: Plain values, dataclasses, pydantic models, paths, numpy numbers and arrays.
            Numbers that JSON lacks (NaN, infinities) become null.
        indent: Spaces a level, or None for one line.

    Example:
        >>> to_json({"p": float("nan"), "tags": ("a", "b")})
        '{"p": null, "tags": ["a", "b"]}'
    """
    plain = _plain(value)
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, from a file name that is not UTF-8
        text = json.dumps(plain, allow_nan=False, indent=indent)
    return text


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return {str(key): _plain(inner) for key, inner in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in cast("list[object]", value)]
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    for name in ("model_dump", "tolist", "isoformat"):  # pydantic, numpy, datetime
        method = getattr(value, name, None)
        if callable(method):
            return _plain(method())
    return str(value)


Align = Literal["left", "right"]


def table(columns: Mapping[str, Align], rows: Sequence[Sequence[object]], *, title: str) -> Table:
    """Make a table of plain text: markup and control characters in cells stay visible.

    Args:
        columns: Heading of each column and its side: numbers stand right.
        rows: Cells of each row, as many as columns; None leaves one empty.
        title: Line above the table, or empty.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(
        title=Text(printable(title), style="bold") if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading, side in columns.items():
        made.add_column(heading, justify=side, overflow="fold")
    for row in rows:
        made.add_row(*("" if cell is None else Text(printable(str(cell))) for cell in row))
    return made


def print_table(
    columns: Mapping[str, Align], rows: Sequence[Sequence[object]], *, title: str = ""
) -> None:
    """Write a table to stdout.

    Args:
        columns: Heading of each column and its side: numbers stand right.
        rows: Cells of each row; None leaves one empty.
        title: Line above the table.
    """
    stdout_console().print(table(columns, rows, title=title))


class Bar:
    """A progress bar that nobody sees before the work has taken two seconds.

    Its methods fit the callbacks of the library: `update(done, total)`.
    """

    def __init__(self, title: str, total: int | None, *, unit: str, is_seen: bool) -> None:
        self._title = title
        self._total = total
        self._unit = unit
        self._is_seen = is_seen
        self._done = 0
        self._started_s = time.monotonic()
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def advance(self, n_done: int = 1) -> None:
        """Count some more as done.

        Args:
            n_done: How many, in the bar's unit.
        """
        self.update(self._done + n_done)

    def update(self, n_done: int, total: int | None = None, note: str | None = None) -> None:
        """Say how much is done in all.

        Args:
            n_done: Done so far, in the bar's unit.
            total: How much there is, where that is known only now.
            note: Replaces the title: what is being done now.
        """
        self._done = n_done
        self._total = self._total if total is None else total
        self._title = self._title if note is None else note
        if not self._is_seen:
            return
        if self._progress is None:
            if time.monotonic() - self._started_s < _PATIENCE_S:
                return
            self._start()
        if self._progress is not None and self._task is not None:
            self._progress.update(
                self._task,
                completed=n_done,
                total=self._total,
                description=printable(self._title),
                rate=self._rate_text(),
            )

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _rate_text(self) -> str:
        elapsed_s = max(time.monotonic() - self._started_s, 1e-9)
        rate = self._done / elapsed_s
        return f"{rate:,.0f} {self._unit}/s" if rate >= 10 else f"{rate:.1f} {self._unit}/s"

    def _start(self) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
            console=stderr_console(),
            transient=True,
        )
        self._progress.start()
        self._task = self._progress.add_task(
            printable(self._title), total=self._total, rate=self._rate_text()
        )


@contextmanager
def progress(
    title: str, total: int | None = None, *, unit: str = "posts"
) -> Generator[Bar, None, None]:
    """Show a bar with rate and time left on stderr while the work goes on.

    It stays silent when stderr is no terminal and for work of under two seconds.

    Args:
        title: What is being done: "reading photos".
        total: How much there is, or None while unknown.
        unit: What is counted.

    Yields:
        The bar; call `advance()` or pass `bar.update` as a callback.
    """
    bar = Bar(title, total, unit=unit, is_seen=sys.stderr.isatty())
    try:
        yield bar
    finally:
        bar.close()


def describe(record: Mapping[str, Any]) -> None:
    """Write names and values under each other to stdout, for a summary.

    Args:
        record: Values by their name; None is left out.
    """
    shown = {name: value for name, value in record.items() if value is not None}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        sys.stdout.write(f"{name:<{width}}  {printable(str(value))}\n")
