"""Frozen data classes that the rest of the package passes around."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
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
    """One image file of a post: absolute path, SHA-256 in hex (empty when it is unreadable)."""

    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class Post:
    """Something that a person published: photos (perhaps none), tags, a time.

    Attributes:
        post_id: Unique in a store.
        user_id: The person, or None when nobody is named.
        posted_at: Unix seconds UTC to the microsecond, or None: posts without a time teach pixels
            and co-occurrence and never enter history or trend.
        tags: Normalised, without '#', in the order of writing; `InputError` when one comes twice.
        photos: The images in order.
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
        post_ids: `[N]`.
        users: Names of the people, `[U]`.
        tags: `[T]`, each used at least once, in order of first appearance.
        user_of_post: Index into `users`, `[N]`; U for posts of nobody.
        at: Unix seconds UTC, `[N]`, ascending; `-inf` without a time.
        tag_start: Post i uses `tag_ids[tag_start[i]:tag_start[i + 1]]`, `[N + 1]`.
        tag_ids: Index into `tags`, `[E]`.
        has_photo: Whether a post has an embedding, `[N]`.
        embeddings: Mean of a post's photos, `[N, D]`; zeros without one, D = 0 without encoder.
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
        """Lay posts, in any order, out as columns; embeddings `[D]` by post_id."""
        known = embeddings or {}
        ordered = sorted(posts, key=lambda p: (_time(p), p.post_id))
        users: dict[str, int] = {}
        tags: dict[str, int] = {}
        for post in ordered:
            if post.user_id is not None:
                users.setdefault(post.user_id, len(users))
            for tag in post.tags:
                tags.setdefault(tag, len(tags))
        width = len(next(iter(known.values()))) if known else 0
        matrix = np.zeros((len(ordered), width), np.float16)
        has_photo = np.array([post.post_id in known for post in ordered], np.bool_)
        for row in np.flatnonzero(has_photo):
            matrix[row] = known[ordered[row].post_id]
        index: dict[str | None, int] = {None: len(users), **users}
        return cls(
            post_ids=[p.post_id for p in ordered],
            users=list(users),
            tags=list(tags),
            user_of_post=np.array([index[p.user_id] for p in ordered], np.int64),
            at=np.array([_time(p) for p in ordered], np.float64),
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

    @property
    def post_of_use(self) -> Ints:
        """Row of the post of each tag use, `[E]`."""
        return np.repeat(np.arange(len(self)), np.diff(self.tag_start))

    @property
    def person_of_post(self) -> Ints:
        """A number for the person of each post, `[N]`; every post of nobody is one of its own."""
        user, nobody = self.user_of_post, len(self.users)
        return np.where(user == nobody, nobody + np.arange(len(self)), user)

    def people_of_tags(self) -> Ints:
        """How many people used each tag, `[T]`; posts of nobody count one each."""
        n_tags = max(len(self.tags), 1)
        keys = np.unique(self.person_of_post[self.post_of_use] * n_tags + self.tag_ids)
        return np.bincount(keys % n_tags, minlength=len(self.tags))

    def tags_of(self, row: int) -> list[str]:
        """Tags of the post at `row`, in the order of writing."""
        start, stop = self.tag_start[row], self.tag_start[row + 1]
        return [self.tags[t] for t in self.tag_ids[start:stop]]

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> PostLog:
        """Keep posts by ascending indices or a mask `[N]`; people and tags keep their index."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.asarray(rows, np.int64)
        lengths = np.diff(self.tag_start)[index]
        start = np.cumsum([0, *lengths], dtype=np.int64)
        within = np.arange(start[-1]) - np.repeat(start[:-1], lengths)
        uses = np.repeat(self.tag_start[:-1][index], lengths) + within
        return replace(
            self,
            post_ids=[self.post_ids[i] for i in index],
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
            self.pixels and other.pixels, self.history and other.history, self.trend and other.trend
        )


@dataclass(frozen=True)
class Rankings:
    """Ranked tags for B posts, K each.

    Attributes:
        rows: Positions of the posts in the log, `[B]`.
        tag_ids: Index into `tags`, best first, `[B, K]`; `len(tags)` pads short rows.
        probs: Calibrated probability of each, `[B, K]`; 0 in the padding.
    """

    rows: Ints
    tag_ids: Ints
    probs: Floats
    tags: list[str]


@dataclass(frozen=True, slots=True)
class Reason:
    """One piece of evidence behind a suggestion.

    Attributes:
        source: `pixels`, `history`, `trend`, `general` (popularity, co-occurrence), or `lists`.
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
        prob: Calibrated probability of use; 0 for an always-added tag of which nothing is known.
        reasons: Strongest first.
    """

    tag: str
    prob: float
    reasons: tuple[Reason, ...] = ()


def _time(post: Post) -> float:
    return -np.inf if post.posted_at is None else post.posted_at
