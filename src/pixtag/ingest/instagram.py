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
from pixtag.formats import PHOTO_SUFFIXES, VIDEO_SUFFIXES
from pixtag.ingest.context import Comment, Context, ImportReport
from pixtag.ingest.files import (
    Entry,
    Look,
    Tree,
    as_dict,
    as_list,
    dig,
    read_all,
    read_json,
    take_photo,
    text_of,
    walk,
)
from pixtag.types import Photo, Post

_ARCHIVE = re.compile(
    r"(^|/)(media\.json|your_instagram_activity/|content/posts(_\d+)?\.(json|html)"
    r"|media/posts(_\d+)?\.(json|html)|personal_information/|account_information/"
    r"|messages/inbox/|connections/followers|[^/]+/[^/]+/posts_\d+\.json)(?!threads/)"
)
_MEDIA_PART = re.compile(r"(^|/)media/(posts|other|stories|reels|profile|archived_posts)/")


def _files(names: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|/)(?:{names})(?:_\d+)?\.json$")


_POSTS, _OLD_POSTS = _files("posts"), _files("media")
_REELS, _STORIES, _VIDEOS = _files("reels"), _files("stories"), _files("igtv_videos")
_COVERS = ("thumbnail", "cover_photo", "cover")
_ARCHIVED, _COMMENTS = _files("archived_posts"), _files("post_comments|reels_comments|comments")
_HTML_POSTS = re.compile(r"(?:^|/)(?:posts(?:_\d+)?|start_here)\.html$")
_OWNER = re.compile(r"(?:^|/)(?:account|personal)_information/personal_information\.json$")
_OLD_OWNER = re.compile(r"^(?:[^/]+/)?profile\.json$")
_POST_FOLDERS = frozenset({"content", "media"})
# What archives in other languages call the name of their owner.
_USER_KEYS = """
    username; benutzername; nom d'utilisateur; nom d’utilisateur; nome utente; nombre de usuario;
    nom d'usuari; nome de usuário; nome de utilizador; gebruikersnaam; användarnamn; brugernavn;
    brukernavn; käyttäjänimi; nazwa użytkownika; uživatelské jméno; používateľské meno; nume de
    utilizator; felhasználónév; kullanıcı adı; имя пользователя; ім'я користувача; όνομα χρήστη;
    nama pengguna; tên người dùng; ชื่อผู้ใช้; שם משתמש; اسم المستخدم; ユーザーネーム; 사용자 이름;
    用户名; 用戶名稱; 使用者名稱"""  # noqa: RUF001
_DOWNLOAD_NAME = re.compile(r"instagram-(.+?)-\d{4}-\d\d-\d\d")

# Names that instaloader gives, with its own pattern or one in which a profile goes before.
_TIME = r"(?:[\w.]+_)?\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_UTC"
# A shortcode has 11 characters, early ones fewer, those of private posts more; a picture's number
# has up to three.
_STEM = re.compile(
    rf"(?P<base>{_TIME}(?:_(?P<code>[\w-]{{11}}|[\w-]{{4,48}}?))?)(?:_(?P<number>\d{{1,3}}))?",
    re.ASCII,
)
# What lies beside a post's own files under its name, as captions of earlier runs do, and what only
# looks like a post.
_COMMENTS_END, _OTHER_ENDS = "_comments", re.compile(r"_(location|profile_pic|cover|old_\d+)$")
_JSON = (".json", ".json.xz")
_USER_NAME = re.compile(r"[\w.]{1,30}", re.ASCII)

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
    covers: list[str]  # of its videos, as far as the archive names them


def looks_like(look: Look) -> Path | None:
    """Tell an archive's folder or zip, a part of one, or the `posts_1.json` inside one."""
    if look.is_zip or look.path.is_dir():  # later parts hold nothing but media
        is_part = any(_ARCHIVE.search(n) or _MEDIA_PART.search(n) for n in look.names)
        return look.path if is_part else None
    folder = look.path.absolute().parent
    if not re.fullmatch(r"posts(_\d+)?\.json", look.path.name) or folder.name not in _POST_FOLDERS:
        return None
    top = folder.parent
    return top.parent if top.name == "your_instagram_activity" else top


def read(paths: Sequence[Path], context: Context) -> Iterator[Post]:
    """Read posts in the order of the files, then videos and reels: these have at most their cover.

    Paths of different people are different archives, all others parts of one. ArchiveError: it is
    damaged, locked, in HTML, or holds no posts.
    """
    for group in _archives(paths):
        with ExitStack() as opened:
            yield from _read_tree(Tree(group, context.report, opened), group, context)


def _archives(paths: Sequence[Path]) -> list[list[Path]]:
    """Part zips and folders by the person that they name; without one they go with the first."""
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
    owner = context.owner(_stated_owner(tree, paths), str(paths[0]))
    drafts = _drafts(tree, paths, context)
    known = {uri for draft in drafts for uri in draft.uris}
    reels = _others(tree, _REELS, known, context)
    context.report.n_reels += len(reels)
    drafts += [*reels, *_others(tree, _VIDEOS, known, context)]
    _count_others(tree, known, context)
    comments = _own_comments(tree, owner, context) if context.join_comments else []
    joined = context.assign_comments([draft.posted_at for draft in drafts], comments)
    context.report.n_expected += len(drafts)
    for draft, extra in zip(drafts, joined, strict=True):
        kinds, photos = _media(tree, draft, context)
        if kinds & {"photo", "video"}:
            # The same post keeps its name in every form of archive: only folders change.
            first = PurePosixPath(draft.uris[0]).name
            post_id = context.post_id("instagram", owner.casefold(), draft.posted_at, first)
            tags = context.tags_of(draft.texts, extra)
            context.report.n_videos += "photo" not in kinds
            yield Post(post_id, owner, draft.posted_at, tags, photos)


def _others(
    tree: Tree, pattern: re.Pattern[str], known: set[str], context: Context
) -> list[_Draft]:
    """Read reels or long videos that are no posts already; `known` gets their paths as well."""
    drafts: list[_Draft] = []
    for name, value in _documents(tree, pattern):
        for row in _rows(value) or []:
            new = [one for one in _draft(row, name, context) if not known & {*one.uris}]
            known.update(uri for one in new for uri in one.uris)
            drafts += new
    return drafts


def _drafts(tree: Tree, paths: list[Path], context: Context) -> list[_Draft]:
    """Read the posts' texts, times and paths from whichever form is there."""
    drafts: list[_Draft] = []
    n_files = n_read = 0
    for name, value in _documents(tree, _POSTS):
        rows = _rows(value)
        n_files, n_read = n_files + 1, n_read + (rows is not None)
        drafts += [draft for row in rows or [] for draft in _draft(row, name, context)]
    for name, value in _documents(tree, _OLD_POSTS):
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
    covers = [dig(one, name, "uri") for one in (row, *media) for name in _COVERS]
    return [_Draft(texts, at, uris, [uri for uri in covers if isinstance(uri, str)])]


def _old_drafts(value: dict[str, object], where: str, context: Context) -> list[_Draft]:
    """Read `media.json`: a post with several photos is several rows, alike in time and caption."""
    context.report.n_stories_skipped += len(as_list(value.get("stories")))
    drafts: dict[tuple[object, ...], _Draft] = {}
    for number, row in enumerate([*as_list(value.get("photos")), *as_list(value.get("videos"))]):
        uri, taken_at, caption = dig(row, "path"), dig(row, "taken_at"), dig(row, "caption")
        # Without a time nothing tells which rows belong together.
        key = (str(taken_at), str(caption)) if taken_at else (number,)
        if not isinstance(uri, str) or not uri:
            context.report.add("post without media", where)
        elif key in drafts:
            drafts[key].uris.append(uri)
        else:
            at = context.report.read_time(taken_at or None, where)
            drafts[key] = _Draft(context.repair_texts([caption]), at, [uri], [])
    return list(drafts.values())


def _media(tree: Tree, draft: _Draft, context: Context) -> tuple[set[str], tuple[Photo, ...]]:
    """Tell the kinds of a post's media, and give its photos, or a video's cover."""
    kinds: set[str] = set()
    photos: list[Photo | None] = []
    n_videos = 0
    for uri in draft.uris:
        entry, suffix = tree.find(uri), PurePosixPath(uri).suffix.lower()
        kind = "video" if suffix in VIDEO_SUFFIXES else "photo"
        kind = tree.medium_kind(entry) if entry is not None else kind
        kinds.add(kind)
        n_videos += kind == "video"
        if kind == "photo":
            photos.append(take_photo(entry, uri, context))
        elif kind == "other" and suffix != ".srt":
            context.report.add("medium of an unknown kind", uri)
    context.report.n_videos_skipped += n_videos if "photo" in kinds else 0
    if "photo" not in kinds:
        beside = (
            PurePosixPath(u).with_suffix(end) for u in draft.uris for end in (".jpg", ".webp")
        )
        covers = (tree.find(uri) for uri in (*draft.covers, *map(str, beside)))
        photos = [take_photo(one, one.name, context) for one in covers if one is not None][:1]
    return kinds, tuple(photo for photo in photos if photo is not None)


def _count_others(tree: Tree, known_uris: set[str], context: Context) -> None:
    """Count stories and archived posts, without reading them as photos."""

    def n_media(pattern: re.Pattern[str]) -> int:
        return sum(len(_media_uris(one) - known_uris) for _, one in _documents(tree, pattern))

    context.report.n_stories_skipped += n_media(_STORIES)
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
    for name, value in _documents(tree, _COMMENTS):
        inner = (row for rows in as_dict(value).values() for row in as_list(rows))
        for row in as_list(value) or inner:
            if isinstance(row, list):  # before 2021
                stamp, text, author = (*as_list(row), None, None, None)[:3]
            else:  # the names of the values are in the account's language: told by what they hold
                parts = [*as_dict(dig(row, "string_map_data")).values()]
                values = [v for v in (dig(part, "value") for part in parts) if isinstance(v, str)]
                if not values:
                    context.report.add("comment not understood, left out", name)
                is_own = owner.casefold() in map(str.casefold, values)
                author = owner if is_own else None
                text = " ".join(v for v in values if v.casefold() != owner.casefold())
                stamp = next(filter(None, (dig(part, "timestamp") for part in parts)), None)
            comments += context.own_comment(author, owner, text, stamp, name)
    return comments


def _stated_owner(tree: Tree, paths: list[Path]) -> str | None:
    """Find the user name that the archive states, or else a file name as Instagram gives it."""
    quiet = ImportReport()
    names: list[object] = []
    for _, value in _documents(tree, _OWNER, quiet):
        users = as_list(dig(value, "profile_user"))
        parts = [as_dict(dig(user, "string_map_data")) for user in users]
        names += [dig(part, key, "value") for part in parts for key in part if _is_user(key)]
    names += [dig(value, "username") for _, value in _documents(tree, _OLD_OWNER, quiet)]
    names += [found[1] for found in (_DOWNLOAD_NAME.match(path.name) for path in paths) if found]
    return next(filter(None, map(Context.clean_name, names)), None)


def _is_user(key: str) -> bool:
    (name,) = Context(ImportReport(), Path()).repair_texts([key]) or [""]
    known = (one.strip() for one in " ".join(_USER_KEYS.split()).split(";"))
    return name.casefold() in known


def _matching(tree: Tree, pattern: re.Pattern[str]) -> list[Entry]:
    """Entries of a name, in the order of their numbers; the decoys under `threads/` left out."""
    found = [one for one in tree.entries if pattern.search(one.name)]
    found = [one for one in found if "threads" not in PurePosixPath(one.name).parts]
    return sorted(found, key=lambda one: [int(n) for n in re.findall(r"\d+", one.name)])


def _documents(
    tree: Tree, pattern: re.Pattern[str], report: ImportReport | None = None
) -> Iterator[tuple[str, object]]:
    """Read the JSON of entries of a name, each with its own name."""
    return ((entry.name, tree.json(entry, report)) for entry in _matching(tree, pattern))


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
    """Tell a folder with files named by the time of their post, or with instaloader's metadata."""
    if any(re.match(_TIME, Path(name).name) for name in look.names):
        return look.path
    documents = [look.path / name for name in look.names if name.lower().endswith(_JSON)]
    return look.path if any(map(_is_metadata, documents[:5])) else None


def _is_metadata(path: Path) -> bool:
    return bool(dig(_json_file(path, ImportReport()), "instaloader"))


def read_instaloader(paths: Sequence[Path], context: Context) -> Iterator[Post]:
    """Read folders that instaloader wrote (else ArchiveError), in order of name within a folder.

    A video is a post without its file; its poster picture stands for it. Stories and profile
    pictures are left out.
    """
    (root,) = paths
    n_groups = 0
    for folder, names in walk(root):
        groups = _grouped(folder, names)
        n_groups += len(groups)
        context.report.n_expected += len(groups)
        for files in groups:
            document = as_dict(_json_file(files.metadata, context.report))
            node = as_dict(document.get("node")) or document
            node_type = dig(document, "instaloader", "node_type")
            if node_type == "StoryItem" or folder.name.endswith(":stories"):
                context.report.n_stories_skipped += 1
            elif not node_type or node_type == "Post":
                is_photo = files.photos.keys() - files.videos
                is_video = node.get("is_video") or node.get("__typename") == "GraphVideo"
                context.report.n_videos += not is_photo and bool(files.videos or is_video)
                yield _instaloader_post(files, node, folder, context)
                continue
            context.report.n_expected -= 1
    if not n_groups:
        what = f"{root} holds no files named as instaloader names them"
        raise ArchiveError(what, hint="they look like 2026-03-01_18-30-00_UTC.jpg")


def _grouped(folder: Path, names: list[str]) -> list[_PostFiles]:
    """Group a folder's files by post: named by its time, or as its metadata is named."""
    groups: dict[str, _PostFiles] = {}
    documents = (name for name in names if name.lower().endswith(_JSON))
    odd = (name for name in documents if _STEM.fullmatch(name.partition(".json")[0]) is None)
    bases = {name.partition(".json")[0] for name in odd if _is_metadata(folder / name)}
    for name in names:
        stem, dot, suffix = name.rpartition(".json") if ".json" in name else name.rpartition(".")
        suffix = f"{dot}{suffix}".lower()
        is_comments = stem.endswith(_COMMENTS_END) and suffix in _JSON
        stem = stem.removesuffix(_COMMENTS_END) if is_comments else stem
        numbered = re.fullmatch(r"(.+)_(\d{1,3})", stem)
        if stem in bases:
            base, code, number = stem, None, 0
        elif numbered and numbered[1] in bases:
            base, code, number = numbered[1], None, int(numbered[2])
        elif (found := _STEM.fullmatch(stem)) and not _OTHER_ENDS.search(stem):
            base, code, number = found["base"], found["code"], int(found["number"] or 0)
        else:
            continue
        files = groups.setdefault(base, _PostFiles(base, code))
        if is_comments:
            files.comments = folder / name
        elif suffix in _JSON:
            files.metadata = folder / name
        elif suffix == ".txt":
            files.texts.append(folder / name)
        elif suffix in VIDEO_SUFFIXES:
            files.videos.add(number)
        elif suffix in PHOTO_SUFFIXES:
            files.photos[number] = folder / name
    return [groups[base] for base in sorted(groups)]


def _instaloader_post(
    files: _PostFiles, node: dict[str, object], folder: Path, context: Context
) -> Post:
    stamp = node.get("taken_at_timestamp") or node.get("date") or node.get("taken_at")
    posted_at = context.report.read_time(stamp, files.base)
    if posted_at is None:
        found = re.search(r"(\d{4}-\d\d-\d\d)_(\d\d)-(\d\d)-(\d\d)", files.base)
        named = "{}T{}:{}:{}Z".format(*found.groups()) if found else None
        posted_at = context.report.read_time(named, files.base)
    owner = Context.clean_name(dig(node, "owner", "username")) or context.user_id
    # Folders of hashtags and places hold many people's, and highlights are no person.
    if not owner and _USER_NAME.fullmatch(folder.name):
        owner = folder.name
    owner = owner or context.person(files.base)
    comments: list[Comment] = []
    beside = files.comments if context.join_comments else None
    for row in as_list(_json_file(beside, context.report)):
        author, said_at = dig(row, "owner", "username"), dig(row, "created_at")
        comments += context.own_comment(
            author, owner, dig(row, "text"), said_at, files.base, is_plain=True
        )
    (joined,) = context.assign_comments([posted_at], comments)
    # A picture with a video's number is its poster: a photo only where there is no other.
    numbers = sorted(files.photos.keys() - files.videos) or sorted(files.photos)
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
        raws = (_read(path, context.report) or b"" for path in files.texts)
        found = [text_of(raw, files.base) for raw in raws]
    # True Unicode, where É and a space that does not break are two characters.
    plain = (context.plain_text(text) for text in found if isinstance(text, str))
    return list(dict.fromkeys(filter(None, plain)))


def _json_file(path: Path | None, report: ImportReport) -> object:
    raw = None if path is None else _read(path, report)
    return read_json(raw, str(path), report)


def _read(path: Path, report: ImportReport) -> bytes | None:
    """Read a small file whole, unpacking .xz; None (counted) when it is too large or damaged."""
    opener = lzma.open if path.suffix == ".xz" else open
    return read_all(lambda: opener(path, "rb"), str(path), report)
