"""Evidence against a plain list of posts, whatever was observed, retracted and asked in between.

A store of another kind runs the same tests: add how to make it to `FACTORIES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings
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
from pixtag.evidence import NOBODY
from pixtag.types import Post, PostLog
from plain import PlainEvidence, posts_of, tick_of
from worlds import DAY_S, START_AT, knowledge

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
}
"""Ways to make empty evidence of what a model derives from posts."""


@pytest.fixture(params=sorted(FACTORIES))
def factory(request):
    return FACTORIES[request.param]


def check(view: Evidence, known: Knowledge, plain: PlainEvidence, tick: int, user: str | None):
    """Every number that signals read at a moment."""
    past = plain.before(tick)
    tags = [t for t in TAGS if view.id_of(t) >= 0]
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
    assert counts.uses.tolist() == [len(plain.carrying(t, tick)) for t in tags]
    assert counts.days.tolist() == [len(plain.days(t, tick)) for t in tags]
    assert counts.on_weekday.tolist() == [plain.on_weekday(t, tick) for t in tags]
    first = [plain.first(t, tick) for t in tags]
    assert [int(f) for f in counts.first if f < tick] == [f for f in first if f is not None]
    assert (counts.first >= tick).tolist() == [f is None for f in first]

    people = view.window(tag, np.repeat(who, len(tags)), ticks_, HOURS)
    for i, hours in enumerate(HOURS):
        assert people[i].tolist() == [plain.window(t, user, tick, hours) for t in tags], hours

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


def test_any_history_of_changes_gives_what_a_plain_list_gives(factory):
    machine = type("MachineOf", (Machine,), {"factory": staticmethod(factory)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=150, stateful_step_count=25, deadline=None)
    )
