"""Replayed posts as training examples, with scores that never saw their own answers.

Whatever is learned upstream of the network gives it out-of-fold scores: the posts are dealt
into folds, a head is fitted without each fold, and the fold's posts are replayed with that
head. In-sample scores would teach the network to trust pixels far too much.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from pixtag.replay import replay
from pixtag.signals.head import Head
from pixtag.signals.topics import Topics
from pixtag.state import (
    BridgeSignal,
    Knowledge,
    Scored,
    State,
    StateConfig,
    WordsSignal,
    join_scored,
)
from pixtag.train.network import Examples
from pixtag.types import Ints, PostLog, Sources

LEAST_PARTS = 3

ACCEPTED_SHARE = 0.25
"""Share of the replayed posts that are asked about with one or two of their tags accepted, so
that the network learns what the company of an accepted tag is worth."""

SUBSETS = tuple(Sources(bool(i & 1), bool(i & 2), bool(i & 4)) for i in range(7))
"""Every choice of sources but all three."""

OnProgress = Callable[[int, int], None]


def choose_vocabulary(log: PostLog, *, limit: int, leave_out: Collection[str] = ()) -> list[str]:
    """The tags that the head and the co-occurrence counts learn: those that several people use.

    A tag that bursts and is gone (an event's) is left out: a head that was fitted on the whole
    burst would know it before it began, which no head does in life. The open signals find it.

    Args:
        log: The posts to fit on.
        limit: Most tags kept.
        leave_out: Tags never kept.

    Returns:
        Tags of at least three people (of as many as there are, when fewer) and three uses, in
        three of eight parts of the period or without a time; by people, then uses, then name.
    """
    n_tags, nobody = len(log.tags), len(log.users)
    row = np.repeat(np.arange(len(log)), np.diff(log.tag_start))
    user = log.user_of_post[row]
    # A post of nobody counts as a person of its own.
    person = np.where(user == nobody, nobody + row, user)
    keys = np.unique(person * n_tags + log.tag_ids)
    people = np.bincount(keys % max(n_tags, 1), minlength=n_tags)
    uses = np.bincount(log.tag_ids, minlength=n_tags)
    least = min(3, len(np.unique(person)))
    lasts = _parts_used(log, row) >= LEAST_PARTS
    apart = set(leave_out)
    kept = np.flatnonzero((people >= least) & (uses >= 3) & lasts).tolist()
    kept = [t for t in kept if log.tags[t] not in apart]
    ordered = sorted(kept, key=lambda t: (-people[t], -uses[t], log.tags[t]))
    return [log.tags[t] for t in ordered[:limit]]


def _parts_used(log: PostLog, row: Ints) -> Ints:
    """In how many of eight equal parts of the timed posts each tag is used, `[T]`.

    A tag that is used without a time counts as used in all.
    """
    n_tags, n_timed = len(log.tags), len(log) - log.n_untimed
    part = (row - log.n_untimed) * 8 // max(n_timed, 1)
    timed = row >= log.n_untimed
    keys = np.unique(part[timed] * n_tags + log.tag_ids[timed])
    parts = np.bincount(keys % max(n_tags, 1), minlength=n_tags)
    parts[log.tag_ids[~timed]] = 8
    return parts


def people_of_tags(log: PostLog, vocabulary: Sequence[str]) -> Ints:
    """How many people used each tag of a vocabulary, `[V]`; posts of nobody count one each."""
    index = {t: i for i, t in enumerate(vocabulary)}
    of_tag = np.array([index.get(t, len(vocabulary)) for t in log.tags], np.int64)
    row = np.repeat(np.arange(len(log)), np.diff(log.tag_start))
    user = log.user_of_post[row]
    person = np.where(user == len(log.users), len(log.users) + row, user)
    n = len(vocabulary) + 1
    keys = np.unique(person * n + of_tag[log.tag_ids])
    return np.bincount(keys % n, minlength=n)[:-1]


def deal_folds(
    log: PostLog,
    *,
    n_folds: int,
    seed: int,
    by_person: bool = False,
    groups: Sequence[str] | None = None,
) -> Ints:
    """A fold for each post, `[N]`; one fold when no post has a photo.

    Args:
        log: The posts to fit on.
        n_folds: How many folds.
        seed: Of the deal.
        by_person: Keep all posts of a person in one fold, so that a head never saw the person
            that it is asked about; where there are few people, posts are dealt one by one.
        groups: A name for each post, `[N]`: posts of one name share a fold; empty for the rest.
    """
    if not log.has_photo.any():
        return np.zeros(len(log), np.int64)
    rng = np.random.default_rng((seed, 17))
    of_post = rng.integers(0, n_folds, len(log))
    of_person = np.append(rng.integers(0, n_folds, len(log.users)), 0)
    n_people = len(np.unique(log.user_of_post[log.user_of_post < len(log.users)]))
    named = log.user_of_post < len(log.users)
    if not by_person or n_people < 4 * n_folds:
        named = np.zeros(len(log), np.bool_)
    folds = np.where(named, of_person[log.user_of_post], of_post)
    if groups is not None:
        names = sorted(set(groups) - {""})
        of_group = dict(zip(names, rng.integers(0, n_folds, len(names)).tolist(), strict=True))
        folds = np.array(
            [of_group.get(g, f) for g, f in zip(groups, folds.tolist(), strict=True)], np.int64
        )
    return folds


def replay_examples(
    log: PostLog,
    rows: Ints,
    knowledge: Knowledge,
    config: StateConfig,
    *,
    seed: int,
    accepts: bool = True,
    sources: Sources | None = None,
    silent_share: float = 0.0,
    subsets: Sequence[Sources] = SUBSETS,
) -> Examples:
    """Replay some posts of a log and note what was used.

    Some are asked about with tags accepted already; those are no candidates then. Some are
    replayed once more without one or more of the sources, exactly as a person meets that: a
    signal that is only hidden afterwards has already had a say in who the candidates are.

    Args:
        log: Everything that may be known; each post sees only what lies before it.
        rows: Posts to ask about, ascending, all with a time.
        knowledge: A head that was not fitted on these posts.
        config: Of the state.
        seed: Decides which tags are accepted already, and which sources are silent where.
        accepts: Whether some tags are accepted already.
        sources: Which sources may speak at all; all when None.
        silent_share: Share of the posts that are replayed again with sources silent.
        subsets: Which sources may be left then.
    """
    state = State(knowledge, config)
    state.observe(log)
    accepted = draw_accepted(log, rows, seed=seed) if accepts else ()
    heard = sources or Sources()

    def replayed(places: Ints, speaks: Sources) -> Examples:
        given = tuple(accepted[i] for i in places.tolist()) if accepted else ()
        queries = replace(state.queries_of(log, rows[places]), accepted=given)
        parts = [(i, compact(scored)) for i, scored in replay(state, queries, sources=speaks)]
        scored = join_scored(parts, n_tags=len(state.tags))
        found = answered(scored, log, rows[places], state.tags, accepted=given)
        return replace(found, silent=np.full(len(places), speaks != heard))

    examples = [replayed(np.arange(len(rows)), heard)]
    rng = np.random.default_rng((seed, 37))
    chosen = np.flatnonzero(rng.random(len(rows)) < silent_share)
    drawn = rng.integers(0, len(subsets), len(chosen))
    for i, subset in enumerate(subsets):
        places, speaks = chosen[drawn == i], subset & heard
        if len(places) and speaks != heard:
            examples.append(replayed(places, speaks))
    return join_examples(examples)


def draw_accepted(log: PostLog, rows: Ints, *, seed: int) -> tuple[tuple[str, ...], ...]:
    """One or two tags of some posts, for each post; no post is left without an answer."""
    rng = np.random.default_rng((seed, 41))
    drawn: list[tuple[str, ...]] = []
    for row in rows.tolist():
        tags = log.tags_of(row)
        n = min(int(rng.integers(1, 3)), len(tags) - 1)
        is_asked = rng.random() < ACCEPTED_SHARE and n > 0
        drawn.append(tuple(rng.permutation(tags)[:n].tolist()) if is_asked else ())
    return tuple(drawn)


def answered(
    scored: Scored,
    log: PostLog,
    rows: Ints,
    tags: Sequence[str],
    *,
    accepted: tuple[tuple[str, ...], ...] = (),
) -> Examples:
    """Mark the candidates that each post used; what is accepted already is no candidate."""
    index = {t: i for i, t in enumerate(tags)}
    of_tag = np.array([index.get(t, len(tags)) for t in log.tags], np.int64)
    used = np.zeros(scored.tag.shape, np.bool_)
    n_used = np.zeros(len(rows), np.int64)
    filled = scored.filled.copy()
    for i, row in enumerate(rows):
        wanted = of_tag[log.tag_ids[log.tag_start[row] : log.tag_start[row + 1]]]
        given = [index[t] for t in accepted[i] if t in index] if accepted else []
        filled[i] &= ~np.isin(scored.tag[i], given)
        n_used[i] = len(wanted) - (len(accepted[i]) if accepted else 0)
        used[i] = np.isin(scored.tag[i], wanted) & filled[i]
    return Examples(replace(scored, filled=filled), used, n_used, np.zeros(len(rows), np.bool_))


def compact(scored: Scored) -> Scored:
    """The same with numbers in fp16: a third of the memory, and enough to learn from."""
    return replace(
        scored,
        features=scored.features.astype(np.float16),
        own_keys=scored.own_keys.astype(np.float16),
        near_keys=scored.near_keys.astype(np.float16),
    )


def join_examples(parts: Sequence[Examples]) -> Examples:
    """Put examples one after the other; their tags may be numbered differently."""
    if len(parts) == 1:
        return parts[0]
    places = np.split(np.arange(sum(map(len, parts))), np.cumsum([len(p) for p in parts])[:-1])
    scored = join_scored([(i, p.scored) for i, p in zip(places, parts, strict=True)], n_tags=0)
    used = np.zeros(scored.filled.shape, np.bool_)
    for place, part in zip(places, parts, strict=True):
        used[place, : part.used.shape[1]] = part.used
    return Examples(
        scored=scored,
        used=used,
        n_used=np.concatenate([p.n_used for p in parts]),
        silent=np.concatenate([p.silent for p in parts]),
    )


def knowledge_with(
    head: Head,
    vocabulary: list[str],
    bridge: BridgeSignal | None = None,
    kinds: BridgeSignal | None = None,
    words: WordsSignal | None = None,
    topics: Topics | None = None,
) -> Knowledge:
    """Knowledge of a head, of topics, and of what reads the encoder's classes, without a prior."""
    empty = PostLog.of([])
    empty = replace(empty, embeddings=np.zeros((0, head.width), np.float16))
    return Knowledge(
        vocabulary, head, empty, np.zeros(len(vocabulary)), bridge, kinds, topics, words
    )
