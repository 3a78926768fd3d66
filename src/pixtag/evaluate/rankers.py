"""Two simpler ways to weigh the same signals: a linear blend, and gradient-boosted trees.

They are fitted on the very examples that the network learned from, replayed with out-of-fold
heads, and chosen on the same calibration posts. What they miss against the network is what the
network adds to its signals.

Shapes:
    N: posts. C: candidates. S: features. X: context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pixtag.bundle import Bundle
from pixtag.evaluate.compare import OnProgress, References
from pixtag.evaluate.model import candidates_of
from pixtag.evaluate.past import Ranker
from pixtag.types import Bools, Doubles, Floats, Ints, PostLog, Rankings

if TYPE_CHECKING:
    import lightgbm

    from pixtag.train.network import Examples

L2_WEIGHTS = (1e-2, 1e-3, 1e-4, 1e-5)
LEAVES = (15, 63)
MOST_ROUNDS = 300
PATIENCE = 30
TREES = {
    "objective": "lambdarank", "lambdarank_truncation_level": 10, "metric": "ndcg", "eval_at": [5],
    "learning_rate": 0.08, "feature_fraction": 0.6, "bagging_fraction": 0.7, "bagging_freq": 1,
    "deterministic": True, "force_row_wise": True, "verbose": -1,
}  # fmt: skip
_BATCH = 256

ScoreBlock = Callable[[Floats, Floats], Floats]
"""Scores `[N, C]` from features `[N, C, S]` and context `[N, X]`."""

Tried = Iterator[tuple[dict[str, float], ScoreBlock]]
"""Settings, and what was fitted with them."""


def fitted_rankers(
    bundle: Bundle,
    train: Examples,
    valid: Examples,
    *,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> tuple[References, tuple[str, ...]]:
    """Fit both on the examples that the bundle was fitted on; trees where LightGBM is installed.

    Args:
        bundle: Its state ranks the posts.
        train: What is fitted on.
        valid: What settings are chosen on, by P@5.
        seed: Of the trees.
        on_progress: Told which method is next.

    Returns:
        The methods, and notes on what is missing.
    """
    found, notes = References(), tuple[str, ...]()
    tried = {"linear_blend": _blends(bundle, train), "lightgbm": _trees(train, valid, seed)}
    for done, (name, fits) in enumerate(tried.items()):
        if on_progress is not None:
            on_progress(done, len(tried), name)
        try:
            quality = [(_precision_at_5(score, valid), chosen, score) for chosen, score in fits]
        except ModuleNotFoundError:
            missing = "LightGBM is not installed, so its ranker is left out"
            notes = (f"{missing}: pip install 'pixtag[lightgbm]'",)
            continue
        _, chosen, score = max(quality, key=lambda one: one[0])
        found |= References({name: _ranker(bundle, score)}, {name: chosen})
    return found, notes


def _ranker(bundle: Bundle, score: ScoreBlock) -> Ranker:
    def rank(log: PostLog, start: int, stop: int, k: int) -> Rankings:
        tags, most, ties, blocks = candidates_of(bundle, log, start, stop)
        ids = np.full((stop - start, min(k, most)), len(tags), np.int64)
        for index, block in blocks:
            scores = np.where(block.filled, score(block.features, block.context), -np.inf)
            order = np.lexsort((ties[block.tag], -scores), axis=1)[:, : ids.shape[1]]
            ids[index] = np.take_along_axis(block.tag, order, axis=1)
        return Rankings(np.arange(start, stop), ids, np.zeros(ids.shape, np.float32), tags)

    return rank


def _batches(n: int) -> Iterator[slice]:
    return (slice(i, min(i + _BATCH, n)) for i in range(0, n, _BATCH))


def _precision_at_5(score: ScoreBlock, valid: Examples) -> float:
    found: list[Bools] = []
    for b in _batches(len(valid)):
        scores = score(valid.found.features[b], valid.found.context[b])
        filled = np.where(valid.found.filled[b], scores, -np.inf)
        top = np.argsort(-filled, axis=1, kind="stable")[:, :5]
        found.append(np.take_along_axis(valid.used[b], top, axis=1))
    return float(np.concatenate(found).mean())


# ------------------------------------------------------------------ linear blend


def _standard(bundle: Bundle, features: Floats) -> Floats:
    """The features as the network sees them."""
    weights = bundle.weights
    scaled = (features.astype(np.float32) - weights["norm/mean"]) / weights["norm/std"]
    return np.clip(scaled, -5.0, 5.0).astype(np.float32, copy=False)


def _blends(bundle: Bundle, train: Examples) -> Tried:
    """One weight for each feature, by the listwise loss, with several weight decays."""
    from scipy.optimize import minimize

    weights = np.zeros(train.found.features.shape[2])
    for l2 in L2_WEIGHTS:  # from strong to weak, each from where the one before ended
        loss = partial(listwise_loss, bundle, train, l2=l2)
        weights = minimize(loss, weights, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
        yield {"l2": l2}, partial(_score_by_blend, bundle, weights.astype(np.float32))


def _score_by_blend(bundle: Bundle, slopes: Floats, features: Floats, _: Floats) -> Floats:
    return _standard(bundle, features) @ slopes


def listwise_loss(
    bundle: Bundle, examples: Examples, weights: Doubles, *, l2: float
) -> tuple[float, Doubles]:
    """Softmax cross-entropy of a blend against the used candidates, and its gradient `[S]`.

    Averaged over the posts with a used candidate; convex.
    """
    loss, gradient, n_posts = 0.0, np.zeros(len(weights)), 0
    slopes = weights.astype(np.float32)
    for batch in _batches(len(examples)):
        used = examples.used[batch]
        counted = used.any(axis=1)
        used, filled = used[counted], examples.found.filled[batch][counted]
        x = _standard(bundle, examples.found.features[batch][counted])
        score = np.where(filled, x @ slopes, -np.inf)
        score -= score.max(axis=1, keepdims=True)
        share = np.exp(score)
        total = share.sum(axis=1, keepdims=True)
        wanted = used / used.sum(axis=1, keepdims=True)
        loss -= float((np.where(used, score - np.log(total), 0.0) * wanted).sum())
        gradient += np.einsum("nc,ncs->s", (share / total - wanted).astype(np.float32), x)
        n_posts += len(used)
    n_posts = max(n_posts, 1)
    return (loss / n_posts + l2 * float(weights @ weights) / 2, gradient / n_posts + l2 * weights)


# ------------------------------------------------------------------ trees


def _trees(train: Examples, valid: Examples, seed: int) -> Tried:
    """LambdaMART on features and context; rounds end when validation no longer gains."""
    import lightgbm

    given, held = _table(train), _table(valid)
    for leaves in LEAVES:
        data = lightgbm.Dataset(given[0], given[1], group=given[2], free_raw_data=False)
        check = data.create_valid(held[0], held[1], group=held[2])
        least = min(100, max(1, len(given[1]) // 200))
        trees = lightgbm.train(
            {**TREES, "num_leaves": leaves, "min_data_in_leaf": least, "seed": seed},
            data,
            MOST_ROUNDS,
            valid_sets=[check],
            callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
        )
        chosen: dict[str, float] = {"num_leaves": leaves, "n_rounds": trees.best_iteration}
        yield chosen, partial(_score_by_trees, trees)


def _table(examples: Examples) -> tuple[Floats, Ints, Ints]:
    """A row for each candidate, whether it was used, and how many rows each post has."""
    found = examples.found
    post, place = np.nonzero(found.filled)
    rows = np.concatenate([found.features[post, place], found.context[post]], axis=1)
    used = examples.used[post, place].astype(np.int64)
    return rows.astype(np.float32), used, found.filled.sum(axis=1)


def _score_by_trees(trees: lightgbm.Booster, features: Floats, context: Floats) -> Floats:
    n, n_places, _ = features.shape
    described = np.repeat(context[:, None, :], n_places, axis=1)
    rows = np.concatenate([features, described], axis=2, dtype=np.float32)
    found = np.asarray(trees.predict(rows.reshape(n * n_places, -1)), np.float32)
    return found.reshape(n, n_places)
