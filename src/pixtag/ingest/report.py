"""What an import counts and tells at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pixtag.tags import TagTally
from pixtag.times import NO_ZONE, read_time

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
class Tally:
    """Everything that readers count while they read.

    Attributes:
        problems: What was not as it should be.
        tags: What normalising changed and dropped.
        n_videos: Videos left out.
        n_stories: Stories left out.
        n_reels: Reels left out.
        n_comments_joined: Own comments whose hashtags were added to a post.
        n_texts_repaired: Captions and comments whose garbled characters were restored.
        n_photos_copied: Photos of which a copy was put beside the store.
        n_expected: Posts that will come, as far as readers know; 0 while unknown.
    """

    problems: Problems = field(default_factory=Problems)
    tags: TagTally = field(default_factory=TagTally)
    n_videos: int = 0
    n_stories: int = 0
    n_reels: int = 0
    n_comments_joined: int = 0
    n_texts_repaired: int = 0
    n_photos_copied: int = 0
    n_expected: int = 0


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The end of an import.

    Attributes:
        sources: What was read: path and kind of each source.
        n_posts: Posts read: `added` to the store, `updated` or `unchanged` in it.
        n_photos: Photos of these posts, readable.
        n_people: People who posted.
        n_tags: Different tags, used `n_tag_uses` times.
        n_untimed: Posts without a time.
        first_at: Earliest time, ISO 8601 UTC, or None.
        last_at: Latest time, ISO 8601 UTC, or None.
        tally: What else was counted.
    """

    sources: tuple[tuple[str, str], ...]
    n_posts: int
    added: int
    updated: int
    unchanged: int
    n_photos: int
    n_people: int
    n_tags: int
    n_tag_uses: int
    n_untimed: int
    first_at: str | None
    last_at: str | None
    tally: Tally

    def as_dict(self) -> dict[str, object]:
        """Give the report as plain values, for `--json`."""
        tally = self.tally
        return {
            "sources": [{"path": path, "kind": kind} for path, kind in self.sources],
            "posts": self.n_posts,
            "added": self.added,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "photos": self.n_photos,
            "photos_copied": tally.n_photos_copied,
            "people": self.n_people,
            "tags": self.n_tags,
            "tag_uses": self.n_tag_uses,
            "untimed": self.n_untimed,
            "first_at": self.first_at,
            "last_at": self.last_at,
            "videos_skipped": tally.n_videos,
            "stories_skipped": tally.n_stories,
            "reels_skipped": tally.n_reels,
            "comments_joined": tally.n_comments_joined,
            "texts_repaired": tally.n_texts_repaired,
            "tags_changed": dict(tally.tags.changed.most_common()),
            "tags_dropped": dict(tally.tags.dropped.most_common()),
            "tag_examples": tally.tags.examples,
            "problems": tally.problems.as_dict(),
        }
