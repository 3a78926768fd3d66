"""Tags given, the others asked for: the protocol on tag sets alone."""

from __future__ import annotations

import numpy as np
import pytest

from pixtag.errors import InputError
from pixtag.evaluate.model import chance_given
from pixtag.evaluate.untimed import (
    BOUND,
    PLAIN,
    SIGNAL,
    evaluate_given,
    given_task,
    one_tag_bound,
    plain_scores,
)
from pixtag.types import Post, PostLog


def topics(n_posts: int = 700, seed: int = 0) -> PostLog:
    """Sets of two to five tags: of one topic of four, with a tag that goes with everything."""
    rng = np.random.default_rng(seed)
    posts = []
    for i in range(n_posts):
        topic = rng.integers(4)
        own = rng.choice(8, int(rng.integers(2, 5)), replace=False, p=np.arange(8, 0, -1) / 36)
        tags = [f"t{topic}-{t}" for t in own] + ["all"] * (rng.random() < 0.4)
        posts.append(Post(f"p{i:04d}", None, None, tuple(tags)))
    return PostLog.of(posts)


def test_given_tags_are_drawn_from_posts_that_keep_an_answer_and_test_posts_are_apart():
    log = topics()
    task = given_task(log, n_given=2, seed=3)
    assert not set(task.train.tolist()) & set(task.test.tolist())
    for row, given in zip(task.test.tolist(), task.given.tolist(), strict=True):
        tags = log.tag_ids[log.tag_start[row] : log.tag_start[row + 1]].tolist()
        assert len(set(given)) == 2
        assert set(given) < set(tags)
    again = given_task(log, n_given=2, seed=3)
    assert np.array_equal(again.given, task.given)
    assert not np.array_equal(given_task(log, n_given=2, seed=4).test, task.test)


def test_the_scores_of_a_few_posts_by_hand():
    log = PostLog.of(
        [Post("a", None, None, ("x", "y")), Post("b", None, None, ("x", "z", "w"))]
        + [Post(f"c{i}", None, None, ("v",)) for i in range(2)]
    )
    x, y, z, v = (log.tags.index(t) for t in "xyzv")
    (plain,) = plain_scores(log, np.array([[x]]))
    assert plain[[x, y, z, v]].tolist() == [1.0, 0.5, 0.5, 0.0]
    (chance,) = chance_given(log, np.array([[x]]))
    # Posts of two and of three tags weigh 1/2 and 1/3; 2.5 of what is usual stands beside them.
    weight = 1 / 2 + 1 / 3 + 2.5
    assert chance[y] == pytest.approx((1 / 2 + 2.5 / 4) / weight)
    assert chance[z] == pytest.approx((1 / 3 + 2.5 / 4) / weight)
    assert chance[v] == pytest.approx((2.5 / 2) / weight)


def test_what_is_given_beats_popularity_and_two_tags_tell_more_than_one():
    one, two = (evaluate_given(topics(), n_given=n, seeds=range(2)) for n in (1, 2))
    for figures in (one, two):
        signal = figures.find(SIGNAL, "r@5")
        assert signal.low > figures.find("popularity", "r@5").high
        added = figures.find(SIGNAL, "r@5", minus=PLAIN)
        assert added.mean == pytest.approx(signal.mean - figures.find(PLAIN, "r@5").mean)
        seeds = [figures.find(SIGNAL, "r@5", segment=f"seed {i}").mean for i in range(2)]
        assert min(seeds) <= signal.mean <= max(seeds)
    assert two.find(SIGNAL, "r@5").mean > one.find(SIGNAL, "r@5").mean
    assert one.find(BOUND, "r@5").mean >= one.find(SIGNAL, "r@5").mean
    assert two.find(BOUND, "r@5") is None


def test_no_ranking_of_one_tag_passes_the_bound_where_everything_is_counted():
    log = topics()
    bound = one_tag_bound(log)
    lengths = np.diff(log.tag_start)
    scores = chance_given(log, np.arange(len(log.tags))[:, None])
    found = {"p@1": 0.0, "r@5": 0.0}
    rows = np.flatnonzero(lengths > 1)
    for row in rows:
        tags = log.tag_ids[log.tag_start[row] : log.tag_start[row + 1]]
        for given in tags:
            best = [t for t in np.argsort(-scores[given], kind="stable") if t != given][:5]
            others = set(tags.tolist()) - {given}
            found["p@1"] += (best[0] in others) / len(tags) / len(rows)
            found["r@5"] += len(others & set(best)) / len(others) / len(tags) / len(rows)
    assert 0.5 * bound["p@1"] < found["p@1"] <= bound["p@1"] + 1e-9
    assert 0.5 * bound["r@5"] < found["r@5"] <= bound["r@5"] + 1e-9


def test_the_whole_of_pixtag_is_told_what_is_given_and_never_credited_for_it():
    def parrot(known, given):
        return [[*tags, "all"] for tags in given]

    figures = evaluate_given(topics(), n_given=1, seeds=[0], model=parrot)
    assert 0.2 < figures.find("pixtag", "p@1").mean < 0.5
    assert figures.find("pixtag", "p@5").mean <= 0.2


def test_where_there_are_fewer_tags_than_ranks_the_given_ones_do_not_fill_up():
    log = PostLog.of([Post(f"p{i}", None, None, ("x", "y", f"z{i % 2}")) for i in range(140)])
    figures = evaluate_given(log, n_given=1, seeds=[0])
    methods = figures.values("method", segment="all")
    assert {SIGNAL, PLAIN, "popularity", BOUND} == set(methods)
    for name in methods:
        assert figures.find(name, "r@10").mean == pytest.approx(1.0)


def test_too_few_posts_get_an_error_with_what_to_do():
    with pytest.raises(InputError, match="more than 4 tags"):
        given_task(topics(60), n_given=4, seed=0)
