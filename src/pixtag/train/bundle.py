"""Puts what was learned into a bundle, without anybody's name."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixtag.bundle import Arrays, Bundle, Manifest, Trained, hash_post_ids
from pixtag.encoder import SHIPPED_DIGEST, OnnxEncoder
from pixtag.errors import ModelError
from pixtag.signals import INPUT_NAMES
from pixtag.signals.head import Head
from pixtag.splits import Split
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
    encoder: OnnxEncoder | None = None,
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
        encoder: What made the embeddings; goes into the bundle when it is not the shipped one.

    Raises:
        ModelError: `encoder` is another one than `encoder_digest` names.
    """
    if encoder is not None and encoder.digest != encoder_digest:
        raise ModelError(
            f"the embeddings are of the encoder {encoder_digest[:12] or 'without a name'}, "
            f"not of {encoder.digest[:12]}",
            hint="give the encoder that made the embeddings",
        )
    timed = log.at[np.isfinite(log.at)]
    trained = Trained(
        n_posts=len(log),
        first_at=float(timed[0]) if len(timed) else None,
        until_at=float(log.at[split.train_stop - 1]),
        calibrated_until=float(log.at[-1]),
    )
    manifest = Manifest(
        pixtag=importlib.metadata.version("pixtag"),
        size=config.size,
        config=config.model_dump(mode="json"),
        feature_names=INPUT_NAMES,
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
        seen=hash_post_ids([*log.post_ids, *also_seen], salt=manifest.salt),
        card=write_card(manifest, vocabulary, title=title),
        encoder=None if encoder is None or encoder_digest == SHIPPED_DIGEST else encoder.model,
    )


def write_card(manifest: Manifest, vocabulary: Sequence[str], *, title: str = "") -> str:
    """Write the model card, Markdown; `title` says what the posts are, in a person's words."""
    trained = manifest.trained
    return f"""# Model card

A Pixtag model of size `{manifest.size}`, written by Pixtag {manifest.pixtag}.

- **Trained on**: {trained.n_posts} posts{f" ({title})" if title else ""}, from \
{_day(trained.first_at)} to {_day(trained.until_at)}; calibrated on posts up to \
{_day(trained.calibrated_until)}. It has read nothing later.
- **Vocabulary**: {len(vocabulary)} tags that several people used; tags beyond it are suggested \
from a store's own evidence.
- **Holds**: weights, and anonymous posts (projected photo features and tags of the vocabulary; \
no names, times, texts or photos) for people who bring no history.

## Limits

- Probabilities are calibrated on the posts named above; elsewhere they are a rough guide.
- What the photos of the training posts never showed is recognised only as far as the encoder's \
ImageNet classes reach. It must not be used to identify people.
- Tags reflect the habits and biases of the people whose posts it learned from.
"""


def _day(at: float | None) -> str:
    return "an unknown day" if at is None else datetime.fromtimestamp(at, UTC).date().isoformat()
