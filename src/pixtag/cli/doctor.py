"""The verb that says what is wrong: doctor."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pixtag.cli import output

if TYPE_CHECKING:
    from cyclopts import App

    from pixtag.embed import Problem

_SHOWN = 50
_STORE_SIGNATURE = b"SQLite format 3\x00"


def register(app: App) -> None:
    """Add this group's verb to the command line that is being built."""
    app.command(doctor)


def doctor(path: Path, *, encoder: Path | None = None, json: bool = False) -> int:
    """Find broken photos in a folder, or check a store.

    Of a folder, every photo is decoded. Of a store, the file is checked, whether its photos are
    where they were and unchanged, and whether each has been looked at. The exit code is 1 when
    something is wrong.

    Args:
        path: A folder, a photo, or a store.
        encoder: The ONNX file that should have looked at each photo; else the one in the package.
        json: Print one JSON object instead of a table.

    Examples:
        pixtag doctor holiday/
        pixtag doctor my.sqlite
        pixtag doctor my.sqlite --json
    """
    from pixtag.errors import InputError

    if not path.exists():
        raise InputError(f"there is nothing at {path}", hint="give a folder, a photo or a store")
    kind = "folder" if path.is_dir() else "store" if _is_store(path) else "photo"
    n_photos, problems = _check_store(path, encoder) if kind == "store" else _check_photos(path)
    counts = dict(Counter(problem.fault for problem in problems).most_common())
    if json:
        found = {"photos": n_photos, "faults": counts, "problems": problems}
        output.print_json({"path": str(path), "kind": kind, **found})
    elif problems:
        _show(problems)
    photos = f"{n_photos:,} photo{'' if n_photos == 1 else 's'}"
    if not problems:
        output.say(f"{path} is in order: {photos} checked")
        return 0
    wrong = ", ".join(f"{n:,} {fault}" for fault, n in counts.items())
    output.say(f"not in order: {wrong} in {path} ({photos} checked)")
    return 1


def _is_store(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_STORE_SIGNATURE)) == _STORE_SIGNATURE


def _check_photos(path: Path) -> tuple[int, list[Problem]]:
    from pixtag.embed import check_photos
    from pixtag.photos import photos_under

    photos = [photo for photo in photos_under([path]) if not photo.is_dir()]
    with output.progress("checking photos", len(photos), unit="photos") as bar:
        return len(photos), check_photos(photos, on_progress=bar.update)


def _check_store(path: Path, encoder: Path | None) -> tuple[int, list[Problem]]:
    from pixtag.embed import check_store
    from pixtag.encoder import load_encoder
    from pixtag.store import Store

    with (
        Store.open(path, read_only=True) as store,
        output.progress("checking photos", unit="photos") as bar,
    ):
        problems = check_store(store, load_encoder(encoder).digest, on_progress=bar.update)
        n_photos = 0 if problems and problems[0].fault == "damaged" else store.summary().n_photos
    return n_photos, problems


def _show(problems: list[Problem]) -> None:
    output.print_table(
        {"fault": "left", "where": "left"}, [(p.fault, p.target) for p in problems[:_SHOWN]]
    )
    if len(problems) > _SHOWN:
        output.say(f"{len(problems) - _SHOWN:,} more: --json lists all")
    for fault, hint in {p.fault: p.hint for p in reversed(problems)}.items():
        output.say(f"hint: {fault}: {hint}")
