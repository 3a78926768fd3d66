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
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pixtag import network
from pixtag.artifact import Bundle
from pixtag.evaluate.compare import RANKS, Comparison
from pixtag.evaluate.metrics import find_hits, per_post
from pixtag.evaluate.model import Candidates, candidates_of, network_inputs
from pixtag.signals.cooccurrence import CoOccurrence
from pixtag.signals.counts import Counts
from pixtag.signals.habits import Habits
from pixtag.signals.prototypes import Prototypes
from pixtag.signals.reuse import Reuse
from pixtag.signals.topics import TopicTaste
from pixtag.signals.trend import Trend
from pixtag.splits import Period, Split
from pixtag.state import FEATURE_NAMES, TASTE_NAMES
from pixtag.types import Bools, Doubles, Floats, Ints, PostLog, Rankings


@dataclass(frozen=True, slots=True)
class Signal:
    """One kind of evidence.

    Attributes:
        features: Its names in `FEATURE_NAMES`.
        memory: The memory whose attention belongs to it.
    """

    features: tuple[str, ...]
    memory: Literal["own", "near"] | None = None


SIGNALS = {
    "head": Signal(("head_log_prob", "head_known")),
    "bridge": Signal(("bridge",)),
    "kinds": Signal(("kinds",)),
    "words": Signal(("words",)),
    "prototypes": Signal(Prototypes.names),
    "neighbours": Signal(("neighbour_share",), "near"),
    "own memory": Signal(("own_memory_share",), "own"),
    "reuse": Signal(Reuse.names),
    "habits": Signal(Habits.names),
    "taste": Signal(tuple(n for n in TASTE_NAMES if n not in TopicTaste.names)),
    "topics": Signal(("topic_log_chance", *TopicTaste.names)),
    "trend": Signal(Trend.names),
    "co-occurrence": Signal(CoOccurrence.names),
    "popularity": Signal(Counts.names),
}
"""Every feature belongs to exactly one signal."""

Way = Literal["dropped", "shuffled"]
WAYS: tuple[Way, ...] = ("dropped", "shuffled")
OnProgress = Callable[[int, int], None]
Values = dict[str, Doubles]


@dataclass(frozen=True)
class SignalLift:
    """The whole model, and the model without each signal, over the same posts.

    Attributes:
        whole: Metric name to values, `[B]`.
        without: The same for each signal and way.
        compared: The comparison whose posts and draw of people these are.
    """

    whole: Values
    without: dict[tuple[str, Way], Values]
    compared: Comparison


def signal_lift(
    log: PostLog,
    bundle: Bundle,
    compared: Comparison,
    *,
    split: Split,
    period: Period = "test",
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> SignalLift:
    """Measure the model without each of its signals.

    Args:
        log: The whole log.
        bundle: The model.
        compared: What was measured on the same period; decides which posts count.
        split: The cut.
        period: Which part is replayed.
        seed: Of the shuffling.
        on_progress: Called with posts done and their number.
    """
    start, stop = split.bounds(period)
    tags, most, blocks = candidates_of(bundle, log, start, stop, on_progress=on_progress)
    variants: list[tuple[str, Way] | None] = [None, *((s, w) for s in SIGNALS for w in WAYS)]
    hits: list[Bools] = [np.zeros((stop - start, min(RANKS, most)), np.bool_) for _ in variants]
    for index, scored in blocks:
        candidates = Rankings(start + index, scored.tag, np.zeros((0, 0), np.float32), tags)
        used, _ = find_hits(log, candidates)
        dealt = _deal(scored.filled, start + index, seed)
        whole = network_inputs(scored)
        for kept, variant in zip(hits, variants, strict=True):
            inputs = whole
            if variant is not None:
                signal, way = variant
                inputs = whole | _without(whole, SIGNALS[signal], way, bundle, dealt)
            order = _order(scored, network.scores(bundle.weights, inputs))[:, : kept.shape[1]]
            kept[index] = np.take_along_axis(used, order, axis=1)
    place = compared.rows - start
    measured, *rest = (per_post(found[place], compared.n_relevant) for found in hits)
    named = [variant for variant in variants if variant is not None]
    return SignalLift(measured, dict(zip(named, rest, strict=True)), compared)


def _without(
    inputs: dict[str, Floats], signal: Signal, way: Way, bundle: Bundle, dealt: Ints
) -> dict[str, Floats]:
    """What the network reads instead when one signal is taken away."""

    def shuffled(values: Floats) -> Floats:
        return np.take_along_axis(values, dealt[:, :, None], axis=1)

    columns = [FEATURE_NAMES.index(name) for name in signal.features]
    features = inputs["features"].copy()
    features[:, :, columns] = (
        bundle.weights["norm/mean"][columns]
        if way == "dropped"
        else shuffled(features[:, :, columns])
    )
    changed = {"features": features}
    if signal.memory is not None:
        member = inputs[f"{signal.memory}_member"]
        changed[f"{signal.memory}_member"] = (
            np.zeros_like(member) if way == "dropped" else shuffled(member)
        )
    return changed


def _deal(filled: Bools, rows: Ints, seed: int) -> Ints:
    """For each place another filled place of the same post, drawn by post, `[B, C]`."""
    width = filled.shape[1]
    drawn = np.stack([np.random.default_rng((seed, row)).random(width) for row in rows.tolist()])
    order = np.argsort(np.where(filled, drawn, 2.0), axis=1, kind="stable")
    dealt = np.empty_like(order)
    np.put_along_axis(dealt, np.argsort(~filled, axis=1, kind="stable"), order, axis=1)
    return dealt


def _order(scored: Candidates, score: Floats) -> Ints:
    """Best first, ties by the tag's index, as when suggestions are ranked."""
    return np.lexsort((scored.tag, -np.where(scored.filled, score, -np.inf)), axis=1)
