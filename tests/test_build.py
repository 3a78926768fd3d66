"""The Makefile and the test suite's own rules."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the build files and nothing installed."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # An outer make must not hand its options down.
    outer = ("MAKE", "TEST_GROUPS")
    env = {name: text for name, text in os.environ.items() if not name.startswith(outer)}
    return subprocess.run(
        ["make", *words],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_missing_venv_module_says_what_to_install(project):
    python = project / "python-without-venv"
    python.write_text(
        textwrap.dedent(
            f"""\
            #!/bin/sh
            case "$*" in *ensurepip*) exit 1 ;; esac
            exec {sys.executable} "$@"
            """
        )
    )
    python.chmod(0o755)
    done = make(project, "setup", f"PYTHON={python}")
    assert done.returncode != 0
    assert "sudo apt-get install python3-venv" in done.stderr
    assert not (project / ".venv").exists()


def test_no_python_at_all_says_how_to_name_one(project):
    done = make(project, "setup", "PYTHON=")
    assert done.returncode != 0
    assert "no Python 3.11 or later" in done.stderr
    assert "PYTHON=" in done.stderr


def test_an_installed_project_installs_nothing_again(project):
    stamps = project / ".venv"
    stamps.mkdir()
    for name in (".made", ".installed-base"):
        (stamps / name).touch()
    done = make(project, "setup")
    assert done.returncode == 0
    assert "Installing" not in done.stdout


def test_large_groups_are_installed_only_when_they_are_named(project):
    plain, named = make(project, "-n", "test"), make(project, "-n", "test", "TEST_GROUPS=torch")
    assert plain.returncode == named.returncode == 0, named.stderr
    assert "--group torch" in named.stdout
    assert "torch" not in plain.stdout


@pytest.mark.parametrize(("value", "code"), [("1", 1), ("", 0), (None, 0)])
def test_a_skip_fails_where_every_test_must_run(tmp_path, value, code):
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\n\ndef test_part():\n    pytest.importorskip('no_such_module_at_all')\n"
    )
    env = {name: text for name, text in os.environ.items() if name != "EVERY_TEST_MUST_RUN"}
    if value is not None:
        env["EVERY_TEST_MUST_RUN"] = value
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == code, done.stdout
    assert ("every test must run" in done.stdout) is (code == 1)
