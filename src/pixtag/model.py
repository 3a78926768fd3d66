"""The model in memory: fitted parts, network and prior, and the one way to evidence for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from pixtag.bundle import Bundle, fitting
from pixtag.encoder import SHIPPED_DIGEST, class_synonyms, classifier
from pixtag.errors import ModelError
from pixtag.evidence import Derive, MemoryEvidence
from pixtag.signals import INPUT_NAMES, Knowledge
from pixtag.signals.calendar import calendar
from pixtag.signals.head import Head
from pixtag.signals.topics import Topics
from pixtag.signals.words import Bridge, Classifier, Words, unpack
from pixtag.types import PostLog


@dataclass(frozen=True)
class RankConfig:
    """What is offered to the network.

    Attributes:
        own_slots: Latest posts of the person that may be copied from.
        near_slots: Most similar posts of everyone that may be copied from.
        max_candidates: Candidates kept for a question.
        more_candidates: Most further candidates for people who used many tags: theirs.
        own_candidates: Own tags of a person among the usual candidates.
        least_people: People who must have used a tag before others are offered it.
        only_vocabulary: Offer no tag beyond the vocabulary (a fixed label set).
    """

    own_slots: Annotated[int, Ge(1), Le(512)] = 48
    near_slots: Annotated[int, Ge(1), Le(512)] = 48
    max_candidates: Annotated[int, Ge(10), Le(2000)] = 160
    more_candidates: Annotated[int, Ge(0), Le(2000)] = 128
    own_candidates: Annotated[int, Ge(10), Le(2000)] = 96
    least_people: Annotated[int, Ge(1)] = 3
    only_vocabulary: bool = False


@dataclass(frozen=True)
class Model:
    """Everything that a question is answered with, beside the evidence.

    Attributes:
        knowledge: The fitted parts and the prior.
        config: What is offered to the network.
        weights: The network with its calibration; empty while it is being trained.
    """

    knowledge: Knowledge
    config: RankConfig = field(default_factory=RankConfig)
    weights: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])

    def evidence(self, posts: PostLog | None = None) -> MemoryEvidence:
        """Evidence in memory with some posts observed."""
        further = self.fixed_tags[len(self.knowledge.vocabulary) :]
        return self.knowledge.evidence(posts, further=further)

    @cached_property
    def fixed_tags(self) -> list[str]:
        """Tags that have the same ids in all evidence: the vocabulary, then the calendar's."""
        return list(dict.fromkeys([*self.knowledge.vocabulary, *calendar().rows]))

    @property
    def derive(self) -> Derive:
        """What the fitted parts derive from posts."""
        return self.knowledge.derive

    def beside(self, *, n_known: int) -> Model:
        """The same beside `n_known` posts that it was trained on: without a prior of the same."""
        n = self.knowledge.prior.n_posts
        return self.without_prior() if n and n_known * 2 >= n else self

    def without_prior(self) -> Model:
        """The same without posts of its own."""
        return replace(self, knowledge=self.knowledge.without_prior())


@fitting()
def model_of(bundle: Bundle) -> Model:
    """Make the model of a file.

    Raises:
        ModelError: Its network reads other inputs than this version gives, by name; its parts do
            not fit together.
    """
    bundle.check_features(INPUT_NAMES)
    bridge, words = readers_of_classes(
        encoder_digest=bundle.manifest.encoder_digest,
        matrix=bundle.extras.get("bridge"),
        has_words=bundle.manifest.config.get("words") is True,
        own_words=bundle.group("words"),
    )
    topics = bundle.group("topics")
    knowledge = Knowledge.of(
        bundle.vocabulary,
        Head(**bundle.group("head")),
        prior=bundle.prior,
        prior_people=bundle.extras["prior_people"].astype(np.float64),
        bridge=bridge,
        kinds=bridge_of_labels(bundle.group("kinds")),
        topics=Topics(**{n: a.astype(np.float32) for n, a in topics.items()}) if topics else None,
        words=words,
    )
    config = RankConfig(**bundle.manifest.config.get("rank", {}))
    return Model(knowledge, config, bundle.weights)


def bridge_of_labels(kinds: Mapping[str, NDArray[Any]]) -> Bridge | None:
    """Make the signal of a classifier of labels from the arrays of a model; None without any.

    `weight` `[K, D]`, `bias` `[K]`, `matrix` `[K, V]`, and in `person` the label of photos that
    show somebody, if there is one: a photo then may have several.
    """
    if not kinds:
        return None
    weight, bias = (kinds[name].astype(np.float32) for name in ("weight", "bias"))
    classifier = Classifier(weight, bias, is_multi_label="person" in kinds)
    person = next(iter(kinds.get("person", np.zeros(0)).tolist()), None)
    return Bridge(kinds["matrix"], classifier, person=person)


def readers_of_classes(
    *,
    encoder_digest: str,
    matrix: NDArray[Any] | None,
    has_words: bool,
    own_words: Mapping[str, NDArray[Any]] | None = None,
) -> tuple[Bridge | None, Words | None]:
    """Make the signals that read the encoder's classes; training and serving both use these.

    `matrix` holds the chance of each tag on a photo of each class, `[1000, V]`; None for no bridge.
    `own_words` are words in the encoder's own space, for `signals.words.unpack`, if it has some.

    Raises:
        ModelError: One is asked for, but only the shipped encoder has these classes.
    """
    if matrix is None and not has_words:
        return None, None
    if matrix is None and own_words:
        return None, Words(*unpack(own_words))
    if encoder_digest != SHIPPED_DIGEST:
        raise ModelError(
            f"the encoder {encoder_digest[:12] or 'without a name'} does not name the classes "
            "that the bridge and the words read",
            hint="train a model with the encoder that ships with this version of Pixtag",
        )
    shared = Classifier(*classifier())
    bridge = None if matrix is None else Bridge(matrix, shared)
    return bridge, Words.load(shared, class_synonyms()) if has_words else None


def evidence_of(
    bundle: Bundle, log: PostLog, *, judged_by: int | None = None
) -> tuple[Model, MemoryEvidence]:
    """Make the model, and evidence that has observed a log.

    When the model was trained on most of the same posts, its prior would count them twice and is
    left out. `judged_by` is how many posts at the front tell whether it was; all by default.
    Evaluation names those before the period, so that no later post has a say.
    """
    known = int(np.count_nonzero(bundle.has_seen(log.post_ids[:judged_by])))
    model = model_of(bundle).beside(n_known=known)
    return model, model.evidence(log)


def snapshot_key(bundle: Bundle, store: str) -> str:
    """What evidence depends on besides the posts: a store's identity and the model's parts."""
    parts = (n for n in bundle.weights if n.startswith(("head/center", "head/proj", "topics/")))
    digest = hashlib.sha256(
        json.dumps([bundle.manifest.encoder_digest, *bundle.vocabulary, *calendar().rows]).encode()
    )
    for name in sorted(parts):
        digest.update(np.ascontiguousarray(bundle.weights[name]).tobytes())
    return f"{store} {digest.hexdigest()}"
