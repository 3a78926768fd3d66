"""What pixels say of each candidate: head, topics, class-to-tag matrices, words, prototypes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pixtag.evidence import DAY_TICKS, distinct
from pixtag.signals.asked import Asked, Pairs
from pixtag.signals.head import products
from pixtag.signals.memory import Memory, Similar, nearest
from pixtag.signals.spec import Feature, Signal
from pixtag.types import Bools, Floats, Ints

FLOOR_LOG_PROB = -12.0
"""The head's log probability of a tag that it does not know."""

CHANCE_FLOOR = 1e-4
"""Below this the chance of a tag by the topics of a photo says nothing; its log starts here."""

LAST_PHOTOS = 32
"""Photos of a tag that its prototype is the mean of."""

SHRINK = 2.0
"""Photos at right angles to everything that each prototype holds beside its own."""

RECENT_DAYS = 3.0
RECENT_SHRINK = 0.5


@dataclass(frozen=True)
class Looks:
    """Scores of the vocabulary by pixels alone.

    Shapes:
        B: questions. V: vocabulary. K: topics.

    Attributes:
        head: Log probability of each tag, `[B, V]`.
        chance: Chance of each tag by the photo's topics, `[B, V]`.
        bridge: Log expected weight by the encoder's classes, `[B, V]`. kinds: By labelled kinds.
        topics: Topics of the photos, `[B, K]`; zeros without one.
        words: Word vectors of what the photos show, `[B, W]`; zeros without one, none if W is 0.
    """

    head: Floats
    chance: Floats
    bridge: Floats
    kinds: Floats
    topics: Floats
    words: Floats


def look(asked: Asked) -> Looks:
    """Score every tag of the vocabulary for the photos of a block."""
    knowledge, seen = asked.knowledge, asked.has_photo
    shape = (len(asked), len(knowledge.vocabulary))
    head = np.full(shape, FLOOR_LOG_PROB, np.float32)
    bridge, kinds = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    topics = np.zeros((len(asked), knowledge.n_topics), np.float32)
    n_words = 0 if knowledge.words is None else knowledge.words.width
    words = np.zeros((len(asked), n_words), np.float32)
    if not seen.any():
        return Looks(head, np.zeros(shape, np.float32), bridge, kinds, topics, words)
    photos, embeddings = asked.photo[seen], asked.embeddings[seen]
    if knowledge.words is not None:
        words[seen] = knowledge.words.photo_vectors(embeddings)
    if not shape[1]:
        return Looks(head, np.zeros(shape, np.float32), bridge, kinds, topics, words)
    head[seen] = knowledge.head.log_probs(photos)
    if knowledge.bridge is not None:
        bridge[seen] = knowledge.bridge.scores(embeddings)
    if knowledge.kinds is not None:
        kinds[seen] = knowledge.kinds.scores(embeddings)
    if knowledge.topics is None:
        chance = np.minimum(1.0, 5.0 * np.exp(head)) * seen[:, None]
    else:
        topics[seen] = knowledge.topics.of_photos(photos)
        chance = knowledge.topics.chances(topics)
    return Looks(head, chance, bridge, kinds, topics, words)


def at_vocabulary(asked: Asked, pairs: Pairs) -> tuple[Bools, Ints]:
    """Whether pixels know the tags of pairs, and a place in the vocabulary for each."""
    n = len(asked.knowledge.vocabulary)
    known = (pairs.tag < n) & asked.has_photo[pairs.question]
    return known, np.where(known, pairs.tag, 0)


def chance_at(asked: Asked, looks: Looks, pairs: Pairs) -> Floats:
    """Chance of the pairs by the photos' topics, `[P]`; 0 where pixels do not know the tag."""
    known, tag = at_vocabulary(asked, pairs)
    if not known.any():
        return np.zeros(len(pairs), np.float32)
    return np.where(known, looks.chance[pairs.question, tag], np.float32(0.0))


def _pixels(asked: Asked, pairs: Pairs) -> Floats:
    out = np.zeros((len(pairs), 6), np.float32)
    out[:, 0] = FLOOR_LOG_PROB
    known, tag = at_vocabulary(asked, pairs)
    if known.any():
        looks = asked.looks
        at = (pairs.question, tag)
        out[:, 0] = np.where(known, looks.head[at], FLOOR_LOG_PROB)
        out[:, 1] = known
        out[:, 2] = np.log1p(np.where(known, looks.chance[at], 0.0) / CHANCE_FLOOR)
        out[:, 3] = np.where(known, looks.bridge[at], 0.0)
        out[:, 4] = np.where(known, looks.kinds[at], 0.0)
    words = asked.knowledge.words
    if words is not None and asked.has_photo.any():
        tags = distinct(pairs.tag, below=asked.n_tags)
        place = np.searchsorted(tags, pairs.tag)
        vectors = words.tag_vectors([asked.names[t] for t in tags.tolist()])
        # Words of another field say no more against a tag than no words at all.
        out[:, 5] = np.maximum((asked.looks.words @ vectors.T)[pairs.question, place], 0.0)
    return out


def _prototypes(asked: Asked, pairs: Pairs) -> Floats:
    """Shrunk mean similarity to the tag's last photos and those of the prior, and their number."""
    out = np.zeros((len(pairs), 2), np.float32)
    view, prior = asked.view, asked.knowledge.prior
    tick = asked.tick[pairs.question]
    n_prior = asked.at_prior(prior.photos, pairs.tag)
    out[:, 1] = np.log1p(view.photos_with(pairs.tag, tick) + n_prior)
    similar = asked.similar
    if similar is None:
        return out
    pair, row = view.last_photos(pairs.tag, tick, limit=LAST_PHOTOS)
    score = similar.scores[pairs.question[pair], row]
    # A photo without a time lies before every question, and so does each of the prior.
    score = np.where(np.isfinite(score), score, 0.0)
    total = np.bincount(pair, weights=score, minlength=len(pairs))
    n = np.bincount(pair, minlength=len(pairs)) + n_prior
    if prior.n_posts:
        known, tag = at_vocabulary(asked, pairs)
        if len(pairs) < len(prior.photo_sums):  # less to read than all of them
            alike = np.einsum("pj,pj->p", prior.photo_sums[tag], asked.photo[pairs.question])
        else:
            alike = products(asked.photo, prior.photo_sums)[pairs.question, tag]
        total = total + np.where(known, alike, 0.0)
    out[:, 0] = total / (n + SHRINK) * asked.has_photo[pairs.question]
    return out


def _neighbours(asked: Asked, pairs: Pairs) -> Floats:
    return (np.log(asked.near_share + 1e-3) - np.float32(np.log(1e-3)))[:, None]


def _lately(asked: Asked, pairs: Pairs) -> Floats:
    """What other people did with photos like this one in the last days.

    Mean similarity to the photos that they gave the tag, and the log share of the photos like this
    one, sharply weighted, that got it.
    """
    out = np.zeros((len(pairs), 2), np.float32)
    lately = asked.lately
    if lately is None or not len(lately.tag):
        return out
    similarity, alike = lately.keys[:, :, 0], lately.keys[:, :, 1]
    filled = lately.filled.astype(np.float32)
    total, n, carried = lately.totals(pairs, [similarity, filled, alike])
    out[:, 0] = total / (n + SHRINK)
    share = carried / (alike.sum(axis=1)[pairs.question] + RECENT_SHRINK)
    out[:, 1] = np.log1p(share / 0.01)
    return out


def lately_memory(asked: Asked, similar: Similar | None, *, n_slots: int) -> Memory | None:
    """Others' posts of the last days whose photos look most like this one, from `Similar`."""
    if similar is None:
        return None
    view = asked.view
    since = np.maximum(asked.tick - int(RECENT_DAYS * DAY_TICKS), 1)
    scores, first = similar.lately(asked.tick, asked.asker, since=since)
    scores[~asked.has_photo] = -np.inf
    column, best = nearest(scores, view.photo_tick[first : similar.n], limit=n_slots)
    filled = np.isfinite(best)
    if not filled.any():
        return None
    slots = view.photo_slot[first : similar.n]
    rows = np.where(filled, slots[np.minimum(column, len(slots) - 1)], 0)
    question, slot = np.nonzero(filled)
    post = rows[question, slot]
    entry_of, tag = view.uses_of(post)
    best = np.where(filled, best, 0.0).astype(np.float32)
    keys = np.stack([best, np.exp(8.0 * (best - 1.0)) * filled], axis=-1)
    return Memory(rows, filled, keys, question[entry_of], slot[entry_of], tag)


PIXELS = Signal(
    "pixels",
    (
        Feature("head_log_prob", ("pixels",), "picture", when_unknown=FLOOR_LOG_PROB),
        Feature("head_known", ("pixels",), "picture", when_unknown=0.0),
        Feature("topic_log_chance", ("pixels",), "picture", when_unknown=0.0),
        Feature("bridge", ("pixels",), "picture", when_unknown=0.0),
        Feature("kinds", ("pixels",), "picture", when_unknown=0.0),
        Feature("words", ("pixels",), "picture"),
    ),
    _pixels,
)
PROTOTYPES = Signal(
    "prototypes",
    (
        Feature("prototype", ("pixels",), "picture", when_unseen=0.0),
        Feature("photos_log", ("pixels",), "picture", when_unseen=0.0),
    ),
    _prototypes,
)
NEIGHBOURS = Signal(
    "neighbours",
    (Feature("neighbour_share", ("pixels",), "neighbours", when_unseen=0.0),),
    _neighbours,
)
LATELY = Signal(
    "lately",
    (
        Feature("recent_similarity", ("pixels", "trend"), "rising", when_unseen=0.0),
        Feature("recent_share", ("pixels", "trend"), "rising", when_unseen=0.0),
    ),
    _lately,
)
