from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from pixtag.errors import ConfigError
from pixtag.places import default_files
from pixtag.settings import Common, load_settings


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Look(Config):
    slots: int = Field(48, ge=1)
    """Earlier posts that are looked at."""


class Training(Config):
    epochs: int = Field(4, ge=1)
    """Passes over the posts."""

    decays: tuple[float, ...] = (0.5, 1.0)
    """Exponents that are tried."""

    state: Look = Look()
    """What the state offers."""


class Plain(BaseModel):
    """A model of the other shape that the package uses.

    Attributes:
        width: How wide, in columns, where that
            matters.
        depth: How deep.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = 3
    depth: int = 2


SECTIONS = {"": Common, "train": Training}


def load(files=(), environment=None, flags=None, **more):
    return load_settings(
        SECTIONS, files=list(files), environment=environment or {}, flags=flags, **more
    )


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_rank_is_default_file_environment_flag(tmp_path):
    low = write(tmp_path / "low.toml", "k = 2\n[train]\nepochs = 2\n")
    high = write(tmp_path / "high.toml", "k = 3\n")
    assert load().of(Common).k == 5
    assert load([low]).of(Common).k == 2
    assert load([low, high]).of(Common).k == 3
    assert load([low, high], {"PIXTAG_K": "4"}).of(Common).k == 4
    assert load([low, high], {"PIXTAG_K": "4"}, {"k": 9}).of(Common).k == 9
    assert load([low, high]).of(Training).epochs == 2
    assert load([low], {"PIXTAG_TRAIN_EPOCHS": "7"}).of(Training).epochs == 7


def test_explain_says_where_each_value_came_from(tmp_path):
    file = write(tmp_path / "pixtag.toml", "k = 2\n")
    found = load([file], {"PIXTAG_STORE": "s.sqlite"}, {"train.epochs": 3}).explain()
    origins = {one.name: (one.source, one.origin) for one in found}
    assert origins == {
        "store": ("environment", "PIXTAG_STORE"),
        "user": ("default", "default"),
        "model": ("default", "default"),
        "encoder": ("default", "default"),
        "k": ("file", str(file)),
        "platform": ("default", "default"),
        "platforms": ("default", "default"),
        "restricted": ("default", "default"),
        "train.epochs": ("flag", "--epochs"),
        "train.decays": ("default", "default"),
        "train.state.slots": ("default", "default"),
    }
    meanings = {one.name: one.meaning for one in found}
    assert meanings["train.epochs"] == "Passes over the posts."
    assert all(meanings.values())


def test_meaning_is_read_from_the_class_docstring():
    found = load_settings({"plain": Plain}, files=[], environment={}).explain()
    assert [one.meaning for one in found] == [
        "How wide, in columns, where that matters.",
        "How deep.",
    ]


def test_none_is_put_into_words():
    shown = {one.name: one.shown for one in load().explain()}
    assert shown["model"] == "the one in the package"


def test_tables_inside_tables(tmp_path):
    file = write(tmp_path / "pixtag.toml", "[train]\nepochs = 2\n[train.state]\nslots = 7\n")
    settings = load([file])
    assert settings.of(Training) == Training(epochs=2, state=Look(slots=7))
    from_variable = load([file], {"PIXTAG_TRAIN_STATE_SLOTS": "9"})
    assert from_variable.of(Training).state.slots == 9


@pytest.mark.parametrize("text", ["train = 3\n", "[train]\nstate = 3\n", "[k]\nx = 3\n"])
def test_a_value_where_a_table_belongs(tmp_path, text):
    with pytest.raises(ConfigError):
        load([write(tmp_path / "pixtag.toml", text)])


def test_unknown_flag_names_are_refused():
    with pytest.raises(ConfigError, match="epoch"):
        load(flags={"train.epoch": 3})


def test_paths_in_a_file_start_at_its_folder(tmp_path):
    file = write(tmp_path / "pixtag.toml", 'store = "my.sqlite"\n')
    assert load([file]).of(Common).store == tmp_path / "my.sqlite"
    assert load(environment={"PIXTAG_STORE": "my.sqlite"}).of(Common).store == Path("my.sqlite")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('stroe = "x"\n', "did you mean store?"),
        ("[trian]\nepochs = 1\n", "did you mean train?"),
        ("[train]\nepoch = 1\n", "did you mean epochs?"),
        ("[train.stat]\nslots = 1\n", "did you mean state?"),
        ("[train.state]\nslot = 1\n", "did you mean slots?"),
    ],
)
def test_unknown_keys_are_errors_with_the_likely_one(tmp_path, text, hint):
    file = write(tmp_path / "pixtag.toml", text)
    with pytest.raises(ConfigError, match="unknown setting") as caught:
        load([file])
    assert caught.value.hint == hint
    assert str(file) in caught.value.message


def test_unknown_variables_are_errors():
    with pytest.raises(ConfigError, match="PIXTAG_STOR") as caught:
        load(environment={"PIXTAG_STOR": "x"})
    assert caught.value.hint == "did you mean PIXTAG_STORE?"


def test_tables_of_others_are_left_alone(tmp_path):
    file = write(tmp_path / "pixtag.toml", "k = 2\n[train]\nepochs = 0\n")
    settings = load_settings(
        {"": Common}, other_tables=["train"], files=[file], environment={"PIXTAG_TRAIN_EPOCHS": "0"}
    )
    assert settings.of(Common).k == 2


BAD_SLOTS = "[train.state]\nslots = 0\n"


@pytest.mark.parametrize("text", ["k = 0\n", 'k = "many"\n', "[train]\nepochs = -1\n", BAD_SLOTS])
def test_values_out_of_bounds_name_the_value_and_the_place(tmp_path, text):
    file = write(tmp_path / "pixtag.toml", text)
    with pytest.raises(ConfigError) as caught:
        load([file])
    assert str(file) in caught.value.message
    assert caught.value.hint


def test_broken_toml_names_the_line(tmp_path):
    with pytest.raises(ConfigError, match="line 2"):
        load([write(tmp_path / "pixtag.toml", "k = 3\nstore = \n")])


def test_default_files_follow_the_environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/somewhere")
    files = default_files()
    assert files == [Path("/somewhere/pixtag/config.toml"), tmp_path / "pixtag.toml"]


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_a_file_in_another_encoding_is_to_be_saved_as_utf_8(tmp_path, encoding):
    file = tmp_path / "pixtag.toml"
    file.write_bytes('user = "jörg"'.encode(encoding))
    with pytest.raises(ConfigError, match="not in UTF-8") as caught:
        load_settings({"": Common}, environment={}, files=[file])
    assert caught.value.hint == "save it as UTF-8"
