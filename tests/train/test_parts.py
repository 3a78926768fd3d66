"""Vocabulary, folds, head, calibration, checkpoints and silent sources, each by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from pixtag.model import model_of
from pixtag.network import calibrated
from pixtag.rank import candidates, questions_of
from pixtag.signals import CONTEXT_NAMES, FEATURES
from pixtag.train import network
from pixtag.train.calibrate import fit_calibration
from pixtag.train.checkpoints import Checkpoints
from pixtag.train.config import TrainConfig
from pixtag.train.examples import SUBSETS, Examples, choose_vocabulary, deal_folds, replay_examples
from pixtag.train.network import batches, constants, hide_known, hide_photos
from pixtag.train.pixels import fit_head, tag_table
from pixtag.types import Post, PostLog, Sources
from worlds import bundle, world


def test_the_vocabulary_is_what_several_people_use_most_people_first():
    posts = [Post(f"a{i}", user, float(i), ("wide",)) for i, user in enumerate("abcde")]
    posts += [Post(f"b{i}", user, float(i), ("mid",)) for i, user in enumerate("abc")]
    posts += [Post(f"c{i}", "a", float(i), ("flood",)) for i in range(30)]
    posts += [Post(f"d{i}", user, float(i), ("few",)) for i, user in enumerate("ab")]
    posts += [Post(f"e{i}", None, float(i), ("anon",)) for i in range(4)]
    log = PostLog.of(posts)
    assert choose_vocabulary(log, limit=10) == ["wide", "anon", "mid"]
    assert choose_vocabulary(log, limit=1) == ["wide"]
    people = dict(zip(log.tags, log.people_of_tags().tolist(), strict=True))
    assert [people[tag] for tag in ("flood", "anon", "wide")] == [1, 4, 5]
    assert choose_vocabulary(PostLog.of([]), limit=5) == []


def test_one_persons_archive_has_a_vocabulary_too():
    posts = [Post(f"p{i}", "me", float(i), ("often", f"once{i}")) for i in range(5)]
    assert choose_vocabulary(PostLog.of(posts), limit=10) == ["often"]


def test_folds_are_even_and_the_same_for_a_seed():
    log = world()
    fold = deal_folds(log, n_folds=4, seed=0)
    assert np.array_equal(fold, deal_folds(log, n_folds=4, seed=0))
    assert not np.array_equal(fold, deal_folds(log, n_folds=4, seed=1))
    assert np.bincount(fold, minlength=4).min() > 0.15 * len(log)
    blind = world(400, seed=4, has_photos=False)
    assert set(deal_folds(blind, n_folds=4, seed=0).tolist()) == {0}


def test_a_fixed_label_set_keeps_all_posts_and_only_its_tags():
    log = world()
    kept = log.with_only(["all1", "look3-2"])
    assert kept.post_ids == log.post_ids
    for row in range(len(log)):
        assert kept.tags_of(row) == [t for t in log.tags_of(row) if t in {"all1", "look3-2"}]


def head_of(log: PostLog, rows: np.ndarray, *, seed: int = 0, epochs: int = 120):
    vocabulary = choose_vocabulary(log, limit=100)
    ids, mask = tag_table(log, vocabulary)
    head = fit_head(
        log.embeddings[rows].astype(np.float32),
        ids[rows],
        mask[rows],
        n_tags=len(vocabulary),
        joint=16,
        epochs=epochs,
        seed=seed,
    )
    return head, vocabulary


def test_a_head_recognises_new_photos():
    log = world()
    photos = np.flatnonzero(log.has_photo)
    head, vocabulary = head_of(log, photos[:350])
    new = photos[350:]
    best = head.log_probs(head.project(log.embeddings[new].astype(np.float32))).argmax(axis=1)
    right = [vocabulary[b] in log.tags_of(row) for b, row in zip(best, new, strict=True)]
    assert np.mean(right) > 0.4
    again, _ = head_of(log, photos[:350])
    assert np.array_equal(again.projection, head.projection)


def test_a_head_without_anything_to_learn_says_nothing():
    head = fit_head(
        np.zeros((0, 8), np.float32),
        np.zeros((0, 30), np.int64),
        np.zeros((0, 30), np.float32),
        n_tags=3,
        joint=4,
        epochs=2,
        seed=0,
    )
    chance = head.log_probs(head.project(np.ones((1, 8), np.float32)))
    assert chance == pytest.approx(np.log(np.full((1, 3), 1 / 3)), abs=1e-5)


def test_a_head_learns_what_is_usual_from_photos_that_show_nothing():
    log = world()
    rows = np.flatnonzero(log.has_photo)[:128]
    blank = replace(log, embeddings=np.zeros_like(log.embeddings))
    head, vocabulary = head_of(blank, rows, epochs=3)
    found = head.log_probs(head.project(blank.embeddings[rows].astype(np.float32)))
    assert np.isfinite(found).all()
    assert vocabulary[int(found[0].argmax())] in {t for row in rows for t in log.tags_of(row)}


def test_tags_of_posts_are_laid_out_in_order_and_cut():
    log = PostLog.of([Post("a", "u", 1.0, tuple("xyz")), Post("b", "u", 2.0, ("q", "x"))])
    ids, mask = tag_table(log, ["x", "y", "q"], width=2)
    assert ids[mask > 0].tolist() == [0, 1, 2, 0]
    assert mask.tolist() == [[1, 1], [1, 1]]


def test_calibrated_chances_come_true():
    rng = np.random.default_rng(0)
    n, width = 800, 30
    score = rng.normal(0, 2, (n, width)).astype(np.float32)
    filled = rng.random((n, width)) < 0.9
    context = rng.normal(size=(n, 2)).astype(np.float32)
    truth = 1 / (1 + np.exp(-(1.3 * score - 3.0 + context[:, :1])))
    used = (rng.random((n, width)) < truth) & filled
    weights = {
        "norm/context_mean": np.zeros(2, np.float32),
        "norm/context_std": np.ones(2, np.float32),
    }
    half = slice(0, n // 2)
    fitted = fit_calibration(weights, score[half], filled[half], context[half], used[half])
    rest = slice(n // 2, n)
    chance = calibrated({**weights, **fitted}, score[rest], filled[rest], context[rest])
    said, true = chance[filled[rest]], used[rest][filled[rest]]
    order = np.argsort(said)
    for part in np.array_split(order, 8):
        assert said[part].mean() == pytest.approx(true[part].mean(), abs=0.06)


def test_calibration_of_an_all_too_easy_sample_stays_below_certainty():
    score = np.tile(np.array([[9.0, 0.0, 0.0]], np.float32), (40, 1))
    filled = np.ones((40, 3), np.bool_)
    used = score > 5
    context = np.zeros((40, 1), np.float32)
    weights = {
        "norm/context_mean": np.zeros(1, np.float32),
        "norm/context_std": np.ones(1, np.float32),
    }
    fitted = fit_calibration(weights, score, filled, context, used)
    chance = calibrated({**weights, **fitted}, score, filled, context)
    assert 0.9 < chance[:, 0].min() <= chance.max() < 1.0
    assert chance[:, 1:].max() < 0.1


def test_checkpoints_of_a_plan_are_found_again_and_of_another_are_not(tmp_path):
    folder = tmp_path / "b.partial"
    first = Checkpoints(folder, {"seed": 0})
    first.save("epoch-0", {"weights": np.arange(3.0)})
    first.note({"stage": "network", "step": 1, "loss": 2.0})
    first.note({"stage": "network", "step": 1, "loss": 1.5})
    again = Checkpoints(folder, {"seed": 0})
    known = again.load("epoch-0")
    assert known is not None
    assert known["weights"].tolist() == [0.0, 1.0, 2.0]
    assert again.curves() == [{"stage": "network", "step": 1, "loss": 1.5}]
    assert again.load("epoch-1") is None
    (folder / "epoch-0.safetensors").write_bytes(b"\x00" * 20)
    assert again.load("epoch-0") is None
    other = Checkpoints(folder, {"seed": 1})
    assert other.load("epoch-0") is None
    assert other.curves() == []
    other.finish(tmp_path / "b")
    assert not folder.exists()


def replayed(**knobs) -> tuple[Examples, np.ndarray]:
    log = world()
    rows = np.arange(log.n_untimed, len(log))
    model = model_of(bundle()).without_prior()
    return replay_examples(log, rows, model, seed=0, accepts=False, **knobs), rows


def test_posts_are_replayed_again_without_sources_as_they_are_served():
    examples, rows = replayed(silent_share=0.4)
    n = len(rows)
    assert not examples.silent[:n].any()
    assert examples.silent[n:].all()
    assert len(examples.heard) == n
    assert (len(examples) - n) / n == pytest.approx(0.4, abs=0.05)
    names = ("pixels_on", "history_on", "trend_on")
    flags = examples.found.context[:, [CONTEXT_NAMES.index(name) for name in names]]
    drawn = np.mean([(s.pixels, s.history, s.trend) for s in SUBSETS], axis=0)
    assert flags[n:].mean(axis=0) == pytest.approx(drawn, abs=0.15)
    # Who is a candidate, too, is what it is for someone with no more than that.
    model, log = model_of(bundle()).without_prior(), world()
    questions = questions_of(log, rows, width=log.embeddings.shape[1])
    alone = Sources(pixels=False, history=False)
    served = candidates(model, model.evidence(log).view(), questions, sources=alone)
    offered = [set(served.tag[i][served.filled[i]].tolist()) for i in range(n)]
    found = examples.found
    silent = np.flatnonzero(examples.silent & (flags == [0, 0, 1]).all(axis=1))
    asked = [set(found.tag[i][found.filled[i]].tolist()) for i in silent.tolist()]
    assert len(asked) > 10
    assert all(tags in offered for tags in asked)


def test_what_may_never_speak_is_not_replayed_as_silent():
    history = Sources(pixels=False, trend=False)
    examples, rows = replayed(silent_share=1.0, sources=history)
    # Of seven subsets, three leave history alone to speak: nothing would be silent.
    assert examples.silent.mean() == pytest.approx(4 / 11, abs=0.05)
    assert len(examples.heard) == len(rows)
    everything, _ = replayed()
    assert not everything.silent.any()


def test_an_input_that_never_varied_in_training_says_nothing_when_served():
    examples, _ = replayed()
    fixed = constants(examples.found)
    prior = CONTEXT_NAMES.index("prior_log")
    assert not examples.found.context[:, prior].any(), "replayed without a prior"
    served = (np.log1p(30_000) - fixed["norm/context_mean"][prior]) / fixed["norm/context_std"][
        prior
    ]
    assert abs(served) < 1e-4
    for name in ("bridge", "kinds", "words"):
        column = FEATURES.column(name)
        assert abs(5.0 - fixed["norm/mean"][column]) / fixed["norm/std"][column] < 1e-4
    varied = FEATURES.column("people_log")
    assert fixed["norm/std"][varied] < 10


def test_what_training_hides_looks_like_a_tag_that_vocabulary_and_photos_lack():
    examples, _ = replayed()
    found = examples.found
    model = model_of(bundle())
    known = found.filled & (found.tag < len(model.knowledge.vocabulary))
    some = examples.candidates(np.arange(20))
    batch = {"features": some.features, "near_member": some.near_member}
    hidden = known[:20]
    unknown = hide_known(batch, hidden)["features"]
    unseen = hide_photos(batch, hidden)
    assert not unseen["near_member"][hidden].any()
    assert np.array_equal(unseen["near_member"][~hidden], batch["near_member"][~hidden])
    for column, feature in enumerate(FEATURES.features):
        for features, value in (
            (unknown, feature.when_unknown),
            (unseen["features"], feature.when_unseen),
        ):
            before, after = batch["features"][:, :, column], features[:, :, column]
            expected = before if value is None else np.where(hidden, np.float16(value), before)
            assert np.array_equal(after, expected), feature.name


def test_all_that_a_person_used_is_hidden_from_the_vocabulary_together(monkeypatch):
    log, model = world(), model_of(bundle())
    examples = replay_examples(log, np.arange(300, 400), model, seed=0, accepts=False)
    monkeypatch.setattr(network, "HIDDEN_SHARE", 0.0)
    known, own = FEATURES.column("head_known"), FEATURES.column("own_uses_log")
    for share in (0.0, 1.0):
        monkeypatch.setattr(network, "OWN_HIDDEN_SHARE", share)
        n_own = 0
        for batch in batches(examples, 20, None, 0.0, (1,)):
            features = batch["features"]
            is_own = features[:, :, own] > 0
            n_own += int(features[:, :, known][is_own].sum())
            assert features[:, :, known][~is_own].any(), "the others stay known"
        assert (n_own == 0) == (share == 1.0)


@pytest.mark.parametrize(
    "knobs", [{"folds": 1}, {"epochs": 0}, {"size": "huge"}, {"drop_sources": 1.5}, {"lr": 0.1}]
)
def test_impossible_knobs_are_refused(knobs):
    with pytest.raises(ValidationError):
        TrainConfig(**knobs)


def test_what_only_grows_with_time_is_no_input_of_the_calibration() -> None:
    rng = np.random.default_rng(0)
    score, filled = rng.normal(size=(200, 6)).astype(np.float32), np.ones((200, 6), np.bool_)
    context = rng.normal(size=(200, 2)).astype(np.float32)
    # Used more often where the second column is larger, as a period that is easier may have it.
    used = rng.random((200, 6)) < 1 / (1 + np.exp(-score - 2.0 * context[:, 1:]))
    weights = {
        "norm/context_mean": np.zeros(2, np.float32),
        "norm/context_std": np.ones(2, np.float32),
    }
    fitted = fit_calibration(weights, score, filled, context, used, ignored=[1])
    assert fitted["calibration/context"][1] == 0.0
    assert fit_calibration(weights, score, filled, context, used)["calibration/context"][1] > 0.5
