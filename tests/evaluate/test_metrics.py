"""Metrics against a reference implementation and by hand; intervals; calibration."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logs import invented_log
from pixtag.errors import InputError, ShapeError
from pixtag.evaluate.metrics import (
    CUTOFFS,
    Bootstrap,
    ceilings,
    find_hits,
    metric_names,
    per_post,
    reliability,
)
from pixtag.types import Rankings


def rankings(log, lists):
    width = max(len(ranked) for ranked in lists)
    ids = np.full((len(lists), width), len(log.tags))
    for row, ranked in enumerate(lists):
        ids[row, : len(ranked)] = ranked
    return Rankings(np.arange(len(lists)), ids, np.zeros(ids.shape, np.float32), log.tags)


@pytest.fixture(scope="module")
def ranx():
    """The reference implementation, run as plain Python: compiling it takes a minute."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba's own
        patch.setenv("NUMBA_DISABLE_JIT", "1")
        import ranx

        yield ranx


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), n_tags=st.integers(8, 40), depth=st.integers(1, 30))
def test_agrees_with_ranx_on_random_runs(ranx, seed, n_tags, depth):
    rng = np.random.default_rng(seed)
    log = invented_log(8, n_tags=n_tags, seed=seed % 1000, width=0)
    depth = min(depth, len(log.tags))
    lists = [rng.permutation(len(log.tags))[: rng.integers(1, depth + 1)] for _ in range(8)]
    ours = per_post(*find_hits(log, rankings(log, lists)))
    qrels = ranx.Qrels({f"q{i}": dict.fromkeys(log.tags_of(i), 1) for i in range(8)})
    run = ranx.Run(
        {
            f"q{i}": {log.tags[t]: float(len(ranked) - j) for j, t in enumerate(ranked)}
            for i, ranked in enumerate(lists)
        }
    )
    theirs = {"p": "precision", "r": "recall", "f1": "f1", "hit": "hit_rate", "ndcg": "ndcg"}
    names = {f"{us}@{k}": f"{them}@{k}" for us, them in theirs.items() for k in CUTOFFS}
    names |= {"mrr": "mrr", "r_precision": "r-precision"}
    found = ranx.evaluate(qrels, run, list(names.values()), return_mean=False)
    assert set(names) == set(metric_names())
    for us, them in names.items():
        by_query = dict(zip(qrels.keys(), found[them], strict=True))
        expected = np.array([by_query[f"q{i}"] for i in range(8)])
        assert ours[us] == pytest.approx(expected, abs=1e-9), us


def test_by_hand():
    # Ranked: hit, miss, hit; the post has 4 tags.
    values = per_post(np.array([[True, False, True]]), np.array([4]))
    assert values["p@1"][0] == 1
    assert values["p@5"][0] == 2 / 5
    assert values["r@5"][0] == 2 / 4
    assert values["f1@5"][0] == pytest.approx(2 * 0.4 * 0.5 / 0.9)
    ideal = 1 + 1 / np.log2(3) + 1 / np.log2(4) + 1 / np.log2(5)
    assert values["ndcg@5"][0] == pytest.approx((1 + 1 / np.log2(4)) / ideal)
    assert values["mrr"][0] == 1
    assert values["r_precision"][0] == 2 / 4


def test_a_perfect_ranking_reaches_every_ceiling_and_none_exceeds_it():
    log = invented_log(40, width=0)
    perfect = rankings(
        log, [log.tag_ids[log.tag_start[i] : log.tag_start[i + 1]] for i in range(40)]
    )
    hits, n_relevant = find_hits(log, perfect)
    best = ceilings(n_relevant)
    for name, values in per_post(hits, n_relevant).items():
        assert values == pytest.approx(best[name]), name
    rng = np.random.default_rng(0)
    random = rankings(log, [rng.permutation(len(log.tags)) for _ in range(40)])
    for name, values in per_post(*find_hits(log, random)).items():
        assert (values <= best[name] + 1e-12).all(), name
    assert ceilings(np.array([2]))["p@5"][0] == 2 / 5


def test_a_ranking_in_another_vocabulary_is_matched_by_name():
    log = invented_log(3, width=0)
    words = ["never-used", *reversed(log.tags)]
    first = words.index(log.tags_of(0)[0])
    ranked = Rankings(
        np.array([0]), np.array([[0, first, len(words)]]), np.zeros((1, 3), np.float32), words
    )
    hits, _ = find_hits(log, ranked)
    assert hits.tolist() == [[False, True, False]]


def test_a_post_without_tags_is_refused():
    with pytest.raises(InputError, match="no tags"):
        per_post(np.zeros((2, 3), np.bool_), np.array([1, 0]))
    with pytest.raises(ShapeError):
        per_post(np.zeros((2, 3), np.bool_), np.array([1]))


def test_intervals_cover_the_true_mean_when_people_differ():
    covered = n_drawn = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        levels = rng.normal(0.5, 0.2, 40)
        people = np.repeat(np.arange(40), 15)
        values = levels[people] + rng.normal(0, 0.05, len(people))
        interval = Bootstrap(people, seed=seed, n_resamples=400).over_posts(values)
        covered += interval.low <= 0.5 <= interval.high
        n_drawn += 1
    assert 0.88 <= covered / n_drawn <= 0.99


def test_intervals_grow_when_posts_of_a_person_are_alike():
    people = np.repeat(np.arange(20), 30)
    values = (people % 2).astype(float)
    clustered = Bootstrap(people).over_posts(values)
    each_alone = Bootstrap(np.arange(len(people))).over_posts(values)
    assert clustered.high - clustered.low > 3 * (each_alone.high - each_alone.low)


def test_intervals_are_the_same_every_time():
    people = np.repeat(np.arange(9), 4)
    values = np.random.default_rng(1).random(36)
    assert Bootstrap(people).over_posts(values) == Bootstrap(people).over_posts(values)


def test_one_busy_person_weighs_once_in_the_average_over_people():
    people = np.array([0] * 98 + [1, 2])
    values = np.array([1.0] * 98 + [0.0, 0.0])
    boot = Bootstrap(people)
    assert boot.over_posts(values).mean == pytest.approx(0.98)
    assert boot.over_people(values).mean == pytest.approx(1 / 3)


def test_a_single_person_is_resampled_by_post():
    boot = Bootstrap(np.zeros(50, np.int64))
    interval = boot.over_posts(np.arange(50) % 2.0)
    assert boot.unit == "post"
    assert interval.low < 0.5 < interval.high


def test_nothing_measured_is_nan():
    boot = Bootstrap(np.zeros(0, np.int64))
    assert np.isnan(boot.over_posts(np.zeros(0)).mean)
    assert np.isnan(boot.over_people(np.zeros(0)).mean)


def test_a_paired_interval_is_narrower_than_the_two_apart():
    rng = np.random.default_rng(3)
    people = np.repeat(np.arange(50), 8)
    base = rng.random(50)[people] + rng.normal(0, 0.05, 400)
    better = base + 0.02 + rng.normal(0, 0.01, 400)
    boot = Bootstrap(people)
    difference, alone = boot.over_posts(better - base), boot.over_posts(base)
    assert difference.low > 0
    assert difference.high - difference.low < (alone.high - alone.low) / 5


def test_calibrated_probabilities_have_a_small_error_and_boasts_a_large_one():
    rng = np.random.default_rng(0)
    probs = rng.random(40_000).astype(np.float32)
    came = rng.random(40_000) < probs
    assert reliability(probs, came).ece < 0.02
    boast = np.sqrt(probs)
    assert reliability(boast, came).ece == pytest.approx(np.mean(boast - probs), abs=0.02)
    assert np.isnan(reliability(np.zeros(0, np.float32), np.zeros(0, np.bool_)).ece)
