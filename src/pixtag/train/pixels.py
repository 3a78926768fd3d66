"""What is learned of photos before any post is replayed: the head, topics, labelled kinds.

Shapes:
    N: posts. D: encoder width. J: joint space. V: vocabulary. K: topics or kinds.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.cluster.vq import kmeans2

from pixtag.network import SHAPES
from pixtag.signals.head import Head
from pixtag.signals.topics import TAGS_COUNT, Topics
from pixtag.signals.words import class_tag_matrix
from pixtag.train.checkpoints import Arrays, Checkpoints
from pixtag.train.config import TrainConfig
from pixtag.types import Bools, Floats, Halfs, Ints, PostLog

MAX_TAGS = 30  # tags of one post that the head and the topics learn from
LARGEST_BATCH, LEAST_BATCH = 256, 32
HEAD_LEARNING_RATE, HEAD_WEIGHT_DECAY, HEAD_DROPOUT = 2e-3, 0.05, 0.3

ROUNDS, STEPS = 15, 25  # of expectation maximisation, and of gradient descent in each
TOPIC_LEARNING_RATE, TOPIC_WEIGHT_DECAY = 2e-2, 5e-4
POSTS_A_TOPIC = 20  # a topic needs about so many posts
SHRINK_POSTS = 5.0  # posts with the usual tags that are added to each topic
KIND_EPOCHS, KIND_LEARNING_RATE, KIND_WEIGHT_DECAY = 16, 5e-3, 2e-3
RARE_PHOTOS, MOST_MORE = 80.0, 4.0  # a label of fewer photos counts more, at most so much
PERSON = "person"  # the label of photos that show somebody, or a part of them
HEAD_ARRAYS = ("center", "projection", "tag_vectors", "tag_bias")
TOPIC_ARRAYS = ("weight", "bias", "chance", "usual")


@dataclass(frozen=True)
class Pixels:
    """The head and the topics of one set of posts."""

    head: Head
    topics: Topics | None

    @classmethod
    def of(cls, arrays: Arrays) -> Pixels:
        """The opposite of `arrays`."""
        head = Head(*(arrays[f"head/{name}"] for name in HEAD_ARRAYS))
        if "topics/weight" not in arrays:
            return cls(head, None)
        return cls(head, Topics(*(arrays[f"topics/{n}"].astype(np.float32) for n in TOPIC_ARRAYS)))

    def arrays(self) -> Arrays:
        """By the names of a model's weights."""
        out: Arrays = {f"head/{n}": getattr(self.head, n) for n in HEAD_ARRAYS}
        if self.topics is not None:
            out |= {f"topics/{name}": getattr(self.topics, name) for name in TOPIC_ARRAYS}
            out["topics/chance"] = self.topics.chance.astype(np.float16)
        return out


def fit_pixels(
    log: PostLog,
    table: tuple[Ints, Floats],
    chosen: Bools,
    config: TrainConfig,
    checkpoints: Checkpoints,
    *,
    n_tags: int,
    fold: int | None = None,
) -> Pixels:
    """Fit head and topics on the chosen posts with a photo, or take up what an earlier run left.

    The `table` of all N posts is from `tag_table`; `fold` names the posts that are not chosen.
    """
    step = f"pixels-{'full' if fold is None else fold}"
    known = checkpoints.load(step)
    if known is not None:
        return Pixels.of(known)
    rows = np.flatnonzero(chosen & log.has_photo)
    embeddings = log.embeddings[rows].astype(np.float32)
    ids, mask = table[0][rows], table[1][rows]
    seed = config.seed * 100 + (0 if fold is None else fold + 1)
    joint, epochs = SHAPES[config.size].joint, config.head_epochs
    head = fit_head(embeddings, ids, mask, n_tags=n_tags, joint=joint, epochs=epochs, seed=seed)
    photo = head.project(embeddings)
    topics = fit_topics(photo, ids, mask, n_tags=n_tags, most=config.topics, seed=seed)
    fitted = Pixels(head, topics)
    checkpoints.save(step, fitted.arrays())
    return fitted


def tag_table(
    log: PostLog, vocabulary: Sequence[str], *, width: int = MAX_TAGS
) -> tuple[Ints, Floats]:
    """Lay the posts' tags of the vocabulary side by side, the first `width` of each post.

    Returns indices into the vocabulary `[N, width]`, 0 in the padding, and 1 where a tag stands.
    """
    ids = np.zeros((len(log), width), np.int64)
    mask = np.zeros((len(log), width), np.float32)
    index = {tag: i for i, tag in enumerate(vocabulary)}
    known = np.array([index.get(tag, -1) for tag in [*log.tags, ""]], np.int64)[log.tag_ids]
    row, known = log.post_of_use[known >= 0], known[known >= 0]
    first = np.searchsorted(row, np.arange(len(log)))
    place = np.arange(len(row)) - first[row]
    kept = place < width
    ids[row[kept], place[kept]] = known[kept]
    mask[row[kept], place[kept]] = 1.0
    return ids, mask


def fit_head(
    embeddings: Floats, ids: Ints, mask: Floats, *, n_tags: int, joint: int, epochs: int, seed: int
) -> Head:
    """Fit the pixel head: a softmax over the tags used, on frozen embeddings.

    Of embeddings `[N, D]` and tags from `tag_table`; `n_tags` is V, `joint` is J. The tag vectors
    are all zeros when there is no post or no tag to learn from.
    """
    width = embeddings.shape[1]
    has_tag = mask.sum(axis=1) > 0
    embeddings, ids, mask = embeddings[has_tag], ids[has_tag], mask[has_tag]
    n = len(embeddings)
    center = embeddings.mean(axis=0) if n else np.zeros(width, np.float32)
    rng = np.random.default_rng(seed)
    projection = rng.normal(0, 1 / np.sqrt(max(width, 1)), (width, joint)).astype(np.float32)
    if n == 0 or n_tags == 0:
        empty = np.zeros((n_tags, joint), np.float32)
        return Head(center, projection, empty, np.zeros(n_tags, np.float32))
    uses = np.bincount(ids[mask > 0], minlength=n_tags)
    params = {
        "projection": projection,
        "tags": rng.normal(0, 0.1, (n_tags, joint)).astype(np.float32),
        "bias": np.log((uses + 1.0) / (uses.sum() + n_tags)).astype(np.float32),
    }
    steps, batch = _steps(n)
    seen = jnp.asarray(embeddings - center, jnp.float32)
    data = (seen, jnp.asarray(ids, jnp.int32), jnp.asarray(mask))
    state = (params, _head_optimizer(epochs * steps).init(params))
    for epoch in range(epochs):
        key = jax.random.PRNGKey(seed * 1000 + epoch)
        state = _head_epoch(epochs * steps, steps, batch, data, state, key)
    fitted: dict[str, Any] = jax.tree.map(np.asarray, state[0])
    return Head(center.astype(np.float32), fitted["projection"], fitted["tags"], fitted["bias"])


def _head_optimizer(n_steps: int) -> Any:
    schedule = optax.cosine_decay_schedule(HEAD_LEARNING_RATE, n_steps)
    return optax.adamw(schedule, weight_decay=HEAD_WEIGHT_DECAY)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _head_epoch(n_steps: int, steps: int, batch: int, data: Any, state: Any, key: Any) -> Any:
    embeddings, ids, mask = data
    order_key, drop_key = jax.random.split(key)
    order = jax.random.permutation(order_key, embeddings.shape[0])[: steps * batch]

    def loss(params: Any, inputs: Any) -> Any:
        rows, step_key = inputs
        kept = jax.random.bernoulli(step_key, 1 - HEAD_DROPOUT, (batch, embeddings.shape[1]))
        seen = embeddings[rows] * kept / (1 - HEAD_DROPOUT)
        joint = seen @ params["projection"]
        joint = joint * jax.lax.rsqrt(jnp.sum(joint**2, axis=1, keepdims=True) + 1e-12)
        log_probs = jax.nn.log_softmax(joint @ params["tags"].T + params["bias"])
        picked = jnp.take_along_axis(log_probs, ids[rows], axis=1) * mask[rows]
        return -jnp.mean(picked.sum(axis=1) / mask[rows].sum(axis=1))

    inputs = (order.reshape(steps, batch), jax.random.split(drop_key, steps))
    return _descend(loss, _head_optimizer(n_steps), state, inputs)


def fit_topics(
    photo: Floats, ids: Ints, mask: Floats, *, n_tags: int, most: int, seed: int
) -> Topics | None:
    """Fit a mixture whose parts have a look and a set of tags, by expectation maximisation.

    Each round guesses every post's topic from its pixels and tags, then lets the tags of each topic
    and a linear classifier of the pixels follow. The classifier is kept weak on purpose: a strong
    one learns each post by heart and the tags have no say.

    Of unit vectors in the joint space `[N, J]` and tags from `tag_table`; `n_tags` is V. There are
    fewer than `most` topics when there are few posts, and None where there would be less than two.
    """
    tagged = mask.sum(axis=1) > 0
    photo, ids, mask = photo[tagged], ids[tagged], mask[tagged]
    n_topics = min(most, len(photo) // POSTS_A_TOPIC)
    if n_topics < 2 or n_tags == 0:
        return None
    has = np.zeros((len(photo), n_tags), np.float32)
    row, place = np.nonzero(mask)
    has[row, ids[row, place]] = 1.0
    center = photo.mean(axis=0)
    scale = 8.0 / np.sqrt(photo.shape[1]) / max(float((photo - center).std()), 1e-6)
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings():
        # More topics than the photos have kinds: some stay empty.
        warnings.filterwarnings("ignore", "One of the clusters is empty")
        _, first = kmeans2(photo.astype(np.float64), n_topics, iter=20, minit="++", rng=rng)
    shares = np.full((len(photo), n_topics), 0.1 / n_topics, np.float32)
    shares[np.arange(len(photo)), first] += 0.9
    fitted = _maximise(jnp.asarray((photo - center) * scale), jnp.asarray(has), shares)
    weight = np.asarray(fitted[0]) * np.float32(scale)
    bias = np.asarray(fitted[1]) - center @ weight
    # A model keeps these chances, the most of its weights, in half precision.
    chance = np.asarray(fitted[2]).astype(np.float16).astype(np.float32)
    usual = np.asarray(fitted[3]) + np.float32(1e-4)
    return Topics(weight.astype(np.float32), bias.astype(np.float32), chance, usual)


@jax.jit
def _maximise(seen: Any, has: Any, shares: Any) -> Any:
    usual = has.mean(axis=0)
    optimizer = optax.adam(TOPIC_LEARNING_RATE)
    n_topics = shares.shape[1]
    params = (jnp.zeros((seen.shape[1], n_topics)), jnp.zeros(n_topics))

    def chances(shares: Any) -> Any:
        chance = shares.T @ has + SHRINK_POSTS * usual
        return jnp.clip(chance / (shares.sum(axis=0)[:, None] + SHRINK_POSTS), 1e-4, 0.99)

    def turn(state: Any, _: Any) -> Any:
        params, memory, shares = state
        chance = chances(shares)

        def loss(params: Any, _: Any) -> Any:
            log_chance = jax.nn.log_softmax(seen @ params[0] + params[1])
            decay = TOPIC_WEIGHT_DECAY * (params[0] ** 2).sum()
            return -(shares * log_chance).sum(1).mean() + decay

        params, memory = _descend(loss, optimizer, (params, memory), None, length=STEPS)
        absent = jnp.log1p(-chance)
        by_tags = has @ (jnp.log(chance) - absent).T + absent.sum(axis=1)
        by_pixels = jax.nn.log_softmax(seen @ params[0] + params[1])
        return (params, memory, jax.nn.softmax(by_pixels + TAGS_COUNT * by_tags)), None

    state = (params, optimizer.init(params), shares)
    params, _, shares = jax.lax.scan(turn, state, None, length=ROUNDS)[0]
    return (*params, chances(shares), shares.mean(axis=0))


def fit_kinds(
    embeddings: Floats,
    targets: Halfs,
    weight: Halfs,
    tags_of_kind: Mapping[str, Sequence[str]],
    vocabulary: Sequence[str],
) -> Arrays:
    """Fit a second bridge by logistic regressions, one a label, on what is known of each photo.

    Args:
        embeddings: Of N labelled photos, `[N, D]`.
        targets: 1 where a photo has a label, in the order of their names, `[N, K]`.
        weight: What each cell counts, `[N, K]`; 0 where nothing is known. Rare labels count more;
            one without a photo here is never named.
        tags_of_kind: Tags that people put on photos of each label, best first.
        vocabulary: Tags, V of them.

    Returns:
        What `model.bridge_of_labels` reads.
    """
    kinds, n = sorted(tags_of_kind), len(embeddings)
    said = (targets * weight).sum(axis=0, dtype=np.float32)
    more = np.clip(np.sqrt(RARE_PHOTOS / np.maximum(said, 1.0)), 1.0, MOST_MORE)
    cells = weight * np.where(targets > 0, more, 1.0).astype(np.float16)
    center, scale = embeddings.mean(axis=0), embeddings.std(axis=0).mean()
    base = np.clip(said / np.maximum(weight.sum(axis=0, dtype=np.float32), 1e-6), 1e-5, 0.5)
    params = (
        jnp.zeros((embeddings.shape[1], len(kinds))),
        jnp.asarray(np.log(base / (1 - base)), jnp.float32),
    )
    steps, batch = _steps(n)
    data = (jnp.asarray((embeddings - center) / scale), jnp.asarray(targets), jnp.asarray(cells))
    state = (params, _kinds_optimizer(KIND_EPOCHS * steps).init(params))
    for epoch in range(KIND_EPOCHS):
        state = _kinds_epoch(steps, batch, data, state, jax.random.PRNGKey(epoch))
    fitted = np.asarray(state[0][0]).T / scale
    bias = np.asarray(state[0][1]) - fitted @ center
    absent = said == 0
    bias[absent] = -10.0
    fitted[absent] = 0.0
    return {
        "weight": fitted.astype(np.float32),
        "bias": bias.astype(np.float32),
        "matrix": class_tag_matrix([tags_of_kind[kind] for kind in kinds], vocabulary),
        "person": np.array([i for i, kind in enumerate(kinds) if kind == PERSON], np.int64),
    }


def _kinds_optimizer(n_steps: int) -> Any:
    return optax.adam(optax.cosine_decay_schedule(KIND_LEARNING_RATE, n_steps))


@partial(jax.jit, static_argnums=(0, 1))
def _kinds_epoch(steps: int, batch: int, data: Any, state: Any, key: Any) -> Any:
    embeddings, targets, cells = data
    order = jax.random.permutation(key, embeddings.shape[0])[: steps * batch]

    def loss(params: Any, rows: Any) -> Any:
        drop_key = jax.random.fold_in(key, rows[0])
        kept = jax.random.bernoulli(drop_key, 1 - HEAD_DROPOUT, (batch, embeddings.shape[1]))
        logits = (embeddings[rows] * kept / (1 - HEAD_DROPOUT)) @ params[0] + params[1]
        each = optax.sigmoid_binary_cross_entropy(logits, targets[rows].astype(jnp.float32))
        decay = KIND_WEIGHT_DECAY * (params[0] ** 2).sum()
        return (each * cells[rows]).sum() / batch + decay

    optimizer = _kinds_optimizer(KIND_EPOCHS * steps)
    return _descend(loss, optimizer, state, order.reshape(steps, batch))


def _steps(n: int) -> tuple[int, int]:
    """Steps of an epoch and the posts of each: a small log needs many steps too."""
    batch = min(LARGEST_BATCH, n, max(LEAST_BATCH, n // 32))
    return n // batch, batch


def _descend(loss: Any, optimizer: Any, state: Any, inputs: Any, length: int | None = None) -> Any:
    """Follow `loss(params, input)` downhill, a step an input; the state after the last one."""

    def step(state: Any, one: Any) -> Any:
        params, memory = state
        updates, memory = optimizer.update(jax.grad(loss)(params, one), memory, params)
        return (optax.apply_updates(params, updates), memory), None

    return jax.lax.scan(step, state, inputs, length=length)[0]
