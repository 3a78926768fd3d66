"""The evaluation set: make it where the photos are, and reproduce the README's tables from it.

    python tools/evaluation_set.py make --store world.sqlite --photos ../shared/data/world
    python tools/evaluation_set.py run                     # anywhere, offline: both grounds
    python tools/evaluation_set.py run --ground town

`evalset/` holds posts, times and embeddings, no photos; its README says what each file is. A
number of an embedding is floor + (step * code) ** 2: features of the encoder are averages of what a
rectifier lets through, many near zero and few large, so equal steps of their root lose less than
equal steps. `make` prints what was lost.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pixtag.cli import output
from pixtag.cli.main import run as run_command
from pixtag.encoder import load_encoder
from pixtag.errors import InputError, PixtagError
from pixtag.evaluate.labelled import read_packed, unpack
from pixtag.ingest import find_sources, import_posts
from pixtag.store import Store
from pixtag.types import Floats, Photo

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "evalset"
OUT = ROOT / "out" / "evaluation"
GROUNDS = ("world", "town")
POSTS = {"world": "posts.jsonl.gz", "town": "town.jsonl.gz"}
NEW_SUBJECTS = "town_new_subjects.txt"

# ------------------------------------------------------------------ making it


def make(store: Path, photos: Path, folder: Path) -> None:
    """Write the evaluation set from a store of world whose photos were looked at.

    `photos` is the folder of world, whose town.jsonl deals the same photos to other people.
    """
    digest = load_encoder().digest
    with Store.open(store, read_only=True) as opened:
        log = opened.log(digest)
    if not len(log) or not log.has_photo.all():
        raise InputError(
            f"{int((~log.has_photo).sum())} of {len(log)} posts in {store} have no embedding",
            hint="import the posts with their photos",
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_lines(
        folder / POSTS["world"],
        (
            {
                "post_id": log.post_ids[row],
                "user_id": log.users[log.user_of_post[row]],
                "posted_at": datetime.fromtimestamp(float(log.at[row]), UTC).isoformat(),
                "image": "",
                "tags": log.tags_of(row),
            }
            for row in range(len(log))
        ),
    )
    exact = log.embeddings.astype(np.float32)
    codes, step, floor = pack(exact)
    np.savez_compressed(
        folder / "embeddings.npz", codes=codes, step=step, floor=floor, encoder=np.array(digest)
    )
    lost = _cosines(exact, unpack(codes, step, floor))
    make_town(photos, folder, {post_id: row for row, post_id in enumerate(log.post_ids)})
    n_bytes = sum(path.stat().st_size for path in folder.iterdir())
    print(
        f"wrote {len(log):,} posts to {folder}, {n_bytes / 1e6:.1f} MB; cosine of packed and "
        f"exact embeddings {lost.mean():.6f}, at worst {lost.min():.6f}"
    )


def make_town(photos: Path, folder: Path, row_of: Mapping[str, int]) -> None:
    """Write town's posts; `photo` is the row of the embedding of each one's photo."""
    world, town = (
        [json.loads(line) for line in (photos / name).read_text(encoding="utf-8").splitlines()]
        for name in ("posts.jsonl", "town.jsonl")
    )
    row_of_image = {post["image"]: row_of[post["post_id"]] for post in world}
    write_lines(
        folder / POSTS["town"],
        ({**post, "image": "", "photo": row_of_image[post["image"]]} for post in town),
    )
    (folder / NEW_SUBJECTS).write_bytes((photos / NEW_SUBJECTS).read_bytes())


def write_lines(path: Path, posts: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON Lines; a fixed time stamp, so that the same posts give the same file."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed,
    ):
        for post in posts:
            packed.write((json.dumps(post, ensure_ascii=False) + "\n").encode())


def pack(exact: Floats) -> tuple[np.ndarray, Floats, Floats]:
    """Code numbers `[N, D]` as bytes, with a step and a floor for each dimension."""
    floor = exact.min(axis=0)
    root = np.sqrt(exact - floor)
    step = np.maximum(root.max(axis=0) / 255, np.float32(1e-12))
    return np.rint(root / step).astype(np.uint8), step, floor


def _cosines(a: Floats, b: Floats) -> Floats:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(axis=1) / np.maximum(norms, 1e-12)


# ------------------------------------------------------------------ using it


def build_store(folder: Path, path: Path, ground: str = "world") -> None:
    """Make a store of one ground's posts from the evaluation set."""
    digest, embeddings = read_packed(folder)
    if digest != load_encoder().digest:
        raise InputError(
            "the evaluation set was made with another encoder than this version ships",
            hint="make it again: `python tools/evaluation_set.py make --store STORE`",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(path.name + "*"):
        # The log of looks outlives the store that was looked at.
        if old.is_file() and not old.name.endswith(".looks.jsonl"):
            old.unlink()
    source = folder / POSTS[ground]
    with gzip.open(source, "rt", encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    row_of = {post["post_id"]: post.get("photo", row) for row, post in enumerate(records)}
    with Store.open(path, create=True) as store:
        import_posts(find_sources([source], None), store)
        # Nobody has the photos; a name stands for each, so that its embedding can be kept.
        names = {post: hashlib.sha256(post.encode()).hexdigest() for post in row_of}
        photos = {p: (Photo(f"not-included/{p}.jpg", name),) for p, name in names.items()}
        store.add_posts([replace(p, photos=photos[p.post_id]) for p in store.posts()])
        rows = embeddings[[*row_of.values()]].astype(np.float16)
        store.put_embeddings(digest, [names[post] for post in row_of], rows)


def run(folder: Path, out: Path, grounds: Sequence[str], words: list[str]) -> int:
    """Train on the first part of each ground, measure on its last, then say what is knowable."""
    known = tomllib.loads((folder / "grounds.toml").read_text(encoding="utf-8"))
    print(
        "The people of both grounds are simulated; photos, and which tags go with them, are real.\n"
        f"Training takes two minutes for each: {' and '.join(grounds)} ...",
        file=sys.stderr,
    )
    worst = 0
    shares: list[list[str]] = []
    for ground in grounds:
        store, figures = out / f"{ground}.sqlite", out / f"{ground}.json"
        build_store(folder, store, ground)
        files = ["--json", str(figures), "--html", str(out / f"{ground}.html")]
        if ground == "town":
            files += ["--new-subjects", str(folder / NEW_SUBJECTS)]
            # Held-out people are measured on world alone: that trains once more.
            files += ["--no-cold"] * ("--no-cold" not in words)
        worst = max(worst, run_command(["evaluate", "--store", str(store), *files, *words]))
        if figures.exists():
            found = json.loads(figures.read_text(encoding="utf-8"))
            shares += shares_of(found, ground, known[ground]["knowable"])
    heads = ("ground", "posts", "metric", "pixtag", "knowable", "share")
    sides: dict[str, output.Align] = {h: "left" if h in heads[:3] else "right" for h in heads}
    if shares:
        title = "Share of what a predictor could know that knew person, concept and events"
        output.print_table(sides, shares, title=f"{title} (simulated people)")
    return worst


def shares_of(
    found: Mapping[str, Any], ground: str, knowable: Mapping[str, Mapping[str, float]]
) -> list[list[str]]:
    """Lines of ground, segment, metric, Pixtag's figure, what is knowable, and the share."""
    mean = {
        (row["segment"], row["metric"]): row["mean"]
        for row in found["rows"]
        if (row["method"], row["kind"], row["over"]) == ("pixtag", "mean", "posts")
    }
    return [
        [ground, segment, metric, f"{ours:.3f}", f"{most:.3f}", f"{ours / most:.2f}"]
        for segment, metrics in knowable.items()
        for metric, most in metrics.items()
        if (ours := mean.get((segment, metric))) is not None
    ]


def main() -> None:
    """Make the evaluation set, or use it."""
    parser = argparse.ArgumentParser(description="Make or use the evaluation set.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("make", help="write evalset/ from a store with embeddings")
    making.add_argument("--store", type=Path, required=True)
    making.add_argument("--photos", type=Path, required=True, help="folder with town.jsonl")
    making.add_argument("--out", type=Path, default=FOLDER)
    running = verbs.add_parser("run", help="train and measure; other words go to pixtag evaluate")
    running.add_argument("--ground", choices=[*GROUNDS, "both"], default="both")
    running.add_argument("--set", type=Path, default=FOLDER)
    running.add_argument("--out", type=Path, default=OUT)
    given, words = parser.parse_known_args()
    try:
        if given.verb == "make":
            make(given.store, given.photos, given.out)
            code = 0
        else:
            grounds = GROUNDS if given.ground == "both" else (given.ground,)
            code = run(given.set, given.out, grounds, words)
    except PixtagError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
