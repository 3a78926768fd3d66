"""What fine-tuning learns from: photos of the fit period, and which of their tags count.

Shapes:
    N: posts. V: vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pixtag.errors import ModelError
from pixtag.splits import cold_people, temporal_split
from pixtag.store import Store
from pixtag.types import Bools, Floats, Ints, Photo, Post, PostLog

LEAST_USES = 5  # posts with a tag below which it is not learned
LEAST_POSTS = 50  # posts with photos and learned tags below which nothing worth having is learned
MOST_VALIDATION = 1000  # posts that an epoch is judged by
OTHERS_WEIGHT = 0.1  # of the absence of a tag that the person never used, against 1 for their own
SIGNATURE_SHARE, SIGNATURE_POSTS = 0.8, 10
"""A tag on more of a person's posts than this, if they have so many, says nothing of a photo."""


@dataclass(frozen=True)
class Examples:
    """Posts with photos, their tags and what the cells of each count.

    Attributes:
        vocabulary: Tags that are learned, `[V]`.
        train: Posts to learn from.
        validation: Posts of the same people, later, to judge by; perhaps none.
        share: Share of the posts to learn from that carry each tag, `[V]`.
    """

    vocabulary: list[str]
    train: list[Post]
    validation: list[Post]
    share: Floats
    _index: dict[str, int]
    _cells: dict[str | None, tuple[Ints, Ints]]

    def targets(self, posts: Sequence[Post]) -> tuple[Floats, Floats]:
        """Whether posts carry each tag and how much that counts, `[N, V]` each.

        Masked logits: of a tag that the person puts on nearly everything neither presence nor
        absence counts; the absence of one that they never used counts little, since they may call
        the same thing by another name.
        """
        wanted, weight = np.zeros((2, len(posts), len(self.vocabulary)), np.float32)
        weight += np.float32(OTHERS_WEIGHT)
        for row, post in enumerate(posts):
            mine = [self._index[tag] for tag in post.tags if tag in self._index]
            wanted[row, mine] = weight[row, mine] = 1.0
            if post.user_id in self._cells:
                own, signature = self._cells[post.user_id]
                weight[row, own] = 1.0
                weight[row, signature] = 0.0
        return wanted, weight


def read_examples(store: Store, *, most_tags: int, use_all: bool) -> Examples:
    """Choose posts and tags as `pixtag train` would: nothing that is measured on later is read.

    The first 70 % of the posts in time order are learned from and the next 10 % judge, both
    without the fifth of the people whom the cold protocol of `pixtag evaluate` holds out; with
    `use_all` 90 % and 10 % of everybody's. Photos behind an address are left out.

    Raises:
        ModelError: There are too few posts with photos and tags.
    """
    log = store.log()
    split = temporal_split(log, use_all=use_all)
    posts = {post.post_id: post for post in store.posts()}
    held_out = set() if use_all else _names(log, cold_people(log))
    train = _of(posts, log.post_ids[: split.train_stop], held_out)
    later = _of(posts, log.post_ids[split.train_stop : split.valid_stop], held_out)
    uses = Counter(tag for post in train for tag in post.tags)
    vocabulary = [tag for tag, n in uses.most_common(most_tags) if n >= LEAST_USES]
    index = {tag: i for i, tag in enumerate(vocabulary)}
    train = [post for post in train if any(tag in index for tag in post.tags)]
    if len(train) < LEAST_POSTS:
        raise ModelError(
            f"too little to learn from: {len(train)} posts with a photo and a tag that is on "
            f"{LEAST_USES} posts; fine-tuning needs {LEAST_POSTS}, and means something from "
            "some thousands",
            hint="use the encoder as it is: `pixtag encoder NAME --out FILE.onnx`",
        )
    later = [post for post in later if any(tag in index for tag in post.tags)]
    every = np.linspace(0, max(len(later) - 1, 0), min(len(later), MOST_VALIDATION)).astype(int)
    share = np.array([uses[tag] / len(train) for tag in vocabulary], np.float32)
    judges = [later[i] for i in every]
    return Examples(vocabulary, train, judges, share, index, _cells_of(train, index))


def _cells_of(train: Sequence[Post], index: dict[str, int]) -> dict[str | None, tuple[Ints, Ints]]:
    """Tags of each person that are learned, and those that they put on nearly everything."""
    uses: dict[str | None, Counter[int]] = {}
    n_posts = Counter(post.user_id for post in train)
    for post in train:
        if post.user_id is not None:
            mine = uses.setdefault(post.user_id, Counter())
            mine.update(index[tag] for tag in post.tags if tag in index)
    cells: dict[str | None, tuple[Ints, Ints]] = {}
    for user, mine in uses.items():
        often = n_posts[user] * SIGNATURE_SHARE if n_posts[user] >= SIGNATURE_POSTS else np.inf
        signature = [tag for tag, n in mine.items() if n > often]
        cells[user] = (np.array([*mine], np.int64), np.array(signature, np.int64))
    return cells


def _names(log: PostLog, people: Bools) -> set[str]:
    return {log.users[i] for i in np.flatnonzero(people)}


def _of(posts: dict[str, Post], ids: Sequence[str], held_out: set[str]) -> list[Post]:
    """Posts in order, with those of their photos that lie here, without the people held out."""
    found = (posts[post_id] for post_id in ids if post_id in posts)
    return [
        Post(post.post_id, post.user_id, post.posted_at, post.tags, photos)
        for post in found
        if (photos := tuple(filter(_is_here, post.photos))) and post.user_id not in held_out
    ]


def _is_here(photo: Photo) -> bool:
    return bool(photo.digest) and "://" not in photo.path
