"""`pixtag lists`, and how `pixtag predict` obeys them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import handmade
from pixtag.store import Store
from pixtag.types import Post


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with Store.open(tmp_path / "my.sqlite", create=True) as store:
        store.add_posts([Post("p", "ana", 1e9, ("coffee",)), Post("q", "bo", 1e9, ("tea",))])
    return tmp_path / "my.sqlite"


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path / "home")}


def shown(pixtag, env, *words: object) -> dict:
    done = pixtag("lists", "--json", *words, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_lists_are_shown_and_changed(pixtag, home) -> None:
    assert shown(pixtag, home) == {"everybody": {"deny": [], "allow": [], "always": []}}
    done = pixtag("lists", "deny", "add", "#Love", "new york, cat", env=home)
    assert done.returncode == 0, done.stderr
    assert "3 added" in done.stderr
    assert "lists.toml" in done.stderr
    assert "#love #newyork #cat" in done.stdout
    again = pixtag("lists", "deny", "add", "love", "dog", env=home)
    assert "1 added, 1 there already" in again.stderr
    gone = pixtag("lists", "deny", "remove", "love", "bird", env=home)
    assert "1 removed, 1 not there" in gone.stderr
    assert shown(pixtag, home, "deny") == {"everybody": {"deny": ["newyork", "cat", "dog"]}}


def test_a_person_has_lists_in_the_store_which_go_with_them(pixtag, home, store) -> None:
    words = ["--user", "ana", "--store", store]
    assert pixtag("lists", "always", "add", "studioana", *words, env=home).returncode == 0
    assert shown(pixtag, home, *words)["ana"]["always"] == ["studioana"]
    assert shown(pixtag, home)["everybody"]["always"] == []
    done = pixtag("forget", "ana", "--yes", "--store", store, env=home)
    assert done.returncode == 0, done.stderr
    assert "lists of hashtags" in done.stdout
    assert b"studioana" not in store.read_bytes()
    assert shown(pixtag, home, *words)["ana"]["always"] == []


def test_without_a_person_no_store_is_read_and_the_help_says_so(pixtag, home) -> None:
    assert list(shown(pixtag, home, "--store", "gone.sqlite")) == ["everybody"]
    assert "without --user none is read" in pixtag("lists", "--help").stdout


def test_somebody_with_lists_and_no_posts_can_be_forgotten(pixtag, home, store) -> None:
    words = ["--user", "Cy", "--store", store]
    done = pixtag("lists", "deny", "add", "x1", *words, env=home)
    assert "'Cy' has no posts" in done.stderr
    assert pixtag("forget", "Cy", "--yes", "--store", store, env=home).returncode == 0
    assert pixtag("forget", "Cy", "--yes", "--store", store, env=home).returncode == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["deny", "add"], "no hashtags to add"),
        (["deny", "add", "2026"], "'2026' in the command line is no tag"),
        (["dney"], "dney"),
        (["deny", "drop", "cat"], "drop"),
    ],
)
def test_bad_words_are_refused(pixtag, home, words, said) -> None:
    done = pixtag("lists", *words, env=home)
    assert done.returncode == 2
    assert said in done.stderr
    assert "hint:" in done.stderr


def test_predict_obeys_lists_unless_told_otherwise(pixtag, home, tmp_path) -> None:
    bundle = handmade.bundle_file(tmp_path / "bundle")
    handmade.photo(tmp_path / "p.jpg", "sky")
    pixtag("lists", "deny", "add", "sky", env=home)
    pixtag("lists", "always", "add", "studioana", env=home)
    asked = ["p.jpg", "--model", bundle, "-k", "2"]
    assert pixtag(*asked, "--format", "txt", env=home).stdout == "#blue #studioana\n"
    free = pixtag(*asked, "--format", "txt", "--no-lists", env=home).stdout
    assert set(free.split()) == {"#sky", "#blue"}
    record = json.loads(pixtag(*asked, "--json", env=home).stdout)
    assert [s.get("is_always") for s in record["suggestions"]] == [None, True]
    table = pixtag(*asked, env=home).stdout
    (line,) = [line for line in table.splitlines() if "studioana" in line]
    assert "always" in line
    pixtag("lists", "allow", "add", "forest", env=home)
    done = pixtag(*asked, "--format", "txt", env=home)
    assert done.stdout == "#forest #studioana\n"
    assert "only the 1 hashtags of the allow list" in done.stderr
    (tmp_path / "home" / "pixtag" / "lists.toml").write_text("deny = 3")
    broken = pixtag(*asked, env=home)
    assert broken.returncode == 2
    assert "deny in" in broken.stderr
    assert pixtag(*asked, "--no-lists", env=home).returncode == 0
