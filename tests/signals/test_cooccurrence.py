"""Co-occurrence against a plain count of posts that carry two tags."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from asking import Asked, queries_about, sampled, small_logs
from pixtag.signals.cooccurrence import BACK_OFF, OWN_BACK_OFF, SHRINK
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
    company = state.cooccurrence.company(asked.block, [np.array([state.tag_index["look3-1"]])])
    _, tag = state.cooccurrence.propose(company, public, limit=3)
    companions = {state.tags[t] for t in tag}
    assert len([t for t in companions if t.startswith("look3-")]) >= 2


def shrunk(posts, broader, back_off):
    """Share of the weight of some posts that carries each tag, written out."""
    weights = [1 / len(p.tags) for p in posts if p.tags]
    return {
        tag: (sum(1 / len(p.tags) for p in posts if tag in p.tags) + back_off * usual)
        / (sum(weights) + back_off)
        for tag, usual in broader.items()
    }


def company_of(state, past, user, accepted):
    """Chances with accepted tags and without, from plain posts."""
    usual = {t: sum(t in p.tags for p in past) / max(len(past), 1) for t in state.tags}
    each = [shrunk([p for p in past if a in p.tags], usual, BACK_OFF) for a in accepted]
    chance = {t: sum(e[t] for e in each) / len(each) for t in state.tags}

    def matching(posts, n):
        return [p for p in posts if sum(a in p.tags for a in accepted) >= n]

    for n in range(2, len(accepted) + 1):
        chance = shrunk(matching(past, n), chance, BACK_OFF)
    own = [p for p in past if user is not None and p.user == user and p.is_timed]
    if own:
        mine = shrunk(own, usual, OWN_BACK_OFF)
        lift = {t: chance[t] / usual[t] if usual[t] else 1.0 for t in usual}
        chance = {t: min(mine[t] * lift[t], 1.0) for t in mine}
        for n in range(1, len(accepted) + 1):
            chance = shrunk(matching(own, n), chance, OWN_BACK_OFF)
        usual = mine
    return {t: usual[t] if t in accepted else chance[t] for t in chance}, usual


@pytest.mark.parametrize("n_accepted", [1, 2, 3])
def test_company_of_accepted_tags_is_what_plain_posts_give_block_by_block(n_accepted):
    log = world()
    state = state_of(log)
    asked = Asked(state, sampled(log, 12))
    rng = np.random.default_rng(n_accepted)
    # Tags of one post each, so that posts with all of them exist.
    rows = rng.integers(0, len(log), len(asked.queries))
    names = [log.tags_of(row)[:n_accepted] for row in rows]
    accepted = [np.array([state.tag_index[t] for t in tags], np.int64) for tags in names]
    company = state.cooccurrence.company(asked.block, accepted)
    n_with_own = 0
    for i, user, _, past in asked:
        expected, usual = company_of(state, past, user, names[i])
        n_with_own += any(p.user == user for p in past)
        assert company[i][0] == pytest.approx([expected[t] for t in state.tags], abs=1e-9)
        assert company[i][1] == pytest.approx([usual[t] for t in state.tags], abs=1e-9)
    assert n_with_own > 3
