"""Tags of other servers beside those of the store: candidates, and by how much they rise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from pixtag.evidence import MOST_KEYS, Crowd, Evidence, seconds
from pixtag.types import Bools, Doubles, Floats, Ints

if TYPE_CHECKING:
    from pixtag.signals.asked import Asked, Pairs

WINDOWS_HOURS = (1.0, 6.0, 24.0, 72.0, 168.0)

LEAST_RISE = 1.5
"""Rates below this many times the usual one are everyday noise."""

RISE_SHARE = 0.25
"""Of the log of that many times, what log odds move by."""

MAY_FIT, LEAST_FIT = 0.4, 0.7
"""Cosine of a tag's words and of what a photo shows from which the tag is a candidate, and from
which it says what the photo shows; the latter chosen on labelled photos (docs/trends.md)."""


@dataclass(frozen=True)
class Heard:
    """What a block of questions hears from outside.

    Shapes:
        B: questions. E: (question, tag), ascending by question. W: windows. P: pairs.

    Attributes:
        crowds: What each question hears, `[B]`; None for nothing.
        question, tag: `[E]`. place: Place of the tag in its question's crowd, `[E]`.
        new: Names of tags that neither the store nor somebody who typed knows, by name.
    """

    crowds: list[Crowd | None]
    question: Ints
    tag: Ints
    place: Ints
    new: list[str]

    @classmethod
    def of(cls, view: Evidence, tick: Ints, typed: dict[str, int], n_tags: int) -> Heard | None:
        """Hear what is known at moments `[B]`; new tags get ids from `n_tags` on. None: nothing."""
        if view.outside is None:
            return None
        crowds = [view.outside.at(seconds(t), WINDOWS_HOURS) for t in tick.tolist()]
        heard = [() if crowd is None else crowd.tags for crowd in crowds]
        if not any(heard):
            return None
        ids = {name: typed.get(name, view.id_of(name)) for tags in heard for name in tags}
        new = sorted(name for name, known in ids.items() if known < 0)
        ids |= {name: n_tags + i for i, name in enumerate(new)}
        n = [len(tags) for tags in heard]
        return cls(
            crowds=crowds,
            question=np.repeat(np.arange(len(tick)), n),
            tag=np.array([ids[name] for tags in heard for name in tags], np.int64),
            place=np.concatenate([np.arange(count) for count in n]),
            new=new,
        )

    def ties(self) -> Ints:
        """Numbers that decide ties between new tags, behind those that are known."""
        hashes = np.fromiter((crc32(name.encode()) for name in self.new), np.int64, len(self.new))
        return 2 * MOST_KEYS + hashes

    def column(self, name: str) -> Doubles:
        """A column of the crowds, `[..., E]`."""
        parts = [np.asarray(getattr(c, name), np.float64) for c in self.crowds if c is not None]
        return np.concatenate(parts, axis=-1)

    def propose(self, asked: Asked, *, limit: int) -> tuple[Ints, Ints]:
        """Of each question the tags that rise most, that most use, and that fit the photo best."""
        week, fit = self.column("people")[-1], self.fit(asked)
        found: list[Ints] = []
        for strength in (self.column("rise"), week, np.where(fit >= MAY_FIT, fit, 0.0)):
            order = np.lexsort((asked.ties[self.tag], -strength, self.question))
            n = np.bincount(self.question, minlength=len(asked))
            rank = np.arange(len(order)) - (np.cumsum(n) - n)[self.question[order]]
            found.append(order[(rank < limit) & (strength[order] > 0)])
        best = np.concatenate(found)
        return self.question[best], self.tag[best]

    def fit(self, asked: Asked) -> Floats:
        """How well the words of each tag fit the photo, `[E]`; 0 without a photo."""
        words, seen = asked.knowledge.words, asked.has_photo
        if words is None or not seen.any():
            return np.zeros(len(self.tag), np.float32)
        vectors = words.tag_vectors([asked.names[t] for t in self.tag.tolist()])
        return np.einsum("ew,ew->e", vectors, asked.looks.words[self.question])

    def fitting(self, asked: Asked, question: int, tags: Ints, fit: Floats) -> list[int]:
        """The tag beyond the vocabulary that rises and says best what a photo shows, if any does.

        Pixels cannot speak for such a tag, only its words can.

        Args:
            asked: The block.
            question: Of the block.
            tags: Candidates, `[C]`.
            fit: Cosine of their words and the photo, `[C]`.

        Returns:
            Its place among the candidates, or nothing.
        """
        mine = self.question == question
        rises = np.isnan(self.column("usual")) | (self.column("times") >= LEAST_RISE)
        told = np.isin(tags, self.tag[mine & rises]) & (tags >= len(asked.knowledge.vocabulary))
        strength = np.where(told & (fit >= LEAST_FIT), np.round(fit, 4), 0.0)
        best = np.lexsort((asked.ties[tags], -strength))[:1]
        return best[strength[best] > 0].tolist()

    def lifts(self, question: int, tags: Ints) -> Floats:
        """What the log odds of candidates `[C]` move by where they rise, 0 elsewhere, `[C]`.

        By counting: no network has learned from counts of other servers.
        """
        times = self.column("times")
        rises = (self.question == question) & (times >= LEAST_RISE)
        lift = RISE_SHARE * np.log(times[rises])
        of = dict(zip(self.tag[rises].tolist(), lift.tolist(), strict=True))
        return np.array([of.get(tag, 0.0) for tag in tags.tolist()], np.float32)

    def said(self, question: int, tag: int) -> tuple[Crowd, int] | None:
        """The crowd of a question and the place of a tag in it; None for a tag it doesn't name."""
        crowd = self.crowds[question]
        found = np.flatnonzero((self.question == question) & (self.tag == tag))
        return None if crowd is None or not len(found) else (crowd, int(self.place[found[0]]))

    def of_pairs(self, asked: Asked, pairs: Pairs) -> Bools:
        """Which pairs the crowd of their question names, `[P]`."""
        return pairs.among(self.question, self.tag)
