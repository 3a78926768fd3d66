"""The network in which pixels, history and trend meet: one scorer shared by all tags.

Each candidate is described by its signals; attention over the person's earlier posts and over
the neighbours copies whole tag sets; the context (how long the history is, how sure the pixel
head is, which sources may speak) gates both. The formulas are written once, for numpy and for
anything with numpy's functions: training passes `jax.numpy` as `xp`, serving passes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pixtag.types import Floats

Size = Literal["tiny", "small", "base"]
Weights = Mapping[str, Any]
COPY_FLOOR = 1e-3
_NOTHING = -1e9


@dataclass(frozen=True, slots=True)
class Shape:
    """Widths that follow from the size dial.

    Attributes:
        joint: Width of the joint space of photos and tags.
        heads: Attention heads of each memory.
        key_hidden: Hidden width of the attention.
        hidden: First hidden width of the scorer.
        top: Second hidden width of the scorer.
    """

    joint: int
    heads: int
    key_hidden: int
    hidden: int
    top: int


SHAPES: dict[Size, Shape] = {
    "tiny": Shape(joint=64, heads=2, key_hidden=8, hidden=24, top=12),
    "small": Shape(joint=128, heads=4, key_hidden=16, hidden=64, top=32),
    "base": Shape(joint=192, heads=8, key_hidden=32, hidden=128, top=64),
}


@dataclass(frozen=True, slots=True)
class Widths:
    """Widths that the state dictates.

    Attributes:
        features: S. context: X. own_keys: F. near_keys: G.
    """

    features: int
    context: int
    own_keys: int
    near_keys: int


def initial_weights(
    shape: Shape, widths: Widths, *, seed: int | Sequence[int]
) -> dict[str, NDArray[np.float32]]:
    """Draw starting weights.

    Args:
        shape: From the size dial.
        widths: From the state.
        seed: Same seed, same weights.

    Returns:
        Flat names to arrays.
    """
    rng = np.random.default_rng(seed)

    def dense(n_in: int, n_out: int, gain: float = 1.0) -> NDArray[np.float32]:
        return rng.normal(0.0, gain / np.sqrt(n_in), (n_in, n_out)).astype(np.float32)

    weights: dict[str, NDArray[np.float32]] = {}
    for name, n_keys in (("own", widths.own_keys), ("near", widths.near_keys)):
        weights[f"{name}/keys"] = dense(n_keys, shape.key_hidden)
        weights[f"{name}/context"] = dense(widths.context, shape.key_hidden, 0.5)
        weights[f"{name}/bias"] = np.zeros(shape.key_hidden, np.float32)
        weights[f"{name}/heads"] = dense(shape.key_hidden, shape.heads)
        weights[f"{name}/null"] = np.zeros(shape.heads, np.float32)
    n_in = widths.features + 2 * shape.heads
    weights["score/features"] = dense(n_in, shape.hidden, 1.4)
    weights["score/context"] = dense(widths.context, shape.hidden, 0.5)
    weights["score/gate"] = dense(widths.context, shape.hidden, 0.1)
    weights["score/bias"] = np.zeros(shape.hidden, np.float32)
    weights["score/hidden"] = dense(shape.hidden, shape.top, 1.4)
    weights["score/hidden_bias"] = np.zeros(shape.top, np.float32)
    weights["score/out"] = dense(shape.top, 1, 0.3)
    weights["score/linear"] = np.zeros((n_in, 1), np.float32)
    return weights


def copy_shares(
    weights: Weights, name: str, keys: Any, filled: Any, member: Any, context: Any, *, xp: Any = np
) -> Any:
    """Attend over a memory and say how much of the attention carries each candidate.

    Shapes:
        B: queries. M: slots. F: key features. C: candidates. H: heads. X: context.

    Args:
        weights: The network.
        name: `own` or `near`.
        keys: `[B, M, F]`.
        filled: 1 where a slot holds a post, `[B, M]`.
        member: 1 where the post in a slot carries a candidate, `[B, C, M]`.
        context: Standardised, `[B, X]`.
        xp: numpy or jax.numpy.

    Returns:
        Shares between 0 and 1, `[B, C, H]`; all 0 for an empty memory. A learned null slot takes
        what no post deserves, so shares need not sum to 1.
    """
    hidden = (
        keys @ weights[f"{name}/keys"]
        + (context @ weights[f"{name}/context"] + weights[f"{name}/bias"])[:, None, :]
    )
    logits = xp.maximum(hidden, 0.0) @ weights[f"{name}/heads"]
    null = weights[f"{name}/null"]
    # An empty slot has a logit too; were it the top, all else could vanish beside it.
    logits = xp.where(filled[:, :, None] > 0, logits, _NOTHING)
    top = xp.maximum(xp.max(logits, axis=1, keepdims=True), null)
    powers = xp.exp(logits - top)
    total = xp.sum(powers, axis=1, keepdims=True) + xp.exp(null - top)
    return member @ (powers / total)


def scores(weights: Weights, inputs: Mapping[str, Any], *, xp: Any = np) -> Any:
    """Score candidates.

    Shapes:
        B: queries. C: candidates. S: features. X: context.

    Args:
        weights: The network with the constants of its inputs (`norm/...`, `source/...`).
        inputs: `features` `[B, C, S]`, `context` `[B, X]`, and `own_keys`, `own_filled`,
            `own_member`, `near_keys`, `near_filled`, `near_member` as in `Scored`; numbers.
        xp: numpy or jax.numpy.

    Returns:
        Scores `[B, C]`, unbounded; places without a candidate get one too.
    """
    context = (inputs["context"] - weights["norm/context_mean"]) / weights["norm/context_std"]
    # A silent source contributes the mean of its features: nothing.
    silent = (1.0 - inputs["context"][:, :3])[:, :, None] * weights["source/needed"]
    speaks = xp.prod(1.0 - silent, axis=1)
    scale = (speaks / weights["norm/std"])[:, None, :]
    features = xp.clip((inputs["features"] - weights["norm/mean"]) * scale, -5.0, 5.0)
    shares = [
        copy_shares(
            weights,
            name,
            inputs[f"{name}_keys"],
            inputs[f"{name}_filled"],
            inputs[f"{name}_member"],
            context,
            xp=xp,
        )
        for name in ("own", "near")
    ]
    copied = [xp.log(s / COPY_FLOOR + 1.0) * 0.5 for s in shares]
    described = xp.concatenate([features, *copied], axis=-1)
    gate = 1.0 + xp.tanh(context @ weights["score/gate"])
    hidden = (
        described @ weights["score/features"]
        + (context @ weights["score/context"] + weights["score/bias"])[:, None, :]
    )
    hidden = xp.maximum(hidden, 0.0) * gate[:, None, :]
    hidden = xp.maximum(hidden @ weights["score/hidden"] + weights["score/hidden_bias"], 0.0)
    return (hidden @ weights["score/out"] + described @ weights["score/linear"])[..., 0]


def calibrated(
    weights: Weights, score: Floats, filled: NDArray[np.bool_], context: Floats
) -> Floats:
    """Turn scores into the chance that each candidate is used.

    A candidate's log share of the query's candidates goes through a logistic curve that also
    knows the context, then through a monotone correction; the order within a query is kept.

    Shapes:
        B: queries. C: candidates. X: context. I: knots of the correction.

    Args:
        weights: With `calibration/slope`, `/context` `[X]`, `/bias`, `/knots` `[I]`,
            `/values` `[I]`.
        score: `[B, C]`.
        filled: Whether a place holds a candidate, `[B, C]`.
        context: As given by the state, `[B, X]`.

    Returns:
        Probabilities `[B, C]`; 0 where there is no candidate.
    """
    logit = calibration_logit(weights, score, filled, context)
    prob = np.interp(logit, weights["calibration/knots"], weights["calibration/values"])
    return np.where(filled, prob, 0.0).astype(np.float32)


def log_shares(score: Floats, filled: NDArray[np.bool_]) -> Floats:
    """Log softmax over the candidates of each query, `[B, C]`; -30 where there is none."""
    masked = np.where(filled, score, -np.inf)
    top = np.max(masked, axis=1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    total = np.log(np.maximum(np.exp(masked - top).sum(axis=1, keepdims=True), 1e-30))
    return np.where(filled, masked - top - total, -30.0).astype(np.float32)


def calibration_logit(
    weights: Weights, score: Floats, filled: NDArray[np.bool_], context: Floats
) -> Floats:
    """The logistic part of the calibration, `[B, C]`, in log odds."""
    shares = log_shares(score, filled)
    scaled = (context - weights["norm/context_mean"]) / weights["norm/context_std"]
    offset = scaled @ weights["calibration/context"] + weights["calibration/bias"]
    return (shares * weights["calibration/slope"] + offset[:, None]).astype(np.float32)
