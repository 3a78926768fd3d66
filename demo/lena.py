"""Lena's store for `make demo`: a simulated person's posts and the embeddings of their photos.

    python demo/lena.py    # writes demo/lena/ from evalset/

She is a person of the evaluation set: the photos are real, of cats mostly, and not kept; her
habits are simulated, and two hashtags of her own got readable names.
"""

from __future__ import annotations

import gzip
import json
from datetime import datetime
from pathlib import Path

import numpy as np

from pixtag.evaluate.labelled import read_packed
from pixtag.store import Store
from pixtag.types import Photo, Post

FOLDER = Path(__file__).parent / "lena"
EVALSET = Path(__file__).parent.parent / "evalset"
PERSON = "u0348"
READABLE = {"finozalife": "lenaandtiger", "finozadaily": "tigerdaily"}


def make_store(path: Path) -> None:
    """Make a store of her posts with their embeddings."""
    encoder, embeddings = read_packed(FOLDER)
    posts: list[Post] = []
    for line in (FOLDER / "posts.jsonl").read_text("utf-8").splitlines():
        one = json.loads(line)
        name = one["post_id"]
        photo = Photo(str(path.with_name(f"{name}.jpg")), name.encode().hex().ljust(64, "0"))
        at = datetime.fromisoformat(one["posted_at"]).timestamp()
        posts.append(Post(name, "lena", at, tuple(one["tags"]), (photo,)))
    digests = (post.photos[0].digest for post in posts)
    rows = dict(zip(digests, embeddings.astype(np.float16), strict=True))
    with Store.open(path, create=True) as store:
        store.add_posts(posts, encoder_digest=encoder, embeddings=rows)


def pack() -> None:
    """Write her posts and embeddings into the folder."""
    FOLDER.mkdir(exist_ok=True)
    packed = np.load(EVALSET / "embeddings.npz")
    with gzip.open(EVALSET / "posts.jsonl.gz", "rt", encoding="utf-8") as file:
        found = [(i, r) for i, r in enumerate(map(json.loads, file)) if r["user_id"] == PERSON]
    lines = [
        json.dumps(
            {
                "post_id": f"lena{number:02d}",
                "user_id": "lena",
                "posted_at": record["posted_at"],
                "tags": [READABLE.get(tag, tag) for tag in record["tags"]],
            }
        )
        for number, (_, record) in enumerate(found)
    ]
    (FOLDER / "posts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    codes = packed["codes"][[i for i, _ in found]]
    rest = {name: packed[name] for name in ("step", "floor", "encoder")}
    np.savez_compressed(FOLDER / "embeddings.npz", codes=codes, **rest)


if __name__ == "__main__":
    pack()
