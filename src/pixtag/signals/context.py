"""What the network is told of each question beside its candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixtag.evidence import HOUR_TICKS, OwnPosts
from pixtag.signals.asked import Asked
from pixtag.signals.memory import OWN_KEYS
from pixtag.types import Floats

CONTEXT_NAMES = (
    "pixels_on",
    "history_on",
    "trend_on",
    "head_top",
    "head_entropy",
    "nearest_similarity",
    "mean_similarity",
    "own_similarity",
    "own_mean_similarity",
    "own_words_fit",
    "own_head_fit",
    "own_photo_share",
    "history_log",
    "tagged_share",
    "untagged_log",
    "gap_log_hours",
    "own_tags_a_post",
    "repeat_share",
    "topic_posts_log",
    "posts_log",
    "prior_log",
)


def context(asked: Asked) -> Floats:
    """What is known of each question beside its candidates, `[B, X]`, as in `CONTEXT_NAMES`.

    A source with nothing to say is as silent as one that may not speak, so the network has met a
    newcomer, or a store without recent posts, whenever it has met silence.
    """
    own, seen, n = asked.own, asked.has_photo, len(asked)
    is_lively = asked.lately_posted[-1] > 0
    values: dict[str, NDArray[Any]] = {
        "pixels_on": seen,
        "history_on": own.n > 0,
        "trend_on": is_lively & asked.sources.trend,
        "history_log": np.log1p(own.n),
        "tagged_share": (own.n + 1.0) / (asked.n_own + 1.0),
        "untagged_log": np.log1p(asked.n_own - own.n),
        "posts_log": np.log1p(asked.n_posts),
        "prior_log": np.full(n, np.log1p(asked.knowledge.prior.n_posts)),
        **_own_context(asked),
    }
    if asked.looks.head.shape[1]:
        probs = np.exp(asked.looks.head)
        values["head_top"] = probs.max(axis=1) * seen
        values["head_entropy"] = -(probs * asked.looks.head).sum(axis=1) * seen
    similarity = asked.near.keys[:, :, 0]
    values["nearest_similarity"] = similarity[:, 0]
    values["mean_similarity"] = similarity.sum(axis=1) / np.maximum(
        asked.near.filled.sum(axis=1), 1
    )
    if asked.interests is not None:
        values["topic_posts_log"] = np.log1p(asked.interests.same.sum(axis=1))
    out = np.zeros((n, len(CONTEXT_NAMES)), np.float32)
    out[:, [CONTEXT_NAMES.index(name) for name in values]] = np.array([*values.values()]).T
    return out


def _own_context(asked: Asked) -> dict[str, NDArray[Any]]:
    own, n = asked.own, len(asked)
    both = asked.own_memory.keys[:, :, OWN_KEYS.index("has_both_photos")]
    similarity, words_fit, head_fit = (
        asked.own_memory.keys[:, :, OWN_KEYS.index(name)]
        for name in ("similarity", "words_fit", "fits_photo")
    )
    n_slots = np.maximum(asked.own_memory.filled.sum(axis=1), 1)
    last = own.last(11)
    stop = np.cumsum(own.n) - 1
    has = own.n > 0
    gap = np.zeros(n)
    gap[has] = (asked.tick[has] - own.tick[stop[has]]) / HOUR_TICKS
    recent = last.rank < 10
    n_recent = np.maximum(np.minimum(own.n, 10), 1)
    lengths = np.bincount(last.question, weights=last.n_tags * recent, minlength=n)
    alike = _repeats(last, n_tags=asked.n_tags)
    repeats = np.bincount(last.question, weights=alike * recent, minlength=n)
    filled = asked.own_memory.filled
    with_photo = np.zeros(n)
    if filled.any():
        photo = np.bincount(own.question, weights=own.photo >= 0, minlength=n)
        with_photo = photo / np.maximum(own.n, 1)
    return {
        "own_similarity": np.where(both.any(axis=1), (similarity * both).max(axis=1), 0.0),
        "own_mean_similarity": similarity.sum(axis=1) / np.maximum(both.sum(axis=1), 1),
        "own_words_fit": words_fit.sum(axis=1) / n_slots,
        "own_head_fit": head_fit.sum(axis=1) / n_slots,
        "own_photo_share": with_photo,
        "gap_log_hours": np.log1p(np.maximum(gap, 0.0)),
        "own_tags_a_post": np.log1p(lengths / n_recent),
        "repeat_share": repeats / n_recent,
    }


def _repeats(own: OwnPosts, *, n_tags: int) -> NDArray[Any]:
    """1 where a post has exactly the tag set of the person's post before, `[H]`."""
    # A set is known by the sum of its tags' hashes, which wraps around at 64 bits.
    mixed = (own.tag.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    content = np.zeros(len(own.question), np.uint64)
    np.add.at(content, own.post, mixed ^ (mixed >> np.uint64(27)))
    out = np.zeros(len(content))
    out[1:] = (
        (content[1:] == content[:-1])
        & (own.n_tags[1:] == own.n_tags[:-1])
        & (own.question[1:] == own.question[:-1])
    )
    return out
