"""Counts from outside: what they propose, and by how much they move chances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from asking import sampled
from pixtag.evidence import Outside
from pixtag.rank import candidates, read
from pixtag.signals import FEATURES
from pixtag.signals.outside import RISE_SHARE
from pixtag.types import OutsideCount, Sources
from worlds import DAY_S, START_AT, observed, world

END = START_AT + 61 * DAY_S
BY_STRENGTH = ("goes_with_candidates", "goes_with_candidates_lift")
"""Features that other candidates change, by how strong they look at first."""

DAY = int(END // DAY_S)


def counts(*, day=DAY, seen_at=None, tags=("look1-1", "neverheard")):
    """Two tags that rise: one of the store and one that it doesn't know."""
    accounts = (60, 4, 2, 3, 4, 2, 3)
    return [
        OutsideCount("one.example", tag, day - i, n, n, seen_at or (day + 0.9) * DAY_S)
        for tag in tags
        for i, n in enumerate(accounts)
    ]


@pytest.fixture(scope="module")
def observation():
    model, evidence = observed(world())
    return model, evidence.view()


def asked_of(observation, outside, questions=None, sources=None):
    model, view = observation
    view = replace(view, outside=None if outside is None else Outside(outside))
    questions = sampled(world(), 12) if questions is None else questions
    return candidates(model, view, questions, sources=sources)


def late():
    """Questions after the counts were read."""
    return replace(sampled(world(), 6), at=np.full(6, (DAY + 0.95) * DAY_S))


def same(one, other) -> bool:
    return all(np.array_equal(getattr(one, n), getattr(other, n)) for n in vars(one))


def test_without_anything_known_outside_nothing_changes_in_a_bit(observation):
    plain = asked_of(observation, None)
    later = counts(day=DAY + 30)
    faded = counts(day=DAY - 400)
    for outside in ([], later, faded, counts(tags=()), [*later, *faded]):
        assert same(asked_of(observation, outside), plain)


def test_who_leaves_trend_out_hears_nothing(observation):
    sources = Sources(trend=False)
    questions = late()
    plain = asked_of(observation, None, questions, sources)
    assert same(asked_of(observation, counts(), questions, sources), plain)


def test_the_network_hears_the_store_alone(observation):
    _, view = observation
    questions = late()
    plain, heard = (asked_of(observation, given, questions) for given in (None, counts()))
    tag = view.id_of("look1-1")
    by_strength = [FEATURES.column(name) for name in BY_STRENGTH]
    for row in range(len(questions)):
        (before,), (after,) = (np.flatnonzero(found.tag[row] == tag) for found in (plain, heard))
        old, new = plain.features[row, before].copy(), heard.features[row, after].copy()
        old[by_strength] = new[by_strength] = 0.0
        np.testing.assert_allclose(new, old, atol=2e-4)
    assert np.array_equal(plain.context, heard.context)


def test_a_tag_that_nobody_here_knows_is_a_candidate(observation):
    _, view = observation
    questions = late()
    heard = asked_of(observation, counts(), questions)
    new = int(heard.tag.max())
    assert new >= view.n_tags
    for row in range(len(questions)):
        (place,) = np.flatnonzero(heard.tag[row] == new)
        assert heard.features[row, place, FEATURES.column("uses_log")] == 0.0


def test_what_rises_outside_moves_log_odds_by_a_share_of_its_log_rise(observation):
    model, view = observation
    steady = [replace(c, tag="look1-0", accounts=50) for c in counts(tags=("look1-1",))]
    view = replace(view, outside=Outside([*counts(), *steady]))
    asked = read(model, view, late())
    assert asked.heard is not None
    crowd = asked.heard.crowds[2]
    assert crowd is not None
    rises = [view.id_of("look1-1"), int(asked.heard.tag.max())]
    tags = np.array([*rises, view.id_of("look1-0"), view.id_of("all1")])
    lifts = asked.heard.lifts(2, tags)
    times = [crowd.times[crowd.tags.index(name)] for name in ("look1-1", "neverheard")]
    assert min(times) > 5
    assert lifts[:2] == pytest.approx(RISE_SHARE * np.log(times))
    assert lifts[2:].tolist() == [0.0, 0.0], "steady, or not named"


def test_a_block_is_answered_as_its_questions_one_by_one(observation):
    questions = sampled(world(), 8)
    at = questions.at.copy()
    at[::2] = (DAY + 0.95) * DAY_S  # half of them hear something
    questions = replace(questions, at=at)
    block = asked_of(observation, counts(), questions)
    for row in range(len(questions)):
        one = asked_of(observation, counts(), questions.take(np.array([row])))
        kept = block.filled[row]
        order, alone = np.argsort(block.tag[row][kept]), np.argsort(one.tag[0][one.filled[0]])
        assert block.tag[row][kept][order].tolist() == one.tag[0][one.filled[0]][alone].tolist()
        np.testing.assert_allclose(
            block.features[row][kept][order], one.features[0][one.filled[0]][alone], atol=1e-5
        )
