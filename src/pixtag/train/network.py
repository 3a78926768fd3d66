"""Fits the network on replayed posts: listwise, with sources dropped, in JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from pixtag.network import scores
from pixtag.signals.prototypes import Prototypes
from pixtag.state import (
    CONTEXT_NAMES,
    FEATURE_NAMES,
    FLOOR_LOG_PROB,
    HISTORY_NAMES,
    PIXEL_NAMES,
    TASTE_NAMES,
    TREND_LIKE,
    TREND_NAMES,
    Scored,
)
from pixtag.types import Bools, Floats, Ints

OWN_PIXEL_KEYS = 6
"""The first key features of the own memory come from pixels."""

NEAR_HISTORY_KEYS = (5, 6)
"""Key features of the neighbours that come from the asker's history."""

HIDDEN_SHARE = 0.1
"""Share of candidates that training hides from what knows only the vocabulary.

A store brings tags that a bundle has never seen. In the training period nearly every tag is in the
vocabulary, so without this the network would hardly meet an unknown one.
"""

PUBLIC_LOG = float(np.log1p(2.5))
"""Above this a logged count of people is three or more."""

LEAST_FLAG_STD = 0.3
"""Flags that were nearly always on in training must not explode when one goes off."""


@dataclass(frozen=True)
class Examples:
    """Replayed posts with their answers.

    Attributes:
        scored: Candidates and signals of N posts; features as fp16 to save memory.
        used: 1 where a candidate was used, `[N, C]`.
        n_used: Tags of each post, candidates or not, `[N]`.
        weight: Of each post in the loss, `[N]`.
    """

    scored: Scored
    used: Bools
    n_used: Ints
    weight: Floats

    def __len__(self) -> int:
        return len(self.used)


def constants(scored: Scored) -> dict[str, NDArray[np.float32]]:
    """Means and spreads of the inputs, and which source each feature belongs to."""
    filled = scored.features[scored.filled].astype(np.float32)
    context = scored.context.astype(np.float32)
    needed = np.zeros((3, len(FEATURE_NAMES)), np.float32)
    for i, name in enumerate(FEATURE_NAMES):
        needed[0, i] = name in PIXEL_NAMES or name in TASTE_NAMES
        needed[1, i] = name in HISTORY_NAMES or name in TASTE_NAMES
        needed[2, i] = name in TREND_NAMES or name in TREND_LIKE
    mean, std = context.mean(axis=0), context.std(axis=0) + 1e-3
    std[:3] = np.maximum(std[:3], LEAST_FLAG_STD)
    feature_std = filled.std(axis=0) + 1e-3
    known = FEATURE_NAMES.index("head_known")
    feature_std[known] = max(feature_std[known], LEAST_FLAG_STD)
    return {
        "norm/mean": filled.mean(axis=0),
        "norm/std": feature_std,
        "norm/context_mean": mean,
        "norm/context_std": std,
        "source/needed": needed,
    }


def silence(inputs: Mapping[str, Any], speaks: Any) -> dict[str, Any]:
    """Take sources away from a batch, as the state would.

    Args:
        inputs: As `pixtag.network.scores` reads them.
        speaks: 1 where pixels, history and trend may speak, `[B, 3]`.
    """
    pixels, history = speaks[:, 0], speaks[:, 1]
    context = inputs["context"]
    pixel_context = [CONTEXT_NAMES.index(n) for n in _PIXEL_CONTEXT]
    history_context = [CONTEXT_NAMES.index(n) for n in _HISTORY_CONTEXT]
    keep = jnp.ones_like(context)
    keep = keep.at[:, :3].set(speaks)
    keep = keep.at[:, jnp.array(pixel_context)].set(pixels[:, None])
    keep = keep.at[:, jnp.array(history_context)].set(history[:, None])
    both = CONTEXT_NAMES.index("topic_posts_log")
    keep = keep.at[:, both].set(pixels * history)
    own_keys = inputs["own_keys"]
    own_keys = own_keys.at[:, :, :OWN_PIXEL_KEYS].multiply(pixels[:, None, None])
    near_keys = inputs["near_keys"]
    of_history = jnp.array(NEAR_HISTORY_KEYS)
    near_keys = near_keys.at[:, :, of_history].multiply(history[:, None, None])
    return {
        **inputs,
        "context": context * keep,
        "own_keys": own_keys,
        "near_keys": near_keys,
        "own_filled": inputs["own_filled"] * history[:, None],
        "near_filled": inputs["near_filled"] * pixels[:, None],
    }


_PIXEL_CONTEXT = ("head_top", "head_entropy", "nearest_similarity", "mean_similarity")
_HISTORY_CONTEXT = ("history_log", "gap_log_hours", "own_tags_a_post", "repeat_share")


def offered_to_strangers(features: NDArray[Any]) -> Bools:
    """Which candidates anybody may be offered, whatever their history, `[B, C]`.

    Where history is silenced after the candidates were found, those that only the person's own
    history may propose must go: that they stand there at all would tell that they are used.
    """
    people, bridge, kinds = (
        features[:, :, FEATURE_NAMES.index(name)] for name in ("people_log", "bridge", "kinds")
    )
    return (people > PUBLIC_LOG) | (bridge > 0) | (kinds > 0)


def without_sources(examples: Examples, *, seed: int, private: bool = False) -> Examples:
    """The same posts, each with a drawn subset of the sources silenced.

    Args:
        examples: N posts.
        seed: Of the draw.
        private: Whether private candidates go where history is silent.
    """
    speaks = draw_sources(np.random.default_rng((seed, 37)), len(examples), share=1.0)
    scored = examples.scored
    filled = scored.filled
    if private:
        filled = filled & (offered_to_strangers(scored.features) | (speaks[:, 1:2] > 0))
    names = ("context", "own_keys", "near_keys", "own_filled", "near_filled")
    inputs = {n: jnp.asarray(getattr(scored, n), jnp.float32) for n in names}
    silent = {n: np.asarray(v) for n, v in silence(inputs, jnp.asarray(speaks)).items()}
    return replace(
        examples,
        scored=replace(
            scored,
            context=silent["context"],
            own_keys=silent["own_keys"].astype(scored.own_keys.dtype),
            near_keys=silent["near_keys"].astype(scored.near_keys.dtype),
            own_filled=silent["own_filled"] > 0,
            near_filled=silent["near_filled"] > 0,
            filled=filled,
        ),
        used=examples.used & filled,
    )


def batch_of(examples: Examples, rows: Ints) -> dict[str, NDArray[Any]]:
    """The network's inputs and answers of some posts, in compact types."""
    scored = examples.scored
    names = [f.name for f in fields(Scored) if f.name not in {"tag", "own_rows", "near_rows"}]
    out = {name: getattr(scored, name)[rows] for name in names}
    return out | {
        "used": examples.used[rows],
        "n_used": examples.n_used[rows],
        "weight": examples.weight[rows],
    }


OF_THE_VOCABULARY = {
    "head_log_prob": FLOOR_LOG_PROB,
    "head_known": 0.0,
    "topic_log_chance": 0.0,
    "bridge": 0.0,
    "kinds": 0.0,
    "own_over_expected": 0.0,
    "own_over_expected_lately": 0.0,
}
"""Features that only a tag of the vocabulary has, and what they are for any other."""


def hide_known(batch: dict[str, NDArray[Any]], hidden: Bools) -> dict[str, NDArray[Any]]:
    """Make candidates look as if the vocabulary lacked them, as tags of a new store are.

    Args:
        batch: From `batch_of`.
        hidden: Which candidates, `[B, C]`.
    """
    features = batch["features"].copy()
    for name, value in OF_THE_VOCABULARY.items():
        features[:, :, FEATURE_NAMES.index(name)][hidden] = value
    return {**batch, "features": features}


OF_PHOTOS = (*Prototypes.names, "neighbour_share")
"""Features that only a tag has that photos carried; 0 for any other."""


def hide_photos(batch: dict[str, NDArray[Any]], hidden: Bools) -> dict[str, NDArray[Any]]:
    """Make candidates look as if no photo had carried them, as tags of posts without photos are.

    Args:
        batch: From `batch_of`.
        hidden: Which candidates, `[B, C]`; they should be unknown to the vocabulary too.
    """
    features = batch["features"].copy()
    for name in OF_PHOTOS:
        features[:, :, FEATURE_NAMES.index(name)][hidden] = 0.0
    near_member = batch["near_member"].copy()
    near_member[hidden] = False
    return {**batch, "features": features, "near_member": near_member}


def reorder_rows(scored: Scored, rows: Ints) -> Scored:
    """Some of the queries."""
    return Scored(**{f.name: getattr(scored, f.name)[rows] for f in fields(Scored)})


def listwise_loss(weights: Any, batch: Mapping[str, Any], speaks: Any) -> Any:
    """Softmax cross-entropy over a post's candidates against its used tags, averaged."""
    inputs = {
        name: jnp.asarray(value, jnp.float32)
        for name, value in batch.items()
        if name not in {"used", "n_used", "weight", "filled"}
    }
    score = scores(weights, silence(inputs, speaks), xp=jnp)
    score = jnp.where(batch["filled"], score, -1e9)
    log_shares = jax.nn.log_softmax(score)
    used = batch["used"].astype(jnp.float32)
    n_found = used.sum(axis=1)
    per_post = -(log_shares * used).sum(axis=1) / jnp.maximum(n_found, 1.0)
    weight = batch["weight"] * (n_found > 0)
    return (per_post * weight).sum() / jnp.maximum(weight.sum(), 1e-6)


def is_constant(name: str) -> bool:
    """Whether a weight is an input constant or calibration, which gradients do not move."""
    return name.startswith(("norm/", "source/", "calibration/", "head/", "topics/"))


@dataclass(frozen=True)
class Optimizer:
    """How the network is moved.

    Attributes:
        learning_rate: Peak; rises over the first tenth and falls along a cosine.
        weight_decay: Decoupled.
        epochs: Passes over the examples.
        steps: Batches in an epoch.
        batch: Posts a batch.
        drop_sources: Share of posts in a batch from which sources are taken.
        seed: Of batches and dropped sources.
        photoless: Of the candidates that the vocabulary seems to lack, the share that no photo
            seems to carry.
        private: Whether private candidates go where history is silenced.
    """

    learning_rate: float
    weight_decay: float
    epochs: int
    steps: int
    batch: int
    drop_sources: float
    seed: int
    photoless: float = 0.0
    private: bool = False

    def transform(self) -> Any:
        """The optax transformation."""
        total = max(1, self.epochs * self.steps)
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, self.learning_rate, max(1, total // 10), total
        )
        return optax.chain(
            optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=self.weight_decay)
        )


def run_epoch(
    settings: Optimizer,
    examples: Examples,
    moving: dict[str, Any],
    fixed: Mapping[str, Any],
    memory: Any,
    epoch: int,
    *,
    on_batch: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, Any], Any, float]:
    """One pass over the examples; the same epoch number gives the same batches.

    Returns:
        Weights, optimizer memory and the mean loss.
    """
    rng = np.random.default_rng((settings.seed, epoch))
    order = rng.permutation(len(examples))
    losses: list[Any] = []
    for step in range(settings.steps):
        rows = order[step * settings.batch : (step + 1) * settings.batch]
        speaks = draw_sources(rng, len(rows), share=settings.drop_sources)
        batch = batch_of(examples, rows)
        drawn = rng.random(batch["filled"].shape)
        batch = hide_known(batch, drawn < HIDDEN_SHARE)
        if settings.private:
            kept = offered_to_strangers(examples.scored.features[rows]) | (speaks[:, 1:2] > 0)
            batch = {**batch, "filled": batch["filled"] & kept, "used": batch["used"] & kept}
        if settings.photoless:
            batch = hide_photos(batch, drawn < HIDDEN_SHARE * settings.photoless)
        moving, memory, loss = _step(settings, moving, dict(fixed), memory, batch, speaks)
        losses.append(loss)
        if on_batch is not None:
            on_batch(step + 1, settings.steps)
    return moving, memory, float(np.mean([float(v) for v in losses]))


def draw_sources(rng: np.random.Generator, n: int, *, share: float) -> Floats:
    """Which sources speak for each post: all of them, or for a share any true subset."""
    subsets = np.array([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(7)], np.float32)
    speaks = np.ones((n, 3), np.float32)
    chosen = rng.random(n) < share
    speaks[chosen] = subsets[rng.integers(0, 7, chosen.sum())]
    return speaks


@partial(jax.jit, static_argnums=0)
def _step(
    settings: Optimizer, moving: Any, fixed: Any, memory: Any, batch: Any, speaks: Any
) -> tuple[Any, Any, Any]:
    def loss(moving: Any) -> Any:
        return listwise_loss({**moving, **fixed}, batch, speaks)

    value, gradient = jax.value_and_grad(loss)(moving)
    updates, memory = settings.transform().update(gradient, memory, moving)
    return optax.apply_updates(moving, updates), memory, value
