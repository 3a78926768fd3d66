"""Which Pythons and systems Pixtag installs on: `python tools/pythons.py` (`make pythons`).

For each version and system the whole of `pyproject.toml` (all extras, the test group) is resolved
with wheels alone, as uv would install it there; a package without one is named. For each version of
which an interpreter is here or can be had (`uv python install`), the tests run on it as well.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
# Names of uv, and the oldest macOS for which ONNX Runtime still makes wheels.
SYSTEMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin",
           "x86_64-pc-windows-msvc")  # fmt: skip
OLDEST_MACOS = "14.0"
TESTED = ("--extra", "train", "--extra", "serve", "--extra", "client", "--extra", "parquet",
          "--extra", "jxl", "--extra", "postgres", "--group", "test")  # fmt: skip


def uv(*words: str) -> subprocess.CompletedProcess[str]:
    """Run uv at the top of the repository."""
    env = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": OLDEST_MACOS}
    command = [sys.executable, "-m", "uv", *words]
    return subprocess.run(command, cwd=ROOT, env=env, check=False, capture_output=True, text=True)


def lacking(version: str, system: str) -> str:
    """Say what has no wheel there; nothing when all have."""
    done = uv("pip", "compile", "--quiet", "--no-header", "--only-binary", ":all:", "--all-extras",
              "--group", "test", "--python-version", version, "--python-platform", system,
              "pyproject.toml")  # fmt: skip
    return done.stderr.strip() if done.returncode else ""


def tested(version: str, words: list[str]) -> str:
    """Run the tests on an interpreter; "" where there is none, else how they ended."""
    if uv("python", "find", version).returncode and uv("python", "install", version).returncode:
        return ""
    place = ROOT / "out" / "pythons" / version
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    for step in (
        ("venv", "--quiet", "--clear", "--python", version, str(place)),
        ("pip", "install", "--quiet", "--python", str(python), "--editable", ".", "-r",
         "pyproject.toml", *TESTED),
    ):  # fmt: skip
        if (done := uv(*step)).returncode:
            return f"not installed: {done.stderr.strip()}"
    command = [str(python), "-m", "pytest", "-q", "-n", "2", "-m", "not slow", *words]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    return done.stdout.strip().splitlines()[-1] + ("" if not done.returncode else " FAILED")


def main() -> None:
    """Print a line a version and system, then the tests; exit 1 when anything is amiss."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheels", action="store_true", help="only resolve, run no tests")
    parser.add_argument("--version", action="append", choices=VERSIONS, help="only this one")
    parser.add_argument("tests", nargs="*", help="what pytest runs; all tests by default")
    given = parser.parse_args()
    is_good = True
    for version in given.version or VERSIONS:
        for system in SYSTEMS:
            reason = lacking(version, system)
            is_good &= not reason
            print(f"{version} {system:<24} {reason or 'every dependency has a wheel'}", flush=True)
        if not given.wheels:
            ended = tested(version, given.tests)
            is_good &= "FAILED" not in ended and "not installed" not in ended
            print(f"{version} tests: {ended or 'no interpreter can be had here'}", flush=True)
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
