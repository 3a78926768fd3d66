"""What is learned of pixels before anything is replayed: the head and the topics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixtag.network import SHAPES
from pixtag.signals.head import Head
from pixtag.signals.topics import Topics
from pixtag.train.checkpoints import Checkpoints
from pixtag.train.config import TrainConfig
from pixtag.train.head import fit_head
from pixtag.train.topics import fit_topics
from pixtag.types import Bools, Floats, Ints, PostLog

TOPIC_ARRAYS = ("weight", "bias", "chance", "usual")


@dataclass(frozen=True)
class Pixels:
    """The head and the topics of one set of posts."""

    head: Head
    topics: Topics | None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """By the names of a bundle's weights."""
        head = self.head
        out: dict[str, NDArray[Any]] = {
            "head/center": head.center,
            "head/projection": head.projection,
            "head/tag_vectors": head.tag_vectors,
            "head/tag_bias": head.tag_bias,
        }
        if self.topics is not None:
            out |= {f"topics/{name}": getattr(self.topics, name) for name in TOPIC_ARRAYS}
            out["topics/chance"] = self.topics.chance.astype(np.float16)
        return out


def pixels_of(arrays: dict[str, NDArray[Any]]) -> Pixels:
    """The opposite of `Pixels.arrays`."""
    head = Head(
        arrays["head/center"],
        arrays["head/projection"],
        arrays["head/tag_vectors"],
        arrays["head/tag_bias"],
    )
    if "topics/weight" not in arrays:
        return Pixels(head, None)
    parts = (arrays[f"topics/{name}"].astype(np.float32) for name in TOPIC_ARRAYS)
    return Pixels(head, Topics(*parts))


def fit_pixels(
    log: PostLog,
    table: tuple[Ints, Floats],
    chosen: Bools,
    config: TrainConfig,
    checkpoints: Checkpoints,
    *,
    n_tags: int,
    step: str,
    offset: int,
) -> Pixels:
    """Fit on the chosen posts that have a photo, or take up what an earlier run left.

    Args:
        log: N posts with encoder embeddings.
        table: From `tag_table`.
        chosen: Which posts may be seen, `[N]`.
        config: Knobs.
        checkpoints: Where a finished fit is kept.
        n_tags: Tags of the vocabulary.
        step: Name of the fit.
        offset: Tells the seeds of several fits apart.
    """
    known = checkpoints.load(step)
    if known is not None:
        return pixels_of(known)
    rows = np.flatnonzero(chosen & log.has_photo)
    embeddings = log.embeddings[rows].astype(np.float32)
    ids, mask = table[0][rows], table[1][rows]
    seed = config.seed * 100 + offset
    head = fit_head(
        embeddings,
        ids,
        mask,
        n_tags=n_tags,
        joint=SHAPES[config.size].joint,
        epochs=config.head_epochs,
        seed=seed,
    )
    topics = fit_topics(
        head.project(embeddings), ids, mask, n_tags=n_tags, most=config.topics, seed=seed
    )
    fitted = Pixels(head, topics)
    checkpoints.save(step, fitted.arrays())
    return fitted
