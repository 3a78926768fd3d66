"""The state: a query sees what lies before it, in whatever order that was learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asking import TAGS, WIDTH, queries_about, sampled, small_logs
from pixtag.errors import ShapeError
from pixtag.signals.columns import DAY_S, Queries
from pixtag.state import (
    CONTEXT_NAMES,
    FEATURE_NAMES,
    HISTORY_NAMES,
    PIXEL_NAMES,
    TREND_LIKE,
    TREND_NAMES,
    State,
    StateConfig,
)
from pixtag.types import Post, PostLog, Sources
from worlds import START_AT, knowledge, state_of, world

TOLERANCE = 1e-3
"""Of logs of small sums, which are added up in another order in another block."""

VOCABULARY = sorted(TAGS)[:3]


def small_state(log: PostLog, **config) -> State:
    state = State(knowledge(VOCABULARY, width=WIDTH), StateConfig(**config))
    state.observe(log)
    return state


def said(state: State, queries: Queries, sources: Sources | None = None) -> list[dict]:
    """What the state says to each query, by names instead of numbers."""
    scored = state.score(queries, sources=sources)
    ids = state.log.post_ids
    return [
        {
            "context": scored.context[i],
            "features": {
                state.tags[t]: scored.features[i, c]
                for c, t in enumerate(scored.tag[i].tolist())
                if scored.filled[i, c]
            },
            "own": [ids[r] for r in scored.own_rows[i][scored.own_filled[i]]],
            "near": [ids[r] for r in scored.near_rows[i][scored.near_filled[i]]],
            "own_keys": scored.own_keys[i],
            "near_keys": scored.near_keys[i],
            "copies": {
                (name, ids[rows[i, slot]], state.tags[scored.tag[i, c]])
                for name, member, rows in (
                    ("own", scored.own_member, scored.own_rows),
                    ("near", scored.near_member, scored.near_rows),
                )
                for c, slot in np.argwhere(member[i]).tolist()
            },
        }
        for i in range(len(queries))
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


def one_by_one(state: State, queries: Queries, sources: Sources | None = None) -> list[dict]:
    order = np.random.default_rng(0).permutation(len(queries)).tolist()
    answers = {i: said(state, queries.take(np.array([i])), sources)[0] for i in order}
    return [answers[i] for i in range(len(queries))]


@settings(max_examples=40)
@given(small_logs(), st.sampled_from([0.0, 1.0, 7200.0]))
def test_a_block_is_the_same_as_one_by_one(log, shift_s):
    if len(log):
        state = small_state(log)
        queries = queries_about(log, np.arange(len(log)), shift_s=shift_s)
        assert_same(said(state, queries), one_by_one(state, queries))


def test_a_block_of_a_larger_world_is_the_same_as_one_by_one():
    log = world()
    state = state_of(log)
    queries = sampled(log, 60)
    queries = replace(queries, accepted=(("look1-2", "unheard of"), (), ("all1",)) * 20)
    assert_same(said(state, queries), one_by_one(state, queries))


@settings(max_examples=40)
@given(small_logs(), small_logs(prefix="q"), st.data())
def test_the_future_and_the_same_instant_change_nothing(past, future, data):
    """Whatever lies at or after a query's time may be anything."""
    if not len(past):
        return
    row = data.draw(st.integers(0, len(past) - 1))
    query = queries_about(past, [row])
    at = float(query.at[0])
    before = past.select(past.at < at)
    moved = np.where(np.isfinite(future.at), at + np.maximum(future.at - START_AT, 0.0), at)
    order = np.argsort(moved, kind="stable")
    later = replace(future.select(order), at=moved[order])
    state = small_state(before)
    expected = said(state, query)
    state.observe(later)
    assert_same(said(state, query), expected)
    assert_same(said(small_state(past), query), expected)


def test_permuted_altered_and_deleted_futures_of_a_larger_world_change_nothing():
    log = world()
    rng = np.random.default_rng(4)
    for row in (150, 400, 560):
        first = int(np.searchsorted(log.at, log.at[row]))
        rows = np.arange(first - 20, first)
        queries = queries_about(log, np.r_[rows[log.at[rows] < log.at[row]], row])
        expected = said(state_of(log), queries)
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
            assert_same(said(state_of(other), queries), expected)


@settings(max_examples=40)
@given(small_logs(), st.lists(st.booleans(), min_size=16, max_size=16))
def test_a_late_arrival_gives_the_state_of_a_sorted_log(log, is_late):
    if not len(log):
        return
    late = np.array(is_late)[: len(log)]
    state = small_state(log.select(~late))
    state.observe(log.select(late))
    queries = queries_about(log, np.arange(len(log)), shift_s=1.0)
    assert_same(said(state, queries), said(small_state(log), queries))
    assert state.tags == small_state(log).tags
    assert state.log.post_ids == log.post_ids


@settings(max_examples=40)
@given(small_logs(), st.lists(st.booleans(), min_size=16, max_size=16))
def test_retracted_posts_have_never_been(log, is_gone):
    if not len(log):
        return
    gone = np.array(is_gone)[: len(log)]
    state = small_state(log)
    queries = queries_about(log, np.arange(len(log)), shift_s=1.0)
    said(state, queries)
    state.retract([p for p, g in zip(log.post_ids, gone, strict=True) if g] + ["never seen"])
    expected = small_state(log.select(~gone))
    assert_same(said(state, queries), said(expected, queries))
    assert state.tags == expected.tags
    assert state.users == expected.users


def test_late_arrivals_and_retractions_in_a_larger_world():
    log = world()
    rng = np.random.default_rng(2)
    queries = sampled(log, 40)
    late = rng.random(len(log)) < 0.3
    state = state_of(log.select(~late), n_known=0)
    state.observe(log.select(late))
    assert_same(said(state, queries), said(state_of(log, n_known=0), queries))
    state.retract([p for p, is_late in zip(log.post_ids, late, strict=True) if is_late])
    assert_same(said(state, queries), said(state_of(log.select(~late), n_known=0), queries))


def test_a_post_observed_again_counts_once_with_its_new_tags():
    log = PostLog.of([Post("a", "ana", START_AT, ("x",)), Post("b", "ana", START_AT, ("y",))])
    state = state_of(log, n_known=0)
    state.observe(PostLog.of([Post("a", "ana", START_AT, ("z",))]))
    query = queries_about(log, [0], shift_s=60.0)
    (answer,) = said(state, query)
    assert names_said(answer) == {"y", "z"}
    assert sorted(answer["own"]) == ["a", "b"]


def ask(user: str | None, at: float, photo: np.ndarray | None = None, width: int = 1) -> Queries:
    rows = np.zeros((1, width), np.float32)
    if photo is not None:
        rows[0] = photo
    return Queries(np.array([at]), (user,), rows, np.array([photo is not None]))


def test_a_private_tag_is_offered_to_its_owner_alone():
    posts = [Post(f"p{i}", u, START_AT + i, ("secret", "shared")) for i, u in enumerate("ab")]
    posts += [Post(f"q{i}", u, START_AT + i, ("shared",)) for i, u in enumerate("cd")]
    state = state_of(PostLog.of(posts), n_known=0)
    for owner in "ab":
        assert "secret" in names_said(said(state, ask(owner, START_AT + 60.0))[0])
    for other in ("c", "a stranger", None):
        assert names_said(said(state, ask(other, START_AT + 60.0))[0]) == {"shared"}
    state.observe(PostLog.of([Post("r", "e", START_AT + 10.0, ("secret",))]))
    assert "secret" in names_said(said(state, ask("c", START_AT + 60.0))[0])
    assert "secret" not in names_said(said(state, ask("c", START_AT + 10.0))[0])


def test_what_is_popular_here_is_offered_beside_a_large_prior():
    elsewhere = [Post(f"e{i}", None, None, (f"far{i % 40}",)) for i in range(800)]
    names = [f"far{i}" for i in range(40)]
    known = knowledge(names, width=1)
    prior = PostLog.of(elsewhere)
    prior = replace(prior, embeddings=np.zeros((len(prior), 8), np.float16))
    state = State(replace(known, prior=prior), StateConfig())
    here = [
        Post(f"h{i}", f"user{i % 4}", START_AT + DAY_S * i, ("elbe", "mine")[: 1 + (i % 4 == 0)])
        for i in range(80)
    ]
    state.observe(PostLog.of(here))
    # Long after: nothing is rising.
    offered = names_said(said(state, ask(None, START_AT + 400 * DAY_S))[0])
    assert "elbe" in offered
    assert "mine" not in offered, "one person's"
    assert len(offered & set(names)) >= 30
    assert "elbe" not in names_said(said(state, ask(None, START_AT + 1.5 * DAY_S))[0])


@settings(max_examples=60)
@given(small_logs(), st.booleans())
def test_no_signal_offers_a_tag_of_fewer_than_three_people_to_others(log, has_accepted):
    if not len(log):
        return
    state = small_state(log)
    queries = queries_about(log, np.arange(len(log)), shift_s=1.0)
    if has_accepted:
        queries = replace(queries, accepted=(tuple(TAGS[:2]),) * len(queries))
    users = [*log.users, None]
    for i, answer in enumerate(said(state, queries)):
        people: dict[str, set[str]] = {}
        own: set[str] = set()
        for row in np.flatnonzero(log.at < queries.at[i]).tolist():
            user = users[log.user_of_post[row]]
            for tag in log.tags_of(row):
                people.setdefault(tag, set()).add(user or f"nobody {row}")
                if user == queries.users[i] is not None and np.isfinite(log.at[row]):
                    own.add(tag)
        public = {t for t, p in people.items() if len(p) >= 3}
        assert names_said(answer) <= public | own


def test_a_tag_first_seen_yesterday_is_offered_by_trend_and_by_pixels():
    log = world()
    last = float(log.at[-1])
    photo = np.random.default_rng(9).normal(size=log.embeddings.shape[1]).astype(np.float16)
    posts = [Post(f"new{i}", f"user{i}", last - i * 3600.0, ("brandnew",)) for i in range(3)]
    state = state_of(log)
    state.observe(PostLog.of(posts, {p.post_id: photo for p in posts}))
    width = log.embeddings.shape[1]
    for sources in (Sources(pixels=False), Sources(trend=False)):
        query = ask("a stranger", last + 3600.0, photo, width)
        assert "brandnew" in names_said(said(state, query, sources)[0]), sources.name
    assert "brandnew" not in state.knowledge.vocabulary


@settings(max_examples=25)
@given(small_logs())
def test_without_pixels_a_photo_says_nothing(log):
    if len(log):
        state = small_state(log)
        queries = queries_about(log, np.arange(len(log)), shift_s=1.0)
        blind = replace(
            queries,
            embeddings=np.zeros_like(queries.embeddings),
            has_photo=np.zeros_like(queries.has_photo),
        )
        silent = said(state, queries, Sources(pixels=False))
        assert_same(silent, said(state, blind))


@settings(max_examples=25)
@given(small_logs())
def test_without_history_everybody_is_a_stranger(log):
    if not len(log):
        return
    state = small_state(log)
    queries = queries_about(log, np.arange(len(log)), shift_s=1.0)
    strangers = replace(queries, users=(None,) * len(queries))
    silent = said(state, queries, Sources(history=False, trend=False))
    known = said(state, strangers, Sources(trend=False))
    flag = CONTEXT_NAMES.index("history_on")
    columns = [FEATURE_NAMES.index(name) for name in HISTORY_NAMES]
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
    state = state_of(log)
    queries = sampled(log, 40)
    columns = [FEATURE_NAMES.index(name) for name in (*TREND_NAMES, *TREND_LIKE)]
    silent = said(state, queries, Sources(trend=False))
    loud = said(state, queries)
    assert any(v[columns].any() for answer in loud for v in answer["features"].values())
    for answer in silent:
        assert answer["context"][CONTEXT_NAMES.index("trend_on")] == 0.0
        for values in answer["features"].values():
            assert np.abs(values[columns]).max() < 1e-5


def test_without_pixels_no_pixel_feature_speaks():
    log = world()
    state = state_of(log)
    names = [n for n in PIXEL_NAMES if n not in {"head_log_prob", "photos_log", *TREND_LIKE}]
    columns = [FEATURE_NAMES.index(name) for name in names]
    for answer in said(state, sampled(log, 40), Sources(pixels=False)):
        assert not answer["near"]
        for values in answer["features"].values():
            assert np.abs(values[columns]).max() < 1e-5


def test_accepted_tags_draw_in_what_goes_with_them():
    log = world()
    state = state_of(log)
    at = float(log.at[-1]) + 60.0
    query = ask("a stranger", at, width=log.embeddings.shape[1])
    column = FEATURE_NAMES.index("goes_with_accepted")
    (plain,) = said(state, query)
    (drawn,) = said(state, replace(query, accepted=(("look3-1",),)))
    assert all(values[column] == 0.0 for values in plain["features"].values())
    best = max(drawn["features"], key=lambda tag: drawn["features"][tag][column])
    assert best.startswith("look3-")


def test_a_fixed_label_set_offers_nothing_else():
    log = world()
    state = state_of(log, config=StateConfig(only_vocabulary=True))
    for answer in said(state, sampled(log, 30)):
        assert names_said(answer) <= set(state.knowledge.vocabulary)


def test_the_number_of_candidates_is_kept_and_the_strongest_stay():
    log = world()
    wide, narrow = state_of(log), state_of(log, config=StateConfig(max_candidates=10))
    queries = queries_about(log, np.arange(500, 530))
    hits = 0
    for i, (few, many) in enumerate(
        zip(said(narrow, queries), said(wide, queries), strict=True), start=500
    ):
        assert len(few["features"]) <= 10
        assert names_said(few) <= names_said(many)
        hits += len(names_said(few) & set(log.tags_of(i)))
    assert hits / sum(len(log.tags_of(i)) for i in range(500, 530)) > 0.5


def test_a_stranger_in_an_empty_world_is_offered_nothing():
    state = State(knowledge([]))
    (answer,) = said(state, ask(None, START_AT, width=24))
    assert answer["features"] == {}


def test_embeddings_of_another_encoder_are_refused():
    log = world()
    with pytest.raises(ShapeError, match="24 wide"):
        State(knowledge(VOCABULARY, width=WIDTH)).observe(log)


def test_posts_long_before_and_after_all_others_can_be_asked_about():
    log = world()
    state = state_of(log)
    width = log.embeddings.shape[1]
    (early,) = said(state, ask("user1", START_AT - 400 * DAY_S, width=width))
    assert not early["own"]
    (late,) = said(state, ask("user1", START_AT + 4000 * DAY_S, width=width))
    assert late["own"]
    assert all(np.isfinite(v).all() for v in late["features"].values())
