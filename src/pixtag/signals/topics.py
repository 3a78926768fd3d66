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

from pixtag.signals.columns import Columns, Pairs
from pixtag.signals.memory import Memory
from pixtag.types import Bools, Floats

TAGS_COUNT = 0.5
"""Tags of one post are less than independent evidence: their log likelihood counts this much."""

FLOOR = 1e-3
ROWS = 2048
OTHERS_WEIGHT = (2.0, 0.5)
"""How many of the person's posts the habits of others stand for, slow and quick."""

LAST_POSTS = ((0.4, 0.1), (1.0, 0.3), (3.0, 0.5))
"""Posts of the same topic after which one fades, and how many the habits of others stand for."""

LATELY_POSTS = 15.0
INTEREST_POSTS = 60.0
INTEREST_SHRINK = 5.0


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

    def of_photos(self, photo: Floats) -> Floats:
        """Chance of each topic by the pixels alone, `[B, K]`.

        Args:
            photo: Unit vectors in the joint space, `[B, J]`; zeros give the usual mixture.
        """
        return _softmax(photo @ self.weight + self.bias)

    def of_posts(self, columns: Columns, photos: Floats) -> Floats:
        """Chance of each topic by pixels and tags, `[N, K]`.

        Args:
            columns: The posts; tags of the vocabulary have the first numbers.
            photos: Unit vectors in the joint space, `[N, J]`; zeros without a photo.
        """
        n, n_known = len(columns), self.chance.shape[1]
        present, absent = self._evidence
        out = np.zeros((n, len(self.bias)), np.float32)
        for start in range(0, n, ROWS):
            stop = min(start + ROWS, n)
            uses = columns.uses_between(start, stop)
            row, tag = columns.row[uses] - start, columns.tag[uses]
            known = tag < n_known
            has = np.zeros((stop - start, n_known), np.float32)
            has[row[known], tag[known]] = 1.0
            seen = photos[start:stop] @ self.weight + self.bias
            # A post without a known tag (most have no tag at all) speaks by its pixels.
            by_tags = (has @ present + absent).astype(np.float32)
            by_tags[~has.any(axis=1)] = 0.0
            out[start:stop] = _softmax(seen + by_tags)
        return out

    def chances(self, shares: Floats) -> Floats:
        """Chance of each tag of the vocabulary, `[B, V]`.

        Args:
            shares: Of the topics, `[B, K]`.
        """
        return shares @ self.chance


class OwnTopics:
    """What is known of a person's topics before their photo is seen.

    Shapes:
        B: queries. M: slots of the person's memory. K: topics. V: vocabulary. N: posts.

    Args:
        topics: The mixture.
        own: The person's memory.
        of_posts: Topics of all posts, `[N, K]`.

    Attributes:
        of_slots: Topics of the posts in the slots, `[B, M, K]`.
        lift: How much more often than usual the person posts each topic, `[B, K]`.
        every: Weights of all slots: alike, and those lately, `[B, M]` each.
        expected: Posts with each tag to be expected of anybody with these topics, `[B, V]`, for
            each of the weights.
    """

    def __init__(self, topics: Topics, own: Memory, of_posts: Floats) -> None:
        self.topics = topics
        self.own = own
        self.of_slots = of_posts[own.rows]
        place = np.arange(own.rows.shape[1], dtype=np.float32)
        fading = np.exp(-place / INTEREST_POSTS) * own.filled
        interest = self._mass(fading) + INTEREST_SHRINK * topics.usual
        self.lift = interest / (fading.sum(axis=1, keepdims=True) + INTEREST_SHRINK) / topics.usual
        self.every = [own.filled.astype(np.float32), np.exp(-place / LATELY_POSTS) * own.filled]
        self.expected = [topics.chances(self._mass(weight)) for weight in self.every]

    def _mass(self, weight: Floats) -> Floats:
        """Weighted sum of the topics of the slots, `[B, K]`."""
        return np.einsum("bmk,bm->bk", self.of_slots, weight)


class TopicTaste:
    """What this person does when the topic is that of the photo.

    A person has few interests: what the photo shows is guessed anew with them in mind.

    Shapes:
        B: queries. M: slots of the person's memory. K: topics. P: pairs.

    Args:
        past: The person's topics.
        shares: Topics of the photos by pixels alone, `[B, K]`.
    """

    names = (
        "topic_own_log_prob",
        "topic_taste",
        "topic_taste_quick",
        "topic_last",
        "topic_last_few",
        "topic_last_several",
        "own_over_expected",
        "own_over_expected_lately",
    )
    context_names = ("topic_posts_log",)

    def __init__(self, past: OwnTopics, shares: Floats) -> None:
        self._past = past
        shares = shares * past.lift
        shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
        self._chances = past.topics.chances(shares)
        self.same = np.einsum("bmk,bk->bm", past.of_slots, shares) * past.own.filled
        """Chance that the post in a slot has the topic of the photo, `[B, M]`."""
        self.since = np.cumsum(self.same, axis=1) - self.same
        """Posts of this topic after the one in a slot, `[B, M]`."""

    def features(self, pairs: Pairs, known: Bools, otherwise: Floats) -> Floats:
        """Evidence at the pairs, `[P, 8]`, as in `names`.

        Args:
            pairs: Candidates.
            known: Whether topics know the tag of a pair and its query has a photo, `[P]`.
            otherwise: What everyone does with a tag that they don't know, `[P]`.
        """
        every, expected = self._past.every, self._past.expected
        tag = np.where(known, pairs.tag, 0)
        others = np.where(known, self._chances[pairs.query, tag], otherwise)
        alike = [self.same, self.same]
        alike += [self.same * np.exp(-self.since / np.float32(scale)) for scale, _ in LAST_POSTS]
        used = self._past.own.totals(pairs, [*alike, *every])
        out = np.empty((len(self.names), len(pairs)), np.float32)
        out[0] = others + FLOOR
        # Weighted shares of the person's posts with a tag, shrunk to what others do.
        n = len(alike)
        strength = np.array([*OTHERS_WEIGHT, *(s for _, s in LAST_POSTS)], np.float32)[:, None]
        total = np.stack(alike).sum(axis=2)[:, pairs.query]
        out[1 : 1 + n] = (used[:n] + strength * others) / (total + strength) + FLOOR
        for row, usual in enumerate(expected, start=1 + n):
            ratio = (used[row - 1] + 1.0) / (usual[pairs.query, tag] + 1.0)
            out[row] = np.where(known, ratio, 1.0)
        return np.log(out).T

    def context(self) -> Floats:
        """How much of the person's past has the topic of the photo, `[B, 1]`."""
        return np.log1p(self.same.sum(axis=1, keepdims=True))


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
