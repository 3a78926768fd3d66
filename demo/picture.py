"""Draw docs/predict.svg: the picture in the README, from a real run.

python demo/picture.py samples/coffee.jpg samples/cat.jpg
    --user ana --store out/demo.sqlite --at 2026-05-27T08:00  (in one line)
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


def main(words: list[str]) -> None:
    """Run `pixtag` with the words and write what it prints as a picture.

    Args:
        words: What a person would type after `pixtag`.
    """
    done = subprocess.run(
        [Path(sys.executable).with_name("pixtag"), *words],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": str(WIDTH), "FORCE_COLOR": "1"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True)
    console.print(Text("$ pixtag " + shlex.join(words), style="bold"))
    console.print(Text.from_ansi("\n".join(lines).strip("\n")))
    picture = console.export_svg(title="pixtag")
    # A document that is only looked at must not fetch fonts from anywhere.
    picture = re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    picture = picture.replace("Fira Code", "ui-monospace").rstrip() + "\n"
    out = ROOT / "docs" / "predict.svg"
    out.write_text(picture, encoding="utf-8")
    print(f"wrote {out.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1:])
