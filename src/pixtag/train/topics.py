"""Fits the topics: a mixture whose parts have a look and a set of tags, without any labels."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.cluster.vq import kmeans2

from pixtag.signals.topics import TAGS_COUNT, Topics
from pixtag.types import Floats, Ints

ROUNDS = 15
STEPS = 25
LEARNING_RATE = 2e-2
WEIGHT_DECAY = 5e-4
POSTS_A_TOPIC = 20
"""A topic needs about so many posts."""

SHRINK_POSTS = 5.0
"""Posts with the usual tags that are added to each topic."""


def fit_topics(
    photo: Floats, ids: Ints, mask: Floats, *, n_tags: int, most: int, seed: int
) -> Topics | None:
    """Fit a mixture of topics by expectation maximisation.

    Each round guesses every post's topic from its pixels and tags, then lets the tags of each topic
    and a linear classifier of the pixels follow. The classifier is kept weak on purpose: a strong
    one learns each post by heart and the tags have no say.

    Shapes:
        N: posts with a photo. J: joint space. V: vocabulary.

    Args:
        photo: Unit vectors in the joint space, `[N, J]`.
        ids: Tags of the posts, `[N, width]`.
        mask: 1 where `ids` holds a tag.
        n_tags: V.
        most: Topics at most; fewer when there are few posts.
        seed: Same seed, same topics.

    Returns:
        The topics, or None where there is too little to learn from.
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
    return Topics(
        weight.astype(np.float32),
        bias.astype(np.float32),
        # A bundle keeps these, the most of its weights, in half precision.
        np.asarray(fitted[2]).astype(np.float16).astype(np.float32),
        np.asarray(fitted[3]) + np.float32(1e-4),
    )


@jax.jit
def _maximise(seen: Any, has: Any, shares: Any) -> Any:
    usual = has.mean(axis=0)
    optimizer = optax.adam(LEARNING_RATE)
    n_topics = shares.shape[1]
    params = (jnp.zeros((seen.shape[1], n_topics)), jnp.zeros(n_topics))

    def chances(shares: Any) -> Any:
        chance = shares.T @ has + SHRINK_POSTS * usual
        return jnp.clip(chance / (shares.sum(axis=0)[:, None] + SHRINK_POSTS), 1e-4, 0.99)

    def step(state: Any, _: Any, *, shares: Any) -> Any:
        params, memory = state

        def loss(params: Any) -> Any:
            log_chance = jax.nn.log_softmax(seen @ params[0] + params[1])
            return -(shares * log_chance).sum(1).mean() + WEIGHT_DECAY * (params[0] ** 2).sum()

        updates, memory = optimizer.update(jax.grad(loss)(params), memory)
        return (optax.apply_updates(params, updates), memory), None

    def turn(state: Any, _: Any) -> Any:
        params, memory, shares = state
        chance = chances(shares)
        moved = jax.lax.scan(partial(step, shares=shares), (params, memory), None, length=STEPS)
        params, memory = moved[0]
        absent = jnp.log1p(-chance)
        by_tags = has @ (jnp.log(chance) - absent).T + absent.sum(axis=1)
        by_pixels = jax.nn.log_softmax(seen @ params[0] + params[1])
        return (params, memory, jax.nn.softmax(by_pixels + TAGS_COUNT * by_tags)), None

    state = (params, optimizer.init(params), shares)
    params, _, shares = jax.lax.scan(turn, state, None, length=ROUNDS)[0]
    return (*params, chances(shares), shares.mean(axis=0))
