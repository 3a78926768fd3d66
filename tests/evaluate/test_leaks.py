"""Planted leaks are caught; honest scorers pass; bundles that saw the test are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from logs import invented_log
from pixtag import rank
from pixtag.bundle import Bundle, Manifest, Trained, hash_post_ids
from pixtag.errors import InputError, LeakError
from pixtag.evaluate import check_bundle, leakcheck, model_of
from pixtag.evaluate.baselines import base_level, linear_probe, popularity
from pixtag.evidence import DAY_TICKS, LAST_TICK, Postings, View
from pixtag.signals import FEATURES
from pixtag.signals.reuse import REUSE, REUSE_NAMES
from pixtag.signals.spec import Table
from pixtag.types import Post, PostLog, Rankings, Sources
from worlds import bundle as trained
from worlds import world


@pytest.fixture(scope="module")
def log():
    return invented_log(150, share_tied=0.2, seed=8)


def honest(log, start, stop):
    return base_level(0.5)(log, start, stop, 20)


def test_an_honest_scorer_passes(log):
    report = leakcheck(log, honest, n_times=10)
    assert report.leaks == ()
    assert report.n_times == 10
    assert report.n_compared > 10 * 3 * 10


def test_a_state_that_saw_the_future_is_caught(log):
    def planted(log, start, stop):
        """Popularity counted over the whole log, as the ancestor counted its histories."""
        counts = np.bincount(log.tag_ids, minlength=len(log.tags))
        best = np.lexsort((np.arange(len(log.tags)), -counts))[:10]
        rows = np.arange(start, stop)
        ids = np.tile(best, (len(rows), 1))
        return Rankings(rows, ids, np.zeros(ids.shape, np.float32), log.tags)

    report = leakcheck(log, planted, n_times=4)
    assert {leak.change for leak in report.leaks} >= {"alter", "delete"}


def test_a_history_that_counts_the_post_itself_is_caught(log):
    def planted(log, start, stop):
        ranked = honest(log, start, stop)
        for place, row in enumerate(range(start, stop)):
            ranked.tag_ids[place, 0] = log.tag_ids[log.tag_start[row]]
        return ranked

    report = leakcheck(log, planted, n_times=4, changes=("own",))
    assert len(report.leaks) == 4
    assert report.leaks[0].before != report.leaks[0].after


def test_in_sample_scores_are_caught_and_forward_scores_pass(log):
    def in_sample(log, start, stop):
        # Fitted on posts up to the very one that it then scores.
        return linear_probe(log, stop, min_uses=1)(log, start, stop, 20)

    def forward(log, start, stop):
        # One fit on what came before the first post that is scored, by a clock.
        fitted_until = int(np.searchsorted(log.at, log.at[start], side="left"))
        return linear_probe(log, fitted_until, min_uses=1)(log, start, stop, 20)

    assert leakcheck(log, in_sample, n_times=3, changes=("own",)).leaks
    assert leakcheck(log, forward, n_times=3).leaks == ()


def test_a_peek_at_the_same_instant_is_caught():
    posts = [Post(f"p{i:03d}", f"u{i % 3}", float(i // 2), (f"t{i % 7}",)) for i in range(60)]
    log = PostLog.of(posts)

    def planted(log, start, stop):
        ranked = popularity(log, start, stop, 10)
        for place, row in enumerate(range(start, stop)):
            if row and log.at[row - 1] == log.at[row]:
                ranked.probs[place, 0] = log.tag_ids[log.tag_start[row - 1]] + 1
        return ranked

    assert leakcheck(log, planted, n_times=8, start=21).leaks


def test_probabilities_that_move_are_a_leak_even_in_the_same_order(log):
    def planted(log, start, stop):
        ranked = honest(log, start, stop)
        ranked.probs[:] = 1 / len(log)
        return ranked

    leaks = leakcheck(log, planted, n_times=3).leaks
    assert {leak.change for leak in leaks} == {"delete"}


def test_a_log_too_short_to_have_a_future_is_refused():
    with pytest.raises(InputError, match="too few"):
        leakcheck(invented_log(3), honest)


def bundle(log, n_seen, *, until, keeps_hashes=True):
    manifest = Manifest(
        pixtag="0", size="tiny", feature_names={}, encoder_digest="", encoder_width=0,
        trained=Trained(n_posts=n_seen, until_at=until),
    )  # fmt: skip
    seen = np.zeros(0, np.uint64)
    if keeps_hashes:
        seen = np.sort(hash_post_ids(log.post_ids[:n_seen], salt=manifest.salt))
    return Bundle(manifest, [], {}, PostLog.of([]), seen=seen)


def test_a_bundle_that_saw_the_test_period_is_refused(log):
    rows = np.arange(120, 150)
    assert check_bundle(bundle(log, 120, until=float(log.at[119])), log, rows) == []
    with pytest.raises(LeakError, match="learned from 5 of the 30 posts"):
        check_bundle(bundle(log, 125, until=float(log.at[124])), log, rows)


def test_a_bundle_that_does_not_say_what_it_saw_is_judged_by_its_clock(log):
    rows = np.arange(120, 150)
    honest = bundle(log, 0, until=float(log.at[110]), keeps_hashes=False)
    assert check_bundle(honest, log, rows) == []
    late = bundle(log, 0, until=float(log.at[140]), keeps_hashes=False)
    with pytest.raises(LeakError, match="as late as"):
        check_bundle(late, log, rows)


def test_a_bundle_of_other_posts_of_the_same_time_is_measured_with_a_note(log):
    other = invented_log(10, seed=99)
    renamed = PostLog.of(
        Post(f"other{i}", "ana", float(other.at[i]), tuple(other.tags_of(i))) for i in range(10)
    )
    made = bundle(renamed, 10, until=float(log.at[-1]))
    notes = check_bundle(made, log, np.arange(120, 150))
    assert "same time" in notes[0]


def whole(log, start, stop):
    """The real thing, evidence and network of a trained model: what it suggests, in order."""
    ranked = model_of(trained())(log, start, stop, 10, Sources())
    # Chances may differ in the last bit between logs of different length.
    return replace(ranked, probs=np.zeros_like(ranked.probs))


HONEST_OWN, HONEST_BEFORE = View.own, Postings.before


def own_a_day_ahead(monkeypatch):
    monkeypatch.setattr(View, "own", lambda view, u, tick: HONEST_OWN(view, u, tick + DAY_TICKS))


def counts_a_day_ahead(monkeypatch):
    monkeypatch.setattr(
        Postings, "before", lambda of, key, tick: HONEST_BEFORE(of, key, tick + DAY_TICKS)
    )


def counted_over_everything(monkeypatch):
    """The ancestor's leak: how often a person used a tag is counted over all of their posts."""

    def leaky(asked, pairs):
        out = REUSE.compute(asked, pairs)
        own = asked.view.own(asked.user, np.full(len(asked), LAST_TICK))
        uses = pairs.total(own.question[own.post], own.tag, np.ones(len(own.tag)))
        out[:, REUSE_NAMES.index("own_uses_log")] = np.log1p(uses)
        return out

    planted = tuple(replace(s, compute=leaky) if s is REUSE else s for s in FEATURES.signals)
    monkeypatch.setattr(rank, "FEATURES", Table(planted))


@pytest.mark.parametrize("plant", [own_a_day_ahead, counts_a_day_ahead, counted_over_everything])
def test_a_future_planted_in_the_real_evidence_is_caught(monkeypatch, plant):
    posts = world()
    assert leakcheck(posts, whole, n_times=3, seed=1).leaks == ()
    plant(monkeypatch)
    leaks = leakcheck(posts, whole, n_times=3, seed=1).leaks
    assert {leak.change for leak in leaks} >= {"alter", "delete"}
