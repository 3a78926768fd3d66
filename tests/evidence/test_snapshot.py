"""Snapshots: what is loaded is what was saved, or nothing."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from pixtag.evidence import MemoryEvidence, load_evidence, save_evidence
from pixtag.rank import candidates, questions_of
from pixtag.types import Post, PostLog
from worlds import WIDTH, model_for, world

KEY = "a store and a model"


@pytest.fixture
def model():
    return model_for(world())


def saved(model, path: Path, log: PostLog) -> MemoryEvidence:
    evidence = model.evidence(log)
    assert save_evidence(evidence, path, key=KEY, seq=7)
    return evidence


def loaded(model, path: Path, key: str = KEY):
    n = len(model.fixed_tags)
    return load_evidence(path, key=key, n_fixed=n, derive=model.knowledge.derive)


def test_what_is_loaded_answers_as_what_was_saved(model, tmp_path: Path) -> None:
    log, path = world(), tmp_path / "s.snapshot"
    first, later = log.select(np.arange(500)), log.select(np.arange(500, len(log)))
    evidence = saved(model, path, first)
    again, seq = loaded(model, path)
    assert seq == 7
    assert list(again.post_ids) == list(evidence.post_ids)
    for one in (evidence, again):
        one.observe(later)
        one.retract([first.post_ids[9], later.post_ids[3]])
    views = [one.view() for one in (evidence, again)]
    for name in (f.name for f in fields(views[0])):
        values = [getattr(view, name) for view in views]
        if isinstance(values[0], np.ndarray):
            np.testing.assert_array_equal(*values, err_msg=name)
    own = [view.tags_of(int(view.slots_of("user0")[-1])) for view in views]
    assert own[0] == own[1]
    every, moments = np.arange(40), np.full(40, 10**12)
    np.testing.assert_array_equal(*(view.people_with(every, moments) for view in views))
    questions = questions_of(log, np.arange(560, 600), width=WIDTH)
    one, two = (candidates(model, view, questions) for view in views)
    for name, values in one.inputs.items():
        np.testing.assert_array_equal(values, two.inputs[name], err_msg=name)


def test_another_key_or_no_file_gives_nothing(model, tmp_path: Path) -> None:
    saved(model, tmp_path / "s", world())
    assert loaded(model, tmp_path / "s", "another store") is None
    assert loaded(model, tmp_path / "gone") is None


@pytest.mark.parametrize("where", [0.0, 0.001, 0.3, 0.5, 0.9, 0.9999])
def test_a_damaged_file_gives_nothing(model, tmp_path: Path, where: float) -> None:
    path = tmp_path / "s"
    saved(model, path, world())
    raw = bytearray(path.read_bytes())
    raw[int(where * len(raw))] ^= 0x10
    path.write_bytes(raw)
    assert loaded(model, path) is None
    path.write_bytes(raw[: int(where * len(raw))])
    assert loaded(model, path) is None


def test_nothing_of_retracted_or_replaced_posts_is_written(model, tmp_path: Path) -> None:
    log = world()
    evidence = model.evidence(log)
    evidence.retract(log.post_ids[:1])
    assert not save_evidence(evidence, tmp_path / "s", key=KEY, seq=1)
    evidence = model.evidence(log)
    evidence.observe(PostLog.of([Post(log.post_ids[5], "user1", None, ("other",))]))
    assert not save_evidence(evidence, tmp_path / "s", key=KEY, seq=1)
    assert not list(tmp_path.iterdir())


def test_no_posts_at_all(model, tmp_path: Path) -> None:
    evidence = saved(model, tmp_path / "s", PostLog.of([]))
    again, _ = loaded(model, tmp_path / "s")
    assert again.view().n_posts == evidence.view().n_posts == 0
    again.observe(world())
    assert again.view().n_posts == len(world())
