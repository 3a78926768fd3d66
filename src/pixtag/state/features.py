"""What the network reads of each candidate and each query: names, and the arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixtag.signals.cooccurrence import CoOccurrence
from pixtag.signals.counts import Counts
from pixtag.signals.habits import Habits
from pixtag.signals.memory import Neighbours, OwnMemory
from pixtag.signals.prototypes import Prototypes
from pixtag.signals.reuse import Reuse
from pixtag.signals.topics import TopicTaste
from pixtag.signals.trend import Trend
from pixtag.types import Bools, Floats, Ints

PIXEL_NAMES = (
    "head_log_prob",
    "head_known",
    "topic_log_chance",
    "bridge",
    "kinds",
    "words",
    "neighbour_share",
    *Prototypes.names,
)
HISTORY_NAMES = (*Reuse.names, *Habits.names, "own_memory_share")
TREND_NAMES = (*Trend.names,)
TASTE_NAMES = ("taste_broad", "taste_sharp", *TopicTaste.names)
GENERAL_NAMES = (*Counts.names, *CoOccurrence.names)
FEATURE_NAMES = (*PIXEL_NAMES, *HISTORY_NAMES, *TASTE_NAMES, *TREND_NAMES, *GENERAL_NAMES)
CONTEXT_NAMES = (
    "pixels_on",
    "history_on",
    "trend_on",
    "head_top",
    "head_entropy",
    *Neighbours.context_names,
    *Reuse.context_names,
    *TopicTaste.context_names,
    "posts_log",
)
FLOOR_LOG_PROB = -12.0
"""The head's log probability of a tag that it does not know."""

CHANCE_FLOOR = 1e-4
"""Below this the chance of a tag by the topics of a photo says nothing; its log starts here."""

INPUT_NAMES: dict[str, tuple[str, ...]] = {
    "features": FEATURE_NAMES,
    "context": CONTEXT_NAMES,
    "own_keys": OwnMemory.key_names,
    "near_keys": Neighbours.key_names,
}
"""Everything that the network reads, in order; a model's manifest holds the same names."""

TREND_LIKE = (
    "recent_prototype",
    "recent_share",
    "daily_rate_log",
    "weekday_lift",
    "first_seen_log_days",
)


@dataclass(frozen=True)
class Scored:
    """Candidates of some queries with everything that the network reads.

    Shapes:
        B: queries. C: candidates. S: features. X: context. M, N: slots of the two memories.

    Attributes:
        tag: Index into the state's tags, `[B, C]`; T pads.
        filled: Whether a place holds a candidate, `[B, C]`.
        features: As in `FEATURE_NAMES`, `[B, C, S]`.
        context: As in `CONTEXT_NAMES`, `[B, X]`.
        own_keys: `[B, M, F]`; own_filled: `[B, M]`.
        own_member: 1 where the post in a slot carries a candidate, `[B, C, M]`.
        near_keys: `[B, N, G]`; near_filled: `[B, N]`; near_member: `[B, C, N]`.
        own_rows: Post in each slot of the person's memory, `[B, M]`.
        near_rows: Post in each slot of the neighbours, `[B, N]`.
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


def join_scored(parts: Sequence[tuple[Ints, Scored]], *, n_tags: int) -> Scored:
    """Put blocks together; those with fewer places for candidates are padded.

    Args:
        parts: Where the queries of each block belong, `[B]`, and the block; all places are named.
        n_tags: T, which pads the tags.
    """
    n = sum(len(place) for place, _ in parts)
    width = max(scored.tag.shape[1] for _, scored in parts)

    def joined(name: str) -> NDArray[Any]:
        first = getattr(parts[0][1], name)
        by_candidate = name in {"tag", "filled", "features", "own_member", "near_member"}
        shape = (n, width, *first.shape[2:]) if by_candidate else (n, *first.shape[1:])
        out = np.full(shape, n_tags if name == "tag" else 0, first.dtype)
        for place, scored in parts:
            values = getattr(scored, name)
            if by_candidate:
                out[place, : values.shape[1]] = values
            else:
                out[place] = values
        return out

    return Scored(**{field.name: joined(field.name) for field in fields(Scored)})
