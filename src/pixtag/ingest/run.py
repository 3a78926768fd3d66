"""Importing: from paths to posts in a store, and a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pixtag.errors import ArchiveError, InputError
from pixtag.ingest import folders, instagram, instaloader, records
from pixtag.ingest.context import PHOTO_SUFFIXES, Context, PhotoKeeper
from pixtag.ingest.files import Look
from pixtag.ingest.report import ImportReport, Tally
from pixtag.store import Store
from pixtag.times import iso_time
from pixtag.types import Post


@dataclass(frozen=True, slots=True)
class Reader:
    """How to read one kind of source.

    Attributes:
        looks_like: Gives what of a path is to be read (mostly the path itself) when it looks like
            this kind, else None.
        read: Yields the posts of the paths of one source, and counts what is odd.
        reads_zips: Whether the source may be zips, several of them together.
    """

    looks_like: Callable[[Look], Path | None]
    read: Callable[[Sequence[Path], Context], Iterable[Post]]
    reads_zips: bool = False


READERS: dict[str, Reader] = {
    "instagram": Reader(instagram.looks_like, instagram.read, reads_zips=True),
    "instaloader": Reader(instaloader.looks_like, instaloader.read),
    "jsonl": Reader(records.looks_like_json_lines, records.read_json_lines),
    "parquet": Reader(records.looks_like_parquet, records.read_parquet),
    "csv": Reader(records.looks_like_csv, records.read_csv),
    "folders": Reader(folders.looks_like, folders.read),
}
"""Every kind of source, the more particular before the more general: the first that fits reads."""

KINDS = tuple(READERS)


@dataclass(frozen=True, slots=True)
class Source:
    """Something to read posts from.

    Attributes:
        kind: How to read it, one of `KINDS`.
        paths: The file or folder; several zips of one archive together.
    """

    kind: str
    paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        """For people: the paths, joined."""
        return ", ".join(str(path) for path in self.paths)


def find_sources(paths: Sequence[str | Path], kind: str | None = None) -> list[Source]:
    """Tell what to read and how.

    Args:
        paths: Files and folders that somebody named.
        kind: One of `KINDS` to read all of them so, or None to look.

    Returns:
        Sources in the order of the paths; then the zips, all of one kind together as one archive.

    Raises:
        InputError: An unknown kind.
        ArchiveError: Nothing is there, or nothing that is known.
    """
    if kind is not None and kind not in READERS:
        raise InputError(f"unknown kind of source: {kind!r}", hint=f"one of {', '.join(KINDS)}")
    if not paths:
        raise InputError("no file or folder was named", hint="`pixtag import --help` has examples")
    packed: dict[str, list[Path]] = {}
    sources: list[Source] = []
    for path in map(Path, paths):
        if not path.exists():
            raise ArchiveError(f"there is nothing at {path}", hint="check the path")
        look = Look(path)
        is_open = kind is None or READERS[kind].reads_zips
        zips = [path] if look.is_zip else look.zips if is_open and look.has_only_zips else []
        for one in zips:
            packed.setdefault(_kind_of_zip(one) or _ZIP_KINDS[0], []).append(one)
        if not zips:
            sources += [Source(kind, (path,))] if kind is not None else _sources_at(look)
    return sources + [Source(k, tuple(zips)) for k, zips in packed.items()]


_ZIP_KINDS = [kind for kind, reader in READERS.items() if reader.reads_zips]


def _kind_of_zip(path: Path) -> str | None:
    look = Look(path)
    return next((kind for kind in _ZIP_KINDS if READERS[kind].looks_like(look)), None)


def _sources_at(look: Look) -> list[Source]:
    path = look.path
    for kind, reader in READERS.items():
        found = reader.looks_like(look)
        if found is not None:
            return [Source(kind, (found,))]
    if look.post_files:
        return [source for file in look.post_files for source in _sources_at(Look(file))]
    packed: dict[str, list[Path]] = {}
    for one in look.zips:
        if kind := _kind_of_zip(one):
            packed.setdefault(kind, []).append(one)
    if packed:
        return [Source(kind, tuple(zips)) for kind, zips in packed.items()]
    if path.is_file():
        raise _unknown_file(look)
    if any(Path(name).suffix.lower() in PHOTO_SUFFIXES for name in look.names):
        raise ArchiveError(
            f"the photos in {path} come without tags",
            hint="put NAME.txt beside NAME.jpg (line 1: tags, line 2: user), or name the photos "
            "in a posts.jsonl",
        )
    raise ArchiveError(
        f"{path} holds no posts that are known here",
        hint=f"name the file itself, or say what it is with --kind {'|'.join(KINDS)}",
    )


def _unknown_file(look: Look) -> ArchiveError:
    if not look.head.strip():
        return ArchiveError(f"{look.path} is empty", hint="check that it was written to its end")
    if look.head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        return ArchiveError(
            f"{look.path} is one JSON list",
            hint="for Instagram's own archive name its folder or zip; else write one object a line",
        )
    return ArchiveError(
        f"{look.path} is not a file of posts",
        hint="JSON Lines, CSV and Parquet are read, plain or as .gz or .zst",
    )


def import_posts(
    sources: Sequence[Source],
    store: Store,
    *,
    user_id: str | None = None,
    join_comments: bool = True,
    keep_copies: bool = False,
    now: float | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> ImportReport:
    """Read posts into a store. Running it again adds nothing twice.

    Args:
        sources: What to read, as `find_sources` found it.
        store: Where the posts go, in batches: what is committed stays when this is interrupted.
        user_id: The person, for sources that name nobody.
        join_comments: Whether hashtags of own comments made within ten minutes belong to a post.
        keep_copies: Keep a copy of every photo beside the store. Photos inside zips are always
            copied, since nothing could read them where they are.
        now: Unix seconds UTC after which a post lies in the future; the clock when None.
        on_progress: Called with posts read and, once known, posts expected.

    Returns:
        What was read, and every problem by kind.

    Raises:
        ArchiveError: A source cannot be read at all.
        StoreError: The store cannot be written.
    """
    tally = Tally()
    keeper = PhotoKeeper(store.photos_folder, keep_copies=keep_copies, tally=tally)
    context = Context(tally, keeper, user_id=user_id, join_comments=join_comments)
    census = _Census(tally, time.time() if now is None else now)
    posts = chain.from_iterable(READERS[one.kind].read(one.paths, context) for one in sources)

    def tell(n_done: int) -> None:
        if on_progress is not None:
            on_progress(n_done, max(tally.n_expected, n_done) if tally.n_expected else None)

    result = store.add_posts(census.count(posts), on_progress=tell)
    return ImportReport(
        sources=tuple((source.name, source.kind) for source in sources),
        n_posts=census.n_posts,
        added=result.added,
        updated=result.updated,
        unchanged=result.unchanged,
        n_photos=census.n_photos,
        n_people=len(census.people),
        n_tags=len(census.tags),
        n_tag_uses=census.n_tag_uses,
        n_untimed=census.n_untimed,
        first_at=iso_time(census.first_at),
        last_at=iso_time(census.last_at),
        tally=tally,
    )


class _Census:
    """Counts posts as they pass."""

    def __init__(self, tally: Tally, now: float) -> None:
        self._problems = tally.problems
        self._now = now
        self._seen: dict[str, int] = {}
        self.n_posts = self.n_photos = self.n_tag_uses = self.n_untimed = 0
        self.people: set[str] = set()
        self.tags: set[str] = set()
        self.first_at: float | None = None
        self.last_at: float | None = None

    def count(self, posts: Iterable[Post]) -> Iterator[Post]:
        """Pass posts on, counted."""
        for post in posts:
            self._count_repeats(post)
            self.n_posts += 1
            self.n_photos += sum(1 for photo in post.photos if photo.digest)
            self.n_tag_uses += len(post.tags)
            self.tags.update(post.tags)
            if post.user_id is not None:
                self.people.add(post.user_id)
            if post.posted_at is None:
                self.n_untimed += 1
            else:
                self._count_time(post.post_id, post.posted_at)
            yield post

    def _count_repeats(self, post: Post) -> None:
        form = hash(post)
        before = self._seen.get(post.post_id, form)
        if before != form:
            how = "same post again with other content, the last one holds"
            self._problems.add(how, post.post_id)
        elif post.post_id in self._seen:
            self._problems.add("same post again", post.post_id)
        self._seen[post.post_id] = form

    def _count_time(self, post_id: str, at: float) -> None:
        if at > self._now:
            self._problems.add("time in the future, kept", f"{post_id}: {iso_time(at)}")
        self.first_at = at if self.first_at is None else min(self.first_at, at)
        self.last_at = at if self.last_at is None else max(self.last_at, at)
