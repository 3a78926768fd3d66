"""Puts what was learned into a bundle, without anybody's name."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixtag.artifact import (
    Arrays,
    Bundle,
    Manifest,
    Trained,
    hash_post_ids,
    posts_digest,
)
from pixtag.signals.head import Head
from pixtag.splits import Split
from pixtag.train.card import write_card
from pixtag.train.config import TrainConfig
from pixtag.train.examples import people_of_tags, prior_of
from pixtag.train.kinds import Kinds
from pixtag.types import Halfs, PostLog


def make_bundle(
    log: PostLog,
    split: Split,
    config: TrainConfig,
    vocabulary: list[str],
    weights: Arrays,
    head: Head,
    *,
    encoder_digest: str,
    title: str,
    bridge: Halfs | None = None,
    kinds: Kinds | None = None,
    also_seen: Sequence[str] = (),
) -> Bundle:
    """Describe and gather what was learned.

    Args:
        log: The posts of the fit and the calibration period.
        split: Where the first ends.
        config: The knobs.
        vocabulary: Tags that were learned.
        weights: Network, calibration and head.
        head: The pixel head fitted on the whole fit period.
        encoder_digest: Encoder that made the embeddings.
        title: What the posts are.
        bridge: Chance of each tag on a photo of each class, `[1000, V]`.
        kinds: The classifier of labelled kinds of photos.
        also_seen: Ids of posts of other logs that the network learned from.
    """
    timed = log.at[np.isfinite(log.at)]
    trained = Trained(
        n_posts=len(log),
        first_at=float(timed[0]) if len(timed) else None,
        until_at=float(log.at[split.train_stop - 1]),
        calibrated_until=float(log.at[-1]),
        posts_digest=posts_digest(log.post_ids),
    )
    manifest = Manifest(
        pixtag=importlib.metadata.version("pixtag"),
        size=config.size,
        config=config.model_dump(mode="json"),
        encoder_digest=encoder_digest,
        encoder_width=log.embeddings.shape[1],
        trained=trained,
    )
    extras: dict[str, NDArray[Any]] = {
        "prior_people": people_of_tags(log, vocabulary).astype(np.float32)
    }
    if bridge is not None:
        extras["bridge"] = bridge
    if kinds is not None:
        extras["kinds/weight"] = kinds.weight.astype(np.float16)
        extras["kinds/bias"] = kinds.bias
        extras["kinds/matrix"] = kinds.matrix
    return Bundle(
        manifest=manifest,
        vocabulary=vocabulary,
        weights=weights,
        prior=prior_of(log, vocabulary, head),
        extras=extras,
        seen=hash_post_ids([*log.post_ids, *also_seen]),
        card=write_card(manifest, vocabulary, title=title),
    )
