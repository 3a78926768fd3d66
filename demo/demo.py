"""What `make demo` shows: a stranger, a person with a history, and a day when a tag was rising."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PIXTAG = Path(sys.executable).with_name("pixtag")
STORE = Path("out") / "demo.sqlite"
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def main() -> None:
    """Run the commands that a newcomer could type, and show each with its answer."""
    photos = sorted(p for p in (ROOT / "samples").iterdir() if p.suffix.lower() in SUFFIXES)
    names = [str(p.relative_to(ROOT)) for p in photos]
    (ROOT / "out").mkdir(exist_ok=True)

    tell(
        "1. A stranger. Nothing is known but the picture; the shipped model knows what people",
        "   use for such pictures.",
    )
    run(*names)

    tell(
        "2. A person with a history. Ana is invented, and so are her friends: posts with tags and",
        "   times, without photos (demo/posts.jsonl). Two photos on a morning in May:",
    )
    for old in ROOT.glob(f"{STORE}*"):  # of an earlier run, perhaps with other posts
        old.unlink()
    run("import", "demo/posts.jsonl", "--store", str(STORE))
    known = ["--store", str(STORE)]
    run(
        *pick(names, "coffee"),
        *pick(names, "cat"),
        "--user",
        "ana",
        *known,
        *at("2026-05-27T08:00"),
    )

    tell(
        "3. The same rocket on an ordinary day in April, and on a day in May when a launch is in",
        "   the news and tags rise among Ana's friends:",
    )
    run(*pick(names, "rocket"), *known, *at("2026-04-25T12:00"))
    run(*pick(names, "rocket"), *known, *at("2026-05-14T12:00"))
    run("trending", *known, *at("2026-05-14T12:00"), "-k", "5")

    pixtag = PIXTAG.relative_to(ROOT) if PIXTAG.is_relative_to(ROOT) else PIXTAG
    tell(
        "Try next:",
        f"  {pixtag} YOUR_PHOTO.jpg",
        f"  {pixtag} YOUR_PHOTO.jpg --history 'coffee, latteart, berlin'",
        f"  {pixtag} import YOUR_INSTAGRAM_ARCHIVE.zip",
        f"  {pixtag} YOUR_PHOTO.jpg    (from then on fitted to your habits)",
        f"  {pixtag} --help",
        "",
        "README.md tells more: how good it is, training on your own posts, and Python.",
    )


def at(time: str) -> list[str]:
    """Options that ask as of a time."""
    return ["--at", time]


def pick(names: list[str], word: str) -> list[str]:
    """Sample photos with a word in their file name, or stop: the demo needs one."""
    found = [name for name in names if word in Path(name).stem]
    if not found:
        sys.exit(
            f"error: no photo named *{word}* in samples/\nhint: restore it: git checkout samples"
        )
    return found[:1]


def tell(*lines: str) -> None:
    """Print lines for the person, set off from the answers."""
    print("", *lines, sep="\n", flush=True)


def run(*words: str) -> None:
    """Show a command as a person would type it, then run it."""
    print("\n$ pixtag " + shlex.join(words), flush=True)
    nobody = {**os.environ, "XDG_DATA_HOME": str(ROOT / "out")}  # who runs it may have a store
    done = subprocess.run([PIXTAG, *words], cwd=ROOT, env=nobody, check=False)
    if done.returncode != 0:
        sys.exit(f"error: that ended with {done.returncode}; please report it")


if __name__ == "__main__":
    main()
