"""Taking note of photos: digest, place, and copies beside the store where they are needed."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pixtag.errors import StoreError
from pixtag.types import Photo

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixtag.ingest.report import Tally

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".heic", ".heif", ".avif"}
)
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".webm", ".avi", ".mkv", ".3gp"})

MAX_PHOTO_BYTES = 512 * 2**20
_CHUNK_BYTES = 2**20


class PhotoKeeper:
    """Finds out the digest of photos and keeps copies beside the store.

    Args:
        folder: Where copies go; made when the first one comes.
        keep_copies: Copy every photo, not only those that cannot be read where they are.
        tally: Counts copies and problems.
    """

    def __init__(self, folder: Path, *, keep_copies: bool, tally: Tally) -> None:
        self._folder = folder
        self._keep_copies = keep_copies
        self._tally = tally
        self._part: Path | None = None

    def file(self, path: str) -> Photo:
        """Take note of a photo in a file.

        Args:
            path: Absolute.

        Returns:
            The photo; its digest is empty when the file is missing or cannot be read.
        """
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - text in, text out
                self._tally.problems.add("photo is not a file", path)
                return Photo(path, "")
            with open(path, "rb") as source:  # noqa: PTH123
                if self._keep_copies:
                    return self._copy(source, Path(path).suffix) or Photo(path, "")
                return Photo(path, hashlib.file_digest(source, "sha256").hexdigest())
        except FileNotFoundError:
            self._tally.problems.add("photo is missing", path)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise _no_space(self._folder) from error
            self._tally.problems.add("photo cannot be read", f"{path}: {error}")
        return Photo(path, "")

    def stream(self, opened: Callable[[], IO[bytes]], name: str) -> Photo | None:
        """Keep a copy of a photo that lies inside an archive.

        Args:
            opened: Opens it for reading.
            name: Its name in the archive.

        Returns:
            The copy, or None when it cannot be read.

        Raises:
            StoreError: No space left for the copy.
        """
        try:
            with opened() as source:
                return self._copy(source, Path(name).suffix)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise _no_space(self._folder) from error
            self._tally.problems.add("photo cannot be read", f"{name}: {error}")
        return None

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
                        self._tally.problems.add("photo is too large", getattr(source, "name", ""))
                        return None
                    digest.update(chunk)
                    target.write(chunk)
            ending = suffix.lower() if suffix.lower() in PHOTO_SUFFIXES else ".bin"
            kept = self._folder / f"{digest.hexdigest()}{ending}"
            if not kept.exists():
                part.replace(kept)
                self._tally.n_photos_copied += 1
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


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def _no_space(folder: Path) -> StoreError:
    return StoreError(
        f"no space left for copies of photos in {folder}",
        hint="make room on the disk and run it again: what was finished is kept",
    )
