from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from archives import jpeg, write_tree, write_zip
from pixtag.cli.posts import gone_if_empty
from pixtag.errors import FullError, StoreError
from pixtag.store import Store
from pixtag.types import Post

AT = 1_772_366_400


@pytest.fixture
def world(tmp_path):
    """Three posts by two people, with small real photos."""
    rows = [
        {
            "post_id": "p1",
            "user_id": "ana",
            "posted_at": "2026-01-05T00:00:00Z",
            "image": "1.jpg",
            "tags": ["Sea", "sun"],
        },
        {
            "post_id": "p2",
            "user_id": "ana",
            "posted_at": "2026-01-06T00:00:00Z",
            "image": "2.jpg",
            "tags": ["sea", "2026"],
        },
        {
            "post_id": "p3",
            "user_id": "ben",
            "posted_at": "2026-01-07T00:00:00Z",
            "image": "gone.jpg",
            "tags": ["dusk"],
        },
    ]
    return write_tree(
        tmp_path / "world",
        {
            "posts.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
            "1.jpg": jpeg(1),
            "2.jpg": jpeg(2),
        },
    )


def test_import_ends_with_a_summary_and_looks_at_photos(pixtag, world):
    done = pixtag("import", world / "posts.jsonl", "--store", "s.sqlite")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split("  ", 1) for line in done.stdout.splitlines() if "  " in line)
    assert "3 (3 new, 0 changed, 0 known)" in lines["posts"]
    assert "2026-01-05T00:00:00+00:00 to 2026-01-07T00:00:00+00:00" in lines["time span"]
    assert "3 in 4 uses" in lines["hashtags"]
    assert "hashtag dropped: only digits" in done.stdout
    assert "photo is missing" in done.stdout
    assert done.stderr.splitlines() == [
        "s.sqlite now holds 3 posts (3 new, 2 photos looked at)",
        "2 people (ana, ben): 3 of 3 posts carry hashtags",
        "next: pixtag photo.jpg --user ana --store s.sqlite",
    ]


def test_a_store_of_ones_own_needs_no_name(pixtag, world, tmp_path):
    data = {"XDG_DATA_HOME": str(tmp_path / "data")}
    none = pixtag("posts", env=data)
    assert none.returncode == 1
    assert "pixtag import YOUR_ARCHIVE" in none.stderr
    assert not (tmp_path / "data").exists()
    line = (world / "posts.jsonl").read_text("utf-8").splitlines()[0]
    (world / "mine.jsonl").write_text(line + "\n", "utf-8")
    done = pixtag("import", world / "mine.jsonl", "--no-embed", env=data)
    assert done.stderr.splitlines()[1:] == [
        "ana: 1 of 1 post carry hashtags",
        "next: pixtag photo.jpg",
    ]
    assert (tmp_path / "data" / "pixtag" / "posts.sqlite").is_file()
    shown = pixtag("history", env=data)
    assert "#sea" in shown.stdout
    assert "note: for ana, the only person in" in shown.stderr
    assert "in order" in pixtag("doctor", world / "1.jpg", env=data).stderr
    assert "1" in pixtag("posts", env=data).stdout
    assert "all posts are of one person" in pixtag("trending", env=data).stderr


def test_a_failed_import_leaves_no_store(pixtag, tmp_path):
    data = {"XDG_DATA_HOME": str(tmp_path / "data")}
    assert pixtag("import", "gone.zip", env=data).returncode == 1
    assert not (tmp_path / "data").exists()
    (tmp_path / "posts.csv").write_text("post_id,user_id,tags\n")
    empty = pixtag("import", "posts.csv", "--store", "new.sqlite")
    assert empty.returncode == 1
    assert "error: no post came of posts.csv" in empty.stderr
    assert "next:" not in empty.stderr
    assert not list(tmp_path.glob("new.sqlite*"))


def test_what_went_wrong_is_told_where_the_new_store_cannot_even_be_opened(tmp_path):
    path = tmp_path / "new.sqlite"

    def fill() -> None:
        with gone_if_empty(str(path)):
            path.write_bytes(b"")  # as far as a full disk let it be written
            raise FullError("no room left", hint="make room")

    with pytest.raises(FullError, match="no room"):
        fill()
    assert not path.exists()


def test_the_setting_names_the_person_of_an_import(pixtag, tmp_path):
    write_tree(tmp_path / "pets", {"a.jpg": jpeg(1), "a.txt": "dog"})
    nobody = pixtag("import", "pets", "--store", "n.sqlite", "--no-embed")
    assert "nobody: 1 of 1 post carry hashtags; add --user NAME to make them" in nobody.stderr
    done = pixtag("import", "pets", "--no-embed", "--store", "s.sqlite", env={"PIXTAG_USER": "ben"})
    assert "ben: 1 of 1 post carry hashtags" in done.stderr


def test_history_of_several_people_asks_whose(pixtag, world):
    pixtag("import", world / "posts.jsonl", "--store", "s.sqlite", "--no-embed")
    done = pixtag("history", "--store", "s.sqlite")
    assert done.returncode == 2
    assert "ana, ben; --user names one" in done.stderr
    assert "hint: `pixtag history ana`" in done.stderr
    assert "#dusk" in pixtag("history", "--store", "s.sqlite", env={"PIXTAG_USER": "ben"}).stdout
    named = pixtag("history", "ana", "--store", "s.sqlite", env={"PIXTAG_USER": "ben"})
    assert "#sea" in named.stdout


def test_posts_go_through_pipes(pixtag, world):
    pixtag("import", world / "posts.jsonl", "--store", "s.sqlite", "--no-embed")
    piped = pixtag("export", "--store", "s.sqlite")
    assert pixtag("export", "--store", "s.sqlite", "--out", "-").stdout == piped.stdout
    done = pixtag("import", "-", "--store", "t.sqlite", "--no-embed", stdin=piped.stdout)
    assert done.returncode == 0, done.stderr
    assert "t.sqlite now holds 3 posts (3 new)" in done.stderr
    assert "- (jsonl)" in done.stdout
    odd = pixtag("import", "-", "--store", "u.sqlite", stdin="[1]\n")
    assert "error: standard input is one JSON list" in odd.stderr
    assert pixtag("export", "--store", "t.sqlite").stdout == piped.stdout


def test_import_as_json(pixtag, world):
    words = ("import", world / "posts.jsonl", "--store", "s.sqlite", "--json")
    done = pixtag(*words, "--no-embed")
    report = json.loads(done.stdout)
    assert (report["posts"], report["added"], report["photos"], report["people"]) == (3, 3, 2, 2)
    assert report["tags_dropped"] == {"only digits": 1}
    assert report["tags_changed"] == {"letter case": 1}
    assert report["problems"]["photo is missing"]["count"] == 1
    assert report["problems"]["photo is missing"]["example"].endswith("gone.jpg")
    assert report["embedding"] is None
    again = json.loads(pixtag(*words).stdout)
    assert (again["added"], again["unchanged"]) == (0, 3)
    assert again["embedding"]["embedded"] == 2


def test_a_broken_photo_stops_nothing(pixtag, world):
    (world / "2.jpg").write_bytes(jpeg(2)[:200])
    done = pixtag("import", world, "--store", "s.sqlite")
    assert done.returncode == 0
    assert "1 photo could not be looked at" in done.stderr
    assert "1 photo looked at" in done.stderr


def test_import_of_nothing_makes_no_store(pixtag, tmp_path):
    done = pixtag("import", "nowhere", "--store", "s.sqlite")
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is nothing at nowhere\nhint: ")
    assert not (tmp_path / "s.sqlite").exists()
    assert pixtag("import", "--store", "s.sqlite").returncode == 2
    assert pixtag("import", "nowhere", "--store", "s.sqlite", "--kind", "x").returncode == 2


def test_an_html_archive_is_told_how_to_ask_for_json(pixtag, tmp_path):
    path = write_zip(tmp_path / "a.zip", {"your_instagram_activity/media/posts_1.html": "<p>"})
    done = pixtag("import", path, "--store", "s.sqlite")
    assert done.returncode == 1
    assert "in HTML" in done.stderr
    assert "format JSON" in done.stderr
    assert "Traceback" not in done.stderr


def test_comments_can_be_left_out(pixtag, tmp_path):
    post = {"media": [{"uri": "m/1.jpg", "title": "#a", "creation_timestamp": AT}]}
    said = {
        "string_map_data": {
            "Comment": {"value": "#b"},
            "Media Owner": {"value": "ana"},
            "Time": {"timestamp": AT + 5},
        }
    }
    path = write_zip(
        tmp_path / "instagram-ana-2026-03-01-x.zip",
        {
            "content/posts_1.json": [post],
            "comments/post_comments_1.json": [said],
            "m/1.jpg": jpeg(1),
        },
    )
    words = ("import", path, "--store", "s.sqlite", "--no-embed", "--json")
    assert json.loads(pixtag(*words).stdout)["comments_joined"] == 1
    assert json.loads(pixtag(*words, "--no-comments").stdout)["comments_joined"] == 0


def test_export_and_import_again_is_the_same(pixtag, world, tmp_path):
    pixtag("import", world, "--store", "a.sqlite", "--no-embed")
    done = pixtag("export", "--store", "a.sqlite", "--out", "1.jsonl")
    assert done.stdout == ""
    assert done.stderr == "wrote 3 posts to 1.jsonl\n"
    pixtag("import", "1.jsonl", "--store", "b.sqlite", "--no-embed")
    pixtag("export", "--store", "b.sqlite", "--out", "2.jsonl")
    assert (tmp_path / "1.jsonl").read_bytes() == (tmp_path / "2.jsonl").read_bytes()
    first = json.loads((tmp_path / "1.jsonl").read_text().splitlines()[0])
    assert first == {
        "post_id": "p1",
        "user_id": "ana",
        "posted_at": "2026-01-05T00:00:00+00:00",
        "image": str(world / "1.jpg"),
        "tags": ["sea", "sun"],
    }
    assert pixtag("export", "--store", "none.sqlite", "--out", "x").returncode == 1


def test_posts_shows_what_a_store_holds(pixtag, world):
    pixtag("import", world, "--store", "s.sqlite", "--no-embed")
    shown = json.loads(pixtag("posts", "--store", "s.sqlite", "--json").stdout)
    assert (shown["posts"], shown["people"], shown["tags"], shown["photos"]) == (3, 2, 3, 2)
    assert shown["posts_per_person"] == {"ana": 2, "ben": 1}
    text = pixtag("posts", "--store", "s.sqlite").stdout
    assert "ana" in text
    assert "2026-01-07" in text


def test_history_of_a_person(pixtag, world):
    pixtag("import", world, "--store", "s.sqlite", "--no-embed")
    words = ("history", "ana", "--store", "s.sqlite")
    shown = json.loads(pixtag(*words, "--json").stdout)
    assert [(use["tag"], use["uses"]) for use in shown["tags"]] == [("sea", 2), ("sun", 1)]
    assert shown["tags"][0]["last_at"] == "2026-01-06T00:00:00+00:00"
    for at in ("2026-01-06", "20260106"):
        earlier = json.loads(pixtag(*words, "--json", "--at", at).stdout)
        assert [(use["tag"], use["uses"]) for use in earlier["tags"]] == [("sea", 1), ("sun", 1)]
    assert "#sea" in pixtag(*words).stdout
    wrong = pixtag("history", "anna", "--store", "s.sqlite")
    assert wrong.returncode == 2
    assert "did you mean ana" in wrong.stderr
    assert pixtag(*words, "--at", "soon").returncode == 2
    doubtful = pixtag(*words, "--at", "12345")
    assert doubtful.returncode == 2
    assert "'12345' is a doubtful time" in doubtful.stderr


def test_forget_removes_a_person_and_names_their_bundles(pixtag, tmp_path):
    path = tmp_path / "s.sqlite"
    with Store.open(path, create=True) as store:
        store.add_posts(Post(f"p{i}", "kalliope", float(i), (f"t{i}",)) for i in range(6000))
        store.add_posts([Post("q", "ben", 1.0, ("sea",))])
        store.record_bundle(tmp_path / "my-bundle", "d", 9.0, ["kalliope", "ben"])
    before = path.stat().st_size
    copied = tmp_path / "small.sqlite"
    with Store.open(copied, create=True) as store:
        store.add_posts([Post("q", "ben", 1.0, ("sea",))])
    done = pixtag("forget", "kalliope", "--yes", "--store", path)
    assert done.returncode == 0
    assert "6,000" in done.stdout
    assert "my-bundle was trained on this person and is unchanged" in done.stderr
    assert "pixtag train --store" in done.stderr
    assert path.stat().st_size < before / 2
    assert re.search(r"gone from .* \([\d,]+ to [\d,]+ bytes\)", done.stderr)
    small = pixtag("forget", "ben", "--yes", "--store", copied)
    assert "1 post gone from" in small.stderr
    assert "bytes" not in small.stderr  # it has not shrunk
    assert b"kalliope" not in path.read_bytes()
    assert pixtag("forget", "kalliope", "--yes", "--store", path).returncode == 2
    with Store.open(path) as store:
        assert [post.post_id for post in store.posts()] == ["q"]


def test_forget_asks_or_is_told(pixtag, tmp_path):
    path = tmp_path / "s.sqlite"
    with Store.open(path, create=True) as store:
        store.add_posts(Post(f"p{i}", "ana", float(i), ("sea",)) for i in range(3))
    refused = pixtag("forget", "ana", "--store", path)
    assert refused.returncode == 2
    assert "this removes 3 posts of ana" in refused.stderr
    assert "hint: add --yes" in refused.stderr
    for answer, code, n_left in [("n", 1, 3), ("y", 0, 0)]:
        done, text = at_terminal(["forget", "ana", "--store", str(path)], answer)
        assert done == code
        assert "These go for good: 3 posts of ana" in text
        with Store.open(path, read_only=True) as store:
            assert store.summary().n_posts == n_left


def at_terminal(words: list[str], answer: str) -> tuple[int, str]:
    """The exit code and all that a command shows at a terminal where one line is typed."""
    here, there = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "pixtag", *words], stdin=there, stdout=there, stderr=there
    ) as process:
        os.close(there)
        os.write(here, f"{answer}\n".encode())
        shown = b""
        with suppress(OSError):  # the other end is closed
            while part := os.read(here, 4096):
                shown += part
    os.close(here)
    return process.returncode, shown.decode()


# Interruptions


def many_posts(folder, n_posts: int):
    files = {f"{i}.jpg": jpeg(i) for i in range(20)}
    rows = [
        {
            "post_id": f"p{i}",
            "user_id": f"u{i % 7}",
            "posted_at": AT + i,
            "image": f"{i % 20}.jpg",
            "tags": [f"tag{i % 90}x", "common"],
        }
        for i in range(n_posts)
    ]
    files["posts.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows)
    return write_tree(folder, files) / "posts.jsonl"


def start_import(path, store, *more):
    words = [sys.executable, "-m", "pixtag", "import", path, "--store", store, *more]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for_posts(store, victim) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and victim.poll() is None:
        with suppress(StoreError), Store.open(store, read_only=True) as opened:
            if opened.summary().n_posts:
                return
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_import_goes_on_where_it_was(pixtag, tmp_path, how):
    path = many_posts(tmp_path / "world", 9_000)
    store = tmp_path / "s.sqlite"
    with start_import(path, store, "--no-embed", "--copy") as victim:
        wait_for_posts(store, victim)
        victim.send_signal(how)
        said = victim.stderr.read().decode()
    assert victim.returncode == (130 if how == signal.SIGINT else -9)
    assert "Traceback" not in said
    if how == signal.SIGINT:
        assert re.search(r"^interrupted: reading posts, [\d,]+( of [\d,]+)? posts done; ", said)
        assert "what is done is kept, and the same command goes on from there" in said
    with Store.open(store) as opened:
        kept = {post.post_id: post for post in opened.posts()}
    assert 0 < len(kept) < 9_000
    done = pixtag("import", path, "--store", store, "--no-embed", "--copy", "--json")
    report = json.loads(done.stdout)
    assert report["unchanged"] == len(kept)
    assert report["added"] == 9_000 - len(kept)
    with Store.open(store) as opened:
        assert opened.summary().n_posts == 9_000
        assert all(kept[post.post_id] == post for post in opened.posts() if post.post_id in kept)
    left = {file.suffix for file in (tmp_path / "s.sqlite.photos").iterdir()}
    assert left == {".jpg"}


def test_an_import_into_a_store_in_use_says_so(pixtag, world, tmp_path):
    store = tmp_path / "s.sqlite"
    pixtag("import", world, "--store", store, "--no-embed")
    with Store.open(store) as opened:
        opened._db.execute("BEGIN IMMEDIATE")
        (world / "posts.jsonl").write_text('{"post_id": "new", "tags": ["a"]}\n')
        done = pixtag("import", world, "--store", store, "--no-embed")
        assert done.returncode == 1
        assert "another process is writing" in done.stderr
        assert pixtag("posts", "--store", store).returncode == 0
        opened._db.execute("ROLLBACK")


@pytest.mark.slow
def test_hundred_kills_lose_nothing(tmp_path):
    path = many_posts(tmp_path / "world", 3000)
    store = tmp_path / "s.sqlite"
    n_before = 0
    for n_kill in range(100):
        with start_import(path, store, "--no-embed", "--copy") as victim:
            time.sleep(0.15 + 0.012 * (n_kill % 50))
            os.kill(victim.pid, signal.SIGKILL)
        if not store.exists() or not store.stat().st_size:
            continue
        with Store.open(store) as opened:
            n_posts = opened.summary().n_posts
            assert n_posts >= n_before
            n_before = n_posts
    with start_import(path, store, "--no-embed", "--copy") as last:
        last.wait()
    with Store.open(store) as opened:
        assert [post.post_id for post in opened.posts()] == [f"p{i}" for i in range(3000)]
