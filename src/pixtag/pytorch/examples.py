"""What fine-tuning learns from: photos of the fit period, and which of their tags count.

Shapes:
    N: posts. V: vocabulary.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from pixtag.errors import ModelError
from pixtag.splits import cold_people, temporal_split
from pixtag.store import Store
from pixtag.types import Floats, Ints, Post

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
    """

    vocabulary: list[str]
    train: list[Post]
    validation: list[Post]

    @cached_property
    def share(self) -> Floats:
        """Share of the posts to learn from that carry each tag, `[V]`."""
        uses = Counter(tag for post in self.train for tag in post.tags)
        return np.array([uses[tag] / len(self.train) for tag in self.vocabulary], np.float32)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {tag: i for i, tag in enumerate(self.vocabulary)}

    @cached_property
    def _cells(self) -> dict[str | None, tuple[Ints, Ints]]:
        """Tags of each person that are learned, and those that they put on nearly everything."""
        uses: dict[str | None, Counter[int]] = defaultdict(Counter)
        for post in self.train:
            uses[post.user_id].update(self._index[tag] for tag in post.tags if tag in self._index)
        n_posts = Counter(post.user_id for post in self.train)
        cells: dict[str | None, tuple[Ints, Ints]] = {}
        for user in uses.keys() - {None}:
            often = n_posts[user] * SIGNATURE_SHARE if n_posts[user] >= SIGNATURE_POSTS else np.inf
            signature = [tag for tag, n in uses[user].items() if n > often]
            cells[user] = (np.array([*uses[user]], np.int64), np.array(signature, np.int64))
        return cells

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
    cold = () if use_all else np.flatnonzero(cold_people(log))
    held_out = {log.users[person] for person in cold}

    def read(start: int, stop: int) -> Iterator[Post]:
        """Posts in order, with those of their photos that lie here, without the people held out."""
        for post in (posts.get(post_id) for post_id in log.post_ids[start:stop]):
            if post is not None and post.user_id not in held_out:
                here = tuple(p for p in post.photos if p.digest and "://" not in p.path)
                if here:
                    yield replace(post, photos=here)

    train = list(read(0, split.train_stop))
    uses = Counter(tag for post in train for tag in post.tags)
    vocabulary = [tag for tag, n in uses.most_common(most_tags) if n >= LEAST_USES]
    learned = set(vocabulary)
    train = [post for post in train if learned & set(post.tags)]
    if len(train) < LEAST_POSTS:
        raise ModelError(
            f"too little to learn from: {len(train)} posts with a photo and a tag that is on "
            f"{LEAST_USES} posts; fine-tuning needs {LEAST_POSTS}, and means something from "
            "some thousands",
            hint="use the encoder as it is: `pixtag encoder NAME --out FILE.onnx`",
        )
    later = [p for p in read(split.train_stop, split.valid_stop) if learned & set(p.tags)]
    every = np.linspace(0, max(len(later) - 1, 0), min(len(later), MOST_VALIDATION)).astype(int)
    return Examples(vocabulary, train, [later[i] for i in every])
