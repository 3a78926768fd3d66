"""Printing: data to stdout; words for the person and progress bars to stderr."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Self

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

_PATIENCE_S = 2.0  # a bar appears only for work that has taken this long
_LINE_S = 15.0  # between lines in its place where stderr is no terminal
_PIPE_WIDTH = 160  # columns of a table in a file or a pipe, where nobody's window cuts it

# Control characters, surrogates and overrides of the writing direction. Joiners and marks that
# build emoji and scripts are not "printable" to Python but harmless.
_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


class _PipeConsole(Console):
    """A console that leaves a closed pipe to the caller instead of leaving the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        raise BrokenPipeError


def stdout_console(*, pipe_width: int = _PIPE_WIDTH) -> Console:
    """Make a console for data: colours and the window's width only on a terminal."""
    is_pipe = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    console = _PipeConsole(highlight=False, markup=False, emoji=False)
    if is_pipe:
        console.width = pipe_width
    return console


def stderr_console() -> Console:
    """Make a console for what is not data."""
    return _PipeConsole(stderr=True, highlight=False, markup=False, emoji=False)


def survive_odd_characters() -> None:
    """Print names that are no valid Unicode with escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """Escape control characters, which could move the cursor or recolour a terminal."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def say(text: str) -> None:
    """Write one or more lines for the person to stderr, without waiting."""
    text = "\n".join(printable(line) for line in text.split("\n"))
    # What was printed before must stand before it, also where both go into one file; a closed or
    # full stdout shows again when the command ends.
    with suppress(OSError):
        sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)


def print_line(text: str) -> None:
    """Write one line of data to stdout, as it is: for lines that are pasted or piped on."""
    sys.stdout.write(text + "\n")


def print_json(value: object) -> None:
    """Write one JSON document, indented, to stdout."""
    print_line(to_json(value, indent=2))


def print_json_line(value: object) -> None:
    """Write one line of JSON Lines to stdout at once, so that a reader can follow."""
    print_line(to_json(value))
    sys.stdout.flush()


def to_json(value: object, *, indent: int | None = None) -> str:
    """Write plain values, dataclasses, pydantic models, paths and numpy's as JSON.

    In one line without an indent. Numbers that JSON lacks (NaN, infinities) become null.
    """
    import pydantic_core

    plain = pydantic_core.to_jsonable_python(value, inf_nan_mode="null", fallback=_plain)
    try:
        return pydantic_core.to_json(plain, indent=indent).decode()
    except (pydantic_core.PydanticSerializationError, UnicodeEncodeError):
        # A lone surrogate, from a file name that is not UTF-8: escaped, it reads back the same.
        return json.dumps(plain, indent=indent)


def _plain(value: object) -> object:
    to_list = getattr(value, "tolist", None)  # numpy's
    return to_list() if callable(to_list) else str(value)


Align = Literal["left", "right"]


def print_table(
    columns: Mapping[str, Align], rows: Sequence[Sequence[object]], *, title: str = ""
) -> None:
    """Write a table to stdout, by headings and their sides; None leaves a cell empty.

    Markup and control characters in cells stay visible.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made, stdout = Table(box=box.SIMPLE_HEAD, pad_edge=False), stdout_console()
    for heading, side in columns.items():
        made.add_column(heading, justify=side, overflow="fold")
    for row in rows:
        made.add_row(*("" if cell is None else Text(printable(str(cell))) for cell in row))
    if title:  # above the table, not wrapped to its width
        stdout.print(Text(printable(title), style="bold"), soft_wrap=True)
    stdout.print(made)


class progress:  # noqa: N801 - used as a function
    """A bar with rate and time left on stderr, on a terminal and after two seconds of work.

    Where stderr is no terminal, a line now and then instead. Call `advance()`, or pass `update`
    as a callback.
    """

    def __init__(self, title: str, total: int | None = None, *, unit: str = "posts") -> None:
        self._title, self._total, self._unit = title, total, unit
        self._is_seen, self._done, self._started_s = sys.stderr.isatty(), 0, time.monotonic()
        self._progress: Progress | None = None
        self._next_line_s = _LINE_S

    def advance(self, n_done: int = 1) -> None:
        """Count some more as done."""
        self.update(self._done + n_done)

    def update(self, n_done: int, total: int | None = None, note: str | None = None) -> None:
        """Say how much is done so far, perhaps of another total; a note is a new title."""
        self._done, self._total, self._title = n_done, total or self._total, note or self._title
        if (elapsed_s := time.monotonic() - self._started_s) < _PATIENCE_S:
            return
        if not self._is_seen:
            if elapsed_s >= self._next_line_s:
                self._next_line_s = elapsed_s + _LINE_S
                of = f" of {self._total:,}" if self._total else ""
                say(f"{self._title}: {n_done:,}{of} {self._unit}, {elapsed_s:,.0f} s so far")
            return
        rate = n_done / elapsed_s
        shown = f"{rate:,.{0 if rate >= 10 else 1}f} {self._unit}/s"
        if self._progress is None:
            from rich import progress as rich

            texts = ("{task.description}", "{task.fields[rate]}")
            title, rate_shown = (rich.TextColumn(text, markup=False) for text in texts)
            columns = (title, rich.BarColumn(), rich.MofNCompleteColumn(), rate_shown)
            console = stderr_console()
            self._progress = rich.Progress(
                *columns, rich.TimeRemainingColumn(), console=console, transient=True
            )
            self._progress.add_task("", rate=shown)
            self._progress.start()
        task, title = self._progress.task_ids[0], printable(self._title)
        self._progress.update(
            task, completed=n_done, total=self._total, description=title, rate=shown
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._progress is not None:
            self._progress.stop()
        if isinstance(error, KeyboardInterrupt):
            of = f" of {self._total:,}" if self._total else ""
            error.add_note(f"{self._title}, {self._done:,}{of} {self._unit} done")


def describe(record: Mapping[str, Any]) -> None:
    """Write names and values under each other to stdout, for a summary; None is left out."""
    shown = {name: value for name, value in record.items() if value is not None}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        sys.stdout.write(f"{name:<{width}}  {printable(str(value))}\n")
