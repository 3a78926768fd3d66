"""Prototypes: mean photos of tags, also of one first seen a minute ago."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from asking import Asked, queries_about, sampled, small_logs
from pixtag.signals.columns import DAY_S, Queries
from pixtag.signals.prototypes import RECENT_DAYS, SHRINK, Prototypes
from pixtag.types import Post, PostLog
from worlds import START_AT, WIDTH, state_of, world


def features(asked):
    state = asked.state
    scores = state.prototypes.scores(asked.block)
    values = state.prototypes.features(asked.block, asked.pairs, scores)
    return asked.table(Prototypes.names, values)


def check(state, queries):
    asked = Asked(state, queries)
    got = features(asked)
    for i, user, at, past in asked:
        photo = asked.block.photo[i].astype(np.float64)
        for t, tag in enumerate(state.tags):
            shown = [p for p in past if tag in p.tags and p.photo is not None]
            alike = sum(float(photo @ p.photo) for p in shown) / (len(shown) + SHRINK)
            assert got["prototype"][i, t] == pytest.approx(alike, abs=1e-4)
            assert got["photos_log"][i, t] == pytest.approx(np.log1p(len(shown)), abs=1e-5)
            lately = [
                p
                for p in shown
                if p.is_timed
                and p.at >= at - RECENT_DAYS * DAY_S
                and (user is None or p.user != user)
            ]
            alike = sum(float(photo @ p.photo) for p in lately) / (len(lately) + SHRINK)
            assert got["recent_prototype"][i, t] == pytest.approx(alike, abs=1e-4)


def test_every_number_is_what_a_plain_mean_gives():
    log = world()
    check(state_of(log), sampled(log, 25))


@settings(max_examples=25)
@given(small_logs())
def test_ties_and_missing_times_people_and_photos_change_nothing(log):
    if len(log):
        check(state_of(log, n_known=3), queries_about(log, np.arange(len(log))))


def test_a_tag_first_seen_a_minute_ago_is_recognised_by_its_photos():
    rng = np.random.default_rng(5)
    look, other = rng.normal(size=(2, WIDTH))
    posts = [Post(f"n{i}", f"user{i}", START_AT + i, ("eclipse",)) for i in range(3)]
    posts += [Post(f"o{i}", f"user{i}", START_AT + i, ("lunch",)) for i in range(3)]
    photos = {f"n{i}": look + 0.1 * rng.normal(size=WIDTH) for i in range(3)}
    photos |= {f"o{i}": other + 0.1 * rng.normal(size=WIDTH) for i in range(3)}
    log = PostLog.of(posts, {p: row.astype(np.float16) for p, row in photos.items()})
    state = state_of(log, n_known=0)
    asked = Asked(
        state,
        Queries(
            np.array([START_AT + 60.0]),
            ("new",),
            look[None].astype(np.float32),
            np.ones(1, np.bool_),
        ),
    )
    got = dict(zip(state.tags, features(asked)["prototype"][0], strict=True))
    assert got["eclipse"] > 0.4
    assert got["eclipse"] > got["lunch"] + 0.3
    public = state.counts.public(asked.block, least_people=3)
    scores = state.prototypes.scores(asked.block)
    _, tag = state.prototypes.propose(asked.block, public, scores, limit=1)
    assert [state.tags[t] for t in tag] == ["eclipse"]
