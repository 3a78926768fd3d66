"""How many posts of an import are committed at once: more and more, while that stays quick.

A commit writes every page of the indexes that it touches, and posts of many people with many tags
touch pages all over them. Twice as many posts at once touch far less than twice as many pages.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator

from pixtag.errors import InputError
from pixtag.store.rows import MAX_SECONDS, is_safe
from pixtag.types import Post

LEAST_POSTS = 1000
"""Posts of the first batch, which all others hold a multiple of."""

GATHERED_S = 2.0
COMMITTED_S = 1.5
"""How long a batch may be gathered, and how long keeping it should take: what a kill can lose, and
how long others wait to write."""

_MOST_LETTERS = 8_000_000  # of the names in a batch: it is in memory


def batches(
    posts: Iterable[Post], *, most: int, on_progress: Callable[[int], None] | None = None
) -> Iterator[list[Post]]:
    """Cut posts into batches by count, size and the time that gathering them took.

    The first holds `LEAST_POSTS`, a following one up to twice those of the one before, at most
    `most`; fewer where whoever takes them was busy with one for longer than `COMMITTED_S`.
    `on_progress` is told the number of posts taken so far. InputError: a post cannot be kept.
    """
    batch: list[Post] = []
    n_posts, n_letters, started_s = LEAST_POSTS, 0, time.monotonic()
    for n_taken, post in enumerate(posts, 1):
        n_letters += check(post)
        batch.append(post)
        if on_progress is not None:
            on_progress(n_taken)
        is_full = len(batch) == n_posts
        if is_full or n_letters > _MOST_LETTERS or time.monotonic() - started_s > GATHERED_S:
            given_s = time.monotonic()
            yield batch
            started_s = time.monotonic()
            if is_full:
                times = min(2.0, COMMITTED_S / max(started_s - given_s, 1e-9))
                n_posts = min(max(round(n_posts * times), LEAST_POSTS), most)
                n_posts -= n_posts % LEAST_POSTS
            batch, n_letters = [], 0
    if batch:
        yield batch


def check(post: Post) -> int:
    """Raise `InputError` for a post that would not come back as it is; letters of its names."""
    names = (post.post_id, post.user_id or "", *post.tags)
    text = "".join(names)
    if not is_safe(text):
        wrong = next(name for name in names if not is_safe(name))
        what = f"post {post.post_id!r} holds a name that cannot be kept: {wrong!r}"
        raise InputError(what, hint="leave out lone surrogates and NUL")
    at = post.posted_at
    if at is not None and not (math.isfinite(at) and abs(at) < MAX_SECONDS):
        hint = "times from 1698 to 2242 can be kept; use None for an unknown one"
        raise InputError(f"post {post.post_id!r} has the time {at}, out of range", hint=hint)
    return len(text)
