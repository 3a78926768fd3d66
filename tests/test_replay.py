"""Replay: every post ranked with what was known before it, by one code path."""

from __future__ import annotations

import numpy as np
import pytest

from asking import queries_about, sampled
from pixtag import replay as replaying
from pixtag.evaluate.baselines import popularity
from pixtag.replay import best_of, inputs_of, rank, replay, state_of
from pixtag.signals.columns import Queries
from pixtag.splits import temporal_split
from pixtag.state import Scored
from pixtag.types import Post, PostLog, Rankings, Sources
from worlds import START_AT, WIDTH, bundle, world


def precision_at_5(log: PostLog, ranked: Rankings, rows: np.ndarray) -> float:
    hits = [
        len(set(log.tags_of(row)) & {ranked.tags[t] for t in tags[:5] if t < len(ranked.tags)})
        for row, tags in zip(rows.tolist(), ranked.tag_ids.tolist(), strict=True)
    ]
    return sum(hits) / (5 * len(rows))


@pytest.fixture(scope="module")
def ranked() -> tuple[np.ndarray, Rankings]:
    log = world()
    rows = np.arange(temporal_split(log).valid_stop, len(log))
    state = state_of(bundle(), log)
    return rows, rank(state, bundle(), state.queries_of(log, rows), k=20)


def test_a_trained_bundle_ranks_new_posts_far_better_than_popularity(ranked):
    log = world()
    rows, found = ranked
    popular = popularity(log, int(rows[0]), len(log), 20)
    assert precision_at_5(log, found, rows) > 1.5 * precision_at_5(log, popular, rows)


def test_chances_fall_along_the_ranks_and_tags_are_distinct(ranked):
    _, found = ranked
    assert (np.diff(found.probs, axis=1) <= 1e-7).all()
    n_tags = len(found.tags)
    for tags, probs in zip(found.tag_ids, found.probs, strict=True):
        real = tags[tags < n_tags]
        assert len(set(real.tolist())) == len(real)
        assert (probs[tags < n_tags] > 0).all()
        assert not probs[tags == n_tags].any()


def test_a_shown_chance_comes_true_as_often(ranked):
    log = world()
    rows, found = ranked
    said = found.probs[:, :5].sum()
    true = precision_at_5(log, found, rows) * 5 * len(rows)
    assert said == pytest.approx(true, rel=0.3)


def test_every_source_lifts_the_ranking():
    log = world()
    rows = np.arange(temporal_split(log).train_stop, len(log))
    state = state_of(bundle(), log)
    queries = state.queries_of(log, rows)

    def precision(sources: Sources) -> float:
        return precision_at_5(log, rank(state, bundle(), queries, sources=sources), rows)

    everything, nothing = precision(Sources()), precision(Sources(False, False, False))
    assert everything > nothing + 0.1
    for alone in (Sources(True, False, False), Sources(False, True, False)):
        assert nothing < precision(alone) <= everything + 0.02, alone.name


def test_queries_in_any_order_get_the_same_answers(ranked):
    log = world()
    rows, found = ranked
    state = state_of(bundle(), log)
    order = np.random.default_rng(1).permutation(len(rows))
    shuffled = rank(state, bundle(), state.queries_of(log, rows[order]), k=20)
    np.testing.assert_allclose(shuffled.probs, found.probs[order], atol=1e-4)
    same = (shuffled.tag_ids[:, :5] == found.tag_ids[order][:, :5]).mean()
    assert same > 0.99  # near-ties may turn round


def test_blocks_tell_of_their_progress_and_cover_every_query_once():
    log = world()
    state = state_of(bundle(), log)
    queries = sampled(log, 200, seed=5)
    told: list[tuple[int, int]] = []
    seen = [
        index for index, _ in replay(state, queries, on_progress=lambda *done: told.append(done))
    ]
    assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(200))
    assert len(seen) > 1
    assert told[-1] == (200, 200)
    assert [n for n, _ in told] == sorted(n for n, _ in told)


def test_threads_give_the_same_bits_and_the_same_answers_as_one(monkeypatch):
    log = world()
    state = state_of(bundle(), log)
    queries = state.queries_of(log, np.arange(log.n_untimed, len(log)))
    alone = rank(state, bundle(), queries, k=20)
    monkeypatch.setattr(replaying, "LEAST_PART", 60)
    found = []
    for n_cores in (1, 3):
        monkeypatch.setattr(replaying.os, "cpu_count", lambda n=n_cores: n)
        told: list[tuple[int, int]] = []
        state = state_of(bundle(), log)
        found.append(
            rank(state, bundle(), queries, k=20, on_progress=lambda *d, told=told: told.append(d))
        )
        assert [n for n, _ in told] == sorted(n for n, _ in told)
        assert told[-1] == (len(queries), len(queries))
    assert np.array_equal(found[0].tag_ids, found[1].tag_ids)
    assert np.array_equal(found[0].probs, found[1].probs)
    np.testing.assert_allclose(found[0].probs, alone.probs, atol=1e-4)


def test_a_run_on_threads_may_be_left_early(monkeypatch):
    log = world()
    state = state_of(bundle(), log)
    monkeypatch.setattr(replaying, "LEAST_PART", 60)
    blocks = replay(state, state.queries_of(log, np.arange(log.n_untimed, len(log))))
    index, scored = next(blocks)
    assert len(index) == len(scored)
    blocks.close()
    assert len(rank(state, bundle(), sampled(log, 9)).rows) == 9


def test_the_best_come_first_and_ties_go_by_the_tag():
    log = world()
    state = state_of(bundle(), log)
    scored = state.score(queries_about(log, [590, 595]))
    tags, probs = best_of(bundle(), scored, k=scored.tag.shape[1])
    assert np.array_equal(np.sort(tags, axis=1), np.sort(scored.tag, axis=1))
    # The same candidate in two places, under two names.
    names = {"features", "own_member", "near_member", "filled"}
    twins = Scored(
        **{
            f: np.repeat(v[:, :1], 2, axis=1) if f in names else v
            for f, v in vars(scored).items()
            if f != "tag"
        },
        tag=np.array([[9, 4], [1, 7]]),
    )
    assert best_of(bundle(), twins, k=2)[0].tolist() == [[4, 9], [1, 7]]
    assert probs[:, 0].min() > 0


def test_the_network_reads_numbers_only():
    scored = state_of(bundle(), world()).score(sampled(world(), 9, seed=9))
    assert {v.dtype for v in inputs_of(scored).values()} == {np.dtype(np.float32)}


def test_a_stranger_without_a_store_gets_what_the_bundle_knows():
    log = world()
    state = state_of(bundle())
    assert state.users == []
    rows = np.arange(temporal_split(log).valid_stop, len(log))
    queries = state.queries_of(log, rows)
    strangers = Queries(queries.at, (None,) * len(rows), queries.embeddings, queries.has_photo)
    found = rank(state, bundle(), strangers)
    assert precision_at_5(log, found, rows) > 0.2
    # Signatures of one person were in training; nobody is offered them.
    offered = {found.tags[t] for row in found.tag_ids for t in row if t < len(found.tags)}
    assert not {t for t in offered if t.startswith("sign")}


def test_a_store_of_the_training_posts_is_not_counted_twice():
    log = world()
    assert state_of(bundle(), log).log.post_ids == log.post_ids
    foreign = PostLog.of([Post(f"x{i}", "zoe", START_AT + i, ("newtag",)) for i in range(5)])
    added = state_of(bundle(), foreign)
    assert len(added.log) == len(bundle().prior) + 5
    (answer,) = rank(
        added,
        bundle(),
        Queries(
            np.array([START_AT + 60.0]),
            ("zoe",),
            np.zeros((1, WIDTH), np.float32),
            np.zeros(1, np.bool_),
        ),
        k=5,
    ).tag_ids
    assert "newtag" in [added.tags[t] for t in answer if t < len(added.tags)]
