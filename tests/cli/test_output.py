from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtag.cli import output


@dataclass
class Pair:
    left: int
    right: Path


def test_json_takes_what_verbs_have():
    value = {
        "n": np.int64(3),
        "row": np.array([1.5, 2.5]),
        "pair": Pair(1, Path("a/b")),
        "tags": ("x", "y"),
        "nan": math.nan,
        "inf": np.float32(np.inf),
    }
    assert json.loads(output.to_json(value)) == {
        "n": 3,
        "row": [1.5, 2.5],
        "pair": {"left": 1, "right": "a/b"},
        "tags": ["x", "y"],
        "nan": None,
        "inf": None,
    }


@given(st.text(alphabet=st.characters()))
def test_json_of_any_text_is_utf8_and_comes_back(text):
    line = output.to_json({"t": text})
    assert json.loads(line.encode("utf-8")) == {"t": text}
    assert "\n" not in line


@given(st.text(alphabet=st.characters()))
def test_printable_text_cannot_steer_a_terminal(text):
    shown = output.printable(text)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown)
    assert output.printable(shown) == shown


def test_printable_keeps_scripts_and_emoji():
    for text in ["#日本語", "café", "👩‍👩‍👧", "שלום", "नमस्ते"]:
        assert output.printable(text) == text


def test_lines_for_the_person_follow_the_data_that_came_before(tmp_path):
    code = (
        "from pixtag.cli import output\n"
        "output.print_line('data')\noutput.say('said')\noutput.print_line('more')\n"
    )
    both = tmp_path / "both"
    with both.open("w") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, stderr=file, check=True)
    assert both.read_text().split() == ["data", "said", "more"]


def test_table_shows_markup_as_typed(capsys):
    output.print_table({"tag": "left", "n": "right"}, [("[red]x[/red]", 3), ("y", None)])
    text = capsys.readouterr().out
    assert "[red]x[/red]" in text
    assert "3" in text


def test_long_cells_are_not_cut(capsys):
    long = "w" * 400
    output.print_table({"tag": "left"}, [(long,)])
    text = "".join(capsys.readouterr().out.split())
    assert long in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("is_terminal", [True, False])
def test_bar_only_for_slow_work_on_a_terminal(monkeypatch, is_terminal):
    stream = Terminal() if is_terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    now = iter([0.0, 0.5, 3.0, 3.0, 3.0, 3.0, 3.0])
    monkeypatch.setattr(output.time, "monotonic", lambda: next(now, 3.0))
    with output.progress("reading photos", 10, unit="photos") as bar:
        bar.advance()
        assert stream.getvalue() == ""
        bar.update(5)
    assert ("reading photos" in stream.getvalue()) is is_terminal
    if is_terminal:
        assert "photos/s" in stream.getvalue()


def test_in_a_pipe_a_line_now_and_then_says_how_far_it_is(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    now = [0.0]
    monkeypatch.setattr(output.time, "monotonic", lambda: now[0])
    with output.progress("evaluating", 4000, unit="steps") as bar:
        for at in (1.0, 14.0, 16.0, 17.0, 40.0):
            now[0] = at
            bar.advance(100)
    assert stream.getvalue().splitlines() == [
        "evaluating: 300 of 4,000 steps, 16 s so far",
        "evaluating: 500 of 4,000 steps, 40 s so far",
    ]


def test_ctrl_c_says_how_far_work_came():
    def work() -> None:
        with output.progress("reading", 1000) as bar:
            bar.update(400)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stop:
        work()
    assert stop.value.__notes__ == ["reading, 400 of 1,000 posts done"]
