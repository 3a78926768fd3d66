"""The cut in time, cold people, segments."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from logs import START_AT, invented_log
from pixtag.splits import (
    BANDS,
    Split,
    cold_people,
    cold_view,
    history_length,
    is_repeated,
    subject_novelty,
    tag_bands,
    temporal_split,
)
from pixtag.types import Post, PostLog


@given(n=st.integers(0, 3000))
def test_the_cut_is_by_count_with_floors(n):
    log = PostLog.of(Post(f"p{i:05d}", "ana", START_AT + i, ("a",)) for i in range(n))
    assert temporal_split(log) == Split(7 * n // 10, 8 * n // 10, n)


def test_posts_without_a_time_belong_to_train():
    posts = [Post(f"u{i}", None, None, ("a",)) for i in range(5)]
    posts += [Post(f"t{i}", "ana", START_AT + i, ("a",)) for i in range(10)]
    split = temporal_split(PostLog.of(posts))
    assert split == Split(12, 13, 15)
    assert split.bounds("test") == (13, 15)


def test_for_use_nothing_is_kept_for_a_test():
    assert temporal_split(invented_log(10), use_all=True) == Split(9, 10, 10)


def test_cold_people_are_a_fifth_and_the_same_for_a_seed():
    log = invented_log(300, n_users=50)
    people = cold_people(log, seed=3)
    assert people.sum() == 10
    assert (people == cold_people(log, seed=3)).all()
    assert (people != cold_people(log, seed=4)).any()


def test_cold_people_have_no_past_before_the_period():
    log = invented_log(400, n_users=20)
    split = temporal_split(log)
    people = cold_people(log)
    view = cold_view(log, split, people)
    start, stop = view.split.bounds("test")
    assert not people[view.log.user_of_post[:start]].any()
    assert view.log.post_ids[start:stop] == log.post_ids[slice(*split.bounds("test"))]
    assert people[view.log.user_of_post[view.rows]].all()
    assert max(history_length(view.log)[view.rows]) <= 4
    counts = np.bincount(view.log.user_of_post[view.rows])
    assert counts.max() <= 5


def test_history_length_counts_earlier_instants_only():
    posts = [
        Post("a", "ana", 10.0, ("x",)),
        Post("b", "ana", 20.0, ("x",)),
        Post("c", "ana", 20.0, ("x",)),
        Post("d", "ben", 20.0, ("x",)),
        Post("e", "ana", 30.0, ("x",)),
        Post("f", None, 40.0, ("x",)),
        Post("g", "ana", None, ("x",)),
    ]
    log = PostLog.of(posts)
    length = dict(zip(log.post_ids, history_length(log).tolist(), strict=True))
    assert length == {"a": 0, "b": 1, "c": 1, "d": 0, "e": 3, "f": 0, "g": 0}


@given(seed=st.integers(0, 200))
def test_history_length_equals_counting_one_by_one(seed):
    log = invented_log(40, n_users=3, seed=seed, share_tied=0.4, width=0)
    slow = [
        sum(log.user_of_post[j] == log.user_of_post[i] and log.at[j] < log.at[i]
            for j in range(len(log)))
        for i in range(len(log))
    ]  # fmt: skip
    assert history_length(log).tolist() == slow


def test_a_repeated_set_is_the_persons_own_whole_and_earlier():
    posts = [
        Post("a", "ana", 10.0, ("x", "y")),
        Post("b", "ben", 20.0, ("x", "y")),
        Post("c", "ana", 30.0, ("y", "x")),
        Post("d", "ana", 40.0, ("x",)),
        Post("e", "cat", 50.0, ("z",)),
        Post("f", "cat", 50.0, ("z",)),
    ]
    log = PostLog.of(posts)
    assert is_repeated(log).tolist() == [False, False, True, False, False, False]


def test_bands_split_uses_not_tags():
    bands = tag_bands(np.array([50, 20, 20, 5, 5, 0]))
    assert [BANDS[b] for b in bands] == ["head", "torso", "torso", "tail", "tail", "new"]
    assert [BANDS[b] for b in tag_bands(np.zeros(2, np.int64))] == ["new", "new"]


def test_a_subject_is_new_when_neither_photos_nor_tags_of_the_person_know_it():
    sea, fox = np.array([1, 0, 0], np.float16), np.array([0, 1, 0], np.float16)
    posts = [
        Post("a", "ana", 10.0, ("sea",)),
        Post("b", "ana", 20.0, ("fox",)),
        Post("c", "ana", 30.0, ("water",)),
        Post("d", "ana", 40.0, ("sea",)),
        Post("e", "ben", 50.0, ("sea",)),
        Post("f", "ana", 60.0, ("owl",)),
        Post("g", None, 70.0, ("sea",)),
    ]
    looks = {"a": sea, "b": fox, "c": sea, "d": np.array([0, 0, 1], np.float16), "e": fox,
             "g": fox}  # fmt: skip
    log = PostLog.of(posts, looks)
    found = subject_novelty(log, np.arange(len(log))).tolist()
    # A first photo, a post without one and nobody's have nothing to be compared with.
    assert found == [-1, 1, 0, 0, -1, -1, -1]
    assert subject_novelty(log, np.array([1, 3])).tolist() == [1, 0]
