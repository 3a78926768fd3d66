"""What lies at a path: a file (plain, .gz, .zst), a folder, or zips that are one archive."""

from __future__ import annotations

import gzip
import io
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, cast

from pixtag.errors import ArchiveError
from pixtag.ingest.context import BROKEN_ZIP, PHOTO_SUFFIXES, VIDEO_SUFFIXES, PhotoKeeper
from pixtag.ingest.report import Problems
from pixtag.types import Photo

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MAX_LINE_BYTES = 32 * 2**20
"""Longest line taken into memory; a post with 10,000 tags has some 200 kB."""
MAX_ENTRY_BYTES = 512 * 2**20
MAX_RATIO = 200
"""Largest growth of a zip's entry. Photos hardly shrink, JSON to a fiftieth; bombs to less."""

# What gzip, zlib and pyarrow raise on damaged data (ArrowInvalid is a ValueError).
DAMAGED = (EOFError, OSError, zlib.error, ValueError)

_HARMLESS_BYTES = 2**20
_MAX_TOTAL_RATIO = 100
_SPARE_BYTES = 2**30
_MOST_NAMES = 50_000
_POST_FILES = re.compile(r"posts\.(jsonl|ndjson|csv|tsv|parquet)(\.gz|\.zst)?", re.IGNORECASE)


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressing .gz and .zst by their first bytes.

    Raises:
        ArchiveError: It cannot be opened.
    """
    try:
        magic = _magic(path)
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
    magic = _magic(path)
    return magic[:2] == GZIP_MAGIC or magic == ZSTD_MAGIC


def lines(file: IO[bytes], path: Path, problems: Problems) -> Iterator[tuple[int, bytes]]:
    """Read lines with their number from 1, each of bounded size and with its line break.

    Lines that are too long and a file that ends early are counted.
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


class Look:
    """What is seen of a path before it is read; readers tell their own kind by it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def head(self) -> bytes:
        """The first bytes of a file, decompressed; nothing of a folder."""
        if self.path.is_dir():
            return b""
        try:
            with open_bytes(self.path) as file:
                return file.read(4096)
        except DAMAGED as error:
            raise ArchiveError(f"{self.path} is damaged: {error}", hint="get it again") from error

    @cached_property
    def names(self) -> list[str]:
        """Names inside a folder or zip, enough to tell what it is; folders end in `/`."""
        if self.path.is_dir():
            return list(self._walk())
        try:
            with zipfile.ZipFile(self.path) as archive:
                return archive.namelist()
        except (zipfile.BadZipFile, OSError):
            return []

    @property
    def is_zip(self) -> bool:
        """Whether it is a zip by its first bytes."""
        return self.head.startswith(b"PK")

    @property
    def post_files(self) -> list[Path]:
        """Files directly inside that are named as files of posts; they say more than the rest."""
        return sorted(self.path / name for name in self.names if _POST_FILES.fullmatch(name))

    @property
    def zips(self) -> list[Path]:
        """Zips directly inside."""
        found = [n for n in self.names if "/" not in n and n.lower().endswith(".zip")]
        return sorted(self.path / name for name in found)

    @property
    def has_only_zips(self) -> bool:
        """Whether it is a folder of zips and nothing else: an archive as downloaded."""
        names = [name for name in self.names if not name.startswith(".")]
        return self.path.is_dir() and len(names) == len(self.zips)

    def _walk(self) -> Iterator[str]:
        n_names = 0
        for root, folders, files in os.walk(self.path):
            folders.sort()
            base = Path(root).relative_to(self.path).as_posix()
            prefix = "" if base == "." else base + "/"
            for name in [f + "/" for f in folders] + sorted(files):
                yield prefix + name
                n_names += 1
                if n_names >= _MOST_NAMES:
                    return


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an archive.

    Attributes:
        name: Its path inside the archive, with `/`.
        path: The file on disk, or the zip that holds it.
        info: Its place in the zip, or None for a file on disk.
    """

    name: str
    path: Path
    info: zipfile.ZipInfo | None


class Tree:
    """The files of an archive by name, whether it is a folder, a zip, or several zips of one whole.

    Args:
        paths: A folder, or zips of one archive.
        problems: Counts what is refused.

    Raises:
        ArchiveError: A zip is damaged or grows beyond all measure.
    """

    def __init__(self, paths: Sequence[Path], problems: Problems) -> None:
        self._problems = problems
        self._zips: dict[Path, zipfile.ZipFile] = {}
        self.entries: list[Entry] = []
        self._by_ending: dict[str, list[Entry]] = {}
        try:
            for path in paths:
                self._add_folder(path) if path.is_dir() else self._add_zip(path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the zips."""
        for archive in self._zips.values():
            archive.close()

    def find(self, uri: str) -> Entry | None:
        """Find the file that a path in the archive's JSON means, wherever the archive's top lies.

        Nothing outside the archive can be reached with it.
        """
        uri = uri.strip().replace("\\", "/").lstrip("/")
        candidates = self._by_ending.get(PurePosixPath(uri).name, [])
        exact = (entry for entry in candidates if entry.name == uri)
        deeper = (entry for entry in candidates if entry.name.endswith("/" + uri))
        return next(exact, None) or next(deeper, None)

    def read(self, entry: Entry, n_bytes: int | None = None) -> bytes | None:
        """Read an entry or its beginning; None (counted) when it is broken or too large."""
        try:
            with self.open(entry) as file:
                data = file.read(MAX_ENTRY_BYTES + 1 if n_bytes is None else n_bytes)
        except (OSError, *BROKEN_ZIP) as error:
            self._problems.add("file in the archive cannot be read", f"{entry.name}: {error}")
            return None
        if len(data) > MAX_ENTRY_BYTES:
            self._problems.add("file in the archive is too large", entry.name)
            return None
        return data

    def open(self, entry: Entry) -> IO[bytes]:
        """Open an entry for reading."""
        if entry.info is None:
            return entry.path.open("rb")
        return self._zips[entry.path].open(entry.info)

    def photo(self, entry: Entry, keeper: PhotoKeeper) -> Photo | None:
        """Take note of a photo; one in a zip is copied beside the store."""
        if entry.info is None:
            return keeper.file(str(entry.path))
        return keeper.stream(lambda: self.open(entry), entry.name)

    def medium_kind(self, entry: Entry) -> str:
        """Tell `photo`, `video` or `other` by the ending, or by the bytes where it says nothing."""
        suffix = PurePosixPath(entry.name).suffix.lower()
        if suffix in PHOTO_SUFFIXES:
            return "photo"
        if suffix in VIDEO_SUFFIXES:
            return "video"
        from pixtag.images import HEAD_BYTES, sniff  # few archives need it

        kind = sniff(self.read(entry, HEAD_BYTES) or b"")
        if kind in {None, "pdf", "psd"}:
            return "other"
        return "video" if kind == "video" else "photo"

    def _add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self._by_ending.setdefault(PurePosixPath(entry.name).name, []).append(entry)

    def _add_folder(self, root: Path) -> None:
        top = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow links
        for folder, inner, names in os.walk(top):
            inner.sort()
            for name in sorted(names):
                path = Path(folder) / name
                self._add(Entry(path.relative_to(top).as_posix(), path, None))

    def _add_zip(self, path: Path) -> None:
        try:
            archive = zipfile.ZipFile(path)
        except (OSError, *BROKEN_ZIP) as error:
            raise ArchiveError(
                f"{path} is no whole zip: {error}",
                hint="download it again; a download that was cut off looks like this",
            ) from error
        self._zips[path] = archive
        infos = [info for info in archive.infolist() if not info.is_dir()]
        total_bytes = sum(info.file_size for info in infos)
        if total_bytes > _MAX_TOTAL_RATIO * path.stat().st_size + _SPARE_BYTES:
            raise ArchiveError(
                f"{path} would grow to {total_bytes:,} bytes: a zip bomb",
                hint="get the archive from Instagram itself",
            )
        for info in infos:
            name = info.filename.replace("\\", "/")
            fault = _zip_fault(info, name)
            if fault:
                self._problems.add(fault, f"{path.name}: {info.filename}")
            else:
                self._add(Entry(name, path, info))


def _zip_fault(info: zipfile.ZipInfo, name: str) -> str:
    """Say why an entry is not read; "" for a welcome one."""
    is_absolute = name.startswith("/") or name[1:2] == ":"
    if is_absolute or "\0" in name or ".." in PurePosixPath(name).parts:
        return "unsafe name in a zip, refused"
    if name.lower().endswith(".zip"):
        return "zip inside a zip, not read"
    if info.flag_bits & 1:
        return "encrypted file in a zip, not read"
    if info.file_size > max(_HARMLESS_BYTES, MAX_RATIO * info.compress_size):
        return "file in a zip grows too much (a zip bomb), refused"
    return ""


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)
