"""What `make demo` shows: a stranger, a person with a history, and a day when a tag was rising."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from lena import make_store

ROOT = Path(__file__).parent.parent
PIXTAG = Path(sys.executable).with_name("pixtag")
WELL = ("cat", "coffee", "flower", "mountains", "river", "sunset")


def main() -> None:
    """Run the commands that a newcomer could type, and show each with its answer."""
    (ROOT / "out").mkdir(exist_ok=True)

    tell(
        "1. A stranger. Nothing is known but the picture. Six photos that come out well, and one",
        "   that does not: a rocket at night is nothing that the model learned, so it says that it",
        "   is not sure and gives three hashtags instead of five.",
    )
    run(*map(sample, [*WELL, "rocket"]))

    tell(
        "2. A person with a history. Lena is simulated: 45 real photos, mostly of her cat, with",
        "   invented habits (demo/lena.py); #lenaandtiger and #tigerdaily are hers alone. A photo",
        "   like hers gets her own hashtags, one unlike hers what it shows:",
    )
    lena, friends = fresh("lena"), fresh("friends")
    make_store(ROOT / lena)
    run(sample("cat"), sample("mountains"), "--store", lena, *at("2026-04-14T18:00"))

    tell(
        "3. Trend. Ana and her friends are invented (demo/posts.jsonl, tags and times alone). On a",
        "   day in May when a launch is in the news, the rocket gets its name:",
    )
    run("import", "demo/posts.jsonl", "--store", friends)
    run("trending", "--store", friends, *at("2026-05-14T12:00"), "-k", "5")
    run(sample("rocket"), "--store", friends, *at("2026-05-14T12:00"))

    pixtag = PIXTAG.relative_to(ROOT) if PIXTAG.is_relative_to(ROOT) else PIXTAG
    tell(
        "Try next:",
        f"  {pixtag} YOUR_PHOTO.jpg",
        f"  {pixtag} YOUR_PHOTO.jpg --history 'coffee, latteart, berlin'",
        f"  {pixtag} import YOUR_INSTAGRAM_ARCHIVE.zip",
        f"  {pixtag} YOUR_PHOTO.jpg    (from then on fitted to your habits)",
        "  make page    (the same in your browser)",
        f"  {pixtag} --help",
        "",
        "README.md tells more: how good it is, training on your own posts, and Python.",
    )


def at(time: str) -> list[str]:
    """Options that ask as of a time."""
    return ["--at", time]


def fresh(name: str) -> str:
    """Path of a store that is not there yet, whatever an earlier run left."""
    path = Path("out") / f"{name}.sqlite"
    for old in ROOT.glob(f"{path}*"):
        old.unlink()
    return str(path)


def sample(name: str) -> str:
    """Path of a sample photo, or stop: the demo needs it."""
    path = Path("samples") / f"{name}.jpg"
    if not (ROOT / path).exists():
        sys.exit(f"error: there is no {path}\nhint: restore it: git checkout samples")
    return str(path)


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
