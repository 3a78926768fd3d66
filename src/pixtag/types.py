"""Frozen data classes that the rest of the package passes around."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixtag.errors import InputError

Floats = NDArray[np.float32]
Halfs = NDArray[np.float16]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
Smalls = NDArray[np.int32]
Numbers = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Photo:
    """One image file of a post.

    Attributes:
        path: Where the file lies, absolute.
        digest: SHA-256 of its bytes in hex; empty when the file could not be read.
    """

    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class Post:
    """Something that a person published: photos (perhaps none), tags, a time.

    Attributes:
        post_id: Unique in a store.
        user_id: The person, or None when nobody is named.
        posted_at: Unix seconds UTC to the microsecond, or None when the time is unknown. Posts
            without a time teach pixels and co-occurrence and never enter history or trend.
        tags: Normalised, without '#', in the order of writing, each once.
        photos: The images in order.

    Raises:
        InputError: A tag comes twice.
    """

    post_id: str
    user_id: str | None
    posted_at: float | None
    tags: tuple[str, ...]
    photos: tuple[Photo, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.tags)) != len(self.tags):
            twice = next(tag for i, tag in enumerate(self.tags) if tag in self.tags[:i])
            raise InputError(
                f"post {self.post_id!r} has the tag {twice!r} twice",
                hint="give each tag once: tuple(dict.fromkeys(tags))",
            )


@dataclass(frozen=True)
class PostLog:
    """Many posts as columns, in time order; what replay, training and evaluation read.

    Posts without a time come first, with `at = -inf`; then by time, ties by post_id.

    Shapes:
        N: posts. E: tag uses of all posts. D: embedding width. U: people. T: tags.

    Attributes:
        post_ids: Names of the posts, `[N]`.
        users: Names of the people, `[U]`.
        tags: Tags, `[T]`, each used at least once, in order of first appearance.
        user_of_post: Index into `users`, `[N]`; U for posts of nobody.
        at: Unix seconds UTC, `[N]`, ascending; `-inf` without a time.
        tag_start: Post i uses `tag_ids[tag_start[i]:tag_start[i + 1]]`, `[N + 1]`.
        tag_ids: Index into `tags`, `[E]`.
        has_photo: Whether a post has an embedding, `[N]`.
        embeddings: Mean embedding of a post's photos, `[N, D]`; zeros without one. D = 0 when no
            encoder was asked for.
    """

    post_ids: list[str]
    users: list[str]
    tags: list[str]
    user_of_post: Ints
    at: Doubles
    tag_start: Ints
    tag_ids: Ints
    has_photo: Bools
    embeddings: Halfs

    @classmethod
    def of(cls, posts: Iterable[Post], embeddings: Mapping[str, Halfs] | None = None) -> PostLog:
        """Lay posts out as columns.

        Args:
            posts: In any order.
            embeddings: Embedding of each post that has a photo, by post_id, all `[D]`.

        Returns:
            The log; with D = 0 when no embedding is given.
        """
        known = embeddings or {}
        ordered = sorted(
            posts,
            key=lambda p: (-np.inf if p.posted_at is None else p.posted_at, p.post_id),
        )
        users: dict[str, int] = {}
        tags: dict[str, int] = {}
        for post in ordered:
            if post.user_id is not None:
                users.setdefault(post.user_id, len(users))
            for tag in post.tags:
                tags.setdefault(tag, len(tags))
        width = len(next(iter(known.values()))) if known else 0
        matrix = np.zeros((len(ordered), width), np.float16)
        has_photo = np.zeros(len(ordered), np.bool_)
        for row, post in enumerate(ordered):
            if post.post_id in known:
                matrix[row], has_photo[row] = known[post.post_id], True
        return cls(
            post_ids=[p.post_id for p in ordered],
            users=list(users),
            tags=list(tags),
            user_of_post=np.array(
                [len(users) if p.user_id is None else users[p.user_id] for p in ordered], np.int64
            ),
            at=np.array(
                [-np.inf if p.posted_at is None else p.posted_at for p in ordered], np.float64
            ),
            tag_start=np.cumsum([0, *(len(p.tags) for p in ordered)], dtype=np.int64),
            tag_ids=np.array([tags[t] for p in ordered for t in p.tags], np.int64),
            has_photo=has_photo,
            embeddings=matrix,
        )

    def __len__(self) -> int:
        return len(self.post_ids)

    @property
    def n_untimed(self) -> int:
        """How many posts at the front have no time."""
        return int(np.searchsorted(self.at, -np.inf, side="right"))

    def tags_of(self, row: int) -> list[str]:
        """Tags of the post at `row`, in the order of writing."""
        start, stop = self.tag_start[row], self.tag_start[row + 1]
        return [self.tags[t] for t in self.tag_ids[start:stop]]

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> PostLog:
        """Keep only some posts, in their order; people and tags keep their index.

        Args:
            rows: Indices, ascending, or a mask `[N]`.
        """
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.asarray(rows, np.int64)
        lengths = np.diff(self.tag_start)[index]
        start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        within = np.arange(start[-1]) - np.repeat(start[:-1], lengths)
        uses = np.repeat(self.tag_start[:-1][index], lengths) + within
        return PostLog(
            post_ids=[self.post_ids[i] for i in index],
            users=self.users,
            tags=self.tags,
            user_of_post=self.user_of_post[index],
            at=self.at[index],
            tag_start=start,
            tag_ids=self.tag_ids[uses],
            has_photo=self.has_photo[index],
            embeddings=self.embeddings[index],
        )


@dataclass(frozen=True, slots=True)
class Sources:
    """Which of the three sources of evidence may speak."""

    pixels: bool = True
    history: bool = True
    trend: bool = True

    @property
    def name(self) -> str:
        """As written in reports: `pixels+history`, or `nothing`."""
        on = [n for n in ("pixels", "history", "trend") if getattr(self, n)]
        return "+".join(on) or "nothing"

    def __and__(self, other: Sources) -> Sources:
        """Those that speak in both."""
        return Sources(
            self.pixels and other.pixels,
            self.history and other.history,
            self.trend and other.trend,
        )


@dataclass(frozen=True)
class Rankings:
    """Ranked tags for a run of posts.

    Shapes:
        B: posts. K: ranks kept.

    Attributes:
        rows: Positions of the posts in the log, `[B]`.
        tag_ids: Index into `tags`, best first, `[B, K]`; `len(tags)` pads short rows.
        probs: Calibrated probability of each, `[B, K]`; 0 in the padding.
        tags: The tags that `tag_ids` points into.
    """

    rows: Ints
    tag_ids: Ints
    probs: Floats
    tags: list[str]


@dataclass(frozen=True, slots=True)
class Reason:
    """One piece of evidence behind a suggestion.

    Attributes:
        source: `pixels`, `history`, `trend`, `general` (popularity, co-occurrence), or `lists`
            (a tag that is always added).
        text: For a person: "you used it 3 days ago, 12 times".
        weight: What it added to the score, natural log units.
    """

    source: str
    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A hashtag offered for a photo.

    Attributes:
        tag: Normalised, without '#'.
        prob: Calibrated probability that the person uses it; 0 for an always-added tag of which
            nothing is known.
        reasons: Strongest first.
    """

    tag: str
    prob: float
    reasons: tuple[Reason, ...] = field(default=())
