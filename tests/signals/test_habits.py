"""Habits against a plain reading of the earlier sets, one post at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from asking import Asking, questions_about, sampled, small_logs
from pixtag.signals.reuse import HABIT_NAMES
from pixtag.types import Post, PostLog
from worlds import START_AT, world

DAY_S = 86_400.0


def jaccard(one, other):
    one, other = set(one), set(other)
    return len(one & other) / len(one | other) if one | other else 0.0


def weights(own, tick):
    """For each name the weight of each earlier post, by its definition."""
    last = own[-1]
    for n, post in enumerate(own):
        rank = len(own) - 1 - n
        before = jaccard(own[n - 1].tags, last.tags) if n else 0.0
        days = (tick - post.tick) / 100 / DAY_S
        hour = abs(days - np.round(days)) < 1.5 / 24
        weekday = abs(days / 7 - np.round(days / 7)) < 0.25 / 7
        gap_close = 0.0
        if n:
            gaps = max(post.tick - own[n - 1].tick, 6000), max(tick - last.tick, 6000)
            gap_close = np.exp(-2.0 * np.log(gaps[0] / gaps[1]) ** 2)
        moment = (0.05 + before) * (0.2 + hour) * (0.2 + gap_close) * np.exp(-rank / 64)
        yield np.exp(-rank / 128) * np.array(
            [
                1.0,
                before,
                before > 0.999,
                jaccard(post.tags, last.tags) * (rank > 0),
                hour,
                weekday,
                gap_close,
                moment * np.exp(rank / 128) * (n > 0),
            ]
        )


def check(log, questions, *, n_known=20):
    got = Asking(log, questions, n_known=n_known)
    for i, user, tick, _ in got:
        own = got.own(user, tick)
        weight = np.array(list(weights(own, tick))) if own else np.zeros((0, len(HABIT_NAMES)))
        for t, tag in enumerate(got.tags):
            carries = np.array([tag in p.tags for p in own], bool)
            carried, total = weight[carries].sum(axis=0), weight.sum(axis=0)
            usual = carried[0] / (total[0] + 0.5)
            share = (carried + 0.5 * usual) / (total + 0.5)
            share[0] = usual
            for n, name in enumerate(HABIT_NAMES):
                expected = np.log(share[n] / 1e-3 + 1.0)
                assert got[name][i, t] == pytest.approx(expected, abs=1e-3), name


def test_every_share_is_what_a_plain_reading_gives():
    log = world()
    check(log, sampled(log, 25))


@settings(max_examples=25)
@given(small_logs())
def test_ties_and_missing_times_people_and_tags_change_nothing(log):
    if len(log):
        # No round number of hours: rounding may not decide which side of a window a post is on.
        check(log, questions_about(log, np.arange(len(log)), shift_s=1900.0), n_known=3)


def test_what_followed_a_set_like_the_last_one_stands_out():
    sets = ("ab", "x", "cd", "y", "ab", "x", "cd", "y", "ab")
    posts = [Post(f"p{i}", "ana", START_AT + 1e4 * i, tuple(s)) for i, s in enumerate(sets)]
    log = PostLog.of(posts)
    got = Asking(log, questions_about(log, [len(log) - 1], shift_s=9e3), n_known=0)
    for name in ("habit_follows", "habit_follows_same", "habit_moment"):
        share = dict(zip(got.tags, got[name][0].tolist(), strict=True))
        assert max(share, key=share.get) == "x"
