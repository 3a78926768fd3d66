"""What a training run learns from and how, settled before anything is fitted."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from pixtag.encoder import SHIPPED_DIGEST, OnnxEncoder
from pixtag.engine import LOCAL, Engine
from pixtag.errors import ModelError
from pixtag.model import bridge_of_labels, readers_of_classes
from pixtag.signals import Knowledge
from pixtag.signals.head import Head
from pixtag.signals.words import class_tag_matrix
from pixtag.splits import Split, temporal_split
from pixtag.train.checkpoints import Arrays
from pixtag.train.config import TrainConfig
from pixtag.train.examples import choose_vocabulary, prior_of, replay_examples
from pixtag.train.people import Elsewhere
from pixtag.train.pixels import Pixels, fit_kinds
from pixtag.types import Bools, Halfs, Ints, PostLog, Sources

LEAST_POSTS = 200  # posts with a time and a tag below which nothing worth having is learned


@dataclass(frozen=True)
class Auxiliary:
    """What a model for everybody learns from beside its log of N posts.

    Attributes:
        unlearned: Tags that stay in the posts but never enter the vocabulary, so that the network
            meets them as it meets a tag of another store.
        groups: A name for each post, `[N]`, or empty: posts of one name (photos of one kind) are
            kept out of a head together, so that the network meets kinds that no head ever saw.
        bridge_tags: Tags that people put on photos of each class of the shipped encoder, best
            first; those of the vocabulary become the model's class-to-tag matrix.
        kinds: The main thing that each post's photo is known to show, `[N]`, or empty.
        targets: Which of K labels, the keys of `kind_tags` by name, each photo has, `[N, K]`: a
            classifier of them becomes a second bridge.
        target_weight: What each of the targets counts, `[N, K]`; 0 where nothing is known.
        kind_tags: Tags that people put on photos of each label, best first.
        withheld: Posts whose photos, as vectors, must not be in the model's prior.
        others: Logs of other people with times: the network meets their habits too. Neither
            their tags nor their posts enter the model.
    """

    unlearned: Collection[str] = ()
    groups: Sequence[str] = ()
    bridge_tags: Sequence[Sequence[str]] | None = None
    kinds: Sequence[str] = ()
    targets: Halfs | None = None
    target_weight: Halfs | None = None
    withheld: Collection[str] = ()
    kind_tags: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    others: Sequence[PostLog] = ()


class Plan:
    """The posts, the vocabulary and the knobs of one run; arguments and errors as for `fit`.

    Attributes:
        log: Posts up to the end of the calibration period; later ones are never read.
        fitted: Those of the fit period.
        config: The knobs as resolved.
        matrix: Chance of each of V tags on a photo of each class of the encoder, `[1000, V]`.
        bridge: The signal of that; `words` is the other one that reads the encoder's classes.
        elsewhere: The other logs and which of their posts are asked about.
        encoder: ONNX bytes for the model's file; None for the shipped one.
        own_words: Words in that encoder's space, if it has some.
        replay: `replay_examples` as the run does it.
    """

    def __init__(
        self,
        log: PostLog,
        config: TrainConfig,
        auxiliary: Auxiliary,
        *,
        labels: Sequence[str] | None,
        sources: Sources,
        encoder_digest: str,
        encoder: OnnxEncoder | None,
        use_all: bool,
        engine: Engine = LOCAL,
    ) -> None:
        self.replay = partial(replay_examples, seed=config.seed, sources=sources, engine=engine)
        if encoder is not None and encoder.digest != encoder_digest:
            raise ModelError(
                f"the embeddings are of the encoder {encoder_digest[:12] or 'without a name'}, "
                f"not of {encoder.digest[:12]}",
                hint="give the encoder that made the embeddings",
            )
        log = log if labels is None else log.with_only(labels)
        self.split = temporal_split(log, use_all=use_all)
        _check_enough(log, self.split)
        self.log = log.select(np.arange(self.split.valid_stop))
        self.fitted = log.select(np.arange(self.split.train_stop))
        self.auxiliary, self.sources = auxiliary, sources
        is_shipped = encoder_digest == SHIPPED_DIGEST
        self.encoder_digest = encoder_digest
        self.encoder = None if encoder is None or is_shipped else encoder.model
        self.own_words = None if self.encoder is None or encoder is None else encoder.words
        knows_words = is_shipped or self.own_words is not None
        has_words = config.words and knows_words and bool(self.fitted.has_photo.any())
        rank = config.rank
        if labels is not None:
            rank = replace(rank, only_vocabulary=True)
        self.config = config.model_copy(update={"rank": rank, "words": has_words})
        self.vocabulary = list(dict.fromkeys(self._chosen_tags() if labels is None else labels))
        tags = auxiliary.bridge_tags
        self.matrix = None if tags is None else class_tag_matrix(tags, self.vocabulary)
        self.bridge, self.words = readers_of_classes(
            encoder_digest=encoder_digest, matrix=self.matrix, has_words=has_words,
            own_words=self.own_words,
        )  # fmt: skip
        cuts = ((other, temporal_split(other, use_all=use_all)) for other in auxiliary.others)
        self._kinds: dict[bytes, Arrays] = {}
        self.elsewhere = [Elsewhere.of(other, cut, config) for other, cut in cuts]

    def _chosen_tags(self) -> list[str]:
        """The tags of several people, and the words of the reviewed maps, which are no secret."""
        limit, unlearned = self.config.vocabulary, self.auxiliary.unlearned
        chosen = choose_vocabulary(self.fitted, limit=limit, leave_out=unlearned)
        mapped = (*(self.auxiliary.bridge_tags or ()), *self.auxiliary.kind_tags.values())
        return [*chosen, *(tag for tags in mapped for tag in tags)]

    @property
    def identity(self) -> dict[str, object]:
        """Everything that decides the result."""
        return {
            "config": self.config.model_dump(mode="json"),
            "posts": digest_of_posts(self.log),
            "vocabulary": self.vocabulary,
            "encoder": self.encoder_digest,
            "split": asdict(self.split),
            "sources": self.sources.name,
            "others": [digest_of_posts(other) for other in self.auxiliary.others],
            "groups": list(self.auxiliary.groups),
            "kinds": list(self.auxiliary.kinds),
            "withheld": sorted(self.auxiliary.withheld),
            "targets": _digest(self.auxiliary.targets, self.auxiliary.target_weight),
            "kind_tags": dict(self.auxiliary.kind_tags),
            "bridge": _digest(self.matrix),
            "pixtag": importlib.metadata.version("pixtag"),
            "jax": jax.__version__,
        }

    def kinds(self, chosen: Bools) -> Arrays:
        """The classifier of labelled photos among the chosen posts of the fit period, if any."""
        targets, weight = self.auxiliary.targets, self.auxiliary.target_weight
        if targets is None or weight is None:
            return {}
        key = chosen.tobytes()
        if key not in self._kinds:
            rows = np.flatnonzero(chosen & weight[: len(chosen)].any(axis=1))
            embeddings = self.log.embeddings[rows].astype(np.float32)
            said, counts, tags = targets[rows], weight[rows], self.auxiliary.kind_tags
            self._kinds[key] = fit_kinds(embeddings, said, counts, tags, self.vocabulary)
        return self._kinds[key]

    def prior(self, log: PostLog, head: Head) -> tuple[PostLog, Ints]:
        """A prior made of a log, and the people behind each tag, `[V]`; nobody's posts count one.

        Photos that are withheld are not in it, and make nothing popular.
        """
        held = np.array([p not in self.auxiliary.withheld for p in log.post_ids], np.bool_)
        embeddings = np.where(held[:, None], log.embeddings, np.float16(0.0))
        kept = replace(log, has_photo=log.has_photo & held, embeddings=embeddings)
        people = dict(zip(log.tags, log.select(held).people_of_tags().tolist(), strict=True))
        counts = np.array([people.get(tag, 0) for tag in self.vocabulary], np.int64)
        return prior_of(kept, self.vocabulary, head), counts

    def with_prior(self, knowledge: Knowledge, log: PostLog) -> Knowledge:
        """The same knowledge with a prior made of a log, as the model's own will be."""
        head = knowledge.head
        posts, people = self.prior(log, head)
        made = Knowledge.of(self.vocabulary, head, prior=posts, prior_people=people.astype(float))
        return replace(knowledge, prior=made.prior)

    def knowledge(self, pixels: Pixels, chosen: Bools) -> Knowledge:
        """What was fitted on the chosen posts, with what serving will also have, no prior."""
        return Knowledge.of(
            self.vocabulary,
            pixels.head,
            bridge=self.bridge,
            kinds=bridge_of_labels(self.kinds(chosen)),
            topics=pixels.topics,
            words=self.words,
        )

    @property
    def rows_to_fit(self) -> Ints:
        """Posts with a time in the fit period, thinned to the limit."""
        rows = np.arange(self.log.n_untimed, self.split.train_stop)
        return _thinned(rows, self.config.examples, (self.config.seed, 23))

    @property
    def rows_to_calibrate(self) -> Ints:
        """Posts that decide the calibration, thinned to a quarter of the limit."""
        rows = np.arange(self.split.train_stop, self.split.valid_stop)
        return _thinned(rows, max(100, self.config.examples // 4), (self.config.seed, 29))


def _thinned(rows: Ints, most: int, seed: tuple[int, int]) -> Ints:
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def digest_of_posts(log: PostLog) -> str:
    """SHA-256 in hex of posts with all that is known of them."""
    # By name: numbers depend on posts that are not among these.
    users = [*log.users, None]
    rows = enumerate(zip(log.post_ids, log.user_of_post, strict=True))
    posts = [(post_id, users[user], log.tags_of(row)) for row, (post_id, user) in rows]
    written = np.frombuffer(json.dumps(posts).encode(), np.uint8)
    return _digest(written, log.at, log.has_photo, log.embeddings)


def _digest(*arrays: NDArray[Any] | None) -> str:
    """SHA-256 in hex of arrays, one after the other; None is nothing."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(b"" if array is None else array.tobytes())
    return digest.hexdigest()


def _check_enough(log: PostLog, split: Split) -> None:
    tagged = np.diff(log.tag_start) > 0
    n_fit = int(tagged[log.n_untimed : split.train_stop].sum())
    n_choose = int(tagged[split.train_stop : split.valid_stop].sum())
    if n_fit < LEAST_POSTS or n_choose < LEAST_POSTS // 10:
        raise ModelError(
            f"too little to learn from: {n_fit} posts with a time and a tag to fit on and "
            f"{n_choose} to calibrate on; training needs {LEAST_POSTS} and {LEAST_POSTS // 10}",
            hint="use the model that ships with Pixtag: it needs no training, and "
            "`pixtag predict --store` adds your own history to it",
        )
