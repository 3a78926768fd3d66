"""What an import counts and tells at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pixtag.tags import TagTally
from pixtag.times import NO_ZONE, iso_time, read_time
from pixtag.types import Post

_EXAMPLE_LENGTH = 160


@dataclass(slots=True)
class Problems:
    """Things that were not as they should be: how often each kind was met, and its first case."""

    counts: Counter[str] = field(default_factory=Counter[str])
    examples: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, kind: str, example: str, n_cases: int = 1) -> None:
        """Count cases of a kind (a few words); the example says where to look."""
        self.counts[kind] += n_cases
        self.examples.setdefault(kind, example[:_EXAMPLE_LENGTH])

    def read_time(self, value: object, where: str) -> float | None:
        """Read a time as `times.read_time` does, and count what is odd about it."""
        at, oddity = read_time(value)
        if oddity:
            self.add(oddity, f"{where}: {value if oddity == NO_ZONE else repr(value)}")
        return at

    def as_dict(self) -> dict[str, dict[str, object]]:
        """Give kind -> count and example, most frequent first."""
        return {
            kind: {"count": count, "example": self.examples[kind]}
            for kind, count in self.counts.most_common()
        }


@dataclass(slots=True)
class ImportReport:
    """What an import read and met: readers count in it while they read.

    Attributes:
        sources: What was read: path and kind of each source.
        problems: What was not as it should be.
        tags: What normalising changed and dropped.
        n_posts: Posts read: `added` to the store, `updated` or `unchanged` in it.
        n_photos: Photos of these posts, readable; `n_photos_copied` of them beside the store.
        n_tag_uses: Uses of tags.
        n_untimed: Posts without a time.
        n_videos: Videos left out, as `n_stories` and `n_reels`.
        n_comments_joined: Own comments whose hashtags were added to a post.
        n_texts_repaired: Captions and comments whose garbled characters were restored.
        n_expected: Posts that will come, as far as readers know; 0 while unknown.
        span: Earliest and latest time, Unix seconds UTC, or None.
    """

    sources: tuple[tuple[str, str], ...] = ()
    problems: Problems = field(default_factory=Problems)
    tags: TagTally = field(default_factory=TagTally)
    n_posts: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    n_photos: int = 0
    n_photos_copied: int = 0
    n_tag_uses: int = 0
    n_untimed: int = 0
    n_videos: int = 0
    n_stories: int = 0
    n_reels: int = 0
    n_comments_joined: int = 0
    n_texts_repaired: int = 0
    n_expected: int = 0
    span: tuple[float, float] | None = None
    _people: set[str] = field(default_factory=set[str])
    _tags: set[str] = field(default_factory=set[str])
    _seen: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def n_people(self) -> int:
        """People who posted."""
        return len(self._people)

    @property
    def n_tags(self) -> int:
        """Different tags."""
        return len(self._tags)

    @property
    def first_at(self) -> str | None:
        """Earliest time, ISO 8601 UTC, or None."""
        return iso_time(self.span[0]) if self.span else None

    @property
    def last_at(self) -> str | None:
        """Latest time, ISO 8601 UTC, or None."""
        return iso_time(self.span[1]) if self.span else None

    def count(self, post: Post, *, now: float) -> None:
        """Count a post that was read; one later than `now` and one met before are told."""
        self.n_posts += 1
        self.n_photos += sum(1 for photo in post.photos if photo.digest)
        self.n_tag_uses += len(post.tags)
        self._tags.update(post.tags)
        if post.user_id is not None:
            self._people.add(post.user_id)
        form, before = hash(post), self._seen.get(post.post_id)
        if before is not None:
            how = "" if before == form else " with other content, the last one holds"
            self.problems.add(f"same post again{how}", post.post_id)
        self._seen[post.post_id] = form
        at = post.posted_at
        if at is None:
            self.n_untimed += 1
            return
        if at > now:
            self.problems.add("time in the future, kept", f"{post.post_id}: {iso_time(at)}")
        first, last = self.span or (at, at)
        self.span = min(first, at), max(last, at)

    def as_dict(self) -> dict[str, object]:
        """Give the report as plain values, for `--json`."""
        return {
            "sources": [{"path": path, "kind": kind} for path, kind in self.sources],
            "posts": self.n_posts,
            "added": self.added,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "photos": self.n_photos,
            "photos_copied": self.n_photos_copied,
            "people": self.n_people,
            "tags": self.n_tags,
            "tag_uses": self.n_tag_uses,
            "untimed": self.n_untimed,
            "first_at": self.first_at,
            "last_at": self.last_at,
            "videos_skipped": self.n_videos,
            "stories_skipped": self.n_stories,
            "reels_skipped": self.n_reels,
            "comments_joined": self.n_comments_joined,
            "texts_repaired": self.n_texts_repaired,
            "tags_changed": dict(self.tags.changed.most_common()),
            "tags_dropped": dict(self.tags.dropped.most_common()),
            "tag_examples": self.tags.examples,
            "problems": self.problems.as_dict(),
        }
