"""How the evaluation asks a model: whole, given tags alone, or without one of its signals.

Shapes:
    B: posts. C: candidates. K: ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pixtag import network
from pixtag import rank as ranking
from pixtag.bundle import Bundle
from pixtag.evaluate.metrics import RANKS, Comparison, find_hits, per_post
from pixtag.evaluate.temporal import Model
from pixtag.model import evidence_of
from pixtag.model import model_of as loaded
from pixtag.rank import Candidates
from pixtag.signals import FEATURES, SIGNALS, Knowledge, Questions, ask
from pixtag.signals.cooccurrence import companies
from pixtag.signals.head import Head
from pixtag.types import Bools, Doubles, Floats, Ints, PostLog, Rankings, Sources


def model_of(bundle: Bundle) -> Model:
    """Rank with a model on top of the log's own posts, as a predictor does."""

    def ranked(log: PostLog, start: int, stop: int, k: int, sources: Sources) -> Rankings:
        model, evidence = evidence_of(bundle, log, judged_by=start)
        rows = np.arange(start, stop)
        questions = ranking.questions_of(log, rows, width=model.knowledge.encoder_width)
        found = ranking.rank(model, evidence.view(), questions, k=k, sources=sources)
        return replace(found, rows=rows)

    return ranked


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
    blocks = ranking.replay(model, view, questions, then=lambda c: c, on_progress=on_progress)
    ties = np.append(view.names.ties()[: view.n_tags], 0)
    return Replayed(view.tags[: view.n_tags], model.config.max_candidates, ties, blocks)


# ------------------------------------------------------------------ tags given, no photo


def rank_given(
    bundle: Bundle, known: PostLog, given: Sequence[tuple[str, ...]], k: int
) -> list[list[str]]:
    """Rank tags for strangers without a photo who have accepted some, without the prior.

    What the prior holds of the posts in `known` can't be told, so it is left out.
    """
    model = loaded(bundle).without_prior()
    questions = _given(given, width=model.knowledge.encoder_width)
    found = ranking.rank(model, model.evidence(_without_photos(known)).view(), questions, k=k)
    return [[found.tags[t] for t in row if t < len(found.tags)] for row in found.tag_ids.tolist()]


def chance_given(log: PostLog, given: Ints) -> Doubles:
    """Chance of every tag `[B, T]` by the co-occurrence of untimed posts, tags `[B, G]` given."""
    nothing = np.zeros((0, 1), np.float32)
    head = Head(np.zeros(0, np.float32), nothing, nothing, np.zeros(0, np.float32))
    knowledge = Knowledge.of([], head)
    view = knowledge.evidence(_without_photos(log)).view()
    asked = ask(knowledge, view, _given([tuple(log.tags[t] for t in row) for row in given]))
    every = view.names.ids_of(log.tags)
    order = np.argsort(every)
    usual = np.bincount(view.tag, minlength=view.n_tags)[every[order]] / max(view.n_posts, 1)
    company = companies(asked)
    out = np.empty((len(given), len(log.tags)))
    for row in range(len(given)):
        out[row, order] = company[row].chances(asked, row, every[order], usual)[0]
    return out


def _without_photos(log: PostLog) -> PostLog:
    return replace(log, embeddings=np.zeros((len(log), 0), np.float16))


def _given(given: Sequence[tuple[str, ...]], *, width: int = 0) -> Questions:
    n = len(given)
    return Questions(
        at=np.full(n, np.inf), users=(None,) * n, embeddings=np.zeros((n, width), np.float32),
        has_photo=np.zeros(n, np.bool_), accepted=tuple(given),
    )  # fmt: skip


# ------------------------------------------------------------------ without one signal

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
    `start..stop - 1` are replayed; those that `compared` measured count.

    Returns:
        Metric name to values, `[B]`, of the whole model (`pixtag`), then of what is left without
        a signal (`reuse (dropped)`, `reuse (shuffled)`, ...).
    """
    period = replayed(bundle, log, start, stop, on_progress)
    variants = {f"{s.name} ({way})": (s.name, way) for s in SIGNALS for way in WAYS}
    shape = (stop - start, min(RANKS, period.most))
    hits = {name: np.zeros(shape, np.bool_) for name in ("pixtag", *variants)}
    for index, block in period.blocks:
        none = np.zeros((0, 0), np.float32)
        used, _ = find_hits(log, Rankings(start + index, period.named(block), none, period.tags))
        dealt = _deal(block.filled, start + index, seed)
        whole = block.inputs
        for name, found in hits.items():
            inputs = whole
            if name in variants:
                inputs = whole | _without(whole, *variants[name], bundle, dealt)
            order = period.order(block, network.scores(bundle.weights, inputs))[:, : shape[1]]
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
