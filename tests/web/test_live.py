"""A real server: what it acknowledged outlives it, two of them follow each other, keys and all."""

from __future__ import annotations

import json
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest

import handmade
import servers
from pixtag.client import Client, KeyRefusedError, MissingError, ServiceError
from pixtag.store import Store
from pixtag.store.served import served_report


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handmade.bundle_file(tmp_path_factory.mktemp("bundles") / "bundle")


@pytest.fixture(scope="session")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handmade.photo(tmp_path_factory.mktemp("photos") / "sky.jpg", "sky", seed=3)


def send_until_killed(
    server: servers.Running, name: str, sky: Path, kill: Callable[[threading.Event], None]
) -> tuple[list[str], int]:
    """Publish and give feedback until the server dies; what was acknowledged.

    `kill` is told when the first post was.
    """
    posts: list[str] = []
    n_feedback, is_first_kept = 0, threading.Event()
    killer = threading.Thread(target=kill, args=(is_first_kept,))
    with Client(server.url, retries=0) as client:
        killer.start()
        try:
            while True:
                photos = [sky] if len(posts) % 3 == 0 else []
                done = client.post(
                    ["kite"], user="ana", photos=photos, post_id=f"{name}-{len(posts)}"
                )
                posts.append(done.post_id)
                is_first_kept.set()
                found = client.suggest(user="ana")
                client.feedback(found.id, accepted=["kite"])
                n_feedback += 1
        except ServiceError:
            pass
    killer.join()
    return posts, n_feedback


def check_kills(tmp_path: Path, bundle: Path, sky: Path, n_kills: int) -> None:
    rng, path = random.Random(6), tmp_path / "s.sqlite"
    acknowledged: list[str] = []
    n_feedback = 0
    for turn in range(n_kills):
        with servers.running(path, "--model", bundle) as server:

            def kill(
                is_first_kept: threading.Event, turn: int = turn, server: servers.Running = server
            ) -> None:
                if turn % 2:  # at any moment, or at any after something was acknowledged
                    is_first_kept.wait(60.0)
                threading.Event().wait(rng.uniform(0.0, 0.6))
                server.process.send_signal(signal.SIGKILL)

            posts, n = send_until_killed(server, f"turn{turn}", sky, kill)
        acknowledged += posts
        n_feedback += n
    assert acknowledged
    encoder = handmade.encoder().digest
    with Store.open(path, read_only=True) as store:
        kept = {post.post_id: post for post in store.posts()}
        assert set(acknowledged) <= set(kept)
        shown = [name for name in acknowledged if kept[name].photos]
        assert store.log(encoder, shown).has_photo.all()
        report = served_report(store)
        assert n_feedback <= report.n_judged <= n_feedback + n_kills


def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path, bundle: Path, sky: Path) -> None:
    check_kills(tmp_path, bundle, sky, 2)


@pytest.mark.slow
def test_what_was_acknowledged_outlives_a_hundred_kills(
    tmp_path: Path, bundle: Path, sky: Path
) -> None:
    check_kills(tmp_path, bundle, sky, 100)


@pytest.fixture
def pair(tmp_path: Path, bundle: Path) -> Generator[tuple[Client, Client]]:
    """Clients of two servers of one store."""
    path = tmp_path / "s.sqlite"
    with (
        servers.running(path, "--model", bundle) as one,
        servers.running(path, "--model", bundle) as other,
        Client(one.url) as a,
        Client(other.url) as b,
    ):
        yield a, b


def test_two_servers_follow_each_other(pair: tuple[Client, Client], sky: Path) -> None:
    for i, (one, other) in enumerate((pair, pair[::-1], pair)):
        one.post([f"kite{i}"], user="ana", photos=[sky], post_id=f"p{i}")
        assert f"kite{i}" in other.suggest(sky, user="ana", k=10).tags
    found = pair[0].suggest(user="ana")
    pair[0].feedback(found.id, accepted=found.tags[:1])
    pair[1].feedback(found.id, refused=found.tags[:1])  # once feedback is given, all know of it
    pair[1].forget("ana")
    assert not {"kite0", "kite1", "kite2"} & set(pair[0].suggest(sky, user="ana", k=10).tags)
    with pytest.raises(MissingError):
        pair[0].history("ana")
    with pytest.raises(MissingError):
        pair[0].feedback(found.id, accepted=["kite0"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_it_is_told_to_after_what_is_being_answered(
    tmp_path: Path, bundle: Path, sky: Path, number: int
) -> None:
    path = tmp_path / "s.sqlite"
    with servers.running(path, "--model", bundle) as server, Client(server.url) as client:
        for _ in range(5):
            client.suggest(sky)
        said = server.stop(number)
        assert server.process.returncode == 0
        assert said == "stopped; everything is kept\n"
    with Store.open(path, read_only=True) as store:
        assert served_report(store).n_served == 5  # the last ones too


GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connected(server: servers.Running, sent: bytes, patience_s: float = 60.0) -> socket.socket:
    """A connection that has sent something, and nothing since."""
    place = "127.0.0.1", int(server.url.rpartition(":")[2])
    connection = socket.create_connection(place, patience_s)
    connection.sendall(sent)
    return connection


@pytest.mark.parametrize("sent", [GET, b"", GET[:9]], ids=["answered", "nothing", "a part"])
def test_idle_connections_keep_nobody_out(tmp_path: Path, bundle: Path, sent: bytes) -> None:
    with servers.running(tmp_path / "s.sqlite", "--model", bundle) as server, ExitStack() as idle:
        for _ in range(400):
            idle.enter_context(connected(server, sent, 10.0))  # a full server frees a place later
        with urlopen(f"{server.url}/healthz", timeout=10) as answer:
            assert answer.status == 200


@pytest.mark.slow
def test_a_connection_that_sends_nothing_is_closed(tmp_path: Path, bundle: Path) -> None:
    with (
        servers.running(tmp_path / "s.sqlite", "--model", bundle) as server,
        connected(server, b"") as bare,
        connected(server, GET[:9]) as begun,
    ):
        assert bare.recv(1) == b""
        assert begun.recv(1) == b""


@pytest.mark.parametrize(
    "sent", ["Transfer-Encoding: chunked\r\n\r\nzz\r\n", "Content-Length: 9\r\n\r\nabc"]
)
def test_who_still_reads_is_told_of_a_body_that_broke_off(
    tmp_path: Path, bundle: Path, sent: str
) -> None:
    head = "POST /api/v1/suggest HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
    with (
        servers.running(tmp_path / "s.sqlite", "--model", bundle) as server,
        connected(server, f"{head}X-Request-Id: mine-1\r\n{sent}".encode()) as connection,
    ):
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answer:
            said = answer.read().decode()
    assert said.startswith("HTTP/1.1 400 ")
    assert "\r\ncontent-type: application/problem+json\r\nx-request-id: mine-1\r\n" in said


def test_connections_leave_files_to_the_store_where_the_system_allows_few() -> None:
    said = """import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (300, {hard}))
from pixtag.web.server import _room_for_connections
print(_room_for_connections(), *resource.getrlimit(resource.RLIMIT_NOFILE))"""

    def room(hard: int) -> list[int]:
        command = [sys.executable, "-c", said.format(hard=hard)]
        return [int(n) for n in subprocess.check_output(command, text=True).split()]

    assert room(1200) == [688, 1200, 1200]
    assert room(600) == [300, 600, 600]


def test_a_port_that_is_taken_is_told(tmp_path: Path, bundle: Path, pixtag) -> None:
    with servers.running(tmp_path / "s.sqlite", "--model", bundle) as server:
        port = server.url.rpartition(":")[2]
        done = pixtag("serve", "--port", port, "--store", "s.sqlite", "--model", bundle)
        assert done.returncode == 2
        assert f"cannot listen at 127.0.0.1:{port}" in done.stderr
        assert "hint: choose another one" in done.stderr


def test_a_first_visit_needs_no_store(tmp_path: Path, bundle: Path, pixtag) -> None:
    home = {"XDG_DATA_HOME": str(tmp_path / "data")}
    store = tmp_path / "data" / "pixtag" / "posts.sqlite"
    store.parent.mkdir(parents=True)
    with servers.running(store, "--model", bundle) as server, Client(server.url) as client:
        assert client.suggest().user is None
    assert "0 posts" not in pixtag("posts", env=home).stderr
    assert store.exists()


def test_keys_are_made_used_and_revoked_while_it_runs(tmp_path: Path, bundle: Path, pixtag) -> None:
    path = tmp_path / "s.sqlite"
    made = pixtag("keys", "add", "phone", "--user", "ana", "--store", path)
    key = made.stdout.strip()
    assert re.fullmatch(r"pixtag_[0-9A-Za-z]{49}", key)
    assert key not in made.stderr
    with Store.open(path, read_only=True) as store, store.reading() as db:
        assert key not in repr(db.execute("SELECT * FROM keys").fetchall())
    with servers.running(path, "--model", bundle, "--require-key") as server:
        with Client(server.url, key) as client:
            assert client.post(["x1"]).user == "ana"
            with pytest.raises(MissingError):
                client.history("bo")
            assert pixtag("keys", "revoke", "phone", "--store", path).returncode == 0
            with pytest.raises(KeyRefusedError):
                client.history("ana")
        again = pixtag("keys", "add", "phone", "--store", path)
        assert again.returncode == 2
        assert "hint: choose another name" in again.stderr
    (row,) = json.loads(pixtag("keys", "list", "--store", path, "--json").stdout)["keys"]
    assert (row["name"], row["scopes"], row["user"]) == ("phone", ["read", "write"], "ana")
    assert row["revoked_at"]
    assert "phone" in pixtag("keys", "--store", path).stdout


def test_the_report_tells_what_became_of_suggestions(tmp_path: Path, bundle: Path, pixtag) -> None:
    path = tmp_path / "s.sqlite"
    with servers.running(path, "--model", bundle) as server, Client(server.url) as client:
        for i in range(4):
            client.post(["kite", "dune"], user="ana", post_id=f"p{i}")
        for i in range(10):
            found = client.suggest(user="ana", k=2)
            assert set(found.tags) == {"kite", "dune"}
            kept, other = found.tags
            client.feedback(found.id, accepted=[kept], refused=[other] * (i % 2), added=["own"])
    done = pixtag("report", "--served", "--store", path)
    assert done.returncode == 0, done.stderr
    assert "people said what became of 10 of them" in done.stdout
    assert "Of 20 hashtags in those they kept 10 (50%) and refused 5 (25%)" in done.stdout
    assert "added 10 of their own" in done.stdout
    found = json.loads(pixtag("report", "--served", "--store", path, "--json").stdout)
    assert (found["n_served"], found["n_kept"], found["n_refused"], found["n_added"]) == (
        10,
        10,
        5,
        10,
    )
    assert sum(one["n"] for one in found["bins"]) == 20
    for one in found["bins"]:
        assert one["interval"][0] <= one["share"] <= one["interval"][1]
    assert pixtag("report", "--store", path).returncode == 2


def test_nothing_is_logged_when_it_is_told_not_to(tmp_path: Path, bundle: Path) -> None:
    path = tmp_path / "s.sqlite"
    with servers.running(path, "--model", bundle, "--no-log") as server, Client(server.url) as c:
        found = c.suggest()
        with pytest.raises(MissingError, match="--no-log") as missing:
            c.feedback(found.id, accepted=["sky"])
        assert "without --no-log" in missing.value.hint
        server.stop(signal.SIGTERM)
    with Store.open(path, read_only=True) as store:
        assert served_report(store).n_served == 0
