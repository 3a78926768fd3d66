"""Posts replayed as people meet a shipped bundle: with its prior, in a store of their own.

A person's first use of Pixtag is not like a post in a full store: what others did is known only
as anonymous posts without a time, nothing is rising, and the only history is their own. The
network meets that in training, with a prior that never held the person asked about. It also
meets people of other logs, whose habits and whose tags the log that it learns from lacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pixtag.bundle import anonymous_log
from pixtag.replay import beyond_prior
from pixtag.signals.head import Head
from pixtag.splits import history_length
from pixtag.state import CONTEXT_NAMES, Knowledge, State, StateConfig
from pixtag.train.examples import (
    SUBSETS,
    answered,
    compact,
    people_of_tags,
    replay_examples,
)
from pixtag.train.network import Examples
from pixtag.types import Ints, PostLog

SMALL = (1, 2, 4, 8)
"""People in the small stores that other logs are dealt into."""

MOST_SMALL = 60
"""Small stores of another log at most; each costs a reading of the prior."""

EARLY = 20
"""Posts at the front of a history that are about equally likely to be asked about."""


def prior_of(log: PostLog, vocabulary: Sequence[str], head: Head) -> PostLog:
    """Posts without names and times for people who bring no store; private tags are left out."""
    index = {t: i for i, t in enumerate(vocabulary)}
    lists = [[index[t] for t in log.tags_of(i) if t in index] for i in range(len(log))]
    kept = [i for i, tags in enumerate(lists) if tags]
    embeddings = np.zeros((len(kept), head.width), np.float16)
    if log.embeddings.shape[1] and kept:
        embeddings[:] = head.project(log.embeddings[kept].astype(np.float32))
    return anonymous_log(
        vocabulary, [lists[i] for i in kept], embeddings, has_photo=log.has_photo[kept]
    )


def with_prior(knowledge: Knowledge, log: PostLog) -> Knowledge:
    """The same knowledge with a prior made of a log."""
    prior = prior_of(log, knowledge.vocabulary, knowledge.head)
    people = people_of_tags(log, knowledge.vocabulary).astype(np.float64)
    beyond = beyond_prior(prior, knowledge.vocabulary, people)
    return replace(knowledge, prior=prior, prior_people=beyond)


def first_users(
    log: PostLog,
    rows: Ints,
    knowledge: Knowledge,
    config: StateConfig,
    *,
    most_people: int,
    seed: int,
) -> list[Examples]:
    """Replay people one by one as first users of a bundle that was made without them.

    Args:
        log: Their posts.
        rows: Posts to ask about, ascending; posts of nobody are asked as a stranger's.
        knowledge: A head and a prior that never saw the people asked about.
        config: Of the state.
        most_people: People asked, drawn by `seed`.
        seed: Of the draw.

    Returns:
        Examples of each person, and of the posts of nobody.
    """
    nobody = len(log.users)
    people = np.unique(log.user_of_post[rows])
    named = people[people < nobody]
    if len(named) > most_people:
        rng = np.random.default_rng((seed, 31))
        named = np.sort(rng.choice(named, most_people, replace=False))
    parts: list[Examples] = []
    for person in named.tolist():
        mine = rows[(log.user_of_post[rows] == person) & np.isfinite(log.at[rows])]
        if len(mine):
            own = log.select(np.flatnonzero(log.user_of_post == person))
            places = np.searchsorted(np.flatnonzero(log.user_of_post == person), mine)
            parts.append(replay_examples(own, places, knowledge, config, seed=seed))
    strangers = rows[log.user_of_post[rows] == nobody]
    if len(strangers):
        parts.append(_strangers(log, strangers, knowledge, config))
    return parts


def draw_elsewhere(log: PostLog, rows: Ints, *, most: int, seed: int) -> Ints:
    """Draw posts to ask about, so that every length of history is met, of few posts and of many.

    A post's chance falls with its place in its person's history.

    Args:
        log: Posts; those of nobody are never drawn.
        rows: Those that may be drawn, ascending.
        most: How many.
        seed: Of the draw.
    """
    rows = rows[log.user_of_post[rows] < len(log.users)]
    if len(rows) <= most:
        return rows
    rng = np.random.default_rng((seed, 43))
    chance = 1.0 / (history_length(log)[rows] + EARLY)
    return np.sort(rng.choice(rows, most, replace=False, p=chance / chance.sum()))


def people_elsewhere(
    log: PostLog,
    rows: Ints,
    knowledge: Knowledge,
    config: StateConfig,
    *,
    seed: int,
    silent_share: float,
) -> list[Examples]:
    """Replay posts of another log: of half of its people in one store, of the others in small ones.

    How much others tell depends on how many they are. The small stores hold one, two, four or
    eight people each.

    Args:
        log: Posts of people that the bundle is not made from.
        rows: Posts to ask about, ascending, all with a time and a person.
        knowledge: A head and a prior.
        config: Of the state.
        seed: Of the deal.
        silent_share: Share of the posts that are asked about again with sources silent, pixels
            always: someone without a history in a store of others is rare in a log, but not in
            life; what lent photos show alone, though, would be wrong.
    """
    order = np.random.default_rng((seed, 47)).permutation(np.unique(log.user_of_post[rows]))
    stores: list[Ints] = []
    left = order
    while len(left) > len(order) // 2 and len(stores) < MOST_SMALL:
        size = SMALL[len(stores) % len(SMALL)]
        stores.append(left[:size])
        left = left[size:]
    parts: list[Examples] = []
    for people in [*stores, left]:
        inside = np.isin(log.user_of_post, people)
        asked = np.searchsorted(np.flatnonzero(inside), rows[inside[rows]])
        if len(asked):
            part = replay_examples(
                log.select(inside),
                asked,
                knowledge,
                config,
                seed=seed,
                silent_share=silent_share,
                subsets=[subset for subset in SUBSETS if not subset.pixels],
            )
            # Without photos nothing is learned about what the inputs of pixels usually are.
            blind = part.scored.context[:, CONTEXT_NAMES.index("pixels_on")] == 0
            parts.append(replace(part, silent=part.silent | blind))
    return parts


def _strangers(log: PostLog, rows: Ints, knowledge: Knowledge, config: StateConfig) -> Examples:
    """Ask about posts of nobody after everything else, with the prior alone."""
    state = State(knowledge, config)
    timed = log.at[np.isfinite(log.at)]
    queries = state.queries_of(log, rows)
    now = float(timed[-1]) + 1.0 if len(timed) else 0.0
    scored = state.score(replace(queries, at=np.full(len(rows), now)))
    return answered(compact(scored), log, rows, state.tags)
