"""`pixtag trends`, and what becomes of it, as a person runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trend_server import RISES, STEADY, listed, pages_of, reply, serving

SAMPLES = Path(__file__).parents[2] / "samples"
TAGS = [listed("SofaCat", RISES), listed("EspressoDay", (300, 9, 9)), listed("gamedev", STEADY)]


def test_what_rises_on_a_server_reaches_a_strangers_photo(pixtag, tmp_path):
    with serving(pages_of(TAGS)) as url:
        done = pixtag("trends", "fetch", url, "--store", "my.sqlite")
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        source = url.removeprefix("http://")
        assert f"{source}: 17 counts of 3 hashtags in my.sqlite" in done.stderr
    rising = pixtag("trending", "--store", "my.sqlite", "--json")
    first = json.loads(rising.stdout.splitlines()[0])
    assert (first["tag"], first["source"], first["n_people"]) == ("sofacat", source, 512)
    shown = pixtag("trending", "--store", "my.sqlite")
    assert "#sofacat" in shown.stdout
    assert source in shown.stdout
    photo = pixtag("predict", SAMPLES / "cat.jpg", "--store", "my.sqlite")
    assert photo.returncode == 0, photo.stderr
    assert f"rising on {source}: 512 people today" in photo.stdout
    assert "#espressoday" not in photo.stdout
    assert "#sofacat" not in pixtag("predict", SAMPLES / "cat.jpg", "--stranger").stdout


def test_a_server_that_fails_is_told_with_a_hint_and_listed(pixtag, tmp_path):
    with serving(lambda to: reply(to, b"<html>")) as url:
        done = pixtag("trends", "fetch", url, "--store", "new.sqlite")
        assert done.returncode == 1
        assert "does not answer in JSON" in done.stderr
        assert "hint: " in done.stderr
        assert list(tmp_path.iterdir()) == []  # no empty store stays behind
    with serving(pages_of(TAGS)) as good:
        assert pixtag("trends", "fetch", good, "--store", "my.sqlite").returncode == 0
    assert pixtag("trends", "fetch", good, "--store", "my.sqlite").returncode == 1  # it is gone
    done = pixtag("trends", "list", "--store", "my.sqlite", "--json")
    (one,) = map(json.loads, done.stdout.splitlines())
    assert (one["tags"], one["counts"]) == (3, 17)
    assert "does not answer" in one["problem"]
    assert one["fetched_at"] < one["tried_at"]
    assert good.removeprefix("http://") in pixtag("trends", "--store", "my.sqlite").stdout


def test_a_file_is_imported_and_its_bad_lines_are_told(pixtag, tmp_path):
    lines = ["tag,time,count,accounts", *(f"eclipse,2026-05-{d:02},9,4" for d in range(1, 8))]
    lines += ["eclipse,2026-05-08,900,500", "bad,2026-05-08,-1", "\x1b[31mred,whenever,3"]
    (tmp_path / "campus.csv").write_text("\n".join(lines))
    done = pixtag("trends", "import", "campus.csv", "--store", "my.sqlite")
    assert done.returncode == 0, done.stderr
    assert "campus: 8 counts of 1 hashtags in my.sqlite" in done.stderr
    assert "left out" in done.stderr
    assert "\x1b" not in done.stderr
    asked = ("trending", "--store", "my.sqlite", "--json", "--at")
    (one,) = map(json.loads, pixtag(*asked, "2026-05-09").stdout.splitlines())
    assert (one["tag"], one["source"], one["n_people"]) == ("eclipse", "campus", 500)
    assert pixtag(*asked, "2026-05-08").stdout == ""  # the day had not ended


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("fetch",), 2, "nothing to fetch"),
        (("import",), 2, "nothing to import"),
        (("list", "more"), 2, "list takes no"),
        (("bogus",), 2, "bogus"),
        (("fetch", "file:///etc/passwd"), 2, "no address of a server"),
        (("import", "gone.csv"), 1, "there is no file gone.csv"),
        (("list", "--store", "gone.sqlite"), 1, "there is no store"),
    ],
)
def test_what_cannot_be_done_is_told_and_makes_no_store(pixtag, tmp_path, words, code, said):
    store = () if "--store" in words else ("--store", "my.sqlite")
    done = pixtag("trends", *words, *store)
    assert done.returncode == code
    assert said in done.stderr
    assert "hint: " in done.stderr
    assert list(tmp_path.iterdir()) == []
