"""The person's own posts and the most similar posts of everyone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asking import Asked, queries_about, sampled, small_logs
from pixtag.signals.memory import Neighbours, OwnMemory, nearest
from worlds import state_of, world


def key(memory, names, name):
    return memory.keys[:, :, names.index(name)]


def check_own(state, queries):
    asked = Asked(state, queries)
    memory = state.own_memory.recall(asked.block)
    hours = key(memory, OwnMemory.key_names, "log_hours")
    similarity = key(memory, OwnMemory.key_names, "similarity")
    for i, user, at, past in asked:
        own = [p for p in past if p.user == user and user is not None and p.is_timed][::-1]
        own = own[: state.own_memory.n_slots]
        kept = memory.rows[i][memory.filled[i]]
        assert [state.log.post_ids[r] for r in kept] == [p.post_id for p in own]
        assert not memory.keys[i][~memory.filled[i]].any()
        for slot, post in enumerate(own):
            age_hours = max(at - post.at, 60.0) / 3600.0
            assert hours[i, slot] == pytest.approx(np.log(age_hours) / 4.0, abs=1e-4)
            alike = 0.0 if post.photo is None else float(asked.block.photo[i] @ post.photo)
            assert similarity[i, slot] == pytest.approx(alike, abs=1e-4)
        copied = {
            (int(s), state.tags[t])
            for q, s, t in zip(memory.query, memory.slot, memory.tag, strict=True)
            if q == i
        }
        assert copied == {(slot, tag) for slot, post in enumerate(own) for tag in post.tags}


def check_near(state, queries):
    asked = Asked(state, queries)
    memory = state.neighbours.recall(asked.block)
    similarity = key(memory, Neighbours.key_names, "similarity")
    is_own = key(memory, Neighbours.key_names, "is_own")
    for i, user, _, past in asked:
        kept = memory.rows[i][memory.filled[i]]
        if not queries.has_photo[i]:
            assert not len(kept)
            continue
        photo = asked.block.photo[i].astype(np.float64)
        alike = sorted((float(photo @ p.photo) for p in past if p.photo is not None), reverse=True)
        alike = alike[: state.neighbours.n_slots]
        assert similarity[i][memory.filled[i]] == pytest.approx(alike, abs=1e-4)
        by_id = {p.post_id: p for p in past}
        for slot, row in enumerate(kept.tolist()):
            post = by_id[state.log.post_ids[row]]
            assert float(photo @ post.photo) == pytest.approx(similarity[i, slot], abs=1e-4)
            own = post.user == user and user is not None and post.is_timed
            assert is_own[i, slot] == float(own)


def test_the_persons_latest_posts_are_recalled_newest_first():
    log = world()
    check_own(state_of(log), sampled(log, 40))


def test_the_most_similar_earlier_posts_are_recalled():
    log = world()
    check_near(state_of(log), sampled(log, 40))


@settings(max_examples=25)
@given(small_logs())
def test_ties_and_missing_times_people_and_photos_change_nothing(log):
    if len(log):
        queries = queries_about(log, np.arange(len(log)))
        state = state_of(log, n_known=3)
        check_own(state, queries)
        check_near(state, queries)


@settings(max_examples=40)
@given(
    st.integers(1, 3), st.integers(0, 4000), st.integers(1, 40), st.integers(0, 99), st.booleans()
)
def test_nearest_is_a_full_sort_cut_off(n_rows, n, limit, seed, has_ties):
    rng = np.random.default_rng(seed)
    similarity = rng.normal(size=(n_rows, n)).astype(np.float32)
    similarity = np.tanh(similarity)
    if has_ties:
        similarity = np.round(similarity, 1)
    similarity[rng.random((n_rows, n)) < 0.3] = -np.inf
    columns, values = nearest(similarity.copy(), limit=limit)
    for row in range(n_rows):
        expected = np.sort(similarity[row])[::-1][:limit]
        expected = expected[np.isfinite(expected)]
        finite = np.isfinite(values[row])
        assert values[row][finite] == pytest.approx(expected, abs=2e-5)
        found = columns[row][finite]
        assert len(set(found.tolist())) == len(found)
        assert np.array_equal(similarity[row, found], values[row][finite])
        if has_ties:
            order = np.lexsort((np.arange(n), -similarity[row]))[: len(found)]
            assert found.tolist() == order.tolist()
