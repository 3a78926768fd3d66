"""LightGBM's ranker in the network's place: the same candidates, features and examples.

    python -m experiments.lightgbm_ranker --store world.sqlite --out out/lightgbm
    python -m experiments.lightgbm_ranker --store world.sqlite --period validation

A model is trained, trees are fitted on the examples that its network learned from, and both are
measured on the same posts.
"""

from __future__ import annotations

import lightgbm
import numpy as np
from experiments.harness import Task, arguments, finish, ranker_of, run, settings_of
from experiments.signals import replayed

from pixtag.bundle import Bundle
from pixtag.candidates import Candidates
from pixtag.evaluate import Figures, References
from pixtag.evaluate.past import Ranker
from pixtag.evaluate.tables import SHOWN, means
from pixtag.train.network import Examples
from pixtag.types import Floats, Ints, PostLog, Rankings, Sources

LEAVES = (15, 63)
MOST_ROUNDS, PATIENCE = 300, 30
TREES = {
    "objective": "lambdarank", "lambdarank_truncation_level": 10, "metric": "ndcg", "eval_at": [5],
    "learning_rate": 0.08, "feature_fraction": 0.6, "bagging_fraction": 0.7, "bagging_freq": 1,
    "deterministic": True, "force_row_wise": True, "verbose": -1,
}  # fmt: skip


def fitted_trees(bundle: Bundle, train: Examples, valid: Examples, *, seed: int = 0) -> References:
    """Fit LightGBM's LambdaMART on the very examples that the network learned from.

    Leaves and rounds are chosen by nDCG@5 on `valid`.
    """
    (rows, used, group), (held, held_used, held_group) = _table(train), _table(valid)
    fitted: list[lightgbm.Booster] = []
    for leaves in LEAVES:
        data = lightgbm.Dataset(rows, used, group=group, free_raw_data=False)
        check = data.create_valid(held, held_used, group=held_group)
        least = min(100, max(1, len(used) // 200))
        settings = {**TREES, "num_leaves": leaves, "min_data_in_leaf": least, "seed": seed}
        stopping = lightgbm.early_stopping(PATIENCE, verbose=False)
        fitted.append(
            lightgbm.train(settings, data, MOST_ROUNDS, valid_sets=[check], callbacks=[stopping])
        )
    quality = [float(trees.best_score["valid_0"]["ndcg@5"]) for trees in fitted]
    best = int(np.argmax(quality))
    chosen: dict[str, float] = {
        "num_leaves": LEAVES[best], "n_rounds": fitted[best].best_iteration
    }  # fmt: skip
    ranker = _ranker_of_trees(bundle, fitted[best])
    return References({"lightgbm": ranker}, {"lightgbm": chosen})


def _table(examples: Examples) -> tuple[Floats, Ints, Ints]:
    """A row for each candidate, whether it was used, and how many rows each post has."""
    post, place = np.nonzero(examples.found.filled)
    used = examples.used[post, place].astype(np.int64)
    return _rows(examples.found, post, place), used, examples.found.filled.sum(axis=1)


def _rows(found: Candidates, post: Ints, place: Ints) -> Floats:
    rows = [found.features[post, place], found.context[post]]
    return np.concatenate(rows, axis=1, dtype=np.float32)


def _ranker_of_trees(bundle: Bundle, trees: lightgbm.Booster) -> Ranker:
    def rank(log: PostLog, start: int, stop: int, k: int) -> Rankings:
        period = replayed(bundle, log, start, stop)
        ids = np.full((stop - start, min(k, period.most)), len(period.tags), np.int64)
        for index, block in period.blocks:
            post, place = np.nonzero(block.filled)
            score = np.zeros(block.filled.shape, np.float32)
            score[post, place] = np.asarray(trees.predict(_rows(block, post, place)), np.float32)
            order = period.order(block, score)[:, : ids.shape[1]]
            ids[index] = np.take_along_axis(period.named(block), order, axis=1)
        probs = np.zeros(ids.shape, np.float32)
        return Rankings(np.arange(start, stop), ids, probs, period.tags)

    return rank


def main() -> None:
    """Train, fit and measure."""
    parser = arguments(__doc__, "out/lightgbm")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    task = Task.of(given.store, given.period, given.out)
    kept: list[tuple[Examples, Examples]] = []
    bundle = task.trained(
        settings_of(given.size, given.seed), Sources(), on_examples=lambda *both: kept.append(both)
    )
    trees = fitted_trees(bundle, *kept[0], seed=given.seed)
    compared = task.measured({"pixtag": ranker_of(bundle)} | trees.rankers)
    about = {"chosen": trees.settings}
    title = f"Trees in the network's place, {given.period} period"
    figures = Figures("lightgbm-ranker", title, means(compared, metrics=SHOWN), about=about)
    finish(figures, given.out / f"lightgbm-{given.period}.json")


if __name__ == "__main__":
    run(main)
