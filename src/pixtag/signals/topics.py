"""Topics: kinds of photos that show themselves in pixels and in tags, learned without labels.

What a photo is about is never told, but pixels and tags together give it away: a mixture in which
each topic has its look and its tags (expectation maximisation; training is in `train/topics.py`).
A new photo's topic is guessed from its pixels alone, that of an earlier post from its pixels and
its tags. What the person used whenever the topic was the same is the best evidence there is for
the next time.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from pixtag.evidence import is_first
from pixtag.types import Floats, Ints

TAGS_COUNT = 0.5
"""Tags of one post are less than independent evidence: their log likelihood counts this much."""


class Topics:
    """A mixture of topics over the joint space and the vocabulary.

    Shapes:
        J: joint space. K: topics. V: vocabulary. B: photos. N: posts.

    Args:
        weight: From the joint space to topic logits, `[J, K]`.
        bias: `[K]`.
        chance: Of each tag on a photo of each topic, `[K, V]`, between 0 and 1.
        usual: Share of posts of each topic, `[K]`, positive.
    """

    def __init__(self, weight: Floats, bias: Floats, chance: Floats, usual: Floats) -> None:
        self.weight = weight
        self.bias = bias
        self.chance = chance
        self.usual = usual

    @cached_property
    def _evidence(self) -> tuple[Floats, Floats]:
        """What each tag's presence and the absence of all say for each topic."""
        chance = np.clip(self.chance, 1e-4, 0.99)
        absent = np.log1p(-chance)
        present = np.float32(TAGS_COUNT) * (np.log(chance) - absent).T
        return present, np.float32(TAGS_COUNT) * absent.sum(axis=1)

    @cached_property
    def of_tag(self) -> Floats:
        """Chance of each tag on a photo of each topic, a row for each tag, `[V, K]`."""
        return np.ascontiguousarray(self.chance.T)

    def of_photos(self, photo: Floats) -> Floats:
        """Chance of each topic by the pixels alone, `[B, K]`.

        Args:
            photo: Unit vectors in the joint space, `[B, J]`; zeros give the usual mixture.
        """
        return _softmax(photo @ self.weight + self.bias)

    def of_posts(self, vectors: Floats, post: Ints, tag: Ints) -> Floats:
        """Chance of each topic by pixels and tags, `[N, K]`.

        Args:
            vectors: Unit vectors in the joint space, `[N, J]`; zeros give the usual mixture.
            post: Post of each tag use, `[A]`, ascending.
            tag: `[A]`; those beyond the vocabulary say nothing.
        """
        return _softmax(vectors @ self.weight + self.bias + self.by_tags(len(vectors), post, tag))

    def by_tags(self, n: int, post: Ints, tag: Ints) -> Floats:
        """What the tags of posts add to the logits of topics, `[N, K]`.

        A post without a known tag (most have no tag at all) speaks by its pixels alone.
        """
        present, absent = self._evidence
        out = np.zeros((n, len(self.bias)), np.float32)
        known = tag < len(present)
        post, tag = post[known], tag[known]
        if len(post):
            first = np.flatnonzero(is_first(post))
            out[post[first]] = np.add.reduceat(present[tag], first, axis=0) + absent
        return out

    def chances(self, shares: Floats) -> Floats:
        """Chance of each tag of the vocabulary, `[B, V]`.

        Args:
            shares: Of the topics, `[B, K]`.
        """
        return shares @ self.chance


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
