"""Topics: found without labels, guessed from pixels, and what a person does in each."""

from collections.abc import Sequence

import numpy as np
import pytest

from pixtag.signals.columns import Block, Columns, Pairs
from pixtag.signals.memory import OwnMemory
from pixtag.signals.topics import OwnTopics, Topics, TopicTaste
from pixtag.train.topics import fit_topics
from pixtag.types import PostLog

N_KINDS, N_TAGS, JOINT = 5, 20, 16


def mixture(n: int, *, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Photos of five kinds that look alike, each with four tags of its own now and then."""
    rng = np.random.default_rng(seed)
    looks = np.random.default_rng(0).normal(size=(N_KINDS, JOINT))
    kind = rng.integers(0, N_KINDS, n)
    photo = looks[kind] + 1.8 * rng.normal(size=(n, JOINT))
    photo /= np.linalg.norm(photo, axis=1, keepdims=True)
    has = rng.random((n, N_TAGS)) < np.where(
        np.arange(N_TAGS)[None, :] // 4 == kind[:, None], 0.5, 0.03
    )
    return kind, photo.astype(np.float32), has


def table(has: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ids = np.argsort(~has, axis=1, kind="stable")
    return ids, np.take_along_axis(has, ids, axis=1).astype(np.float32)


def fitted(seed: int = 0) -> Topics:
    _, photo, has = mixture(1500, seed=1)
    topics = fit_topics(photo, *table(has), n_tags=N_TAGS, most=8, seed=seed)
    assert topics is not None
    return topics


def agreement(shares: np.ndarray, kind: np.ndarray) -> float:
    """Share of posts whose likeliest topic is mostly of their kind."""
    best = shares.argmax(axis=1)
    counts = np.zeros((shares.shape[1], N_KINDS))
    np.add.at(counts, (best, kind), 1)
    return counts.max(axis=1).sum() / len(kind)


def posts(has: np.ndarray, photo: np.ndarray, *, users: Sequence[str] = ()) -> Columns:
    """One post an hour; all by the one user given, or by nobody."""
    n = len(has)
    log = PostLog(
        post_ids=[f"p{i}" for i in range(n)],
        users=list(users),
        tags=[f"t{i:02}" for i in range(N_TAGS)],
        user_of_post=np.zeros(n, np.int64),
        at=3600.0 * np.arange(n),
        tag_start=np.concatenate([[0], np.cumsum(has.sum(axis=1))]).astype(np.int64),
        tag_ids=np.nonzero(has)[1].astype(np.int64),
        has_photo=np.ones(n, np.bool_),
        embeddings=photo.astype(np.float16),
    )
    return Columns(log, n_tags=N_TAGS)


def test_kinds_are_found_without_labels_and_tags_tell_more_than_pixels():
    topics = fitted()
    kind, photo, has = mixture(600, seed=2)
    by_pixels = agreement(topics.of_photos(photo), kind)
    columns = posts(has, photo)
    by_both = agreement(topics.of_posts(columns, photo), kind)
    assert by_pixels > 0.75
    assert by_both > by_pixels + 0.05
    chances = topics.chances(topics.of_photos(photo))
    own = np.arange(N_TAGS)[None, :] // 4 == kind[:, None]
    assert chances[own].mean() > 4 * chances[~own].mean()


def test_the_same_seed_gives_the_same_topics():
    first, second = fitted(), fitted()
    np.testing.assert_array_equal(first.weight, second.weight)
    np.testing.assert_array_equal(first.chance, second.chance)


@pytest.mark.parametrize("n", [0, 1, 30])
def test_too_few_posts_have_no_topics(n):
    _, photo, has = mixture(max(n, 1), seed=3)
    assert fit_topics(photo[:n], *table(has[:n]), n_tags=N_TAGS, most=8, seed=0) is None


def test_a_person_does_again_what_they_did_with_such_photos():
    topics = fitted()
    kind, photo, has = mixture(200, seed=4)
    # One person: tag 3 on every photo of kind 0, tag 4 on those of kind 1, and nothing else.
    has = np.zeros_like(has)
    has[kind == 0, 3] = True
    has[kind == 1, 4] = True
    columns = posts(has, photo, users=["ana"])
    of_posts = topics.of_posts(columns, photo)
    query_kind, query, _ = mixture(200, seed=5)
    query, query_kind = query[query_kind < 2], query_kind[query_kind < 2]
    at = np.full(len(query), 1e7)
    user = np.zeros(len(query), np.int64)
    block = Block(columns, at, user, query, np.ones(len(query), np.bool_))
    own = OwnMemory(columns, photo, n_slots=48).recall(block)
    taste = TopicTaste(OwnTopics(topics, own, of_posts), topics.of_photos(query))
    n = len(query)
    pairs = Pairs(np.repeat(np.arange(n), 2), np.tile([3, 4], n), n_queries=n, n_tags=N_TAGS)
    values = taste.features(pairs, np.ones(2 * n, np.bool_), np.zeros(2 * n, np.float32))
    by_name = dict(zip(TopicTaste.names, values.T.reshape(-1, n, 2), strict=True))
    for name in ("topic_taste", "topic_taste_quick", "topic_last", "topic_last_several"):
        value = by_name[name]
        right = value[np.arange(n), query_kind] > value[np.arange(n), 1 - query_kind]
        assert right.mean() > 0.8, name
    assert (by_name["own_over_expected"] > 0).all()
    assert (taste.context() > 0).all()
