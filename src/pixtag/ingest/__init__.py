"""Reading posts from files, folders and archives into a store, with a report, and writing them.

with Store.open("my.sqlite", create=True) as store:
    report = import_posts(find_sources(["archive.zip"]), store, user_id="ana")
"""

from __future__ import annotations

import gzip
import json
import re
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from pixtag.errors import ArchiveError, InputError
from pixtag.formats import PHOTO_SUFFIXES
from pixtag.ingest import instagram, library, records, services
from pixtag.ingest.again import SERVICES, Again
from pixtag.ingest.context import Context, ImportReport
from pixtag.ingest.files import Look, encoding
from pixtag.outputs import replacing
from pixtag.store import Store
from pixtag.store.history import own_post_id, user_of
from pixtag.types import Post, iso_time


class Reader(NamedTuple):
    """How to read one kind of source; archives come in parts, which are read together."""

    looks_like: Callable[[Look], Path | None]  # what of a path is to be read, if this kind
    read: Callable[[Sequence[Path], Context], Iterable[Post]]
    in_parts: bool = False  # zips and folders


# Every kind of source, the more particular before the more general: the first that fits reads.
READERS: dict[str, Reader] = {
    "instagram": Reader(instagram.looks_like, instagram.read, in_parts=True),
    **{
        k: Reader(partial(services.looks_like, k), services.READ[k], in_parts=True)
        for k in services.READ
    },
    "instaloader": Reader(instagram.looks_like_instaloader, instagram.read_instaloader),
    **{k: Reader(partial(records.looks_like, k), partial(records.read, k)) for k in records.KINDS},
    "folders": Reader(records.looks_labelled, records.read_labelled),
    "library": Reader(library.looks_like, library.read, in_parts=True),
}
KINDS = tuple(READERS)
OnWritten = Callable[[int], None]
_ZIP_KINDS = [kind for kind, reader in READERS.items() if reader.in_parts]
# Archives that are told by the names in them, and not read yet.
_OTHERS = {
    "TikTok": r"user_data(_tiktok)?\.(json|txt)$|TikTok/(Profile|Activity|Video|Post)",
    "Facebook": r"your_facebook_activity/|facebook-[^/]*\d{4}[^/]*/|posts/your_posts",
    "Twitter or X": r"data/(tweets?|tweet-headers|tweets-part\d+)\.js$|data/tweets?_media/",
    "Google": r"Takeout/|archive_browser\.html$",
    "Snapchat": r"((json|html)/)?memories_history\.(json|html)$",
    "Pinterest": r"(pins|boards)(/?_?\d+)?\.(json|html)$",
    "Tumblr": r"posts/posts\.xml$|payload-\d+\.json$",
    "Reddit": r"(post_headers|subscribed_subreddits|comment_headers)\.csv$",
    "LinkedIn": r"(Rich_Media|Shares)\.csv$",
    "YouTube": r"YouTube and YouTube Music/",
    "WhatsApp": r"_chat\.txt$|WhatsApp Chat with [^/]*\.txt$",
    "Bluesky": r"[^/]*\.car$",
    "iCloud": r"(Photos/)?Photo Details(-\d+)?\.csv$",
}


_ARCHIVES = {"instagram", *services.READ}
_READ_ARCHIVES = "archives of Instagram, Mastodon, Pixelfed and Flickr are read"


class Source(NamedTuple):
    """Something to read posts from: one of `KINDS`; a file, a folder, or all zips of an archive."""

    kind: str
    paths: tuple[Path, ...]


def find_sources(paths: Sequence[str | Path], kind: str | None = None) -> list[Source]:
    """Tell what to read and how: a `kind` of `KINDS` for all paths, or by looking at each.

    Gives sources in the order of the paths; the parts of archives of one kind are one source.
    InputError: an unknown kind. ArchiveError: nothing is there, or nothing that is known.
    """
    if kind is not None and kind not in READERS:
        raise InputError(f"unknown kind of source: {kind!r}", hint=f"one of {', '.join(KINDS)}")
    if not paths:
        raise InputError("no file or folder was named", hint="`pixtag import --help` has examples")
    sources: list[Source] = []
    for path in map(Path, paths):
        if not path.exists():
            raise ArchiveError(f"there is nothing at {path}", hint="check the path")
        if not (path.is_file() or path.is_dir()):
            what = f"{path} is a pipe or a device, which is not read"
            raise ArchiveError(what, hint="write it to a file, or use `pixtag import -`")
        look = Look(path)
        inside: list[Path] = []
        if path.is_dir() and (kind is None or READERS[kind].in_parts):
            names = [name for name in look.names if not name.startswith(".")]
            inside = look.zips if len(names) == len(look.zips) else []  # an archive as downloaded
        looks = [Look(one) for one in inside] or [look]
        for one in looks:
            for found in [Source(kind, (one.path,))] if kind is not None else _sources_at(one):
                kinds = [source.kind for source in sources]
                if READERS[found.kind].in_parts and found.kind in kinds:
                    place = kinds.index(found.kind)
                    sources[place] = Source(found.kind, sources[place].paths + found.paths)
                else:
                    sources.append(found)
    return sources


def _sources_at(look: Look) -> list[Source]:
    path = look.path
    if look.is_zip and not (look.names or zipfile.is_zipfile(path)):  # damaged: its reader says how
        return [Source(_ZIP_KINDS[0], (path,))]
    names = (path.name, *look.names) if path.is_file() else look.names
    for other, pattern in _OTHERS.items():
        known = re.compile(rf"(?:[^/]+/)?(?:{pattern})", re.IGNORECASE)
        if any(map(known.match, names)):
            what = f"{path} is a {other} archive; not read yet"
            hint = f"--kind {'|'.join(KINDS)} if it is something else; {_READ_ARCHIVES}"
            raise ArchiveError(what, hint=hint)
    kinds = _ZIP_KINDS if look.is_zip else READERS
    found = [Source(kind, (at,)) for kind in kinds if (at := READERS[kind].looks_like(look))]
    if not path.is_dir():
        if found:
            return found[:1]
        raise _unknown(look)
    # A folder may hold several archives; photos in it are read as they are only without any.
    archives = [one for one in found if one.kind in _ARCHIVES]
    zips = [
        Source(kind, (one.path,))
        for one in map(Look, look.zips)
        for kind in _ZIP_KINDS
        if READERS[kind].looks_like(one)
    ]
    files = () if found and not archives else look.post_files
    every = [*archives, *zips, *(one for file in files for one in _sources_at(Look(file)))]
    if every or found:
        return every if archives or not found else found[:1]
    raise _unknown(look)


def _unknown(look: Look) -> ArchiveError:
    """Say what lies there instead of posts."""
    path = look.path
    what = f"{path} holds no posts that are known here"
    hint = f"name the file itself, or say what it is with --kind {'|'.join(KINDS)}"
    if look.is_zip:
        hint = "unpack it and name the file or folder that holds the posts"
        if look.post_files:
            what = f"{path} is a zip with {look.post_files[0].name} in it, which is read unpacked"
        elif not look.names:
            what, hint = f"{path} is an empty zip", "get it again from where it was made"
        elif any(re.search(r"(^|/)threads/", name) for name in look.names):
            what, hint = f"{path} is a Threads archive; not read yet", _READ_ARCHIVES
        if any(name.lower().endswith(".zip") for name in look.names):
            what = f"{path} holds no posts, only a zip inside"
            hint = "unpack it once and name the zips that lie in it"
    elif look.packed:
        what, hint = (
            f"{path} is a {look.packed} archive",
            "unpack it and name the folder that comes of it",
        )
    elif look.head.startswith(b"SQLite format 3\0"):
        what = f"{path} is a store, or another SQLite database"
        hint = f"--store {path} takes it as the store, `pixtag copy {path} STORE` copies its posts"
    elif path.is_file():
        what = f"{path} is not a file of posts"
        hint = "JSON Lines, CSV and Parquet are read, plain or as .gz or .zst"
        if not look.head.strip():
            what, hint = f"{path} is empty", "check that it was written to its end"
        elif look.text.startswith("["):
            what = f"{path} is one JSON list"
            hint = (
                "for Instagram's own archive name its folder or zip; else write one object a line"
            )
        elif path.suffix.lower() in PHOTO_SUFFIXES:
            what, hint = f"{path} is a photo, not posts", "name the folder of photos with keywords"
        else:
            encoding(look.head, path)  # it says of an unknown encoding that it is one
    elif any(Path(name).suffix.lower() in PHOTO_SUFFIXES for name in look.names):
        what = f"the photos in {path} come without tags"
        hint = "put NAME.txt beside NAME.jpg (line 1: tags, line 2: user), write keywords into the "
        hint += "photos, or name them in a posts.jsonl"
    return ArchiveError(what, hint=hint)


def import_posts(
    sources: Sequence[Source],
    store: Store,
    *,
    user_id: str | None = None,
    only_for: str | None = None,
    join_comments: bool = True,
    private: bool = False,
    keep_copies: bool = False,
    now: float | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> ImportReport:
    """Read posts into a store in batches, of which a finished one stays; nothing comes twice.

    With `only_for` every post becomes that person's, whoever the source names: it neither replaces
    nor renames what is another's, and photos come from within archives alone.

    `user_id`, `join_comments`, `private` and `keep_copies` as for `Context`; without a `user_id`,
    what names nobody stays with whom it was given to before, or goes to the person of a store that
    holds nobody else's posts. Posts after `now` (Unix seconds UTC; the clock when None) are told as
    a problem. `on_progress` gets posts read and, once known, expected. ArchiveError: a source
    cannot be read. StoreError: the store cannot be written.
    """
    names = [(", ".join(map(str, source.paths)), source.kind) for source in sources]
    report = ImportReport(sources=tuple(names))
    only = _only_person(store) if only_for is None else None
    photos = store.photos_folder
    context = Context(
        report, photos, keep_copies, user_id, join_comments, private, only_for, only_person=only
    )
    if any(source.kind == "folders" for source in sources):
        labelled = (post for post in store.posts() if post.post_id.startswith("folder-"))
        known = {post.photos[0].path: post.post_id for post in labelled if post.photos}
        origins = {path: i for path, i in context.origins().items() if i in {*known.values()}}
        context.known_ids = known | origins
    latest = time.time() if now is None else now

    # Joining accounts is for those who may reach all of them.
    joined = [one.kind for one in sources if one.kind in SERVICES and only_for is None]
    again = {kind: Again(store, kind) for kind in joined}

    # What names nobody stays with whom it was given to when it was read before.
    has_owners = bool(store.people(at_most=1))

    def counted() -> Iterator[Post]:
        for source in sources:
            for read in READERS[source.kind].read(source.paths, context):
                post = read
                if only_for is not None:
                    own = own_post_id(store, read.post_id, only_for)
                    post = replace(read, post_id=own, user_id=only_for)
                if post.user_id is None and has_owners:
                    post = replace(post, user_id=user_of(store, post.post_id)[1])
                report.count(post, now=latest)
                if source.kind in again:
                    again[source.kind].note(post)
                yield post

    def tell(n_done: int) -> None:
        if on_progress is not None:
            on_progress(n_done, max(report.n_expected, n_done) if report.n_expected else None)

    result = store.add_posts(counted(), on_progress=tell)
    report.added, report.updated, report.unchanged = result.added, result.updated, result.unchanged
    for one in again.values():
        one.settle(report)
    return report


def _only_person(store: Store) -> str | None:
    if len(store.people(at_most=2)) != 1:
        return None
    summary = store.summary()
    ((person, n_posts),) = summary.posts_per_person
    return person if n_posts == summary.n_posts else None


def export_posts(
    store: Store, out: Path, *, user_id: str | None = None, on_progress: OnWritten | None = None
) -> int:
    """Write one person's or all posts as JSON Lines; importing them gives the same posts again.

    The file is replaced at once when all is written; a name in .gz is compressed. Gives, and calls
    `on_progress` with, the number of posts. InputError: it is the store itself or no plain file.
    """
    n_posts = 0
    with replacing(out, inputs=[store.path]) as plain, ExitStack() as opened:
        file: IO[bytes] | gzip.GzipFile = plain
        if out.suffix == ".gz":
            file = opened.enter_context(gzip.GzipFile("", "wb", mtime=0, fileobj=plain))
        for n_posts, post in enumerate(store.posts(user_id=user_id), start=1):
            file.write(post_line(post))
            if on_progress is not None:
                on_progress(n_posts)
    return n_posts


def post_line(post: Post) -> bytes:
    """Write one post as JSON; its photos stand as absolute paths: none as "", several as a list."""
    paths = [photo.path for photo in post.photos]
    record = {
        "post_id": post.post_id,
        "user_id": post.user_id,
        "posted_at": iso_time(post.posted_at),
        "image": "" if not paths else paths[0] if len(paths) == 1 else paths,
        "tags": list(post.tags),
    }
    try:
        return json.dumps(record, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # a path that is no valid Unicode: escaped, it reads back the same
        return json.dumps(record).encode() + b"\n"
