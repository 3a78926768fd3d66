"""The log through the state: every post scored with what was known before it.

One code path for training examples, evaluation and serving, so what is measured is what is
served.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from pixtag.blas import one_blas_thread
from pixtag.bundle import Bundle
from pixtag.encoder import SHIPPED_DIGEST, class_synonyms, classifier
from pixtag.errors import ModelError
from pixtag.network import calibrated, scores
from pixtag.signals.columns import Queries
from pixtag.signals.head import Head
from pixtag.signals.topics import Topics
from pixtag.signals.words import Bridge, Classifier, Words
from pixtag.state import INPUT_NAMES, Knowledge, Scored, State, StateConfig
from pixtag.types import Doubles, Floats, Halfs, Ints, PostLog, Rankings, Sources

OnProgress = Callable[[int, int], None]
Result = TypeVar("Result")

LEAST_PART = 1024
"""Queries below which a thread of its own is not worth its start."""

MOST_PARTS = 16


def knowledge_of(bundle: Bundle) -> Knowledge:
    """What a bundle teaches a state."""
    bundle.check_features(INPUT_NAMES)
    bridge, words = readers_of_classes(
        encoder_digest=bundle.manifest.encoder_digest,
        matrix=bundle.extras.get("bridge"),
        has_words=bundle.manifest.config.get("words") is True,
    )
    return Knowledge(
        vocabulary=bundle.vocabulary,
        head=Head(**bundle.group("head")),
        prior=bundle.prior,
        prior_people=beyond_prior(
            bundle.prior, bundle.vocabulary, bundle.extras["prior_people"].astype(np.float64)
        ),
        bridge=bridge,
        kinds=_kinds_of(bundle),
        topics=_topics_of(bundle),
        words=words,
    )


def _kinds_of(bundle: Bundle) -> Bridge | None:
    kinds = bundle.group("kinds")
    if not kinds:
        return None
    weight, bias = kinds["weight"].astype(np.float32), kinds["bias"].astype(np.float32)
    return Bridge(kinds["matrix"], Classifier(weight, bias))


def _topics_of(bundle: Bundle) -> Topics | None:
    arrays = bundle.group("topics")
    return Topics(**{n: a.astype(np.float32) for n, a in arrays.items()}) if arrays else None


def readers_of_classes(
    *, encoder_digest: str, matrix: Halfs | None, has_words: bool
) -> tuple[Bridge | None, Words | None]:
    """Make the signals that read the encoder's classes; training and serving both use these.

    Shapes:
        V: vocabulary.

    Args:
        encoder_digest: Encoder that makes the embeddings.
        matrix: Chance of each tag on a photo of each class, `[1000, V]`; None for no bridge.
        has_words: Whether words are compared with photos.

    Raises:
        ModelError: One is asked for, but only the shipped encoder has these classes.
    """
    if matrix is None and not has_words:
        return None, None
    if encoder_digest != SHIPPED_DIGEST:
        raise ModelError(
            f"the encoder {encoder_digest[:12] or 'without a name'} does not name the classes "
            "that the bridge and the words read",
            hint="train a bundle with the encoder that ships with this version of Pixtag",
        )
    shared = Classifier(*classifier())
    bridge = None if matrix is None else Bridge(matrix, shared)
    return bridge, Words.load(shared, class_synonyms()) if has_words else None


def beyond_prior(prior: PostLog, vocabulary: Sequence[str], people: Doubles) -> Doubles:
    """People who used each tag, less the prior's posts, each of which counts as one person.

    Args:
        prior: Anonymous posts.
        vocabulary: Tags, V of them.
        people: People behind the prior who used each, `[V]`.
    """
    index = {tag: i for i, tag in enumerate(vocabulary)}
    place = np.array([index.get(tag, len(people)) for tag in prior.tags], np.int64)
    uses = np.bincount(place[prior.tag_ids], minlength=len(people) + 1)[: len(people)]
    return people - uses


def state_of(bundle: Bundle, log: PostLog | None = None, *, judged_by: int | None = None) -> State:
    """A state that has observed a log on top of a bundle's prior.

    When the bundle was trained on most of the same posts, its prior would count them twice and
    is left out.

    Args:
        bundle: The model.
        log: The store's posts; None for a stranger without a store.
        judged_by: How many posts at the front tell whether it was the same posts; all by
            default. Evaluation names those before the period, so that no later post has a say.
    """
    knowledge = knowledge_of(bundle)
    if log is not None and len(log) and len(bundle.prior):
        known = bundle.has_seen(log.post_ids[:judged_by])
        if known.sum() * 2 >= len(bundle.prior):
            knowledge = without_prior(knowledge)
    config = StateConfig.model_validate(bundle.manifest.config.get("state", {}))
    state = State(knowledge, config)
    if log is not None:
        state.observe(log)
    return state


def without_prior(knowledge: Knowledge) -> Knowledge:
    """The same knowledge with an empty past."""
    empty = knowledge.prior.select(np.zeros(len(knowledge.prior), np.bool_))
    return Knowledge(
        vocabulary=knowledge.vocabulary,
        head=knowledge.head,
        prior=empty,
        prior_people=np.zeros_like(knowledge.prior_people),
        bridge=knowledge.bridge,
        kinds=knowledge.kinds,
        topics=knowledge.topics,
        words=knowledge.words,
    )


def inputs_of(scored: Scored) -> dict[str, Floats]:
    """What the network reads, as numbers."""
    names = ("features", "context", "own_keys", "near_keys")
    flags = ("own_filled", "own_member", "near_filled", "near_member")
    numbers = {name: getattr(scored, name) for name in names}
    return numbers | {name: getattr(scored, name).astype(np.float32) for name in flags}


def replay(
    state: State,
    queries: Queries,
    *,
    sources: Sources | None = None,
    on_progress: OnProgress | None = None,
) -> Iterator[tuple[Ints, Scored]]:
    """Score queries in blocks, in time order; many of them on several threads.

    Args:
        state: Has observed all posts; each query still sees only what lies before it.
        queries: In any order.
        sources: Which sources may speak.
        on_progress: Called with queries done and their number.

    Yields:
        Positions among the queries and their candidates.
    """
    yield from _replayed(state, queries, lambda scored: scored, sources, on_progress)


def rank(
    state: State,
    bundle: Bundle,
    queries: Queries,
    *,
    k: int = 200,
    sources: Sources | None = None,
    on_progress: OnProgress | None = None,
) -> Rankings:
    """Rank the candidates of queries by their calibrated chance.

    Args:
        state: Has observed all posts.
        bundle: The model.
        queries: In any order.
        k: Ranks kept.
        sources: Which sources may speak.
        on_progress: Called with queries done and their number.

    Returns:
        Rankings whose rows are positions among the queries; ties by the tag's index.
    """
    keep = min(k, state.config.max_candidates)
    tag_ids = np.full((len(queries), keep), len(state.tags), np.int64)
    probs = np.zeros((len(queries), keep), np.float32)

    def best(scored: Scored) -> tuple[Ints, Floats]:
        return best_of(bundle, scored, k=keep)

    for index, found in _replayed(state, queries, best, sources, on_progress):
        tags, chances = found
        tag_ids[index, : tags.shape[1]], probs[index, : tags.shape[1]] = tags, chances
    return Rankings(np.arange(len(queries)), tag_ids, probs, state.tags)


def _replayed(
    state: State,
    queries: Queries,
    then: Callable[[Scored], Result],
    sources: Sources | None,
    on_progress: OnProgress | None,
) -> Iterator[tuple[Ints, Result]]:
    """Score queries in blocks and do something with each block.

    Small matrix products gain nothing from threads and lose much when other work wants the
    same cores, so each runs on one; instead, parts of the queries run side by side. A part
    starts with sums of its own, and where it starts does not depend on the number of threads:
    the same queries give the same bits on any number of cores.
    """
    order = np.argsort(queries.at, kind="stable")
    n_parts = min(MOST_PARTS, len(queries) // LEAST_PART)
    parts = [order] if n_parts < 2 else np.array_split(order, n_parts)

    def run(part: Ints) -> list[tuple[Ints, Result]]:
        blocks = state.fork().score_blocks(queries.take(part), sources=sources)
        return [(part[index], then(scored)) for index, scored in blocks]

    def run_alone() -> Iterator[tuple[Ints, Result]]:
        for index, scored in state.score_blocks(queries, sources=sources):
            yield index, then(scored)

    done = 0
    with one_blas_thread():
        found = run_alone() if len(parts) == 1 else _side_by_side(run, parts)
        for index, result in found:
            done += len(index)
            yield index, result
            if on_progress is not None:
                on_progress(done, len(queries))


def _side_by_side(
    run: Callable[[Ints], list[tuple[Ints, Result]]], parts: Sequence[Ints]
) -> Iterator[tuple[Ints, Result]]:
    """Run parts on threads, a few ahead of the one that is handed out, in their order."""
    n_threads = min(len(parts), os.cpu_count() or 1)
    with ThreadPoolExecutor(n_threads) as pool:
        running: deque[Future[list[tuple[Ints, Result]]]] = deque()
        waiting = deque(parts)
        try:
            while waiting or running:
                while waiting and len(running) <= n_threads:
                    running.append(pool.submit(run, waiting.popleft()))
                yield from running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def best_of(bundle: Bundle, scored: Scored, *, k: int) -> tuple[Ints, Floats]:
    """The best candidates by the network.

    Returns:
        Tags `[B, k]`, T in the padding, and their probabilities `[B, k]`.
    """
    weights = bundle.weights
    score = scores(weights, inputs_of(scored))
    prob = calibrated(weights, score, scored.filled, scored.context)
    order = np.lexsort((scored.tag, -np.where(scored.filled, score, -np.inf)), axis=1)[:, :k]
    return (
        np.take_along_axis(scored.tag, order, axis=1),
        np.take_along_axis(prob, order, axis=1),
    )
