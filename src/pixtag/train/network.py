"""Fits the network on replayed posts: listwise, in JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from pixtag.network import SHAPES, Widths, initial_weights, scores
from pixtag.rank import Candidates
from pixtag.signals import FEATURES, INPUT_NAMES
from pixtag.train.checkpoints import Checkpoints
from pixtag.train.config import TrainConfig
from pixtag.train.examples import Examples
from pixtag.types import Bools, Floats, Ints

OnStage = Callable[[str, int, int], None]
Weights = dict[str, NDArray[np.float32]]

HIDDEN_SHARE = 0.1
"""Share of candidates that training hides from what knows only the vocabulary.

A store brings tags that a bundle has never seen. In the training period nearly every tag is in the
vocabulary, so without this the network would hardly meet an unknown one.
"""

NEVER = -1e9
"""Score of a place without a rival."""

TAUGHT_SHARE = 0.5
"""Share of the loss that comes from teachers, where there are any."""

LEAST_FLAG_STD = 0.3
"""Flags that were nearly always on in training must not explode when one goes off."""


NEVER_STD = 1e6


def constants(found: Candidates, heard: Bools | None = None) -> dict[str, NDArray[np.float32]]:
    """Means and spreads of the inputs, and which source each feature needs.

    Args:
        found: Replayed posts, N of them.
        heard: The posts that count, `[N]`: a silent source has no values to average; all by
            default.
    """
    rows = np.ones(len(found), np.bool_) if heard is None else heard
    filled = found.features[found.filled & rows[:, None]].astype(np.float32)
    context = found.context[rows].astype(np.float32)
    mean, std = context.mean(axis=0), _spread(context)
    std[:3] = np.maximum(std[:3], LEAST_FLAG_STD)
    feature_std = _spread(filled)
    known = FEATURES.column("head_known")
    feature_std[known] = max(feature_std[known], LEAST_FLAG_STD)
    return {
        "norm/mean": filled.mean(axis=0),
        "norm/std": feature_std,
        "norm/context_mean": mean,
        "norm/context_std": std,
        "source/needed": FEATURES.needed,
    }


def _spread(values: Floats) -> Floats:
    """Standard deviations of inputs, so large where one never varied that it always reads as 0.

    The network learned nothing of such an input: `prior_log`, say, where every post was replayed
    without a prior.
    """
    varied = (values != values[:1]).any(axis=0)
    return np.where(varied, values.std(axis=0) + 1e-3, NEVER_STD).astype(np.float32)


def batch_of(examples: Examples, rows: Ints) -> dict[str, NDArray[Any]]:
    """The network's inputs and answers of some posts, in compact types."""
    names = [f.name for f in fields(Candidates) if f.name not in {"tag", "own_rows", "near_rows"}]
    out = {name: getattr(examples.found, name)[rows] for name in names}
    return out | {"used": examples.used[rows]}


def hide_known(batch: dict[str, NDArray[Any]], hidden: Bools) -> dict[str, NDArray[Any]]:
    """Make candidates look as if the vocabulary lacked them, as tags of a new store are.

    Args:
        batch: From `batch_of`.
        hidden: Which candidates, `[B, C]`.
    """
    features = batch["features"].copy()
    for column, feature in enumerate(FEATURES.features):
        if feature.when_unknown is not None:
            features[:, :, column][hidden] = feature.when_unknown
    return {**batch, "features": features}


def hide_photos(batch: dict[str, NDArray[Any]], hidden: Bools) -> dict[str, NDArray[Any]]:
    """Make candidates look as if no photo had carried them, as tags of posts without photos are.

    Args:
        batch: From `batch_of`.
        hidden: Which candidates, `[B, C]`; they should be unknown to the vocabulary too.
    """
    features = batch["features"].copy()
    for column, feature in enumerate(FEATURES.features):
        if feature.when_unseen is not None:
            features[:, :, column][hidden] = feature.when_unseen
    near_member = batch["near_member"].copy()
    near_member[hidden] = False
    return {**batch, "features": features, "near_member": near_member}


def listwise_loss(weights: Any, batch: Mapping[str, Any]) -> Any:
    """Each used tag of a post against the candidates that were not used, averaged over posts.

    The chance of a used tag to beat all unused ones is its share of a softmax over itself and
    them: another used tag is no rival, as it is in the usual cross-entropy over all candidates.
    The losses of a post's n used tags are summed and divided by 2 sqrt(n), so that a post with
    many tags counts for more than one with few, though not n times as much.

    Where the batch has the scores of teachers, half of the loss is the cross-entropy against
    their softmax (Hinton et al. 2015).
    """
    inputs = {
        name: jnp.asarray(value, jnp.float32)
        for name, value in batch.items()
        if name not in {"used", "filled", "taught"}
    }
    score = scores(weights, inputs, xp=jnp)
    used = batch["used"].astype(jnp.float32)
    is_rival = batch["filled"] & ~batch["used"]
    rivals = jax.nn.logsumexp(jnp.where(is_rival, score, NEVER), axis=1, keepdims=True)
    lost = (jnp.logaddexp(score, rivals) - score) * used
    n_found = used.sum(axis=1)
    per_post = lost.sum(axis=1) / (2.0 * jnp.sqrt(jnp.maximum(n_found, 1.0)))
    of_answers = per_post.sum() / jnp.maximum((n_found > 0).sum(), 1)
    if "taught" not in batch:
        return of_answers
    shares = jax.nn.log_softmax(jnp.where(batch["filled"], score, NEVER))
    taught = jax.nn.softmax(jnp.where(batch["filled"], batch["taught"], NEVER))
    of_teachers = -(taught * jnp.where(batch["filled"], shares, 0.0)).sum(axis=1).mean()
    return (1.0 - TAUGHT_SHARE) * of_answers + TAUGHT_SHARE * of_teachers


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
        photoless: Of the candidates that the vocabulary seems to lack, the share that no photo
            seems to carry.
    """

    learning_rate: float
    weight_decay: float
    epochs: int
    steps: int
    batch: int
    photoless: float = 0.0

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
    rng: np.random.Generator,
    *,
    taught: Floats | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> tuple[dict[str, Any], Any, float]:
    """One pass over the examples; the same generator gives the same batches.

    Returns:
        Weights, optimizer memory and the mean loss.
    """
    order = rng.permutation(len(examples))
    losses: list[Any] = []
    for step in range(settings.steps):
        rows = order[step * settings.batch : (step + 1) * settings.batch]
        batch = batch_of(examples, rows)
        drawn = rng.random(batch["filled"].shape)
        batch = hide_known(batch, drawn < HIDDEN_SHARE)
        if settings.photoless:
            batch = hide_photos(batch, drawn < HIDDEN_SHARE * settings.photoless)
        if taught is not None:
            batch["taught"] = taught[rows]
        moving, memory, loss = _step(settings, moving, dict(fixed), memory, batch)
        losses.append(loss)
        if on_batch is not None:
            on_batch(step + 1)
    return moving, memory, float(np.mean([float(v) for v in losses]))


@partial(jax.jit, static_argnums=0)
def _step(
    settings: Optimizer, moving: Any, fixed: Any, memory: Any, batch: Any
) -> tuple[Any, Any, Any]:
    def loss(moving: Any) -> Any:
        return listwise_loss({**moving, **fixed}, batch)

    value, gradient = jax.value_and_grad(loss)(moving)
    updates, memory = settings.transform().update(gradient, memory, moving)
    return optax.apply_updates(moving, updates), memory, value


def fit_network(
    config: TrainConfig,
    checkpoints: Checkpoints,
    train: Examples,
    judged: Examples,
    told: OnStage,
) -> Weights:
    """Fit the teachers, then the network, epoch by epoch, from the last one that was kept.

    Args:
        config: Size, seed, teachers, and how a network is moved.
        checkpoints: Keep each epoch and the curves.
        train: What is fitted on.
        judged: What the curves' precision is measured on; it decides nothing.
        told: Follows the progress.

    Returns:
        The weights with the constants of the inputs.
    """
    batch = min(config.batch, len(train))
    settings = Optimizer(
        learning_rate=config.learning_rate,
        weight_decay=1e-2,
        epochs=config.epochs,
        steps=len(train) // batch,
        batch=batch,
        photoless=config.photoless,
    )
    fixed = constants(train.found, ~train.silent)
    n_steps = config.epochs * settings.steps
    judgement = np.zeros(train.used.shape, np.float32)
    for nth in range(config.teachers):
        teacher = _fit_one(
            settings,
            config,
            checkpoints,
            train,
            fixed,
            nth=nth,
            on_step=lambda step, nth=nth: told(
                "learning to rank", nth * n_steps + step, (config.teachers + 1) * n_steps
            ),
        )
        judgement += score_examples(teacher, train) / np.float32(config.teachers)
    return _fit_one(
        settings,
        config,
        checkpoints,
        train,
        fixed,
        nth=config.teachers,
        judged=judged,
        taught=judgement if config.teachers else None,
        on_step=lambda step: told(
            "learning to rank", config.teachers * n_steps + step, (config.teachers + 1) * n_steps
        ),
    )


def _fit_one(
    settings: Optimizer,
    config: TrainConfig,
    checkpoints: Checkpoints,
    train: Examples,
    fixed: Weights,
    *,
    nth: int,
    judged: Examples | None = None,
    taught: Floats | None = None,
    on_step: Callable[[int], None],
) -> Weights:
    """Fit the nth network; its epochs are kept after those of the networks before it."""
    seed, first = (config.seed, nth), nth * config.epochs
    moving: dict[str, Any] = dict(initial_weights(SHAPES[config.size], WIDTHS, seed=seed))
    memory = settings.transform().init(moving)
    start = 0
    for epoch in reversed(range(config.epochs)):
        known = checkpoints.load(f"epoch-{first + epoch}")
        if known is not None:
            moving, memory = _unpack(known, moving, memory)
            start = epoch + 1
            break
    on_step(start * settings.steps)
    for epoch in range(start, config.epochs):
        done = epoch * settings.steps
        moving, memory, loss = run_epoch(
            settings,
            train,
            moving,
            fixed,
            memory,
            np.random.default_rng((*seed, epoch)),
            taught=taught,
            on_batch=lambda step, done=done: on_step(done + step),
        )
        kept: Weights = {n: np.asarray(v) for n, v in moving.items()}
        line = {"stage": f"teacher {nth + 1}", "step": epoch + 1, "loss": loss}
        if judged is not None:
            measured = precision_at_5({**kept, **fixed}, judged)
            line |= {"stage": "network", "validation_p@5": measured}
        checkpoints.note(line)
        checkpoints.save(f"epoch-{first + epoch}", _pack(kept, memory))
    return {**{n: np.asarray(v) for n, v in moving.items()}, **fixed}


def _pack(moving: Weights, memory: Any) -> dict[str, Any]:
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(memory)]
    return {f"moving/{n}": v for n, v in moving.items()} | {
        f"memory/{i:04d}": np.atleast_1d(leaf) for i, leaf in enumerate(leaves)
    }


def _unpack(
    known: Mapping[str, NDArray[Any]], moving: Mapping[str, Any], memory: Any
) -> tuple[Weights, Any]:
    leaves, tree = jax.tree.flatten(memory)
    restored = [
        known[f"memory/{i:04d}"].reshape(np.shape(leaf)).astype(np.asarray(leaf).dtype)
        for i, leaf in enumerate(leaves)
    ]
    return {n: known[f"moving/{n}"] for n in moving}, jax.tree.unflatten(tree, restored)


WIDTHS = Widths(*(len(INPUT_NAMES[n]) for n in ("features", "context", "own_keys", "near_keys")))


def score_examples(weights: Mapping[str, Any], examples: Examples) -> Floats:
    """The network's scores, `[N, C]`."""
    parts: list[Floats] = []
    for start in range(0, len(examples), 256):
        rows = np.arange(start, min(start + 256, len(examples)))
        parts.append(scores(weights, examples.found.take(rows).inputs))
    return np.concatenate(parts)


def precision_at_5(weights: Mapping[str, Any], examples: Examples) -> float:
    """Share of the first five candidates that were used, over posts with a tag."""
    score = np.where(examples.found.filled, score_examples(weights, examples), -np.inf)
    top = np.argsort(-score, axis=1, kind="stable")[:, :5]
    hits = np.take_along_axis(examples.used, top, axis=1).sum(axis=1)
    return float(hits[examples.n_used > 0].mean() / 5.0)
