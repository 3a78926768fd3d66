"""What this person does when the photo is of this kind, shrunk to what others do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pixtag.evidence import distinct
from pixtag.signals.asked import Asked, Pairs
from pixtag.signals.memory import NEAR_KEYS, OWN_KEYS, Memory
from pixtag.signals.pixels import Looks, at_vocabulary, chance_at
from pixtag.signals.spec import Feature, Signal
from pixtag.types import Floats, Ints

KERNELS = ((3.0, 0.5), (10.0, 0.5))
"""Sharpness of the similarity, and how many posts the habits of others stand for."""

FLOOR = 1e-3
OTHERS_WEIGHT = (2.0, 0.5)
"""How many of the person's posts the habits of others stand for, slow and quick."""

LAST_POSTS = ((0.4, 0.1), (1.0, 0.3), (3.0, 0.5))
"""Posts of the same topic after which one fades, and how many the habits of others stand for."""

FEW_QUESTIONS = 16
"""Of which each asks about its own tags alone, instead of all of the vocabulary."""

LATELY_POSTS = 15.0
INTEREST_POSTS = 60.0
INTEREST_SHRINK = 5.0

TOPIC_NAMES = (
    "topic_own_log_prob",
    "topic_taste",
    "topic_taste_quick",
    "topic_last",
    "topic_last_few",
    "topic_last_several",
)


@dataclass(frozen=True)
class Interests:
    """A person's topics, and what the photo shows guessed anew with them in mind.

    Shapes:
        B: questions. M: slots of the own memory. K: topics. V: vocabulary.

    Attributes:
        same: Chance that the post in a slot has the topic of the photo, `[B, M]`.
        since: Posts of this topic after the one in a slot, `[B, M]`.
        shares: Topics of the photo, `[B, K]`.
        every: Weights of all slots: alike, and those lately, `[B, M]` each.
        masses: Topics of the slots so weighted, `[B, K]` each.
    """

    same: Floats
    since: Floats
    shares: Floats
    every: list[Floats]
    masses: list[Floats]

    @classmethod
    def of(cls, asked: Asked, own: Memory, looks: Looks) -> Interests | None:
        """None without topics."""
        topics = asked.knowledge.topics
        if topics is None or not asked.has_photo.any():
            return None
        of_slots = _topics_of_slots(asked, own)
        place = np.arange(own.rows.shape[1], dtype=np.float32)

        def mass(weight: Floats) -> Floats:
            return np.einsum("bmk,bm->bk", of_slots, weight)

        fading = np.exp(-place / INTEREST_POSTS) * own.filled
        interest = mass(fading) + INTEREST_SHRINK * topics.usual
        lift = interest / (fading.sum(axis=1, keepdims=True) + INTEREST_SHRINK) / topics.usual
        shares = looks.topics * lift
        shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
        same = np.einsum("bmk,bk->bm", of_slots, shares) * own.filled
        every = [own.filled.astype(np.float32), np.exp(-place / LATELY_POSTS) * own.filled]
        return cls(
            same=same,
            since=np.cumsum(same, axis=1) - same,
            shares=shares,
            every=every,
            masses=[mass(weight) for weight in every],
        )

    def chances(self, asked: Asked, question: Ints, tag: Ints) -> Floats:
        """Sum over topics of chance by photo, and by slots, for pairs, `[1 + W, P]`."""
        topics, every = asked.knowledge.topics, [self.shares, *self.masses]
        if topics is None:
            return np.zeros((len(every), len(tag)), np.float32)
        if len(asked) <= FEW_QUESTIONS:  # few of the tags are asked about
            stop = np.cumsum(np.bincount(question, minlength=len(asked)))[:-1]
            of_each = zip(np.stack(every, axis=1), np.split(tag, stop), strict=True)
            return np.concatenate([rows @ topics.of_tag[tags].T for rows, tags in of_each], axis=1)
        return np.stack([topics.chances(shares)[question, tag] for shares in every])


def _topics_of_slots(asked: Asked, own: Memory) -> Floats:
    """Topics of the posts in the slots, `[B, M, K]`; by tags alone where a post has no photo."""
    knowledge, view = asked.knowledge, asked.view
    topics = knowledge.topics
    shape = own.filled.shape
    out = np.zeros((*shape, knowledge.n_topics), np.float32)
    if topics is None:
        return out
    photo = np.full(shape, -1, np.int64)
    stored = own.filled & (own.rows >= 0)
    if len(view.photo):
        photo[stored] = view.photo[own.rows[stored]]
    seen = photo >= 0
    out[seen] = view.topics[photo[seen]]
    blind = own.filled & ~seen
    if blind.any():
        number = np.cumsum(blind.ravel()) - 1
        place = own.question * shape[1] + own.slot
        mine = blind.ravel()[place]
        post = number[place[mine]]
        order = np.argsort(post, kind="stable")
        n = int(np.count_nonzero(blind))
        vectors = np.zeros((n, knowledge.width), np.float32)
        out[blind] = topics.of_posts(vectors, post[order], own.tag[mine][order])
    return out


def describe_slots(asked: Asked, own: Memory, near: Memory, looks: Looks) -> None:
    """Set the keys of the memories that say how their posts fit this photo and this person."""
    _set_words_fit(asked, own)
    n_known = looks.head.shape[1]
    if len(own.question) and n_known:
        known = (own.tag < n_known) & asked.has_photo[own.question]
        tag = np.minimum(own.tag, n_known - 1)
        lift = looks.head[own.question, tag] - asked.knowledge.head.tag_bias[tag]
        own.set_mean(OWN_KEYS.index("fits_photo"), np.where(known, lift / 4.0, np.nan))
    interests = asked.interests
    if interests is not None:
        own.keys[:, :, OWN_KEYS.index("same_topic")] = interests.same
        since = np.log1p(interests.since) * own.filled
        own.keys[:, :, OWN_KEYS.index("since_in_topic")] = since
        near.keys[:, :, NEAR_KEYS.index("same_topic")] = _same_topic(asked, near, looks.topics)
    if len(near.question) and len(asked.own.tag):
        used = asked.own_pairs.find(near.question, near.tag) < len(asked.own_pairs)
        near.set_mean(NEAR_KEYS.index("asker_uses"), used.astype(np.float32))


def _set_words_fit(asked: Asked, own: Memory) -> None:
    """How much the words of each earlier post's tags are those of what the photo shows."""
    words = asked.knowledge.words
    if words is None or not len(own.question) or not asked.has_photo.any():
        return
    tags = distinct(own.tag, below=asked.n_tags)
    vectors = words.tag_vectors([asked.names[t] for t in tags.tolist()])
    place = np.searchsorted(tags, own.tag)
    alike = (asked.looks.words @ vectors.T)[own.question, place]
    says = np.asarray(vectors.any(axis=1))[place] & asked.has_photo[own.question]
    own.set_mean(OWN_KEYS.index("words_fit"), np.where(says, alike, np.nan))


def _same_topic(asked: Asked, near: Memory, topics: Floats) -> Floats:
    """Chance that the post in a slot has the topic of the photo, of topics `[B, K]`, `[B, N]`."""
    view, out = asked.view, np.zeros(near.filled.shape, np.float32)
    for is_prior in (False, True):
        question, slot = np.nonzero(near.filled & ((near.rows < 0) == is_prior))
        post = near.rows[question, slot]
        if not len(post):
            continue
        of_post = (
            asked.knowledge.prior_topics(-1 - post) if is_prior else view.topics[view.photo[post]]
        )
        out[question, slot] = np.einsum("nk,nk->n", of_post.astype(np.float32), topics[question])
    return out


def _taste(asked: Asked, pairs: Pairs) -> Floats:
    """How often this person uses a tag where it fits, shrunk to how often others do.

    The person's posts are weighted by how much their photos look like this one.
    """
    own = asked.own_memory
    chance = chance_at(asked, asked.looks, pairs)
    others = np.maximum(0.5 * asked.near_share + 0.5 * chance, 1e-3)
    similarity = own.keys[:, :, OWN_KEYS.index("similarity")]
    place = np.expm1(own.keys[:, :, OWN_KEYS.index("log_place")] * 2.0)
    recent = np.exp(-place / 32.0) * own.filled
    sharp, strength = np.array(KERNELS, np.float32).T[:, :, None]
    weights = np.exp(sharp[:, :, None] * (similarity - 1.0)) * recent
    used, total = own.totals(pairs, weights), weights.sum(axis=2)[:, pairs.question]
    return np.log((used + strength * others) / (total + strength)).T


def _topic_taste(asked: Asked, pairs: Pairs) -> Floats:
    out = np.zeros((len(pairs), len(TOPIC_NAMES) + 2), np.float32)
    interests = asked.interests
    if interests is None:
        return out
    own = asked.own_memory
    same, since = interests.same, interests.since
    alike = [same, same, *(same * np.exp(-since / np.float32(s)) for s, _ in LAST_POSTS)]
    used = own.totals(pairs, [*alike, *interests.every])
    known, tag = at_vocabulary(asked, pairs)
    # By the photo's topics, and posts to be expected of anybody with the person's topics.
    chance, *expected = interests.chances(asked, pairs.question, tag)
    others = np.where(known, chance, asked.near_share)
    out[:, 0] = np.log(others + FLOOR)
    strength = np.array([*OTHERS_WEIGHT, *(s for _, s in LAST_POSTS)], np.float32)[:, None]
    total = np.array(alike).sum(axis=2)[:, pairs.question]
    n = len(alike)
    shares = (used[:n] + strength * others) / (total + strength) + FLOOR
    out[:, 1 : 1 + n] = np.log(shares).T
    for i, usual in enumerate(expected):
        ratio = (used[n + i] + 1.0) / (usual + 1.0)
        out[:, 1 + n + i] = np.where(known, np.log(ratio), 0.0)
    return out * asked.has_photo[pairs.question, None]


def _own_fit(asked: Asked, pairs: Pairs) -> Floats:
    """Whether the earlier posts with a tag are of what the photo shows, by words and by looks.

    Mean fit of the posts with the tag, shrunk to 0, by the words of all their tags, by what the
    head knows of these tags and by their photos; and how far each is above the mean of all of the
    person's posts.
    """
    own = asked.own_memory
    fits = ("words_fit", "fits_photo", "similarity")
    *fits, both = (own.keys[:, :, OWN_KEYS.index(name)] for name in (*fits, "has_both_photos"))
    filled = own.filled.astype(np.float32)
    weights = np.array([*fits, filled, filled, both])
    with_tag, of_all = own.totals(pairs, weights), weights.sum(axis=2)[:, pairs.question]
    carried, usual = with_tag[:3] / (with_tag[3:] + 1.0), of_all[:3] / (of_all[3:] + 1.0)
    above = np.where(with_tag[3:] > 0, carried - usual, 0.0)
    return np.concatenate([carried, above]).T.astype(np.float32)


def _own_memory(asked: Asked, pairs: Pairs) -> Floats:
    return (np.log(asked.own_share + 1e-3) - np.float32(np.log(1e-3)))[:, None]


OWN_MEMORY = Signal(
    "own_memory", (Feature("own_memory_share", ("history",), "own posts"),), _own_memory
)
OWN_FIT = Signal(
    "own_fit",
    tuple(
        Feature(f"own_{name}", ("pixels", "history"), "own posts")
        for name in (
            "words_fit",
            "head_fit",
            "photo_fit",
            "words_fit_above_usual",
            "head_fit_above_usual",
            "photo_fit_above_usual",
        )
    ),
    _own_fit,
)
TASTE = Signal(
    "taste",
    tuple(
        Feature(name, ("pixels", "history"), "own posts") for name in ("taste_broad", "taste_sharp")
    ),
    _taste,
)
TOPIC_TASTE = Signal(
    "topics",
    (
        *(Feature(name, ("pixels", "history"), "own posts") for name in TOPIC_NAMES),
        *(
            Feature(name, ("pixels", "history"), "own posts", when_unknown=0.0)
            for name in ("own_over_expected", "own_over_expected_lately")
        ),
    ),
    _topic_taste,
)
