"""How the evaluation asks a model: the only module here that knows how candidates are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from pixtag import rank as ranking
from pixtag.bundle import Bundle
from pixtag.evidence import View
from pixtag.model import evidence_of
from pixtag.model import model_of as loaded
from pixtag.rank import Candidates
from pixtag.signals import Knowledge, Questions, ask
from pixtag.signals.cooccurrence import companies
from pixtag.signals.head import Head
from pixtag.types import Doubles, Floats, Ints, PostLog, Rankings, Sources

Model = Callable[[PostLog, int, int, int, Sources], Rankings]
"""Ranks with some sources only: `model(log, start, stop, k, sources)`."""


def model_of(bundle: Bundle) -> Model:
    """Rank with a model on top of the log's own posts, as a predictor does."""

    def ranked(log: PostLog, start: int, stop: int, k: int, sources: Sources) -> Rankings:
        model, evidence = evidence_of(bundle, log, judged_by=start)
        rows = np.arange(start, stop)
        questions = ranking.questions_of(log, rows, width=model.knowledge.encoder_width)
        found = ranking.rank(model, evidence.view(), questions, k=k, sources=sources)
        return replace(found, rows=rows)

    return ranked


def candidates_of(
    bundle: Bundle,
    log: PostLog,
    start: int,
    stop: int,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[list[str], int, Ints, Iterator[tuple[Ints, Candidates]]]:
    """Replay a period up to the network.

    Returns:
        Names of the tags, most candidates of a post, what decides ties (by tag, the padding last),
        and blocks: places in the period and their candidates.
    """
    model, evidence = evidence_of(bundle, log, judged_by=start)
    view = evidence.view()
    questions = ranking.questions_of(
        log, np.arange(start, stop), width=model.knowledge.encoder_width
    )
    blocks = ranking.replay(model, view, questions, then=lambda c: c, on_progress=on_progress)
    ties = np.append(view.names.ties()[: view.n_tags], 0)
    return view.tags[: view.n_tags], model.config.max_candidates, ties, blocks


def network_inputs(candidates: Candidates) -> dict[str, Floats]:
    """What the network reads, as numbers."""
    return candidates.inputs


def rank_given(
    bundle: Bundle, known: PostLog, given: Sequence[tuple[str, ...]], k: int
) -> list[list[str]]:
    """Rank tags for strangers without a photo who have accepted some, without the prior.

    What the prior holds of the posts in `known` can't be told, so it is left out.
    """
    model = loaded(bundle).without_prior()
    view = model.evidence(_without_photos(known)).view()
    questions = _given(given, width=model.knowledge.encoder_width)
    ranked = ranking.rank(model, view, questions, k=k)
    return [
        [ranked.tags[t] for t in row if t < len(ranked.tags)] for row in ranked.tag_ids.tolist()
    ]


def chance_given(log: PostLog, given: Ints) -> Doubles:
    """Chance of every tag by the co-occurrence signal alone, `[B, T]`.

    Args:
        log: Posts without times to learn from.
        given: Tags given, `[B, G]`.
    """
    nothing = np.zeros((0, 1), np.float32)
    head = Head(np.zeros(0, np.float32), nothing, nothing, np.zeros(0, np.float32))
    knowledge = Knowledge.of([], head)
    view = knowledge.evidence(_without_photos(log)).view()
    asked = ask(knowledge, view, _given([tuple(log.tags[t] for t in row) for row in given]))
    every = view.names.ids_of(log.tags)
    order = np.argsort(every)
    usual = _usual(view, every[order])
    company = companies(asked)
    out = np.empty((len(given), len(log.tags)))
    for row in range(len(given)):
        out[row, order] = company[row].chances(asked, row, every[order], usual)[0]
    return out


def _usual(view: View, tags: Ints) -> Doubles:
    """Share of the posts with each tag."""
    return np.bincount(view.tag, minlength=view.n_tags)[tags] / max(view.n_posts, 1)


def _without_photos(log: PostLog) -> PostLog:
    return replace(log, embeddings=np.zeros((len(log), 0), np.float16))


def _given(given: Sequence[tuple[str, ...]], *, width: int = 0) -> Questions:
    n = len(given)
    return Questions(
        at=np.full(n, np.inf),
        users=(None,) * n,
        embeddings=np.zeros((n, width), np.float32),
        has_photo=np.zeros(n, np.bool_),
        accepted=tuple(given),
    )
