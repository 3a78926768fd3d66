"""Folders of photos: with NAME.txt beside NAME.jpg (line 1 tags, line 2 user), or instaloader's."""

from __future__ import annotations

import lzma
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pixtag.errors import ArchiveError
from pixtag.ingest.context import PHOTO_SUFFIXES, VIDEO_SUFFIXES, Comment, Context, clean_name
from pixtag.ingest.files import Look, as_dict, as_list, dig, read_json, read_whole, walk
from pixtag.tags import join_surrogates, split_tags, tidy_tags
from pixtag.types import Post

SKIPPED_FOLDERS = frozenset({"extra", "original"})
_NUMBERED = re.compile(r"(.+)_(\d+)")
_TIME = r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_UTC"
# A shortcode has 11 characters, early ones fewer, those of private posts more; a picture's number
# has up to three.
_STEM = re.compile(
    rf"(?P<base>{_TIME}(?:_(?P<code>[\w-]{{11}}|[\w-]{{4,48}}?))?)(?:_(?P<number>\d{{1,3}}))?",
    re.ASCII,
)
_COMMENTS, _PROFILE = "_comments", "_profile_pic"
_JSON = (".json", ".json.xz")


def looks_labelled(look: Look) -> Path | None:
    """Tell a folder of photos with text files beside them."""
    photos = {n.rsplit(".", 1)[0] for n in look.names if Path(n).suffix.lower() in PHOTO_SUFFIXES}
    photos |= {re.sub(r"_\d+$", "", name) for name in photos}
    is_labelled = any(n[:-4] in photos for n in look.names if n.lower().endswith(".txt"))
    return look.path if is_labelled and not look.post_files else None


def read_labelled(paths: Sequence[Path], context: Context) -> Iterator[Post]:
    """Read photos with a text file beside them (else ArchiveError), in order of folder and name.

    `NAME_1.jpg`, `NAME_2.jpg`, ... share `NAME.txt` and are one post.
    """
    (root,) = paths
    n_posts = 0
    for folder, names in walk(root, SKIPPED_FOLDERS):
        posts = _labelled(folder, [name for name in names if name[0] != "."], context)
        context.report.n_expected += len(posts)
        for stem, label, photo_names in posts:
            n_posts += 1
            tags, user_id = _read_label(folder / label, context)
            photos = tuple(context.photo_at(str(folder / name)) for name in photo_names)
            # Named by folder, name and content: the same after a move, and in parent or child.
            digests = (photo.digest for photo in photos)
            post_id = context.post_id("folder", folder.name, stem, user_id or "", *digests)
            yield Post(post_id, user_id, None, tags, photos)
    if not n_posts:
        hint = "put NAME.txt beside NAME.jpg: line 1 comma-separated tags, line 2 the user"
        raise ArchiveError(f"no photo in {root} has a text file beside it", hint=hint)


def _labelled(folder: Path, names: list[str], context: Context) -> list[tuple[str, str, list[str]]]:
    """Group the files of one folder: name of the post, label file, photos in order."""
    labels = {name[:-4]: name for name in names if name.lower().endswith(".txt")}
    photos: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        stem, suffix = os.path.splitext(name)  # noqa: PTH122 - as text
        context.report.n_videos_skipped += suffix.lower() in VIDEO_SUFFIXES
        if suffix.lower() not in PHOTO_SUFFIXES:
            continue
        numbered = _NUMBERED.fullmatch(stem)
        if stem in labels:
            photos.setdefault(stem, []).append((0, name))
        elif numbered is not None and numbered[1] in labels:
            photos.setdefault(numbered[1], []).append((int(numbered[2]), name))
        else:
            context.report.add("photo without a text file", str(folder / name))
    for stem in sorted(labels.keys() - photos.keys()):
        context.report.add("text file without a photo", str(folder / labels[stem]))
    return [(s, labels[s], [name for _, name in sorted(photos[s])]) for s in sorted(photos)]


def _read_label(path: Path, context: Context) -> tuple[tuple[str, ...], str | None]:
    try:
        with path.open("rb") as file:
            text = file.read(2**20).decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        context.report.add("text file cannot be read", f"{path}: {error.strerror}")
        return (), context.user_id
    first, second = (*join_surrogates(text).replace("\0", "").splitlines(), "", "")[:2]
    if not first.strip():
        context.report.add("text file without tags", str(path))
    user_id = second.strip() or context.user_id
    if user_id is None:
        context.report.add("text file without a user", str(path))
    return tidy_tags(split_tags(first), context.report.tags), user_id


@dataclass(slots=True)
class _Files:
    """The files of one instaloader post: photos by number (0 without one), videos' numbers, ..."""

    base: str
    code: str | None
    photos: dict[int, Path] = field(default_factory=dict[int, Path])
    videos: set[int] = field(default_factory=set[int])
    texts: list[Path] = field(default_factory=list[Path])
    metadata: Path | None = None
    comments: Path | None = None


def looks_like_instaloader(look: Look) -> Path | None:
    """Tell a folder with files named by the time of their post."""
    is_named = any(re.match(_TIME, Path(name).name) for name in look.names)
    return look.path if is_named else None


def read_instaloader(paths: Sequence[Path], context: Context) -> Iterator[Post]:
    """Read folders that instaloader wrote (else ArchiveError), in time order within a folder.

    Videos (their poster pictures too), stories and profile pictures are left out.
    """
    (root,) = paths
    n_groups = 0
    for folder, names in walk(root):
        groups = _grouped(folder, names, context)
        n_groups += len(groups)
        context.report.n_expected += len(groups)
        for files in groups:
            document = as_dict(_json(files.metadata, context))
            node = as_dict(document.get("node")) or document
            kind = _kind(files, node, dig(document, "instaloader", "node_type"), folder)
            if kind == "post":
                yield _instaloader_post(files, node, folder, context)
            else:
                context.report.n_expected -= 1
                context.report.n_stories_skipped += kind == "story"
    if not n_groups:
        what = f"{root} holds no files named as instaloader names them"
        raise ArchiveError(what, hint="they look like 2026-03-01_18-30-00_UTC.jpg")


def _grouped(folder: Path, names: list[str], context: Context) -> list[_Files]:
    groups: dict[str, _Files] = {}
    for name in names:
        stem, _, suffix = name.partition(".")
        suffix = "." + suffix.lower()
        is_comments = stem.endswith(_COMMENTS) and suffix in _JSON
        found = _STEM.fullmatch(stem.removesuffix(_COMMENTS) if is_comments else stem)
        if found is None or stem.endswith(_PROFILE):
            continue
        files = groups.setdefault(found["base"], _Files(found["base"], found["code"]))
        number = int(found["number"] or 0)
        if is_comments:
            files.comments = folder / name
        elif suffix in _JSON:
            files.metadata = folder / name
        elif suffix == ".txt":
            files.texts.append(folder / name)
        elif suffix in VIDEO_SUFFIXES:
            files.videos.add(number)
            context.report.n_videos_skipped += 1
        elif suffix in PHOTO_SUFFIXES:
            files.photos[number] = folder / name
    return [groups[base] for base in sorted(groups)]


def _kind(files: _Files, node: dict[str, object], node_type: object, folder: Path) -> str:
    """Tell `post`, `video`, `story` or `profile`."""
    if node_type == "StoryItem" or folder.name.endswith(":stories"):
        return "story"
    if node_type and node_type != "Post":
        return "profile"
    if files.photos.keys() - files.videos:
        return "post"
    # Without media (captions only were saved) it is a post, unless it is known to be a video.
    is_video = files.videos or node.get("is_video") or node.get("__typename") == "GraphVideo"
    return "video" if is_video else "post"


def _instaloader_post(
    files: _Files, node: dict[str, object], folder: Path, context: Context
) -> Post:
    stamp = node.get("taken_at_timestamp") or node.get("date") or node.get("taken_at")
    posted_at = context.report.read_time(stamp, files.base)
    if posted_at is None:
        named = f"{files.base[:10]}T{files.base[11:19].replace('-', ':')}Z"
        posted_at = context.report.read_time(named, files.base)
    owner = clean_name(dig(node, "owner", "username")) or context.user_id
    profile = folder.name.removesuffix(":stories")
    # Folders of hashtags and places hold many people's.
    if not owner and profile and profile[0] not in "#:%" and not profile.endswith(":tagged"):
        owner = clean_name(profile)
    comments: list[Comment] = []
    for row in as_list(_json(files.comments, context) if context.join_comments else None):
        author, said_at = dig(row, "owner", "username"), dig(row, "created_at")
        comments += context.own_comment(author, owner, dig(row, "text"), said_at, files.base)
    (joined,) = context.assign_comments([posted_at], comments)
    # A picture with a video's number is the video's poster.
    numbers = sorted(files.photos.keys() - files.videos)
    code = node.get("shortcode") or node.get("code") or files.code
    key = (code,) if isinstance(code, str) else (owner, files.base)
    return Post(
        post_id=context.post_id("instaloader", *key),
        user_id=owner,
        posted_at=posted_at,
        tags=context.tags_of(_texts(files, node, context), joined),
        photos=tuple(context.photo_at(str(files.photos[n])) for n in numbers),
    )


def _texts(files: _Files, node: dict[str, object], context: Context) -> list[str]:
    """Collect captions: from the metadata, else from text files (one a post or one a picture)."""
    edges = as_list(dig(node, "edge_media_to_caption", "edges"))
    found = [dig(edge, "node", "text") for edge in edges]
    caption = node.get("caption")
    found.append(dig(caption, "text") if isinstance(caption, dict) else caption)
    if not any(isinstance(text, str) for text in found):
        raws = (_read(path, context) or b"" for path in files.texts)
        found = [raw.decode("utf-8-sig", "replace") for raw in raws]
    return context.repair_texts(found)


def _json(path: Path | None, context: Context) -> object:
    raw = None if path is None else _read(path, context)
    return read_json(raw, str(path), context.report)


def _read(path: Path, context: Context) -> bytes | None:
    """Read a small file whole, unpacking .xz; None (counted) when it is too large or damaged."""
    opener = lzma.open if path.suffix == ".xz" else open
    return read_whole(lambda: opener(path, "rb"), str(path), context.report)
