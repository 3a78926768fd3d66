"""Draw docs/predict.svg and write the README's table of samples, both from real runs.

make demo && .venv/bin/python demo/picture.py
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent
WIDTH = 128
SHOWN = ("cat", "coffee", "flower", "mountains", "river", "sunset", "rocket")
WORDS = ["samples/cat.jpg", "samples/mountains.jpg", "--store", "out/lena.sqlite"]
WORDS += ["--at", "2026-04-14T18:00"]
TABLE = re.compile(r"(?<=\| --- \| --- \|\n)(\| <img src=\"samples/.*\n)+")


def main() -> None:
    """Write both, from what `pixtag` prints."""
    lines = [line.rstrip() for line in pixtag(*WORDS).splitlines()]
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True)
    console.print(Text("$ pixtag " + shlex.join(WORDS), style="bold"))
    console.print(Text.from_ansi("\n".join(lines).strip("\n")))
    picture = console.export_svg(title="pixtag")
    # A document that is only looked at must not fetch fonts from anywhere.
    picture = re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    picture = picture.replace("Fira Code", "ui-monospace").rstrip() + "\n"
    (ROOT / "docs" / "predict.svg").write_text(picture, encoding="utf-8")
    readme = ROOT / "README.md"
    text, n_tables = TABLE.subn(table(), readme.read_text(encoding="utf-8"))
    if n_tables != 1:
        sys.exit("error: README.md has no table of samples")
    readme.write_text(text, encoding="utf-8")
    print("wrote docs/predict.svg and the samples in README.md")


def table() -> str:
    """What a stranger is told about the samples, as rows of Markdown."""
    photos = [f"samples/{name}.jpg" for name in SHOWN]
    tags = pixtag(*photos, "--stranger", "--format", "txt").splitlines()
    pairs = zip(photos, tags, strict=True)
    return "".join(f'| <img src="{photo}" width="120"> | {found} |\n' for photo, found in pairs)


def pixtag(*words: str) -> str:
    """What a command prints."""
    done = subprocess.run(
        [Path(sys.executable).with_name("pixtag"), *words],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": str(WIDTH), "FORCE_COLOR": "1"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout


if __name__ == "__main__":
    main()
