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

from pixtag.artifact import Bundle
from pixtag.evaluate.compare import OnProgress, References
from pixtag.evaluate.model import Candidates, candidates_of
from pixtag.evaluate.past import Ranker
from pixtag.types import Bools, Doubles, Floats, Ints, PostLog, Rankings

if TYPE_CHECKING:
    import lightgbm

    from pixtag.train.network import Examples

L2_WEIGHTS = (1e-2, 1e-3, 1e-4, 1e-5)
LEAVES = (15, 63)
MOST_ROUNDS = 300
PATIENCE = 30
_BATCH = 256

ScoreBlock = Callable[[Candidates], Floats]
"""Scores of all places, `[N, C]`; those without a candidate do not count."""


def fitted_rankers(
    bundle: Bundle,
    train: Examples,
    valid: Examples,
    *,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> tuple[References, tuple[str, ...]]:
    """Fit both; the trees where LightGBM is installed.

    Args:
        bundle: The model that was fitted on the same examples: its state ranks the posts.
        train: What is fitted on.
        valid: What settings are chosen on.
        seed: Of the trees.
        on_progress: Called with methods done, methods in all, and the name of the next.

    Returns:
        The methods, and notes on what is missing.
    """

    def told(done: int, name: str) -> None:
        if on_progress is not None:
            on_progress(done, 2, name)

    told(0, "linear_blend")
    blend, l2 = _fit_blend(bundle, train, valid)
    rankers = {"linear_blend": _ranker(bundle, lambda s: _standard(bundle, s.features) @ blend)}
    settings: dict[str, dict[str, float]] = {"linear_blend": {"l2": l2}}
    told(1, "lightgbm")
    try:
        trees, chosen = _fit_trees(train, valid, seed)
    except ModuleNotFoundError:
        note = (
            "LightGBM is not installed, so its ranker is left out: pip install 'pixtag[lightgbm]'"
        )
        return References(rankers, settings), (note,)
    rankers["lightgbm"] = _ranker(bundle, lambda scored: _score_by_trees(trees, scored))
    settings["lightgbm"] = chosen
    told(2, "")
    return References(rankers, settings), ()


def _ranker(bundle: Bundle, score: ScoreBlock) -> Ranker:
    def rank(log: PostLog, start: int, stop: int, k: int) -> Rankings:
        tags, most, blocks = candidates_of(bundle, log, start, stop)
        ids = np.full((stop - start, min(k, most)), len(tags), np.int64)
        for index, block in blocks:
            scores = np.where(block.filled, score(block), -np.inf)
            order = np.lexsort((block.tag, -scores), axis=1)[:, : ids.shape[1]]
            ids[index] = np.take_along_axis(block.tag, order, axis=1)
        return Rankings(np.arange(start, stop), ids, np.zeros(ids.shape, np.float32), tags)

    return rank


def _batches(n: int) -> Iterator[slice]:
    return (slice(i, min(i + _BATCH, n)) for i in range(0, n, _BATCH))


def _precision_at_5(score: Floats, filled: Bools, used: Bools) -> float:
    top = np.argsort(-np.where(filled, score, -np.inf), axis=1, kind="stable")[:, :5]
    return float(np.take_along_axis(used, top, axis=1).mean())


# ------------------------------------------------------------------ linear blend


def _standard(bundle: Bundle, features: Floats) -> Floats:
    """The features as the network sees them."""
    weights = bundle.weights
    scaled = (features.astype(np.float32) - weights["norm/mean"]) / weights["norm/std"]
    return np.clip(scaled, -5.0, 5.0).astype(np.float32, copy=False)


def _fit_blend(bundle: Bundle, train: Examples, valid: Examples) -> tuple[Floats, float]:
    """One weight for each feature, by the listwise loss; how strongly they shrink is chosen."""
    from scipy.optimize import minimize

    weights = np.zeros(train.scored.features.shape[2])
    best: tuple[float, Floats, float] | None = None
    for l2 in L2_WEIGHTS:  # from strong to weak, each from where the one before ended
        loss = partial(listwise_loss, bundle, train, l2=l2)
        weights = minimize(loss, weights, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
        found = weights.astype(np.float32)
        score = np.concatenate(
            [_standard(bundle, valid.scored.features[b]) @ found for b in _batches(len(valid))]
        )
        quality = _precision_at_5(score, valid.scored.filled, valid.used)
        if best is None or quality > best[0]:
            best = quality, found, l2
    assert best is not None  # noqa: S101 - there are settings to try
    return best[1], best[2]


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
        used, filled = used[counted], examples.scored.filled[batch][counted]
        x = _standard(bundle, examples.scored.features[batch][counted])
        score = np.where(filled, x @ slopes, -np.inf)
        score -= score.max(axis=1, keepdims=True)
        share = np.exp(score)
        total = share.sum(axis=1, keepdims=True)
        wanted = used / used.sum(axis=1, keepdims=True)
        loss -= float((np.where(used, score - np.log(total), 0.0) * wanted).sum())
        gradient += np.einsum("nc,ncs->s", (share / total - wanted).astype(np.float32), x)
        n_posts += len(used)
    n_posts = max(n_posts, 1)
    return (
        loss / n_posts + l2 * float(weights @ weights) / 2,
        gradient / n_posts + l2 * weights,
    )


# ------------------------------------------------------------------ trees


def _fit_trees(
    train: Examples, valid: Examples, seed: int
) -> tuple[lightgbm.Booster, dict[str, float]]:
    """LambdaMART on features and context; leaves and rounds are chosen."""
    import lightgbm

    given, held = _table(train), _table(valid)
    best: tuple[float, lightgbm.Booster, int] | None = None
    for leaves in LEAVES:
        data = lightgbm.Dataset(given[0], given[1], group=given[2], free_raw_data=False)
        check = data.create_valid(held[0], held[1], group=held[2])
        trees = lightgbm.train(
            {
                "objective": "lambdarank",
                "lambdarank_truncation_level": 10,
                "metric": "ndcg",
                "eval_at": [5],
                "num_leaves": leaves,
                "learning_rate": 0.08,
                "min_data_in_leaf": min(100, max(1, len(given[1]) // 200)),
                "feature_fraction": 0.6,
                "bagging_fraction": 0.7,
                "bagging_freq": 1,
                "seed": seed,
                "deterministic": True,
                "force_row_wise": True,
                "verbose": -1,
            },
            data,
            MOST_ROUNDS,
            valid_sets=[check],
            callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
        )
        score = np.concatenate(
            [
                _score_table(trees, valid.scored.features[b], valid.scored.context[b])
                for b in _batches(len(valid))
            ]
        )
        quality = _precision_at_5(score, valid.scored.filled, valid.used)
        if best is None or quality > best[0]:
            best = quality, trees, leaves
    assert best is not None  # noqa: S101 - there are settings to try
    return best[1], {"num_leaves": best[2], "n_rounds": best[1].best_iteration}


def _table(examples: Examples) -> tuple[Floats, Ints, Ints]:
    """A row for each candidate, whether it was used, and how many rows each post has."""
    filled = examples.scored.filled
    post, place = np.nonzero(filled)
    rows = np.concatenate(
        [examples.scored.features[post, place], examples.scored.context[post]], axis=1
    )
    used = examples.used[post, place].astype(np.int64)
    return rows.astype(np.float32), used, filled.sum(axis=1)


def _score_by_trees(trees: lightgbm.Booster, scored: Candidates) -> Floats:
    return _score_table(trees, scored.features, scored.context)


def _score_table(trees: lightgbm.Booster, features: Floats, context: Floats) -> Floats:
    n, n_places, _ = features.shape
    described = np.repeat(context[:, None, :], n_places, axis=1)
    rows = np.concatenate([features, described], axis=2, dtype=np.float32)
    found = np.asarray(trees.predict(rows.reshape(n * n_places, -1)), np.float32)
    return found.reshape(n, n_places)
