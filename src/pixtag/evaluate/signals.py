"""What each signal is worth inside the whole model: left out, and shuffled.

The test posts are replayed once; the same network then ranks the same candidates again with one
signal taken away. `dropped`: the signal's features at their training mean and nothing copied from
its memory. `shuffled`: its values dealt anew among the candidates of each post. A signal that
another one can stand in for costs little here, and the candidates stay those that all signals
proposed.

Shapes:
    B: posts. C: candidates. K: ranks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pixtag import network
from pixtag.bundle import Bundle
from pixtag.evaluate.compare import RANKS, Comparison
from pixtag.evaluate.metrics import find_hits, per_post
from pixtag.evaluate.model import candidates_of, network_inputs
from pixtag.signals import FEATURES, SIGNALS
from pixtag.types import Bools, Doubles, Floats, Ints, PostLog, Rankings

MEMORIES = {"neighbours": "near", "own_memory": "own"}
"""The memory whose attention belongs to a signal."""

WAYS = ("dropped", "shuffled")


def signal_lift(
    log: PostLog,
    bundle: Bundle,
    compared: Comparison,
    *,
    start: int,
    stop: int,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, Doubles]]:
    """Measure the model without each of its signals.

    Args:
        log: The whole log.
        bundle: The model.
        compared: What was measured on the same period; decides which posts count.
        start: First post that is replayed.
        stop: The one after the last.
        seed: Of the shuffling.
        on_progress: Called with posts done and their number.

    Returns:
        Metric name to values, `[B]`, of the whole model (`pixtag`), then of what is left without
        a signal (`reuse (dropped)`, `reuse (shuffled)`, ...).
    """
    tags, most, ties, blocks = candidates_of(bundle, log, start, stop, on_progress=on_progress)
    shape = (stop - start, min(RANKS, most))
    variants = [(signal.name, way) for signal in SIGNALS for way in WAYS]
    hits = {"pixtag": np.zeros(shape, np.bool_)}
    hits |= {f"{signal} ({way})": np.zeros(shape, np.bool_) for signal, way in variants}
    for index, block in blocks:
        listed = Rankings(
            start + index,
            np.where(block.filled, block.tag, len(tags)),
            np.zeros((0, 0), np.float32),
            tags,
        )
        used, _ = find_hits(log, listed)
        dealt = _deal(block.filled, start + index, seed)
        whole = network_inputs(block)
        for name, variant in zip(hits, [None, *variants], strict=True):
            inputs = whole
            if variant is not None:
                inputs = whole | _without(whole, *variant, bundle, dealt)
            score = np.where(block.filled, network.scores(bundle.weights, inputs), -np.inf)
            # Best first, as when suggestions are ranked.
            order = np.lexsort((ties[block.tag], -score), axis=1)[:, : shape[1]]
            hits[name][index] = np.take_along_axis(used, order, axis=1)
    place = compared.rows - start
    return {name: per_post(found[place], compared.n_relevant) for name, found in hits.items()}


def _without(
    inputs: dict[str, Floats], signal: str, way: str, bundle: Bundle, dealt: Ints
) -> dict[str, Floats]:
    """What the network reads instead when one signal is taken away."""
    columns = FEATURES.of_signal(signal)
    features = inputs["features"].copy()
    dropped = way == "dropped"
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
