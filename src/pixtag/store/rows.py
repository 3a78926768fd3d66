"""What the engines share: how names, times, paths and embeddings are kept, what is removed."""

from __future__ import annotations

import shutil
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from pixtag.errors import InputError, ShapeError
from pixtag.types import Bools, Halfs, Ints

MAX_SECONDS = 2.0**33
"""Within this of 1970 (1698 to 2242) a float of Unix seconds tells every microsecond apart."""

Name = TypeVar("Name", bound=Hashable)


class Rows(Protocol):
    """What a query gave."""

    @property
    def rowcount(self) -> int:
        """How many rows a change touched."""
        ...

    @property
    def description(self) -> Any:  # noqa: ANN401 - a sequence, the name of each column first
        """Describe the columns."""
        ...

    def fetchone(self) -> Any:  # noqa: ANN401 - a tuple of what was selected, or None
        """Give the next row, if any."""
        ...

    def fetchall(self) -> list[Any]:
        """Give all rows."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class Database(Protocol):
    """A connection inside a transaction: SQL that all engines understand, `?` for each value."""

    def execute(self, query: str, values: Sequence[Any] = (), /) -> Rows:
        """Run a statement."""
        ...

    def executemany(self, query: str, values: Iterable[Sequence[Any]], /) -> object:
        """Run a statement once for each row of values."""
        ...


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """A model that was trained on this store, until a time (Unix seconds UTC) or None."""

    path: str
    bundle_digest: str
    trained_until: float | None


@dataclass(frozen=True, slots=True)
class ForgetResult:
    """What was removed for a person, and what remains elsewhere."""

    posts: int
    tag_uses: int
    photos: int  # of theirs that nobody else's post shows
    embeddings: int
    files: int  # copies of photos and derived files beside the store
    bytes_before: int  # of the store's files, and so `bytes_after`
    bytes_after: int
    bundles: tuple[BundleRecord, ...] = ()  # models trained on the person, which are not changed
    is_compacted: bool = True  # False when another process or a full disk kept it from shrinking
    had_lists: bool = False


def checked_vectors(digests: Sequence[str], embeddings: Halfs | Sequence[Halfs]) -> Halfs:
    """Embeddings of photos as one array, or an `InputError`."""
    if len({np.shape(row) for row in embeddings}) > 1:
        raise ShapeError("embeddings of different widths")
    vectors = np.ascontiguousarray(embeddings, np.dtype("<f2"))
    if vectors.ndim != 2 or len(vectors) != len(digests):
        raise ShapeError(f"{len(digests)} photos but embeddings of shape {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise InputError("an embedding holds a number that is not finite")
    return vectors


def encoder_row(db: Database, digest: str, width: int) -> int:
    """The row of an encoder, made where there is none. ShapeError: it gave another width before."""
    query = "SELECT id, width FROM encoders WHERE digest = ?"
    if not (found := db.execute(query, (digest,)).fetchone()):
        made = "INSERT INTO encoders (digest, width) VALUES (?, ?) ON CONFLICT DO NOTHING"
        db.execute(made, (digest, width))
        found = db.execute(query, (digest,)).fetchone()
    row, known = found
    if known != width:
        what = f"embeddings {width} wide from an encoder whose earlier ones"
        raise ShapeError(f"{what} are {known} wide")
    return row


def numbered(names: Iterable[Name | None]) -> tuple[list[Name], Ints]:
    """Number names in order of first appearance; None gets the number after the last."""
    order: dict[Name, int] = {}
    found = [-1 if name is None else order.setdefault(name, len(order)) for name in names]
    numbers = np.array(found, np.int64)
    numbers[numbers < 0] = len(order)
    return [*order], numbers


def mean_vectors(vectors: Halfs, place: Ints, source: Ints, *, n_posts: int) -> tuple[Bools, Halfs]:
    """Which posts have a photo with an embedding, and the mean over each one's, `[N, D]`.

    A pair of `place` and `source` says that a post shows the photo of a row of `vectors`.
    """
    order = np.argsort(place, kind="stable")
    place, source = place[order], source[order]
    embeddings = np.zeros((n_posts, vectors.shape[1]), np.float16)
    counts = np.bincount(place, minlength=n_posts)
    is_single = counts[place] == 1
    embeddings[place[is_single]] = vectors[source[is_single]]
    # Posts with several photos are few: average them in full precision.
    several, start = np.unique(place[~is_single], return_index=True)
    if len(several):
        sums = np.add.reduceat(vectors[source[~is_single]].astype(np.float32), start, axis=0)
        embeddings[several] = (sums / counts[several, None]).astype(np.float16)
    return counts > 0, embeddings


def delete_records(db: Database, user_id: str | None) -> int:
    """Remove what is kept of a person besides posts; say how many entries of lists that was."""
    db.execute("DELETE FROM bundle_users WHERE user_name = ?", (user_id,))
    served = "served IN (SELECT id FROM served WHERE user_name = ?)"
    db.execute(f"DELETE FROM feedback WHERE {served}", (user_id,))  # noqa: S608
    for table in ("keys", "requests", "served", "sets", "written"):
        db.execute(f"DELETE FROM {table} WHERE user_name = ?", (user_id,))  # noqa: S608
    return db.execute("DELETE FROM lists WHERE user_name = ?", (user_id,)).rowcount


def copies_beside(path: Path) -> list[Path]:
    """Kept copies of photos, named by digest."""
    folder = path.with_name(path.name + ".photos")
    return [file for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []


def remove_all(files: list[Path], used: set[str]) -> int:
    """Delete files and folders, but not those with one of these names, and say how many."""
    gone = [file for file in files if file.stem not in used]
    for file in gone:
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)
    return len(gone)


def seconds(at_us: int | None) -> float | None:
    """Turn what is kept into Unix seconds."""
    return None if at_us is None else at_us / 1e6


def safe_text(text: str) -> str:
    """Escape what is no valid Unicode."""
    return text.encode("utf-8", "backslashreplace").decode()


def is_safe(name: str) -> bool:
    """Whether a name comes back as it was from the store."""
    return "\0" not in name and safe_text(name) == name


def path_to_db(path: str) -> str | bytes:
    """Keep a path as text, or as its bytes when they are no valid Unicode."""
    if safe_text(path) == path:
        return path
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return safe_text(path)  # no file can have this name


def path_from_db(value: str | bytes) -> str:
    """Read a path as the file system's functions take it."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
