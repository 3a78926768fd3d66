"""What each signal adds: one network on the same candidates, without one signal after the other.

    python -m experiments.signals --store world.sqlite --bundle world.sqlite.evaluated

Small where another signal can stand in; the bundle must not have learned from the period.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from experiments.harness import Task, arguments, finish, ranker_of, run

from pixtag import rank as ranking
from pixtag.bundle import Bundle, load_bundle
from pixtag.candidates import Candidates
from pixtag.evaluate import Comparison, Figures, check_bundle
from pixtag.evaluate.metrics import RANKS, find_hits, per_post
from pixtag.evaluate.tables import mean_rows
from pixtag.model import evidence_of
from pixtag.signals import FEATURES, SIGNALS
from pixtag.types import Bools, Doubles, Floats, Ints, PostLog, Rankings

SHOWN = ("p@1", "p@5", "r@5")


@dataclass(frozen=True)
class Replayed:
    """A period replayed up to the network: blocks of places in it and their candidates."""

    tags: list[str]
    most: int
    ties: Ints
    blocks: Iterator[tuple[Ints, Candidates]]

    def order(self, found: Candidates, score: Floats) -> Ints:
        """Places of a block's candidates, best first, as when suggestions are ranked, `[B, C]`."""
        score = np.where(found.filled, score, -np.inf)
        return np.lexsort((self.ties[found.tag], -score), axis=1)

    def named(self, found: Candidates) -> Ints:
        """Candidates as `tags` numbers them, `[B, C]`, the padding last."""
        return np.where(found.filled, found.tag, len(self.tags))


def replayed(
    bundle: Bundle, log: PostLog, start: int, stop: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Replayed:  # fmt: skip
    """Replay the posts `start..stop - 1` up to the network."""
    model, evidence = evidence_of(bundle, log, judged_by=start)
    view, rows = evidence.view(), np.arange(start, stop)
    questions = ranking.questions_of(log, rows, width=model.knowledge.encoder_width)
    found = ranking.replay(model, view, questions, then=vars, on_progress=on_progress)
    blocks = ((index, Candidates(**block)) for index, block in found)
    ties = np.append(view.names.ties()[: view.n_tags], 0)
    return Replayed(view.tags[: view.n_tags], model.config.max_candidates, ties, blocks)


MEMORIES = {"neighbours": "near", "own_memory": "own"}
"""The memory whose attention belongs to a signal."""

WAYS = ("dropped", "shuffled")


def signal_lift(
    log: PostLog, bundle: Bundle, compared: Comparison, *, start: int, stop: int, seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, Doubles]]:  # fmt: skip
    """Measure the model without each of its signals: the same network on the same candidates.

    `dropped`: the signal's features at their training mean and nothing copied from its memory.
    `shuffled`: its values dealt anew among the candidates of each post, by `seed`. The posts
    `start..stop - 1` are replayed; those that `compared` measured count. Values `[B]` by method
    (`pixtag`, `reuse (dropped)`, `reuse (shuffled)`, ...) and metric.
    """
    period = replayed(bundle, log, start, stop, on_progress)
    variants = {f"{s.name} ({way})": (s.name, way) for s in SIGNALS for way in WAYS}
    shape = (stop - start, min(RANKS, period.most))
    hits = {name: np.zeros(shape, np.bool_) for name in ("pixtag", *variants)}
    for index, block in period.blocks:
        none = np.zeros((0, 0), np.float32)
        used, _ = find_hits(log, Rankings(start + index, period.named(block), none, period.tags))
        dealt = _deal(block.filled, start + index, seed)
        served, k = ranking.as_served(block), shape[1]
        for name, found in hits.items():
            asked = served
            if name in variants:
                asked = replace(served, **_without(served.inputs, *variants[name], bundle, dealt))
            order, _ = ranking.best_places(bundle.weights, asked, k=k, ties=period.ties)
            found[index] = np.take_along_axis(used, order, axis=1)
    place = compared.rows - start
    return {name: per_post(found[place], compared.n_relevant) for name, found in hits.items()}


def _without(
    inputs: dict[str, Floats], signal: str, way: str, bundle: Bundle, dealt: Ints
) -> dict[str, Floats]:
    """What the network reads instead when one signal is taken away."""
    columns = FEATURES.of_signal(signal)
    features, dropped = inputs["features"].copy(), way == "dropped"
    features[:, :, columns] = (
        bundle.weights["norm/mean"][columns]
        if dropped
        else np.take_along_axis(features[:, :, columns], dealt[:, :, None], axis=1)
    )
    if signal not in MEMORIES:
        return {"features": features}
    name = f"{MEMORIES[signal]}_member"
    member = np.take_along_axis(inputs[name], dealt[:, :, None], axis=1)
    return {"features": features, name: np.zeros_like(member) if dropped else member}


def _deal(filled: Bools, rows: Ints, seed: int) -> Ints:
    """For each place another filled place of the same post, drawn by post, `[B, C]`."""
    width = filled.shape[1]
    drawn = np.stack([np.random.default_rng((seed, row)).random(width) for row in rows.tolist()])
    order = np.argsort(np.where(filled, drawn, 2.0), axis=1, kind="stable")
    dealt = np.empty_like(order)
    np.put_along_axis(dealt, np.argsort(~filled, axis=1, kind="stable"), order, axis=1)
    return dealt


def main() -> None:
    """Measure a bundle without each of its signals."""
    parser = arguments(__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--period", choices=["test", "validation"], default="test")
    parser.add_argument("--json", type=Path, default=Path("out/signals.json"))
    given = parser.parse_args()
    task, bundle = Task.of(given.store, given.period, Path("out")), load_bundle(given.bundle)
    start, stop = task.split.bounds(given.period)
    notes = check_bundle(bundle, task.log, np.arange(start, stop))
    compared = task.measured({"pixtag": ranker_of(bundle)})
    lift = signal_lift(task.log, bundle, compared, start=start, stop=stop)
    rows = mean_rows(lift, compared.bootstrap, metrics=SHOWN)
    title = f"What each signal adds, {given.period} period"
    finish(Figures("signals", title, rows, SHOWN, notes=tuple(notes)), given.json)


if __name__ == "__main__":
    run(main)
