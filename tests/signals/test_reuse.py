"""Own history against its formula, one post at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from asking import Asked, queries_about, sampled, small_logs
from pixtag.signals.reuse import DECAYS, RANK_SCALES, Reuse
from pixtag.types import Post, PostLog
from worlds import START_AT, state_of, world

FLOOR = 1e-5


def check(state, queries):
    asked = Asked(state, queries)
    got = asked.table(Reuse.names, state.reuse.features(asked.block, asked.pairs))
    for i, user, at, past in asked:
        own = [p for p in past if p.user == user and user is not None and p.is_timed]
        for t, tag in enumerate(state.tags):
            uses = [(at - p.at, len(own) - 1 - n) for n, p in enumerate(own) if tag in p.tags]
            hours = [max(age, 60.0) / 3600.0 for age, _ in uses]
            for decay in DECAYS:
                level = max(sum(h**-decay for h in hours), FLOOR)
                expected = np.log(level) - np.log(FLOOR)
                assert got[f"reuse_decay_{decay}"][i, t] == pytest.approx(expected, abs=2e-4)
            for scale in RANK_SCALES:
                level = max(sum(np.exp(-rank / scale) for _, rank in uses), FLOOR)
                expected = np.log(level) - np.log(FLOOR)
                assert got[f"reuse_posts_{int(scale)}"][i, t] == pytest.approx(expected, abs=2e-4)
            assert got["own_uses_log"][i, t] == pytest.approx(np.log1p(len(uses)), abs=1e-5)
            assert got["own_share"][i, t] == pytest.approx(len(uses) / max(len(own), 1), abs=1e-5)
            assert got["own_in_last_post"][i, t] == float(any(rank == 0 for _, rank in uses))
            if uses:
                assert got["own_last_log_hours"][i, t] == pytest.approx(
                    np.log(min(hours)), abs=1e-4
                )


def test_every_number_is_what_a_plain_reading_gives():
    log = world()
    check(state_of(log), sampled(log, 25))


@settings(max_examples=25)
@given(small_logs())
def test_ties_and_missing_times_people_and_tags_change_nothing(log):
    if len(log):
        check(state_of(log, n_known=3), queries_about(log, np.arange(len(log)), shift_s=1800.0))


def test_a_recent_habit_beats_an_old_one_and_a_frequent_one_beats_a_rare_one():
    day = 86_400.0
    posts = [Post(f"a{i}", "ana", START_AT + i * day, ("old",)) for i in range(3)]
    posts += [Post(f"b{i}", "ana", START_AT + (30 + i) * day, ("new",)) for i in range(3)]
    posts += [Post("c", "ana", START_AT + 31.5 * day, ("rare",))]
    log = PostLog.of(posts)
    state = state_of(log, n_known=0)
    asked = Asked(state, queries_about(log, [len(log) - 1], shift_s=day))
    got = asked.table(Reuse.names, state.reuse.features(asked.block, asked.pairs))
    level = dict(zip(state.tags, got["reuse_decay_0.5"][0], strict=True))
    assert level["new"] > level["old"] > 0
    assert level["new"] > level["rare"]


def test_the_strongest_own_tags_are_proposed_and_nobody_elses():
    log = world()
    state = state_of(log)
    asked = Asked(state, sampled(log, 30))
    query, tag = state.reuse.propose(asked.block, limit=5)
    for i, user, _, past in asked:
        own = {
            t for p in past if p.user == user and user is not None and p.is_timed for t in p.tags
        }
        proposed = [state.tags[t] for t in tag[query == i]]
        assert len(proposed) == min(5, len(own))
        assert set(proposed) <= own


def check_context(state, queries):
    asked = Asked(state, queries)
    got = dict(zip(Reuse.context_names, state.reuse.context(asked.block).T, strict=True))
    for i, user, _, past in asked:
        own = [p for p in past if p.user == user and user is not None and p.is_timed]
        assert got["history_log"][i] == pytest.approx(np.log1p(len(own)), abs=1e-5)
        recent = range(max(0, len(own) - 10), len(own))
        repeats = [n > 0 and own[n].tags == own[n - 1].tags for n in recent]
        expected = np.mean(repeats) if repeats else 0.0
        assert got["repeat_share"][i] == pytest.approx(expected, abs=1e-5)


def test_the_length_of_a_history_and_its_repetitions_are_known():
    log = world()
    state = state_of(log)
    check_context(state, sampled(log, 60))
    late = queries_about(log, np.arange(len(log) - 60, len(log)), shift_s=1.0)
    assert state.reuse.context(Asked(state, late).block)[:, 3].max() > 0.0


@settings(max_examples=25)
@given(small_logs())
def test_ties_and_missing_parts_do_not_disturb_what_is_known_of_a_person(log):
    if len(log):
        check_context(
            state_of(log, n_known=3), queries_about(log, np.arange(len(log)), shift_s=9.0)
        )
