"""Ranking: every post with what was known before it, by one code path."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from asking import ask, questions_about, sampled
from pixtag import engine
from pixtag import rank as ranking
from pixtag.candidates import Candidates
from pixtag.errors import ShapeError
from pixtag.evidence import ticks
from pixtag.model import evidence_of, model_of
from pixtag.rank import as_served, best_of, candidates, questions_of, rank, replay, timely
from pixtag.signals import CONTEXT_NAMES, FEATURES, Questions
from pixtag.splits import temporal_split
from pixtag.types import Post, PostLog, Rankings, Sources
from worlds import START_AT, WIDTH, bundle, world

TREND_ON = CONTEXT_NAMES.index("trend_on")


def precision_at_5(log: PostLog, ranked: Rankings, rows: np.ndarray) -> float:
    hits = [
        len(set(log.tags_of(row)) & {ranked.tags[t] for t in tags[:5] if t < len(ranked.tags)})
        for row, tags in zip(rows.tolist(), ranked.tag_ids.tolist(), strict=True)
    ]
    return sum(hits) / (5 * len(rows))


@cache
def known():
    """The trained model, and what it knows after all of the world."""
    model, evidence = evidence_of(bundle(), world())
    return model, evidence.view()


def asked(rows) -> Questions:
    return questions_of(world(), np.asarray(rows), width=WIDTH)


@pytest.fixture(scope="module")
def ranked() -> tuple[np.ndarray, Rankings]:
    log = world()
    rows = np.arange(temporal_split(log).valid_stop, len(log))
    return rows, rank(*known(), asked(rows), k=20)


def test_a_trained_bundle_ranks_new_posts_far_better_than_popularity(ranked):
    log = world()
    rows, found = ranked
    popular = known()[1].popular(int(ticks(log.at[rows[:1]])[0]), limit=5)
    same = Rankings(rows, np.tile(popular, (len(rows), 1)), found.probs, found.tags)
    assert precision_at_5(log, found, rows) > 1.5 * precision_at_5(log, same, rows)


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
    questions = asked(rows)

    def precision(sources: Sources) -> float:
        return precision_at_5(log, rank(*known(), questions, sources=sources), rows)

    everything, nothing = precision(Sources()), precision(Sources(False, False, False))
    assert everything > nothing + 0.1
    for alone in (Sources(True, False, False), Sources(False, True, False)):
        assert nothing < precision(alone) <= everything + 0.02, alone.name


def test_questions_in_any_order_get_the_same_answers(ranked):
    rows, found = ranked
    order = np.random.default_rng(1).permutation(len(rows))
    shuffled = rank(*known(), asked(rows[order]), k=20)
    np.testing.assert_allclose(shuffled.probs, found.probs[order], atol=1e-4)
    same = (shuffled.tag_ids[:, :5] == found.tag_ids[order][:, :5]).mean()
    assert same > 0.99  # near-ties may turn round


def test_blocks_tell_of_their_progress_and_cover_every_question_once():
    questions = sampled(world(), 200, seed=5)
    told: list[tuple[int, int]] = []
    blocks = replay(*known(), questions, then=vars, on_progress=lambda *done: told.append(done))
    seen = [index for index, found in blocks if len(found["tag"]) == len(index)]
    assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(200))
    assert len(seen) > 1
    assert told[-1] == (200, 200)
    assert [n for n, _ in told] == sorted(n for n, _ in told)


def test_threads_give_the_same_bits_and_the_same_answers_as_one(monkeypatch):
    log = world()
    questions = asked(np.arange(log.n_untimed, len(log)))
    alone = rank(*known(), questions, k=20)
    monkeypatch.setattr(ranking, "LEAST_PART", 60)
    found = []
    for n_cores in (1, 3):
        monkeypatch.setattr(engine, "n_processors", lambda n=n_cores: n)
        told: list[tuple[int, int]] = []
        model, evidence = evidence_of(bundle(), log)
        found.append(
            rank(
                model,
                evidence.view(),
                questions,
                k=20,
                on_progress=lambda *d, told=told: told.append(d),
            )
        )
        assert [n for n, _ in told] == sorted(n for n, _ in told)
        assert told[-1] == (len(questions), len(questions))
    assert np.array_equal(found[0].tag_ids, found[1].tag_ids)
    assert np.array_equal(found[0].probs, found[1].probs)
    np.testing.assert_allclose(found[0].probs, alone.probs, atol=1e-4)


def test_a_run_on_threads_may_be_left_early(monkeypatch):
    log = world()
    monkeypatch.setattr(ranking, "LEAST_PART", 60)
    blocks = replay(*known(), asked(np.arange(log.n_untimed, len(log))), then=vars)
    index, found = next(blocks)
    assert len(index) == len(found["tag"])
    blocks.close()
    assert len(rank(*known(), sampled(log, 9)).rows) == 9


def test_the_best_come_first_and_ties_go_by_the_tag():
    model, view = known()
    found = candidates(model, view, questions_about(world(), [590, 595]))
    ties = view.names.ties()
    tags, probs = best_of(model, found, k=found.tag.shape[1], ties=ties)
    assert np.array_equal(np.sort(tags, axis=1), np.sort(found.tag, axis=1))
    # The same candidate in two places, under two names.
    names = {"features", "own_member", "near_member", "filled"}
    twins = Candidates(
        **{
            f: np.repeat(v[:, :1], 2, axis=1) if f in names else v
            for f, v in vars(found).items()
            if f != "tag"
        },
        tag=np.array([[9, 4], [1, 7]]),
    )
    assert best_of(model, twins, k=2, ties=np.arange(len(ties)))[0].tolist() == [[4, 9], [1, 7]]
    assert probs[:, 0].min() > 0


def test_the_network_reads_numbers_only():
    found = candidates(*known(), sampled(world(), 9, seed=9))
    assert {v.dtype for v in found.inputs.values()} == {np.dtype(np.float32)}


def test_a_stranger_without_a_store_gets_what_the_model_knows():
    log = world()
    model = model_of(bundle())
    rows = np.arange(temporal_split(log).valid_stop, len(log))
    strangers = replace(asked(rows), users=(None,) * len(rows))
    found = rank(model, model.knowledge.evidence().view(), strangers)
    assert precision_at_5(log, found, rows) > 0.2
    # Signatures of one person were in training; nobody is offered them.
    offered = {found.tags[t] for row in found.tag_ids for t in row if t < len(found.tags)}
    assert not {t for t in offered if t.startswith("sign")}


def test_a_store_of_the_training_posts_is_not_counted_twice():
    log = world()
    model, evidence = evidence_of(bundle(), log)
    assert model.knowledge.prior.n_posts == 0
    assert evidence.view().n_posts == len(log)
    # Posts after those that judge have no say in it.
    mixed = replace(log, post_ids=[f"x{i}" for i in range(150)] + log.post_ids[:450])
    for judged_by, is_kept in ((150, True), (None, False)):
        model, _ = evidence_of(bundle(), mixed, judged_by=judged_by)
        assert bool(model.knowledge.prior.n_posts) == is_kept

    foreign = PostLog.of([Post(f"x{i}", "zoe", START_AT + i, ("newtag",)) for i in range(5)])
    model, evidence = evidence_of(bundle(), foreign)
    assert model.knowledge.prior.n_posts == len(bundle().prior) > 0
    view = evidence.view()
    assert view.n_posts == 5
    (answer,) = rank(model, view, ask("zoe", START_AT + 60.0, width=WIDTH), k=5).tag_ids
    assert "newtag" in [view.tags[t] for t in answer if t < view.n_tags]


def test_typed_histories_are_refused_as_their_tags_have_no_ids():
    model, view = known()
    question = replace(ask("zoe", START_AT, width=WIDTH), history=(("typed", "typed too"),))
    with pytest.raises(ShapeError, match="typed"):
        rank(model, view, question)


def test_about_strangers_photos_the_network_hears_no_trend_of_the_store():
    model, view = known()
    posts = asked(np.flatnonzero(world().has_photo)[-40:])
    strangers = replace(posts, users=(None,) * len(posts))
    assert (candidates(model, view, strangers).context[:, TREND_ON] == 1).all(), "for training"
    found = as_served(candidates(model, view, strangers))
    assert (found.context[:, TREND_ON] == 0).all()
    heard = as_served(found, is_alone=np.ones(len(posts), np.bool_))
    assert np.array_equal(heard.context, found.context)
    known_people = candidates(model, view, posts)
    kept = (as_served(known_people).context == known_people.context).all(axis=1)
    assert np.array_equal(kept, known_people.context[:, CONTEXT_NAMES.index("history_on")] == 1)
    # So adding trend to pixels takes nothing from them, the calendar apart.
    with_trend, without = (
        rank(model, view, strangers, k=5, sources=Sources(trend=trend)).tag_ids
        for trend in (True, False)
    )
    assert np.mean(with_trend[:, 0] == without[:, 0]) > 0.9


def test_where_no_trend_is_heard_the_calendar_moves_the_chances():
    model, view = known()
    found = candidates(model, view, asked([500, 501, 502]))
    features, context = np.zeros_like(found.features), found.context.copy()
    features[:, 0, FEATURES.column("calendar_lift")] = 2.0
    features[:, 1, FEATURES.column("calendar_weekday_lift")] = -1.6
    context[:, TREND_ON] = [0, 0, 1]
    prob = np.full(found.tag.shape, 0.3, np.float32)
    moved, is_moved = timely(replace(found, features=features, context=context), prob)
    assert is_moved.tolist() == [True, True, False]
    assert (moved[:2, 0] > 0.4).all()
    assert (moved[:2, 1] < 0.25).all()
    assert (moved[:2, 2:] == prob[:2, 2:]).all()
    assert (moved[2] == prob[2]).all()
