"""Files that are written: never over what the command reads, whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pixtag.errors import InputError

_BESIDE = ("", "-wal", "-shm")  # a store is these files together


def check_outputs(
    files: Iterable[Path | None], inputs: Iterable[Path | None], *, folder: Path | None = None
) -> None:
    """Raise `InputError` for outputs that would replace an input, each other, or no plain file.

    So it does for one in a folder that does not exist. Inputs are files, stores and folders, each
    None left out; `folder` will be replaced as a whole.
    """
    read = [one for one in inputs if one is not None]
    taken = [one.with_name(one.name + end) for one in read if one.name for end in _BESIDE]
    for out in (one for one in files if one is not None):
        if out.exists() and not out.is_file():
            what = "a folder" if out.is_dir() else "not a plain file"
            raise InputError(f"{out} is {what}", hint="name a new file to write to")
        if not out.parent.is_dir():
            raise InputError(f"{out}: there is no folder {out.parent}", hint="make it first")
        _refuse_any(one for one in taken if _is_same(out, one))
        taken.append(out)
    if folder is not None:
        whole = folder.resolve()
        _refuse_any(p for p in taken if _is_same(folder, p) or whole in p.resolve().parents)


@contextmanager
def replacing(path: Path, *, inputs: Iterable[Path | None] = ()) -> Generator[IO[bytes]]:
    """Open a file that takes its place at once when all is on the disk, or else leaves no trace.

    `inputs` are read meanwhile; `check_outputs` is called.
    """
    check_outputs([path], inputs)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            part.chmod(path.stat().st_mode & 0o777)
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink()


def _is_same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def _refuse_any(hit: Iterable[Path]) -> None:
    for one in hit:
        what = f"{one} would be replaced, which this command reads or writes already"
        raise InputError(what, hint="choose another name for the output")
