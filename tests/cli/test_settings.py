from __future__ import annotations

import json


def test_config_shows_values_and_origins(pixtag, tmp_path):
    (tmp_path / "pixtag.toml").write_text("k = 3\n", encoding="utf-8")
    done = pixtag("config", "--json", env={"PIXTAG_STORE": "mine.sqlite"})
    settings = json.loads(done.stdout)["settings"]
    assert settings["k"]["value"] == 3
    assert settings["k"]["origin"].endswith("pixtag.toml")
    assert settings["store"]["value"] == "mine.sqlite"
    assert settings["store"]["origin"] == "PIXTAG_STORE"
    assert settings["model"]["origin"] == "default"


def test_config_table_goes_to_stdout_and_files_to_stderr(pixtag):
    done = pixtag("config")
    assert "the one in the package" in done.stdout
    assert "pixtag.toml" not in done.stdout
    assert "pixtag.toml" in done.stderr


def test_config_shows_the_settings_of_training_when_asked(pixtag):
    few, all_ = (json.loads(pixtag("config", "--json", *more).stdout) for more in ([], ["--all"]))
    assert "train.epochs" not in few["settings"]
    assert "train.epochs" in all_["settings"]
    assert few["settings"]["store"]["value"].endswith("/pixtag/posts.sqlite")
    assert "bundle" not in " ".join(one["meaning"] for one in all_["settings"].values())


def test_bad_setting_stops_every_verb_with_code_2(pixtag, tmp_path):
    (tmp_path / "pixtag.toml").write_text("stroe = 'x'\n", encoding="utf-8")
    done = pixtag("posts", "--store", "x.sqlite")
    assert done.returncode == 2
    assert "did you mean store?" in done.stderr


def test_settings_stand_in_for_flags_that_were_not_typed(pixtag, tmp_path):
    (tmp_path / "pixtag.toml").write_text("store = 'absent.sqlite'\n", encoding="utf-8")
    done = pixtag("posts")
    assert done.returncode == 1
    assert "absent.sqlite" in done.stderr
    typed = pixtag("posts", "--store", "typed.sqlite")
    assert "typed.sqlite" in typed.stderr
