"""Candidates: a question sees what lies before it, in whatever order that was learned.

All of it beside a prior, which is what is served.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asking import TAGS, WIDTH, ask, questions_about, sampled, small_logs
from pixtag.bundle import anonymous_log
from pixtag.candidates import Candidates, join_candidates
from pixtag.errors import ShapeError
from pixtag.evidence import MemoryEvidence
from pixtag.model import Model, RankConfig
from pixtag.rank import candidates, questions_of, read, replay
from pixtag.signals import CONTEXT_NAMES, FEATURES, SOURCES, Knowledge, Questions
from pixtag.signals.trend import propose_rising
from pixtag.splits import temporal_split
from pixtag.train.examples import answered, choose_vocabulary
from pixtag.train.pixels import fit_head, tag_table
from pixtag.types import Post, PostLog, Sources
from worlds import DAY_S, START_AT, evaluation_log, knowledge, observed, random_head, world

TOLERANCE = 1e-3
"""Of logs of small sums, which are added up in another order in another block."""

VOCABULARY = sorted(TAGS)[:3]
SMALL = Model(knowledge(VOCABULARY, width=WIDTH))


@dataclass(frozen=True)
class Served:
    """A model that was never fitted, with a prior, and evidence for it."""

    model: Model
    evidence: MemoryEvidence

    @classmethod
    def small(cls, log: PostLog) -> Served:
        return cls(SMALL, SMALL.knowledge.evidence(log))

    @classmethod
    def of(cls, log: PostLog, *, n_known: int = 20, config: RankConfig | None = None) -> Served:
        return cls(*observed(log, n_known=n_known, config=config))


def said(served: Served, questions: Questions, sources: Sources | None = None) -> list[dict]:
    """What is said to each question, by names instead of numbers."""
    view = served.evidence.view()
    found = candidates(served.model, view, questions, sources=sources)

    def name(slot: int) -> str:
        if slot < 0:
            return f"prior {-1 - slot}"
        user = int(view.user[slot])
        who = "nobody" if user < 0 else view.people.names[user]
        return f"{view.tick[slot]} {who} {view.tags_of(slot)}"

    return [
        {
            "context": found.context[i],
            "features": {
                view.tags[t]: found.features[i, c]
                for c, t in enumerate(found.tag[i].tolist())
                if found.filled[i, c]
            },
            "own": [name(r) for r in found.own_rows[i][found.own_filled[i]]],
            "near": [name(r) for r in found.near_rows[i][found.near_filled[i]]],
            "own_keys": found.own_keys[i],
            "near_keys": found.near_keys[i],
            "copies": {
                (kind, name(rows[i, slot]), view.tags[found.tag[i, c]])
                for kind, member, rows in (
                    ("own", found.own_member, found.own_rows),
                    ("near", found.near_member, found.near_rows),
                )
                for c, slot in np.argwhere(member[i]).tolist()
            },
        }
        for i in range(len(questions))
    ]


def assert_same(first: list[dict], second: list[dict]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one["features"].keys() == other["features"].keys()
        for tag, values in one["features"].items():
            np.testing.assert_allclose(values, other["features"][tag], atol=TOLERANCE, err_msg=tag)
        for name in ("context", "own_keys", "near_keys"):
            np.testing.assert_allclose(one[name], other[name], atol=TOLERANCE, err_msg=name)
        for name in ("own", "near", "copies"):
            assert one[name] == other[name], name


def names_said(answer: dict) -> set[str]:
    return set(answer["features"])


def columns_of(source: str) -> np.ndarray:
    """Features that need a source."""
    return np.flatnonzero(FEATURES.needed[SOURCES.index(source)])


def one_by_one(served: Served, questions: Questions, sources: Sources | None = None) -> list[dict]:
    order = np.random.default_rng(0).permutation(len(questions)).tolist()
    answers = {i: said(served, questions.take(np.array([i])), sources)[0] for i in order}
    return [answers[i] for i in range(len(questions))]


@settings(max_examples=40)
@given(small_logs(), st.sampled_from([0.0, 1.0, 7200.0]))
def test_a_block_is_the_same_as_one_by_one(log, shift_s):
    if len(log):
        served = Served.small(log)
        questions = questions_about(log, np.arange(len(log)), shift_s=shift_s)
        assert_same(said(served, questions), one_by_one(served, questions))


def test_a_block_of_a_larger_world_is_the_same_as_one_by_one():
    log = world()
    served = Served.of(log)
    questions = sampled(log, 60)
    questions = replace(questions, accepted=(("look1-2", "unheard of"), (), ("all1",)) * 20)
    assert_same(said(served, questions), one_by_one(served, questions))


@settings(max_examples=40)
@given(small_logs(), small_logs(prefix="q"), st.data())
def test_the_future_and_the_same_instant_change_nothing(past, future, data):
    """Whatever lies at or after a question's time may be anything."""
    if not len(past):
        return
    row = data.draw(st.integers(0, len(past) - 1))
    question = questions_about(past, [row])
    at = float(question.at[0])
    before = past.select(past.at < at)
    moved = np.where(np.isfinite(future.at), at + np.maximum(future.at - START_AT, 0.0), at)
    order = np.argsort(moved, kind="stable")
    later = replace(future.select(order), at=moved[order])
    served = Served.small(before)
    expected = said(served, question)
    served.evidence.observe(later)
    assert_same(said(served, question), expected)
    assert_same(said(Served.small(past), question), expected)


def test_permuted_altered_and_deleted_futures_of_a_larger_world_change_nothing():
    log = world()
    rng = np.random.default_rng(4)
    for row in (150, 400, 560):
        first = int(np.searchsorted(log.at, log.at[row]))
        rows = np.arange(first - 20, first)
        questions = questions_about(log, np.r_[rows[log.at[rows] < log.at[row]], row])
        expected = said(Served.of(log), questions)
        future = np.arange(first, len(log))
        source = np.arange(len(log))
        source[future] = rng.permutation(future)
        permuted = replace(log.select(np.sort(source)), at=log.at)
        altered = replace(
            permuted,
            user_of_post=log.user_of_post[source],
            embeddings=log.embeddings[source],
            has_photo=log.has_photo[source],
        )
        # Same instants, other people and photos; then nothing at all.
        for other in (altered, log.select(np.arange(first))):
            assert_same(said(Served.of(other), questions), expected)


@settings(max_examples=40)
@given(small_logs(), st.lists(st.booleans(), min_size=16, max_size=16))
def test_a_late_arrival_gives_what_a_sorted_log_gives(log, is_late):
    if not len(log):
        return
    late = np.array(is_late)[: len(log)]
    served = Served.small(log.select(~late))
    served.evidence.observe(log.select(late))
    questions = questions_about(log, np.arange(len(log)), shift_s=1.0)
    assert_same(said(served, questions), said(Served.small(log), questions))


@settings(max_examples=40)
@given(small_logs(), st.lists(st.booleans(), min_size=16, max_size=16))
def test_retracted_posts_have_never_been(log, is_gone):
    if not len(log):
        return
    gone = np.array(is_gone)[: len(log)]
    served = Served.small(log)
    questions = questions_about(log, np.arange(len(log)), shift_s=1.0)
    said(served, questions)
    served.evidence.retract(
        [p for p, g in zip(log.post_ids, gone, strict=True) if g] + ["never seen"]
    )
    expected = Served.small(log.select(~gone))
    assert_same(said(served, questions), said(expected, questions))


def test_late_arrivals_and_retractions_in_a_larger_world():
    log = world()
    rng = np.random.default_rng(2)
    questions = sampled(log, 40)
    late = rng.random(len(log)) < 0.3
    served = Served.of(log.select(~late), n_known=0)
    served.evidence.observe(log.select(late))
    assert_same(said(served, questions), said(Served.of(log, n_known=0), questions))
    served.evidence.retract([p for p, is_late in zip(log.post_ids, late, strict=True) if is_late])
    assert_same(said(served, questions), said(Served.of(log.select(~late), n_known=0), questions))


def test_a_post_observed_again_counts_once_with_its_new_tags():
    log = PostLog.of([Post("a", "ana", START_AT, ("x",)), Post("b", "ana", START_AT, ("y",))])
    served = Served.of(log, n_known=0)
    served.evidence.observe(PostLog.of([Post("a", "ana", START_AT, ("z",))]))
    question = questions_about(log, [0], shift_s=60.0)
    (answer,) = said(served, question)
    assert names_said(answer) == {"y", "z"}
    assert sorted(name.split()[-1] for name in answer["own"]) == ["['y']", "['z']"]


def test_a_private_tag_is_offered_to_its_owner_alone():
    posts = [Post(f"p{i}", u, START_AT + i, ("secret", "shared")) for i, u in enumerate("ab")]
    posts += [Post(f"q{i}", u, START_AT + i, ("shared",)) for i, u in enumerate("cd")]
    served = Served.of(PostLog.of(posts), n_known=0)
    for owner in "ab":
        assert "secret" in names_said(said(served, ask(owner, START_AT + 60.0))[0])
    for other in ("c", "a stranger", None):
        assert names_said(said(served, ask(other, START_AT + 60.0))[0]) == {"shared"}
    served.evidence.observe(PostLog.of([Post("r", "e", START_AT + 10.0, ("secret",))]))
    assert "secret" in names_said(said(served, ask("c", START_AT + 60.0))[0])
    assert "secret" not in names_said(said(served, ask("c", START_AT + 10.0))[0])


def large_prior(n_posts: int = 800, *, names: tuple[str, ...]) -> Model:
    """A model whose prior holds many posts, each with one of some tags in turn."""
    tags = [[i % len(names)] for i in range(n_posts)]
    prior = anonymous_log(names, tags, np.zeros((n_posts, 8), np.float16), np.zeros(n_posts, bool))
    people = np.full(len(names), n_posts / len(names) / 2)
    head = random_head(list(names), width=1)
    return Model(Knowledge.of(list(names), head, prior=prior, prior_people=people))


def test_what_is_popular_here_is_offered_beside_a_large_prior():
    names = tuple(f"far{i}" for i in range(40))
    # Of `elbe`, the prior alone has more uses than the store.
    model = large_prior(8000, names=("elbe", *names))
    here = [
        Post(f"h{i}", f"user{i % 4}", START_AT + DAY_S * i, ("elbe", "mine")[: 1 + (i % 4 == 0)])
        for i in range(80)
    ]
    served = Served(model, model.knowledge.evidence(PostLog.of(here)))
    # Long after: nothing is rising.
    offered = names_said(said(served, ask(None, START_AT + 400 * DAY_S))[0])
    assert "elbe" in offered
    assert "mine" not in offered, "one person's"
    assert len(offered & set(names)) >= 29


def store_of_forty_days() -> PostLog:
    """Quiet days of a few people; in the last hours eight people use a tag for the first time."""
    quiet = [
        Post(f"q{day}{user}", f"user{user}", START_AT + (day + 0.1 * user) * DAY_S, ("quiet",))
        for day in range(40)
        for user in range(3)
    ]
    love = [
        Post(f"l{i}", f"new{i}", START_AT + (39.5 + 0.05 * i) * DAY_S, ("love",)) for i in range(8)
    ]
    return PostLog.of(quiet + love)


def test_a_tag_of_many_posts_of_the_prior_rises_in_a_store_as_if_the_prior_were_not_there():
    names = ("love", *(f"far{i}" for i in range(40)))
    model = large_prior(1468 * len(names), names=names)
    log, question = store_of_forty_days(), ask("a stranger", START_AT + 40 * DAY_S)
    beside = Served(model, model.knowledge.evidence(log))
    alone = Served(model.without_prior(), model.knowledge.evidence(log))
    trend = FEATURES.of_signal("trend")
    with_prior, without = (said(s, question)[0]["features"]["love"] for s in (beside, alone))
    np.testing.assert_array_equal(with_prior[trend], without[trend])
    assert with_prior[FEATURES.column("trend_lift_24h")] > 2.0
    asked = read(model, beside.evidence.view(), question)
    assert "love" in {asked.names[t] for t in propose_rising(asked, limit=1)[1]}


@settings(max_examples=40)
@given(small_logs())
def test_posts_of_the_prior_are_in_no_window_day_rate_or_history(log):
    if not len(log):
        return
    questions = questions_about(log, np.arange(len(log)), shift_s=1.0)
    beside = said(Served.small(log), questions)
    model = SMALL.without_prior()
    alone = said(Served(model, model.knowledge.evidence(log)), questions)
    columns = np.concatenate([FEATURES.of_signal(s) for s in OF_THE_STORE_ALONE])
    for one, other in zip(beside, alone, strict=True):
        assert one["own"] == other["own"]
        both = names_said(one) & names_said(other)
        for tag in both:
            np.testing.assert_allclose(
                one["features"][tag][columns], other["features"][tag][columns], atol=1e-5
            )


OF_THE_STORE_ALONE = ("reuse", "habits", "own_memory", "trend", "lately")
"""Signals of what has a time or a person, or both."""


@settings(max_examples=40)
@given(small_logs(), small_logs(prefix="q"))
def test_posts_without_a_time_are_in_no_history_day_window_or_rise(log, others):
    """They lie before every question for what goes with what, likeness and photos."""
    if not len(log):
        return
    timed = log.select(np.isfinite(log.at))
    untimed = replace(others, at=np.full(len(others), -np.inf))
    if not len(timed) or not len(untimed):
        return
    questions = questions_about(timed, np.arange(len(timed)), shift_s=1.0)
    plain, mixed = Served.small(timed), Served.small(timed)
    mixed.evidence.observe(untimed)
    columns = np.concatenate([FEATURES.of_signal(s) for s in OF_THE_STORE_ALONE])
    for one, other in zip(said(plain, questions), said(mixed, questions), strict=True):
        assert one["own"] == other["own"]
        for tag in names_said(one) & names_said(other):
            np.testing.assert_allclose(
                one["features"][tag][columns], other["features"][tag][columns], atol=1e-5
            )
    early = ask(None, START_AT - 900 * DAY_S, np.ones(WIDTH), WIDTH)
    asked = read(SMALL, mixed.evidence.view(), early)
    assert asked.n_posts.tolist() == [len(untimed)]
    (answer,) = said(mixed, early)
    near = [name for name in answer["near"] if not name.startswith("prior")]
    assert len(near) == min(untimed.has_photo.sum(), SMALL.config.near_slots)


@settings(max_examples=40)
@given(small_logs(), st.randoms(use_true_random=False))
def test_the_numbers_of_people_and_tags_do_not_matter(log, rng):
    """Names that come in another order get other ids, and nothing else changes."""
    if not len(log):
        return
    users, tags = list(range(len(log.users))), list(range(len(log.tags)))
    rng.shuffle(users)
    rng.shuffle(tags)
    place_of_user = np.append(np.argsort(np.array(users, np.int64)), len(users))
    place_of_tag = np.argsort(np.array(tags, np.int64))
    other = replace(
        log,
        users=[log.users[u] for u in users],
        tags=[log.tags[t] for t in tags],
        user_of_post=place_of_user[log.user_of_post].astype(np.int64),
        tag_ids=place_of_tag[log.tag_ids].astype(np.int64),
    )
    questions = questions_about(log, np.arange(len(log)), shift_s=1.0)
    assert_same(said(Served.small(other), questions), said(Served.small(log), questions))


@pytest.mark.parametrize("at", [None, START_AT])
def test_of_many_posts_of_one_moment_the_same_ones_are_read_whenever_they_arrived(at):
    """More posts with a tag than are looked at: which of them may not depend on their order."""
    rng = np.random.default_rng(0)
    posts = [Post(f"p{i}", f"user{i % 9}", at, ("a", f"b{i % 7}", f"c{i % 5}")) for i in range(300)]
    photos = {p.post_id: rng.normal(size=WIDTH).astype(np.float16) for p in posts}
    log = PostLog.of(posts, photos)
    question = ask("user1", START_AT + 60.0, np.ones(WIDTH), WIDTH)
    expected = said(Served.small(log), question)
    served = Served.small(log.select(np.arange(0)))
    for part in np.array_split(rng.permutation(len(log)), 4):
        served.evidence.observe(log.select(np.sort(part)))
    assert_same(said(served, question), expected)


@settings(max_examples=60)
@given(small_logs(), st.booleans())
def test_no_signal_offers_a_tag_of_fewer_than_three_people_to_others(log, has_accepted):
    if not len(log):
        return
    served = Served.small(log)
    questions = questions_about(log, np.arange(len(log)), shift_s=1.0)
    if has_accepted:
        questions = replace(questions, accepted=(tuple(TAGS[:2]),) * len(questions))
    users = [*log.users, None]
    for i, answer in enumerate(said(served, questions)):
        people: dict[str, set[str]] = {}
        own: set[str] = set()
        for row in np.flatnonzero(log.at < questions.at[i]).tolist():
            user = users[log.user_of_post[row]]
            for tag in log.tags_of(row):
                people.setdefault(tag, set()).add(user or f"nobody {row}")
                if user == questions.users[i] is not None and np.isfinite(log.at[row]):
                    own.add(tag)
        for tag, n in zip(VOCABULARY, SMALL.knowledge.prior.people.tolist(), strict=True):
            people.setdefault(tag, set()).update(f"prior {k}" for k in range(int(n)))
        public = {t for t, p in people.items() if len(p) >= 3}
        assert names_said(answer) <= public | own


def test_a_tag_first_seen_yesterday_is_offered_by_trend_and_by_pixels():
    log = world()
    last = float(log.at[-1])
    photo = np.random.default_rng(9).normal(size=log.embeddings.shape[1]).astype(np.float16)
    posts = [Post(f"new{i}", f"user{i}", last - i * 3600.0, ("brandnew",)) for i in range(3)]
    served = Served.of(log)
    served.evidence.observe(PostLog.of(posts, {p.post_id: photo for p in posts}))
    width = log.embeddings.shape[1]
    for sources in (Sources(pixels=False), Sources(trend=False)):
        question = ask("a stranger", last + 3600.0, photo, width)
        assert "brandnew" in names_said(said(served, question, sources)[0]), sources.name
    assert "brandnew" not in served.model.knowledge.vocabulary


@settings(max_examples=25)
@given(small_logs())
def test_without_pixels_a_photo_says_nothing(log):
    if len(log):
        served = Served.small(log)
        questions = questions_about(log, np.arange(len(log)), shift_s=1.0)
        blind = replace(
            questions,
            embeddings=np.zeros_like(questions.embeddings),
            has_photo=np.zeros_like(questions.has_photo),
        )
        silent = said(served, questions, Sources(pixels=False))
        without = said(served, blind)
        # "No head knows it" is said in numbers, which the network never reads without a photo.
        for answer in (*silent, *without):
            for values in answer["features"].values():
                values[columns_of("pixels")] = 0.0
        assert_same(silent, without)


@settings(max_examples=25)
@given(small_logs())
def test_without_history_everybody_is_a_stranger(log):
    if not len(log):
        return
    served = Served.small(log)
    questions = questions_about(log, np.arange(len(log)), shift_s=1.0)
    strangers = replace(questions, users=(None,) * len(questions))
    silent = said(served, questions, Sources(history=False, trend=False))
    known = said(served, strangers, Sources(trend=False))
    flag = CONTEXT_NAMES.index("history_on")
    columns = columns_of("history")
    for answer in silent:
        assert not answer["own"]
        assert answer["context"][flag] == 0.0
        for values in answer["features"].values():
            assert not values[columns].any()
    for answer in known:
        answer["context"][flag] = 0.0
        for values in answer["features"].values():
            values[columns] = 0.0  # "last used never" is said in numbers
    assert_same(silent, known)


def test_without_trend_nothing_recent_speaks():
    log = world()
    served = Served.of(log)
    questions = sampled(log, 40)
    columns = columns_of("trend")
    silent = said(served, questions, Sources(trend=False))
    loud = said(served, questions)
    assert any(v[columns].any() for answer in loud for v in answer["features"].values())
    for answer in silent:
        assert answer["context"][CONTEXT_NAMES.index("trend_on")] == 0.0
        for values in answer["features"].values():
            assert not values[columns].any()


def test_without_pixels_no_pixel_feature_speaks():
    log = world()
    served = Served.of(log)
    columns = columns_of("pixels")
    for answer in said(served, sampled(log, 40), Sources(pixels=False)):
        assert not answer["near"]
        for values in answer["features"].values():
            assert not values[columns].any()


def test_accepted_tags_draw_in_what_goes_with_them():
    log = world()
    served = Served.of(log)
    at = float(log.at[-1]) + 60.0
    question = ask("a stranger", at, width=log.embeddings.shape[1])
    column = FEATURES.column("goes_with_accepted")
    (plain,) = said(served, question)
    (drawn,) = said(served, replace(question, accepted=(("look3-1",),)))
    assert all(values[column] == 0.0 for values in plain["features"].values())
    best = max(drawn["features"], key=lambda tag: drawn["features"][tag][column])
    assert best.startswith("look3-")


def test_a_fixed_label_set_offers_nothing_else():
    log = world()
    served = Served.of(log, config=RankConfig(only_vocabulary=True))
    for answer in said(served, sampled(log, 30)):
        assert names_said(answer) <= set(served.model.knowledge.vocabulary)


def test_the_number_of_candidates_is_kept_and_the_strongest_stay():
    log = world()
    wide, narrow = Served.of(log), Served.of(log, config=RankConfig(max_candidates=10))
    questions = questions_about(log, np.arange(500, 530))
    hits = 0
    for i, (few, many) in enumerate(
        zip(said(narrow, questions), said(wide, questions), strict=True), start=500
    ):
        assert len(few["features"]) <= 10
        assert names_said(few) <= names_said(many)
        hits += len(names_said(few) & set(log.tags_of(i)))
    assert hits / sum(len(log.tags_of(i)) for i in range(500, 530)) > 0.5


def test_a_stranger_in_an_empty_world_is_offered_nothing():
    model = Model(knowledge([]))
    served = Served(model, model.knowledge.evidence())
    (answer,) = said(served, ask(None, START_AT, width=24))
    assert answer["features"] == {}


def test_embeddings_of_another_encoder_are_refused():
    log = world()
    with pytest.raises(ShapeError, match="24 wide"):
        SMALL.knowledge.evidence().observe(log)


def test_posts_long_before_and_after_all_others_can_be_asked_about():
    log = world()
    served = Served.of(log)
    width = log.embeddings.shape[1]
    (early,) = said(served, ask("user1", START_AT - 400 * DAY_S, width=width))
    assert not early["own"]
    (late,) = said(served, ask("user1", START_AT + 4000 * DAY_S, width=width))
    assert late["own"]
    assert all(np.isfinite(v).all() for v in late["features"].values())


def test_nine_of_ten_used_tags_are_candidates_in_the_validation_period():
    """What is not a candidate can never be suggested."""
    log = evaluation_log()
    split = temporal_split(log)
    vocabulary = choose_vocabulary(log.select(np.arange(split.train_stop)), limit=4096)
    ids, mask = tag_table(log, vocabulary)
    known = slice(0, split.train_stop)
    head = fit_head(
        log.embeddings[known].astype(np.float32),
        ids[known],
        mask[known],
        n_tags=len(vocabulary),
        joint=64,
        epochs=8,
        seed=0,
    )
    model = Model(Knowledge.of(vocabulary, head))
    view = model.knowledge.evidence(log).view()
    rows = np.arange(split.train_stop, split.valid_stop)[::4]
    questions = questions_of(log, rows, width=log.embeddings.shape[1])
    blocks = replay(model, view, questions, then=vars)
    parts = [(index, Candidates(**found)) for index, found in blocks]
    found = answered(join_candidates(parts), log, rows, view)
    assert found.found.filled.sum(axis=1).max() <= model.config.max_candidates
    assert found.used.sum() / found.n_used.sum() > 0.9


def test_a_long_history_gets_more_candidates_and_changes_nobody_elses():
    """Blocks of wide and narrow questions are put together, whatever stands beside a question."""
    posts = [Post(f"a{i}", "ana", START_AT + 60.0 * i, (f"tag{i}",)) for i in range(400)]
    posts += [Post(f"b{i}", "bo", START_AT + 60.0 * i + 1, (f"own{i}",)) for i in range(200)]
    log = PostLog.of(posts)
    config = RankConfig(max_candidates=120, more_candidates=100)
    served = Served.of(log, n_known=0, config=config)
    view = served.evidence.view()
    rows = np.arange(0, len(log), 3)
    questions = questions_about(log, rows, shift_s=1.0)
    both = candidates(served.model, view, questions)
    assert both.filled.sum(axis=1).max() > config.max_candidates
    for i in range(0, len(rows), 7):
        alone = candidates(served.model, view, questions.take(np.array([i])))
        assert both.filled[i].sum() == alone.filled.sum()
        np.testing.assert_array_equal(both.tag[i][both.filled[i]], alone.tag[0][alone.filled[0]])
        assert (both.tag[i][~both.filled[i]] == -1).all()
    of_bo = [i for i, user in enumerate(questions.users) if user == "bo"]
    assert both.filled[of_bo].sum(axis=1).max() <= config.max_candidates
