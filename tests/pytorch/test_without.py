"""Without PyTorch: the commands say what to install, and nothing else needs it."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest


@pytest.mark.parametrize("words", [["encoder", "timm:resnet50"], ["finetune"]])
def test_what_is_missing_is_said(words: list[str], tmp_path) -> None:
    code = textwrap.dedent(
        f"""
        import sys
        sys.modules["torch"] = None
        from pixtag.cli.main import run
        from pixtag.store import Store
        Store.open("s.sqlite", create=True).close()
        more = ["--store", "s.sqlite"] if {words[0] == "finetune"} else []
        sys.exit(run([*{words!r}, *more, "--out", "eyes.onnx"]))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "this needs the package torch" in done.stderr
    assert "pip install '.[finetune]'" in done.stderr
    assert not (tmp_path / "eyes.onnx").exists()


def test_help_and_settings_need_no_pytorch(pixtag) -> None:
    for words in (["encoder", "--help"], ["finetune", "--help"]):
        done = pixtag(*words)
        assert done.returncode == 0
        assert "clip:ViT-B-32" in done.stdout
    done = pixtag("config", "--all")
    assert "finetune.learning_rate" in done.stdout
