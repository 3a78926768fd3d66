"""deploy/: the unit is one that systemd takes, the container's file names what is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import servers
from pixtag.store import Store
from pixtag.types import Post

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "pixtag.service"
CONTAINER = ROOT / "deploy" / "Containerfile"
COMPOSE = ROOT / "deploy" / "compose.yaml"
VACUUM = (
    "import sqlite3, sys; a, b = sys.argv[1:]; sqlite3.connect(a).execute('VACUUM INTO ?', (b,))"
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if (tool := shutil.which("systemd-analyze")) is None:
        pytest.skip("checking the unit needs systemd-analyze")
    text = UNIT.read_text()
    program = re.search(r"^ExecStart=(\S+)", text, re.MULTILINE)
    assert program
    unit = tmp_path / "pixtag.service"
    unit.write_text(text.replace(program[1], sys.executable))  # verify wants it to be there
    done = subprocess.run([tool, "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def instructions() -> list[tuple[str, str]]:
    text = CONTAINER.read_text().replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines())
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in lines if line and line[0] != "#")
    ]


def test_the_containers_file_builds_from_what_is_there() -> None:
    found = instructions()
    words = [word for word, _ in found]
    assert set(words) <= {
        "FROM", "COPY", "RUN", "USER", "WORKDIR", "VOLUME", "EXPOSE", "ENV", "HEALTHCHECK",
        "ENTRYPOINT",
    }  # fmt: skip
    bases = [rest for word, rest in found if word == "FROM"]
    for base in bases:
        version = re.match(r"docker\.io/library/python:(3\.\d+)-slim-\w+( AS build)?$", base)
        assert version
        assert f">={version[1]}" >= PROJECT["requires-python"]
    for word, rest in found:
        if word == "COPY" and not rest.startswith("--from"):
            for name in rest.split()[:-1]:
                assert (ROOT / name).exists(), name
    extras = re.findall(r"/src\[([\w,]+)\]", CONTAINER.read_text())
    assert extras
    assert set(extras[0].split(",")) <= set(PROJECT["optional-dependencies"])
    # What hatch needs to build: the readme, the licences and the package.
    copied = " ".join(rest for word, rest in found if word == "COPY")
    for name in ("pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], "src"):
        assert name in copied


def test_the_container_runs_as_nobody_special_and_serves() -> None:
    last = dict(instructions())
    assert last["USER"].isdecimal()
    assert int(last["USER"]) > 0
    words = json.loads(last["ENTRYPOINT"])
    assert words[0] in PROJECT["scripts"]
    users = [i for i, (word, _) in enumerate(instructions()) if word == "USER"]
    assert all(word != "RUN" for word, _ in instructions()[users[-1] :])


def options_of(text: str) -> set[str]:
    return set(re.findall(r"(?<=[\s\"'=])--[a-z-]+", text))


def test_what_they_start_is_what_the_command_line_takes(pixtag) -> None:
    taken = options_of(pixtag("serve", "--help").stdout)
    started = re.search(r"^ExecStart=.*$", UNIT.read_text(), re.MULTILINE)
    assert started
    for text in (started[0], dict(instructions())["ENTRYPOINT"]):
        assert "serve" in text
        assert options_of(text) <= taken
    compose = COMPOSE.read_text()
    assert "deploy/Containerfile" in compose
    assert "--allow-host" in taken
    assert options_of(re.search(r"command: (\[.--allow.*)", compose)[1]) <= taken  # type: ignore[index]


def test_a_backup_of_a_store_in_use_is_whole(tmp_path: Path, pixtag) -> None:
    """Both ways of docs/deploy.md, while a server has the store open."""
    path = tmp_path / "posts.sqlite"
    with Store.open(path, create=True) as store:
        store.add_posts(Post(f"p{i}", "ana", 1e9 + i, ("sea",)) for i in range(50))
    commands = re.findall(r"^python3 -c \"(.+?)\"", (ROOT / "docs" / "deploy.md").read_text(), re.M)
    assert len(commands) == 1
    with servers.running(path):
        for i, command in enumerate((*commands, VACUUM)):
            copy = tmp_path / f"copy{i}.sqlite"
            subprocess.run([sys.executable, "-c", command, path, copy], check=True)
            with Store.open(copy) as store:
                assert store.summary().n_posts == 50
                assert store._db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
