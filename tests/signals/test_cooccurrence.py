"""Co-occurrence against a plain count of posts that carry two tags, of a store and a prior."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from asking import Asking, questions_about, sampled, small_logs
from pixtag.signals.cooccurrence import (
    ACCEPTED_POSTS,
    BACK_OFF,
    OWN_BACK_OFF,
    SEED_POSTS,
    SEEDS,
    SHRINK,
    propose_company,
)
from pixtag.signals.popularity import PRIOR_POSTS
from pixtag.types import Post, PostLog
from worlds import world


def prior_posts(got) -> list[set[str]]:
    """Tags of the prior's posts."""
    view = got.model.knowledge.prior.view
    return [set(view.tags_of(i)) for i in range(view.n_posts)]


def rates(got, past) -> dict[str, float]:
    """Share of posts with each tag; the prior counts as some posts of the store."""
    prior = prior_posts(got)
    weight = min(PRIOR_POSTS, len(prior))
    return {
        tag: (
            sum(tag in p.tags for p in past)
            + weight * sum(tag in p for p in prior) / max(len(prior), 1)
        )
        / max(len(past) + weight, 1)
        for tag in got.tags
    }


def check(log, questions, *, n_known=20, seed=0):
    n_pairs = len(questions) * len(set(log.tags) | set(sorted(log.tags)[:n_known]))
    first = np.random.default_rng(seed).permutation(n_pairs) / n_pairs
    got = Asking(log, questions, n_known=n_known, first=first)
    strength = first.reshape(len(questions), -1)
    prior = prior_posts(got)
    for i, _, tick, past in got:
        given_, mass = dict.fromkeys(got.tags, 0.0), 1e-6
        for t in np.argsort(-strength[i])[:SEEDS].tolist():
            seed_tag, weight = got.tags[t], strength[i, t]
            mass += weight
            store = [set(p.tags) for p in got.past.carrying(seed_tag, tick)[-SEED_POSTS:]]
            posts = store + [tags for tags in prior if seed_tag in tags]
            for tag in set().union(*posts) - {seed_tag}:
                both = sum(tag in tags for tags in posts)
                given_[tag] += weight * both / (len(posts) + SHRINK)
        rate = rates(got, past)
        for t, tag in enumerate(got.tags):
            value = np.log(given_[tag] + 1e-4) - np.log(1e-4)
            assert got["goes_with_candidates"][i, t] == pytest.approx(value, abs=2e-3)
            value = np.log((given_[tag] / mass + 1e-4) / (rate[tag] + 1e-4))
            assert got["goes_with_candidates_lift"][i, t] == pytest.approx(value, abs=2e-3)
            assert got["goes_with_accepted"][i, t] == 0.0


def test_shares_are_what_a_plain_count_gives():
    log = world(800)
    assert np.bincount(log.tag_ids).max() > SEED_POSTS
    check(log, sampled(log, 15))


@settings(max_examples=25)
@given(small_logs())
def test_ties_and_missing_times_and_people_change_nothing(log):
    if len(log) and len(log.tag_ids):
        check(log, questions_about(log, np.arange(len(log))), n_known=2)


def shrunk(posts, broader, back_off):
    """Share of the weight of some posts that carries each tag, written out."""
    weights = [1 / len(tags) for tags in posts if tags]
    return {
        tag: (sum(1 / len(tags) for tags in posts if tag in tags) + back_off * usual)
        / (sum(weights) + back_off)
        for tag, usual in broader.items()
    }


def company_of(got, past, user, tick, accepted):
    """Chances with accepted tags and without, from plain posts."""
    last = {p.post_id for a in accepted for p in got.past.carrying(a, tick)[-ACCEPTED_POSTS:]}
    store = [p for p in past if p.post_id in last]
    posts = [set(p.tags) for p in store] + prior_posts(got)
    usual = rates(got, past)
    each = [shrunk([p for p in posts if a in p], usual, BACK_OFF) for a in accepted]
    chance = {t: sum(e[t] for e in each) / len(each) for t in usual}

    def matching(posts, n):
        return [p for p in posts if sum(a in p for a in accepted) >= n]

    for n in range(2, len(accepted) + 1):
        chance = shrunk(matching(posts, n), chance, BACK_OFF)
    own = [set(p.tags) for p in got.own(user, tick)]
    if own:
        mine = shrunk(own, usual, OWN_BACK_OFF)
        lift = {t: chance[t] / usual[t] if usual[t] else 1.0 for t in usual}
        chance = {t: min(mine[t] * lift[t], 1.0) for t in mine}
        by_me = [set(p.tags) for p in store if p.is_timed and p.user == user]
        for n in range(1, len(accepted) + 1):
            chance = shrunk(matching(by_me, n), chance, OWN_BACK_OFF)
        usual = mine
    return {t: usual[t] if t in accepted else chance[t] for t in chance}, usual


@pytest.mark.parametrize("n_accepted", [1, 2, 3])
def test_company_of_accepted_tags_is_what_plain_posts_give_block_by_block(n_accepted):
    log = world()
    questions = sampled(log, 12)
    rng = np.random.default_rng(n_accepted)
    # Tags of one post each, so that posts with all of them exist.
    rows = rng.integers(0, len(log), len(questions))
    names = [tuple(log.tags_of(row)[:n_accepted]) for row in rows]
    got = Asking(log, replace(questions, accepted=(*map(tuple, names),)))
    n_with_own = 0
    for i, user, tick, past in got:
        expected, usual = company_of(got, past, user, tick, names[i])
        n_with_own += bool(got.own(user, tick))
        values = [np.log((expected[t] + 1e-3) / (usual[t] + 1e-3)) for t in got.tags]
        assert got["goes_with_accepted"][i] == pytest.approx(values, abs=1e-4)
    assert n_with_own > 3


def test_companions_of_an_accepted_tag_are_proposed():
    log = world()
    question = questions_about(log, [len(log) - 1], shift_s=60.0)
    got = Asking(log, replace(question, accepted=(("look3-1",),)), has_prior=False)
    _, tag = propose_company(got.asked, limit=3)
    companions = {got.tags[t] for t in tag}
    assert len([t for t in companions if t.startswith("look3-")]) >= 2


def test_posts_with_several_accepted_tags_count_however_old(monkeypatch):
    monkeypatch.setattr("pixtag.signals.cooccurrence.ACCEPTED_POSTS", 8)
    sets = [("sea", "dog", "waves")] * 6 + [("sea", "boat")] * 20 + [("dog", "leash")] * 20
    log = PostLog.of([Post(f"p{i}", f"u{i % 9}", 1e9 + i, tags) for i, tags in enumerate(sets)])
    question = questions_about(log, [len(log) - 1], shift_s=60.0)
    got = Asking(log, replace(question, users=(None,), accepted=(("sea", "dog"),)))
    lift = dict(zip(got.tags, got["goes_with_accepted"][0].tolist(), strict=True))
    assert lift["waves"] > max(lift["boat"], lift["leash"]) + 0.5
