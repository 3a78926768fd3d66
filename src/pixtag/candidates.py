"""`Candidates`: tags that may be suggested, with everything that the network reads of them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixtag.types import Bools, Floats, Ints


@dataclass(frozen=True)
class Candidates:
    """Candidates of some questions with everything that the network reads.

    Shapes:
        B: questions. C: candidates. S: features. X: context. M, N: slots of the two memories.

    Attributes:
        tag: Id, `[B, C]`; -1 pads.
        filled: Whether a place holds a candidate, `[B, C]`.
        features: `[B, C, S]`. context: `[B, X]`.
        own_keys: `[B, M, F]`. own_filled: `[B, M]`.
        own_member: 1 where the post in a slot carries a candidate, `[B, C, M]`.
        near_keys: `[B, N, G]`. near_filled: `[B, N]`. near_member: `[B, C, N]`.
        own_rows: Post in each slot of the person's memory, `[B, M]`.
        near_rows: Post in each slot of the neighbours, `[B, N]`; below zero in the prior.
    """

    tag: Ints
    filled: Bools
    features: Floats
    context: Floats
    own_keys: Floats
    own_filled: Bools
    own_member: Bools
    near_keys: Floats
    near_filled: Bools
    near_member: Bools
    own_rows: Ints
    near_rows: Ints

    def __len__(self) -> int:
        return len(self.tag)

    def take(self, rows: Ints) -> Candidates:
        """Some of the questions."""
        return Candidates(**{f.name: getattr(self, f.name)[rows] for f in fields(Candidates)})

    @property
    def inputs(self) -> dict[str, Floats]:
        """What the network reads, as numbers."""
        names = ("features", "context", "own_keys", "near_keys")
        flags = ("own_filled", "own_member", "near_filled", "near_member")
        return {n: getattr(self, n).astype(np.float32, copy=False) for n in (*names, *flags)}


def join_candidates(parts: list[tuple[Ints, Candidates]]) -> Candidates:
    """Put blocks together; those with fewer places for candidates are padded.

    The list is emptied on the way, so that memory is not needed twice.

    Args:
        parts: Where the questions of each block belong, `[B]`, and the block.
    """
    n = sum(len(place) for place, _ in parts)
    width = max(part.tag.shape[1] for _, part in parts)
    places = [place for place, _ in parts]
    arrays = [dict(vars(part)) for _, part in parts]
    parts.clear()

    def joined(name: str) -> NDArray[Any]:
        first = arrays[0][name]
        by_candidate = name in {"tag", "filled", "features", "own_member", "near_member"}
        shape = (n, width, *first.shape[2:]) if by_candidate else (n, *first.shape[1:])
        out = np.full(shape, -1, first.dtype) if name == "tag" else np.zeros(shape, first.dtype)
        for place, part in zip(places, arrays, strict=True):
            values = part.pop(name)
            if by_candidate:
                out[place, : values.shape[1]] = values
            else:
                out[place] = values
        return out

    return Candidates(**{f.name: joined(f.name) for f in fields(Candidates)})
