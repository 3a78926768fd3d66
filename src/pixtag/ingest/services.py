"""Posts from Mastodon's and Pixelfed's archives (ActivityPub) and from Flickr's account data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pixtag.errors import ArchiveError
from pixtag.formats import PHOTO_SUFFIXES, VIDEO_SUFFIXES
from pixtag.ingest.context import Context
from pixtag.ingest.files import Entry, Look, Tree, as_dict, as_list, dig, take_photo
from pixtag.tags import find_hashtags, tidy_tags
from pixtag.types import Photo, Post

_OUTBOX, _ACTOR = re.compile(r"(^|/)outbox\.json$"), re.compile(r"(^|/)actor\.json$")
_PUBLIC = {"https://www.w3.org/ns/activitystreams#Public", "as:Public", "Public"}
_FLICKR_PHOTO = re.compile(r"(^|/)photo_(\d+)\.json$")
_FLICKR_PROFILE = re.compile(r"(^|/)account_profile\.json$")
# A photo's number, marked as an original's, or alone: of 11 digits, or of 10 but those of a time.
_FLICKR_MEDIUM = re.compile(
    r"(^|/)([^/]*_)?(\d{6,}(_[0-9a-f]+)?_o|([2-9]\d{9}|[1-9]\d{10})(_[^/]*)?)\.\w+$"
)
_FLICKR_ID = re.compile(r"(?<![0-9a-zA-Z])\d{5,}(?![0-9a-zA-Z])")
_MACHINE_TAG = re.compile(r"[^:=\s]+:[^:=\s]+=")


class _Mark(NamedTuple):
    """How the parts of an archive are told: with posts by one form of names, else media by one."""

    posts: re.Pattern[str]
    media: re.Pattern[str]


_MARKS = {
    "activitypub": _Mark(_OUTBOX, re.compile(r"(^|/)media_attachments/")),
    "flickr": _Mark(
        re.compile(f"{_FLICKR_PHOTO.pattern}|{_FLICKR_PROFILE.pattern}"), _FLICKR_MEDIUM
    ),
}


def looks_like(kind: str, look: Look) -> Path | None:
    """Tell an archive's folder, a zip of one, a part that holds media alone, or the outbox."""
    mark = _MARKS[kind]
    if look.is_zip or look.path.is_dir():
        names = [name for name in look.names if not name.endswith("/")]
        n_media = sum(mark.media.search(name) is not None for name in names)
        # A folder may hold much else.
        is_media = n_media > len(names) / 2 if look.is_zip else n_media == len(names) > 0
        return look.path if is_media or any(map(mark.posts.search, names)) else None
    return look.path if mark.posts.search(look.path.name) else None


def _read(kind: str, paths: Sequence[Path], context: Context) -> Iterator[Post]:
    """Read posts of all parts of an archive. ArchiveError: damaged, locked, or without posts."""
    beside = ("actor.json", "media_attachments")
    tops = [
        path.parent
        if path.suffix == ".json" and any((path.parent / one).exists() for one in beside)
        else path
        for path in paths
    ]
    with ExitStack() as opened:
        tree = Tree(tops, context.report, opened)
        found = [one for one in tree.entries if _MARKS[kind].posts.search(one.name)]
        if not found:
            what = f"{', '.join(map(str, paths))} holds no posts"
            raise ArchiveError(what, hint="name all parts of the archive together")
        yield from _POSTS[kind](tree, found, paths[0], context)


def _outbox_posts(tree: Tree, found: list[Entry], where: Path, context: Context) -> Iterator[Post]:
    actors = [tree.json(one) for one in tree.entries if _ACTOR.search(one.name)]
    names = {str(dig(actor, "id")): dig(actor, "preferredUsername") for actor in actors}
    only = next(iter(names.values())) if len(names) == 1 else None
    for entry in found:
        value = tree.json(entry)
        if value is None:
            what = f"{entry.name} in {where} cannot be read: broken JSON"
            raise ArchiveError(what, hint="download the archive again")
        rows = as_list(value) or as_list(dig(value, "orderedItems")) or as_list(dig(value, "data"))
        context.report.n_expected += len(rows)
        for row in map(as_dict, rows):
            note = as_dict(row.get("object")) or ({} if "object" in row else row)
            if row.get("type") == "Announce" or not note:
                context.report.add("boost or other activity, left out", str(row.get("id")))
                continue
            if (reach := reach_of(note, row)) and not context.private:
                context.report.add(
                    f"{reach} post, left out (--private reads it)", str(note.get("id"))
                )
                continue
            url = str(row.get("actor") or note.get("attributedTo") or "")
            stated = names.get(url) or only or url.rstrip("/").rpartition("/")[2]
            owner = context.owner(stated, str(where))
            yield _note_post(tree, note, owner, context)


def reach_of(note: dict[str, object], activity: dict[str, object]) -> str:
    """Tell `followers-only` or `direct`; "" for what everybody may see."""
    said = note.get("visibility") or note.get("scope")
    lists = [note.get("to", activity.get("to")), note.get("cc", activity.get("cc"))]
    if lists == [None, None]:
        return {"private": "followers-only", "direct": "direct"}.get(str(said), "")
    people = [str(one) for given in lists for one in (as_list(given) or [given]) if one]
    if _PUBLIC & {*people}:
        return ""
    return "followers-only" if any("followers" in one for one in people) else "direct"


def read_note(note: dict[str, object], owner: str, context: Context) -> Post:
    """Read a note's identity, time and hashtags, without its photos."""
    identity = note.get("id") or note.get("url") or str(note)
    posted_at = context.report.read_time(note.get("published"), str(identity))
    texts = [text for text in (note.get("summary"), note.get("content")) if isinstance(text, str)]
    tags = [tag for text in texts for tag in find_hashtags(context.plain_text(text))]
    hashtags = [one for one in as_list(note.get("tag")) if dig(one, "type") == "Hashtag"]
    tags += [str(dig(one, "name")).lstrip("#") for one in hashtags]
    post_id = context.post_id("activitypub", identity)
    tags = list(dict.fromkeys(tags))  # each stands in the text and in the list
    return Post(post_id, owner, posted_at, tidy_tags(tags, context.report.tags))


def _note_post(tree: Tree, note: dict[str, object], owner: str, context: Context) -> Post:
    post = read_note(note, owner, context)
    photos: list[Photo | None] = []
    n_videos = 0
    attachments = as_list(note.get("attachment")) or [note.get("attachment")]
    for one in filter(None, map(as_dict, attachments)):
        url, kind = _url(one), str(one.get("mediaType") or one.get("type"))
        is_video = kind.lower().startswith(("video", "audio"))
        n_videos += is_video
        url = _url(as_dict(one.get("icon"))) if is_video else url
        if not url:
            continue
        uri = url[max(url.find("media_attachments/"), 0) :].partition("?")[0]
        entry = tree.find(uri)
        if entry is None and "://" in url:
            context.report.add("photo is a link, not fetched", url)
        else:
            photos.append(take_photo(entry, uri, context))
    context.report.n_videos += bool(n_videos) and n_videos == len(attachments)
    kept = tuple(photo for photo in photos if photo is not None)
    return replace(post, photos=kept)


def _url(medium: dict[str, object]) -> str:
    url = medium.get("url") or medium.get("href")
    url = next(iter(as_list(url)), url)
    return str(url if isinstance(url, str) else as_dict(url).get("href") or "")


def _flickr_posts(tree: Tree, found: list[Entry], where: Path, context: Context) -> Iterator[Post]:
    media: dict[str, Entry] = {}
    for entry in tree.entries:
        name = PurePosixPath(entry.name)
        if name.suffix.lower() in PHOTO_SUFFIXES | VIDEO_SUFFIXES:
            for number in _FLICKR_ID.findall(name.stem.replace("_", " ")):
                media.setdefault(number, entry)
    profiles = (tree.json(one) for one in found if _FLICKR_PROFILE.search(one.name))
    owner = context.owner(next((dig(one, "screen_name") for one in profiles), None), str(where))
    pages = [(one, name[2]) for one in found if (name := _FLICKR_PHOTO.search(one.name))]
    context.report.n_expected += len(pages)
    for entry, number in pages:
        page = as_dict(tree.json(entry))
        number = str(page.get("id") or number)
        times = [str(page.get(name) or "") for name in ("date_imported", "date_taken")]
        stamp = next((one for one in times if one and not one.startswith("0000")), None)
        given = (dig(one, "tag") or one for one in as_list(page.get("tags")))
        tags = [one for one in given if isinstance(one, str) and not _MACHINE_TAG.match(one)]
        texts = [page.get(name) for name in ("name", "description")]
        texts = [context.plain_text(text) for text in texts if isinstance(text, str)]
        tags += [tag for text in texts for tag in find_hashtags(text)]
        medium = media.get(number)
        is_video = medium is not None and tree.medium_kind(medium) == "video"
        context.report.n_videos += is_video
        photo = None if is_video else take_photo(medium, f"photo {number}", context)
        yield Post(
            context.post_id("flickr", number),
            owner,
            context.report.read_time(stamp, entry.name),
            tidy_tags(tags, context.report.tags),
            () if photo is None else (photo,),
        )


_POSTS = {"activitypub": _outbox_posts, "flickr": _flickr_posts}
READ = {kind: partial(_read, kind) for kind in _POSTS}
