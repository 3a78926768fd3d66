"""Fits the calibration: from the network's scores to the chance that a tag is used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pixtag.network import Weights, calibration_logit, log_shares
from pixtag.types import Bools, Doubles, Floats

N_KNOTS = 24
RIDGE = 1.0
MOST = 0.998  # no chance is shown as higher


def fit_calibration(
    weights: Weights,
    score: Floats,
    filled: Bools,
    context: Floats,
    used: Bools,
    *,
    ignored: Sequence[int] = (),
) -> dict[str, NDArray[np.float32]]:
    """Fit a logistic curve, then a monotone correction, on held-out posts.

    Args:
        weights: The network with its input constants.
        score: `[B, C]`; `filled` where a place holds a candidate, `used` where that was used.
        filled: `[B, C]`.
        context: `[B, X]`.
        used: `[B, C]`.
        ignored: Columns of the context that say nothing of a chance: what only grows with time is
            larger in every later period than in the one that calibrates.

    Returns:
        `calibration/slope`, `/context`, `/bias`, `/knots`, `/values`.
    """
    query, place = np.nonzero(filled)
    scaled = (context - weights["norm/context_mean"]) / weights["norm/context_std"]
    scaled[:, list(ignored)] = 0.0
    shares = log_shares(score, filled)[query, place]
    columns = [shares[:, None], scaled[query], np.ones((len(query), 1))]
    design = np.concatenate(columns, axis=1).astype(np.float64)
    answer = used[query, place].astype(np.float64)
    solution = _logistic(design, answer)
    # Order within a query must never turn round.
    slope = max(float(solution[0]), 1e-3)
    fitted: dict[str, NDArray[np.float32]] = {
        "calibration/slope": np.array(slope, np.float32),
        "calibration/context": solution[1:-1].astype(np.float32),
        "calibration/bias": np.array(solution[-1], np.float32),
    }
    logit = calibration_logit({**weights, **fitted}, score, filled, context)[query, place]
    knots, values = _monotone(logit.astype(np.float64), answer)
    return {**fitted, "calibration/knots": knots, "calibration/values": values}


def _logistic(design: Doubles, answer: Doubles) -> Doubles:
    """Ridge logistic regression by Newton's method, each step halved until the loss falls."""
    base_rate = np.clip(answer.mean(), 1e-6, 1 - 1e-6)
    solution = np.zeros(design.shape[1])
    solution[-1] = np.log(base_rate / (1 - base_rate))
    penalty = np.full(design.shape[1], RIDGE)
    penalty[-1] = 1e-6

    def loss(at: Doubles) -> float:
        logit = design @ at
        return float((np.logaddexp(0.0, logit) - answer * logit).sum() + 0.5 * penalty @ at**2)

    now = loss(solution)
    for _ in range(50):
        prob = 1.0 / (1.0 + np.exp(-np.clip(design @ solution, -30, 30)))
        gradient = design.T @ (prob - answer) + penalty * solution
        curve = (design * (prob * (1 - prob))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curve, gradient)
        size = 1.0
        while size > 1e-6 and loss(solution - size * step) > now:
            size /= 2
        solution = solution - size * step
        before, now = now, loss(solution)
        if before - now < 1e-9 * abs(before):
            break
    return solution


def _monotone(logit: Doubles, answer: Doubles) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pool quantile bins into a rising curve (pool adjacent violators) with distinct values."""
    order = np.argsort(logit, kind="stable")
    # Bins hold equal shares of what was used, so that the likely tags get fine bins too.
    mass = np.cumsum(answer[order] + 0.02)
    edges = np.searchsorted(mass, np.linspace(0, mass[-1], N_KNOTS + 1)[1:-1])
    groups = [g for g in np.split(order, edges) if len(g)]
    stack: list[list[float]] = []
    for group in groups:
        stack.append([float(logit[group].mean()), float(answer[group].mean()), float(len(group))])
        while len(stack) > 1 and stack[-2][1] >= stack[-1][1]:
            x2, y2, n2 = stack.pop()
            x1, y1, n1 = stack.pop()
            n = n1 + n2
            stack.append([(x1 * n1 + x2 * n2) / n, (y1 * n1 + y2 * n2) / n, n])
    # One more answer, the usual one: a small bin of nothing but hits is no certainty.
    usual = float(answer.mean())
    middle = np.array([[x, (y * n + usual) / (n + 1)] for x, y, n in stack])
    first, last = float(logit.min()) - 8.0, max(float(logit.max()), middle[-1, 0] + 1.0) + 4.0
    x = np.concatenate([[first], middle[:, 0], [last]])
    top = min(0.995, middle[-1, 1] + 0.5 * (1 - middle[-1, 1]))
    y = np.concatenate([[1e-5], np.maximum(middle[:, 1], 2e-5), [max(top, middle[-1, 1] + 1e-4)]])
    y = np.minimum(np.maximum.accumulate(y), MOST) + np.arange(len(y)) * 1e-7
    return x.astype(np.float32), y.astype(np.float32)
