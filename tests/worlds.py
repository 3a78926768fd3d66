"""A small invented world in which pixels, history and trend each tell something.

People like a few looks, repeat themselves and sign their posts; events burst and fade among all;
some tags return weekly. Some posts have no photo, no time or no person, and some share an instant.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pixtag.bundle import anonymous_log
from pixtag.rank import Model, RankConfig
from pixtag.signals import Knowledge
from pixtag.signals.head import Head
from pixtag.signals.topics import Topics
from pixtag.train.config import TrainConfig
from pixtag.types import Post, PostLog

if TYPE_CHECKING:
    from pixtag.bundle import Bundle
    from pixtag.evidence import MemoryEvidence

DAY_S = 86_400.0
START_AT = 1_700_000_000.0
N_USERS, N_LOOKS, WIDTH, N_DAYS = 20, 10, 24, 60.0

QUICK = TrainConfig(
    size="tiny",
    folds=2,
    head_epochs=60,
    epochs=3,
    teachers=1,
    batch=64,
    rank=RankConfig(own_slots=16, near_slots=16, max_candidates=60),
)
"""Settings that train in a few seconds."""


@cache
def world(n_posts: int = 600, seed: int = 1, *, has_photos: bool = True) -> PostLog:
    """The log; the same seed gives the same world.

    Tags: `look3-1` goes with a look, `sign7` is one person's, `event2` bursts, `weekly4` returns
    on a weekday, `all1` is used by everybody.
    """
    rng = np.random.default_rng(seed)
    looks = rng.normal(size=(N_LOOKS, WIDTH))
    interests = rng.dirichlet(np.full(N_LOOKS, 0.3), N_USERS)
    taste = rng.dirichlet(np.full(6, 0.6), (N_USERS, N_LOOKS))
    times = np.sort(rng.uniform(0, N_DAYS, n_posts)) * DAY_S + START_AT
    posts: list[Post] = []
    embeddings: dict[str, np.ndarray] = {}
    last: dict[int, tuple[str, ...]] = {}
    for i, at in enumerate(times):
        user = min(int(rng.geometric(0.12)) - 1, N_USERS - 1)
        look = int(rng.choice(N_LOOKS, p=interests[user]))
        tags = [f"look{look}-{t}" for t in rng.choice(6, 3, p=taste[user, look])]
        day = int((at - START_AT) // DAY_S)
        tags += [f"all{rng.integers(3)}"] * (rng.random() < 0.3)
        tags += [f"sign{user}"] * (user % 2 == 0 and rng.random() < 0.7)
        tags += [f"event{day // 4}"] * (day % 4 < 2 and rng.random() < 0.4)
        tags += [f"weekly{day % 7}"] * (day % 7 < 3 and rng.random() < 0.5)
        chosen = tuple(dict.fromkeys(tags))
        if user in last and rng.random() < 0.15:
            chosen = last[user]
        last[user] = chosen
        post_id = f"p{i:05d}"
        kind = rng.random()
        name = None if kind < 0.03 else f"user{user}"
        when = None if 0.03 <= kind < 0.06 else float(at)
        if when is not None and posts and 0.06 <= kind < 0.1:
            when = posts[-1].posted_at
        if name is None:  # or a signature would have many people behind it
            chosen = tuple(t for t in chosen if not t.startswith("sign"))
        posts.append(Post(post_id, name, when, chosen))
        if has_photos and rng.random() > 0.1:
            row = looks[look] + 0.5 * rng.normal(size=WIDTH)
            embeddings[post_id] = row.astype(np.float16)
    return PostLog.of(posts, embeddings)


def random_head(
    vocabulary: list[str], *, width: int = WIDTH, joint: int = 8, seed: int = 0
) -> Head:
    """A head that was never fitted."""
    rng = np.random.default_rng(seed)
    return Head(
        center=np.zeros(width, np.float32),
        projection=rng.normal(0, 0.3, (width, joint)).astype(np.float32),
        tag_vectors=rng.normal(0, 1, (len(vocabulary), joint)).astype(np.float32),
        tag_bias=np.zeros(len(vocabulary), np.float32),
    )


def random_topics(vocabulary: list[str], *, joint: int, seed: int = 1) -> Topics:
    """Topics that were never fitted."""
    rng = np.random.default_rng(seed)
    n_topics = 6
    return Topics(
        weight=rng.normal(0, 2, (joint, n_topics)).astype(np.float32),
        bias=np.zeros(n_topics, np.float32),
        chance=rng.uniform(0.01, 0.6, (n_topics, len(vocabulary))).astype(np.float32),
        usual=np.full(n_topics, 1 / n_topics, np.float32),
    )


def random_prior(
    vocabulary: list[str], *, joint: int = 8, n_posts: int = 40, seed: int = 2
) -> PostLog:
    """Anonymous posts over a vocabulary, most of them with a photo in the joint space."""
    rng = np.random.default_rng(seed)
    n_tags = len(vocabulary)
    most = min(3, n_tags) + 1
    tags = [rng.choice(n_tags, rng.integers(1, most), replace=False) for _ in range(n_posts)]
    rows = rng.normal(size=(n_posts, joint))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    has_photo = rng.random(n_posts) < 0.8
    rows[~has_photo] = 0.0
    return anonymous_log(vocabulary, tags, rows.astype(np.float16), has_photo)


def knowledge(
    vocabulary: list[str], *, width: int = WIDTH, joint: int = 8, has_prior: bool = True
) -> Knowledge:
    """A head and topics that were never fitted, and a prior of invented posts.

    Of three tags of the vocabulary one is used by nobody behind the prior, one by one person, one
    by four.
    """
    has_prior = has_prior and bool(vocabulary)
    return Knowledge.of(
        vocabulary,
        random_head(vocabulary, width=width, joint=joint),
        prior=random_prior(vocabulary, joint=joint) if has_prior else None,
        prior_people=np.resize([0.0, 1.0, 4.0], len(vocabulary)) if has_prior else None,
        topics=random_topics(vocabulary, joint=joint) if vocabulary else None,
    )


def model_for(
    log: PostLog, *, n_known: int = 20, config: RankConfig | None = None, has_prior: bool = True
) -> Model:
    """A model that was never fitted; its head and prior know the first tags of a log by name."""
    vocabulary = sorted(log.tags)[:n_known]
    width = max(1, log.embeddings.shape[1])
    known = knowledge(vocabulary, width=width, has_prior=has_prior)
    return Model(known, config or RankConfig())


def observed(
    log: PostLog, *, n_known: int = 20, config: RankConfig | None = None, has_prior: bool = True
) -> tuple[Model, MemoryEvidence]:
    """Such a model, and evidence of the log with no tag beyond it and the vocabulary."""
    model = model_for(log, n_known=n_known, config=config, has_prior=has_prior)
    return model, model.knowledge.evidence(log)


@cache
def bundle() -> Bundle:
    """A bundle trained on the world's first 80 %; made once."""
    from pixtag.train.fit import fit  # JAX takes seconds, so not before it is needed

    with tempfile.TemporaryDirectory() as folder:
        return fit(world(), out=Path(folder) / "bundle", config=QUICK)


@cache
def evaluation_log() -> PostLog:
    """The evaluation set that ships with the repository: 11,975 posts with embeddings."""
    folder = Path(__file__).parent.parent / "evalset"
    with gzip.open(folder / "posts.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    posts = [
        Post(
            r["post_id"],
            r["user_id"],
            datetime.fromisoformat(r["posted_at"]).timestamp(),
            tuple(r["tags"]),
        )
        for r in records
    ]
    packed = np.load(folder / "embeddings.npz")
    rows = packed["floor"] + (packed["step"] * packed["codes"].astype(np.float32)) ** 2
    ids = [post.post_id for post in posts]
    return PostLog.of(posts, dict(zip(ids, rows.astype(np.float16), strict=True)))
