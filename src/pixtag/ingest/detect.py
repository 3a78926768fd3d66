"""Telling what kind of source lies at a path, by looking at it."""

from __future__ import annotations

import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from pixtag.errors import ArchiveError, InputError
from pixtag.ingest.files import DAMAGED, open_bytes
from pixtag.ingest.photos import PHOTO_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Kind = Literal["jsonl", "csv", "parquet", "folders", "instaloader", "instagram"]
KINDS: tuple[str, ...] = get_args(Kind)

_ZIP_MAGIC = b"PK"
_PARQUET_MAGIC = b"PAR1"
_POST_FILES = re.compile(r"posts\.(jsonl|ndjson|csv|tsv|parquet)(\.gz|\.zst)?", re.IGNORECASE)
_INSTALOADER = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_UTC")
_INSTAGRAM = re.compile(
    r"(^|/)(media\.json|your_instagram_activity/|content/posts(_\d+)?\.(json|html)"
    r"|media/posts(_\d+)?\.(json|html)|personal_information/|account_information/"
    r"|messages/inbox/|connections/followers)",
)
_MEDIA_PART = re.compile(r"(^|/)media/(posts|other|stories|reels|profile|archived_posts)/")
_MOST_NAMES = 50_000


@dataclass(frozen=True, slots=True)
class Source:
    """Something to read posts from.

    Attributes:
        kind: How to read it.
        paths: The file or folder; several zips of one archive together.
    """

    kind: Kind
    paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        """For people: the paths, joined."""
        return ", ".join(str(path) for path in self.paths)


def find_sources(paths: Sequence[str | Path], kind: str | None = None) -> list[Source]:
    """Tell what to read and how.

    Args:
        paths: Files and folders that somebody named.
        kind: One of `KINDS` to read all of them so, or None to look.

    Returns:
        Sources in the order of the paths; all zips together are one archive.

    Raises:
        InputError: An unknown kind.
        ArchiveError: Nothing is there, or nothing that is known.
    """
    if kind is not None and kind not in KINDS:
        raise InputError(f"unknown kind of source: {kind!r}", hint=f"one of {', '.join(KINDS)}")
    if not paths:
        raise InputError("no file or folder was named", hint="`pixtag import --help` has examples")
    zips: list[Path] = []
    sources: list[Source] = []
    for path in map(Path, paths):
        if not path.exists():
            raise ArchiveError(f"there is nothing at {path}", hint="check the path")
        inside = _zips_of_folder(path) if kind in {None, "instagram"} else []
        if inside or (path.is_file() and _head(path)[:2] == _ZIP_MAGIC):
            zips.extend(inside or [path])
        elif kind is not None:
            sources.append(Source(kind, (path,)))  # pyright: ignore[reportArgumentType]
        else:
            sources.extend(_look(path))
    if zips:
        sources.append(Source("instagram", tuple(zips)))
    return sources


def looks_like_instagram(names: Sequence[str]) -> bool:
    """Whether the names in a folder or zip are those of Instagram's own archive."""
    return any(_INSTAGRAM.search(name) for name in names)


def _look(path: Path) -> list[Source]:
    if path.is_file():
        top = _top_of_archive(path)
        return [Source("instagram", (top,)) if top else Source(_file_kind(path), (path,))]
    names = list(_names(path))
    if looks_like_instagram(names):
        return [Source("instagram", (path,))]
    if any(_INSTALOADER.match(Path(name).name) for name in names):
        return [Source("instaloader", (path,))]
    files = [path / name for name in names if "/" not in name and _POST_FILES.fullmatch(name)]
    if files:
        return [Source(_file_kind(file), (file,)) for file in sorted(files)]
    if _has_labelled_photos(names):
        return [Source("folders", (path,))]
    zips = [path / name for name in names if "/" not in name and name.lower().endswith(".zip")]
    parts = [file for file in zips if _is_instagram_zip(file)]
    if parts:
        return [Source("instagram", tuple(parts))]
    if any(Path(name).suffix.lower() in PHOTO_SUFFIXES for name in names):
        raise ArchiveError(
            f"the photos in {path} come without tags",
            hint="put NAME.txt beside NAME.jpg (line 1: tags, line 2: user), or name the photos "
            "in a posts.jsonl",
        )
    raise ArchiveError(
        f"{path} holds no posts that are known here",
        hint=f"name the file itself, or say what it is with --kind {'|'.join(KINDS)}",
    )


def _top_of_archive(path: Path) -> Path | None:
    """Find the archive that a `posts_1.json` lies in, when somebody names that file alone."""
    if not re.fullmatch(r"posts(_\d+)?\.json", path.name):
        return None
    folder = path.absolute().parent
    if folder.name not in {"content", "media"}:
        return None
    top = folder.parent
    return top.parent if top.name == "your_instagram_activity" else top


def _file_kind(path: Path) -> Kind:
    head = _head(path)
    if not head.strip():
        raise ArchiveError(f"{path} is empty", hint="check that it was written to its end")
    if head.startswith(_PARQUET_MAGIC):
        return "parquet"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"{"):
        return "jsonl"
    if text.startswith(b"["):
        raise ArchiveError(
            f"{path} is one JSON list",
            hint="for Instagram's own archive name its folder or zip; else write one object a line",
        )
    if b"\0" not in head:
        return "csv"
    raise ArchiveError(
        f"{path} is not a file of posts",
        hint="JSON Lines, CSV and Parquet are read, plain or as .gz or .zst",
    )


def _head(path: Path) -> bytes:
    """Read the first bytes, decompressed."""
    try:
        with open_bytes(path) as file:
            return file.read(4096)
    except DAMAGED as error:
        raise ArchiveError(f"{path} is damaged: {error}", hint="get it again") from error


def _zips_of_folder(path: Path) -> list[Path]:
    """List the zips of a folder that holds nothing else to read: an archive as downloaded."""
    if not path.is_dir():
        return []
    files = [file for file in sorted(path.iterdir()) if not file.name.startswith(".")]
    zips = [file for file in files if file.is_file() and file.suffix.lower() == ".zip"]
    return zips if len(zips) == len(files) else []


def _is_instagram_zip(path: Path) -> bool:
    """Whether a zip is one, or a part of one: later parts hold nothing but media."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False
    return looks_like_instagram(names) or any(_MEDIA_PART.search(name) for name in names)


def _names(folder: Path) -> Iterator[str]:
    """Walk a folder, breadth last, for enough names to tell what it is; folders end in '/'."""
    n_names = 0
    for root, folders, files in os.walk(folder):
        folders.sort()
        base = Path(root).relative_to(folder).as_posix()
        prefix = "" if base == "." else base + "/"
        for name in [f + "/" for f in folders] + sorted(files):
            yield prefix + name
            n_names += 1
            if n_names >= _MOST_NAMES:
                return


def _has_labelled_photos(names: list[str]) -> bool:
    photos = {n.rsplit(".", 1)[0] for n in names if Path(n).suffix.lower() in PHOTO_SUFFIXES}
    photos |= {re.sub(r"_\d+$", "", name) for name in photos}
    return any(n[:-4] in photos for n in names if n.lower().endswith(".txt"))
