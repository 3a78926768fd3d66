"""Instagram's own archive ("Download your information", JSON), in the forms since 2018."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

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
from pixtag.ingest.context import VIDEO_SUFFIXES, Context, post_id_of
from pixtag.ingest.files import Entry, Look, Tree
from pixtag.ingest.report import Problems
from pixtag.tags import tidy_tags
from pixtag.types import Photo, Post

NOBODY = "me"
"""Who posted, when neither the archive nor the person at the keyboard says it."""

_ARCHIVE = re.compile(
    r"(^|/)(media\.json|your_instagram_activity/|content/posts(_\d+)?\.(json|html)"
    r"|media/posts(_\d+)?\.(json|html)|personal_information/|account_information/"
    r"|messages/inbox/|connections/followers)",
)
_MEDIA_PART = re.compile(r"(^|/)media/(posts|other|stories|reels|profile|archived_posts)/")


def _files(names: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|/)(?:{names})(?:_\d+)?\.json$")


_POSTS, _OLD_POSTS = _files("posts"), _files("media")
_REELS, _STORIES, _VIDEOS = _files("reels"), _files("stories"), _files("igtv_videos")
_ARCHIVED, _COMMENTS = _files("archived_posts"), _files("post_comments|comments")
_HTML_POSTS = re.compile(r"(?:^|/)(?:posts(?:_\d+)?|start_here)\.html$")
_OWNER = re.compile(
    r"(?:^|/)(?:account_information|personal_information)/personal_information\.json$"
)
_OLD_OWNER = re.compile(r"^(?:[^/]+/)?profile\.json$")
_POST_FOLDERS = frozenset({"content", "media"})
_DOWNLOAD_NAME = re.compile(r"instagram-(.+?)-\d{4}-\d\d-\d\d")

_HOW_TO_GET_JSON = (
    "request it again at accountscenter.instagram.com > Your information and permissions > "
    "Export your information, with the format JSON instead of HTML"
)


@dataclass(slots=True)
class _Draft:
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
    """Read Instagram's own archive: posts with at least one photo, in the order of the files.

    Videos, stories and reels are counted and left out.

    Args:
        paths: A folder, or zips. Zips of different people are different archives, all others
            parts of one.
        context: Where to count and keep.

    Raises:
        ArchiveError: It is damaged, in HTML, or holds no posts.
    """
    for group in _archives(paths):
        with closing(Tree(group, context.report.problems)) as tree:
            yield from _read_tree(tree, group, context)


def _archives(paths: Sequence[Path]) -> list[list[Path]]:
    """Part zips by the person that they name; those that name nobody go with the first."""
    if len(paths) == 1:
        return [list(paths)]
    groups: dict[str, list[Path]] = {}
    unnamed: list[Path] = []
    for path in paths:
        with closing(Tree([path], Problems())) as tree:  # problems are counted when it is read
            owner = _stated_owner(tree) or _name_in(path)
        (unnamed if owner is None else groups.setdefault(owner.casefold(), [])).append(path)
    parts = list(groups.values()) or [[]]
    parts[0].extend(unnamed)
    return parts


def _read_tree(tree: Tree, paths: list[Path], context: Context) -> Iterator[Post]:
    stated = _stated_owner(tree) or next(filter(None, map(_name_in, paths)), None)
    owner = stated or context.user_id
    if owner is None:
        context.report.problems.add(
            f"the archive names nobody: posts are kept as {NOBODY!r} (--user NAME says who)",
            str(paths[0]),
        )
        owner = NOBODY
    drafts = _drafts(tree, paths, context)
    _count_others(tree, {uri for draft in drafts for uri in draft.uris}, context)
    comments = _own_comments(tree, owner, context) if context.join_comments else []
    joined = assign_comments([draft.posted_at for draft in drafts], comments)
    context.report.n_expected += len(drafts)
    for draft, extra in zip(drafts, joined, strict=True):
        post = _post(tree, draft, extra, owner, context)
        if post is not None:
            yield post


def _drafts(tree: Tree, paths: list[Path], context: Context) -> list[_Draft]:
    """Read the posts' texts, times and paths from whichever form is there."""
    drafts: list[_Draft] = []
    n_files = n_read = 0
    for entry in _matching(tree, _POSTS):
        n_files += 1
        rows = _rows(_json(tree, entry, context))
        n_read += rows is not None
        found = (_draft(row, entry, context) for row in rows or [])
        drafts.extend(draft for draft in found if draft is not None)
    for entry in _matching(tree, _OLD_POSTS):
        value = as_dict(_json(tree, entry, context))
        if {"photos", "videos", "stories", "profile", "direct"} & value.keys():
            n_files, n_read = n_files + 1, n_read + 1
            drafts.extend(_old_drafts(value, entry, context))
    if n_read:
        return drafts
    where = ", ".join(str(path) for path in paths)
    if n_files:
        raise ArchiveError(
            f"the posts in {paths[0]} cannot be read: broken JSON",
            hint="download the archive again; a download that was cut off looks like this",
        )
    if _matching(tree, _HTML_POSTS):
        raise ArchiveError(
            f"{where} is an archive in HTML, which cannot be read", hint=_HOW_TO_GET_JSON
        )
    raise ArchiveError(
        f"{where} holds no posts",
        hint="name all zips of the archive together, or request one that includes posts: "
        "Export your information > Customise > Posts, format JSON",
    )


def _draft(row: object, entry: Entry, context: Context) -> _Draft | None:
    """Read one post of `posts_N.json`: one medium, or several with a common title."""
    post = as_dict(row)
    media = [as_dict(one) for one in as_list(post.get("media"))]
    if not media and isinstance(post.get("uri"), str):
        media = [post]
    uris = [one["uri"] for one in media if isinstance(one.get("uri"), str) and one["uri"]]
    if not uris:
        context.report.problems.add("post without media", entry.name)
        return None
    # Files differ in where the caption stands; some say it twice.
    texts = repair_texts((one.get("title") for one in (post, *media)), context.report)
    stamps = (one.get("creation_timestamp") for one in (post, *media))
    at = context.report.problems.read_time(next(filter(None, stamps), None), entry.name)
    return _Draft(texts, at, [str(uri) for uri in uris])


def _old_drafts(value: dict[str, object], entry: Entry, context: Context) -> list[_Draft]:
    """Read `media.json`: a post with several photos is several rows, alike in time and caption."""
    report = context.report
    report.n_videos += len(as_list(value.get("videos")))
    report.n_stories += len(as_list(value.get("stories")))
    drafts: dict[tuple[object, ...], _Draft] = {}
    for number, row in enumerate(map(as_dict, as_list(value.get("photos")))):
        uri = row.get("path")
        if not isinstance(uri, str) or not uri:
            report.problems.add("post without media", entry.name)
            continue
        taken_at, caption = row.get("taken_at"), row.get("caption")
        # Without a time nothing tells which rows belong together.
        key = (str(taken_at), str(caption)) if taken_at else (number,)
        if key in drafts:
            drafts[key].uris.append(uri)
            continue
        at = report.problems.read_time(taken_at or None, entry.name)
        drafts[key] = _Draft(repair_texts([caption], report), at, [uri])
    return list(drafts.values())


def _post(
    tree: Tree, draft: _Draft, comments: list[Comment], owner: str, context: Context
) -> Post | None:
    media = [_photo(tree, uri, context) for uri in draft.uris]
    if not any(is_photo for is_photo, _ in media):
        return None
    written = written_tags(draft.texts, comments, context.report)
    # The same post keeps its name in every form of archive: file names stay, folders change.
    first = PurePosixPath(draft.uris[0]).name
    return Post(
        post_id=post_id_of("instagram", owner.casefold(), draft.posted_at, first),
        user_id=owner,
        posted_at=draft.posted_at,
        tags=tidy_tags(written, context.report.tags),
        photos=tuple(photo for _, photo in media if photo is not None),
    )


def _photo(tree: Tree, uri: str, context: Context) -> tuple[bool, Photo | None]:
    """Tell whether a medium is a photo, and give it unless it is missing."""
    problems = context.report.problems
    entry = tree.find(uri)
    suffix = PurePosixPath(uri).suffix.lower()
    if entry is None and suffix not in VIDEO_SUFFIXES:
        problems.add("photo is missing from the archive", uri)
        return True, None
    kind = "video" if entry is None else tree.medium_kind(entry)
    if entry is not None and kind == "photo":
        return True, tree.photo(entry, context.photos)
    if kind == "video":
        context.report.n_videos += 1
    elif suffix != ".srt":
        problems.add("medium of an unknown kind", uri)
    return False, None


def _count_others(tree: Tree, known_uris: set[str], context: Context) -> None:
    """Count reels and stories that are no posts, without reading them as photos."""

    def n_media(entry: Entry) -> int:
        return len(_media_uris(_json(tree, entry, context)) - known_uris)

    report = context.report
    report.n_reels += sum(map(n_media, _matching(tree, _REELS)))
    report.n_stories += sum(map(n_media, _matching(tree, _STORIES)))
    report.n_videos += sum(map(n_media, _matching(tree, _VIDEOS)))
    for entry in _matching(tree, _ARCHIVED):
        if n_cases := n_media(entry):
            report.problems.add("archived post, left out", entry.name, n_cases)


def _media_uris(value: object) -> set[str]:
    """Collect the paths of media in a list, with or without an inner list and a name around."""
    found: set[str] = set()
    waiting: list[object] = [value]
    while waiting:
        one = waiting.pop()
        waiting.extend(as_list(one))
        row = as_dict(one)
        if isinstance(row.get("uri"), str):
            found.add(str(row["uri"]))
        elif "media" in row:
            waiting.append(row["media"])
        else:
            waiting.extend(inner for inner in row.values() if isinstance(inner, list))
    return found


def _own_comments(tree: Tree, owner: str, context: Context) -> list[Comment]:
    comments: list[Comment] = []
    for entry in _matching(tree, _COMMENTS):
        value = _json(tree, entry, context)
        rows = as_list(value) or [
            row for inner in as_dict(value).values() for row in as_list(inner)
        ]
        for row in rows:
            text, media_owner, stamp = _comment_parts(row)
            said = own_comment(media_owner, owner, text, stamp, entry.name, context.report)
            comments += [said] if said else []
    return comments


def _comment_parts(row: object) -> tuple[object, object, object]:
    """Give text, owner of the media and time of a comment; before 2021 a row was a plain list."""
    if isinstance(row, list):
        stamp, text, owner = (*as_list(row), None, None, None)[:3]
        return text, owner, stamp
    parts = as_dict(as_dict(row).get("string_map_data"))
    return (
        as_dict(parts.get("Comment")).get("value"),
        as_dict(parts.get("Media Owner")).get("value"),
        as_dict(parts.get("Time")).get("timestamp"),
    )


def _stated_owner(tree: Tree) -> str | None:
    """Find the user name that the archive itself states."""
    quiet = Problems()
    names: list[object] = []
    for entry in _matching(tree, _OWNER):
        value = as_dict(read_json(tree.read(entry), entry.name, quiet))
        for user in as_list(value.get("profile_user")):
            parts = as_dict(as_dict(user).get("string_map_data"))
            names.append(as_dict(parts.get("Username")).get("value"))
    for entry in _matching(tree, _OLD_OWNER):
        value = as_dict(read_json(tree.read(entry), entry.name, quiet))
        names.append(value.get("username"))
    return next(filter(None, map(clean_name, names)), None)


def _name_in(path: Path) -> str | None:
    """Read the user name in the file name that Instagram gives a download."""
    found = _DOWNLOAD_NAME.match(path.name)
    return None if found is None else found[1]


def _matching(tree: Tree, pattern: re.Pattern[str]) -> list[Entry]:
    """Entries of a name, in the order of their numbers; the decoys under `threads/` left out."""
    found = [
        entry
        for entry in tree.entries
        if pattern.search(entry.name) and "threads" not in PurePosixPath(entry.name).parts
    ]
    return sorted(found, key=lambda entry: [int(n) for n in re.findall(r"\d+", entry.name)])


def _rows(value: object) -> list[object] | None:
    if isinstance(value, dict):  # a single post without its list, or a list under a name
        inner = [one for one in as_dict(value).values() if isinstance(one, list)]
        return [value] if "media" in value else as_list(inner[0]) if inner else []
    return as_list(value) if isinstance(value, list) else None


def _json(tree: Tree, entry: Entry, context: Context) -> object:
    return read_json(tree.read(entry), entry.name, context.report.problems)
