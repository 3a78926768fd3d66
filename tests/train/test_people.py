"""People made up for the purpose: every relation of a history to a photo gives true answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import pixtag.train.people as people
from pixtag.model import model_of
from pixtag.signals import CONTEXT_NAMES
from pixtag.train.people import RELATIONS, people_with_histories
from pixtag.types import PostLog
from worlds import bundle, world


@pytest.fixture(scope="module")
def labelled() -> tuple[PostLog, list[str]]:
    """Posts of nobody, each with the kind that its tags tell."""
    log = world(300, seed=3)
    kinds = [next((t[:5] for t in log.tags_of(i) if t.startswith("look")), "") for i in range(300)]
    return replace(log, user_of_post=np.full(len(log), len(log.users))), kinds


def examples_of(labelled, relation: str, monkeypatch):
    log, kinds = labelled
    monkeypatch.setattr(people, "RELATIONS", dict.fromkeys(RELATIONS, 0.0) | {relation: 1.0})
    rows = np.arange(0, len(log), 12)
    return people_with_histories(log, rows, kinds, model_of(bundle()), most=20, seed=5)


def test_the_shares_of_all_relations_are_a_whole():
    assert sum(RELATIONS.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("relation", [*RELATIONS])
def test_every_relation_is_asked_about_and_answered(labelled, relation, monkeypatch):
    found = examples_of(labelled, relation, monkeypatch)
    assert len(found) == 20
    assert all(len(part) == 1 and part.n_used[0] > 0 for part in found)
    assert any(part.used.any() for part in found)
    history = np.array([part.found.context[0, CONTEXT_NAMES.index("history_on")] for part in found])
    tagged = np.array([part.found.context[0, CONTEXT_NAMES.index("history_log")] for part in found])
    if relation == "untagged":
        assert not history.any()
    else:
        assert history.all()
        assert (tagged > 0).all()


def test_what_somebody_puts_on_everything_is_an_answer(labelled, monkeypatch):
    for relation in ("signed", "one set"):
        found = examples_of(labelled, relation, monkeypatch)
        own = [part.candidates(np.arange(1)).own_member[0].any(axis=1) for part in found]
        assert any((part.used[0] & carried).any() for part, carried in zip(found, own, strict=True))


def test_without_two_kinds_nobody_is_made_up(labelled):
    log, kinds = labelled
    rows, one = np.arange(20), ["look1" if kind else "" for kind in kinds]
    assert people_with_histories(log, rows, one, model_of(bundle()), most=20, seed=5) == []
