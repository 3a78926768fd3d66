"""Evidence against a plain list of posts, whatever was observed, retracted and asked in between.

A store of another kind runs the same tests: add how to make it to `FACTORIES`.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from asking import PEOPLE, TAGS, WIDTH, small_logs
from pixtag.errors import ShapeError
from pixtag.evidence import NOBODY, Postings, build, postings
from pixtag.evidence.postings import Segment
from pixtag.types import Post, PostLog
from plain import DAY_TICKS, PlainEvidence, posts_of, tick_of
from worlds import DAY_S, START_AT, knowledge, world

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixtag.evidence import Evidence
    from pixtag.signals import Knowledge
    from plain import Seen

VOCABULARY = sorted(TAGS)[:3]
HOURS = (1.0, 6.0, 24.0, 168.0)
NEVER = "nobody ever used it"

FACTORIES: dict[str, Callable[[Knowledge], object]] = {
    "memory": lambda known: known.evidence(),
    "memory, merged often": lambda known: known.evidence(),
}
"""Ways to make empty evidence of what a model derives from posts."""


@pytest.fixture(params=sorted(FACTORIES))
def factory(request, monkeypatch):
    if request.param == "memory, merged often":
        monkeypatch.setattr(postings, "TAIL_ROWS", 3)
        monkeypatch.setattr(postings, "GROWTH", 2)
    return FACTORIES[request.param]


class TestEvidence:
    """What evidence of every kind promises, one example each."""

    @staticmethod
    def of(factory, *posts: Post):
        evidence = factory(knowledge(VOCABULARY, width=WIDTH))
        evidence.observe(PostLog.of(posts))
        return evidence

    @staticmethod
    def counted(view: Evidence, tag: str, at: float) -> tuple[int, int, int]:
        tick = np.array([tick_of(at)])
        counts = view.counts(np.array([view.id_of(tag)]), tick)
        return int(counts.people[0]), int(counts.uses[0]), int(counts.days[0])

    def test_a_moment_sees_what_lies_strictly_before_it(self, factory):
        posts = [Post(f"p{i}", "ana", START_AT + DAY_S * i, ("x",)) for i in range(3)]
        view = self.of(factory, *posts).view()
        assert self.counted(view, "x", START_AT + DAY_S) == (1, 1, 1)
        assert self.counted(view, "x", START_AT + DAY_S + 0.01) == (1, 2, 2)
        assert self.counted(view, "x", START_AT - 1e9) == (0, 0, 0)

    def test_each_post_of_nobody_is_a_person_of_its_own_and_nobodys_history(self, factory):
        posts = [Post(f"p{i}", None, START_AT + i, ("x",)) for i in range(4)]
        view = self.of(factory, *posts).view()
        assert self.counted(view, "x", START_AT + DAY_S) == (4, 4, 4)
        assert view.own(np.array([NOBODY]), np.array([tick_of(START_AT + 9)])).n.tolist() == [0]

    def test_a_post_without_a_time_was_before_everything_and_on_no_day(self, factory):
        posts = [Post("old", "ana", None, ("x",)), Post("new", "ana", START_AT, ("x",))]
        view = self.of(factory, *posts).view()
        assert self.counted(view, "x", START_AT - 1e9) == (1, 1, 0)
        own = view.own(np.array([view.people.get("ana")]), np.array([tick_of(START_AT + 1)]))
        assert own.tick.tolist() == [tick_of(START_AT)]

    def test_a_view_never_changes(self, factory):
        evidence = self.of(factory, Post("a", "ana", START_AT, ("x",)))
        before = evidence.view()
        evidence.observe(PostLog.of([Post("b", "bo", START_AT, ("x", "fresh"))]))
        after = evidence.view()
        evidence.retract(["a"])
        late = START_AT + DAY_S
        assert [self.counted(v, "x", late)[0] for v in (before, after, evidence.view())] == [
            1,
            2,
            1,
        ]
        assert before.id_of("fresh") == NOBODY
        assert after.id_of("fresh") != NOBODY

    def test_a_forgotten_person_has_never_been(self, factory):
        posts = [Post(f"p{u}", u, START_AT, ("x",)) for u in "abc"]
        evidence = self.of(factory, *posts)
        evidence.forget("b")
        evidence.forget("somebody else")
        assert self.counted(evidence.view(), "x", START_AT + DAY_S) == (2, 2, 2)

    def test_embeddings_of_another_width_are_refused(self, factory):
        with pytest.raises(ShapeError, match="24 wide"):
            factory(knowledge(VOCABULARY, width=WIDTH)).observe(world())


def check(view: Evidence, known: Knowledge, plain: PlainEvidence, tick: int, user: str | None):
    """Every number that signals read at a moment."""
    past = plain.before(tick)
    tags = sorted((t for t in TAGS if view.id_of(t) >= 0), key=view.id_of)
    tag = np.array([view.id_of(t) for t in tags], np.int64)
    ticks_ = np.full(len(tags), tick)
    one, who = np.array([tick]), np.array([NOBODY if user is None else view.people.get(user)])

    assert view.n_posts == len(plain.posts)
    assert {t for p in plain.posts.values() for t in p.tags} <= set(view.tags[: view.n_tags])
    assert view.id_of(NEVER) == NOBODY
    totals = view.totals(one)
    assert totals.posts.tolist() == [len(past)]
    assert view.lived_days(one)[0] == pytest.approx(plain.lived_days(tick))

    counts = view.counts(tag, ticks_)
    assert counts.people.tolist() == [len(plain.people(t, tick)) for t in tags]
    assert view.people_with(tag, ticks_).tolist() == counts.people.tolist()
    named = [{p.user for p in plain.carrying(t, tick)} - {None} for t in tags]
    assert view.named_with(tag, ticks_).tolist() == [len(users) for users in named]
    today = plain.before(tick - tick % DAY_TICKS)
    assert view.n_people(tick) == len({p.user for p in today} - {None})
    assert counts.uses.tolist() == [len(plain.carrying(t, tick)) for t in tags]
    assert counts.days.tolist() == [len(plain.days(t, tick)) for t in tags]
    assert counts.on_weekday.tolist() == [plain.on_weekday(t, tick) for t in tags]
    first = [plain.first(t, tick) for t in tags]
    assert [int(f) for f in counts.first if f < tick] == [f for f in first if f is not None]
    assert (counts.first >= tick).tolist() == [f is None for f in first]

    people = view.window(tag, np.repeat(who, len(tags)), ticks_, HOURS)
    for i, hours in enumerate(HOURS):
        assert people[i].tolist() == [plain.window(t, user, tick, hours) for t in tags], hours
    in_any_order = view.window(tag[::-1], np.repeat(who, len(tags)), ticks_, HOURS)
    assert in_any_order.tolist() == people[:, ::-1].tolist()

    lately, people = view.people_lately(tick, HOURS)
    for i, hours in enumerate(HOURS):
        of_tag = {t: plain.window(t, None, tick, hours) for t in tags}
        found = dict(zip([view.tags[t] for t in lately], people[i].tolist(), strict=True))
        assert found == {t: n for t, n in of_tag.items() if t in found}
        assert {t for t, n in of_tag.items() if n} <= set(found)

    check_own(view, plain, tick, user)
    check_tags(view, plain, tick, tags, tag)
    check_photos(view, known, plain, tick, tags, tag)


def check_own(view: Evidence, plain: PlainEvidence, tick: int, user: str | None):
    own = view.own(np.array([NOBODY if user is None else view.people.get(user)]), np.array([tick]))
    expected = plain.own(user, tick)
    assert own.tick.tolist() == [p.tick for p in expected]
    assert [tuple(view.tags_of(s)) for s in own.slot.tolist()] == [p.tags for p in expected]
    assert own.n.tolist() == [len(expected)]
    assert own.n_tags.tolist() == [len(p.tags) for p in expected]
    assert own.place.tolist() == list(range(len(expected)))
    assert view.at(own.slot) == pytest.approx([p.at for p in expected], abs=0.01)
    assert (own.photo >= 0).tolist() == [p.photo is not None for p in expected]
    uses = [(i, t) for i, p in enumerate(expected) for t in p.tags]
    assert [(i, view.tags[t]) for i, t in zip(own.post, own.tag, strict=True)] == uses


def check_tags(view: Evidence, plain: PlainEvidence, tick: int, tags: list[str], tag):
    for limit in (100, 2):
        pair, slot = view.carrying(tag, np.full(len(tags), tick), limit=limit)
        for i, name in enumerate(tags):
            found = [(int(view.tick[s]), tuple(view.tags_of(s))) for s in slot[pair == i].tolist()]
            expected = [(p.tick, p.tags) for p in plain.carrying(name, tick)][-limit:]
            assert found == expected, (name, limit)

    def read(place: np.ndarray) -> list[list[int]]:
        pair, slot = view.carrying(tag[place], np.full(len(place), tick), limit=100)
        return [view.tick[slot[pair == i]].tolist() for i in range(len(place))]

    kept = view.kept_of("ticks", tag, view.uses_with(tag, np.full(len(tags), tick)), read)
    assert kept == [[p.tick for p in plain.carrying(name, tick)] for name in tags]

    people = plain.popular(tick)
    popular = [view.tags[t] for t in view.popular(tick, limit=100)]
    assert set(popular) == set(people)
    assert [people[t] for t in popular] == sorted(people.values(), reverse=True)
    expected = {t for found in plain.rising(tick, HOURS[2:], 0.5) for t in found}
    rising = view.rising(tick, hours=HOURS[2:], shrink=0.5, limit=100)
    assert {view.tags[t] for t in rising} == expected
    question, used = view.just_used(np.array([tick]))
    assert not question.any()
    lately = [t for p in plain.before(tick)[-128:] if p.is_timed for t in p.tags]
    assert sorted(view.tags[t] for t in used) == sorted(lately)


def check_photos(view: Evidence, known: Knowledge, plain: PlainEvidence, tick: int, tags, tag):
    def projected(posts: list[Seen]) -> np.ndarray:
        rows = [p.photo for p in posts if p.photo is not None]
        return known.head.project(np.array(rows, np.float32).reshape(-1, WIDTH))

    past = plain.before(tick)
    seen = np.flatnonzero(np.asarray(view.photo_tick) < tick)
    assert (view.tick[view.photo_slot[seen]] == view.photo_tick[seen]).all()
    if view.photos_in_order:
        assert (np.diff(view.photo_tick) >= 0).all()
    photo = known.head.project(np.ones((1, WIDTH), np.float32))[0]
    alike = np.sort(np.asarray(view.vectors)[seen] @ photo)
    assert alike == pytest.approx(np.sort(projected(past) @ photo), abs=1e-5)
    many = np.full(len(tags), tick)
    n = view.photos_with(tag, many)
    for limit in (100, 2):
        pair, row = view.last_photos(tag, many, limit=limit)
        for i, name in enumerate(tags):
            shown = [p for p in plain.carrying(name, tick) if p.photo is not None]
            assert n[i] == len(shown)
            found = np.asarray(view.vectors)[row[pair == i]]
            assert found == pytest.approx(projected(shown[-limit:]), abs=1e-5), (name, limit)


HOURS_OF_POSTS = st.none() | st.integers(0, 400).map(lambda q: START_AT + 1800.0 * q)
LOGS = small_logs(max_posts=6)


class Machine(RuleBasedStateMachine):
    """Posts come and go in any order; views are asked at any time, also old ones."""

    factory: Callable[[Knowledge], object]

    @initialize()
    def start(self) -> None:
        self.known = knowledge(VOCABULARY, width=WIDTH)
        self.evidence = type(self).factory(self.known)
        self.plain = PlainEvidence()
        self.frozen: list[tuple[Evidence, PlainEvidence]] = []

    @rule(log=LOGS, place=st.integers(0, 4))
    def observe(self, log: PostLog, place: int) -> None:
        """In any order of time; ids come again, with other people, times, tags and photos."""
        ids = [f"{p}-{place}" for p in log.post_ids]
        log = PostLog(**{**vars(log), "post_ids": ids})
        self.evidence.observe(log)
        self.plain.observe(posts_of(log))

    @precondition(lambda self: self.plain.posts)
    @rule(data=st.data())
    def replace(self, data) -> None:
        old = data.draw(st.sampled_from(sorted(self.plain.posts)))
        at, user = data.draw(HOURS_OF_POSTS), data.draw(st.sampled_from([*PEOPLE, None]))
        tags = data.draw(st.lists(st.sampled_from(TAGS), unique=True, max_size=3))
        log = PostLog.of([Post(old, user, at, tuple(tags))])
        self.evidence.observe(log)
        self.plain.observe(posts_of(log))

    @precondition(lambda self: self.plain.posts)
    @rule(data=st.data())
    def retract(self, data) -> None:
        some = st.lists(st.sampled_from(sorted(self.plain.posts)), max_size=5)
        ids = data.draw(some)
        self.evidence.retract([*ids, "never seen"])
        self.plain.retract(ids)

    @rule(user=st.sampled_from([*PEOPLE, "a stranger"]))
    def forget(self, user: str) -> None:
        self.evidence.forget(user)
        self.plain.forget(user)

    @rule()
    def freeze(self) -> None:
        posts = list(self.plain.posts.values())
        self.frozen.append((self.evidence.view(), PlainEvidence(posts)))

    @rule(data=st.data())
    def without(self, data) -> None:
        ids = data.draw(st.lists(st.sampled_from([*sorted(self.plain.posts), "none"]), max_size=3))
        rest = PlainEvidence([p for i, p in self.plain.posts.items() if i not in ids])
        self.frozen.append((self.evidence.without(ids), rest))

    @rule(
        at=HOURS_OF_POSTS,
        shift=st.sampled_from([0.0, 0.004, 0.01, 1.0, 3600.0, DAY_S]),
        user=st.sampled_from([*PEOPLE, "a stranger", None]),
    )
    def ask(self, at: float | None, shift: float, user: str | None) -> None:
        tick = tick_of((START_AT if at is None else at) + shift)
        check(self.evidence.view(), self.known, self.plain, tick, user)
        for view, plain in self.frozen[-3:]:
            check(view, self.known, plain, tick, user)

    @invariant()
    def all_is_known_in_the_end(self) -> None:
        if hasattr(self, "plain"):
            assert self.evidence.view().n_posts == len(self.plain.posts)
            assert set(self.evidence.post_ids) == set(self.plain.posts)


def same_views(one: Evidence, other: Evidence) -> None:
    for name in (f.name for f in fields(one)):
        values = [getattr(view, name) for view in (one, other)]
        if isinstance(values[0], np.ndarray):
            is_close = np.allclose if name == "vectors" else np.array_equal
            assert is_close(*values), name
        elif isinstance(values[0], Postings):
            every = [np.concatenate([s.packed for s in v.segments or NONE]) for v in values]
            np.testing.assert_array_equal(*map(np.sort, every), err_msg=name)
            entries = [{*zip(*pairs_of(v), strict=True)} for v in values]
            assert entries[0] == entries[1], name


def pairs_of(value: Postings) -> tuple[list[int], list[int]]:
    packed = np.concatenate([s.packed for s in value.segments or NONE])
    return packed.tolist(), np.concatenate([s.entry for s in value.segments or NONE]).tolist()


NONE = (Segment(np.zeros(0, np.int64), np.zeros(0, np.int64)),)


@settings(max_examples=60)
@given(small_logs(), st.integers(1, 9))
def test_all_posts_in_parts_are_as_one_by_one(log: PostLog, n_parts: int) -> None:
    """People, ties, posts of nobody and without a time, photos: whatever the parts are."""
    derived = knowledge(VOCABULARY, width=WIDTH)
    of_parts, whole, singly = (derived.evidence() for _ in range(3))
    cut = np.array_split(np.arange(len(log)), n_parts)
    of_parts.observe_all(log.select(rows) for rows in cut)
    whole.observe(log)
    for row in range(len(log)):
        singly.observe(log.select(np.array([row])))
    assert list(of_parts.post_ids) == list(singly.post_ids)
    for one in (whole, singly):
        same_views(of_parts.view(), one.view())


def test_people_are_cut_into_parts_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    log = world()
    whole = knowledge(VOCABULARY).evidence(log).view()
    monkeypatch.setattr(build, "_USES_AT_ONCE", 7)
    same_views(whole, knowledge(VOCABULARY).evidence(log).view())


def test_posts_in_parts_that_cannot_be_taken_leave_nothing() -> None:
    log = world()
    evidence = knowledge(VOCABULARY).evidence()
    wrong = replace(log, embeddings=np.zeros((len(log), 3), np.float16))
    with pytest.raises(ShapeError):
        evidence.observe_all([log.select(np.arange(300)), wrong.select(np.arange(300, 600))])
    assert (evidence.view().n_posts, list(evidence.post_ids)) == (0, [])
    evidence.observe_all([log.select(np.arange(300)), log.select(np.arange(300, len(log)))])
    same_views(evidence.view(), knowledge(VOCABULARY).evidence(log).view())
    evidence.observe_all([log.select(np.arange(9))])  # known: each takes the place of itself
    assert evidence.view().n_posts == len(log)


def test_any_history_of_changes_gives_what_a_plain_list_gives(factory):
    machine = type("MachineOf", (Machine,), {"factory": staticmethod(factory)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=150, stateful_step_count=25, deadline=None)
    )
