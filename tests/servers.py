"""A real `pixtag serve` on a free port of loopback, for tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Running:
    """A server that is running."""

    url: str
    process: subprocess.Popen[str]
    notes: list[str]  # what it said before it was ready

    def stop(self, number: int) -> str:
        """Send it a signal and wait; gives what it said at the end."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=30)
        return said


@contextmanager
def running(store: Path, *words: object, env: dict[str, str] | None = None) -> Generator[Running]:
    """Start a server, wait until it answers, and end it."""
    command = [sys.executable, "-m", "pixtag", "serve", "--store", store, "--no-open"]
    if "--port" not in words:
        words = ("--port", "0", *words)
    process = subprocess.Popen(
        [str(word) for word in (*command, *words)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )
    try:
        notes: list[str] = []
        assert process.stderr is not None
        for line in process.stderr:
            notes.append(line.rstrip())
            if found := re.search(r"Pixtag is at (http://\S+)", line):
                yield Running(found[1], process, notes)
                break
        else:
            raise AssertionError("\n".join(notes))
    finally:
        process.kill()
        process.communicate()
