"""One block of queries on its way through the signals."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import TYPE_CHECKING

import numpy as np

from pixtag.signals.columns import Block, Pairs, Queries, strongest_first
from pixtag.signals.counts import Counts
from pixtag.signals.habits import Habits
from pixtag.signals.head import top_of_rows
from pixtag.signals.memory import Memory, Neighbours, OwnMemory
from pixtag.signals.prototypes import Prototypes
from pixtag.signals.reuse import Reuse
from pixtag.signals.topics import OwnTopics, TopicTaste
from pixtag.state.features import (
    CHANCE_FLOOR,
    CONTEXT_NAMES,
    FEATURE_NAMES,
    FLOOR_LOG_PROB,
    PIXEL_NAMES,
    TASTE_NAMES,
    TREND_LIKE,
    TREND_NAMES,
    Scored,
)
from pixtag.types import Bools, Floats, Ints, Numbers, Sources

if TYPE_CHECKING:
    from pixtag.state.core import State

OWN_PLACES = 96
"""Own tags of a person among the usual candidates; those who used more get more candidates."""

TASTE_KERNELS = ((3.0, 0.5), (10.0, 0.5))
"""Sharpness of the similarity, and how many posts the habits of others stand for."""


MOST_AHEAD = 8192
"""Tags beyond which signals are read at the candidates alone, not ahead of the photo."""

_OF_PAST = np.cumsum([len(Counts.names), len(Reuse.names) + 4, len(Habits.names)])
"""Where the columns of the signals without a photo end, those of trend apart."""


class BlockScorer:
    """One block on its way through the signals.

    What needs no photo is read at once, so that a photo can be decoded and embedded meanwhile;
    `run` takes it from there.

    Args:
        state: What is known.
        queries: Who posts when; their photos are not looked at yet.
        sources: Which sources may speak.
        ahead: Whether to read signals for all tags that can become candidates, while there is
            time, rather than for those that do.
    """

    def __init__(
        self, state: State, queries: Queries, sources: Sources, *, ahead: bool = False
    ) -> None:
        self.state = state
        self.queries = queries
        self.sources = sources
        columns = state.columns
        index = state.user_index
        stranger = columns.n_users
        user = np.array(
            [stranger if u is None else index.get(u, stranger) for u in queries.users], np.int64
        )
        blind = np.zeros((len(queries), state.knowledge.head.width), np.float32)
        self.block = Block(columns, queries.at, user, blind, np.zeros(len(queries), np.bool_))
        # Trend leaves out the person asked about even when their history may not speak.
        self.asker = replace_user(self.block, user if sources.history else user * 0 + stranger)
        self._advance()
        self.public = state.counts.public(self.block, least_people=state.config.least_people)
        for bridge in (state.knowledge.bridge, state.knowledge.kinds):
            if bridge is not None:
                self.public[:, : len(bridge.covers)] |= bridge.covers
        self.own = state.own_memory.recall(self.asker)
        self.person = state.reuse.context(self.asker)
        topics, of_posts = state.knowledge.topics, state.post_topics
        self.own_topics = (
            OwnTopics(topics, self.own, of_posts) if topics is not None and len(of_posts) else None
        )
        self._windows()
        self.proposed = self._propose_by_past()
        self.ahead: tuple[Pairs, Floats] | None = None
        if ahead:
            self.ahead = self._read_ahead()

    def run(
        self, embeddings: Floats, has_photo: Bools, *, helper: Executor | None = None
    ) -> Scored:
        """Find the candidates and read every signal at them.

        Args:
            embeddings: Of the photos, `[B, D]`; zeros without one.
            has_photo: Which queries have one, `[B]`.
            helper: Looks for similar posts beside this thread.
        """
        state = self.state
        self._advance()  # others may have asked since
        has_photo = has_photo & self.sources.pixels
        self.embeddings = embeddings * has_photo[:, None]
        photo = state.knowledge.head.project(self.embeddings)
        for asked in (self.block, self.asker):
            asked.see(photo, has_photo)
        # Going through all photos takes as long as most of the rest and leaves Python alone.
        finding = helper.submit(state.neighbours.recall, self.asker) if helper else None
        state.own_memory.see(self.own, self.asker)
        self._look()
        self.near = finding.result() if finding else state.neighbours.recall(self.asker)
        self.near_weight = _near_weight(self.near)
        self._describe_memories()
        pairs, place = self._cut(self._propose())
        return self._pack(pairs, place, self._features(pairs))

    def _advance(self) -> None:
        for signal in (self.state.counts, self.state.prototypes, self.state.cooccurrence):
            signal.advance(self.block.base)

    def _look(self) -> None:
        """What the pixels say of every tag of the vocabulary."""
        knowledge, block = self.state.knowledge, self.block
        n = len(knowledge.vocabulary)
        self.head_scores = np.full((len(block), n), FLOOR_LOG_PROB, np.float32)
        self.bridge_scores = np.zeros((len(block), n), np.float32)
        self.kind_scores = np.zeros((len(block), n), np.float32)
        seen = block.has_photo
        if seen.any() and n:
            self.head_scores[seen] = knowledge.head.log_probs(block.photo[seen])
            if knowledge.bridge is not None:
                self.bridge_scores[seen] = knowledge.bridge.scores(self.embeddings[seen])
            if knowledge.kinds is not None:
                self.kind_scores[seen] = knowledge.kinds.scores(self.embeddings[seen])
        self.prototype_scores = (
            self.state.prototypes.scores(block)
            if seen.any()
            else np.zeros((len(block), len(self.state.tags)), np.float32)
        )
        self._find_topics()

    def _find_topics(self) -> None:
        """What the photo is about, and the chance of every tag of the vocabulary with it."""
        topics, seen = self.state.knowledge.topics, self.block.has_photo
        self.topic_taste = None
        self.chance = np.minimum(1.0, 5.0 * np.exp(self.head_scores))
        if topics is None or not self.chance.size or not seen.any():
            return
        shares = topics.of_photos(self.block.photo) * seen[:, None]
        self.chance = topics.chances(shares)
        if self.own_topics is not None:
            self.topic_taste = TopicTaste(self.own_topics, shares)
            self.topic_shares = shares

    def _describe_memories(self) -> None:
        """How well the tags of earlier posts fit this photo and this person."""
        n_known = self.head_scores.shape[1]
        if len(self.own.query) and n_known:
            known = (self.own.tag < n_known) & self.block.has_photo[self.own.query]
            tag = np.minimum(self.own.tag, n_known - 1)
            lift = self.head_scores[self.own.query, tag] - self.state.knowledge.head.tag_bias[tag]
            self.own.with_key(
                OwnMemory.key_names.index("fits_photo"), np.where(known, lift / 4.0, np.nan)
            )
        if self.topic_taste is not None:
            place = OwnMemory.key_names.index("same_topic")
            self.own.keys[:, :, place] = self.topic_taste.same
            self.own.keys[:, :, place + 1] = np.log1p(self.topic_taste.since) * self.own.filled
            of_near = self.state.post_topics[self.near.rows]
            same = np.einsum("bmk,bk->bm", of_near, self.topic_shares)
            place = Neighbours.key_names.index("same_topic")
            self.near.keys[:, :, place] = same * self.near.filled
        if len(self.near.query) and self.sources.history:
            uses = self.has_used[self.near.query, self.near.tag].astype(np.float32)
            self.near.with_key(Neighbours.key_names.index("asker_uses"), uses)

    def _windows(self) -> None:
        state, block = self.state, self.block
        if self.sources.trend:
            tags, counts = state.trend.window_counts(block)
        else:
            tags = np.zeros(0, np.int64)
            counts = np.zeros((4, len(block), 0), np.float32)
        self.trend_tags, self.trend_counts = tags, counts

    def _propose_by_past(self) -> list[tuple[Ints, Ints]]:
        """Query and tag of what is popular, the person's own, rising or goes with accepted ones."""
        state, block, public = self.state, self.block, self.public
        self.limit = np.full(len(block), state.config.max_candidates, np.int64)
        self.has_used = np.zeros(public.shape, np.bool_)
        found = [state.counts.propose(block, public, limit=30)]
        if state.n_prior:
            # What is popular here is lost among what was popular where the prior comes from.
            found.append(state.counts.propose_here(block, public, limit=15))
        if self.sources.history:
            self.has_used[state.reuse.own_tags(self.asker)] = True
            further = state.config.more_candidates
            own = state.reuse.propose(self.asker, limit=OWN_PLACES, further=further)
            n_own = np.bincount(own[0], minlength=len(block))
            self.limit += np.maximum(n_own - OWN_PLACES, 0)
            found.append(own)
        if len(self.trend_tags):
            rate = state.counts.rate_per_day(block, self.trend_tags)
            lifts = state.trend.lifts(block, self.trend_counts, rate)
            found.append(
                state.trend.propose(self.trend_tags, self.trend_counts, lifts, public, limit=12)
            )
        self.company = state.cooccurrence.company(self.asker, self._accepted())
        if self.company:
            found.append(state.cooccurrence.propose(self.company, public, limit=40))
        return found

    def _read_ahead(self) -> tuple[Pairs, Floats] | None:
        """The signals of the past for every tag that can become a candidate."""
        possible = self.public.copy()
        for query, tag in self.proposed:
            possible[query, tag] = True
        if np.count_nonzero(possible) > MOST_AHEAD:
            return None
        pairs = self._pairs(*np.nonzero(possible))
        return pairs, self._of_past(pairs)

    def _of_past(self, pairs: Pairs) -> Floats:
        """The signals that need no photo: general, reuse, habits and trend, side by side."""
        state, block = self.state, self.block
        if self.ahead is not None:
            known, values = self.ahead
            return values[known.find(pairs.query, pairs.tag)]
        general, ends = state.counts.features(block, pairs), _OF_PAST
        out = np.zeros((len(pairs), ends[-1] + len(TREND_NAMES)), np.float32)
        out[:, : ends[0]] = general
        if self.sources.history:
            mine = np.flatnonzero(self.has_used[pairs.query, pairs.tag])
            own = self._pairs(pairs.query[mine], pairs.tag[mine])
            out[:, ends[0] : ends[1]] = Reuse.of_unused
            out[mine, ends[0] : ends[1]] = state.reuse.alone(self.asker, own)
            out[mine, ends[1] : ends[2]] = state.habits.features(self.asker, own)
        if self.sources.trend:
            out[:, ends[2] :] = state.trend.features(
                block, pairs, self.trend_tags, self.trend_counts, np.exp(general[:, 2])
            )
        return out

    def _pairs(self, query: Ints, tag: Ints) -> Pairs:
        return Pairs(query, tag, n_queries=len(self.block), n_tags=len(self.state.tags))

    def _propose(self) -> Pairs:
        """What the past and the photo propose."""
        state, block, public = self.state, self.block, self.public
        found = list(self.proposed)
        if block.has_photo.any():
            near = self.near.propose(self.near_weight, public.shape, limit=64)
            allowed = public[near]
            found.append((near[0][allowed], near[1][allowed]))
            n = self.head_scores.shape[1]
            seen = public[:, :n] & block.has_photo[:, None]
            looks = (
                (self.head_scores, 40),
                (np.log1p(self.chance / CHANCE_FLOOR), 40),
                (self.bridge_scores, 20),
                (self.kind_scores, 20),
            )
            for scores, limit in looks:
                usable = np.where(seen & (scores != 0), scores, -np.inf)
                found.append(top_of_rows(usable, limit=limit))
            rough = np.round(self.prototype_scores, 4)
            found.append(state.prototypes.propose(block, public, rough, limit=30))
        query = np.concatenate([f[0] for f in found])
        tag = np.concatenate([f[1] for f in found])
        if state.config.only_vocabulary:
            known = tag < len(state.knowledge.vocabulary)
            query, tag = query[known], tag[known]
        return self._pairs(query, tag)

    def _accepted(self) -> list[Ints]:
        """The known accepted tags of each query."""
        index = self.state.tag_index
        return [
            np.array([index[t] for t in dict.fromkeys(tags) if t in index], np.int64)
            for tags in self.queries.accepted
        ]

    def _cut(self, pairs: Pairs) -> tuple[Pairs, Ints]:
        """Keep the strongest pairs of each query by what is quickly known of them.

        Returns:
            The pairs and the place of each among its query's candidates.
        """
        past = self._of_past(pairs)
        # A tag's times of use are compared with those of all own tags that are proposed.
        reuse = past[:, _OF_PAST[0] : _OF_PAST[1]]
        reuse[:, : len(Reuse.names)] = self.state.reuse.with_lifts(reuse, pairs)
        (own_share,) = self.own.totals(pairs, [_own_weight(self.own)])
        (near_share,) = self.near.totals(pairs, [self.near_weight])
        known, chance = self._chance_at(pairs)
        first = 0.5 * np.minimum(1.0, own_share) + 0.3 * near_share
        first = first + 0.2 * chance + 1e-4 * past[:, 0]
        order, place = _places(pairs, first, limit=self.limit)
        if len(order) < len(pairs):
            by_pair = np.argsort(order)
            kept, place = order[by_pair], place[by_pair]
            pairs = self._pairs(pairs.query[kept], pairs.tag[kept])
            past, first = past[kept], first[kept]
            own_share, near_share = own_share[kept], near_share[kept]
            known, chance = known[kept], chance[kept]
        self.past, self.first = past, first
        self.own_share, self.near_share, self.known_chance = own_share, near_share, (known, chance)
        return pairs, place

    def _features(self, pairs: Pairs) -> Floats:
        state, block, past = self.state, self.block, self.past
        out = np.zeros((len(pairs), len(FEATURE_NAMES)), np.float32)
        general, reuse, habits, trend = np.split(past, _OF_PAST, axis=1)
        pixel = self._pixel_features(pairs)
        likely = _strongest(pairs, self.first, n_queries=len(block), limit=8)
        posts = np.maximum(block.cut, 1)[pairs.query]
        base_rate = np.expm1(general[:, 1]) / posts
        goes_with = state.cooccurrence.features(
            block, pairs, likely, self.company, base_rate.astype(np.float32)
        )
        memory_share = np.log(self.own_share + 1e-3)[:, None] - np.float32(np.log(1e-3))
        taste = self._taste(pairs)
        reuse = reuse[:, : len(Reuse.names)]
        parts = [pixel, reuse, habits, memory_share, taste, trend, general, goes_with]
        np.concatenate(parts, axis=1, out=out)
        if not self.sources.trend:
            for name in TREND_LIKE:
                out[:, FEATURE_NAMES.index(name)] = 0.0
        return out

    def _chance_at(self, pairs: Pairs) -> tuple[Bools, Floats]:
        """Whether pixels know the tags of the pairs, and the chance that they give them."""
        n = self.chance.shape[1]
        known = (pairs.tag < n) & self.block.has_photo[pairs.query]
        if not n:
            return known, np.zeros(len(pairs), np.float32)
        return known, np.where(known, self.chance[pairs.query, np.where(known, pairs.tag, 0)], 0.0)

    def _taste(self, pairs: Pairs) -> Floats:
        """How often this person uses a tag where it fits, shrunk to how often others do.

        The person's posts are weighted by how much their photos look like this one; what others
        do with such photos stands for a few more posts.
        """
        known, chance = self.known_chance
        others = np.maximum(0.5 * self.near_share + 0.5 * chance, 1e-3)
        similarity = self.own.keys[:, :, 0]
        place = np.expm1(self.own.keys[:, :, OwnMemory.key_names.index("log_place")] * 2.0)
        recent = np.exp(-place / 32.0) * self.own.filled
        weights = [
            (np.exp(sharpness * (similarity - 1.0)) * recent).astype(np.float32)
            for sharpness, _ in TASTE_KERNELS
        ]
        used = self.own.totals(pairs, weights)
        out = np.zeros((len(pairs), len(TASTE_NAMES)), np.float32)
        for i, (_, strength) in enumerate(TASTE_KERNELS):
            total = weights[i].sum(axis=1)[pairs.query]
            out[:, i] = np.log((used[i] + strength * others) / (total + strength))
        if self.topic_taste is not None:
            seen = self.block.has_photo[pairs.query, None]
            by_topic = self.topic_taste.features(pairs, known, self.near_share)
            out[:, len(weights) :] = by_topic * seen
        return out

    def _pixel_features(self, pairs: Pairs) -> Floats:
        state, block = self.state, self.block
        out = np.zeros((len(pairs), len(PIXEL_NAMES)), np.float32)
        n = self.head_scores.shape[1]
        seen = block.has_photo[pairs.query]
        known = (pairs.tag < n) & seen
        tag = np.minimum(pairs.tag, max(n - 1, 0))
        place = {name: i for i, name in enumerate(PIXEL_NAMES)}
        if n:
            at = (pairs.query, tag)
            out[:, place["head_log_prob"]] = np.where(known, self.head_scores[at], FLOOR_LOG_PROB)
            out[:, place["topic_log_chance"]] = np.log1p(self.known_chance[1] / CHANCE_FLOOR)
            out[:, place["bridge"]] = np.where(known, self.bridge_scores[at], 0.0)
            out[:, place["kinds"]] = np.where(known, self.kind_scores[at], 0.0)
        out[:, place["head_known"]] = known
        vectors = state.tag_vectors
        words = state.knowledge.words
        if vectors is not None and words is not None:
            # The same photos as the bridge was asked about: they are looked at once.
            photo = np.zeros((len(block), vectors.shape[1]), np.float32)
            photo[block.has_photo] = words.photo_vectors(self.embeddings[block.has_photo])
            cosine = (photo @ vectors.T)[pairs.query, pairs.tag]
            # Words of another field say no more against a tag than no words at all.
            out[:, place["words"]] = np.maximum(cosine, 0.0)
        out[:, place["neighbour_share"]] = np.log(self.near_share + 1e-3) - np.log(1e-3)
        out[:, -len(Prototypes.names) :] = state.prototypes.features(
            block, pairs, self.prototype_scores
        )
        return out

    def _context(self) -> Floats:
        state, block, sources = self.state, self.block, self.sources
        out = np.zeros((len(block), len(CONTEXT_NAMES)), np.float32)
        # A source with nothing to say is as silent as one that may not speak, so the network
        # has met a newcomer, or a store without recent posts, whenever it has met silence.
        out[:, 0] = block.has_photo
        out[:, 1] = sources.history * (self.person[:, 0] > 0)
        out[:, 2] = sources.trend * (self.trend_counts.sum(axis=(0, 2)) > 0)
        if self.head_scores.shape[1]:
            probs = np.exp(self.head_scores)
            entropy = -(probs * self.head_scores).sum(axis=1)
            out[:, 3] = np.where(block.has_photo, probs.max(axis=1), 0.0)
            out[:, 4] = np.where(block.has_photo, entropy, 0.0)
        out[:, 5:7] = state.neighbours.context(self.near)
        out[:, 7:11] = self.person
        if self.topic_taste is not None:
            out[:, 11:12] = self.topic_taste.context()
        out[:, -1] = np.log1p(block.cut)
        return out

    def _pack(self, pairs: Pairs, place: Ints, features: Floats) -> Scored:
        block, limit = self.block, int(self.limit.max())
        n_tags = len(self.state.tags)
        tag = np.full((len(block), limit), n_tags, np.int64)
        tag[pairs.query, place] = pairs.tag
        packed = np.zeros((len(block), limit, features.shape[1]), np.float32)
        packed[pairs.query, place] = features
        place_of_pair = np.append(place, limit)
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


def _own_weight(memory: Memory) -> Floats:
    """A fixed kernel over the person's posts: recent in order, and alike when photos tell."""
    place = np.expm1(memory.keys[:, :, OwnMemory.key_names.index("log_place")] * 2.0)
    recent = np.exp(-place / 8.0)
    alike = np.exp(6.0 * (memory.keys[:, :, 0] - 0.5)) * memory.keys[:, :, 2]
    weight = (recent * (0.3 + alike)) * memory.filled
    return weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)


def _near_weight(memory: Memory) -> Floats:
    """A fixed kernel over the neighbours: sharp in similarity."""
    weight = memory.keys[:, :, 1] * memory.filled
    return weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)


def _places(pairs: Pairs, strength: Numbers, *, limit: Ints) -> tuple[Ints, Ints]:
    """Order the pairs of each query by strength and give the best a place below its limit."""
    count = np.bincount(pairs.query, minlength=len(limit))
    first = np.cumsum(count) - count
    if (count <= limit).all():
        order = np.arange(len(pairs))
        return order, order - first[pairs.query]
    order = strongest_first(pairs.query, strength, step=1e-5)
    place = np.arange(len(pairs)) - first[pairs.query]
    kept = place < limit[pairs.query]
    return order[kept], place[kept]


def _strongest(
    pairs: Pairs, strength: Numbers, *, n_queries: int, limit: int
) -> tuple[Ints, Floats]:
    """The strongest pairs of each query as tags `[B, limit]` and weights `[B, limit]`."""
    count = np.bincount(pairs.query, minlength=n_queries)
    first = np.cumsum(count) - count
    order = strongest_first(pairs.query, strength, step=1e-5)
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
