"""Folders that instaloader wrote: media, captions and metadata named by the time of the post."""

from __future__ import annotations

import lzma
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pixtag.errors import ArchiveError
from pixtag.ingest.captions import (
    Comment,
    as_dict,
    as_list,
    assign_comments,
    clean_name,
    own_comment,
    read_json,
    repair_texts,
    written_tags,
)
from pixtag.ingest.context import PHOTO_SUFFIXES, VIDEO_SUFFIXES, Context, post_id_of
from pixtag.ingest.files import Look
from pixtag.tags import tidy_tags
from pixtag.types import Post

_TIME = r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_UTC"
# A shortcode has 11 characters, early ones fewer, those of private posts more; a picture's number
# has up to three.
_STEM = re.compile(
    rf"(?P<base>{_TIME}(?:_(?P<code>[\w-]{{11}}|[\w-]{{4,48}}?))?)(?:_(?P<number>\d{{1,3}}))?",
    re.ASCII,
)
_COMMENTS = "_comments"
_PROFILE = "_profile_pic"
_MAX_BYTES = 32 * 2**20


@dataclass(slots=True)
class _Files:
    """The files of one post: photos by number (0 for one without), numbers of videos, and more."""

    base: str
    code: str | None
    photos: dict[int, Path] = field(default_factory=dict[int, Path])
    videos: set[int] = field(default_factory=set[int])
    texts: list[Path] = field(default_factory=list[Path])
    metadata: Path | None = None
    comments: Path | None = None


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the metadata and the names say about one post."""

    code: str | None
    user_id: str | None
    posted_at: float | None
    texts: list[str]
    kind: str  # post, video, story, profile


def looks_like(look: Look) -> Path | None:
    """Tell a folder with files named by the time of their post."""
    is_named = any(re.match(_TIME, Path(name).name) for name in look.names)
    return look.path if is_named else None


def read(paths: Sequence[Path], context: Context) -> Iterator[Post]:
    """Read folders that instaloader wrote, and all below, in time order within a folder.

    Videos (their poster pictures too), stories and profile pictures are left out.

    Raises:
        ArchiveError: No file is named as instaloader names them.
    """
    (root,) = paths
    n_files = 0
    for folder, inner, names in os.walk(root):
        inner.sort()
        groups = _grouped(Path(folder), sorted(names), context)
        n_files += len(groups)
        yield from _read_folder(Path(os.path.abspath(folder)), groups, context)  # noqa: PTH100
    if not n_files:
        raise ArchiveError(
            f"{root} holds no files named as instaloader names them",
            hint="they look like 2026-03-01_18-30-00_UTC.jpg",
        )


def _grouped(folder: Path, names: list[str], context: Context) -> list[_Files]:
    groups: dict[str, _Files] = {}
    for name in names:
        stem, _, suffix = name.partition(".")
        suffix = "." + suffix.lower()
        if stem.endswith(_PROFILE):
            continue
        is_comments = stem.endswith(_COMMENTS) and suffix in {".json", ".json.xz"}
        found = _STEM.fullmatch(stem.removesuffix(_COMMENTS) if is_comments else stem)
        if found is None:
            continue
        files = groups.setdefault(found["base"], _Files(found["base"], found["code"]))
        number = int(found["number"] or 0)
        path = folder / name
        if is_comments:
            files.comments = path
        elif suffix in {".json", ".json.xz"}:
            files.metadata = path
        elif suffix == ".txt":
            files.texts.append(path)
        elif suffix in VIDEO_SUFFIXES:
            files.videos.add(number)
            context.report.n_videos += 1
        elif suffix in PHOTO_SUFFIXES:
            files.photos[number] = path
    return [groups[base] for base in sorted(groups)]


def _read_folder(folder: Path, groups: list[_Files], context: Context) -> Iterator[Post]:
    kept: list[tuple[_Files, _Facts]] = []
    for files in groups:
        facts = _facts(files, folder, context)
        if facts.kind == "story":
            context.report.n_stories += 1
        elif facts.kind == "post":
            kept.append((files, facts))
    context.report.n_expected += len(kept)
    for files, facts in kept:
        yield _post(files, facts, context)


def _facts(files: _Files, folder: Path, context: Context) -> _Facts:
    document = as_dict(_json(files.metadata, context))
    node = as_dict(document.get("node")) or document
    node_type = str(as_dict(document.get("instaloader")).get("node_type") or "Post")
    stamp = node.get("taken_at_timestamp") or node.get("date") or node.get("taken_at")
    posted_at = context.report.problems.read_time(stamp, files.base)
    if posted_at is None:
        named = f"{files.base[:10]}T{files.base[11:19].replace('-', ':')}Z"
        posted_at = context.report.problems.read_time(named, files.base)
    code = node.get("shortcode") or node.get("code") or files.code
    owner = as_dict(node.get("owner")).get("username")
    return _Facts(
        code=code if isinstance(code, str) else None,
        user_id=clean_name(owner) or context.user_id or _profile_of(folder),
        posted_at=posted_at,
        texts=_texts(files, node, context),
        kind=_kind(files, node, node_type, folder),
    )


def _kind(files: _Files, node: dict[str, object], node_type: str, folder: Path) -> str:
    if node_type == "StoryItem" or folder.name.endswith(":stories"):
        return "story"
    if node_type != "Post":
        return "profile"
    if any(number not in files.videos for number in files.photos):
        return "post"
    # Without media (captions only were saved) it is a post, unless it is known to be a video.
    is_video = files.videos or node.get("is_video") or node.get("__typename") == "GraphVideo"
    return "video" if is_video else "post"


def _texts(files: _Files, node: dict[str, object], context: Context) -> list[str]:
    """Collect captions: from the metadata, else from text files (one a post or one a picture)."""
    edges = as_list(as_dict(node.get("edge_media_to_caption")).get("edges"))
    found = [as_dict(as_dict(edge).get("node")).get("text") for edge in edges]
    caption = node.get("caption")
    found.append(as_dict(caption).get("text") if isinstance(caption, dict) else caption)
    if not any(isinstance(text, str) for text in found):
        raws = (_read(path, context) or b"" for path in files.texts)
        found = [raw.decode("utf-8-sig", "replace") for raw in raws]
    return repair_texts(found, context.report)


def _own_comments(files: _Files, facts: _Facts, context: Context) -> list[Comment]:
    said = [
        own_comment(
            as_dict(row.get("owner")).get("username"),
            facts.user_id,
            row.get("text"),
            row.get("created_at"),
            files.base,
            context.report,
        )
        for row in map(as_dict, as_list(_json(files.comments, context)))
    ]
    return assign_comments([facts.posted_at], [comment for comment in said if comment])[0]


def _post(files: _Files, facts: _Facts, context: Context) -> Post:
    comments = _own_comments(files, facts, context) if context.join_comments else []
    written = written_tags(facts.texts, comments, context.report)
    # A picture with a video's number is the video's poster.
    numbers = sorted(files.photos.keys() - files.videos)
    key = (facts.code,) if facts.code else (facts.user_id, files.base)
    return Post(
        post_id=post_id_of("instaloader", *key),
        user_id=facts.user_id,
        posted_at=facts.posted_at,
        tags=tidy_tags(written, context.report.tags),
        photos=tuple(context.photos.file(str(files.photos[n].absolute())) for n in numbers),
    )


def _profile_of(folder: Path) -> str | None:
    """Take the profile's name from its folder; those of hashtags and places hold many people's."""
    name = folder.name.removesuffix(":stories")
    holds_others = not name or name[0] in "#:%" or name.endswith(":tagged")
    return None if holds_others else clean_name(name)


def _json(path: Path | None, context: Context) -> object:
    raw = None if path is None else _read(path, context)
    return read_json(raw, str(path), context.report.problems)


def _read(path: Path, context: Context) -> bytes | None:
    """Read a small file whole, unpacking .xz; None (counted) when it is too large or damaged."""
    try:
        with lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, EOFError, lzma.LZMAError) as error:
        context.report.problems.add("file cannot be read", f"{path}: {error}")
        return None
    if len(data) > _MAX_BYTES:
        context.report.problems.add("file is too large", str(path))
        return None
    return data
