"""One view of an archive, whether it is a folder, a zip, or several zips of one whole."""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, cast

from pixtag.errors import ArchiveError
from pixtag.ingest.photos import PHOTO_SUFFIXES, VIDEO_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixtag.ingest.photos import PhotoKeeper
    from pixtag.ingest.report import Problems
    from pixtag.types import Photo

MAX_ENTRY_BYTES = 512 * 2**20
MAX_RATIO = 200
"""Largest growth of a zip's entry. Photos hardly shrink, JSON to a fiftieth; bombs to less."""

_HARMLESS_BYTES = 2**20
_MAX_TOTAL_RATIO = 100
_SPARE_BYTES = 2**30

_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
_BROKEN = (*_BROKEN_ZIP, OSError)


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
    """The files of an archive by name.

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

    @property
    def names(self) -> list[str]:
        """Names of all entries."""
        return [entry.name for entry in self.entries]

    def find(self, uri: str) -> Entry | None:
        """Find the file that a path in the archive's JSON means.

        Args:
            uri: Relative to the archive's top, wherever that lies. Nothing outside the archive
                can be reached with it.
        """
        uri = uri.strip().replace("\\", "/").lstrip("/")
        candidates = self._by_ending.get(PurePosixPath(uri).name, [])
        for entry in candidates:
            if entry.name == uri:
                return entry
        for entry in candidates:
            if entry.name.endswith("/" + uri):
                return entry
        return None

    def read(self, entry: Entry, n_bytes: int | None = None) -> bytes | None:
        """Read an entry, whole or its beginning.

        Args:
            entry: The entry.
            n_bytes: How much; the whole when None.

        Returns:
            The bytes, or None (counted) when it cannot be read or is too large.
        """
        try:
            with self.open(entry) as file:
                data = file.read(MAX_ENTRY_BYTES + 1 if n_bytes is None else n_bytes)
        except _BROKEN as error:
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
        """Take note of a photo; one in a zip is copied beside the store.

        Args:
            entry: The photo.
            keeper: Takes the note.
        """
        if entry.info is None:
            return keeper.file(str(entry.path))
        try:
            return keeper.stream(lambda: self.open(entry), entry.name)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            self._problems.add("photo cannot be read", f"{entry.name}: {error}")
        return None

    def medium_kind(self, entry: Entry) -> str:
        """Tell `photo`, `video` or `other` by the ending, or by the bytes where it says nothing."""
        suffix = PurePosixPath(entry.name).suffix.lower()
        if suffix in PHOTO_SUFFIXES:
            return "photo"
        if suffix in VIDEO_SUFFIXES:
            return "video"
        return sniff_medium(self.read(entry, 32) or b"")

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
        except _BROKEN as error:
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
            if self._is_welcome(info, path):
                self._add(Entry(info.filename.replace("\\", "/"), path, info))

    def _is_welcome(self, info: zipfile.ZipInfo, path: Path) -> bool:
        name = info.filename.replace("\\", "/")
        where = f"{path.name}: {info.filename}"
        is_absolute = name.startswith("/") or name[1:2] == ":"
        if is_absolute or "\0" in name or ".." in PurePosixPath(name).parts:
            self._problems.add("unsafe name in a zip, refused", where)
            return False
        if name.lower().endswith(".zip"):
            self._problems.add("zip inside a zip, not read", where)
            return False
        if info.flag_bits & 1:
            self._problems.add("encrypted file in a zip, not read", where)
            return False
        if info.file_size > max(_HARMLESS_BYTES, MAX_RATIO * info.compress_size):
            self._problems.add("file in a zip grows too much (a zip bomb), refused", where)
            return False
        return True


def sniff_medium(head: bytes) -> str:
    """Tell `photo`, `video` or `other` by the first bytes of a file.

    Args:
        head: At least 16 bytes, unless the file has fewer.
    """
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*")):
        return "photo"
    if head[:4] == b"RIFF":
        return "photo" if head[8:12] == b"WEBP" else "video"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        is_still = brand in {b"heic", b"heix", b"mif1", b"heim", b"heis", b"avif"}
        return "photo" if is_still else "video"
    return "video" if head.startswith(b"\x1a\x45\xdf\xa3") else "other"


def as_dict(value: object) -> dict[str, object]:
    """Take a JSON object as it is and anything else as an empty one."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """Take a JSON list as it is and anything else as an empty one."""
    return cast("list[object]", value) if isinstance(value, list) else []
