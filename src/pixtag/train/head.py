"""Fits the pixel head: a softmax over the tags used, on frozen embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pixtag.signals.head import Head
from pixtag.types import Floats, Ints, PostLog

MAX_TAGS = 30
LEAST_BATCH = 32


def tag_table(
    log: PostLog, vocabulary_of: Ints, *, n_tags: int, width: int = MAX_TAGS
) -> tuple[Ints, Floats]:
    """Vocabulary indices of the posts' tags, padded.

    Args:
        log: N posts.
        vocabulary_of: Index into the vocabulary of each of the log's tags, V where it is not in.
        n_tags: V.
        width: Tags kept for a post.

    Returns:
        Indices `[N, width]`, 0 in the padding, and 1 where a tag stands `[N, width]`.
    """
    ids = np.zeros((len(log), width), np.int64)
    mask = np.zeros((len(log), width), np.float32)
    known = vocabulary_of[log.tag_ids]
    row = np.repeat(np.arange(len(log)), np.diff(log.tag_start))
    inside = known < n_tags
    row, known = row[inside], known[inside]
    first = np.searchsorted(row, np.arange(len(log)))
    place = np.arange(len(row)) - first[row]
    kept = place < width
    ids[row[kept], place[kept]] = known[kept]
    mask[row[kept], place[kept]] = 1.0
    return ids, mask


def fit_head(
    embeddings: Floats,
    ids: Ints,
    mask: Floats,
    *,
    n_tags: int,
    joint: int,
    epochs: int,
    seed: int,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.05,
    dropout: float = 0.3,
    batch: int = 256,
) -> Head:
    """Fit a head on posts with photos.

    Shapes:
        N: posts. D: encoder width. J: joint space. V: vocabulary.

    Args:
        embeddings: `[N, D]`.
        ids: Tags of the posts, `[N, width]`.
        mask: 1 where `ids` holds a tag.
        n_tags: V.
        joint: J.
        epochs: Passes over the posts.
        seed: Same seed, same head.
        learning_rate: Peak; falls to zero along a cosine.
        weight_decay: Decoupled.
        dropout: Share of embedding dimensions silenced in training.
        batch: Posts a step, at most.

    Returns:
        The head; all zeros when there is no post or no tag to learn from.
    """
    width = embeddings.shape[1]
    has_tag = mask.sum(axis=1) > 0
    embeddings, ids, mask = embeddings[has_tag], ids[has_tag], mask[has_tag]
    n = len(embeddings)
    center = embeddings.mean(axis=0) if n else np.zeros(width, np.float32)
    rng = np.random.default_rng(seed)
    projection = rng.normal(0, 1 / np.sqrt(max(width, 1)), (width, joint)).astype(np.float32)
    if n == 0 or n_tags == 0:
        return Head(
            center, projection, np.zeros((n_tags, joint), np.float32), np.zeros(n_tags, np.float32)
        )
    uses = np.bincount(ids[mask > 0], minlength=n_tags)
    params = {
        "projection": projection,
        "tags": rng.normal(0, 0.1, (n_tags, joint)).astype(np.float32),
        "bias": np.log((uses + 1.0) / (uses.sum() + n_tags)).astype(np.float32),
    }
    # A small log needs steps too, about as many an epoch as a large one.
    batch = min(batch, n, max(LEAST_BATCH, n // 32))
    steps = n // batch
    recipe = _Recipe(learning_rate, weight_decay, dropout, epochs, steps, batch)
    data = (
        jnp.asarray(embeddings - center, jnp.float32),
        jnp.asarray(ids, jnp.int32),
        jnp.asarray(mask),
    )
    state = (params, recipe.optimizer().init(params))
    for epoch in range(epochs):
        key = jax.random.PRNGKey(seed * 1000 + epoch)
        state = _epoch(recipe, data, state, key)
    fitted: dict[str, Any] = jax.tree.map(np.asarray, state[0])
    return Head(center.astype(np.float32), fitted["projection"], fitted["tags"], fitted["bias"])


@dataclass(frozen=True)
class _Recipe:
    """What is compiled into a pass over the posts; equal ones are compiled once."""

    learning_rate: float
    weight_decay: float
    dropout: float
    epochs: int
    steps: int
    batch: int

    def optimizer(self) -> Any:
        schedule = optax.cosine_decay_schedule(self.learning_rate, self.epochs * self.steps)
        return optax.adamw(schedule, weight_decay=self.weight_decay)


@partial(jax.jit, static_argnums=0)
def _epoch(recipe: _Recipe, data: Any, state: Any, key: Any) -> Any:
    embeddings, ids, mask = data
    steps, batch, dropout = recipe.steps, recipe.batch, recipe.dropout
    optimizer = recipe.optimizer()
    order_key, drop_key = jax.random.split(key)
    order = jax.random.permutation(order_key, embeddings.shape[0])[: steps * batch]

    def step(state: Any, inputs: Any) -> Any:
        rows, step_key = inputs
        params, memory = state

        def loss(params: Any) -> Any:
            kept = jax.random.bernoulli(step_key, 1 - dropout, (batch, embeddings.shape[1]))
            seen = embeddings[rows] * kept / (1 - dropout)
            joint = seen @ params["projection"]
            joint = joint / (jnp.linalg.norm(joint, axis=1, keepdims=True) + 1e-6)
            log_probs = jax.nn.log_softmax(joint @ params["tags"].T + params["bias"])
            picked = jnp.take_along_axis(log_probs, ids[rows], axis=1) * mask[rows]
            return -jnp.mean(picked.sum(axis=1) / mask[rows].sum(axis=1))

        gradient = jax.grad(loss)(params)
        updates, memory = optimizer.update(gradient, memory, params)
        return (optax.apply_updates(params, updates), memory), None

    keys = jax.random.split(drop_key, steps)
    state, _ = jax.lax.scan(step, state, (order.reshape(steps, batch), keys))
    return state
