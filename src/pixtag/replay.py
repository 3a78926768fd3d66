"""From a model's file to what answers questions, and evidence for it."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from pixtag.artifact import Bundle
from pixtag.encoder import SHIPPED_DIGEST, class_synonyms, classifier
from pixtag.errors import ModelError
from pixtag.evidence import MemoryEvidence
from pixtag.rank import Model, RankConfig
from pixtag.signals import Knowledge
from pixtag.signals.head import Head
from pixtag.signals.topics import Topics
from pixtag.signals.words import Bridge, Classifier, Words
from pixtag.types import Halfs, PostLog


def model_of(bundle: Bundle) -> Model:
    """What answers questions by a bundle."""
    weights, extras = bundle.weights, bundle.extras
    bridge, words = readers_of_classes(
        encoder_digest=bundle.manifest.encoder_digest,
        matrix=extras.get("bridge"),
        has_words=bundle.manifest.config.get("words") is True,
    )
    kinds = topics = None
    if "kinds/weight" in extras:
        parts = (extras[f"kinds/{name}"].astype(np.float32) for name in ("weight", "bias"))
        kinds = Bridge(extras["kinds/matrix"], Classifier(*parts))
    if "topics/weight" in weights:
        names = ("weight", "bias", "chance", "usual")
        topics = Topics(*(weights[f"topics/{name}"].astype(np.float32) for name in names))
    names = ("center", "projection", "tag_vectors", "tag_bias")
    knowledge = Knowledge.of(
        bundle.vocabulary,
        Head(*(weights[f"head/{name}"] for name in names)),
        prior=bundle.prior,
        prior_people=extras["prior_people"].astype(np.float64),
        bridge=bridge,
        kinds=kinds,
        topics=topics,
        words=words,
    )
    config = RankConfig.model_validate(bundle.manifest.config.get("rank", {}))
    return Model(knowledge, config, weights)


def readers_of_classes(
    *, encoder_digest: str, matrix: Halfs | None, has_words: bool
) -> tuple[Bridge | None, Words | None]:
    """Make the signals that read the encoder's classes; training and serving both use these.

    Args:
        encoder_digest: Encoder that makes the embeddings.
        matrix: Chance of each tag on a photo of each class, `[1000, V]`; None for no bridge.
        has_words: Whether words are compared with photos.

    Raises:
        ModelError: One is asked for, but only the shipped encoder has these classes.
    """
    if matrix is None and not has_words:
        return None, None
    if encoder_digest != SHIPPED_DIGEST:
        raise ModelError(
            f"the encoder {encoder_digest[:12] or 'without a name'} does not name the classes "
            "that the bridge and the words read",
            hint="train a bundle with the encoder that ships with this version of Pixtag",
        )
    shared = Classifier(*classifier())
    bridge = None if matrix is None else Bridge(matrix, shared)
    return bridge, Words.load(shared, class_synonyms()) if has_words else None


def evidence_of(
    bundle: Bundle, log: PostLog, *, judged_by: int | None = None
) -> tuple[Model, MemoryEvidence]:
    """The model, and evidence that has observed a log.

    When the model was trained on most of the same posts, its prior would count them twice and
    is left out.

    Args:
        bundle: The model's file.
        log: The store's posts.
        judged_by: How many posts at the front tell whether it was the same posts; all by
            default. Evaluation names those before the period, so that no later post has a say.
    """
    known = int(np.count_nonzero(bundle.has_seen(log.post_ids[:judged_by])))
    model = beside_store(model_of(bundle), n_known=known)
    return model, model.evidence(log)


def beside_store(model: Model, *, n_known: int) -> Model:
    """The model beside posts of which it was trained on `n_known`: without a prior of the same."""
    n = model.knowledge.prior.n_posts
    return model.without_prior() if n and n_known * 2 >= n else model


def snapshot_key(bundle: Bundle, store: str) -> str:
    """What evidence depends on besides the posts: a store's identity and the model's parts."""
    parts = (n for n in bundle.weights if n.startswith(("head/center", "head/proj", "topics/")))
    digest = hashlib.sha256(
        json.dumps([bundle.manifest.encoder_digest, bundle.vocabulary]).encode()
    )
    for name in sorted(parts):
        digest.update(np.ascontiguousarray(bundle.weights[name]).tobytes())
    return f"{store} {digest.hexdigest()}"
