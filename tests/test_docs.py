"""The documents say what is so: their commands run, their links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from ast import literal_eval
from pathlib import Path

import pytest
from PIL import Image

import servers

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SAMPLES = sorted((ROOT / "samples").glob("*.[jp][pn]g"))
BUNDLE = ROOT / "src" / "pixtag" / "data" / "model.safetensors"
needs_bundle = pytest.mark.skipif(not BUNDLE.exists(), reason="no bundle came with this checkout")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a document in one language."""
    found = FENCE.findall(path.read_text(encoding="utf-8"))
    return [text for name, text in found if name == language]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_links_lead_to_files(document):
    text = document.read_text(encoding="utf-8")
    # Pictures have a test of their own: they are drawn from a run of the shipped bundle.
    targets = re.findall(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)", text)
    missing = [
        target
        for target in targets
        if "://" not in target and not (document.parent / target).exists()
    ]
    assert missing == []


@needs_bundle
def test_pictures_of_the_readme_are_there_and_fetch_nothing():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^\]]+\]\(([^)\s]+)\)", text)
    assert pictures
    for name in pictures:
        if not name.endswith(".svg"):
            with Image.open(ROOT / name) as picture:
                picture.load()
            continue
        svg = (ROOT / name).read_text(encoding="utf-8")
        assert "font-face" not in svg
        assert "url(http" not in svg


@needs_bundle
def test_the_samples_of_the_readme_get_what_it_says(pixtag):
    """After another model was made: `make demo && .venv/bin/python demo/picture.py`."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r'^\| <img src="(samples/[^"]+)"[^|]*\| (.+) \|$', text, re.MULTILINE)
    assert len(rows) == 7
    photos = [ROOT / photo for photo, _ in rows]
    done = pixtag(*photos, "--format", "txt", "--at", "2026-11-30")
    assert done.stdout.splitlines() == [tags for _, tags in rows]


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_make_targets_exist(document):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    text = document.read_text(encoding="utf-8")
    named = set(re.findall(r"`make ([a-z]+)", text))
    for block in blocks(document, "sh"):
        named |= set(re.findall(r"^make ([a-z]+)", block, re.MULTILINE))
    assert named <= known


@pytest.mark.parametrize("folder", ["src", "docs", "deploy", "."])
def test_nobody_is_told_to_get_pixtag_from_an_index(folder):
    texts = [*(ROOT / folder).glob("*.md"), *(ROOT / folder).glob("*.y*ml")]
    texts += (ROOT / folder).rglob("*.py") if folder == "src" else ()
    texts = [path for path in texts if path != ROOT / "docs" / "log.md"]
    told = re.compile(r"pip install (-\S+ )*'?pixtag\b")
    assert [relative(path) for path in texts if told.search(path.read_text("utf-8"))] == []


def test_make_help_lists_every_target():
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^\.PHONY: (\w+)", makefile, re.MULTILINE):
        assert f"make {target} " in done.stdout


def test_python_of_contributing_runs():
    for block in blocks(ROOT / "CONTRIBUTING.md", "python"):
        subprocess.run([sys.executable, "-c", block], check=True, timeout=60)


def test_toml_of_the_readme_is_a_valid_settings_file(pixtag, tmp_path):
    (block,) = blocks(ROOT / "README.md", "toml")
    (tmp_path / "pixtag.toml").write_text(block, encoding="utf-8")
    done = pixtag("config")
    assert done.returncode == 0, done.stderr


def save_jpeg(source: Path, target: Path) -> Path:
    with Image.open(source) as photo:
        photo.convert("RGB").save(target, quality=90)
    return target


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the README's reader has: a photo, a folder of photos, an archive, posts."""
    made = tmp_path_factory.mktemp("readme")
    save_jpeg(SAMPLES[0], made / "photo.jpg")
    (made / "holiday").mkdir()
    for source in SAMPLES[:2]:
        save_jpeg(source, made / "holiday" / f"{source.stem}.jpg")
    write_archive(made / "my-archive.zip", made / "photo.jpg")
    shutil.copy(ROOT / "demo" / "posts.jsonl", made)
    return made


def write_archive(path: Path, photo: Path) -> None:
    """Write an Instagram archive of a person named ana, with a dozen posts of one photo each."""
    owner = {"profile_user": [{"string_map_data": {"Username": {"value": "ana"}}}]}
    posts = [
        {
            "media": [
                {
                    "uri": f"media/posts/202404/{number}.jpg",
                    "creation_timestamp": 1712000000 + 86400 * number,
                    "title": "good morning #coffee #latteart #berlin",
                }
            ]
        }
        for number in range(12)
    ]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "personal_information/personal_information/personal_information.json", json.dumps(owner)
        )
        archive.writestr("your_instagram_activity/media/posts_1.json", json.dumps(posts))
        for number in range(12):
            archive.write(photo, f"media/posts/202404/{number}.jpg")


def readme_commands() -> list[str]:
    lines = [
        line.removeprefix("$ ")
        for document in (ROOT / "README.md", ROOT / "docs" / "training.md")
        for block in blocks(document, "console")
        for line in block.splitlines()
        if line.startswith("$ ")
    ]
    assert len(lines) >= 12
    return lines


@needs_bundle
def test_every_command_of_the_readme_runs(folder):
    for line in readme_commands():
        words = shlex.split(line, comments=True)
        assert words[0] == "pixtag"
        done = subprocess.run(
            [sys.executable, "-m", "pixtag", *words[1:]],
            cwd=folder,
            env={**os.environ, "XDG_CONFIG_HOME": str(folder)},
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert (done.stdout + done.stderr).strip(), f"{line} prints nothing"
    python_of_the_readme(folder)


def python_of_the_readme(folder: Path) -> None:
    block, client = blocks(ROOT / "README.md", "python")
    with servers.running(folder / "my.sqlite") as server:
        there = client.replace("http://127.0.0.1:8000", server.url)
        assert there != client
        found = subprocess.run(
            [sys.executable, "-c", there],
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=60,
        )
        assert found.returncode == 0, found.stderr
        assert len(literal_eval(found.stdout)) == 5
    done = subprocess.run(
        [sys.executable, "-c", block],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5
    assert all(line.startswith("#") for line in done.stdout.splitlines())
