"""Small invented logs for tests of measuring."""

from __future__ import annotations

import gzip
import json
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from pixtag.types import Post, PostLog

if TYPE_CHECKING:
    from pathlib import Path

START_AT = 1_700_000_000.0


def invented_log(
    n_posts: int = 120,
    *,
    n_users: int = 6,
    n_tags: int = 25,
    width: int = 8,
    seed: int = 0,
    gap_s: float = 7200.0,
    share_tied: float = 0.0,
) -> PostLog:
    """People who repeat themselves, photos that resemble their tags."""
    rng = np.random.default_rng(seed)
    tags = [f"tag{i}" for i in range(n_tags)]
    looks = rng.normal(size=(n_tags, width))
    taste = rng.dirichlet(np.full(n_tags, 0.2), n_users)
    posts, embeddings, at = [], {}, START_AT
    for i in range(n_posts):
        user = int(rng.integers(n_users))
        n = int(rng.integers(1, 6))
        chosen = rng.choice(n_tags, n, replace=False, p=0.9 * taste[user] + 0.1 / n_tags)
        at += 0.0 if rng.random() < share_tied else float(rng.exponential(gap_s)) + 1.0
        post_id = f"p{i:05d}"
        posts.append(Post(post_id, f"user{user}", at, tuple(tags[t] for t in chosen)))
        look = looks[chosen].mean(axis=0) + 0.3 * rng.normal(size=width)
        embeddings[post_id] = look.astype(np.float16)
    return PostLog.of(posts, embeddings if width else None)


def read_log(path: Path) -> PostLog:
    """A file of posts, without its photos."""
    raw = path.read_bytes()
    text = gzip.decompress(raw) if path.suffix == ".gz" else raw
    records = [json.loads(line) for line in text.splitlines()]
    return PostLog.of(
        Post(
            r["post_id"],
            r["user_id"],
            datetime.fromisoformat(r["posted_at"]).timestamp(),
            tuple(dict.fromkeys(r["tags"])),
        )
        for r in records
    )
