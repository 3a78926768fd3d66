"""A person's hashtags, for looking at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixtag.store import Store


@dataclass(frozen=True, slots=True)
class TagHistory:
    """How a person used one tag.

    Attributes:
        tag: The tag.
        n_uses: Posts that carry it.
        first_at: First use with a time, Unix seconds UTC, or None.
        last_at: Last use with a time, Unix seconds UTC, or None.
    """

    tag: str
    n_uses: int
    first_at: float | None
    last_at: float | None


@dataclass(frozen=True, slots=True)
class PersonHistory:
    """A person's posts and tags.

    Attributes:
        n_posts: Posts.
        n_untimed: Posts among them without a time.
        uses: Tags, most used first, then the latest, then by name.
    """

    n_posts: int
    n_untimed: int
    uses: tuple[TagHistory, ...]


def person_history(store: Store, user_id: str, *, before: float | None = None) -> PersonHistory:
    """Sum up which tags a person used.

    Args:
        store: The store.
        user_id: The person.
        before: Only posts before this time, Unix seconds UTC; then those without a time are
            left out. All when None.
    """
    times: dict[str, list[float]] = {}
    counts: dict[str, int] = {}
    n_posts = n_untimed = 0
    for post in store.posts(user_id=user_id):
        if before is not None and (post.posted_at is None or post.posted_at >= before):
            continue
        n_posts += 1
        n_untimed += post.posted_at is None
        for tag in post.tags:
            counts[tag] = counts.get(tag, 0) + 1
            if post.posted_at is not None:
                times.setdefault(tag, []).append(post.posted_at)
    uses: list[TagHistory] = []
    for tag, n_uses in counts.items():
        at = times.get(tag)  # ascending, as the posts came
        uses.append(TagHistory(tag, n_uses, at[0] if at else None, at[-1] if at else None))
    uses.sort(key=lambda use: (-use.n_uses, -(use.last_at or 0.0), use.tag))
    return PersonHistory(n_posts, n_untimed, tuple(uses))
