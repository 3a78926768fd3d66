"""What lies at a path: a file (plain, .gz, .zst), a folder, zips of one archive; loose JSON."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import lzma
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from pixtag.errors import ArchiveError
from pixtag.formats import HEAD_BYTES, PHOTO_FORMATS, PHOTO_SUFFIXES, VIDEO_SUFFIXES, sniff
from pixtag.ingest.context import BROKEN_ZIP, Context, ImportReport, composed
from pixtag.types import Photo

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_LINE_BYTES = 32 * 2**20  # a post with 10,000 tags has some 200 kB
MAX_ENTRY_BYTES = 512 * 2**20
MAX_RATIO = 200  # of a zip's entry: photos hardly shrink, JSON to a fiftieth; bombs to less
# What gzip, zlib and zstd raise on damaged data, and pyarrow (ArrowInvalid is a ValueError).
DAMAGED = (EOFError, OSError, zlib.error, zstd.ZstdError, ValueError)
_HARMLESS_BYTES = 2**20
_MAX_TOTAL_RATIO, _SPARE_BYTES = 100, 2**30
_MOST_NAMES = 50_000
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
_LOCKED = "locked with a password"
_UNKNOWN_METHOD = "packed in a way that is not read here (such as Deflate64, as Windows does)"
_SEALED = {
    _LOCKED: "unpack it with its password and name the folder",
    _UNKNOWN_METHOD: "unpack it and name the folder",
}
# What text may begin with, and its encoding; UTF-16 without its mark shows by zero bytes.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
_ZEROS = (
    (re.compile(rb"(?:[^\0]\0){2}"), "utf-16-le"),
    (re.compile(rb"(?:\0[^\0]){2}"), "utf-16-be"),
)
# What other encodings look like when they are taken for Windows-1252: Cyrillic, Mac, DOS, CJK.
_FOREIGN = re.compile(
    r"[À-ÿ]{3}|[a-z][À-ÖØ-ÞŠŽŸŒ]|[a-zA-ZÀ-ÿ][¡-©«¬®-¶¸¹»-¿‚ƒ„†‡ˆ‰‹“”•˜™›€]+[a-zA-ZÀ-ÿ]"  # noqa: RUF001
)
_HIGH, _HIGH_BYTE = re.compile(r"[^\0-\x7f]+"), re.compile(rb"[\x80-\xff]")
_UTF_8 = re.compile(rb"[\xc3-\xdf][\x80-\xbf]|[\xe1-\xef][\x80-\xbf]{2}|\xf0[\x80-\xbf]{3}")
_ODD_BYTE = re.compile("[\udc80-\udcfe]")  # as `surrogateescape` keeps it; 0xff as in `encoding`
_PACKED = {b"7z\xbc\xaf": "7z", b"Rar!": "RAR"}
_POST_FILES = re.compile(r"posts\.(jsonl|ndjson|csv|tsv|parquet)(\.gz|\.zst)?", re.IGNORECASE)


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file, decompressing .gz and .zst; raises ArchiveError when it cannot."""
    try:
        packing = compression(path)
        if packing == "gzip":
            return cast("IO[bytes]", gzip.open(path, "rb"))
        if packing == "zstd":
            return cast("IO[bytes]", zstd.open(path, "rb"))
        return path.open("rb")
    except OSError as error:
        what = f"{path} cannot be read: {error.strerror or error}"
        raise ArchiveError(what, hint="check the path") from error


def compression(path: Path) -> str:
    """Tell `gzip`, `zstd` or "" by a file's first bytes."""
    with path.open("rb") as file:
        magic = file.read(4)
    return "gzip" if magic[:2] == b"\x1f\x8b" else "zstd" if magic == b"\x28\xb5\x2f\xfd" else ""


@contextmanager
def until_damage(
    where: Callable[[], str], report: ImportReport, *others: type[Exception]
) -> Generator[None]:
    """Count damage (`DAMAGED` and others) to the file that is read inside, and go on after it."""
    try:
        yield
    except (*DAMAGED, *others) as error:
        report.add("file is damaged or ends early", f"{where()}: {error}")


def encoding(data: bytes, name: object) -> str:
    """Tell UTF-8, UTF-16, UTF-32, Windows-1252 or, with its line ends alone, Mac Roman.

    ArchiveError: what the text begins with shows that it is in none of these.
    """
    marked = (found for mark, found in _MARKS.items() if data.startswith(mark))
    if found := next(chain(marked, (one for form, one in _ZEROS if form.match(data))), None):
        return found
    data = data.replace(b"\xff", b"")  # Unix lets it stand in names of files; no other text has it
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        rest, n_whole = _UTF_8.subn(b"", data)
        if n_whole > len(_HIGH_BYTE.findall(rest)):
            return "utf-8-sig"  # damaged
        is_mac = b"\r" in data and b"\n" not in data  # as Excel writes "CSV (Macintosh)"
        for form in ("mac_roman", "cp1252") if is_mac else ("cp1252",):
            text = data.decode(form, "replace")
            if "\ufffd" not in text and len(_FOREIGN.findall(text)) * 4 < len(_HIGH.findall(text)):
                return form
        what = f"{name} is text in an encoding that is not read: neither UTF-8 nor Windows-1252"
        raise ArchiveError(what, hint="save it as UTF-8") from None
    return "utf-8-sig"


def open_text(path: Path) -> io.TextIOWrapper:
    """Open text in any `encoding` and with any line ends; bytes out of place become surrogates."""
    chunk = b""
    with open_bytes(path) as file, suppress(*DAMAGED):
        while chunk.isascii() and b"\0" not in chunk and (more := file.read(2**16)):
            chunk = more
    form = encoding(chunk, path)
    return io.TextIOWrapper(open_bytes(path), form, _on_errors(form))


def _on_errors(form: str) -> str:
    return "replace" if form.startswith(("utf-16", "utf-32")) else "surrogateescape"


def text_of(data: bytes, name: object) -> str:
    """Decode a small text of any `encoding`."""
    form = encoding(data, name)
    return data.decode(form, _on_errors(form)).lstrip("\ufeff")


def lines(file: io.TextIOWrapper, path: Path, report: ImportReport) -> Iterator[tuple[int, str]]:
    """Read lines with their number from 1 and line break.

    Those that are too long, or in an encoding of their own that is not read, are left out, counted.
    """
    number = 0
    with until_damage(lambda: f"{path} after line {number}", report):
        while line := file.readline(MAX_LINE_BYTES):
            is_whole = len(line) < MAX_LINE_BYTES or line.endswith("\n")
            while not is_whole and line and not line.endswith("\n"):
                line = file.readline(MAX_LINE_BYTES)
            number += 1
            if not is_whole:
                report.add("line too long", f"{path}:{number}")
            elif line := _in_one_encoding(line, f"{path}:{number}", report):
                yield number, line


def _in_one_encoding(line: str, where: str, report: ImportReport) -> str:
    """Read a line of UTF-8 that is Windows-1252; "" for other encodings, U+FFFD for damage."""
    if line.isascii() or not _ODD_BYTE.search(line):
        return line
    data = line.encode("utf-8", "surrogateescape")
    try:
        form = encoding(data, where)
    except ArchiveError:
        report.add("line in an unknown encoding, left out", where)
        return ""
    is_damaged = form != "cp1252"
    report.add("damaged line" if is_damaged else "line in Windows-1252, read as that", where)
    return _ODD_BYTE.sub("\ufffd", line) if is_damaged else data.decode(form)


def read_all(
    opener: Callable[[], IO[bytes] | lzma.LZMAFile],
    name: str,
    report: ImportReport,
    what: str = "file",
    max_bytes: int = 32 * 2**20,
    head_bytes: int | None = None,
) -> bytes | None:
    """Read a file whole, or its head; None (counted) if it's damaged or beyond `max_bytes`."""
    try:
        with opener() as file:
            data = file.read(head_bytes or max_bytes + 1)
    except (OSError, lzma.LZMAError, *BROKEN_ZIP) as error:
        report.add(f"{what} cannot be read", f"{name}: {error}")
        return None
    if len(data) > max_bytes:
        report.add(f"{what} is too large", name)
        return None
    return data


def walk(root: Path, skipped: frozenset[str] = frozenset()) -> Iterator[tuple[Path, list[str]]]:
    """Give each folder below, absolute, and the files in it, in order; follows no links."""
    for folder, inner, names in os.walk(os.path.abspath(root)):  # noqa: PTH100 - keeps links
        inner[:] = sorted(name for name in inner if name.lower() not in skipped)
        yield Path(folder), sorted(names)


class Look:
    """What is seen of a path before it is read; readers tell their own kind by it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head = b"" if path.is_dir() else read_head(path)  # first bytes, decompressed
        found = (name for start, name in _PACKED.items() if self.head.startswith(start))
        self.packed = "tar" if self.head[257:262] == b"ustar" else next(found, "")
        self.text = ""  # the same as text, unless it is none
        with suppress(ArchiveError, UnicodeError):
            form = encoding(self.head, path)
            text = codecs.getincrementaldecoder(form)(_on_errors(form)).decode(self.head)
            self.text = "" if "\0" in text or self.packed else text.lstrip("\ufeff \r\n\t")
        self.is_zip = self.head.startswith(b"PK")
        # Names inside a folder or zip, enough to tell what it is; folders end in `/`.
        self.names = list(islice(_names_in(path), _MOST_NAMES))
        # Directly inside: files that are named as files of posts, which say most, and zips.
        self.post_files = sorted(path / one for one in self.names if _POST_FILES.fullmatch(one))
        zips = (one for one in self.names if "/" not in one and one.lower().endswith(".zip"))
        self.zips = sorted(path / one for one in zips)


def read_head(path: Path, n_bytes: int = 4096) -> bytes:
    """Read how a file begins, decompressed; raises ArchiveError when it's damaged there."""
    try:
        with open_bytes(path) as file:
            return file.read(n_bytes)
    except DAMAGED as error:
        raise ArchiveError(f"{path} is damaged: {error}", hint="get it again") from error


def _names_in(path: Path) -> Iterator[str]:
    if path.is_file():
        with suppress(zipfile.BadZipFile, OSError), zipfile.ZipFile(path) as archive:
            yield from (name.replace("\\", "/") for name in archive.namelist())
    for root, folders, files in os.walk(path):
        folders.sort()
        base = Path(root).relative_to(path)
        yield from ((base / name).as_posix() + "/" for name in folders)
        yield from ((base / name).as_posix() for name in sorted(files))


class Entry(NamedTuple):
    """One file of an archive: its name with `/`, how to open it, its path when it is on disk."""

    name: str
    open: Callable[[], IO[bytes]]
    path: str = ""


class Tree:
    """The files of an archive by name: a folder, or zips (`ArchiveError`) that `opened` closes."""

    def __init__(self, paths: Sequence[Path], report: ImportReport, opened: ExitStack) -> None:
        self._report, self._opened = report, opened
        parts = (self._in_zip(path) if _is_zip(path) else _in_folder(path) for path in paths)
        self.entries = list(chain.from_iterable(parts))
        self._by_ending: dict[str, list[Entry]] = {}
        for entry in self.entries:
            self._by_ending.setdefault(composed(PurePosixPath(entry.name).name), []).append(entry)

    def find(self, uri: str) -> Entry | None:
        """Find what a path in the archive's JSON means, wherever its top lies; never outside it."""
        uri = composed(uri).strip().replace("\\", "/").lstrip("/")
        candidates = self._by_ending.get(PurePosixPath(uri).name, [])
        fitting = [one for one in candidates if composed(f"/{one.name}").endswith(f"/{uri}")]
        return min(fitting, key=lambda one: one.name != uri, default=None)

    def read(self, entry: Entry, head_bytes: int | None = None) -> bytes | None:
        """Read an entry whole, or its head; None (counted) when it is broken or too large."""
        what, limit = "file in the archive", MAX_ENTRY_BYTES
        return read_all(entry.open, entry.name, self._report, what, limit, head_bytes)

    def json(self, entry: Entry, report: ImportReport | None = None) -> object:
        """Read an entry as `read_json` does, which may count faults elsewhere."""
        return read_json(self.read(entry), entry.name, report or self._report)

    def medium_kind(self, entry: Entry) -> str:
        """Tell `photo`, `video` or `other` by the ending, or by the bytes where it says nothing."""
        suffix = PurePosixPath(entry.name).suffix.lower()
        if suffix in PHOTO_SUFFIXES | VIDEO_SUFFIXES:
            return "photo" if suffix in PHOTO_SUFFIXES else "video"
        kind = sniff(self.read(entry, HEAD_BYTES) or b"")
        return "photo" if kind in PHOTO_FORMATS else "video" if kind == "video" else "other"

    def _in_zip(self, path: Path) -> Iterator[Entry]:
        try:
            archive = self._opened.enter_context(zipfile.ZipFile(path))
        except (OSError, *BROKEN_ZIP) as error:
            hint = "download it again; a download that was cut off looks like this"
            raise ArchiveError(f"{path} is no whole zip: {error}", hint=hint) from error
        infos = [info for info in archive.infolist() if not info.is_dir()]
        n_read = 0
        total_bytes = sum(info.file_size for info in infos)
        if total_bytes > _MAX_TOTAL_RATIO * path.stat().st_size + _SPARE_BYTES:
            what = f"{path} would grow to {total_bytes:,} bytes: a zip bomb"
            raise ArchiveError(what, hint="get the archive from where it was made")
        for info in infos:
            name = info.filename.replace("\\", "/")
            fault = _zip_fault(info, name)
            is_last = info is infos[-1] and not n_read
            if fault in _SEALED and (is_last or name.lower().endswith(".json")):
                what = f"{path} cannot be read: {fault}"
                raise ArchiveError(what, hint=_SEALED[fault])
            if fault:
                self._report.add(fault, f"{path.name}: {info.filename}")
            else:
                n_read += 1
                yield Entry(name, partial(archive.open, info))


def take_photo(entry: Entry | None, uri: str, context: Context) -> Photo | None:
    """Give an archive's photo; None, counted, for one that is missing or cannot be read."""
    if entry is None:
        context.report.add("photo is missing from the archive", uri)
        return None
    return context.photo_at(entry.path) if entry.path else context.photo_in(entry.open, entry.name)


def _in_folder(root: Path) -> Iterator[Entry]:
    top = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow links
    if top.is_file():
        yield Entry(top.name, partial(top.open, "rb"), str(top))
    for path in (folder / name for folder, names in walk(top) for name in names):
        yield Entry(path.relative_to(top).as_posix(), partial(path.open, "rb"), str(path))


def _is_zip(path: Path) -> bool:
    return path.is_file() and read_head(path, 2) == b"PK"


def _zip_fault(info: zipfile.ZipInfo, name: str) -> str:
    """Say why an entry is not read; "" for a welcome one."""
    is_absolute = name.startswith("/") or name[1:2] == ":"
    if is_absolute or "\0" in name or ".." in PurePosixPath(name).parts:
        return "unsafe name in a zip, refused"
    if name.lower().endswith(".zip"):
        return "zip inside a zip, not read"
    if info.flag_bits & 1:
        return _LOCKED
    if info.compress_type not in _METHODS:
        return _UNKNOWN_METHOD
    if info.file_size > max(_HARMLESS_BYTES, MAX_RATIO * info.compress_size):
        return "file in a zip grows too much (a zip bomb), refused"
    return ""


def read_json(raw: bytes | None, where: str, report: ImportReport) -> object:
    """Parse JSON with a byte order mark, blanks, raw control characters; None for no bytes.

    Of a list that breaks off (counted) it gives what came before; None for broken JSON (counted).
    """
    if raw is None:
        return None
    text = text_of(raw, where).strip("\ufeff\0 \t\r\n")
    decoder = json.JSONDecoder(strict=False)
    try:
        return decoder.decode(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, ValueError) and (rows := _rows_before_break(decoder, text)):
            report.add("JSON breaks off, read up to there", where)
            return rows
        why = error if isinstance(error, ValueError) else "nested too deeply"
        report.add("broken JSON", f"{where}: {why}")
    return None


def dig(value: object, *names: str) -> object:
    """Look up names in nested JSON objects, one after the other; None where one is missing."""
    for name in names:
        value = as_dict(value).get(name)
    return value


def as_dict(value: object) -> dict[str, object]:
    """Take a JSON object as it is and anything else as an empty one."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """Take a JSON list as it is and anything else as an empty one."""
    return cast("list[object]", value) if isinstance(value, list) else []


def _rows_before_break(decoder: json.JSONDecoder, text: str) -> list[object]:
    rows: list[object] = []
    at = 1
    with suppress(ValueError, RecursionError):
        while text.startswith("["):
            while (mark := text[at : at + 1]) == "," or mark.isspace():
                at += 1
            row, at = decoder.raw_decode(text, at)
            rows.append(row)
    return rows
