"""Deny, allow and always lists: what is kept, what is refused, and two writers at once."""

from __future__ import annotations

import tomllib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtag.errors import ConfigError, InputError
from pixtag.lists import (
    Lists,
    edit_lists,
    forget_lists,
    global_lists_path,
    lists_for,
    read_lists,
    store_lists_path,
)
from pixtag.tags import normalise_tag


def add(path: Path, name, *tags: str, user: str | None = None) -> list[str]:
    return edit_lists(path, name, tags, user=user, remove=False)


def test_tags_are_normalised_and_kept_once(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "lists.toml"
    assert add(path, "deny", "#Love", "New York", "love") == ["love", "newyork"]
    assert add(path, "deny", "LOVE", "cat") == ["cat"]
    assert read_lists(path) == Lists(deny=("love", "newyork", "cat"))
    assert edit_lists(path, "deny", ["#Cat", "dog"], remove=True) == ["cat"]
    assert read_lists(path) == Lists(deny=("love", "newyork"))
    assert [p.name for p in path.parent.iterdir()] == ["lists.toml"], "nothing is left behind"


def test_a_file_edited_by_hand_is_read_and_its_entries_survive(tmp_path: Path) -> None:
    path = tmp_path / "lists.toml"
    path.write_text('# mine\nallow = ["#Café", "café"]\n[users."an\\"a"]\nalways = ["me"]\n')
    assert read_lists(path) == Lists(allow=("café",))
    assert read_lists(path, 'an"a') == Lists(always=("me",))
    assert read_lists(path, "bo") == Lists()
    add(path, "deny", "x1")
    assert read_lists(path) == Lists(deny=("x1",), allow=("café",))
    assert read_lists(path, 'an"a') == Lists(always=("me",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("deny = [", "not valid TOML"),
        ('dney = ["a"]', "unknown list 'dney'"),
        ('deny = "a"', "deny in .* is no list"),
        ("deny = [3]", "3 in deny .* is no tag"),
        ('deny = ["!!"]', "is no tag"),
        ("users = 3", "users in .* is no table"),
        ("[users]\nana = 3", r'\[users."ana"\] is no table'),
        ('[users.ana]\nallow = "x"', 'users."ana".* is no list'),
    ],
)
def test_a_broken_file_is_named_and_never_overwritten(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "lists.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        read_lists(path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    with pytest.raises(ConfigError):
        add(path, "deny", "cat")
    assert path.read_text() == text


def test_what_is_no_tag_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "lists.toml"
    with pytest.raises(InputError, match="'2026'"):
        add(path, "deny", "cat", "2026")
    with pytest.raises(InputError, match="no name of a person"):
        add(path, "deny", "cat", user="\ud800")
    assert not path.exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write"):
        add(tmp_path / "file" / "lists.toml", "deny", "cat")


def _add_one(job: tuple[str, int]) -> None:
    folder, i = job
    add(Path(folder) / "lists.toml", "deny", f"tag{i}", user=f"u{i % 3}")


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    jobs = [(str(tmp_path), i) for i in range(60)]
    with ProcessPoolExecutor(4, mp_context=get_context("forkserver")) as pool:
        list(pool.map(_add_one, jobs))
    kept = [set(read_lists(tmp_path / "lists.toml", f"u{n}").deny) for n in range(3)]
    assert kept == [{f"tag{i}" for i in range(60) if i % 3 == n} for n in range(3)]


def test_a_person_gets_everybodys_lists_and_their_own(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    add(global_lists_path(), "deny", "love")
    try:
        add(store_lists_path(store), "deny", "cat", user="ana")
        assert lists_for() == Lists(deny=("love",))
        assert lists_for("ana", store) == Lists(deny=("love", "cat"))
        assert lists_for("bo", store) == Lists(deny=("love",))
    finally:
        global_lists_path().unlink()


def test_forgetting_a_person_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite.lists.toml"
    assert not forget_lists(path, "ana")
    add(path, "deny", "secretword", user="ana")
    add(path, "always", "me", user="bo")
    assert forget_lists(path, "ana")
    assert not forget_lists(path, "ana")
    assert "secretword" not in path.read_text()
    assert "ana" not in tomllib.loads(path.read_text())["users"]
    assert read_lists(path, "bo") == Lists(always=("me",))


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
some_tags = st.lists(st.text(max_size=6).filter(normalise_tag), max_size=4)


@given(names, some_tags, some_tags)
def test_what_is_written_is_read(tmp_path_factory, user: str, deny, always) -> None:
    path = tmp_path_factory.mktemp("lists") / "lists.toml"
    add(path, "deny", *deny, user=user)
    add(path, "always", *always, user=user)
    wanted = [tuple(dict.fromkeys(normalise_tag(t) for t in tags)) for tags in (deny, always)]
    assert read_lists(path, user) == Lists(deny=wanted[0], always=wanted[1])
