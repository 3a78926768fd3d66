from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from pixtag.cli import main as cli
from pixtag.errors import ConfigError, ImageError, InputError, StoreError


def run_with(monkeypatch, capsys, error: BaseException, *words: str) -> tuple[int, str]:
    """The exit code and stderr of a command that ends in `error`."""

    def fail(words: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "_dispatch", fail)
    code = cli.run(list(words) or ["config"])
    return code, capsys.readouterr().err


def test_help_lists_every_verb_with_examples(pixtag):
    done = pixtag("--help")
    assert done.returncode == 0
    assert done.stderr == ""
    for verb in cli.VERBS:
        assert f"│ {verb} " in done.stdout, verb
    assert "pixtag photo.jpg" in done.stdout


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_explains_itself_by_example(pixtag, verb):
    done = pixtag(verb, "--help")
    assert done.returncode == 0
    assert f"Usage: pixtag {verb}" in done.stdout
    examples = done.stdout.partition("Examples:")[2]
    assert "pixtag" in examples


def test_no_words_means_help(pixtag):
    assert "Usage: pixtag" in pixtag().stdout


def test_version(pixtag):
    done = pixtag("--version")
    assert done.stdout.startswith("pixtag ")
    assert done.returncode == 0


def test_unknown_option_is_code_2_without_traceback(pixtag):
    done = pixtag("config", "--jsn")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "--json" in done.stderr
    assert "Traceback" not in done.stderr


def test_misspelt_verb_is_not_taken_for_a_photo(pixtag):
    done = pixtag("improt", "archive.zip")
    assert done.returncode == 2
    assert "did you mean `pixtag import`?" in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("no such day", hint="use 2026-05-01"), 2),
        (ConfigError("no such knob"), 2),
        (ImageError("half a JPEG", hint="save it again"), 1),
        (StoreError("busy"), 1),
        (OSError(errno.ENOSPC, "No space left on device", "x.sqlite"), 1),
        (MemoryError(), 1),
        (ZeroDivisionError("oops"), 3),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 0),
    ],
)
def test_exit_codes(monkeypatch, capsys, error, code):
    monkeypatch.setattr(cli, "_drop_stdout", lambda: None)
    got, text = run_with(monkeypatch, capsys, error)
    assert got == code
    assert "Traceback" not in text


def test_error_and_hint_are_lines_on_stderr(monkeypatch, capsys):
    error = ImageError("half a JPEG: a.jpg", hint="save it again")
    _, text = run_with(monkeypatch, capsys, error)
    assert text == "error: half a JPEG: a.jpg\nhint: save it again\n"


@pytest.mark.parametrize("flag", ["-v", "--verbose"])
def test_verbose_shows_where_an_error_arose(monkeypatch, capsys, flag):
    code, text = run_with(monkeypatch, capsys, ImageError("half a JPEG"), "config", flag)
    assert code == 1
    assert "Traceback" in text
    assert text.endswith("error: half a JPEG\n")


def test_our_bug_says_how_to_report_it(monkeypatch, capsys):
    _, text = run_with(monkeypatch, capsys, ZeroDivisionError("oops"))
    assert "a bug in Pixtag: ZeroDivisionError: oops" in text
    assert "-v" in text


def test_terminal_codes_in_messages_are_made_visible(monkeypatch, capsys):
    _, text = run_with(monkeypatch, capsys, ImageError("bad \x1b[2J name"))
    assert "\x1b" not in text
    assert r"\x1b[2J" in text


def test_words_after_two_dashes_are_not_flags():
    assert cli._take_verbose(["predict", "-v", "--", "-v"]) == (["predict", "--", "-v"], True)
    assert cli._take_verbose(["predict", "--", "-v"]) == (["predict", "--", "-v"], False)


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m pixtag config --json | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout == "0\n"
    assert done.stderr == ""


def test_ctrl_c_ends_with_130_and_one_line(tmp_path):
    script = tmp_path / "wait.py"
    script.write_text(
        textwrap.dedent(
            """
            import time
            from pixtag.cli import main as cli

            def wait(words):
                print("ready", flush=True)
                time.sleep(60)

            cli._dispatch = wait
            cli.main(["config"])
            """
        )
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=30)
    assert process.returncode == 130
    assert text == "interrupted\n"


def test_help_starts_fast(pixtag):
    # The best of three, since other work may run on the machine.
    def seconds() -> float:
        started = time.monotonic()
        pixtag("--help")
        return time.monotonic() - started

    assert min(seconds() for _ in range(3)) < 1.0


@pytest.mark.parametrize("words", [["--help"], ["predict", "--help"], ["config", "--json"]])
def test_start_imports_nothing_heavy(words):
    code = textwrap.dedent(
        f"""
        import sys
        from pixtag.cli import main as cli
        cli.run({words!r})
        heavy = {{"jax", "torch", "matplotlib", "onnxruntime", "pyarrow", "sqlite3"}}
        print(sorted(heavy & set(sys.modules)), file=sys.stderr)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stderr.strip() == "[]"
