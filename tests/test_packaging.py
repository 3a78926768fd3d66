"""What is published: an sdist, the wheel that is built from it, and Pixtag installed from that."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# No network at all, where the system lets one ask for that.
OFFLINE = ["unshare", "--user", "--map-root-user", "--net"]


def run(*command: str | Path, cwd: Path, **more: str) -> str:
    env = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=env | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def can_cut_off() -> bool:
    if shutil.which(OFFLINE[0]) is None:
        return False
    return not subprocess.run([*OFFLINE, "true"], check=False).returncode


@pytest.mark.slow
def test_the_wheel_of_the_sdist_predicts_a_photo_offline(tmp_path):
    pytest.importorskip("uv", reason="needs uv to build and install")
    uv = (sys.executable, "-m", "uv")
    run(*uv, "build", "--quiet", "--out-dir", tmp_path / "dist", ROOT, cwd=tmp_path)
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    (wheel,) = (tmp_path / "dist").glob("*.whl")  # which uv builds from the sdist
    with tarfile.open(sdist) as packed:
        inside = {name.partition("/")[2] for name in packed.getnames()}
    assert {"pyproject.toml", "LICENSE", "NOTICE", "README.md", "tests/test_packaging.py"} <= inside
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        facts = packed.read(next(n for n in names if n.endswith("/METADATA"))).decode()
    source = ROOT / "src"
    assert {n for n in names if ".dist-info/" not in n} == {
        path.relative_to(source).as_posix()
        for path in (source / "pixtag").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "License-Expression: Apache-2.0" in facts

    place = tmp_path / "fresh"
    run(*uv, "venv", "--quiet", "--python", sys.executable, place, cwd=tmp_path)
    python = place / "bin" / "python"
    run(*uv, "pip", "install", "--quiet", "--python", python, wheel, cwd=tmp_path)
    photo = shutil.copy(ROOT / "samples" / "cat.jpg", tmp_path)
    home = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), str(tmp_path))
    command = [*(OFFLINE if can_cut_off() else []), place / "bin" / "pixtag", photo, "--json"]
    said = json.loads(run(*command, cwd=tmp_path, **home))
    assert "cat" in [one["tag"] for one in said["suggestions"]]
    where = run(python, "-c", "import pixtag; print(pixtag.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(place)
