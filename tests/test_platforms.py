"""Caps of platforms and tags that are reported as limited."""

from __future__ import annotations

from pathlib import Path

import pytest

import pixtag.platforms as known
from pixtag.errors import ConfigError, InputError


def test_the_packages_platforms_are_dated_and_sourced() -> None:
    found = known.platforms()
    assert set(found) >= {"instagram", "threads", "x", "tiktok", "pinterest", "mastodon"}
    assert {name: found[name].cap for name in ("instagram", "threads")} == {
        "instagram": 5,
        "threads": 1,
    }
    for platform in found.values():
        assert platform.source
        assert platform.as_of is not None
        # Only what is certain is called a limit, and what is not sure says so.
        assert platform.note
    assert {name for name, p in found.items() if p.kind == "limit"} == {"instagram", "threads"}


def test_a_name_is_found_in_any_case_and_a_wrong_one_is_guessed() -> None:
    assert known.find_platform(" Threads ").cap == 1
    with pytest.raises(InputError, match="unknown platform 'instagran'") as caught:
        known.find_platform("instagran")
    assert "did you mean instagram?" in caught.value.hint
    assert "mastodon" in caught.value.hint


def test_a_file_of_ones_own_adds_and_replaces(tmp_path: Path) -> None:
    own = tmp_path / "p.toml"
    own.write_text('[threads]\ncap = 3\n[Blog]\ncap = 9\nkind = "limit"\n')
    found = known.platforms(own)
    assert (found["threads"].cap, found["threads"].kind) == (3, "advice")
    assert found["blog"].cap == 9
    assert found["instagram"].cap == 5
    tags = tmp_path / "r.toml"
    tags.write_text('"#Café" = { platforms = ["x"], note = "odd" }\n')
    restricted = known.restricted_tags(tags)
    said = known.warning_of("café", restricted, None)
    assert said == "#café is reported as hidden or limited on x: odd"
    assert known.warning_of("café", restricted, "x") == said
    assert known.warning_of("café", restricted, "threads") == ""
    assert known.warning_of("cat", restricted, None) == ""


def test_the_settings_folder_is_looked_into(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "pixtag").mkdir()
    (tmp_path / "pixtag" / "platforms.toml").write_text("[x]\ncap = 7\n")
    assert known.find_platform("x").cap == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[x", "not valid TOML"),
        ("x = 3", "'x' in .* is no table"),
        ("[x]\ncap = 0", "x.cap in .* greater than"),
        ('[x]\ncap = "many"', "x.cap"),
        ("[x]\nlimit = 3", "x.limit"),
        ('[x]\nkind = "law"', "x.kind"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        known.platforms(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_a_missing_file_and_a_key_that_is_no_tag_are_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        known.platforms(tmp_path / "gone.toml")
    (tmp_path / "r.toml").write_text('"!" = { platforms = ["x"] }')
    with pytest.raises(ConfigError, match=r"'!' in .* is no tag"):
        known.restricted_tags(tmp_path / "r.toml")
