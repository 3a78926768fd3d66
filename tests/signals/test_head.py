"""The pixel head and the choice of the best."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtag.signals.asked import strongest, top_of_rows
from worlds import WIDTH, random_head


def test_photos_become_unit_vectors_and_no_photo_stays_nothing():
    head = random_head(["a", "b", "c"])
    rows = np.random.default_rng(1).normal(size=(5, WIDTH)).astype(np.float32)
    rows[2] = 0.0
    photo = head.project(rows)
    assert photo.shape == (5, head.width)
    assert np.linalg.norm(photo, axis=1) == pytest.approx([1, 1, 0, 1, 1], abs=1e-5)


def test_chances_of_all_tags_sum_to_one():
    head = random_head(["a", "b", "c"])
    photo = head.project(np.random.default_rng(2).normal(size=(4, WIDTH)).astype(np.float32))
    assert np.exp(head.log_probs(photo)).sum(axis=1) == pytest.approx(np.ones(4), abs=1e-5)


@given(st.integers(1, 4), st.integers(0, 30), st.integers(1, 12), st.integers(0, 999))
def test_the_best_of_each_row_are_chosen_ties_by_the_first_column(n_rows, n, limit, seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 5, (n_rows, n)).astype(np.float32)
    seen = rng.random(n_rows) < 0.8
    row, column = top_of_rows(scores, seen, limit=limit)
    for i in range(n_rows):
        order = [c for c in np.lexsort((np.arange(n), -scores[i])) if seen[i] and scores[i, c]]
        assert sorted(column[row == i].tolist()) == sorted(order[:limit])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=30), st.integers(1, 6))
def test_the_strongest_of_each_question_come_first_ties_by_the_number_given(entries, limit):
    entries = sorted(entries, key=lambda e: e[0])
    question, strength = (np.array([e[i] for e in entries], np.int64) for i in range(2))
    ties = np.random.default_rng(len(entries)).permutation(len(entries))
    kept = strongest(question, strength.astype(np.float32), ties, limit=limit)
    for q in set(question.tolist()):
        rows = np.flatnonzero(question == q).tolist()
        expected = sorted(rows, key=lambda r: (-strength[r], ties[r]))[:limit]
        assert [r for r in kept.tolist() if question[r] == q] == expected
