"""Importing: from paths to posts in a store, and a report."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pixtag.ingest.context import Context
from pixtag.ingest.photos import PhotoKeeper
from pixtag.ingest.report import ImportReport, Tally
from pixtag.times import iso_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pixtag.ingest.detect import Source
    from pixtag.store import Store
    from pixtag.types import Post


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

    def tell(n_done: int) -> None:
        if on_progress is not None:
            on_progress(n_done, max(tally.n_expected, n_done) if tally.n_expected else None)

    result = store.add_posts(census.count(_read_all(sources, context)), on_progress=tell)
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


def _read_all(sources: Sequence[Source], context: Context) -> Iterator[Post]:
    for source in sources:
        yield from _read(source, context)


def _read(source: Source, context: Context) -> Iterable[Post]:
    # Imported one by one: reading JSON Lines must not load what reading Parquet needs.
    match source.kind:
        case "jsonl":
            from pixtag.ingest.records import read_json_lines

            return read_json_lines(source.paths[0], context)
        case "csv":
            from pixtag.ingest.records import read_csv

            return read_csv(source.paths[0], context)
        case "parquet":
            from pixtag.ingest.records import read_parquet

            return read_parquet(source.paths[0], context)
        case "folders":
            from pixtag.ingest.folders import read_folders

            return read_folders(source.paths[0], context)
        case "instaloader":
            from pixtag.ingest.instaloader import read_instaloader

            return read_instaloader(source.paths[0], context)
        case "instagram":
            from pixtag.ingest.instagram import read_instagram

            return read_instagram(source.paths, context)


class _Census:
    """Counts posts as they pass."""

    def __init__(self, tally: Tally, now: float) -> None:
        self._tally = tally
        self._now = now
        self._seen: dict[str, int] = {}
        self.n_posts = 0
        self.n_photos = 0
        self.n_tag_uses = 0
        self.n_untimed = 0
        self.people: set[str] = set()
        self.tags: set[str] = set()
        self.first_at: float | None = None
        self.last_at: float | None = None

    def count(self, posts: Iterable[Post]) -> Iterator[Post]:
        """Pass posts on, counted."""
        for post in posts:
            self._count(post)
            yield post

    def _count(self, post: Post) -> None:
        problems = self._tally.problems
        form = hash(post)
        before = self._seen.get(post.post_id)
        if before == form:
            problems.add("same post again", post.post_id)
        elif before is not None:
            problems.add("same post again with other content, the last one holds", post.post_id)
        self._seen[post.post_id] = form
        self.n_posts += 1
        self.n_photos += sum(1 for photo in post.photos if photo.digest)
        self.n_tag_uses += len(post.tags)
        self.tags.update(post.tags)
        if post.user_id is not None:
            self.people.add(post.user_id)
        if post.posted_at is None:
            self.n_untimed += 1
            return
        if post.posted_at > self._now:
            problems.add("time in the future, kept", f"{post.post_id}: {iso_time(post.posted_at)}")
        if self.first_at is None or post.posted_at < self.first_at:
            self.first_at = post.posted_at
        if self.last_at is None or post.posted_at > self.last_at:
            self.last_at = post.posted_at
