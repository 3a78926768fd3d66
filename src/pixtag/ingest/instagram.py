"""Posts from Instagram: its own archive (JSON, all forms since 2018) and instaloader's folders."""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pixtag.errors import ArchiveError
from pixtag.ingest.context import PHOTO_SUFFIXES, VIDEO_SUFFIXES, Comment, Context, ImportReport
from pixtag.ingest.files import Entry, Look, Tree, as_dict, as_list, dig, read_all, read_json, walk
from pixtag.types import Photo, Post

NOBODY = "me"  # who posted, when neither the archive nor the person at the keyboard says it
_ARCHIVE = re.compile(
    r"(^|/)(media\.json|your_instagram_activity/|content/posts(_\d+)?\.(json|html)"
    r"|media/posts(_\d+)?\.(json|html)|personal_information/|account_information/"
    r"|messages/inbox/|connections/followers)"
)
_MEDIA_PART = re.compile(r"(^|/)media/(posts|other|stories|reels|profile|archived_posts)/")


def _files(names: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|/)(?:{names})(?:_\d+)?\.json$")


_POSTS, _OLD_POSTS = _files("posts"), _files("media")
_REELS, _STORIES, _VIDEOS = _files("reels"), _files("stories"), _files("igtv_videos")
_ARCHIVED, _COMMENTS = _files("archived_posts"), _files("post_comments|comments")
_HTML_POSTS = re.compile(r"(?:^|/)(?:posts(?:_\d+)?|start_here)\.html$")
_OWNER = re.compile(r"(?:^|/)(?:account|personal)_information/personal_information\.json$")
_OLD_OWNER = re.compile(r"^(?:[^/]+/)?profile\.json$")
_POST_FOLDERS = frozenset({"content", "media"})
_DOWNLOAD_NAME = re.compile(r"instagram-(.+?)-\d{4}-\d\d-\d\d")

# Names that instaloader gives.
_TIME = r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_UTC"
# A shortcode has 11 characters, early ones fewer, those of private posts more; a picture's number
# has up to three.
_STEM = re.compile(
    rf"(?P<base>{_TIME}(?:_(?P<code>[\w-]{{11}}|[\w-]{{4,48}}?))?)(?:_(?P<number>\d{{1,3}}))?",
    re.ASCII,
)
_COMMENTS_END, _PROFILE_END = "_comments", "_profile_pic"
_JSON = (".json", ".json.xz")

_HOW_TO_GET_JSON = (
    "request it again at accountscenter.instagram.com > Your information and permissions > "
    "Export your information, with the format JSON instead of HTML"
)
_HOW_TO_GET_POSTS = (
    "name all zips of the archive together, or request one that includes posts: "
    "Export your information > Customise > Posts, format JSON"
)


class _Draft(NamedTuple):
    """A post while it is read: texts and paths as the JSON has them."""

    texts: list[str]
    posted_at: float | None
    uris: list[str]


def looks_like(look: Look) -> Path | None:
    """Tell an archive's folder, a zip of one, or the `posts_1.json` inside one."""
    if any(_ARCHIVE.search(name) for name in look.names):
        return look.path
    if look.path.is_dir():
        return None
    if look.is_zip:  # later parts hold nothing but media
        return look.path if any(_MEDIA_PART.search(name) for name in look.names) else None
    folder = look.path.absolute().parent
    if not re.fullmatch(r"posts(_\d+)?\.json", look.path.name) or folder.name not in _POST_FOLDERS:
        return None
    top = folder.parent
    return top.parent if top.name == "your_instagram_activity" else top


def read(paths: Sequence[Path], context: Context) -> Iterator[Post]:
    """Read posts with at least one photo in the order of the files; the rest is only counted.

    Zips of different people are different archives, all others parts of one. ArchiveError: it is
    damaged, in HTML, or holds no posts.
    """
    for group in _archives(paths):
        with ExitStack() as opened:
            yield from _read_tree(Tree(group, context.report, opened), group, context)


def _archives(paths: Sequence[Path]) -> list[list[Path]]:
    """Part zips by the person that they name; those that name nobody go with the first."""
    if len(paths) == 1:
        return [list(paths)]
    groups: dict[str, list[Path]] = {}
    for path in paths:
        with ExitStack() as opened:  # problems are counted when it is read
            owner = _stated_owner(Tree([path], ImportReport(), opened), [path]) or ""
        groups.setdefault(owner.casefold(), []).append(path)
    unnamed = groups.pop("", [])
    first, *others = groups.values() or [[]]
    return [first + unnamed, *others]


def _read_tree(tree: Tree, paths: list[Path], context: Context) -> Iterator[Post]:
    owner = _stated_owner(tree, paths) or context.user_id
    if owner is None:
        what = f"the archive names nobody: posts are kept as {NOBODY!r} (--user NAME says who)"
        context.report.add(what, str(paths[0]))
        owner = NOBODY
    drafts = _drafts(tree, paths, context)
    _count_others(tree, {uri for draft in drafts for uri in draft.uris}, context)
    comments = _own_comments(tree, owner, context) if context.join_comments else []
    joined = context.assign_comments([draft.posted_at for draft in drafts], comments)
    context.report.n_expected += len(drafts)
    for draft, extra in zip(drafts, joined, strict=True):
        media = [_photo(tree, uri, context) for uri in draft.uris]
        if any(is_photo for is_photo, _ in media):
            # The same post keeps its name in every form of archive: only folders change.
            first = PurePosixPath(draft.uris[0]).name
            post_id = context.post_id("instagram", owner.casefold(), draft.posted_at, first)
            photos = tuple(photo for _, photo in media if photo is not None)
            tags = context.tags_of(draft.texts, extra)
            yield Post(post_id, owner, draft.posted_at, tags, photos)


def _drafts(tree: Tree, paths: list[Path], context: Context) -> list[_Draft]:
    """Read the posts' texts, times and paths from whichever form is there."""
    drafts: list[_Draft] = []
    n_files = n_read = 0
    for name, value in _documents(tree, _POSTS, context.report):
        rows = _rows(value)
        n_files, n_read = n_files + 1, n_read + (rows is not None)
        drafts += [draft for row in rows or [] for draft in _draft(row, name, context)]
    for name, value in _documents(tree, _OLD_POSTS, context.report):
        if {"photos", "videos", "stories", "profile", "direct"} & as_dict(value).keys():
            n_files, n_read = n_files + 1, n_read + 1
            drafts += _old_drafts(as_dict(value), name, context)
    if n_read:
        return drafts
    where = ", ".join(str(path) for path in paths)
    what, hint = f"{where} holds no posts", _HOW_TO_GET_POSTS
    if n_files:
        what = f"the posts in {paths[0]} cannot be read: broken JSON"
        hint = "download the archive again; a download that was cut off looks like this"
    elif _matching(tree, _HTML_POSTS):
        what, hint = f"{where} is an archive in HTML, which cannot be read", _HOW_TO_GET_JSON
    raise ArchiveError(what, hint=hint)


def _draft(row: object, where: str, context: Context) -> list[_Draft]:
    """Read one post of `posts_N.json`: one medium, or several with a common title."""
    media = as_list(dig(row, "media")) or [row]
    uris = [uri for uri in (dig(one, "uri") for one in media) if isinstance(uri, str) and uri]
    if not uris:
        context.report.add("post without media", where)
        return []
    # Files differ in where the caption stands; some say it twice.
    texts = context.repair_texts(dig(one, "title") for one in (row, *media))
    stamps = (dig(one, "creation_timestamp") for one in (row, *media))
    at = context.report.read_time(next(filter(None, stamps), None), where)
    return [_Draft(texts, at, uris)]


def _old_drafts(value: dict[str, object], where: str, context: Context) -> list[_Draft]:
    """Read `media.json`: a post with several photos is several rows, alike in time and caption."""
    context.report.n_videos_skipped += len(as_list(value.get("videos")))
    context.report.n_stories_skipped += len(as_list(value.get("stories")))
    drafts: dict[tuple[object, ...], _Draft] = {}
    for number, row in enumerate(as_list(value.get("photos"))):
        uri, taken_at, caption = dig(row, "path"), dig(row, "taken_at"), dig(row, "caption")
        # Without a time nothing tells which rows belong together.
        key = (str(taken_at), str(caption)) if taken_at else (number,)
        if not isinstance(uri, str) or not uri:
            context.report.add("post without media", where)
        elif key in drafts:
            drafts[key].uris.append(uri)
        else:
            at = context.report.read_time(taken_at or None, where)
            drafts[key] = _Draft(context.repair_texts([caption]), at, [uri])
    return list(drafts.values())


def _photo(tree: Tree, uri: str, context: Context) -> tuple[bool, Photo | None]:
    """Tell whether a medium is a photo, and give it unless it is missing."""
    entry = tree.find(uri)
    suffix = PurePosixPath(uri).suffix.lower()
    if entry is None and suffix not in VIDEO_SUFFIXES:
        context.report.add("photo is missing from the archive", uri)
        return True, None
    kind = "video" if entry is None else tree.medium_kind(entry)
    if entry is not None and kind == "photo":
        if entry.path:
            return True, context.photo_at(entry.path)
        return True, context.photo_in(entry.open, entry.name)
    if kind == "video":
        context.report.n_videos_skipped += 1
    elif suffix != ".srt":
        context.report.add("medium of an unknown kind", uri)
    return False, None


def _count_others(tree: Tree, known_uris: set[str], context: Context) -> None:
    """Count reels and stories that are no posts, without reading them as photos."""

    def n_media(pattern: re.Pattern[str]) -> int:
        documents = _documents(tree, pattern, context.report)
        return sum(len(_media_uris(value) - known_uris) for _, value in documents)

    context.report.n_reels_skipped += n_media(_REELS)
    context.report.n_stories_skipped += n_media(_STORIES)
    context.report.n_videos_skipped += n_media(_VIDEOS)
    if n_archived := n_media(_ARCHIVED):
        where = _matching(tree, _ARCHIVED)[0].name
        context.report.add("archived post, left out", where, n_archived)


def _media_uris(value: object) -> set[str]:
    """Collect the paths of media in a list, with or without an inner list and a name around."""
    found: set[str] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        uri = dig(one, "uri")
        if isinstance(uri, str):
            found.add(uri)
        else:
            inner = [dig(one, "media")] if "media" in as_dict(one) else as_dict(one).values()
            waiting += [*as_list(one), *(each for each in inner if isinstance(each, list | dict))]
    return found


def _own_comments(tree: Tree, owner: str, context: Context) -> list[Comment]:
    comments: list[Comment] = []
    for name, value in _documents(tree, _COMMENTS, context.report):
        inner = (row for rows in as_dict(value).values() for row in as_list(rows))
        for row in as_list(value) or inner:
            if isinstance(row, list):  # before 2021
                stamp, text, author = (*as_list(row), None, None, None)[:3]
            else:
                parts = dig(row, "string_map_data")
                stamp, text = dig(parts, "Time", "timestamp"), dig(parts, "Comment", "value")
                author = dig(parts, "Media Owner", "value")
            comments += context.own_comment(author, owner, text, stamp, name)
    return comments


def _stated_owner(tree: Tree, paths: list[Path]) -> str | None:
    """Find the user name that the archive states, or else a file name as Instagram gives it."""
    quiet = ImportReport()
    names: list[object] = []
    for _, value in _documents(tree, _OWNER, quiet):
        users = as_list(dig(value, "profile_user"))
        names += [dig(user, "string_map_data", "Username", "value") for user in users]
    names += [dig(value, "username") for _, value in _documents(tree, _OLD_OWNER, quiet)]
    names += [found[1] for found in (_DOWNLOAD_NAME.match(path.name) for path in paths) if found]
    return next(filter(None, map(Context.clean_name, names)), None)


def _matching(tree: Tree, pattern: re.Pattern[str]) -> list[Entry]:
    """Entries of a name, in the order of their numbers; the decoys under `threads/` left out."""
    found = [one for one in tree.entries if pattern.search(one.name)]
    found = [one for one in found if "threads" not in PurePosixPath(one.name).parts]
    return sorted(found, key=lambda one: [int(n) for n in re.findall(r"\d+", one.name)])


def _documents(
    tree: Tree, pattern: re.Pattern[str], report: ImportReport
) -> Iterator[tuple[str, object]]:
    """Read the JSON of entries of a name, each with its own name."""
    for entry in _matching(tree, pattern):
        yield entry.name, read_json(tree.read(entry), entry.name, report)


def _rows(value: object) -> list[object] | None:
    if isinstance(value, dict):  # a single post without its list, or a list under a name
        inner = [one for one in as_dict(value).values() if isinstance(one, list)]
        return [value] if "media" in value else as_list(inner[0]) if inner else []
    return as_list(value) if isinstance(value, list) else None


@dataclass(slots=True)
class _PostFiles:
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
            document = as_dict(_json_file(files.metadata, context))
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


def _grouped(folder: Path, names: list[str], context: Context) -> list[_PostFiles]:
    groups: dict[str, _PostFiles] = {}
    for name in names:
        stem, _, suffix = name.partition(".")
        suffix = "." + suffix.lower()
        is_comments = stem.endswith(_COMMENTS_END) and suffix in _JSON
        found = _STEM.fullmatch(stem.removesuffix(_COMMENTS_END) if is_comments else stem)
        if found is None or stem.endswith(_PROFILE_END):
            continue
        files = groups.setdefault(found["base"], _PostFiles(found["base"], found["code"]))
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


def _kind(files: _PostFiles, node: dict[str, object], node_type: object, folder: Path) -> str:
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
    files: _PostFiles, node: dict[str, object], folder: Path, context: Context
) -> Post:
    stamp = node.get("taken_at_timestamp") or node.get("date") or node.get("taken_at")
    posted_at = context.report.read_time(stamp, files.base)
    if posted_at is None:
        named = f"{files.base[:10]}T{files.base[11:19].replace('-', ':')}Z"
        posted_at = context.report.read_time(named, files.base)
    owner = Context.clean_name(dig(node, "owner", "username")) or context.user_id
    profile = folder.name.removesuffix(":stories")
    # Folders of hashtags and places hold many people's.
    if not owner and profile and profile[0] not in "#:%" and not profile.endswith(":tagged"):
        owner = Context.clean_name(profile)
    comments: list[Comment] = []
    for row in as_list(_json_file(files.comments, context) if context.join_comments else None):
        author, said_at = dig(row, "owner", "username"), dig(row, "created_at")
        comments += context.own_comment(author, owner, dig(row, "text"), said_at, files.base)
    (joined,) = context.assign_comments([posted_at], comments)
    # A picture with a video's number is the video's poster.
    numbers = sorted(files.photos.keys() - files.videos)
    code = node.get("shortcode") or node.get("code") or files.code
    key = (code,) if isinstance(code, str) else (owner, files.base)
    tags = context.tags_of(_texts(files, node, context), joined)
    photos = tuple(context.photo_at(str(files.photos[n])) for n in numbers)
    return Post(context.post_id("instaloader", *key), owner, posted_at, tags, photos)


def _texts(files: _PostFiles, node: dict[str, object], context: Context) -> list[str]:
    """Collect captions: from the metadata, else from text files (one a post or one a picture)."""
    edges = as_list(dig(node, "edge_media_to_caption", "edges"))
    found = [dig(edge, "node", "text") for edge in edges]
    caption = node.get("caption")
    found.append(dig(caption, "text") if isinstance(caption, dict) else caption)
    if not any(isinstance(text, str) for text in found):
        raws = (_read(path, context) or b"" for path in files.texts)
        found = [raw.decode("utf-8-sig", "replace") for raw in raws]
    return context.repair_texts(found)


def _json_file(path: Path | None, context: Context) -> object:
    raw = None if path is None else _read(path, context)
    return read_json(raw, str(path), context.report)


def _read(path: Path, context: Context) -> bytes | None:
    """Read a small file whole, unpacking .xz; None (counted) when it is too large or damaged."""
    opener = lzma.open if path.suffix == ".xz" else open
    return read_all(lambda: opener(path, "rb"), str(path), context.report)
