"""Folders of labelled photos: NAME.jpg beside NAME.txt (line 1 tags, line 2 the user)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pixtag.errors import ArchiveError
from pixtag.ingest.context import PHOTO_SUFFIXES, VIDEO_SUFFIXES, Context, post_id_of
from pixtag.ingest.files import Look
from pixtag.tags import join_surrogates, split_tags, tidy_tags
from pixtag.types import Post

SKIPPED_FOLDERS = frozenset({"extra", "original"})
_NUMBERED = re.compile(r"(.+)_(\d+)")
_MAX_LABEL_BYTES = 2**20


def looks_like(look: Look) -> Path | None:
    """Tell a folder of photos with text files beside them."""
    photos = {n.rsplit(".", 1)[0] for n in look.names if Path(n).suffix.lower() in PHOTO_SUFFIXES}
    photos |= {re.sub(r"_\d+$", "", name) for name in photos}
    is_labelled = any(n[:-4] in photos for n in look.names if n.lower().endswith(".txt"))
    return look.path if is_labelled and not look.post_files else None


def read(paths: Sequence[Path], context: Context) -> Iterator[Post]:
    """Read photos with a text file beside them, folder by folder in order of name.

    `NAME_1.jpg`, `NAME_2.jpg`, ... share `NAME.txt` and are one post. Folders named `extra` or
    `original` are skipped. The posts have no time.

    Raises:
        ArchiveError: No photo has a text file.
    """
    (root,) = paths
    n_posts = 0
    for folder, names in _folders(root):
        posts = _posts_of(folder, names, context)
        context.report.n_expected += len(posts)
        for stem, label, photos in posts:
            n_posts += 1
            yield _post(folder, stem, label, photos, context)
    if not n_posts:
        raise ArchiveError(
            f"no photo in {root} has a text file beside it",
            hint="put NAME.txt beside NAME.jpg: line 1 comma-separated tags, line 2 the user",
        )


def _folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if name.lower() not in SKIPPED_FOLDERS)
        yield Path(folder), sorted(name for name in names if not name.startswith("."))


def _posts_of(folder: Path, names: list[str], context: Context) -> list[tuple[str, str, list[str]]]:
    """Group the files of one folder: name of the post, label file, photos in order."""
    problems = context.report.problems
    labels = {name[:-4]: name for name in names if name.lower().endswith(".txt")}
    photos: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        stem, suffix = os.path.splitext(name)  # noqa: PTH122 - Path drops a leading dot
        if suffix.lower() in VIDEO_SUFFIXES:
            context.report.n_videos += 1
        if suffix.lower() not in PHOTO_SUFFIXES:
            continue
        numbered = _NUMBERED.fullmatch(stem)
        if stem in labels:
            photos.setdefault(stem, []).append((0, name))
        elif numbered is not None and numbered[1] in labels:
            photos.setdefault(numbered[1], []).append((int(numbered[2]), name))
        else:
            problems.add("photo without a text file", str(folder / name))
    for stem in sorted(labels.keys() - photos.keys()):
        problems.add("text file without a photo", str(folder / labels[stem]))
    return [
        (stem, labels[stem], [name for _, name in sorted(group)])
        for stem, group in sorted(photos.items())
    ]


def _post(folder: Path, stem: str, label: str, names: list[str], context: Context) -> Post:
    tags, user_id = _read_label(folder / label, context)
    photos = tuple(context.photos.file(os.path.abspath(folder / name)) for name in names)  # noqa: PTH100
    # Named by folder, name and content: the same after a move, and for parent or child folder.
    digests = (photo.digest for photo in photos)
    post_id = post_id_of("folder", folder.name, stem, user_id or "", *digests)
    return Post(post_id, user_id, None, tags, photos)


def _read_label(path: Path, context: Context) -> tuple[tuple[str, ...], str | None]:
    problems = context.report.problems
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_LABEL_BYTES).decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        problems.add("text file cannot be read", f"{path}: {error.strerror}")
        return (), context.user_id
    lines = join_surrogates(text).replace("\0", "").splitlines()
    if not lines or not lines[0].strip():
        problems.add("text file without tags", str(path))
    tags = tidy_tags(split_tags(lines[0]) if lines else (), context.report.tags)
    user_id = lines[1].strip() if len(lines) > 1 else ""
    if not user_id and context.user_id is None:
        problems.add("text file without a user", str(path))
    return tags, user_id or context.user_id
