"""What a view gives: ids of names, a person's posts, totals and counts as of moments."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pixtag.types import Bools, Ints

NOBODY = -1
"""The person of a post that nobody is named for, and of a stranger who asks."""


class Names:
    """Names and their ids, in the order of first appearance; shared by views, only ever grows."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = list(names)
        self._index = {name: i for i, name in enumerate(self.names)}
        self._n_fixed = len(self.names)
        self._ties = np.arange(self._n_fixed, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.names)

    def get(self, name: str, default: int = NOBODY) -> int:
        """The id of a name, or the default."""
        return self._index.get(name, default)

    def find(self, names: Sequence[str]) -> Ints:
        """The ids of names, `[N]`; `NOBODY` for unknown ones."""
        return np.array([self._index.get(name, NOBODY) for name in names], np.int64)

    def ids_of(self, names: Sequence[str]) -> Ints:
        """The ids of names, `[N]`; new names get the next ids."""
        for name in names:
            if name not in self._index:
                self.names.append(name)
                self._index[name] = len(self.names) - 1
        return np.fromiter((self._index[name] for name in names), np.int64, len(names))

    def ties(self) -> Ints:
        """A number for each name that decides ties, `[T]`; it depends on the name alone.

        Fixed names (a vocabulary) come first, in their order.
        """
        ties, n = self._ties, len(self.names)  # read once: other threads may make them longer
        if len(ties) < n:
            new = self.names[len(ties) : n]
            hashes = np.fromiter((zlib.crc32(name.encode()) for name in new), np.int64, len(new))
            ties = self._ties = np.concatenate([ties, self._n_fixed + hashes])
        return ties


@dataclass(frozen=True)
class OwnPosts:
    """All earlier posts of the people who ask, in time order.

    Shapes:
        B: questions. H: posts. A: tag uses.

    Attributes:
        question: Question of each post, `[H]`, ascending.
        slot: Post in the view, `[H]`; -1 for one that was typed in.
        tick: When, `[H]`.
        place: Place in the person's order, `[H]`, from 0.
        n: Posts of each question's person, `[B]`.
        photo: Row of the photo, `[H]`; -1 without one.
        n_tags: Tags of each post, `[H]`.
        post: Post of each use, `[A]`, ascending.
        tag: `[A]`.
    """

    question: Ints
    slot: Ints
    tick: Ints
    place: Ints
    n: Ints
    photo: Ints
    n_tags: Ints
    post: Ints
    tag: Ints

    @cached_property
    def start(self) -> Ints:
        """First post of each question, `[B]`."""
        return np.cumsum(self.n) - self.n

    @cached_property
    def rank(self) -> Ints:
        """Posts of the same person after each one, `[H]`."""
        return np.cumsum(self.n)[self.question] - 1 - np.arange(len(self.question))

    def last(self, limit: int) -> OwnPosts:
        """The last `limit` posts of each question."""
        if self.n.max(initial=0) <= limit:
            return self
        return self.select(self.rank < limit)

    def select(self, kept: Bools) -> OwnPosts:
        """Some of the posts; `place` and `n` count them."""
        if kept.all():
            return self
        number = np.cumsum(kept) - 1
        uses = kept[self.post]
        question = self.question[kept]
        n = np.bincount(question, minlength=len(self.n))
        return OwnPosts(
            question=question,
            slot=self.slot[kept],
            tick=self.tick[kept],
            place=np.arange(len(question)) - (np.cumsum(n) - n)[question],
            n=n,
            photo=self.photo[kept],
            n_tags=self.n_tags[kept],
            post=number[self.post[uses]],
            tag=self.tag[uses],
        )


@dataclass(frozen=True)
class Totals:
    """What the whole of the past comes to, at each moment `[B]`.

    Attributes:
        posts: Posts before it.
        started: Tick of the first post with a time; `LAST_TICK` before any.
    """

    posts: Ints
    started: int


@dataclass(frozen=True)
class Counts:
    """What is counted of pairs of a tag and a moment, `[P]` each.

    Attributes:
        people: Distinct people who used the tag before; a post of nobody is a person of its own.
        uses: Posts with it.
        days: Distinct (person, UTC day) uses. on_weekday: Those on the moment's weekday.
        first: Tick of the first use with a time; `LAST_TICK` when there is none.
    """

    people: Ints
    uses: Ints
    days: Ints
    on_weekday: Ints
    first: Ints
