"""Deny, allow and always lists: what is kept, what is refused, and two writers at once."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtag.errors import ConfigError, InputError
from pixtag.lists import LIST_NAMES, Lists, edit_global_lists, global_lists, global_lists_path
from pixtag.store import Store
from pixtag.tags import normalise_tag


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    return global_lists_path()


@pytest.fixture(params=["for everybody", "in a file", "in memory"])
def place(request, tmp_path: Path, home: Path):
    """How lists are read and edited, wherever they lie."""
    if request.param == "for everybody":
        yield global_lists, edit_global_lists
        return
    opened = (
        Store.in_memory()
        if request.param == "in memory"
        else Store.open(tmp_path / "s.sqlite", create=True)
    )
    with opened as store:
        yield (
            lambda: store.lists("ana"),
            lambda name, tags, *, remove: store.edit_lists(
                name, tags, user_id="ana", remove=remove
            ),
        )


def test_tags_are_normalised_and_kept_once(place) -> None:
    read, edit = place
    assert edit("deny", ["#Love", "New York", "love"], remove=False) == ["love", "newyork"]
    assert edit("deny", ["LOVE", "cat"], remove=False) == ["cat"]
    assert read() == Lists(deny=("love", "newyork", "cat"))
    assert edit("deny", ["#Cat", "dog"], remove=True) == ["cat"]
    assert edit("always", ["dog"], remove=False) == ["dog"]
    assert read() == Lists(deny=("love", "newyork"), always=("dog",))
    with pytest.raises(InputError, match="'2026'"):
        edit("deny", ["cat", "2026"], remove=False)
    assert read() == Lists(deny=("love", "newyork"), always=("dog",))


def test_a_file_edited_by_hand_is_read_and_its_entries_survive(home: Path) -> None:
    home.parent.mkdir(parents=True)
    home.write_text('# mine\nallow = ["#Café", "café"]\n')
    assert global_lists() == Lists(allow=("café",))
    edit_global_lists("deny", ["x1"], remove=False)
    assert global_lists() == Lists(deny=("x1",), allow=("café",))
    assert [p.name for p in home.parent.iterdir()] == ["lists.toml"], "nothing is left behind"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("deny = [", "not valid TOML"),
        ('dney = ["a"]', "unknown list 'dney'"),
        ('deny = "a"', "deny in .* is no list"),
        ("deny = [3]", "3 in deny .* is no tag"),
        ('deny = ["!!"]', "is no tag"),
        ("[users]\nana = 3", "unknown list 'users'"),
    ],
)
def test_a_broken_file_is_named_and_never_overwritten(home: Path, text: str, said: str) -> None:
    home.parent.mkdir(parents=True)
    home.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        global_lists()
    assert str(home) in caught.value.message
    assert caught.value.hint
    with pytest.raises(ConfigError):
        edit_global_lists("deny", ["cat"], remove=False)
    assert home.read_text() == text


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="cannot write"):
        edit_global_lists("deny", ["cat"], remove=False)


def _add_one(job: tuple[str, int]) -> None:
    store, i = job
    edit_global_lists("deny", [f"tag{i}"], remove=False)
    with Store.open(store) as opened:
        opened.edit_lists("deny", [f"tag{i}"], user_id="ana", remove=False)


def test_writers_at_once_lose_nothing(tmp_path: Path, home: Path) -> None:
    Store.open(tmp_path / "s.sqlite", create=True).close()
    jobs = [(str(tmp_path / "s.sqlite"), i) for i in range(40)]
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        list(pool.map(_add_one, jobs))
    wanted = {f"tag{i}" for i in range(40)}
    assert set(global_lists().deny) == wanted
    with Store.open(tmp_path / "s.sqlite", read_only=True) as store:
        assert set(store.lists("ana").deny) == wanted


def test_lists_of_a_store_are_its_peoples(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.sqlite", create=True) as store:
        store.edit_lists("deny", ["love"], user_id=None, remove=False)
        store.edit_lists("deny", ["cat"], user_id="ana", remove=False)
        revision = store.revision
        assert store.lists() == Lists(deny=("love",))
        assert store.lists().joined(store.lists("ana")) == Lists(deny=("love", "cat"))
        assert store.lists("bo") == Lists()
        assert store.revision == revision, "no post has changed"
        for name in ("\ud800", "", "a\0"):
            with pytest.raises(InputError, match="no name of a person"):
                store.edit_lists("deny", ["cat"], user_id=name, remove=False)


def test_forgetting_a_person_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store.open(path, create=True) as store:
        store.edit_lists("deny", ["secretword"], user_id="kalliope", remove=False)
        store.edit_lists("always", ["me"], user_id="bo", remove=False)
        assert store.forget("kalliope").had_lists
        assert not store.forget("kalliope").had_lists
        assert store.lists("bo") == Lists(always=("me",))
    for file in tmp_path.iterdir():
        assert b"secretword" not in file.read_bytes()
        assert b"kalliope" not in file.read_bytes()


some_tags = st.lists(st.text(max_size=6).filter(normalise_tag), max_size=4)


@given(some_tags, some_tags)
def test_what_is_written_is_read(tmp_path_factory, deny, always) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("home")))
        edit_global_lists("deny", deny, remove=False)
        edit_global_lists("always", always, remove=False)
        wanted = [tuple(dict.fromkeys(normalise_tag(t) for t in tags)) for tags in (deny, always)]
        found = global_lists()
    assert found == Lists(deny=wanted[0], always=wanted[1])
    assert [name for name, _ in found.entries()] == sorted(
        (name for name, _ in found.entries()), key=LIST_NAMES.index
    )
