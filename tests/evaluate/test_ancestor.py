"""The old project's protocol, its leak included."""

from __future__ import annotations

import numpy as np
import pytest

from logs import invented_log
from pixtag.errors import InputError
from pixtag.evaluate.baselines import base_level
from pixtag.evaluate.untimed import (
    CLEAN,
    LEAKY,
    NONE,
    PREQUENTIAL,
    evaluate_ancestor,
    in_some_order,
    label_scores,
    old_figures,
    old_task,
)


@pytest.fixture(scope="module")
def log():
    return invented_log(700, n_users=60, n_tags=50, width=12, seed=1)


def test_labels_are_the_most_frequent_and_the_split_is_random_with_a_seed(log):
    task = old_task(log, seed=1)
    counts = np.bincount(log.tag_ids, minlength=len(log.tags))
    assert len(task.labels) == 32
    assert min(counts[log.tags.index(t)] for t in task.labels) >= sorted(counts)[-32]
    assert not set(task.train) & set(task.test)
    assert task.train.min() < task.test.max()
    assert (task.test == old_task(log, seed=1).test).all()
    assert (task.test != old_task(log, seed=2).test).any()


def test_the_leaky_history_holds_the_answer_and_the_honest_one_does_not(log):
    task = old_task(log)
    assert (task.history(leaky=True)[task.test] >= task.answers[task.test]).all()
    flipped = task.answers.copy()
    flipped[task.test] = ~flipped[task.test]
    other = type(task)(**{**vars(task), "answers": flipped})
    assert (task.history(leaky=False)[task.test] == other.history(leaky=False)[task.test]).all()


def test_the_leak_is_worth_something_where_people_have_few_posts(log):
    found = evaluate_ancestor(log)

    def p3(method):
        return found.find(method, "p@3").mean

    assert p3(f"counts ({LEAKY})") > p3(f"counts ({CLEAN})") + 0.02
    assert p3(f"pixels ({NONE})") > p3(f"most frequent ({NONE})")


def test_related_tags_count_in_the_second_figure_only(log):
    task = old_task(log)
    perfect = old_figures(task, task.answers[task.test].astype(np.float32))
    assert perfect["p@1"] == perfect["related p@1"] == 1
    random = np.random.default_rng(0).random((len(task.test), 32)).astype(np.float32)
    figures = old_figures(task, random)
    assert all(figures[f"related p@{k}"] >= figures[f"p@{k}"] for k in range(1, 11))


def test_a_method_that_lives_in_time_can_take_part(log):
    task = old_task(log)
    ordered = in_some_order(log, task)
    n_test = len(task.test)
    assert len(ordered) == len(task.train) + n_test
    ranked = base_level(0.5)(ordered, len(ordered) - n_test, len(ordered), 50)
    figures = old_figures(task, label_scores(task, ranked))
    assert figures["p@1"] > 0.3
    named = evaluate_ancestor(
        log, model=lambda ordered, n: base_level(0.5)(ordered, len(ordered) - n, len(ordered), 50)
    )
    assert named.find(f"pixtag ({PREQUENTIAL})", "p@1").mean == figures["p@1"]


def test_too_few_posts_are_refused():
    with pytest.raises(InputError, match="too few to split"):
        old_task(invented_log(40))
