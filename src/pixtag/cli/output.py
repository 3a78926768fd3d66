"""Printing: data to stdout, everything else to stderr.

`print_table`, `print_json` and `print_json_line` write data. `say` writes a line for the person;
a verb's last one tells what was made and where. `progress` draws a bar for what takes long.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from rich.progress import Progress
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
    """Make a console for data: colours and the window's width only on a terminal."""
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
    """Write one or more lines for the person to stderr, without waiting."""
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
    """Write one JSON document, indented, to stdout."""
    sys.stdout.write(to_json(value, indent=2) + "\n")


def print_json_line(value: object) -> None:
    """Write one line of JSON Lines to stdout at once, so that a reader can follow."""
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
        '{"p":null,"tags":["a","b"]}'
    """
    import pydantic_core

    try:
        made = pydantic_core.to_json(value, indent=indent, inf_nan_mode="null", fallback=_plain)
    except (pydantic_core.PydanticSerializationError, UnicodeEncodeError):
        # A lone surrogate, from a file name that is not UTF-8: escaped, it reads back the same.
        return json.dumps(value, indent=indent, default=_plain)
    return made.decode()


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    for name in ("model_dump", "tolist", "isoformat"):  # pydantic, numpy, datetime
        method = getattr(value, name, None)
        if callable(method):
            return method()
    return str(value)


Align = Literal["left", "right"]


def table(columns: Mapping[str, Align], rows: Sequence[Sequence[object]], *, title: str) -> Table:
    """Make a table of plain text, by headings and their sides; None leaves a cell empty.

    Markup and control characters in cells stay visible.
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
    """Write a `table` to stdout."""
    stdout_console().print(table(columns, rows, title=title))


class Bar:
    """A progress bar that nobody sees before the work has taken two seconds.

    Its methods fit the callbacks of the library: `update(done, total)`.
    """

    def __init__(self, title: str, total: int | None, *, unit: str) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._is_seen = sys.stderr.isatty()
        self._done = 0
        self._started_s = time.monotonic()
        self._progress: Progress | None = None

    def advance(self, n_done: int = 1) -> None:
        """Count some more as done, in the bar's unit."""
        self.update(self._done + n_done)

    def update(self, n_done: int, total: int | None = None, note: str | None = None) -> None:
        """Say how much is done in all.

        Args:
            n_done: Done so far, in the bar's unit.
            total: How much there is, where that is known only now.
            note: Replaces the title: what is being done now.
        """
        self._done, self._total, self._title = n_done, total or self._total, note or self._title
        if not self._is_seen or (elapsed_s := time.monotonic() - self._started_s) < _PATIENCE_S:
            return
        rate = n_done / elapsed_s
        shown = f"{rate:,.{0 if rate >= 10 else 1}f} {self._unit}/s"
        if self._progress is None:
            from rich import progress as rich

            self._progress = rich.Progress(
                rich.TextColumn("{task.description}", markup=False),
                rich.BarColumn(),
                rich.MofNCompleteColumn(),
                rich.TextColumn("{task.fields[rate]}", markup=False),
                rich.TimeRemainingColumn(),
                console=stderr_console(),
                transient=True,
            )
            self._progress.add_task("", rate=shown)
            self._progress.start()
        self._progress.update(
            self._progress.task_ids[0],
            completed=n_done,
            total=self._total,
            description=printable(self._title),
            rate=shown,
        )

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._progress is not None:
            self._progress.stop()


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
    bar = Bar(title, total, unit=unit)
    try:
        yield bar
    finally:
        bar.close()


def describe(record: Mapping[str, Any]) -> None:
    """Write names and values under each other to stdout, for a summary; None is left out."""
    shown = {name: value for name, value in record.items() if value is not None}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        sys.stdout.write(f"{name:<{width}}  {printable(str(value))}\n")
