"""Prototypes: mean photos of tags, also of one first seen a minute ago; and photos lately."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from asking import Asking, ask, questions_about, sampled, small_logs
from pixtag.rank import RankConfig
from pixtag.signals.pixels import LAST_PHOTOS, RECENT_DAYS, RECENT_SHRINK, SHRINK
from pixtag.types import Post, PostLog
from plain import DAY_TICKS
from worlds import START_AT, WIDTH, world

N_SLOTS = 16
FEW = RankConfig(near_slots=N_SLOTS)


def check(log, questions, *, n_known=20):
    got = Asking(log, questions, n_known=n_known, config=FEW)
    prior = got.model.knowledge.prior.view
    for i, user, tick, past in got:
        has_photo = got.questions.has_photo[i]
        lately = [
            (got.alike(i, p), p.tags)
            for p in past
            if has_photo
            and p.photo is not None
            and p.is_timed
            and p.tick >= tick - RECENT_DAYS * DAY_TICKS
            and (user is None or p.user != user)
        ]
        lately = sorted(lately, key=lambda k: -k[0])[:N_SLOTS]
        sharp = sum(np.exp(8 * (alike - 1)) for alike, _ in lately)
        for t, tag in enumerate(got.tags):
            shown = [p for p in got.past.carrying(tag, tick) if p.photo is not None]
            of_prior = [prior.photo[j] for j in got.of_prior(tag) if prior.photo[j] >= 0]
            n = len(shown) + len(of_prior)
            assert got["photos_log"][i, t] == pytest.approx(np.log1p(n), abs=1e-5)
            shown = shown[-LAST_PHOTOS:]
            total = sum(got.alike(i, p) for p in shown) if has_photo else 0.0
            total += float((prior.vectors[of_prior] @ got.asked.photo[i]).sum())
            mean = total / (len(shown) + len(of_prior) + SHRINK)
            assert got["prototype"][i, t] == pytest.approx(mean, abs=1e-4)
            with_tag = [alike for alike, tags in lately if tag in tags]
            mean = sum(with_tag) / (len(with_tag) + SHRINK)
            assert got["recent_similarity"][i, t] == pytest.approx(mean, abs=1e-4)
            share = sum(np.exp(8 * (alike - 1)) for alike in with_tag) / (sharp + RECENT_SHRINK)
            assert got["recent_share"][i, t] == pytest.approx(np.log1p(share / 0.01), abs=1e-3)


def test_every_number_is_what_a_plain_mean_gives():
    log = world()
    shown = log.tag_ids[np.repeat(log.has_photo, np.diff(log.tag_start))]
    assert np.bincount(shown).max() > LAST_PHOTOS
    check(log, sampled(log, 25))


@settings(max_examples=25)
@given(small_logs())
def test_ties_and_missing_times_people_and_photos_change_nothing(log):
    if len(log):
        check(log, questions_about(log, np.arange(len(log))), n_known=3)


def test_a_tag_first_seen_a_minute_ago_is_recognised_by_its_photos():
    rng = np.random.default_rng(5)
    look, other = rng.normal(size=(2, WIDTH))
    posts = [Post(f"n{i}", f"user{i}", START_AT + i, ("eclipse",)) for i in range(3)]
    posts += [Post(f"o{i}", f"user{i}", START_AT + i, ("lunch",)) for i in range(3)]
    photos = {f"n{i}": look + 0.1 * rng.normal(size=WIDTH) for i in range(3)}
    photos |= {f"o{i}": other + 0.1 * rng.normal(size=WIDTH) for i in range(3)}
    log = PostLog.of(posts, {p: row.astype(np.float16) for p, row in photos.items()})
    got = Asking(log, ask("new", START_AT + 60.0, look, WIDTH), n_known=0)
    alike = dict(zip(got.tags, got["prototype"][0].tolist(), strict=True))
    assert alike["eclipse"] > 0.4
    assert alike["eclipse"] > alike["lunch"] + 0.3
