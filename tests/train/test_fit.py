"""Training: the same twice, also after a kill; never from the test period or in-sample scores."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pixtag.bundle import Bundle, load_bundle, save_bundle
from pixtag.errors import ModelError
from pixtag.model import evidence_of
from pixtag.rank import questions_of, rank
from pixtag.signals import CONTEXT_NAMES, FEATURES
from pixtag.splits import temporal_split
from pixtag.train import fit as fitting
from pixtag.train.examples import Examples, deal_folds, draw_accepted
from pixtag.train.fit import fit
from pixtag.train.network import precision_at_5
from pixtag.train.people import draw_elsewhere
from pixtag.train.plan import Auxiliary
from pixtag.types import Post, PostLog, Rankings
from worlds import DAY_S, QUICK, START_AT, bundle, world

TESTS = Path(__file__).parent.parent


class StopHereError(Exception):
    """Ends a run on purpose, as Ctrl-C would."""


def stop_when(path: Path):
    def on_stage(stage: str, done: int, total: int) -> None:
        if path.exists():
            raise StopHereError

    return on_stage


def ranked(model: Bundle, log: PostLog, rows: np.ndarray, *, k: int) -> Rankings:
    """Posts of a log ranked by a bundle, each with what lies before it."""
    known, evidence = evidence_of(model, log)
    questions = questions_of(log, rows, width=known.knowledge.encoder_width)
    return rank(known, evidence.view(), questions, k=k)


def altered_tags(log: PostLog, start: int, stop: int) -> PostLog:
    """The same posts, some of them with tags turned round."""
    uses = slice(int(log.tag_start[start]), int(log.tag_start[stop]))
    tag_ids = log.tag_ids.copy()
    tag_ids[uses] = len(log.tags) - 1 - tag_ids[uses]
    return replace(log, tag_ids=tag_ids)


def test_the_same_seed_gives_the_same_bundle_and_another_seed_another(tmp_path):
    again = fit(world(), out=tmp_path / "again", config=QUICK)
    assert again.manifest.digest == bundle().manifest.digest
    loaded = load_bundle(tmp_path / "again")
    assert loaded.manifest.digest == again.manifest.digest
    other = fit(world(), out=tmp_path / "other", config=QUICK.model_copy(update={"seed": 1}))
    assert other.manifest.digest != again.manifest.digest
    assert not np.allclose(other.weights["score/features"], again.weights["score/features"])


def test_the_test_period_is_never_read(tmp_path):
    log = world()
    stop = temporal_split(log).valid_stop
    rng = np.random.default_rng(3)
    other = altered_tags(log, stop, len(log))
    embeddings = other.embeddings.copy()
    embeddings[stop:] = rng.normal(size=embeddings[stop:].shape)
    users = other.user_of_post.copy()
    users[stop:] = rng.permutation(users[stop:])
    tags = [*other.tags, "unheardof"]
    tag_ids = other.tag_ids.copy()
    tag_ids[-1] = len(tags) - 1
    other = replace(other, embeddings=embeddings, user_of_post=users, tags=tags, tag_ids=tag_ids)
    changed = fit(other, out=tmp_path / "changed", config=QUICK)
    assert changed.manifest.digest == bundle().manifest.digest
    assert changed.manifest.trained.n_posts == stop
    assert not changed.has_seen(log.post_ids[stop:]).any()
    assert changed.has_seen(log.post_ids[:stop]).all()
    assert changed.manifest.trained_until == log.at[stop - 1]


CHILD = """
    import sys, time
    from pathlib import Path
    from pixtag.train.fit import fit
    from worlds import QUICK, world

    out, marker = Path(sys.argv[1]), Path(sys.argv[2])

    def wait(stage, done, total):
        if marker.exists():
            print("ready", flush=True)
            time.sleep(600)

    fit(world(), out=out, config=QUICK, on_stage=wait)
"""


def train_and_kill(out: Path, marker: Path) -> None:
    """Start training in another process and kill it without warning at a checkpoint."""
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(out), str(marker)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert not out.exists()


def test_killed_and_run_again_it_ends_with_the_bundle_of_an_unbroken_run(tmp_path):
    out = tmp_path / "bundle"
    partial = tmp_path / "bundle.partial"
    train_and_kill(out, partial / "epoch-0.safetensors")
    # A file that the kill left half written, and one that the disk broke.
    (partial / "epoch-1.safetensors.new").write_bytes(b"half")
    (partial / "epoch-1.safetensors").write_bytes(b"broken")
    stages: list[tuple[str, int]] = []
    resumed = fit(
        world(),
        out=out,
        config=QUICK,
        on_stage=lambda stage, done, total: stages.append((stage, done)),
    )
    assert resumed.manifest.digest == bundle().manifest.digest
    first_step = next(done for stage, done in stages if stage == "learning to rank")
    assert first_step > 0, "the first epoch was done again"
    assert not partial.exists()
    lines = (tmp_path / "bundle.curves.jsonl").read_text().splitlines()
    assert sorted({json.loads(line)["step"] for line in lines}) == [1, 2, 3]
    assert (tmp_path / "bundle.curves.png").read_bytes().startswith(b"\x89PNG")


def test_what_another_plan_left_is_not_taken_up(tmp_path):
    out, partial = tmp_path / "bundle", tmp_path / "bundle.partial"
    head = partial / "pixels-0.safetensors"
    with pytest.raises(StopHereError):
        fit(world(), out=out, config=QUICK, on_stage=stop_when(head))
    left = tmp_path / "left"
    shutil.copytree(partial, left)

    def is_taken_up(log: PostLog, **changes) -> bool:
        shutil.rmtree(partial)
        shutil.copytree(left, partial)
        before = head.read_bytes()
        config = QUICK.model_copy(update=changes)

        def look_and_stop(*_) -> None:
            raise StopHereError

        with pytest.raises(StopHereError):
            fit(log, out=out, config=config, on_stage=look_and_stop)
        return head.exists() and head.read_bytes() == before

    log = world()
    assert is_taken_up(log)
    assert not is_taken_up(log, seed=1)
    assert not is_taken_up(log, learning_rate=1e-3)
    assert not is_taken_up(altered_tags(log, 100, 200))
    assert not is_taken_up(replace(log, embeddings=log.embeddings * np.float16(2)))
    # What lies in the test period has no part in the plan.
    assert is_taken_up(altered_tags(log, 550, 600))


def test_an_older_bundle_stays_whole_until_the_new_one_is_done(tmp_path):
    out = tmp_path / "bundle"
    save_bundle(out, bundle())
    with pytest.raises(StopHereError):
        fit(world(), out=out, config=QUICK, on_stage=stop_when(tmp_path / "bundle.partial"))
    assert load_bundle(out).manifest.digest == bundle().manifest.digest


def test_a_fixed_label_set_is_all_that_is_learned_and_offered(tmp_path):
    labels = [*(f"look{look}-{t}" for look in (1, 3, 5, 7) for t in range(6)), "all1", "never"]
    log = world()
    fixed = fit(log, out=tmp_path / "fixed", config=QUICK, labels=labels)
    assert fixed.vocabulary == labels
    assert fixed.extras["prior_people"][labels.index("never")] == 0
    found = ranked(load_bundle(tmp_path / "fixed"), log, np.arange(500, 560), k=10)
    offered = {found.tags[t] for row in found.tag_ids for t in row if t < len(found.tags)}
    assert offered <= set(labels)
    assert len(offered) > 10


def test_labels_that_nobody_used_are_too_little_to_learn_from(tmp_path):
    with pytest.raises(ModelError, match="too little"):
        fit(world(), out=tmp_path / "b", config=QUICK, labels=["neverused"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("n_posts", [0, 1, 50, 250])
def test_too_few_posts_get_an_error_with_what_to_do_instead(tmp_path, n_posts):
    log = world(n_posts, seed=2) if n_posts else PostLog.of([])
    with pytest.raises(ModelError, match="training needs 200") as caught:
        fit(log, out=tmp_path / "b", config=QUICK)
    assert "model that ships" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_a_store_without_photos_trains(tmp_path):
    log = world(400, seed=4, has_photos=False)
    assert log.embeddings.shape[1] == 0
    fit(log, out=tmp_path / "b", config=QUICK)
    rows = np.arange(temporal_split(log).valid_stop, len(log))
    found = ranked(load_bundle(tmp_path / "b"), log, rows, k=5)
    hits = [
        len(set(log.tags_of(row)) & {found.tags[t] for t in tags if t < len(found.tags)})
        for row, tags in zip(rows.tolist(), found.tag_ids.tolist(), strict=True)
    ]
    assert np.mean(hits) > 1.0


def in_turns(n_people: int = 20, n_posts: int = 30) -> PostLog:
    """People with two sets of tags who never use the same one twice running."""
    return PostLog.of(
        [
            Post(
                f"else-{i}-{n}",
                f"else-{i}",
                START_AT + DAY_S * n + 60.0 * i,
                tuple(f"else-{i}-{(n + i) % 2}-{t}" for t in range(3)),
            )
            for n in range(n_posts)
            for i in range(n_people)
        ]
    )


def test_people_elsewhere_teach_their_habits_and_leave_no_trace(tmp_path):
    elsewhere = in_turns()
    taught = fit(world(), out=tmp_path / "a", config=QUICK, auxiliary=Auxiliary(others=[elsewhere]))
    assert taught.vocabulary == bundle().vocabulary
    assert taught.manifest.trained == bundle().manifest.trained
    assert taught.prior.post_ids == bundle().prior.post_ids
    for name in ("head/projection", "topics/weight"):
        np.testing.assert_array_equal(taught.weights[name], bundle().weights[name])
    assert not np.allclose(taught.weights["score/features"], bundle().weights["score/features"])
    assert b"else-" not in (tmp_path / "a").read_bytes()
    stop = temporal_split(elsewhere).valid_stop
    met = taught.has_seen(elsewhere.post_ids)
    assert met[:stop].all()
    assert not met[stop:].any()

    def share_found(model: Bundle) -> float:
        rows = np.arange(stop, len(elsewhere))
        found = ranked(model, elsewhere, rows, k=3)
        lists = [{found.tags[t] for t in ids if t < len(found.tags)} for ids in found.tag_ids]
        hits = [len(s & set(elsewhere.tags_of(i))) for i, s in zip(rows, lists, strict=True)]
        return sum(hits) / (3 * len(rows))

    assert share_found(bundle()) < 0.5, "the world's people do not take turns"
    assert share_found(taught) > 0.8


def test_of_a_long_history_early_posts_are_drawn_more_often():
    log = PostLog.of([Post(f"p{i}", "me" if i else None, float(i), ("a",)) for i in range(3000)])
    rows = draw_elsewhere(log, np.arange(3000), most=600, seed=0)
    assert len(rows) == len(set(rows.tolist())) == 600
    assert 0 not in rows
    assert 2.5 * (rows >= 1500).sum() < (rows < 1500).sum()


def test_all_posts_are_used_when_asked(tmp_path):
    log = world(300, seed=4)
    whole = fit(log, out=tmp_path / "b", config=QUICK, use_all=True)
    assert whole.manifest.trained.n_posts == len(log)
    assert whole.manifest.trained_until == log.at[-1]


class Captured(Exception):  # noqa: N818 - not an error
    def __init__(self, train: Examples, valid: Examples) -> None:
        super().__init__("captured")
        self.train, self.valid = train, valid


def examples_of(monkeypatch, out: Path, *, is_in_sample: bool) -> Captured:
    """The examples that training is about to learn from; a leak is planted if asked."""

    def capture(config, checkpoints, train, judged, told):
        raise Captured(train, judged)

    honest = fitting.fit_pixels

    def in_sample(log, table, chosen, *others, **named):
        return honest(log, table, np.ones_like(chosen), *others, **named)

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "fit_network", capture)
        if is_in_sample:
            patch.setattr(fitting, "fit_pixels", in_sample)
        with pytest.raises(Captured) as caught:
            fit(world(), out=out, config=QUICK)
    return caught.value


def optimism(captured: Captured) -> float:
    """How much likelier the head finds used tags on posts to learn from than on new posts."""
    column, known = FEATURES.columns(["head_log_prob", "head_known"])

    def mean(examples: Examples) -> float:
        features = examples.found.features.astype(np.float32)
        counted = examples.used & (features[:, :, known] > 0)
        return float(features[:, :, column][counted].mean())

    return mean(captured.train) - mean(captured.valid)


def test_scores_to_learn_from_are_no_better_than_scores_of_new_posts(monkeypatch, tmp_path):
    honest = optimism(examples_of(monkeypatch, tmp_path / "a", is_in_sample=False))
    planted = optimism(examples_of(monkeypatch, tmp_path / "b", is_in_sample=True))
    assert honest < 0.15
    assert planted > honest + 0.3, "the planted in-sample scores should stand out"


def test_examples_name_what_was_used_and_most_of_it_is_a_candidate(monkeypatch, tmp_path):
    captured = examples_of(monkeypatch, tmp_path / "a", is_in_sample=False)
    log, train = world(), captured.train.heard
    rows = np.arange(log.n_untimed, temporal_split(log).train_stop)
    fold = deal_folds(log, n_folds=QUICK.folds, seed=QUICK.seed)[rows]
    mine = np.concatenate([rows[fold == f] for f in np.unique(fold)])
    dealt = [draw_accepted(log, rows[fold == f], seed=QUICK.seed) for f in np.unique(fold)]
    n_accepted = np.array([len(tags) for part in dealt for tags in part])
    assert np.array_equal(train.n_used, np.diff(log.tag_start)[mine] - n_accepted)
    assert 0.15 < (n_accepted > 0).mean() < 0.35
    column = FEATURES.column("goes_with_accepted")
    says = np.abs(train.found.features[:, :, column]).max(axis=1) > 0
    assert not says[n_accepted == 0].any()
    assert says[n_accepted > 0].mean() > 0.9
    assert (train.used.sum(axis=1) <= train.n_used).all()
    assert not train.used[~train.found.filled].any()
    past = np.expm1(train.found.context[:, CONTEXT_NAMES.index("posts_log")].astype(np.float64))
    grown = past > 200
    assert 150 < grown.sum() < len(rows)
    assert train.used[grown].sum() / train.n_used[grown].sum() > 0.85
    assert 0.2 < precision_at_5(bundle().weights, captured.valid) < 0.8
