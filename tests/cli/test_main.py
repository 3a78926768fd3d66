from __future__ import annotations

import errno
import itertools
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


def test_help_groups_verbs(pixtag):
    text = pixtag("--help").stdout
    titles = ["─ Suggest ─", "─ Your posts ─", "─ Measure ─", "─ Make ─", "Examples:"]
    places = [text.index(title) for title in titles]
    assert places == sorted(places)
    for (title, end), verb in zip(
        itertools.pairwise(titles), ["lists", "forget", "leakcheck", "config"], strict=True
    ):
        assert f"│ {verb} " in text[text.index(title) : text.index(end)]


@pytest.mark.parametrize("columns", [60, 100, 140])
def test_help_fills_the_terminal(pixtag, columns):
    text = pixtag("evaluate", "--help", env={"COLUMNS": str(columns)}).stdout
    lines = text.partition("Examples:")[0].splitlines()
    assert max(map(len, lines)) == columns
    # A line that ends early ends a text: what follows is another option, or a box.
    for line, after in itertools.pairwise(lines):
        words, more = line.strip("│ ").split(), after.strip("│ ").split()
        is_continued = line.startswith("│") and after.startswith("│  ")
        if is_continued and not after[2:].lstrip().startswith(("-", "*")):
            room = columns - 3 - len(line.rstrip("│ "))
            assert len(more[0]) >= room, (line, words)


def test_suggest_is_predict(pixtag):
    assert pixtag("suggest", "--help").stdout == pixtag("predict", "--help").stdout
    assert "did you mean `pixtag suggest`?" in pixtag("sugest", "x.jpg").stderr


def test_completion_can_be_installed(pixtag, tmp_path):
    done = pixtag("--install-completion", "--shell", "bash", env={"HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    (script,) = (path for path in tmp_path.rglob("pixtag") if path.is_file())
    text = script.read_text("utf-8")
    assert all(verb in text for verb in cli.VERBS)
    assert "--install-completion" in pixtag("--help").stdout


def test_no_words_means_help(pixtag):
    assert "Usage: pixtag" in pixtag().stdout


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version(pixtag, flag):
    done = pixtag(flag)
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
