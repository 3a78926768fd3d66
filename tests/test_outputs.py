"""What a command writes never replaces what it reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pixtag.errors import InputError
from pixtag.outputs import check_outputs, replacing


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "s.sqlite"
    path.write_bytes(b"posts")
    return path


def test_the_same_file_by_any_name_is_refused(source: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(source)
    os.link(source, tmp_path / "hard")
    (tmp_path / "folder").symlink_to(source.parent)
    names = [source, "link", "hard", "in/../in/s.sqlite", "folder/s.sqlite", "in/s.sqlite-wal"]
    for out in (Path(name) for name in names):
        with pytest.raises(InputError, match="would be replaced"):
            check_outputs([out], [source])
        with pytest.raises(InputError, match="would be replaced"), replacing(out, inputs=[source]):
            pass
    with pytest.raises(InputError, match="would be replaced"):
        check_outputs([], [source], folder=source.parent)
    assert source.read_bytes() == b"posts"


def test_an_output_without_a_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        check_outputs([tmp_path / "missing" / "out.json"], [])


def test_others_may_be_written(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    check_outputs([out, None, tmp_path / "out.html"], [source, None])
    with replacing(out, inputs=[source]) as file:
        file.write(b"one")
    out.chmod(0o640)
    with replacing(out, inputs=[source]) as file:
        file.write(b"two")
    assert (out.read_bytes(), out.stat().st_mode & 0o777) == (b"two", 0o640)
    with pytest.raises(TypeError), replacing(out) as file:
        file.write("no bytes")  # pyright: ignore[reportArgumentType]
    assert out.read_bytes() == b"two"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out.json"]


def test_two_outputs_in_one_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="would be replaced"):
        check_outputs([tmp_path / "a", tmp_path / "a"], [])


def test_devices_pipes_and_folders_are_no_files(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="not a plain file"), replacing(pipe):
        pass
    assert pipe.is_fifo()
    with pytest.raises(InputError, match="not a plain file"):
        check_outputs([Path(os.devnull)], [])
    with pytest.raises(InputError, match="is a folder"), replacing(tmp_path):
        pass
