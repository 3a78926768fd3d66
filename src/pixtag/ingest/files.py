"""Opening files of posts, plain or compressed."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import IO, TYPE_CHECKING, cast

from pixtag.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pixtag.ingest.report import Problems

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MAX_LINE_BYTES = 32 * 2**20
"""Longest line taken into memory; a post with 10,000 tags has some 200 kB."""

# What gzip, zlib and pyarrow raise on damaged data (ArrowInvalid is a ValueError).
DAMAGED = (EOFError, OSError, zlib.error, ValueError)


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressing .gz and .zst by their first bytes.

    Args:
        path: The file.

    Raises:
        ArchiveError: It cannot be opened.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if magic[:2] == GZIP_MAGIC:
            return cast("IO[bytes]", gzip.open(path, "rb"))
        if magic == ZSTD_MAGIC:
            import pyarrow as pa  # only here: it takes a quarter of a second

            stream = pa.input_stream(str(path), compression="zstd")
            return cast("IO[bytes]", io.BufferedReader(cast("io.RawIOBase", stream)))
        return path.open("rb")
    except OSError as error:
        raise ArchiveError(
            f"{path} cannot be read: {error.strerror or error}", hint="check the path"
        ) from error


def is_compressed(path: Path) -> bool:
    """Whether a file is .gz or .zst by its first bytes."""
    with path.open("rb") as file:
        magic = file.read(4)
    return magic[:2] == GZIP_MAGIC or magic == ZSTD_MAGIC


def lines(file: IO[bytes], path: Path, problems: Problems) -> Iterator[tuple[int, bytes]]:
    """Read lines with their number, each of bounded size.

    Args:
        file: Open for reading.
        path: For the examples.
        problems: Counts lines that are too long and a file that ends early.

    Yields:
        Number from 1 and the line with its line break, if it has one.
    """
    number = 0
    while True:
        number += 1
        try:
            line = file.readline(MAX_LINE_BYTES)
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                problems.add("line too long", f"{path}:{number}")
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_LINE_BYTES)
                continue
        except DAMAGED as error:
            problems.add(
                "file is damaged or ends early", f"{path} after line {number - 1}: {error}"
            )
            return
        if not line:
            return
        yield number, line
