"""How the evaluation asks a model: the only module here that knows how candidates are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from pixtag.artifact import Bundle
from pixtag.predict import Predictor
from pixtag.replay import inputs_of, knowledge_of, rank, replay, state_of, without_prior
from pixtag.signals.columns import Block, Columns, Queries
from pixtag.signals.cooccurrence import CoOccurrence
from pixtag.state import Scored as Candidates
from pixtag.state import State, StateConfig
from pixtag.types import Doubles, Floats, Ints, PostLog, Rankings, Sources

Model = Callable[[PostLog, int, int, int, Sources], Rankings]
"""Ranks with some sources only: `model(log, start, stop, k, sources)`."""


def model_of(bundle: Bundle) -> Model:
    """Rank with a bundle on top of the log's own posts, as a predictor does."""
    predictor = Predictor(bundle)
    return lambda log, start, stop, k, sources: predictor.rank(
        log, start, stop, k=k, sources=sources
    )


def candidates_of(
    bundle: Bundle,
    log: PostLog,
    start: int,
    stop: int,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[list[str], int, Iterator[tuple[Ints, Candidates]]]:
    """Replay a period up to the network.

    Returns:
        Names of the tags, most candidates of a post, and blocks: places in the period and
        their candidates.
    """
    state = state_of(bundle, log, judged_by=start)
    queries = state.queries_of(log, np.arange(start, stop))
    return state.tags, state.config.max_candidates, replay(state, queries, on_progress=on_progress)


def network_inputs(candidates: Candidates) -> dict[str, Floats]:
    """What the network reads, as numbers."""
    return inputs_of(candidates)


def rank_given(
    bundle: Bundle, known: PostLog, given: Sequence[tuple[str, ...]], k: int
) -> list[list[str]]:
    """Rank tags for strangers without a photo who have accepted some, without the prior.

    What the prior holds of the posts in `known` can't be told, so it is left out.
    """
    config = StateConfig.model_validate(bundle.manifest.config.get("state", {}))
    state = State(without_prior(knowledge_of(bundle)), config)
    state.observe(replace(known, embeddings=np.zeros((len(known), 0), np.float16)))
    n = len(given)
    queries = Queries(
        at=np.zeros(n),
        users=(None,) * n,
        embeddings=np.zeros((n, len(state.knowledge.head.center)), np.float32),
        has_photo=np.zeros(n, np.bool_),
        accepted=tuple(given),
    )
    ranked = rank(state, bundle, queries, k=k)
    return [
        [ranked.tags[t] for t in row if t < len(ranked.tags)] for row in ranked.tag_ids.tolist()
    ]


def chance_given(log: PostLog, given: Ints) -> Doubles:
    """Chance of every tag by the co-occurrence signal alone, `[B, T]`.

    Args:
        log: Posts without times to learn from.
        given: Tags given, `[B, G]`.
    """
    columns, n = Columns(log, n_tags=len(log.tags)), len(given)
    nobody, nothing = np.full(n, columns.n_users), np.zeros((n, 0), np.float32)
    block = Block(columns, np.zeros(n), nobody, nothing, np.zeros(n, np.bool_))
    company = CoOccurrence(columns, n_counted=0).company(block, list(given))
    return np.stack([company[i][0] for i in range(n)])
