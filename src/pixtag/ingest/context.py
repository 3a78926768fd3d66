"""What every reader is given: where to count, who the person is, and a keeper of photos."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pixtag.errors import StoreError
from pixtag.ingest.report import ImportReport
from pixtag.types import Photo

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".heic", ".heif", ".avif"}
)
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".webm", ".avi", ".mkv", ".3gp"})

MAX_PHOTO_BYTES = 512 * 2**20
_CHUNK_BYTES = 2**20

BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What reading a damaged or encrypted zip raises, beside OSError."""


class PhotoKeeper:
    """Finds out the digest of photos and keeps copies beside the store.

    Args:
        folder: Where copies go; made when the first one comes.
        keep_copies: Copy every photo, not only those that cannot be read where they are.
        report: Counts copies and problems.
    """

    def __init__(self, folder: Path, *, keep_copies: bool, report: ImportReport) -> None:
        self._folder = folder
        self._keep_copies = keep_copies
        self._report = report
        self._part: Path | None = None

    def file(self, path: str) -> Photo:
        """Take note of the photo at an absolute path; its digest is empty when it can't be read.

        Raises:
            StoreError: No space left for the copy.
        """
        problems = self._report.problems
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - text in, text out
                problems.add("photo is not a file", path)
                return Photo(path, "")
            with open(path, "rb") as source:  # noqa: PTH123
                if self._keep_copies:
                    return self._copy(source, Path(path).suffix) or Photo(path, "")
                return Photo(path, hashlib.file_digest(source, "sha256").hexdigest())
        except FileNotFoundError:
            problems.add("photo is missing", path)
        except (OSError, ValueError) as error:
            self._note(error, path)
        return Photo(path, "")

    def stream(self, opened: Callable[[], IO[bytes]], name: str) -> Photo | None:
        """Keep a copy of a photo that lies inside an archive; None when it cannot be read.

        Raises:
            StoreError: No space left for the copy.
        """
        try:
            with opened() as source:
                return self._copy(source, Path(name).suffix)
        except (OSError, *BROKEN_ZIP) as error:
            self._note(error, name)
        return None

    def _note(self, error: Exception, name: str) -> None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreError(
                f"no space left for copies of photos in {self._folder}",
                hint="make room on the disk and run it again: what was finished is kept",
            ) from error
        self._report.problems.add("photo cannot be read", f"{name}: {error}")

    def _copy(self, source: IO[bytes], suffix: str) -> Photo | None:
        """Copy to FOLDER/DIGEST.ext, which appears at once when it is whole."""
        if self._part is None:
            self._part = self._first_part()
        part = self._part
        digest = hashlib.sha256()
        n_bytes = 0
        try:
            with part.open("wb") as target:
                while chunk := source.read(_CHUNK_BYTES):
                    n_bytes += len(chunk)
                    if n_bytes > MAX_PHOTO_BYTES:
                        self._report.problems.add("photo is too large", getattr(source, "name", ""))
                        return None
                    digest.update(chunk)
                    target.write(chunk)
            ending = suffix.lower() if suffix.lower() in PHOTO_SUFFIXES else ".bin"
            kept = self._folder / f"{digest.hexdigest()}{ending}"
            if not kept.exists():
                part.replace(kept)
                self._report.n_photos_copied += 1
            return Photo(str(kept), digest.hexdigest())
        finally:
            part.unlink(missing_ok=True)

    def _first_part(self) -> Path:
        """Make the folder and sweep away what killed runs left half-written."""
        self._folder.mkdir(exist_ok=True)
        for file in self._folder.glob("*.part"):
            if not (file.stem.isdecimal() and _is_running(int(file.stem))):
                file.unlink(missing_ok=True)
        return self._folder / f"{os.getpid()}.part"


@dataclass(frozen=True, slots=True)
class Context:
    """What every reader of posts is given.

    Attributes:
        report: Where to count what is met.
        photos: Takes note of photos.
        user_id: The person, for sources that do not name one; None when unknown.
        join_comments: Whether own first comments belong to the post.
    """

    report: ImportReport
    photos: PhotoKeeper
    user_id: str | None = None
    join_comments: bool = True


def post_id_of(kind: str, *parts: object) -> str:
    """Name a post by what identifies it in its source, the same whenever that is read again."""
    key = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return f"{kind}-{hashlib.sha256(key).hexdigest()[:24]}"


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is somebody else's
        return True
    return True
