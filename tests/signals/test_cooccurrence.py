"""Co-occurrence against a plain count of posts that carry two tags."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from asking import Asked, queries_about, sampled, small_logs
from pixtag.signals.cooccurrence import SHRINK
from worlds import state_of, world


def check(state, queries, *, n_seeds=3, seed=0):
    asked = Asked(state, queries)
    rng = np.random.default_rng(seed)
    n_tags = len(state.tags)
    n_seeds = min(n_seeds, n_tags)
    seeds = np.stack([rng.permutation(n_tags)[:n_seeds] for _ in range(len(queries))])
    weights = rng.random((len(queries), n_seeds)).astype(np.float32)
    weights[rng.random(weights.shape) < 0.2] = 0.0
    got = state.cooccurrence.given(asked.block, asked.pairs, seeds, weights)
    got = got.reshape(len(queries), n_tags)
    counted = state.tags[: state.cooccurrence.n_counted]
    for i, _, _, past in asked:
        for t, tag in enumerate(state.tags):
            expected = 0.0
            for s, weight in zip(seeds[i], weights[i], strict=True):
                other = state.tags[s]
                if tag == other or tag not in counted or other not in counted:
                    continue
                times = sum(other in p.tags for p in past)
                both = sum(other in p.tags and tag in p.tags for p in past)
                expected += float(weight) * both / (times + SHRINK)
            assert got[i, t] == pytest.approx(expected, abs=1e-4)


def test_shares_are_what_a_plain_count_gives():
    log = world()
    check(state_of(log), sampled(log, 15))


def test_tags_beyond_the_counted_ones_say_nothing():
    log = world()
    state = state_of(log)
    config = state.config.model_copy(update={"counted_tags": 30})
    check(state_of(log, config=config), sampled(log, 10))


@settings(max_examples=25)
@given(small_logs())
def test_ties_and_missing_times_and_people_change_nothing(log):
    if len(log) and len(log.tag_ids):
        check(state_of(log, n_known=2), queries_about(log, np.arange(len(log))))


def test_companions_of_an_accepted_tag_are_proposed():
    log = world()
    state = state_of(log)
    asked = Asked(state, queries_about(log, [len(log) - 1], shift_s=60.0))
    public = state.counts.public(asked.block, least_people=3)
    accepted = (np.array([[state.tag_index["look3-1"]]]), np.ones((1, 1), np.float32))
    _, tag = state.cooccurrence.propose(asked.block, accepted, public, limit=3)
    companions = {state.tags[t] for t in tag}
    assert len([t for t in companions if t.startswith("look3-")]) >= 2
