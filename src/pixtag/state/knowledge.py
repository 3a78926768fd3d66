"""What a state is given from a bundle: the head, the prior, the bridge and the words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pixtag.signals.head import Head
from pixtag.signals.topics import Topics
from pixtag.types import Bools, Doubles, Floats, Ints, PostLog


class StateConfig(BaseModel):
    """What the state offers to the network.

    Attributes:
        own_slots: Latest posts of the person that may be copied from.
        near_slots: Most similar posts of everyone that may be copied from.
        max_candidates: Candidates kept for a query.
        more_candidates: Most further candidates for people who used many tags: theirs.
        least_people: People who must have used a tag before others are offered it.
        counted_tags: Tags with co-occurrence counts (memory grows with the square).
        only_vocabulary: Offer no tag beyond the vocabulary (a fixed label set).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    own_slots: Annotated[int, Field(ge=1, le=512)] = 48
    near_slots: Annotated[int, Field(ge=1, le=512)] = 48
    max_candidates: Annotated[int, Field(ge=10, le=2000)] = 160
    more_candidates: Annotated[int, Field(ge=0, le=2000)] = 128
    least_people: Annotated[int, Field(ge=1)] = 3
    counted_tags: Annotated[int, Field(ge=1, le=8192)] = 2048
    only_vocabulary: bool = False


@dataclass(frozen=True)
class Knowledge:
    """What the state is given from a bundle and does not change.

    Shapes:
        V: vocabulary. J: joint space. K: encoder classes. D: encoder width.

    Attributes:
        vocabulary: Tags that the pixel head knows, `[V]`.
        head: The pixel head.
        prior: Anonymous posts without a time; embeddings are unit vectors in the joint space.
        prior_people: People who used each tag of the vocabulary elsewhere, `[V]`.
        bridge: From photos' embeddings to log tag weights over the vocabulary, or None.
        kinds: As the bridge, for kinds of photos that training had labels of, or None.
        topics: Kinds of photos that training found in pixels and tags, or None.
        words: From photos' embeddings and tags to similarity, or None.
    """

    vocabulary: list[str]
    head: Head
    prior: PostLog
    prior_people: Doubles
    bridge: BridgeSignal | None = None
    kinds: BridgeSignal | None = None
    topics: Topics | None = None
    words: WordsSignal | None = None

    def names_thing(self, tags: Ints) -> Bools:
        """Tell which tags the bridge or the kinds have as the name of a thing, `[C]`.

        Args:
            tags: Index into the state's tags, `[C]`: the vocabulary first, then others.
        """
        names = np.zeros(len(tags), np.bool_)
        known = tags < len(self.vocabulary)
        for bridge in (self.bridge, self.kinds):
            if bridge is not None:
                names[known] |= bridge.names[tags[known]]
        return names


class BridgeSignal(Protocol):
    """Interface of the bridge: encoder embeddings to tag scores."""

    covers: Bools
    """Which tags of the vocabulary a class leads to, `[V]`: words that are nobody's secret."""
    names: Bools
    """Which tags of the vocabulary some class leads to first, `[V]`: words for things."""

    def scores(self, embeddings: Floats) -> Floats:
        """Log of the expected weight of each tag of the vocabulary, `[B, V]`."""
        ...


class WordsSignal(Protocol):
    """Interface of the words signal."""

    def photo_vectors(self, embeddings: Floats) -> Floats:
        """Unit vectors of what the photos show, `[B, W]`."""
        ...

    def tag_vectors(self, tags: list[str]) -> Floats:
        """Unit vectors of tags, `[T, W]`; zeros for tags without known words."""
        ...
