"""Topics: found without labels, guessed from pixels, and what a person does in each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from asking import Asking, all_pairs, questions_about, sampled, small_logs
from pixtag.model import Model
from pixtag.signals import CONTEXT_NAMES, FEATURES, Knowledge, Pairs, Questions
from pixtag.signals.context import context
from pixtag.signals.head import Head
from pixtag.signals.taste import FLOOR, KERNELS, LAST_POSTS, OTHERS_WEIGHT
from pixtag.signals.topics import TAGS_COUNT, Topics
from pixtag.train.pixels import fit_topics
from pixtag.types import PostLog
from worlds import world

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


def log_of(has: np.ndarray, photo: np.ndarray) -> PostLog:
    """One post an hour, all by one person."""
    n = len(has)
    return PostLog(
        post_ids=[f"p{i}" for i in range(n)],
        users=["ana"],
        tags=[f"t{i:02}" for i in range(N_TAGS)],
        user_of_post=np.zeros(n, np.int64),
        at=3600.0 * np.arange(n),
        tag_start=np.concatenate([[0], np.cumsum(has.sum(axis=1))]).astype(np.int64),
        tag_ids=np.nonzero(has)[1].astype(np.int64),
        has_photo=np.ones(n, np.bool_),
        embeddings=photo.astype(np.float16),
    )


def test_kinds_are_found_without_labels_and_tags_tell_more_than_pixels():
    topics = fitted()
    kind, photo, has = mixture(600, seed=2)
    by_pixels = agreement(topics.of_photos(photo), kind)
    by_both = agreement(topics.of_posts(photo, *np.nonzero(has)), kind)
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
    head = Head(
        np.zeros(JOINT, np.float32),
        np.eye(JOINT, dtype=np.float32),
        np.zeros((N_TAGS, JOINT), np.float32),
        np.zeros(N_TAGS, np.float32),
    )
    log = log_of(has, photo)
    model = Model(Knowledge.of(log.tags, head, topics=topics))
    asked_kind, asked_photo, _ = mixture(200, seed=5)
    asked_photo, asked_kind = asked_photo[asked_kind < 2], asked_kind[asked_kind < 2]
    n = len(asked_photo)
    questions = Questions(np.full(n, 1e7), ("ana",) * n, asked_photo, np.ones(n, np.bool_))
    asked, _ = all_pairs(model, model.knowledge.evidence(log).view(), questions)
    pairs = Pairs.of(np.repeat(np.arange(n), 2), np.tile([3, 4], n), n_questions=n, n_tags=N_TAGS)
    asked.near_share = asked.own_share = asked.first = np.zeros(2 * n, np.float32)
    values = FEATURES.compute(asked, pairs).reshape(n, 2, -1)
    for name in ("topic_taste", "topic_taste_quick", "topic_last", "topic_last_several"):
        value = values[:, :, FEATURES.column(name)]
        right = value[np.arange(n), asked_kind] > value[np.arange(n), 1 - asked_kind]
        assert right.mean() > 0.8, name
    assert (values[:, :, FEATURES.column("own_over_expected")] > 0).all()
    assert (context(asked)[:, CONTEXT_NAMES.index("topic_posts_log")] > 0).all()


def by_hand(topics: Topics, photo: np.ndarray | None, tags: list[int]) -> np.ndarray:
    """Chance of each topic by pixels and tags, written out."""
    logits = topics.bias.astype(np.float64).copy()
    if photo is not None:
        logits += photo @ topics.weight
    if tags:
        chance = np.clip(topics.chance, 1e-4, 0.99)
        for tag in range(chance.shape[1]):
            term = np.log(chance[:, tag] if tag in tags else 1 - chance[:, tag])
            logits += TAGS_COUNT * term
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def check(log, questions, *, n_known=20):
    """Taste and topics by their definitions, beside a prior."""
    got = Asking(log, questions, n_known=n_known)
    knowledge = got.model.knowledge
    topics, head = knowledge.topics, knowledge.head
    assert topics is not None
    number = {tag: t for t, tag in enumerate(knowledge.vocabulary)}
    near = np.exp(got["neighbour_share"]) * 1e-3 - 1e-3

    def known(tags) -> list[int]:
        return [number[t] for t in tags if t in number]

    for i, user, tick, _ in got:
        own = got.own(user, tick)[::-1][:48]
        has_photo = got.questions.has_photo[i]
        alike = [got.alike(i, p) if has_photo and p.photo is not None else 0.0 for p in own]
        shown = topics.of_photos(got.asked.photo[i][None])[0] if has_photo else None
        kinds = np.array(
            [
                by_hand(
                    topics,
                    None if p.photo is None else head.project(p.photo[None])[0],
                    known(p.tags),
                )
                for p in own
            ]
        ).reshape(len(own), len(topics.bias))
        place = np.arange(len(own))
        usual = np.zeros(len(got.tags))
        if has_photo:
            usual[: len(number)] = topics.chances(shown[None])[0]
        for t, tag in enumerate(got.tags):
            has = np.array([tag in p.tags for p in own], bool)
            others = max(0.5 * near[i, t] + 0.5 * usual[t], 1e-3)
            for name, (sharp, strength) in zip(("broad", "sharp"), KERNELS, strict=True):
                weight = np.exp(sharp * (np.array(alike) - 1)) * np.exp(-place / 32)
                share = (weight[has].sum() + strength * others) / (weight.sum() + strength)
                assert got[f"taste_{name}"][i, t] == pytest.approx(np.log(share), abs=2e-3)
        if not has_photo:
            assert not any(got[name][i].any() for name in TOPIC_NAMES)
            continue
        fading = np.exp(-place / 60)
        lift = (fading @ kinds + 5 * topics.usual) / (fading.sum() + 5) / topics.usual
        shares = shown * lift / (shown * lift).sum()
        same = kinds @ shares
        since = np.cumsum(same) - same
        chances = topics.chances(shares[None])[0]
        for t, tag in enumerate(got.tags):
            has = np.array([tag in p.tags for p in own], bool)
            is_known = tag in number
            others = chances[number[tag]] if is_known else near[i, t]
            expected = [np.log(others + FLOOR)]
            weights = [same, same, *(same * np.exp(-since / s) for s, _ in LAST_POSTS)]
            strengths = [*OTHERS_WEIGHT, *(s for _, s in LAST_POSTS)]
            for weight, strength in zip(weights, strengths, strict=True):
                share = (weight[has].sum() + strength * others) / (weight.sum() + strength)
                expected.append(np.log(share + FLOOR))
            for weight in (np.ones(len(own)), np.exp(-place / 15)):
                usual_uses = topics.chances((weight @ kinds)[None])[0]
                ratio = (weight[has].sum() + 1) / (usual_uses[number[tag]] + 1) if is_known else 1
                expected.append(np.log(ratio))
            for name, value in zip(TOPIC_NAMES, expected, strict=True):
                assert got[name][i, t] == pytest.approx(value, abs=5e-3), name


TOPIC_NAMES = tuple(FEATURES.names[c] for c in FEATURES.of_signal("topics"))


def test_every_number_is_what_a_plain_reading_gives():
    log = world()
    check(log, sampled(log, 12))


@settings(max_examples=15)
@given(small_logs())
def test_missing_times_people_tags_and_photos_change_nothing(log):
    if len(log.tags):
        check(log, questions_about(log, np.arange(len(log)), shift_s=1.0), n_known=3)
