"""The feature table: one row says everything about an input of the network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asking import all_pairs, sampled
from pixtag.rank import read
from pixtag.signals import (
    FEATURES,
    INPUT_NAMES,
    MEMORIES,
    REASONS,
    SIGNALS,
    SOURCES,
    Feature,
    Pairs,
    Signal,
    Table,
)
from pixtag.types import Sources
from worlds import observed, world


def test_names_are_unique_and_each_signal_has_its_columns_once():
    for names in INPUT_NAMES.values():
        assert len(set(names)) == len(names)
    assert len({signal.name for signal in SIGNALS}) == len(SIGNALS)
    columns = np.concatenate([FEATURES.of_signal(signal.name) for signal in SIGNALS])
    assert columns.tolist() == list(range(len(FEATURES)))
    reasons = np.concatenate([FEATURES.of_reason(reason) for reason in REASONS])
    assert sorted(reasons.tolist()) == list(range(len(FEATURES)))
    assert set(REASONS.values()) == {*SOURCES, "general"}
    assert set(MEMORIES) <= set(REASONS)


def test_two_features_of_one_name_are_refused():
    twin = Feature("twin", (), "popular")
    signals = [Signal(name, (twin,), lambda asked, pairs: np.zeros((0, 1))) for name in "ab"]
    with pytest.raises(ValueError, match="same name"):
        Table(signals)


def test_what_is_needed_follows_from_the_sources_of_the_rows():
    needed = FEATURES.needed
    assert needed.shape == (len(SOURCES), len(FEATURES))
    for column, feature in enumerate(FEATURES.features):
        assert {s for s, n in zip(SOURCES, needed[:, column], strict=True) if n} == set(
            feature.sources
        )
    # Whoever has nothing but the counts of everybody is still answered.
    assert not needed[:, FEATURES.of_signal("popularity")].any()


@pytest.mark.parametrize("number", range(8))
def test_a_silent_source_leaves_zeros_and_changes_nothing_that_does_without_it(number):
    log = world()
    model, evidence = observed(log)
    questions = sampled(log, 12)
    on = dict(zip(SOURCES, (bool(number & bit) for bit in (1, 2, 4)), strict=True))
    loud, pairs = all_pairs(model, evidence.view(), questions)
    silent, _ = all_pairs(model, evidence.view(), questions, Sources(**on))
    everything, some = FEATURES.compute(loud, pairs), FEATURES.compute(silent, pairs)
    off = np.array([not on[source] for source in SOURCES])
    is_silent = (FEATURES.needed[off] > 0).any(axis=0)
    assert not some[:, is_silent].any()
    # A person's own posts are weighted by their photos where both have one.
    alone = np.setdiff1d(np.flatnonzero(~is_silent), FEATURES.of_signal("own_memory"))
    np.testing.assert_allclose(some[:, alone], everything[:, alone], atol=1e-5)


def test_values_of_unknown_and_unseen_tags_are_those_of_tags_that_pixels_do_not_know():
    """What training hides looks exactly like a tag that the vocabulary or the photos lack."""
    log = world()
    model, evidence = observed(log)
    view = evidence.view()
    asked, pairs = all_pairs(model, view, sampled(log, 12))
    values = FEATURES.compute(asked, pairs)
    unknown = pairs.tag >= len(model.knowledge.vocabulary)
    tick = asked.tick[pairs.question]
    prior = model.knowledge.prior.photos
    unseen = (view.photos_with(pairs.tag, tick) + asked.at_prior(prior, pairs.tag)) == 0
    assert unknown.any()
    assert unseen.any()
    for column, feature in enumerate(FEATURES.features):
        if feature.when_unknown is not None:
            assert (values[unknown, column] == np.float32(feature.when_unknown)).all(), feature
        if feature.when_unseen is not None:
            found = values[unseen, column]
            assert found == pytest.approx(np.full(len(found), feature.when_unseen)), feature


def test_pairs_are_distinct_and_sums_ignore_what_is_no_candidate():
    pairs = Pairs.of(np.array([1, 0, 1]), np.array([2, 1, 2]), n_questions=2, n_tags=4)
    assert list(zip(pairs.question.tolist(), pairs.tag.tolist(), strict=True)) == [(0, 1), (1, 2)]
    assert pairs.find(np.array([0, 1]), np.array([2, 2])).tolist() == [len(pairs), 1]
    total = pairs.total(np.array([0, 0, 1, 1]), np.array([1, 1, 2, 3]), np.array([1.0, 2, 4, 8]))
    assert total.tolist() == [3.0, 4.0]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(1, 9)), max_size=40))
def test_entries_are_found_and_summed_as_a_dictionary_would(entries):
    question, tag, weight = (np.array([e[i] for e in entries], np.int64) for i in range(3))
    kept = slice(0, len(entries) // 2)
    pairs = Pairs.of(question[kept], tag[kept], n_questions=6, n_tags=9)
    total: dict[tuple[int, int], float] = {}
    for q, t, w in entries:
        total[q, t] = total.get((q, t), 0.0) + w
    found = zip(pairs.question.tolist(), pairs.tag.tolist(), strict=True)
    got = pairs.total(question, tag, weight.astype(np.float64)).tolist()
    assert got == [total[key] for key in found]


def test_typed_tags_are_an_overlay_over_the_own_history_alone():
    log = world()
    model, evidence = observed(log)
    questions = sampled(log, 10)
    typed = type(questions)(
        **{**vars(questions), "history": (("all1", "all1", "typedonly"),) * len(questions)}
    )
    view = evidence.view()
    plain, with_typed = read(model, view, questions), read(model, view, typed)
    assert with_typed.names == [*plain.names, "typedonly"]
    assert (with_typed.own.n == plain.own.n + 2).all()
    assert with_typed.n_posts.tolist() == plain.n_posts.tolist()
    assert view.id_of("typedonly") == -1
    last = with_typed.own.last(1)
    assert (asked_days(with_typed, last) <= 1.0).all()


def asked_days(asked, own) -> np.ndarray:
    return (asked.tick[own.question] - own.tick) / 8_640_000
