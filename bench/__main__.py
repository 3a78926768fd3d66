"""Run the benches one after the other: `python -m bench [NAME ...]`; all without a name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def main() -> None:
    known = sorted(p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_"))
    wanted = sys.argv[1:] or known
    unknown = [name for name in wanted if name not in known]
    if unknown:
        sys.exit(f"error: no bench named {unknown[0]}\nhint: there are {', '.join(known)}")
    failed = 0
    for name in wanted:
        print(f"== {name}", flush=True)
        failed |= subprocess.run([sys.executable, FOLDER / f"{name}.py"], check=False).returncode
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
