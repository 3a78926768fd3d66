"""Many posts at once: batches that grow while that stays quick, and others who write meanwhile."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest

from pixtag.errors import InputError
from pixtag.store import Store
from pixtag.store import batches as batches_module
from pixtag.store.base import AddResult
from pixtag.store.batches import GATHERED_S, LEAST_POSTS, batches
from pixtag.types import Photo, Post

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(batches_module, "time", clock)
    return clock


def many(n: int, *, first: int = 0) -> Iterator[Post]:
    for i in range(first, first + n):
        yield Post(f"p{i * 7919 % 999_983}", f"u{i % 97}", float(i), (f"t{i % 89}", f"s{i % 7}"))


def sizes(n: int, clock: Clock, *, commit_s: float, most: int = 8000) -> list[int]:
    found: list[int] = []
    for batch in batches(many(n), most=most):
        found.append(len(batch))
        clock.now += commit_s
    return found


def test_batches_grow_while_keeping_them_is_quick(clock: Clock) -> None:
    assert sizes(24_000, clock, commit_s=0.1) == [1000, 2000, 4000, 8000, 8000, 1000]


def test_batches_stay_small_where_keeping_them_is_slow(clock: Clock) -> None:
    assert sizes(5000, clock, commit_s=1.5) == [1000] * 5
    assert sizes(5000, clock, commit_s=60.0) == [1000] * 5


def test_a_batch_shrinks_when_the_one_before_was_slow(clock: Clock) -> None:
    found: list[int] = []
    for batch in batches(many(19_000), most=32_000):
        found.append(len(batch))
        clock.now += 6.0 if len(batch) == 8000 else 0.1
    assert found == [1000, 2000, 4000, 8000, 2000, 2000]


def test_what_comes_slowly_is_kept_after_two_seconds(clock: Clock) -> None:
    def slow() -> Iterator[Post]:
        for post in many(10):
            clock.now += GATHERED_S / 2
            yield post

    assert [len(batch) for batch in batches(slow(), most=8000)] == [3, 3, 3, 1]


def test_long_names_make_a_batch_full(clock: Clock) -> None:
    names = (Post(f"p{i}", None, None, (str(i) * 500_000,)) for i in range(10))
    assert len(next(batches(names, most=8000))) < 20


def test_a_post_that_cannot_be_kept_is_refused_by_name() -> None:
    for halves in (("\ud83d", "\ude00"), ("a", "b\0")):
        with pytest.raises(InputError, match="cannot be kept") as caught:
            list(batches([Post("p", None, None, halves)], most=8000))
        assert repr(halves[1])[1:-1] in str(caught.value) or repr(halves[0])[1:-1] in str(
            caught.value
        )


def settings(store: Store) -> list[int]:
    with store.reading() as db:
        names = ("wal_autocheckpoint", "cache_size", "busy_timeout")
        return [db.execute(f"PRAGMA {name}").fetchone()[0] for name in names]


def test_a_large_import_is_whole_and_leaves_the_connection_as_it_was(tmp_path: Path) -> None:
    """Posts in no order of their ids; some come again changed, and again the same."""
    with Store.open(tmp_path / "s.sqlite", create=True) as store:
        before = settings(store)
        assert store.add_posts(many(9000)) == AddResult(added=9000)
        changed = [
            Post(p.post_id, "somebody", p.posted_at, ("new", *p.tags), (Photo("/a.jpg", "d"),))
            for p in many(4000)
        ]
        assert store.add_posts([*changed, *many(7000, first=4000)]) == AddResult(
            added=2000, updated=4000, unchanged=5000
        )
        assert settings(store) == before
        found = {post.post_id: post for post in store.posts()}
        assert found == {p.post_id: p for p in [*many(11_000), *changed]}
        assert store.damage() == []
        (n_changes,) = {row[0] for row in store._all("SELECT max(changed) FROM posts")}
        assert n_changes == store.revision


def test_an_import_that_fails_keeps_finished_batches_and_settings(tmp_path: Path) -> None:
    def broken() -> Iterator[Post]:
        yield from many(5000)
        raise OSError("the archive ends here")

    with Store.open(tmp_path / "s.sqlite", create=True) as store:
        before = settings(store)
        with pytest.raises(OSError, match="ends here"):
            store.add_posts(broken())
        assert settings(store) == before
        kept = store.summary().n_posts
        assert 1000 <= kept < 5000
        assert kept % LEAST_POSTS == 0
        assert store.add_posts(many(5000)) == AddResult(added=5000 - kept, unchanged=kept)


def test_a_large_import_inside_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    def rolled_back(store: Store) -> None:
        with store.writing():
            store.add_posts(many(5000))
            raise KeyError

    with Store.open(tmp_path / "s.sqlite", create=True) as store:
        with pytest.raises(KeyError):
            rolled_back(store)
        assert store.summary().n_posts == 0
        with store.writing():
            store.add_posts(many(5000))
        assert store.summary().n_posts == 5000


def test_others_write_while_an_import_goes_on(tmp_path: Path) -> None:
    """However quickly one batch follows the other."""
    path = tmp_path / "s.sqlite"
    is_over, is_under_way = threading.Event(), threading.Event()

    def endless() -> Iterator[Post]:
        for n, post in enumerate(many(900_000)):
            if is_over.is_set():
                return
            if n == 3000:
                is_under_way.set()
            yield post

    with Store.open(path, create=True) as store, Store.open(path) as other:
        importer = threading.Thread(target=store.add_posts, args=(endless(),))
        importer.start()
        try:
            assert is_under_way.wait(60)
            for i in range(5):
                other.add_posts([Post(f"mine{i}", "me", float(i), ("mine",))])
        finally:
            is_over.set()
            importer.join()
        assert len(list(other.posts(user_id="me"))) == 5
        assert other._db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_who_waits_for_another_writer_gets_in_when_they_pause(tmp_path: Path) -> None:
    """A pause of a few hundredths of a second is enough, where SQLite asks every tenth."""
    path = tmp_path / "s.sqlite"
    with Store.open(path, create=True) as store:
        holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        holder.execute("BEGIN IMMEDIATE")
        threading.Timer(0.5, holder.execute, ("ROLLBACK",)).start()
        assert store.add_posts(many(1)).added == 1
        holder.close()
