"""Features with counts from outside: the store's numbers with other people added, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from asking import sampled
from pixtag.evidence import Outside, ticks
from pixtag.rank import candidates
from pixtag.signals import FEATURES
from pixtag.signals.context import CONTEXT_NAMES
from pixtag.signals.outside import WINDOWS_HOURS
from pixtag.signals.trend import LEVEL_FLOOR, LIFT_HOURS, PROPOSE_HOURS, SHRINK
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


def test_accounts_are_other_people_in_every_window(observation):
    _, view = observation
    questions = late()
    outside = Outside(counts())
    crowd = outside.at(questions.at[0], WINDOWS_HOURS)
    assert crowd is not None
    plain, heard = (
        asked_of(observation, None, questions),
        asked_of(observation, counts(), questions),
    )
    tag = view.id_of("look1-1")
    i = crowd.tags.index("look1-1")
    tick = ticks(questions.at)
    for row in range(len(questions)):
        (at_plain,), (at_heard,) = (np.flatnonzero(f.tag[row] == tag) for f in (plain, heard))
        old = dict(zip(FEATURES.names, plain.features[row, at_plain].astype(float), strict=True))
        new = dict(zip(FEATURES.names, heard.features[row, at_heard].astype(float), strict=True))
        rate = np.exp(old["daily_rate_log"]) + crowd.usual[i]
        expected = dict(old)
        expected["daily_rate_log"] = np.log(rate)
        for w, hours in enumerate(WINDOWS_HOURS):
            own = np.expm1(old[f"trend_people_{int(hours)}h"])
            people = own + crowd.people[w, i]
            expected[f"trend_people_{int(hours)}h"] = np.log1p(people)
            if hours in LIFT_HOURS:
                lift = np.log((people + SHRINK) / (hours / 24 * rate + SHRINK))
                expected[f"trend_lift_{int(hours)}h"] = lift
            if hours in PROPOSE_HOURS:
                since = view.totals(tick - int(hours * 360_000)).posts
                posts = (view.totals(tick).posts - since)[row]
                room = crowd.room[i] * hours / 24
                share = max(own / (posts + 1), crowd.people[w, i] / (room + 1))
                share += LEVEL_FLOOR / (max(posts, room) + 1)
                expected[f"trend_level_{int(hours)}h"] = np.log(share)
        for name in FEATURES.names:
            if name not in BY_STRENGTH:
                assert new[name] == pytest.approx(expected[name], abs=2e-4), name
        assert new["trend_lift_24h"] > old["trend_lift_24h"] + 1.0


def test_a_tag_that_nobody_here_knows_is_a_candidate(observation):
    _, view = observation
    questions = late()
    heard = asked_of(observation, counts(), questions)
    new = int(heard.tag.max())
    assert new >= view.n_tags
    for row in range(len(questions)):
        (place,) = np.flatnonzero(heard.tag[row] == new)
        features = dict(zip(FEATURES.names, heard.features[row, place].tolist(), strict=True))
        assert features["trend_lift_24h"] > 1.0
        assert features["uses_log"] == 0.0
    assert (heard.context[:, CONTEXT_NAMES.index("trend_on")] == 1.0).all()


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
