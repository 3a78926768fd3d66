"""The state: all evidence up to now, composed of the signals; scores queries, observes posts.

    state.observe(posts)   the posts become part of the past
    state.retract(ids)     as if they had never been
    state.score(queries)   candidates and their signals, each query at its own time

A query sees only what lies strictly before its time, whatever has been observed: posts of the
same instant never see each other, a late arrival gives the state that a sorted log would, and
a block of queries gets what the same queries one by one would get.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pixtag.errors import ShapeError
from pixtag.signals.columns import Block, Columns, Pairs, Queries, concat_logs, ragged
from pixtag.signals.cooccurrence import CoOccurrence
from pixtag.signals.counts import Counts
from pixtag.signals.head import Head, top_of_rows
from pixtag.signals.memory import Memory, Neighbours, OwnMemory
from pixtag.signals.prototypes import Prototypes
from pixtag.signals.reuse import Reuse
from pixtag.signals.trend import Trend
from pixtag.types import Bools, Doubles, Floats, Ints, PostLog, Sources

FLOOR_LOG_PROB = -12.0
MAX_CELLS = 4_000_000
MAX_SPAN_ROWS = 512


class StateConfig(BaseModel):
    """What the state offers to the network.

    Attributes:
        own_slots: Latest posts of the person that may be copied from.
        near_slots: Most similar posts of everyone that may be copied from.
        max_candidates: Candidates kept for a query.
        least_people: People who must have used a tag before others are offered it.
        counted_tags: Tags with co-occurrence counts (memory grows with the square).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    own_slots: Annotated[int, Field(ge=1, le=512)] = 48
    near_slots: Annotated[int, Field(ge=1, le=512)] = 48
    max_candidates: Annotated[int, Field(ge=10, le=2000)] = 160
    least_people: Annotated[int, Field(ge=1)] = 3
    counted_tags: Annotated[int, Field(ge=1, le=8192)] = 2048


PIXEL_NAMES = (
    "head_log_prob",
    "head_known",
    "bridge",
    "words",
    "neighbour_share",
    *Prototypes.names,
)
HISTORY_NAMES = (*Reuse.names, "own_memory_share")
TREND_NAMES = (*Trend.names,)
GENERAL_NAMES = (*Counts.names, *CoOccurrence.names)
FEATURE_NAMES = (*PIXEL_NAMES, *HISTORY_NAMES, *TREND_NAMES, *GENERAL_NAMES)
CONTEXT_NAMES = (
    "pixels_on",
    "history_on",
    "trend_on",
    "head_top",
    "head_entropy",
    *Neighbours.context_names,
    *Reuse.context_names,
    "posts_log",
)
TREND_LIKE = ("recent_prototype", "weekday_lift", "first_seen_log_days")


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
        words: From photos' embeddings and tags to similarity, or None.
    """

    vocabulary: list[str]
    head: Head
    prior: PostLog
    prior_people: Doubles
    bridge: BridgeSignal | None = None
    words: WordsSignal | None = None


class BridgeSignal:
    """Interface of the bridge: encoder embeddings to tag scores."""

    def scores(self, embeddings: Floats) -> Floats:
        """Log of the expected weight of each tag of the vocabulary, `[B, V]`."""
        raise NotImplementedError


class WordsSignal:
    """Interface of the words signal."""

    def photo_vectors(self, embeddings: Floats) -> Floats:
        """Unit vectors of what the photos show, `[B, W]`."""
        raise NotImplementedError

    def tag_vectors(self, tags: list[str]) -> Floats:
        """Unit vectors of tags, `[T, W]`; zeros for tags without known words."""
        raise NotImplementedError


class State:
    """All evidence, at any time.

    Args:
        knowledge: What a bundle brings.
        config: What is offered to the network.
    """

    def __init__(self, knowledge: Knowledge, config: StateConfig | None = None) -> None:
        self.knowledge = knowledge
        self.config = config or StateConfig()
        self._log = _with_vocabulary(knowledge.prior, knowledge.vocabulary)
        self._rebuild()

    @property
    def tags(self) -> list[str]:
        """Every tag known, the vocabulary first, `[T]`."""
        return self._log.tags

    @property
    def users(self) -> list[str]:
        """Every person with a post, `[U]`."""
        return self._log.users

    @property
    def log(self) -> PostLog:
        """Every post observed, the prior first; embeddings are in the joint space."""
        return self._log

    @property
    def n_prior(self) -> int:
        """Posts at the front of the log that came with the bundle."""
        return len(self.knowledge.prior)

    @property
    def columns(self) -> Columns:
        """The log as the signals see it."""
        return self._columns

    def observe(self, posts: PostLog) -> None:
        """Make posts part of the past, in any order; a known post_id is replaced.

        Args:
            posts: With encoder embeddings, `[N, D]`, or none (D = 0).

        Raises:
            ShapeError: The embeddings are not as wide as the pixel head expects.
        """
        self._log = concat_logs(self._log, self._project(posts))
        self._rebuild()

    def retract(self, post_ids: Collection[str]) -> None:
        """Forget posts as if they had never been; unknown ids are ignored."""
        gone = set(post_ids)
        kept = np.array([p not in gone for p in self._log.post_ids], np.bool_)
        self._log = self._log.select(kept)
        self._rebuild()

    def _project(self, posts: PostLog) -> PostLog:
        head = self.knowledge.head
        width = posts.embeddings.shape[1]
        if width == 0:
            rows = np.zeros((len(posts), head.width), np.float16)
            return replace(posts, embeddings=rows, has_photo=np.zeros(len(posts), np.bool_))
        if width != len(head.center):
            raise ShapeError(
                f"embeddings are {width} wide, the pixel head expects {len(head.center)}",
                hint="embed the photos with the encoder that the bundle was trained with",
            )
        rows = np.zeros((len(posts), head.width), np.float16)
        for start in range(0, len(posts), 4096):
            part = slice(start, start + 4096)
            rows[part] = head.project(posts.embeddings[part].astype(np.float32))
        return replace(posts, embeddings=rows)

    def _rebuild(self) -> None:
        log, knowledge, config = self._log, self.knowledge, self.config
        columns = Columns(log, n_tags=len(log.tags))
        photos = log.embeddings.astype(np.float32)
        people = np.zeros(len(log.tags))
        people[: len(knowledge.prior_people)] = knowledge.prior_people
        self._columns = columns
        self._photos = photos
        self._user_index = {u: i for i, u in enumerate(log.users)}
        self._tag_index = {t: i for i, t in enumerate(log.tags)}
        self.counts = Counts(columns, prior_people=people)
        self.prototypes = Prototypes(columns, photos)
        self.reuse = Reuse(columns)
        self.own_memory = OwnMemory(columns, photos, n_slots=config.own_slots)
        self.neighbours = Neighbours(columns, photos, n_slots=config.near_slots)
        self.trend = Trend(columns)
        counted = min(config.counted_tags, len(log.tags))
        self.cooccurrence = CoOccurrence(columns, n_counted=counted)
        words = knowledge.words
        self._tag_vectors = None if words is None else words.tag_vectors(log.tags)

    def queries_of(self, posts: PostLog, rows: Ints) -> Queries:
        """Ask about posts at their own times.

        Args:
            posts: A log with encoder embeddings.
            rows: Which of its posts, `[B]`.
        """
        users = (*posts.users, None)
        width = len(self.knowledge.head.center)
        embeddings = np.zeros((len(rows), width), np.float32)
        if posts.embeddings.shape[1]:
            embeddings[:] = posts.embeddings[rows]
        return Queries(
            at=posts.at[rows],
            users=tuple(users[u] for u in posts.user_of_post[rows]),
            embeddings=embeddings,
            has_photo=posts.has_photo[rows] & bool(posts.embeddings.shape[1]),
        )

    def score(self, queries: Queries, *, sources: Sources | None = None) -> Scored:
        """Find the candidates of each query and their signals, as of its own time.

        Args:
            queries: In any order.
            sources: Which sources may speak; all by default.

        Returns:
            Candidates in no particular order. A query without any evidence (no photo, no
            history, nothing popular) has none.
        """
        parts = list(self.score_blocks(queries, sources=sources))
        if not parts:
            raise ShapeError("no queries to score")
        index = np.concatenate([p[0] for p in parts])
        back = np.argsort(index)
        scored = [p[1] for p in parts]
        return Scored(
            **{
                name: np.concatenate([getattr(s, name) for s in scored])[back]
                for name in Scored.__dataclass_fields__
            }
        )

    def score_blocks(
        self, queries: Queries, *, sources: Sources | None = None
    ) -> Iterator[tuple[Ints, Scored]]:
        """Score in blocks that lie close together in time.

        Yields:
            Positions among the queries `[B]`, ascending in time, and their candidates.
        """
        order = np.argsort(queries.at, kind="stable")
        cuts = self._columns.cut(queries.at[order])
        size = max(1, min(128, MAX_CELLS // max(1, len(self.tags))))
        start = 0
        while start < len(order):
            stop = min(start + size, len(order))
            span = int(np.searchsorted(cuts[start:stop], cuts[start] + MAX_SPAN_ROWS, "right"))
            index = order[start : start + max(1, span)]
            yield index, self._score_block(queries.take(index), sources or Sources())
            start += len(index)

    def _score_block(self, queries: Queries, sources: Sources) -> Scored:
        return _BlockScorer(self, queries, sources).run()


class _BlockScorer:
    """One block on its way through the signals."""

    def __init__(self, state: State, queries: Queries, sources: Sources) -> None:
        self.state = state
        self.queries = queries
        self.sources = sources
        columns = state.columns
        index = state._user_index  # noqa: SLF001
        stranger = columns.n_users
        user = np.array(
            [stranger if u is None else index.get(u, stranger) for u in queries.users], np.int64
        )
        head = state.knowledge.head
        has_photo = queries.has_photo & sources.pixels
        embeddings = queries.embeddings * has_photo[:, None]
        self.embeddings = embeddings
        photo = head.project(embeddings)
        self.block = Block(columns, queries.at, user, photo, has_photo)
        # Trend leaves out the person asked about even when their history may not speak.
        self.asker = replace_user(self.block, user if sources.history else user * 0 + stranger)
        for signal in (state.counts, state.prototypes, state.cooccurrence):
            signal.advance(self.block.base)

    def run(self) -> Scored:
        state, block = self.state, self.block
        n_tags = len(state.tags)
        self.public = state.counts.public(block, least_people=state.config.least_people)
        self.own = state.own_memory.recall(self.asker)
        self.near = state.neighbours.recall(self.asker)
        self.own_weight = _own_weight(self.own)
        self.near_weight = _near_weight(self.near)
        self._look()
        self._windows()
        query, tag = self._propose()
        pairs = Pairs(query, tag, n_queries=len(block), n_tags=n_tags)
        features = self._features(pairs)
        return self._pack(pairs, features)

    def _look(self) -> None:
        """What the pixels say of every tag of the vocabulary."""
        knowledge, block = self.state.knowledge, self.block
        n = len(knowledge.vocabulary)
        self.head_scores = np.full((len(block), n), FLOOR_LOG_PROB, np.float32)
        self.bridge_scores = np.zeros((len(block), n), np.float32)
        seen = block.has_photo
        if seen.any() and n:
            self.head_scores[seen] = knowledge.head.log_probs(block.photo[seen])
            if knowledge.bridge is not None:
                self.bridge_scores[seen] = knowledge.bridge.scores(self.embeddings[seen])
        self.prototype_scores = self.state.prototypes.scores(block)

    def _windows(self) -> None:
        state, block = self.state, self.block
        if self.sources.trend:
            tags, counts = state.trend.window_counts(block)
        else:
            tags = np.zeros(0, np.int64)
            counts = np.zeros((4, len(block), 0), np.float32)
        self.trend_tags, self.trend_counts = tags, counts

    def _propose(self) -> tuple[Ints, Ints]:
        state, block, public = self.state, self.block, self.public
        n_tags = len(state.tags)
        found: list[tuple[Ints, Ints]] = []
        found.append(state.counts.propose(block, public, limit=30))
        if self.sources.history:
            found.append(state.reuse.propose(self.asker, limit=96))
        if block.has_photo.any():
            near = self.near.propose(self.near_weight, (len(block), n_tags), limit=64)
            allowed = public[near[0], near[1]]
            found.append((near[0][allowed], near[1][allowed]))
            n = self.head_scores.shape[1]
            seen = public[:, :n] & block.has_photo[:, None]
            for scores, limit in ((self.head_scores, 40), (self.bridge_scores, 20)):
                rough = np.round(np.where(seen & (scores != 0), scores, -np.inf), 4)
                found.append(top_of_rows(rough, limit=limit))
            rough = np.round(self.prototype_scores, 4)
            found.append(state.prototypes.propose(block, public, rough, limit=30))
        if len(self.trend_tags):
            rate = state.counts.rate_per_day(block, self.trend_tags)
            lifts = state.trend.lifts(block, self.trend_counts, rate)
            found.append(
                state.trend.propose(
                    self.trend_tags, self.trend_counts, lifts, public, limit=12
                )
            )
        accepted = self._accepted()
        if accepted[0].shape[1]:
            found.append(state.cooccurrence.propose(block, accepted, public, limit=40))
        return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])

    def _accepted(self) -> tuple[Ints, Floats]:
        given = self.queries.accepted
        index = self.state._tag_index  # noqa: SLF001
        known = [[index[t] for t in tags if t in index] for tags in given]
        width = max((len(k) for k in known), default=0)
        tags = np.zeros((len(self.block), width), np.int64)
        weights = np.zeros((len(self.block), width), np.float32)
        for i, row in enumerate(known):
            tags[i, : len(row)] = row
            weights[i, : len(row)] = 1.0
        return tags, weights

    def _features(self, pairs: Pairs) -> Floats:
        state, block = self.state, self.block
        out = np.zeros((len(pairs), len(FEATURE_NAMES)), np.float32)
        general = state.counts.features(block, pairs)
        history = (
            state.reuse.features(self.asker, pairs)
            if self.sources.history
            else np.zeros((len(pairs), len(Reuse.names)), np.float32)
        )
        own_share = _share(self.own, self.own_weight, pairs)
        near_share = _share(self.near, self.near_weight, pairs)
        pixel = self._pixel_features(pairs, near_share)
        first = 0.5 * np.minimum(1.0, own_share) + 0.3 * near_share
        first = first + 0.2 * np.minimum(1.0, 5.0 * np.exp(pixel[:, 0])) * pixel[:, 1]
        first = first + 1e-4 * general[:, 0]
        self.first = first
        likely = _strongest(pairs, first, n_queries=len(block), limit=8)
        posts = np.maximum(block.cut, 1)[pairs.query]
        base_rate = np.expm1(general[:, 1]) / posts
        goes_with = state.cooccurrence.features(
            block, pairs, likely, self._accepted(), base_rate.astype(np.float32)
        )
        trend = np.zeros((len(pairs), len(TREND_NAMES)), np.float32)
        if self.sources.trend:
            rate = np.exp(general[:, 2])
            trend = state.trend.features(block, pairs, self.trend_tags, self.trend_counts, rate)
        memory_share = np.log(own_share + 1e-3)[:, None] - np.float32(np.log(1e-3))
        parts = [pixel, history, memory_share, trend, general, goes_with]
        np.concatenate(parts, axis=1, out=out)
        if not self.sources.trend:
            for name in TREND_LIKE:
                out[:, FEATURE_NAMES.index(name)] = 0.0
        return out

    def _pixel_features(self, pairs: Pairs, near_share: Floats) -> Floats:
        state, block = self.state, self.block
        out = np.zeros((len(pairs), len(PIXEL_NAMES)), np.float32)
        n = self.head_scores.shape[1]
        seen = block.has_photo[pairs.query]
        known = (pairs.tag < n) & seen
        tag = np.minimum(pairs.tag, max(n - 1, 0))
        if n:
            out[:, 0] = np.where(known, self.head_scores[pairs.query, tag], FLOOR_LOG_PROB)
            out[:, 2] = np.where(known, self.bridge_scores[pairs.query, tag], 0.0)
        out[:, 1] = known
        vectors = state._tag_vectors  # noqa: SLF001
        words = state.knowledge.words
        if vectors is not None and words is not None:
            photo = words.photo_vectors(self.embeddings)
            out[:, 3] = np.where(
                seen, np.einsum("pw,pw->p", photo[pairs.query], vectors[pairs.tag]), 0.0
            )
        out[:, 4] = np.log(near_share + 1e-3) - np.log(1e-3)
        out[:, 5:] = state.prototypes.features(block, pairs, self.prototype_scores)
        return out

    def _context(self) -> Floats:
        state, block, sources = self.state, self.block, self.sources
        out = np.zeros((len(block), len(CONTEXT_NAMES)), np.float32)
        out[:, 0] = block.has_photo
        out[:, 1] = sources.history
        out[:, 2] = sources.trend
        if self.head_scores.shape[1]:
            probs = np.exp(self.head_scores)
            entropy = -(probs * self.head_scores).sum(axis=1)
            out[:, 3] = np.where(block.has_photo, probs.max(axis=1), 0.0)
            out[:, 4] = np.where(block.has_photo, entropy, 0.0)
        out[:, 5:7] = state.neighbours.context(self.near)
        out[:, 7:11] = state.reuse.context(self.asker)
        out[:, 11] = np.log1p(block.cut)
        return out

    def _pack(self, pairs: Pairs, features: Floats) -> Scored:
        block, limit = self.block, self.state.config.max_candidates
        order, place = _places(pairs, self.first, n_queries=len(block), limit=limit)
        query, n_tags = pairs.query[order], len(self.state.tags)
        tag = np.full((len(block), limit), n_tags, np.int64)
        tag[query, place] = pairs.tag[order]
        packed = np.zeros((len(block), limit, features.shape[1]), np.float32)
        packed[query, place] = features[order]
        place_of_pair = np.full(len(pairs) + 1, limit, np.int64)
        place_of_pair[order] = place
        return Scored(
            tag=tag,
            filled=tag < n_tags,
            features=packed,
            context=self._context(),
            own_keys=self.own.keys,
            own_filled=self.own.filled,
            own_member=_member(self.own, pairs, place_of_pair, limit),
            near_keys=self.near.keys,
            near_filled=self.near.filled,
            near_member=_member(self.near, pairs, place_of_pair, limit),
            own_rows=self.own.rows,
            near_rows=self.near.rows,
        )


def replace_user(block: Block, user: Ints) -> Block:
    """The same block asked as somebody else (as nobody, when history may not speak)."""
    other = object.__new__(Block)
    other.__dict__.update(block.__dict__)
    other.user = user
    return other


def _with_vocabulary(prior: PostLog, vocabulary: list[str]) -> PostLog:
    """Put the vocabulary first among a prior's tags."""
    index = {t: i for i, t in enumerate(vocabulary)}
    tags = [*vocabulary, *(t for t in prior.tags if t not in index)]
    index = {t: i for i, t in enumerate(tags)}
    of_tag = np.array([index[t] for t in prior.tags], np.int64)
    return replace(prior, tags=tags, tag_ids=of_tag[prior.tag_ids] if len(of_tag) else prior.tag_ids)


def _own_weight(memory: Memory) -> Floats:
    """A fixed kernel over the person's posts: recent in order, and alike when photos tell."""
    place = np.expm1(memory.keys[:, :, 4] * 2.0)
    recent = np.exp(-place / 8.0)
    alike = np.exp(6.0 * (memory.keys[:, :, 0] - 0.5)) * memory.keys[:, :, 2]
    weight = (recent * (0.3 + alike)) * memory.filled
    return weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)


def _near_weight(memory: Memory) -> Floats:
    """A fixed kernel over the neighbours: sharp in similarity."""
    weight = memory.keys[:, :, 1] * memory.filled
    return weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)


def _share(memory: Memory, weight: Floats, pairs: Pairs) -> Floats:
    return pairs.total(memory.query, memory.tag, weight[memory.query, memory.slot])


def _places(
    pairs: Pairs, strength: Floats, *, n_queries: int, limit: int
) -> tuple[Ints, Ints]:
    """Order the pairs of each query by strength and give the best a place below `limit`."""
    count = np.bincount(pairs.query, minlength=n_queries)
    first = np.cumsum(count) - count
    if count.max(initial=0) <= limit:
        order = np.arange(len(pairs))
        return order, order - first[pairs.query]
    order = np.lexsort((pairs.tag, -np.round(strength, 5), pairs.query))
    place = np.arange(len(pairs)) - first[pairs.query]
    kept = place < limit
    return order[kept], place[kept]


def _strongest(
    pairs: Pairs, strength: Floats, *, n_queries: int, limit: int
) -> tuple[Ints, Floats]:
    """The strongest pairs of each query as tags `[B, limit]` and weights `[B, limit]`."""
    count = np.bincount(pairs.query, minlength=n_queries)
    first = np.cumsum(count) - count
    order = np.lexsort((pairs.tag, -np.round(strength, 5), pairs.query))
    rank = np.arange(len(pairs)) - first[pairs.query]
    kept = rank < limit
    tags = np.zeros((n_queries, limit), np.int64)
    weights = np.zeros((n_queries, limit), np.float32)
    query = pairs.query[kept]
    tags[query, rank[kept]] = pairs.tag[order[kept]]
    weights[query, rank[kept]] = strength[order[kept]]
    return tags, weights


def _member(memory: Memory, pairs: Pairs, place_of_pair: Ints, limit: int) -> Bools:
    n_queries, n_slots = memory.filled.shape
    out = np.zeros((n_queries, limit + 1, n_slots), np.bool_)
    pair = pairs.find(memory.query, memory.tag)
    out[memory.query, place_of_pair[pair], memory.slot] = True
    return out[:, :limit]


__all__ = [
    "CONTEXT_NAMES",
    "FEATURE_NAMES",
    "BridgeSignal",
    "Knowledge",
    "Scored",
    "State",
    "StateConfig",
    "WordsSignal",
    "ragged",
]
