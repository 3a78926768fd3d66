"""What a model knows before any post of a store: its fitted parts and its anonymous prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from pixtag.evidence import LAST_TICK, Derive, MemoryEvidence, View, distinct, is_first
from pixtag.signals.head import Head
from pixtag.signals.topics import Topics
from pixtag.signals.words import BRIDGE_FLOOR, Bridge, Words
from pixtag.types import Bools, Doubles, Floats, Halfs, Ints, PostLog


@dataclass(frozen=True)
class Prior:
    """Anonymous posts without a time that a model brings: evidence of its own, never of a store.

    Shapes:
        V: vocabulary. J: joint space.

    Attributes:
        view: The posts.
        people: People behind the model's posts who used each tag, `[V]`.
    """

    view: View
    people: Doubles
    _beside: dict[int, tuple[Ints, Ints]] = field(
        default_factory=dict[int, tuple[Ints, Ints]], repr=False
    )

    def beside(self, tag: int) -> tuple[Ints, Ints]:
        """Other tags on the posts with a tag, and on how many of them, `[E]` each."""
        found = self._beside.get(tag)
        if found is None:
            many = self.view.n_posts
            _, post = self.view.carrying(np.array([tag]), np.array([LAST_TICK]), limit=many)
            tags, count = np.unique(self.view.uses_of(post)[1], return_counts=True)
            found = self._beside[tag] = (tags[tags != tag], count[tags != tag])
        return found

    @property
    def n_posts(self) -> int:
        """How many posts."""
        return self.view.n_posts

    @cached_property
    def uses(self) -> Doubles:
        """Posts with each tag, `[V]`."""
        return np.bincount(self.view.tag, minlength=len(self.people)).astype(np.float64)

    @cached_property
    def n_uses(self) -> float:
        """All uses of tags."""
        return float(self.uses.sum())

    @cached_property
    def photos(self) -> Doubles:
        """Photos with each tag, `[V]`."""
        tag = self.view.tag[np.repeat(self.view.photo, self.view.n_uses) >= 0]
        return np.bincount(tag, minlength=len(self.people)).astype(np.float64)

    @cached_property
    def photo_sums(self) -> Floats:
        """Sum of the photos' vectors of each tag, `[V, J]`."""
        view = self.view
        every = np.arange(len(self.people))
        owner, _, row = view.photos.rows(every, 0, np.full(len(every), LAST_TICK))
        out = np.zeros((len(every), view.vectors.shape[1]), np.float32)
        # Tag by tag: the vectors of all uses at once are many times what a cache holds.
        start = np.flatnonzero(is_first(owner)).tolist()
        for first, stop in pairwise([*start, len(row)]):
            out[owner[first]] = view.vectors[row[first:stop]].sum(axis=0)
        return out

    @cached_property
    def popular(self) -> Ints:
        """Tags by people, best first; ties by their order in the vocabulary."""
        order = np.argsort(-self.people, kind="stable")
        return order[self.people[order] > 0]


@dataclass(frozen=True)
class Knowledge:
    """A model's fitted parts: what signals read beside the evidence.

    Shapes:
        V: vocabulary. J: joint space. K: topics. D: encoder width.

    Attributes:
        vocabulary: Tags that the pixel head knows, `[V]`.
        head: The pixel head.
        prior: The model's own posts.
        bridge: From the encoder's classes to tags, or None.
        kinds: From kinds of photos that training had labels of to tags, or None.
        topics: Kinds of photos that training found in pixels and tags, or None.
        words: Compares tags with photos by the words in both, or None.
    """

    vocabulary: list[str]
    head: Head
    prior: Prior
    bridge: Bridge | None = None
    kinds: Bridge | None = None
    topics: Topics | None = None
    words: Words | None = None

    @classmethod
    def of(
        cls,
        vocabulary: list[str],
        head: Head,
        *,
        prior: PostLog | None = None,
        prior_people: Doubles | None = None,
        bridge: Bridge | None = None,
        kinds: Bridge | None = None,
        topics: Topics | None = None,
        words: Words | None = None,
    ) -> Knowledge:
        """Put fitted parts together; without a prior it is empty.

        Args:
            vocabulary: `[V]`.
            head: The pixel head.
            prior: Anonymous posts whose embeddings are unit vectors in the joint space.
            prior_people: People who used each tag, `[V]`.
            bridge: See the class.
            kinds: See the class.
            topics: See the class.
            words: See the class.
        """
        people = np.zeros(len(vocabulary)) if prior_people is None else prior_people
        evidence = MemoryEvidence(vocabulary, _Projected(head.width))
        if prior is not None:
            evidence.observe(prior)
        return cls(vocabulary, head, Prior(evidence.view(), people), bridge, kinds, topics, words)

    def without_prior(self) -> Knowledge:
        """The same without posts of its own."""
        empty = MemoryEvidence(self.vocabulary, _Projected(self.head.width))
        people = np.zeros(len(self.vocabulary))
        return replace(self, prior=Prior(empty.view(), people))

    @property
    def encoder_width(self) -> int:
        """D."""
        return len(self.head.center)

    @property
    def width(self) -> int:
        """J."""
        return self.head.width

    @property
    def n_topics(self) -> int:
        """K; 0 without topics."""
        return 0 if self.topics is None else len(self.topics.bias)

    def vectors(self, embeddings: Floats) -> Floats:
        """Unit vectors in the joint space, `[N, J]`, of embeddings `[N, D]`."""
        return self.head.project(embeddings)

    @cached_property
    def covers(self) -> Bools:
        """Tags that a class or kind leads to, `[V]`: words that are nobody's secret."""
        out = np.zeros(len(self.vocabulary), np.bool_)
        for bridge in (self.bridge, self.kinds):
            if bridge is not None:
                out |= bridge.covers
        return out

    @cached_property
    def _names(self) -> Bools:
        """Which tags name a thing; False for all beyond the vocabulary, `[V + 1]`."""
        out = np.zeros(len(self.vocabulary) + 1, np.bool_)
        for bridge in (self.bridge, self.kinds):
            if bridge is not None:
                out[:-1] |= bridge.names
        return out

    def names_thing(self, tags: Ints) -> Bools:
        """Tell which tags a class or kind has as the name of a thing, `[C]`."""
        return self._names.take(tags, mode="clip")

    def expected_weights(self, embeddings: Floats) -> Floats:
        """Expected weight of each tag by classes or kinds, the larger, `[B, V]`; 0 without any.

        Args:
            embeddings: From the encoder, `[B, D]`.
        """
        out = np.zeros((len(embeddings), len(self.vocabulary)), np.float32)
        for bridge in (self.bridge, self.kinds):
            if bridge is not None:
                np.maximum(out, bridge.scores(embeddings), out=out)
        return (BRIDGE_FLOOR * np.expm1(out)).astype(np.float32)

    def prior_topics(self, post: Ints) -> Floats:
        """Topics of posts of the prior that have a photo, `[N, K]`, worked out once for each."""
        found, is_known = self._prior_topics
        missing = distinct(post[~is_known[post]])
        if self.topics is not None and len(missing):
            view = self.prior.view
            vectors = view.vectors[view.photo[missing]]
            found[missing] = self.topics.of_posts(vectors, *view.uses_of(missing))
            is_known[missing] = True  # last: another thread may look
        return found[post]

    @cached_property
    def _prior_topics(self) -> tuple[Floats, Bools]:
        n = self.prior.n_posts
        return np.zeros((n, self.n_topics), np.float32), np.zeros(n, np.bool_)

    @property
    def derive(self) -> Derive:
        """What these parts derive from posts with encoder embeddings."""
        return _Encoded(self)

    def evidence(
        self, posts: PostLog | None = None, *, further: Sequence[str] = ()
    ) -> MemoryEvidence:
        """Evidence in memory that these parts describe, with some posts observed.

        Tags `further` than the vocabulary get the ids behind it, whoever uses them.
        """
        evidence = MemoryEvidence([*self.vocabulary, *further], self.derive)
        if posts is not None:
            evidence.observe(posts)
        return evidence


@dataclass(frozen=True)
class _Encoded:
    """Derives from encoder embeddings."""

    of: Knowledge

    @property
    def encoder_width(self) -> int:
        return self.of.encoder_width

    @property
    def width(self) -> int:
        return self.of.width

    @property
    def n_topics(self) -> int:
        return self.of.n_topics

    def vectors(self, embeddings: Floats) -> Floats:
        return self.of.vectors(embeddings)

    def topics(self, vectors: Floats, post: Ints, tag: Ints) -> Halfs:
        if self.of.topics is None:
            return np.zeros((len(vectors), 0), np.float16)
        return self.of.topics.of_posts(vectors, post, tag).astype(np.float16)


@dataclass(frozen=True)
class _Projected:
    """Derives from vectors that are in the joint space already; topics are read when asked for."""

    width: int
    n_topics = 0

    @property
    def encoder_width(self) -> int:
        return self.width

    def vectors(self, embeddings: Floats) -> Floats:
        return embeddings.astype(np.float32)

    def topics(self, vectors: Floats, post: Ints, tag: Ints) -> Halfs:
        return np.zeros((len(vectors), 0), np.float16)
