from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixtag.errors import InputError, ShapeError, StoreError
from pixtag.store import AddResult, Store, history, keys, outside, requests, served
from pixtag.store.schema import APPLICATION_ID, MIGRATIONS
from pixtag.types import OutsideCount, Photo, Post, Suggestion


def photo(name: str) -> Photo:
    return Photo(f"/photos/{name}.jpg", name * 8)


def post(post_id: str, user_id: str | None = "ana", at: float | None = 0.0, *tags: str, **more):
    return Post(post_id, user_id, at, tags, **more)


SOME = [
    post("c", "ana", 20.0, "sea", "sun", photos=(photo("x"), photo("y"))),
    post("a", "ben", 10.0, "sun", photos=(photo("x"),)),
    post("b", "ben", 10.0, "dusk"),
    post("u", None, None, "sea", photos=(photo("z"),)),
]


@pytest.fixture(params=["sqlite", "postgres"])
def address(request, tmp_path):
    """Where a new store is, on each engine: what follows with `store` holds for both."""
    if request.param == "postgres":
        return request.getfixturevalue("database")
    Store.open(tmp_path / "s.sqlite", create=True).close()
    return tmp_path / "s.sqlite"


@pytest.fixture
def store(address):
    with Store.open(address) as opened:
        yield opened


# What is put in comes out

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
# Times from 1700 to 2240 to the microsecond, as importers give them.
TIMES = st.none() | st.integers(-8_520_336_000_000_000, 8_520_336_000_000_000).map(
    lambda us: us / 1e6
)
PATHS = st.binary(max_size=8).map(lambda raw: "/" + os.fsdecode(raw.replace(b"\0", b"")))
DIGESTS = st.sampled_from(["", "aa", "bb", "cc"])
POSTS = st.lists(
    st.builds(
        Post,
        post_id=NAMES,
        user_id=st.none() | NAMES,
        posted_at=TIMES,
        tags=st.lists(NAMES, max_size=4, unique=True).map(tuple),
        photos=st.lists(st.builds(Photo, PATHS, DIGESTS), max_size=3).map(tuple),
    ),
    max_size=8,
)


def in_order(posts: list[Post]) -> list[Post]:
    latest = {one.post_id: one for one in posts}
    return sorted(
        latest.values(),
        key=lambda one: (-math.inf if one.posted_at is None else one.posted_at, one.post_id),
    )


def emptied(store: Store) -> None:
    store.remove_posts([one.post_id for one in store.posts()])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(POSTS)
def test_a_round_trip_is_exact(address, posts):
    with Store.open(address) as store:
        emptied(store)
        result = store.add_posts(posts)
        assert result.added + result.updated + result.unchanged == len(posts)
    with Store.open(address, read_only=True) as store:
        expected = in_order(posts)
        assert list(store.posts()) == expected
        log = store.log()
    assert log.post_ids == [one.post_id for one in expected]
    assert [log.tags_of(i) for i in range(len(log))] == [list(one.tags) for one in expected]
    assert [-math.inf if p.posted_at is None else p.posted_at for p in expected] == list(log.at)
    people = [*log.users, None]
    assert [people[i] for i in log.user_of_post] == [one.user_id for one in expected]
    assert len(set(log.tags)) == len(log.tags)


def test_posts_come_in_time_order_untimed_first_ties_by_name(store):
    store.add_posts(SOME)
    assert [one.post_id for one in store.posts()] == ["u", "a", "b", "c"]
    assert [one.post_id for one in store.posts(user_id="ben")] == ["a", "b"]
    assert list(store.posts(user_id="nobody")) == []
    log = store.log()
    assert log.n_untimed == 1
    assert log.users == ["ben", "ana"]
    assert log.tags == ["sea", "sun", "dusk"]  # in order of first appearance
    assert log.user_of_post.tolist() == [2, 0, 0, 1]
    assert log.embeddings.shape == (4, 0)


def test_the_same_post_twice_keeps_the_last_and_counts(store):
    old, new = post("a", "ana", 1.0, "sea"), post("a", "ana", 2.0, "sun")
    assert store.add_posts([old, old, new]) == AddResult(added=1, updated=1, unchanged=1)
    assert list(store.posts()) == [new]
    assert store.add_posts([new]) == AddResult(unchanged=1)
    assert store.known_posts(["a", "b"]) == {"a": new}
    assert store.add_posts([old, new]) == AddResult(updated=2)
    assert list(store.posts()) == [new]


def test_an_empty_store_has_an_empty_log(store):
    log = store.log("encoder")
    assert len(log) == 0
    assert log.tag_start.tolist() == [0]
    assert log.embeddings.shape == (0, 0)
    assert store.summary().first_at is None


def test_summary_counts_what_is_there(store):
    store.add_posts([*SOME, post("v", "ana", 30.0, photos=(Photo("/gone.jpg", ""),))])
    summary = store.summary()
    assert (summary.n_posts, summary.n_people, summary.n_tags, summary.n_tag_uses) == (5, 2, 3, 5)
    assert (summary.n_photos, summary.n_untimed) == (3, 1)
    assert (summary.first_at, summary.last_at) == (10.0, 30.0)
    assert summary.posts_per_person == (("ana", 2), ("ben", 2))


@pytest.mark.parametrize(
    "bad",
    [
        post("a", "ana", math.nan),
        post("a", "ana", math.inf),
        post("a", "ana", 1e11),
        post("a\ud800", "ana", 0.0),
        post("a", "an\0a", 0.0),
        post("a", "ana", 0.0, "t\udfff"),
    ],
)
def test_what_cannot_be_kept_exactly_is_refused_by_name(store, bad):
    with pytest.raises(InputError, match="post 'a"):
        store.add_posts([post("good"), bad])
    assert store.summary().n_posts == 0


def test_progress_counts_posts(store):
    seen: list[int] = []
    store.add_posts(SOME, on_progress=seen.append)
    assert seen == [1, 2, 3, 4]


def test_threads_may_share_a_store(store):
    def work(name: str) -> None:
        for i in range(40):
            store.add_posts([post(f"{name}{i}", name, float(i), "sea")])
            assert store.log().post_ids

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.summary().posts_per_person == (("a", 40), ("b", 40))


# Photos and embeddings


def vectors(*values: float) -> np.ndarray:
    return np.array([[value, 1.0] for value in values], np.float16)


def test_embedding_of_a_post_is_the_mean_over_its_photos(store):
    store.add_posts(SOME)
    missing = store.missing_photos("e")
    assert sorted(one.digest[0] for one in missing) == ["x", "y", "z"]
    store.put_embeddings("e", ["x" * 8, "y" * 8], vectors(1, 4))
    assert [one.digest[0] for one in store.missing_photos("e")] == ["z"]
    log = store.log("e")
    assert log.has_photo.tolist() == [False, True, False, True]
    assert log.embeddings[:, 0].tolist() == [0, 1, 0, 2.5]
    assert log.embeddings.dtype == np.float16
    # Another encoder has none of them.
    assert len(store.missing_photos("other")) == 3
    assert not store.log("other").has_photo.any()


def test_embeddings_are_replaced_and_must_fit(store):
    store.add_posts(SOME)
    store.put_embeddings("e", ["x" * 8], vectors(1))
    store.put_embeddings("e", ["x" * 8], vectors(7))
    assert store.log("e").embeddings[1, 0] == 7
    with pytest.raises(ShapeError, match="3 wide"):
        store.put_embeddings("e", ["y" * 8], np.zeros((1, 3), np.float16))
    with pytest.raises(ShapeError, match="2 photos"):
        store.put_embeddings("e", ["y" * 8, "z" * 8], vectors(1))
    with pytest.raises(InputError, match="not finite"):
        store.put_embeddings("e", ["y" * 8], vectors(math.inf))


def test_a_failed_photo_is_not_tried_again_until_it_reads_again(store):
    store.add_posts(SOME)
    store.record_failure("x" * 8, "image", "truncated")
    store.record_failure("/photos/y.jpg", "missing", "no such file")
    assert [one.digest[0] for one in store.missing_photos("e")] == ["z"]
    assert [(one.target, one.kind) for one in store.failures()] == [
        ("/photos/y.jpg", "missing"),
        ("xxxxxxxx", "image"),
    ]
    store.add_posts([post("c", "ana", 21.0, photos=(photo("y"),))])
    assert [one.digest[0] for one in store.missing_photos("e")] == ["y", "z"]
    store.clear_failures()
    assert len(store.missing_photos("e")) == 3


def test_a_photo_leads_to_its_latest_post(store):
    store.add_posts(SOME)
    found = store.find_post_by_digest("x" * 8)
    assert found is not None
    assert found.post_id == "c"
    assert store.find_post_by_digest("unknown") is None
    assert store.find_post_by_digest("") is None


@pytest.mark.parametrize("is_other", [False, True])
def test_the_mark_of_a_file_tells_whether_anything_changed_here_or_elsewhere(tmp_path, is_other):
    path, counts = tmp_path / "my.sqlite", [OutsideCount("a.example", "cat", 20_000, 1, 1, 2e9)]
    with Store.open(path, create=True) as store, Store.open(path) as other:
        before = store.mark
        assert store.mark == before
        outside.put_outside(other if is_other else store, counts)
        assert store.mark != before


def test_revision_grows_with_posts_and_embeddings_only(store):
    start = store.revision
    store.add_posts(SOME)
    with_posts = store.revision
    assert with_posts > start
    store.record_failure("x", "image", "broken")
    store.record_bundle("b", "d", 1.0, ["ana"])
    store.add_posts(SOME)
    assert store.revision == with_posts
    store.put_embeddings("e", ["x" * 8], vectors(1))
    assert store.revision > with_posts


def test_an_embedding_may_come_with_its_post(store):
    photos = (photo("x"), photo("y"))
    given = {"x" * 8: vectors(3)[0], "unshown": vectors(9)[0]}
    one = post("a", "ana", 1.0, "sea", photos=photos)
    start = store.cursor
    assert store.add_posts([one], encoder_digest="e", embeddings=given).added == 1
    assert store.log("e").embeddings[:, 0].tolist() == [3]
    assert store.summary().n_embeddings == 1
    assert store.changes_since(start).changed == ("a",)
    for wrong, kind in (({"x" * 8: vectors(math.nan)[0]}, InputError), (given, ShapeError)):
        with pytest.raises(kind):
            store.add_posts(
                [post("b", "ana", 1.0, photos=photos)],
                encoder_digest="e",
                embeddings={**wrong, "y" * 8: np.zeros(3 if kind is ShapeError else 2, "f2")},
            )
    with pytest.raises(InputError, match="encoder"):
        store.add_posts([one], embeddings=given)
    assert [one.post_id for one in store.posts()] == ["a"]


@pytest.mark.parametrize("encoder", [None, "e", "other"])
def test_a_log_of_some_posts_is_that_part_of_the_whole(store, encoder):
    store.add_posts(SOME)
    store.put_embeddings("e", ["x" * 8, "y" * 8], vectors(1, 4))
    whole = store.log(encoder)
    for ids in (["c", "u", "unknown"], ["a", "b", "c", "u"], [], ["b"]):
        part = store.log(encoder, ids)
        rows = [whole.post_ids.index(name) for name in part.post_ids]
        assert sorted(part.post_ids) == sorted({*ids} & {*whole.post_ids})
        assert rows == sorted(rows)
        assert [part.tags_of(i) for i in range(len(part))] == [whole.tags_of(i) for i in rows]
        people = [[*log.users, None] for log in (part, whole)]
        for i, row in enumerate(rows):
            assert people[0][part.user_of_post[i]] == people[1][whole.user_of_post[row]]
        np.testing.assert_array_equal(part.at, whole.at[rows])
        np.testing.assert_array_equal(part.has_photo, whole.has_photo[rows])
        np.testing.assert_array_equal(part.embeddings, whole.embeddings[rows])


@pytest.mark.parametrize("encoder", [None, "e"])
@pytest.mark.parametrize("n_posts", [1, 3, 4, 100])
def test_a_log_in_parts_is_the_whole_one(store, encoder, n_posts):
    assert list(store.logs(encoder, n_posts=n_posts)) == []
    store.add_posts(SOME)
    store.put_embeddings("e", ["x" * 8, "y" * 8], vectors(1, 4))
    whole = store.log(encoder)
    parts = list(store.logs(encoder, n_posts=n_posts))
    assert [len(part) for part in parts][:-1] == [n_posts] * (len(parts) - 1)
    assert [name for part in parts for name in part.post_ids] == whole.post_ids
    tags = [part.tags_of(i) for part in parts for i in range(len(part))]
    assert tags == [whole.tags_of(i) for i in range(len(whole))]
    people = [[*part.users, None][user] for part in parts for user in part.user_of_post]
    assert people == [[*whole.users, None][user] for user in whole.user_of_post]
    for name in ("at", "has_photo", "embeddings"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name))


def test_a_log_in_parts_is_of_one_state(address):
    """Also of posts that are later in it and come, go or change after the first part was read."""
    with Store.open(address) as store, Store.open(address) as other:
        store.add_posts(SOME)
        with closing(store.logs(n_posts=1)) as parts:
            first = next(parts).post_ids
            other.add_posts([post("d", "ana", 30.0, "new"), post("c", "ben", 5.0, "changed")])
            other.remove_posts(["a"])
            assert [*first, *(name for part in parts for name in part.post_ids)] == [*"uabc"]
        assert store.log().post_ids == [*"ucbd"]
        with closing(store.logs(n_posts=1)) as parts:
            next(parts)  # left in the middle
        assert store.add_posts([post("a", "ben", 10.0, "sun")]).added == 1


def test_a_store_whose_maker_was_killed_before_its_first_table_is_made(tmp_path):
    path = tmp_path / "s.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
    assert path.stat().st_size
    with pytest.raises(StoreError, match="empty"):
        Store.open(path, read_only=True)
    with Store.open(path) as store:
        assert store.add_posts([SOME[0]]).added == 1


# Following changes


def test_changes_name_what_to_read_again_and_what_to_drop(store):
    start = store.cursor
    store.add_posts(SOME)
    seq = store.cursor
    assert sorted(store.changes_since(start).changed) == ["a", "b", "c", "u"]
    store.add_posts([*SOME, post("b", "ben", 10.0, "dawn")])
    store.put_embeddings("e", ["x" * 8], vectors(1))
    found = store.changes_since(seq, ["a", "b", "c", "u"])
    assert (sorted(found.changed), found.gone) == (["a", "b", "c"], ())
    again = store.changes_since(found.last_seq)
    assert (again.changed, again.gone) == ((), ())
    assert store.last_removal == 0
    store.forget("ben")
    assert store.last_removal == store.revision
    after = store.changes_since(found.last_seq, ["a", "b", "c", "u"])
    assert (after.changed, after.gone) == ((), ("a", "b"))
    assert store.changes_since(start, ["b"]).gone == ("b",)
    assert store.changes_since(after.last_seq, ["a"]).gone == (), "told once"
    # A backup of an earlier time was restored: all is read again.
    seq = after.last_seq
    later = seq + 5 if isinstance(seq, int) else "9000:9000:"
    restored = store.changes_since(later, ["a", "c"])
    assert (sorted(restored.changed), restored.gone) == (["c", "u"], ("a",))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(POSTS, NAMES), max_size=6), st.data())
def test_a_reader_who_follows_the_changes_has_what_the_store_has(address, steps, data):
    with Store.open(address) as store:
        emptied(store)
        reader: dict[str, Post] = {}
        seq = store.cursor
        for step in steps:
            if isinstance(step, str):
                store.forget(step)
            else:
                store.add_posts(step)
            if data.draw(st.booleans()):
                found = store.changes_since(seq, reader)
                seq = found.last_seq
                for name in found.gone:
                    del reader[name]
                reader |= {p.post_id: p for p in store.posts() if p.post_id in found.changed}
                assert reader == {one.post_id: one for one in store.posts()}


def test_a_store_in_memory_is_shared_by_threads_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Store.in_memory() as store, Store.in_memory() as other:

        def work(name: str) -> None:
            for i in range(30):
                store.add_posts([post(f"{name}{i}", name, float(i), "sea")])
                assert store.log().post_ids

        threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.is_in_memory
        assert store.summary().posts_per_person == (("a", 30), ("b", 30))
        assert store.identity != other.identity
        assert other.summary().n_posts == 0
        assert store.forget("a").is_compacted
        assert store.remove_posts(["b0", "b1", "unknown"]) == 2
        assert store.summary().n_posts == 28
    assert list(tmp_path.iterdir()) == []


# Stores of earlier versions


def of_version_1(path: Path) -> Path:
    with sqlite3.connect(path) as db:
        db.execute(
            "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)"
        )
        db.executescript(MIGRATIONS[0])
        db.executescript(
            f"""
            INSERT INTO schema_version VALUES (1, '2026-01-01');
            INSERT INTO meta VALUES ('identity', 'one');
            UPDATE meta SET value = 7 WHERE name = 'revision';
            INSERT INTO users VALUES (1, 'ana');
            INSERT INTO tags VALUES (1, 'tea'), (2, 'sea');
            INSERT INTO posts VALUES (1, 'p', 1, 1000000);
            INSERT INTO tag_uses VALUES (1, 0, 1), (1, 1, 2), (1, 2, 1);
            PRAGMA application_id = {APPLICATION_ID};
            """
        )
    db.close()
    return path


@pytest.mark.parametrize("read_only", [True, False])
def test_an_older_store_is_brought_up_to_date_when_it_is_opened(tmp_path, read_only):
    path = of_version_1(tmp_path / "s.sqlite")
    with Store.open(path, read_only=read_only) as store:
        assert list(store.posts()) == [post("p", "ana", 1.0, "tea", "sea")]
        assert store.log().tags == ["tea", "sea"]
        assert (store.identity, store.revision) == ("one", 7)
        assert store.changes_since(0).changed == ("p",)
        assert store.changes_since(7).changed == ()
    with Store.open(path) as store:
        assert store.add_posts([post("p", "ana", 1.0, "tea")]).updated == 1
        assert store.changes_since(7).changed == ("p",)


def test_an_older_store_that_cannot_be_written_says_what_to_do(tmp_path, monkeypatch):
    path = of_version_1(tmp_path / "s.sqlite")
    monkeypatch.setattr("pixtag.store.schema._is_frozen", lambda _: True)
    assert_refused(path, "older Pixtag", read_only=True)


# Forgetting


def test_forgetting_leaves_nothing_of_the_person_and_all_of_the_others(tmp_path):
    path = tmp_path / "s.sqlite"
    secret = "kalliope_the_person"
    theirs = [
        post(
            f"private{i}",
            secret,
            float(i),
            f"signature{secret}{i}",
            "sea",
            photos=(photo(f"s{i}"),),
        )
        for i in range(300)
    ]
    with Store.open(path, create=True) as store:
        store.add_posts([*SOME, *theirs, post("shared", secret, 5.0, photos=(photo("x"),))])
        for one in store.missing_photos("e"):
            store.put_embeddings("e", [one.digest], np.ones((1, 640), np.float16))
        store.record_bundle("/bundles/b1", "digest", 9.0, [secret, "ana"])
        store.record_failure("/photos/s1.jpg", "image", "broken")
        store.photos_folder.mkdir()
        kept, gone = (store.photos_folder / f"{name}.jpg" for name in ("x" * 8, "s1" * 8))
        for copy in (kept, gone):
            copy.write_bytes(b"photo")
        (tmp_path / "s.sqlite.snapshot").mkdir()
        (tmp_path / "s.sqlite.snapshot" / "a.safetensors").write_bytes(b"derived")
        (tmp_path / "s.sqlite.snapshot-2.bin").write_bytes(b"derived")
        (tmp_path / "other.snapshot").write_bytes(b"not ours")
        revision = store.revision

        result = store.forget(secret)

        assert (result.posts, result.tag_uses) == (301, 600)
        assert (result.photos, result.embeddings) == (300, 300)
        assert [one.path for one in result.bundles] == ["/bundles/b1"]
        assert result.is_compacted
        assert result.bytes_after < result.bytes_before / 2
        assert store.revision > revision
        assert list(store.posts()) == in_order(SOME)
        assert store.log("e").has_photo.tolist() == [True, True, False, True]
        assert store.bundles_trained_on(secret) == []
        assert len(store.bundles_trained_on("ana")) == 1
        assert kept.exists()
        assert not gone.exists()
        # Nothing can be found in the files, even while the store is open.
        for file in tmp_path.iterdir():
            if file.is_file():
                assert secret.encode() not in file.read_bytes(), file
                assert b"private1" not in file.read_bytes(), file
    assert {file.name for file in tmp_path.iterdir()} == {
        "s.sqlite",
        "s.sqlite.photos",
        "other.snapshot",
    }


def test_forgetting_somebody_unknown_removes_nothing(store):
    store.add_posts(SOME)
    assert store.forget("nobody").posts == 0
    assert store.summary().n_posts == 4


def test_a_file_that_could_not_shrink_does_so_at_the_next_opening(tmp_path):
    path = tmp_path / "s.sqlite"
    with Store.open(path, create=True) as store:
        store.add_posts([post(f"p{i}", "kalliope", float(i), "sea") for i in range(500)])
        reader = sqlite3.connect(path)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM posts").fetchone()
    with Store.open(path, busy_timeout_s=0.1) as store:
        assert not store.forget("kalliope").is_compacted
        assert store.summary().n_posts == 0
    reader.close()
    Store.open(path).close()
    assert b"kalliope" not in path.read_bytes()


def test_forgetting_takes_all_that_is_kept_of_a_person_and_nothing_of_others(store):
    store.add_posts([*SOME, post("shared", "kim", 5.0, "odd", photos=(photo("x"), photo("k")))])
    store.add_posts([post("old", "kim", 6.0, photos=(photo("early"),))])
    for one in store.missing_photos("e"):
        store.put_embeddings("e", [one.digest], vectors(1))
    store.add_posts([post("old", "kim", 6.0, photos=(photo("late"),))])
    store.record_bundle("/b", "digest", 9.0, ["kim", "ana"])
    store.record_failure("/photos/k.jpg", "image", "broken")
    store.edit_lists("deny", ["sun"], user_id="kim", remove=False)
    store.edit_lists("deny", ["sea"], user_id="ana", remove=False)
    with store.writing() as db:
        made = "INSERT INTO served (name, user_name, served_at_us, at_us, model, revision, "
        made += "has_photo, n_own, suggestions) VALUES (?, ?, 0, 0, 'm', 1, ?, 0, '[]')"
        db.executemany(made, [("1", "kim", True), ("2", "ana", False)])
        query = "INSERT INTO feedback (served, tag, verdict, given_at_us) SELECT id, 'what?', ?, 0"
        db.execute(f"{query} FROM served WHERE name = ?", ("added", "1"))
    found = store.forget("kim")
    assert (found.posts, found.tag_uses, found.photos, found.embeddings) == (2, 1, 2, 2)
    assert [one.path for one in found.bundles] == ["/b"]
    assert found.had_lists
    assert list(store.posts()) == in_order(SOME)
    assert store.summary().n_embeddings == 3
    assert store.failures() == []
    assert store.lists("kim").deny == ()
    assert store.lists("ana").deny == ("sea",)
    assert store.bundles_trained_on("kim") == []
    with store.reading() as db:
        assert db.execute("SELECT name FROM served").fetchall() == [("2",)]
        assert db.execute("SELECT count(*) FROM feedback").fetchone() == (0,)


def test_posts_with_several_photos_in_any_order_get_their_own_means(store):
    many = [
        post(f"p{i}", "ana", 100.0 - i, photos=(photo(f"{i}a"), photo(f"{i}b"))) for i in range(4)
    ]
    store.add_posts(many)
    for i in range(4):
        digests = [shown.digest for shown in many[i].photos]
        store.put_embeddings("e", digests, vectors(10 * i, 10 * i + 2))
    assert store.log("e").embeddings[:, 0].tolist() == [31, 21, 11, 1]


def test_many_posts_at_once_are_as_few_at_a_time(store):
    many = [post(f"p{i}", None, float(i), "sea", photos=(photo(f"{i}"),)) for i in range(1200)]
    assert store.add_posts(many[:500]) == AddResult(added=500)
    changed = [post(f"p{i}", "ana", float(i), "sun") for i in range(400, 600)]
    assert store.add_posts([*many[300:], *changed]) == AddResult(700, 200, 200)
    assert list(store.posts()) == in_order([*many, *changed])


def test_what_servers_keep(store):
    key = keys.add_key(store, "phone", scopes=["read"], user="ana")
    with pytest.raises(InputError, match="phone"):
        keys.add_key(store, "phone")
    found = keys.find_key(store, key)
    assert (found.name, found.user, found.scopes) == ("phone", "ana", frozenset({"read"}))
    assert keys.revoke_key(store, "phone")
    assert keys.find_key(store, key) is None
    assert [one.name for one in keys.list_keys(store)] == ["phone"]
    request = requests.Request("owner", "k", b"\x00\xff", "ana")
    assert requests.find(store, request) is None
    requests.record(store, request, 201, "{}")
    assert requests.find(store, request) == requests.Done(True, 201, "{}")
    store.add_posts(SOME)
    shown = (Suggestion("sea", 0.6), Suggestion("sun", 0.2))
    rows = [served.ServedRow(n, "ana", 9.0, 8.0, "m", 3, True, shown) for n in ("s1", "s2")]
    served.add_served(store, rows)
    assert served.add_feedback(store, "s1", [("sea", "accepted"), ("sun", "accepted")])
    assert served.add_feedback(store, "s1", [("sun", "refused"), ("surf", "added")], user="ana")
    assert not served.add_feedback(store, "s1", [("sea", "refused")], user="ben")
    told = served.served_report(store, user="ana")
    assert (told.n_served, told.n_judged, told.n_kept, told.n_refused, told.n_added) == (
        2, 1, 1, 1, 1,
    )  # fmt: skip
    with store.reading() as db:
        assert db.execute("SELECT n_own FROM served").fetchall() == [(1,), (1,)]
    served.add_served(store, rows[:0], kept=1)
    assert served.served_report(store).n_served == 1
    counts = [OutsideCount("m.social", "sea", 19_000, n, 2, 19_000 * 86_400.0) for n in (5, 7)]
    assert outside.put_outside(store, counts) == 2
    assert outside.outside_counts(store) == (1, counts[1:])
    outside.note_fetch(store, "m.social", at=5.0)
    outside.note_fetch(store, "m.social", at=6.0, problem="away")
    (source,) = outside.outside_sources(store)
    assert (source.n_counts, source.tried_at, source.fetched_at) == (1, 6.0, 5.0)
    store.forget("ana")
    assert served.served_report(store).n_served == 0
    assert keys.list_keys(store) == []
    assert requests.find(store, request) is None


def test_what_a_person_uses_is_read_from_the_rows(store):
    store.add_posts([*SOME, post("v", "ana", None, "sea"), post("w", "ana", 5.0, "odd")])
    assert history.n_posts_of(store, "ana") == 3
    assert history.n_posts_of(store, "nobody") == 0
    assert history.tags_of(store, "ana", at_most=2) == [
        history.TagUse("sea", 2, 20.0, 20.0),
        history.TagUse("sun", 1, 20.0, 20.0),
    ]
    assert history.user_of(store, "a") == (True, "ben")
    assert history.user_of(store, "u") == (True, None)
    assert history.user_of(store, "none") == (False, None)
    store.add_posts([post("c", "ben", 20.0, "sun", "dusk")])
    assert [one.tag for one in history.tags_of(store, "ana", at_most=9)] == ["odd", "sea"]
    store.forget("ana")
    assert history.tags_of(store, "ana", at_most=9) == []
    with store.reading() as db:
        names = "SELECT name FROM {} ORDER BY name"
        assert db.execute(names.format("tags")).fetchall() == [("dusk",), ("sea",), ("sun",)]
        assert db.execute(names.format("users")).fetchall() == [("ben",)]
        query = """SELECT position, tags.name FROM tag_uses JOIN tags ON tags.id = tag
            JOIN posts ON posts.id = post WHERE post_id = ? ORDER BY position"""
        assert db.execute(query, ("c",)).fetchall() == [(0, "sun"), (1, "dusk")]
        query = "SELECT position, digest FROM photos JOIN posts ON posts.id = post"
        assert sorted(db.execute(query).fetchall()) == [(0, "x" * 8), (0, "z" * 8)]


def test_a_bundle_written_again_replaces_its_record(store):
    store.record_bundle("/b", "one", 1.0, ["ana"])
    store.record_bundle("/b", "two", None, ["ben"])
    assert store.bundles_trained_on("ana") == []
    (record,) = store.bundles_trained_on("ben")
    assert (record.bundle_digest, record.trained_until) == ("two", None)


# Stores that cannot be used


def assert_refused(path: Path, words: str, **options) -> None:
    with pytest.raises(StoreError, match=words) as caught, Store.open(path, **options) as store:
        store.log("e")
    assert str(path.name) in caught.value.message or str(path) in caught.value.message
    assert caught.value.hint


def test_an_address_of_another_database_is_named_without_its_password() -> None:
    with pytest.raises(StoreError, match="mysql://ana@db/posts is no store") as caught:
        Store.open("mysql://ana:secret@db/posts")
    assert "postgresql://" in caught.value.hint


def filled(path: Path, n_posts: int = 3000) -> Path:
    with Store.open(path, create=True) as store:
        store.add_posts(
            post(f"p{i}", f"u{i % 7}", float(i), f"t{i % 50}", photos=(photo(f"d{i}"),))
            for i in range(n_posts)
        )
    return path


def test_a_missing_store_is_not_made_by_reading(tmp_path):
    assert_refused(tmp_path / "none.sqlite", "there is no store")
    assert_refused(tmp_path / "none.sqlite", "there is no store", read_only=True)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreError, match=r"folder .*no for the store does not exist"):
        Store.open(tmp_path / "no" / "folder.sqlite", create=True)


def test_a_folder_a_text_and_anothers_database_are_no_stores(tmp_path):
    assert_refused(tmp_path, "is a folder")
    text = tmp_path / "notes.sqlite"
    text.write_text("Dear diary, " * 1000)
    assert_refused(text, "not a Pixtag store", create=True)
    assert text.read_text().startswith("Dear diary")
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE theirs (a)")
    db.close()
    assert_refused(other, "another program", create=True)
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    assert_refused(empty, "empty")
    Store.open(empty, create=True).close()
    Store.open(empty).close()


def test_a_newer_store_asks_for_an_upgrade(tmp_path):
    path = filled(tmp_path / "s.sqlite", 1)
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO schema_version VALUES (?, 'later')", (len(MIGRATIONS) + 1,))
    db.close()
    assert_refused(path, "newer Pixtag")


@pytest.mark.parametrize(
    "harm", ["DROP TABLE tag_uses", "DELETE FROM schema_version WHERE version > 1"]
)
def test_a_store_that_has_lost_a_part_is_damaged(tmp_path, harm):
    path = filled(tmp_path / "s.sqlite", 1)
    with sqlite3.connect(path) as db:
        db.execute(harm)
    db.close()
    with pytest.raises(StoreError, match="is damaged") as caught, Store.open(path) as store:
        list(store.posts())
    assert "backup" in caught.value.hint


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9])
def test_a_truncated_store_is_damaged_not_a_crash(tmp_path, share):
    path = filled(tmp_path / "s.sqlite")
    os.truncate(path, int(path.stat().st_size * share))
    assert_refused(path, "damaged|not a Pixtag store")


def test_a_time_that_is_none_is_damage_in_the_summary_too(tmp_path):
    path = filled(tmp_path / "s.sqlite", 3)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE posts SET posted_at_us = 'soon'")
    db.close()
    with Store.open(path) as store, pytest.raises(StoreError, match="damaged"):
        store.summary()


def test_flipped_bytes_never_crash(tmp_path):
    path = filled(tmp_path / "s.sqlite", 300)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        bad = bytearray(good)
        for place in rng.integers(0, len(bad), 20):
            bad[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        try:
            with Store.open(path, read_only=True) as store:
                store.log("e")
                list(store.posts())
                store.summary()
                store.failures()
                _ = store.revision
        except StoreError as error:
            assert error.hint  # noqa: PT017 - some flips hit nothing


def test_a_store_that_another_process_writes_to_says_so(tmp_path):
    path = filled(tmp_path / "s.sqlite", 3)
    code = """
        import sqlite3, sys
        db = sqlite3.connect(sys.argv[1], isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        print("locked", flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout.readline() == b"locked\n"
        with Store.open(path, busy_timeout_s=0.2) as store:
            with pytest.raises(StoreError, match="another process") as caught:
                store.add_posts([post("new")])
            assert "wait" in caught.value.hint
            assert store.summary().n_posts == 3  # reading goes on
        holder.communicate()
    with Store.open(path) as store:
        assert store.add_posts([post("new")]).added == 1


def test_a_store_opened_for_reading_refuses_changes(tmp_path):
    path = filled(tmp_path / "s.sqlite", 3)
    with Store.open(path, read_only=True) as store:
        for change in (
            lambda: store.add_posts([post("new")]),
            lambda: store.forget("u0"),
            lambda: store.record_failure("x", "y", "z"),
        ):
            with pytest.raises(StoreError, match="reading only"):
                change()
        assert store.summary().n_posts == 3


def test_a_store_on_a_disk_that_cannot_be_written_can_be_read(tmp_path):
    folder = tmp_path / "frozen"
    folder.mkdir()
    path = filled(folder / "s.sqlite", 3)
    path.chmod(0o444)
    folder.chmod(0o555)
    try:
        with Store.open(path, read_only=True) as store:
            assert store.summary().n_posts == 3
    finally:
        folder.chmod(0o755)


FILL = """
    import resource, signal, sys
    from pixtag.errors import StoreError
    from pixtag.store import Store
    from pixtag.types import Post

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Store.open(sys.argv[1], create=True) as store:
        store.add_posts([Post("first", "ana", 0.0, ("sea",))])
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
        try:
            store.add_posts(Post(f"p{i}", "ana", float(i), (f"t{i}",)) for i in range(30_000))
        except StoreError as error:
            print(error.message, "|", error.hint)
"""


def test_no_space_left_keeps_what_was_committed(tmp_path):
    path = tmp_path / "s.sqlite"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FILL), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "space left" in done.stdout
    with Store.open(path) as store:
        n_posts = store.summary().n_posts
        assert 1 <= n_posts < 30_001
        assert store.add_posts([post("p29999", "ana", 1.0)]).added == 1


ENDLESS = """
    import sys
    from pixtag.store import Store
    from pixtag.types import OutsideCount, Photo, Post, Suggestion

    def posts():
        for i in range(10**6):
            if i == 1500:
                print("going", flush=True)
            yield Post(f"p{i}", f"u{i % 5}", float(i), (f"t{i % 9}",), (Photo("/p", f"d{i}"),))

    with Store.open(sys.argv[1], create=True) as store:
        store.add_posts(posts())
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.05, 0.11])
def test_a_kill_in_the_middle_keeps_whole_batches(tmp_path, delay_s):
    path = tmp_path / "s.sqlite"
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(ENDLESS), str(path)], stdout=subprocess.PIPE
    ) as victim:
        assert victim.stdout.readline() == b"going\n"
        time.sleep(delay_s)
        victim.send_signal(signal.SIGKILL)
    with Store.open(path) as store:
        n_posts = store.summary().n_posts
        assert n_posts >= 1000
        assert n_posts % 1000 == 0
        kept = list(store.posts())
        assert [one.post_id for one in kept] == [f"p{i}" for i in range(n_posts)]
        assert all(one.tags and one.photos for one in kept)
        assert store.add_posts(kept) == AddResult(unchanged=n_posts)


def test_a_log_can_be_what_the_store_knew_at_a_moment(tmp_path: Path) -> None:
    with Store.open(tmp_path / "my.sqlite", create=True) as store:
        store.add_posts([Post("old", "ana", 1e9, ("tea",))])
        between = time.time() + 1e-3
        while time.time() <= between:
            pass
        store.add_posts([Post("late", "ana", 0.9e9, ("cup",)), Post("old", "ana", 1e9, ("pot",))])
        assert store.log(seen_before=between).post_ids == ["old"]
        assert store.log().post_ids == ["late", "old"]
