"""The person's own posts and the most similar posts of everyone, those of the prior included."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asking import Asking, questions_about, sampled, small_logs
from pixtag.evidence import NOBODY
from pixtag.rank import RankConfig
from pixtag.signals import NEAR_KEYS, OWN_KEYS
from pixtag.signals.asked import NEW_SUBJECT
from pixtag.signals.memory import nearest
from worlds import world

N_SLOTS = 12
FEW = RankConfig(own_slots=N_SLOTS, near_slots=N_SLOTS)


def check_own(got):
    memory = got.asked.own_memory
    keys = {name: memory.keys[:, :, i] for i, name in enumerate(OWN_KEYS)}
    for i, user, tick, _ in got:
        own = got.own(user, tick)[::-1][:N_SLOTS]
        assert memory.filled[i].tolist() == [n < len(own) for n in range(N_SLOTS)]
        assert not memory.keys[i][~memory.filled[i]].any()
        total = 1e-9
        shares = dict.fromkeys(got.tags, 0.0)
        for slot, post in enumerate(own):
            row = memory.rows[i, slot]
            assert (got.view.tick[row], tuple(got.view.tags_of(row))) == (post.tick, post.tags)
            age = max(tick - post.tick, 6000) / 360_000
            assert keys["log_hours"][i, slot] == pytest.approx(np.log(age) / 4.0, abs=1e-4)
            assert keys["is_last"][i, slot] == (slot == 0)
            has_both = post.photo is not None and got.questions.has_photo[i]
            assert keys["has_both_photos"][i, slot] == has_both
            alike = got.alike(i, post) if has_both else 0.0
            assert keys["similarity"][i, slot] == pytest.approx(alike, abs=1e-4)
            # What a fixed kernel over these posts says of each tag.
            weight = np.exp(-slot / 8) * (0.3 + has_both * np.exp(6 * (alike - 0.5)))
            total += weight
            for tag in post.tags:
                shares[tag] += weight
        for t, tag in enumerate(got.tags):
            expected = np.log(shares[tag] / total + 1e-3) - np.log(1e-3)
            assert got["own_memory_share"][i, t] == pytest.approx(expected, abs=1e-3)
        copied = {
            (int(s), got.tags[t])
            for q, s, t in zip(memory.question, memory.slot, memory.tag, strict=True)
            if q == i
        }
        assert copied == {(slot, tag) for slot, post in enumerate(own) for tag in post.tags}


def check_near(got):
    memory = got.asked.near
    keys = {name: memory.keys[:, :, i] for i, name in enumerate(NEAR_KEYS)}
    prior = got.model.knowledge.prior.view
    for i, user, _, past in got:
        if not got.questions.has_photo[i]:
            assert not memory.filled[i].any()
            assert not got["neighbour_share"][i].any()
            continue
        known = [(got.alike(i, p), p.tags) for p in past if p.photo is not None]
        photo = got.asked.photo[i]
        known += [
            (float(photo @ prior.vectors[row]), prior.tags_of(slot))
            for row, slot in enumerate(prior.photo_slot.tolist())
        ]
        known = sorted(known, key=lambda k: -k[0])[:N_SLOTS]
        filled = memory.filled[i]
        assert keys["similarity"][i][filled] == pytest.approx([k[0] for k in known], abs=1e-4)
        by_key = {(p.tick, p.user, p.tags): p for p in past}
        n_own = 0
        for slot, row in enumerate(memory.rows[i][filled].tolist()):
            if row < 0:
                assert keys["has_time"][i, slot] == keys["is_own"][i, slot] == 0.0
                continue
            user_id = int(got.view.user[row])
            who = None if user_id < 0 else got.view.people.names[user_id]
            post = by_key[int(got.view.tick[row]), who, tuple(got.view.tags_of(row))]
            is_own = post.user == user and user is not None and post.is_timed
            n_own += is_own
            assert keys["is_own"][i, slot] == float(is_own)
            assert keys["has_time"][i, slot] == float(post.is_timed)
        # What a sharp kernel over the neighbours says of each tag.
        weights = np.exp(8 * (np.array([k[0] for k in known]) - 1))
        for t, tag in enumerate(got.tags):
            share = sum(w for w, k in zip(weights, known, strict=True) if tag in k[1])
            expected = np.log(share / max(weights.sum(), 1e-9) + 1e-3) - np.log(1e-3)
            assert got["neighbour_share"][i, t] == pytest.approx(expected, abs=1e-3)


def test_the_persons_latest_posts_are_recalled_newest_first():
    log = world()
    check_own(Asking(log, sampled(log, 40), config=FEW))


def test_the_most_similar_earlier_posts_are_recalled():
    log = world()
    check_near(Asking(log, sampled(log, 40), config=FEW))


@settings(max_examples=25)
@given(small_logs())
def test_ties_and_missing_times_people_and_photos_change_nothing(log):
    if len(log):
        questions = questions_about(log, np.arange(len(log)))
        got = Asking(log, questions, n_known=3, config=FEW)
        check_own(got)
        check_near(got)


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
    tie = rng.permutation(n)
    columns, values = nearest(similarity.copy(), tie, limit=limit)
    for row in range(n_rows):
        expected = np.sort(similarity[row])[::-1][:limit]
        expected = expected[np.isfinite(expected)]
        finite = np.isfinite(values[row])
        assert values[row][finite] == pytest.approx(expected, abs=2e-5)
        found = columns[row][finite]
        assert len(set(found.tolist())) == len(found)
        assert np.array_equal(similarity[row, found], values[row][finite])
        if has_ties:
            order = np.lexsort((tie, -similarity[row]))[: len(found)]
            assert found.tolist() == order.tolist()


def test_own_fit_is_how_much_the_posts_with_a_tag_are_like_the_photo():
    log = world(400)
    got = Asking(log, sampled(log, 20))
    checked = 0
    for i, user, tick, _ in got:
        own = got.own(user, tick)[-got.asked.own_memory.filled.shape[1] :]
        seen = [p for p in own if p.photo is not None]
        if not got.questions.has_photo[i] or not seen:
            continue
        alike = {p.post_id: got.alike(i, p) for p in seen}
        usual = sum(alike.values()) / (len(seen) + 1)
        for t, tag in enumerate(got.tags):
            mine = [alike[p.post_id] for p in seen if tag in p.tags]
            fit = sum(mine) / (len(mine) + 1)
            assert got["own_photo_fit"][i, t] == pytest.approx(fit, abs=1e-4)
            above = fit - usual if mine else 0.0
            assert got["own_photo_fit_above_usual"][i, t] == pytest.approx(above, abs=1e-4)
            checked += bool(mine)
    assert checked > 20


def test_asked_as_if_a_subject_were_new_the_posts_like_the_photo_are_not_the_persons():
    log = world(400)
    questions = sampled(log, 20)
    as_new = replace(questions, is_new=np.ones(len(questions), np.bool_))
    usual, anew = Asking(log, questions), Asking(log, as_new)
    n_hidden = 0
    for i, user, tick, _ in usual:
        own = usual.own(user, tick)
        has = bool(questions.has_photo[i])
        like = [p for p in own if has and p.photo is not None and usual.alike(i, p) >= NEW_SUBJECT]
        assert usual.asked.own.n[i] == len(own)
        assert anew.asked.own.n[i] == len(own) - len(like)
        n_hidden += len(like)
        near = anew.asked.near
        whose = anew.view.user[near.rows[i][near.filled[i] & (near.rows[i] >= 0)]]
        me = NOBODY if user is None else anew.view.people.get(user)
        assert me < 0 or me not in whose, "nor are the person's photos neighbours"
    assert n_hidden > 10
