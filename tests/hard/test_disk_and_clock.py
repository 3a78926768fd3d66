"""A disk that is full or read-only, a clock that jumps, many writers at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

import archives
import handmade
import servers
from pixtag.client import Client, ServiceError
from pixtag.errors import StoreError
from pixtag.predictor import Predictor
from pixtag.store import Store
from pixtag.types import Post

if TYPE_CHECKING:
    from collections.abc import Generator

AT = 1_772_366_400


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handmade.bundle_file(tmp_path_factory.mktemp("models") / "model")


class Disk:
    """A disk of a few MB."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self, leave: int = 0) -> None:
        """Fill it, but for some bytes."""
        self.grow(self.size)  # what is free is told in whole pages
        with (self.path / "filler").open("ab") as file:
            free = os.statvfs(self.path)
            n = free.f_bavail * free.f_frsize - leave
            file.write(b"\0" * max(0, n))

    def clear(self) -> None:
        (self.path / "filler").unlink(missing_ok=True)

    size = 4

    def grow(self, n_mb: int) -> None:
        words = ["mount", "-o", f"remount,size={n_mb}m", str(self.path)]
        subprocess.run(words, check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Generator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={Disk.size}m", "tmpfs", str(path)]
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("a small disk needs the command mount")
    if done.returncode:
        pytest.skip(f"a small disk needs the right to mount one: {done.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def write_posts(folder: Path, n_posts: int, *, name: str = "p", n_photos: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    for i in range(n_photos):
        (folder / f"{i}.jpg").write_bytes(archives.jpeg(i) + os.urandom(200_000))
    rows = (
        {"post_id": f"{name}{i}", "user_id": f"u{i % 7}", "posted_at": AT + i,
         "image": f"{i % n_photos}.jpg" if n_photos else "", "tags": [f"tag{i % 90}x", "common"]}
        for i in range(n_posts)
    )  # fmt: skip
    (folder / "posts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "posts.jsonl"


# A full disk


@pytest.mark.parametrize("n_photos", [0, 60])
def test_an_import_that_fills_the_disk_goes_on_when_there_is_room(
    disk: Disk, pixtag, tmp_path: Path, n_photos: int
) -> None:
    """By rows of the database, and by copies of photos."""
    path = write_posts(tmp_path / "in", 30_000 if not n_photos else 60, n_photos=n_photos)
    n_posts = 30_000 if not n_photos else 60
    words = ["import", path, "--store", disk.path / "s.sqlite", "--no-embed"]
    words += ["--copy"] if n_photos else []
    done = pixtag(*words)
    assert done.returncode == 1
    assert "no space left" in done.stderr
    assert "hint: make room on the disk and run it again: what was finished is kept" in done.stderr
    assert "Traceback" not in done.stderr
    disk.grow(64)
    assert pixtag(*words).returncode == 0
    with Store.open(disk.path / "s.sqlite") as store:
        assert store.summary().n_posts == n_posts
        assert store._db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_server_on_a_full_disk_says_so_and_loses_nothing_that_it_acknowledged(
    disk: Disk, model: Path
) -> None:
    path = disk.path / "s.sqlite"
    kept: list[str] = []
    with servers.running(path, "--model", model) as server, Client(server.url, retries=0) as client:
        kept += [client.post(["kite"], user="ana", post_id=f"p{i}").post_id for i in range(3)]
        disk.fill()
        refused: list[tuple[int | None, str, bool]] = []
        for i in range(3, 200):
            try:
                kept.append(client.post([f"kite{i}"] * 3, user="ana", post_id=f"p{i}").post_id)
            except ServiceError as error:
                refused.append((error.status, str(error), "make room" in error.hint))
            if len(refused) > 2:
                break
        assert set(refused) == {(507, "no space left on the server's disk", True)}
        assert "kite" in client.suggest(user="ana").tags  # it answers on
        photo = handmade.photo(disk.path.parent / "sky.jpg", "sky").read_bytes()
        form = {"photos": ("a.jpg", photo)}, {"user": "ana", "keep_photos": "true"}
        sent = httpx2.post(f"{server.url}/api/v1/posts", files=form[0], data=form[1])
        assert (sent.status_code, sent.json()["kind"]) == (507, "full")
        archive = {"archive": ("a.zip", b"PK" + bytes(2**20))}
        sent = httpx2.post(f"{server.url}/import", files=archive, headers={"accept": "text/html"})
        assert sent.status_code == 507
        assert "There is no space left" in sent.text
        disk.clear()
        kept.append(client.post(["dune"], user="ana", post_id="later").post_id)
        assert "dune" in client.suggest(user="ana", k=20).tags
    with Store.open(path, read_only=True) as store:
        assert [post.post_id for post in store.posts()] == kept


def test_a_snapshot_that_finds_no_room_is_left_out(disk: Disk, model: Path) -> None:
    path = disk.path / "s.sqlite"
    with Store.open(path, create=True) as store:
        store.add_posts(
            Post(f"p{i}", f"u{i % 9}", AT + i, ("sea", f"t{i % 50}")) for i in range(3000)
        )
        disk.fill(leave=16_384)
        with Predictor.load(model, store=store) as predictor:
            assert "sea" in [one.tag for one in predictor.suggest(None, user="u1")]
        assert list(disk.path.glob("s.sqlite.snapshot*")) == []
        disk.clear()
        with Predictor.load(model, store=store) as predictor:
            predictor.now()
        assert [f.name for f in disk.path.glob("s.sqlite.snapshot*")] == ["s.sqlite.snapshot"]


# A disk that is read-only


def test_on_a_read_only_disk_all_that_reads_works(disk: Disk, pixtag, model: Path) -> None:
    path = disk.path / "s.sqlite"
    with Store.open(path, create=True) as store:
        store.add_posts(Post(f"p{i}", "ana", AT + i, ("sea",)) for i in range(700))
    remount = ["mount", "-o", "remount,ro", str(disk.path)]
    subprocess.run(remount, check=True)
    done = pixtag("predict", "--user", "ana", "--store", path, "--model", model, "--json")
    assert done.returncode in {0, 2}, done.stderr
    with Predictor.load(model, store=path) as predictor:
        assert "sea" in [one.tag for one in predictor.suggest(None, user="ana")]
    (disk.path.parent / "new.jsonl").write_text('{"post_id": "new", "tags": ["a"]}\n')
    for words in (
        ["import", disk.path.parent / "new.jsonl", "--no-embed"],
        ["forget", "ana", "--yes"],
        ["serve", "--no-open", "--port", "0", "--model", model],
    ):
        done = pixtag(*words, "--store", path)
        assert done.returncode in {1, 2}, words
        assert "hint: " in done.stderr
        assert "Traceback" not in done.stderr
    with pytest.raises(StoreError), Store.open(path) as store:
        store.add_posts([Post("new", None, None, ("a",))])


# A clock that jumps

SITE = """
    import os, time
    _time, _file = time.time, os.environ["CLOCK_FILE"]

    def jumped():
        try:
            with open(_file) as file:
                return _time() + float(file.read() or 0)
        except OSError:
            return _time()

    time.time = jumped
"""


def test_the_clock_may_jump_both_ways_while_serving(tmp_path: Path, model: Path) -> None:
    day, year = 86_400.0, 365 * 86_400.0
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(textwrap.dedent(SITE))
    clock = tmp_path / "clock"
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)])
    env = {"PYTHONPATH": path, "CLOCK_FILE": str(clock)}
    with (
        servers.running(tmp_path / "s.sqlite", "--model", model, env=env) as server,
        Client(server.url, retries=0) as client,
    ):
        posted = {}

        def post(tag: str, jump_s: float) -> None:
            clock.write_text(str(jump_s))
            posted[tag] = client.post([tag], user="ana", post_id=tag).posted_at

        def tags() -> set[str]:
            return set(client.suggest(user="ana", k=20).tags)

        post("present", 0)
        assert "present" in tags()
        # A little back, as clocks are set: what was posted just now still counts.
        post("back", -3600)
        assert {"present", "back"} <= tags()
        # Far ahead: all that was counts; and then right again: what came of the wrong time does
        # not push out the rest.
        post("future", 10 * year)
        assert {"present", "back", "future"} <= tags()
        clock.write_text("0")
        assert {"present", "back"} <= tags()
        assert "future" not in tags()
        found = client.suggest(user="ana")
        client.feedback(found.id, accepted=found.tags[:1])
        # Far back: nothing fails, and what is posted then is known.
        post("past", -3 * year)
        assert "past" in tags()
        assert client.trending() is not None
        clock.write_text("0")
        assert {"present", "back", "past"} <= tags()
        assert posted["future"] - posted["present"] > 9 * (posted["present"] - posted["back"])
        assert (posted["future"] - posted["present"]).total_seconds() > 9 * year
        assert day
        again = client.post(["present"], user="ana", post_id="present")
        assert again.post_id == "present"
    with Store.open(tmp_path / "s.sqlite", read_only=True) as store:
        assert {post.post_id for post in store.posts()} == set(posted)


# Many writers


def test_ten_importers_at_once(pixtag, tmp_path: Path) -> None:
    """Each has posts of its own and some that all have."""
    paths = []
    for i in range(10):
        paths.append(write_posts(tmp_path / f"in{i}", 400, name=f"of{i}-", n_photos=0))
        with paths[-1].open("a") as file:
            for j in range(50):
                row = {"post_id": f"all{j}", "user_id": "all", "posted_at": AT, "tags": ["same"]}
                file.write(json.dumps(row) + "\n")
    store = tmp_path / "s.sqlite"
    with ThreadPoolExecutor(10) as pool:
        runs = list(
            pool.map(lambda path: pixtag("import", path, "--store", store, "--no-embed"), paths)
        )
    assert [run.returncode for run in runs] == [0] * 10, [run.stderr for run in runs]
    with Store.open(store) as opened:
        assert opened.summary().n_posts == 4050
        assert opened._db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert opened.changes_since(0).last_seq == opened.revision
