"""The evaluation set: make it from a store, and reproduce the README's table from it.

    python tools/evaluation_set.py make --store world.sqlite   # once, where the photos are
    python tools/evaluation_set.py run                         # anywhere, offline

`evalset/` holds posts, times and embeddings, no photos:

    posts.jsonl.gz   as `pixtag import` reads it, in time order
    embeddings.npz   codes uint8 [N, D], step and floor [D], encoder digest

A number is floor + (step * code) ** 2: features of the encoder are averages of what a rectifier
lets through, many near zero and few large, so equal steps of their root lose less than equal
steps. `make` prints what was lost.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pixtag.cli.main import run as run_command
from pixtag.encoder import load_encoder
from pixtag.errors import InputError, PixtagError
from pixtag.ingest import find_sources, import_posts
from pixtag.store import Store
from pixtag.types import Floats, Photo, Post

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "evalset"
OUT = ROOT / "out" / "evaluation"


def make(store: Path, folder: Path) -> None:
    """Write the evaluation set from a store whose photos were looked at."""
    digest = load_encoder().digest
    with Store.open(store, read_only=True) as opened:
        log = opened.log(digest)
    if not len(log) or not log.has_photo.all():
        raise InputError(
            f"{int((~log.has_photo).sum())} of {len(log)} posts in {store} have no embedding",
            hint="import the posts with their photos",
        )
    folder.mkdir(parents=True, exist_ok=True)
    # A fixed time stamp, so that the same posts give the same file.
    with (
        (folder / "posts.jsonl.gz").open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed,
    ):
        for row in range(len(log)):
            post = {
                "post_id": log.post_ids[row],
                "user_id": log.users[log.user_of_post[row]],
                "posted_at": datetime.fromtimestamp(float(log.at[row]), UTC).isoformat(),
                "image": "",
                "tags": log.tags_of(row),
            }
            packed.write((json.dumps(post, ensure_ascii=False) + "\n").encode())
    exact = log.embeddings.astype(np.float32)
    codes, step, floor = pack(exact)
    np.savez_compressed(
        folder / "embeddings.npz", codes=codes, step=step, floor=floor, encoder=np.array(digest)
    )
    lost = _cosines(exact, unpack(codes, step, floor))
    n_bytes = sum(path.stat().st_size for path in folder.iterdir())
    print(
        f"wrote {len(log):,} posts to {folder}, {n_bytes / 1e6:.1f} MB; cosine of packed and "
        f"exact embeddings {lost.mean():.6f}, at worst {lost.min():.6f}"
    )


def pack(exact: Floats) -> tuple[np.ndarray, Floats, Floats]:
    """Code numbers `[N, D]` as bytes, with a step and a floor for each dimension."""
    floor = exact.min(axis=0)
    root = np.sqrt(exact - floor)
    step = np.maximum(root.max(axis=0) / 255, np.float32(1e-12))
    return np.rint(root / step).astype(np.uint8), step, floor


def unpack(codes: np.ndarray, step: Floats, floor: Floats) -> Floats:
    """The numbers again, `[N, D]`."""
    return (codes * step) ** 2 + floor


def _cosines(a: Floats, b: Floats) -> Floats:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(axis=1) / np.maximum(norms, 1e-12)


def build_store(folder: Path, path: Path) -> None:
    """Make a store from the evaluation set."""
    if not (folder / "embeddings.npz").exists():
        raise InputError(f"{folder} holds no evaluation set", hint="check out the repository again")
    with np.load(folder / "embeddings.npz") as packed:
        digest = str(packed["encoder"])
        embeddings = unpack(packed["codes"], packed["step"], packed["floor"]).astype(np.float16)
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
    with Store.open(path, create=True) as store:
        import_posts(find_sources([folder / "posts.jsonl.gz"], None), store)
        posts = sorted(store.posts(), key=lambda post: (post.posted_at or 0, post.post_id))
        # Nobody has the photos; a name stands for each, so that its embedding can be kept.
        named = [(post, hashlib.sha256(post.post_id.encode()).hexdigest()) for post in posts]
        store.add_posts(
            Post(
                post.post_id,
                post.user_id,
                post.posted_at,
                post.tags,
                (Photo(path=f"not-included/{post.post_id}.jpg", digest=name),),
            )
            for post, name in named
        )
        store.put_embeddings(digest, [name for _, name in named], embeddings)


def run(folder: Path, out: Path, words: list[str]) -> int:
    """Build a store from the evaluation set, train on its first part, measure on its last."""
    store = out / "world.sqlite"
    build_store(folder, store)
    print(
        "The people of this set are simulated; photos and which tags go together are real.\n"
        "Training takes a few minutes ...",
        file=sys.stderr,
    )
    files = ["--json", f"{out / 'figures.json'}", "--html", f"{out / 'report.html'}"]
    return run_command(["evaluate", "--store", str(store), *files, *words])


def main() -> None:
    """Make the evaluation set, or use it."""
    parser = argparse.ArgumentParser(description="Make or use the evaluation set.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("make", help="write evalset/ from a store with embeddings")
    making.add_argument("--store", type=Path, required=True)
    making.add_argument("--out", type=Path, default=FOLDER)
    running = verbs.add_parser("run", help="train and measure; other words go to pixtag evaluate")
    running.add_argument("--set", type=Path, default=FOLDER)
    running.add_argument("--out", type=Path, default=OUT)
    given, words = parser.parse_known_args()
    try:
        if given.verb == "make":
            make(given.store, given.out)
            code = 0
        else:
            code = run(given.set, given.out, words)
    except PixtagError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
