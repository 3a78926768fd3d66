"""Fits the network on replayed posts: listwise, in JAX."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from pixtag.candidates import Candidates
from pixtag.network import SHAPES, Widths, initial_weights, scores
from pixtag.signals import FEATURES, INPUT_NAMES
from pixtag.train.checkpoints import Checkpoints
from pixtag.train.config import TrainConfig
from pixtag.train.examples import Examples
from pixtag.types import Bools, Floats

OnStage = Callable[[str, int, int], None]
Weights = dict[str, NDArray[np.float32]]

WIDTHS = Widths(*(len(INPUT_NAMES[n]) for n in ("features", "context", "own_keys", "near_keys")))

# Share of candidates that training hides from what knows only the vocabulary: a store brings tags
# that a model has never seen, of which the network would else hardly meet one
HIDDEN_SHARE = 0.1
# Share of the posts of which training hides all that the person has used: the tags of a real
# person are mostly of that kind, and belong to subjects, so they are unknown together
OWN_HIDDEN_SHARE = 0.1
NEVER = -1e9  # logit of a place that is no candidate
TAUGHT_SHARE = 0.5  # share of the loss that comes from teachers, where there are any
WEIGHT_DECAY = 1e-2
# Flags that were nearly always on in training must not explode when one goes off
LEAST_FLAG_STD = 0.3


NEVER_STD = 1e6


def constants(found: Candidates, heard: Bools | None = None) -> dict[str, NDArray[np.float32]]:
    """Means and spreads of the inputs, and which source each feature needs.

    Only the posts `heard` `[N]` count (all by default): a silent source has no values to average.
    """
    rows = np.arange(len(found)) if heard is None else np.flatnonzero(heard)
    blocks = np.array_split(rows, len(rows) // 256 + 1)
    mean, std = _moments(found.context[block] for block in blocks)
    std[:3] = np.maximum(std[:3], LEAST_FLAG_STD)
    by_block = (found.features[block][found.filled[block]] for block in blocks)
    feature_mean, feature_std = _moments(by_block)
    known = FEATURES.column("head_known")
    feature_std[known] = max(feature_std[known], LEAST_FLAG_STD)
    return {
        "norm/mean": feature_mean,
        "norm/std": feature_std,
        "norm/context_mean": mean,
        "norm/context_std": std,
        "source/needed": FEATURES.needed,
    }


def _moments(blocks: Iterable[NDArray[Any]]) -> tuple[Floats, Floats]:
    """Means and standard deviations of inputs `[n, S]` given in blocks, `[S]` each.

    The spread is so large where an input never varied that it always reads as 0: the network
    learned nothing of it (`prior_log`, say, where every post was replayed without a prior).
    """
    n, sums = 0, np.zeros((2, 1))
    least, most = np.array(np.inf), np.array(-np.inf)
    for block in blocks:
        values = block.astype(np.float64)
        n, sums = n + len(values), sums + np.stack([values.sum(axis=0), (values**2).sum(axis=0)])
        least = np.minimum(least, values.min(axis=0, initial=np.inf))
        most = np.maximum(most, values.max(axis=0, initial=-np.inf))
    mean, square = sums / max(n, 1)
    std = np.sqrt(np.maximum(square - mean**2, 0.0)) + 1e-3
    return mean.astype(np.float32), np.where(least < most, std, NEVER_STD).astype(np.float32)


def hide_known(batch: dict[str, NDArray[Any]], hidden: Bools) -> dict[str, NDArray[Any]]:
    """Make candidates `[B, C]` look as if the vocabulary lacked them, as a new store's are."""
    return {**batch, "features": _replaced(batch["features"], hidden, "when_unknown")}


def hide_photos(batch: dict[str, NDArray[Any]], hidden: Bools) -> dict[str, NDArray[Any]]:
    """Make candidates `[B, C]` look as if no photo had carried them; hide them as unknown too."""
    features = _replaced(batch["features"], hidden, "when_unseen")
    near_member = np.where(hidden[:, :, None], np.False_, batch["near_member"])
    return {**batch, "features": features, "near_member": near_member}


def _replaced(features: NDArray[Any], hidden: Bools, value: str) -> NDArray[Any]:
    """The features `[B, C, S]` with hidden candidates' values as the feature table gives them."""
    features = features.copy()
    for column, feature in enumerate(FEATURES.features):
        given = getattr(feature, value)
        if given is not None:
            features[:, :, column][hidden] = given
    return features


def listwise_loss(weights: Any, batch: Mapping[str, Any]) -> Any:
    """Softmax cross-entropy of each used tag against the unused candidates, averaged over posts.

    Another used tag of the post is no rival. The losses of its n used tags are summed and divided
    by 2 sqrt(n), so that a post with many tags counts for more, though not n times as much. With
    teachers' scores in the batch, half of the loss is distillation (Hinton et al. 2015).
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


def fit_network(
    config: TrainConfig, checkpoints: Checkpoints, train: Examples, judged: Examples, told: OnStage
) -> Weights:
    """Fit the teachers, then the network, epoch by epoch, from the last one that was kept.

    Distillation: the network learns from the teachers' mean scores beside the posts themselves.
    The curves' precision is measured on `judged`, which decides nothing.

    Returns:
        The weights with the constants of the inputs.
    """
    fit_one = partial(_fit_one, config, checkpoints, train, constants(train.found, ~train.silent))
    taught = np.zeros(train.used.shape, np.float32)
    for nth in range(config.teachers):
        taught += score_examples(fit_one(told, nth), train) / np.float32(config.teachers)
    last = config.teachers
    return fit_one(told, last, judged=judged, taught=taught if config.teachers else None)


def _fit_one(
    config: TrainConfig,
    checkpoints: Checkpoints,
    train: Examples,
    fixed: Weights,
    told: OnStage,
    nth: int,
    *,
    judged: Examples | None = None,
    taught: Floats | None = None,
) -> Weights:
    """Fit the nth network; its epochs are kept after those of the networks before it."""
    seed, first = (config.seed, nth), nth * config.epochs
    size = min(config.batch, len(train))
    steps = len(train) // size
    total = config.epochs * steps
    moving: dict[str, Any] = dict(initial_weights(SHAPES[config.size], WIDTHS, seed=seed))
    memory = _optimizer(config.learning_rate, total).init(moving)
    start = 0
    for epoch in reversed(range(config.epochs)):
        known = checkpoints.load(f"epoch-{first + epoch}")
        if known is not None:
            moving, memory = _unpack(known, (moving, memory))
            start = epoch + 1
            break
    told("learning to rank", (first + start) * steps, (config.teachers + 1) * total)
    for epoch in range(start, config.epochs):
        losses: list[Any] = []
        for batch in batches(train, size, taught, config.photoless, (*seed, epoch)):
            moving, memory, loss = _step(config.learning_rate, total, moving, fixed, memory, batch)
            losses.append(loss)
            done = (first + epoch) * steps + len(losses)
            told("learning to rank", done, (config.teachers + 1) * total)
        kept: Weights = {n: np.asarray(v) for n, v in moving.items()}
        loss = float(np.mean([float(v) for v in losses]))
        line = {"stage": f"teacher {nth + 1}", "step": epoch + 1, "loss": loss}
        if judged is not None:
            measured = precision_at_5({**kept, **fixed}, judged)
            line |= {"stage": "network", "validation_p@5": measured}
        checkpoints.note(line)
        checkpoints.save(f"epoch-{first + epoch}", _pack((kept, memory)))
    return {**{n: np.asarray(v) for n, v in moving.items()}, **fixed}


def batches(
    examples: Examples, size: int, taught: Floats | None, photoless: float, seed: tuple[int, ...]
) -> Iterator[dict[str, NDArray[Any]]]:
    """The batches of one epoch, some candidates of them hidden; the same for the same seed."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(examples))
    for start in range(0, len(order) - size + 1, size):
        rows = order[start : start + size]
        some = vars(examples.candidates(rows)).items()
        batch = {n: a for n, a in some if n not in {"tag", "own_rows", "near_rows"}}
        batch["used"] = examples.used[rows]
        drawn = rng.random(batch["filled"].shape)
        all_own = rng.random(len(rows))[:, None] < OWN_HIDDEN_SHARE
        is_own = batch["features"][:, :, FEATURES.column("own_uses_log")] > 0
        batch = hide_known(batch, (drawn < HIDDEN_SHARE) | (all_own & is_own))
        if photoless:
            batch = hide_photos(batch, drawn < HIDDEN_SHARE * photoless)
        yield batch if taught is None else {**batch, "taught": taught[rows]}


def _optimizer(learning_rate: float, n_steps: int) -> Any:
    """AdamW, its rate rising over the first tenth of the steps and falling along a cosine."""
    n_steps = max(1, n_steps)
    rise = max(1, n_steps // 10)
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, rise, n_steps)
    adamw = optax.adamw(schedule, weight_decay=WEIGHT_DECAY)
    return optax.chain(optax.clip_by_global_norm(1.0), adamw)


@partial(jax.jit, static_argnums=(0, 1))
def _step(
    learning_rate: float, n_steps: int, moving: Any, fixed: Any, memory: Any, batch: Any
) -> tuple[Any, Any, Any]:
    def loss(moving: Any) -> Any:
        return listwise_loss({**moving, **fixed}, batch)

    value, gradient = jax.value_and_grad(loss)(moving)
    optimizer = _optimizer(learning_rate, n_steps)
    updates, memory = optimizer.update(gradient, memory, moving)
    return optax.apply_updates(moving, updates), memory, value


def _pack(state: Any) -> dict[str, NDArray[Any]]:
    leaves = jax.tree.leaves(state)
    return {f"{i:04d}": np.atleast_1d(np.asarray(leaf)) for i, leaf in enumerate(leaves)}


def _unpack(known: Mapping[str, NDArray[Any]], like: Any) -> Any:
    leaves, tree = jax.tree.flatten(like)
    arrays = [known[f"{i:04d}"].reshape(np.shape(leaf)) for i, leaf in enumerate(leaves)]
    kept = [a.astype(np.asarray(leaf).dtype) for a, leaf in zip(arrays, leaves, strict=True)]
    return jax.tree.unflatten(tree, kept)


def score_examples(weights: Mapping[str, Any], examples: Examples) -> Floats:
    """The network's scores, `[N, C]`."""
    rows = np.arange(len(examples))
    blocks = [rows[start : start + 256] for start in range(0, len(rows), 256)]
    return np.concatenate([scores(weights, examples.candidates(b).inputs) for b in blocks])


def precision_at_5(weights: Mapping[str, Any], examples: Examples) -> float:
    """Share of the first five candidates that were used, over posts with a tag."""
    score = np.where(examples.found.filled, score_examples(weights, examples), -np.inf)
    top = np.argsort(-score, axis=1, kind="stable")[:, :5]
    hits = np.take_along_axis(examples.used, top, axis=1).sum(axis=1)
    return float(hits[examples.n_used > 0].mean() / 5.0)
