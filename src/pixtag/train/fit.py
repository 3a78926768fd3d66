"""From a log of posts to a bundle: heads, replayed examples, network, calibration.

posts 0 .. .7 n   fit: folds of heads, replay with out-of-fold heads, network
posts .. .8 n     calibrate
the rest          never read
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray

from pixtag.bundle import Bundle, check_replaceable, save_bundle
from pixtag.encoder import SHIPPED_DIGEST, OnnxEncoder
from pixtag.errors import ModelError
from pixtag.model import Model, readers_of_classes
from pixtag.signals import Knowledge
from pixtag.signals.words import Bridge, Words, class_tag_matrix
from pixtag.splits import Split, temporal_split
from pixtag.train.bundle import make_bundle
from pixtag.train.calibrate import fit_calibration
from pixtag.train.checkpoints import Checkpoints
from pixtag.train.config import TrainConfig
from pixtag.train.curves import draw_curves
from pixtag.train.examples import (
    Examples,
    choose_vocabulary,
    deal_folds,
    draw_elsewhere,
    first_users,
    join_examples,
    people_elsewhere,
    people_with_histories,
    replay_examples,
    with_prior,
)
from pixtag.train.head import tag_table
from pixtag.train.kinds import Kinds, fit_kinds
from pixtag.train.network import OnStage, fit_network, score_examples
from pixtag.train.pixels import Pixels, fit_pixels
from pixtag.types import Ints, PostLog, Sources

LEAST_POSTS = 200
"""Posts with a time and a tag below which nothing worth having is learned."""

OnExamples = Callable[[Examples, Examples], None]


@dataclass(frozen=True)
class _Elsewhere:
    """Posts of people whose habits alone are learned, and which of them are asked about."""

    log: PostLog
    to_fit: Ints
    to_calibrate: Ints

    @classmethod
    def of(cls, log: PostLog, config: TrainConfig, *, use_all: bool) -> _Elsewhere:
        split = split_of(log, use_all=use_all)
        known = log.select(np.arange(split.valid_stop))
        fit, choose = (
            draw_elsewhere(known, np.arange(start, stop), most=most, seed=config.seed)
            for start, stop, most in (
                (log.n_untimed, split.train_stop, config.elsewhere),
                (split.train_stop, split.valid_stop, config.elsewhere // 4),
            )
        )
        return cls(known, fit, choose)

    @property
    def asked(self) -> list[str]:
        """Ids of the posts that are learned from."""
        return [self.log.post_ids[i] for i in [*self.to_fit.tolist(), *self.to_calibrate.tolist()]]


@dataclass(frozen=True)
class _Plan:
    """What is known before anything is fitted."""

    log: PostLog
    split: Split
    config: TrainConfig
    vocabulary: list[str]
    groups: list[str]
    bridge: Bridge | None
    words: Words | None
    kinds: list[str]
    kind_tags: Mapping[str, Sequence[str]]
    sources: Sources
    elsewhere: Sequence[_Elsewhere]

    def fit_kinds(self, chosen: NDArray[np.bool_]) -> Kinds | None:
        """The classifier of labelled photos among the chosen posts of the front of the log."""
        rows = [i for i in np.flatnonzero(chosen).tolist() if self.kinds[i]]
        if not rows:
            return None
        embeddings = self.log.embeddings[rows].astype(np.float32)
        labels = [self.kinds[i] for i in rows]
        return fit_kinds(embeddings, labels, self.kind_tags, self.vocabulary)

    def knowledge(self, pixels: Pixels, kinds: Kinds | None) -> Knowledge:
        """What was fitted, with what serving will also have, without a prior."""
        return Knowledge.of(
            self.vocabulary,
            pixels.head,
            bridge=self.bridge,
            kinds=None if kinds is None else kinds.bridge(),
            topics=pixels.topics,
            words=self.words,
        )

    @property
    def rows_to_fit(self) -> Ints:
        """Posts with a time in the fit period, thinned to the limit."""
        rows = np.arange(self.log.n_untimed, self.split.train_stop)
        if len(rows) <= self.config.examples:
            return rows
        rng = np.random.default_rng((self.config.seed, 23))
        return np.sort(rng.choice(rows, self.config.examples, replace=False))

    @property
    def rows_to_calibrate(self) -> Ints:
        """Posts that decide the calibration, thinned to a quarter of the limit."""
        rows = np.arange(self.split.train_stop, self.split.valid_stop)
        most = max(100, self.config.examples // 4)
        if len(rows) <= most:
            return rows
        rng = np.random.default_rng((self.config.seed, 29))
        return np.sort(rng.choice(rows, most, replace=False))


def fit(
    log: PostLog,
    *,
    out: Path,
    config: TrainConfig | None = None,
    labels: Sequence[str] | None = None,
    unlearned: Collection[str] = (),
    use_all: bool = False,
    groups: Sequence[str] | None = None,
    bridge_tags: Sequence[Sequence[str]] | None = None,
    kinds: Sequence[str] | None = None,
    kind_tags: Mapping[str, Sequence[str]] | None = None,
    encoder_digest: str = "",
    encoder: OnnxEncoder | None = None,
    title: str = "",
    sources: Sources | None = None,
    others: Sequence[PostLog] = (),
    on_stage: OnStage | None = None,
    on_examples: OnExamples | None = None,
) -> Bundle:
    """Train a bundle on a log and write it.

    An interrupted run leaves `OUT.partial`; the same call goes on from its last epoch and ends
    with the same bundle as an unbroken run.

    Args:
        log: All posts, with encoder embeddings or none. Those after the calibration period are
            never read.
        out: File of the bundle. Curves lie beside it: `OUT.curves.jsonl`, `OUT.curves.png`.
        config: Knobs.
        labels: A fixed set of tags: no other is learned or offered.
        unlearned: Tags that stay in the posts but never enter the vocabulary, so that the bundle
            doesn't hold them: the network meets them as it meets a tag of another store.
        use_all: Fit on the first 90 % and calibrate on the last 10.
        groups: A name for each post of the log: posts of one name (photos of one kind) are kept
            out of a head together, so that the network learns what to do with a kind of photo
            that no head ever saw. Empty names are dealt one by one.
        bridge_tags: For each class that the shipped encoder names, the tags that people put on
            such photos, best first; those of the vocabulary become the bundle's bridge.
        kinds: What the photo of each post of the log is known to show, a key of `kind_tags`, or
            empty: a classifier of these kinds becomes a second bridge.
        kind_tags: For each kind, the tags that people put on such photos, best first.
        encoder_digest: Encoder that made the embeddings.
        encoder: The same, to go into the bundle when it is not the shipped one.
        title: What the posts are, for the model card.
        sources: Train with these alone; the bundle must then be asked with these alone.
        others: Logs of people elsewhere, whose posts have times and perhaps photos: the network
            meets their habits too. Neither their tags nor their posts enter the bundle.
        on_stage: Called with a stage's name, what is done and how much there is.
        on_examples: Called with the replayed examples of the fit and of the calibration period
            that every source had a say in.

    Returns:
        The bundle as written.

    Raises:
        ModelError: Too few posts to learn from, or none with a tag of `labels`; `bridge_tags`
            with another encoder than the shipped one.
        InputError: `out` holds something that is not a model.
    """
    check_replaceable(out)
    config = config or TrainConfig()
    if labels is not None:
        log = only_tags(log, labels)
        rank = config.rank.model_copy(update={"only_vocabulary": True})
        config = config.model_copy(update={"rank": rank})
    split = split_of(log, use_all=use_all)
    _check_enough(log, split)
    told = on_stage or _tell_nobody
    fitted = log.select(np.arange(split.train_stop))
    vocabulary = (
        list(dict.fromkeys(labels))
        if labels is not None
        else choose_vocabulary(fitted, limit=config.vocabulary, leave_out=unlearned)
    )
    if labels is None:
        # Words of the reviewed maps are nobody's secret: they may be offered before anyone used
        # them, once a photo calls for them.
        mapped = [*(bridge_tags or []), *(kind_tags or {}).values()]
        vocabulary = list(dict.fromkeys([*vocabulary, *(t for row in mapped for t in row)]))
    has_words = config.words and encoder_digest == SHIPPED_DIGEST and fitted.has_photo.any()
    config = config.model_copy(update={"words": bool(has_words)})
    matrix = None if bridge_tags is None else class_tag_matrix(bridge_tags, vocabulary)
    bridge, words = readers_of_classes(
        encoder_digest=encoder_digest, matrix=matrix, has_words=config.words
    )
    named = [""] * len(log) if groups is None else list(groups)
    known = log.select(np.arange(split.valid_stop))
    shown = [""] * len(log) if kinds is None else list(kinds)
    heard = sources or Sources()
    plan = _Plan(
        known,
        split,
        config,
        vocabulary,
        named,
        bridge,
        words,
        shown,
        dict(kind_tags or {}),
        heard,
        [_Elsewhere.of(other, config, use_all=use_all) for other in others],
    )
    checkpoints = Checkpoints(
        out.with_name(out.name + ".partial"),
        {
            "config": config.model_dump(mode="json"),
            "posts": _digest_of(plan.log),
            "vocabulary": vocabulary,
            "encoder": encoder_digest,
            "use_all": use_all,
            "sources": heard.name,
            "others": [_digest_of(other) for other in others],
            "groups": [] if groups is None else named,
            "kinds": [] if kinds is None else shown,
            "kind_tags": plan.kind_tags,
            "bridge": "" if matrix is None else hashlib.sha256(matrix.tobytes()).hexdigest(),
            "pixtag": importlib.metadata.version("pixtag"),
            "jax": jax.__version__,
        },
    )
    pixels, train, valid = _pixels_and_examples(plan, checkpoints, told)
    if on_examples is not None:
        on_examples(train.heard, valid.heard)
    weights = fit_network(config, checkpoints, train, valid.heard, told)
    told("calibrating", 0, 1)
    weights |= fit_calibration(
        weights,
        score_examples(weights, valid),
        valid.found.filled,
        valid.found.context.astype(np.float32),
        valid.used,
    )
    weights |= pixels.arrays()
    bundle = make_bundle(
        plan.log,
        split,
        config,
        vocabulary,
        weights,
        pixels.head,
        encoder_digest=encoder_digest,
        title=title,
        bridge=matrix,
        kinds=plan.fit_kinds(np.arange(len(plan.log)) < split.train_stop),
        also_seen=[post_id for other in plan.elsewhere for post_id in other.asked],
        encoder=encoder,
    )
    saved = save_bundle(out, bundle)
    _keep_curves(out, checkpoints)
    checkpoints.remove()
    told("calibrating", 1, 1)
    return saved


def _digest_of(log: PostLog) -> str:
    """SHA-256 in hex of posts with all that is known of them."""
    # By name: numbers depend on posts that are not among these.
    users = [*log.users, None]
    posts = [
        (post_id, users[user], log.tags_of(row))
        for row, (post_id, user) in enumerate(zip(log.post_ids, log.user_of_post, strict=True))
    ]
    digest = hashlib.sha256(json.dumps(posts).encode())
    for values in (log.at, log.has_photo, log.embeddings):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _tell_nobody(stage: str, done: int, total: int) -> None:
    """Where nobody follows the progress."""


def split_of(log: PostLog, *, use_all: bool = False) -> Split:
    """Where fitting and calibration end; test is empty with `use_all`."""
    if use_all:
        return temporal_split(log, train=0.9, valid=1.0)
    return temporal_split(log)


def only_tags(log: PostLog, labels: Sequence[str]) -> PostLog:
    """The log with a fixed label set: other tags go, posts without any stay as they are asked."""
    wanted = set(labels)
    kept_tags = [t for t in log.tags if t in wanted]
    index = {t: i for i, t in enumerate(kept_tags)}
    of_tag = np.array([index.get(t, -1) for t in log.tags], np.int64)
    uses = of_tag[log.tag_ids]
    keep = uses >= 0
    row = np.repeat(np.arange(len(log)), np.diff(log.tag_start))
    lengths = np.bincount(row[keep], minlength=len(log))
    return PostLog(
        post_ids=log.post_ids,
        users=log.users,
        tags=kept_tags,
        user_of_post=log.user_of_post,
        at=log.at,
        tag_start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        tag_ids=uses[keep],
        has_photo=log.has_photo,
        embeddings=log.embeddings,
    )


def _check_enough(log: PostLog, split: Split) -> None:
    tagged = np.diff(log.tag_start) > 0
    n_fit = int(tagged[log.n_untimed : split.train_stop].sum())
    n_choose = int(tagged[split.train_stop : split.valid_stop].sum())
    if n_fit < LEAST_POSTS or n_choose < LEAST_POSTS // 10:
        raise ModelError(
            f"too little to learn from: {n_fit} posts with a time and a tag to fit on and "
            f"{n_choose} to calibrate on; training needs {LEAST_POSTS} and {LEAST_POSTS // 10}",
            hint="use the bundle that ships with Pixtag: it needs no training, and "
            "`pixtag predict --store` adds your own history to it",
        )


def _pixels_and_examples(
    plan: _Plan, checkpoints: Checkpoints, told: OnStage
) -> tuple[Pixels, Examples, Examples]:
    """Fit heads and topics of the folds and of all; replay the fit and the calibration period."""
    config, split = plan.config, plan.split
    fitted = plan.log.select(np.arange(split.train_stop))
    index = {t: i for i, t in enumerate(plan.vocabulary)}
    n_tags = len(index)
    of_tag = np.array([index.get(t, n_tags) for t in [*fitted.tags, ""]], np.int64)
    table = tag_table(fitted, of_tag, n_tags=n_tags)
    fold = deal_folds(
        fitted,
        n_folds=config.folds,
        seed=config.seed,
        by_person=config.first_users > 0,
        groups=plan.groups[: len(fitted)],
    )
    asked = plan.rows_to_fit
    folds = np.unique(fold[asked]).tolist()
    has_heads = bool(fitted.has_photo.any())
    parts: list[Examples] = []
    n_folds = len(folds)
    n_steps = n_folds + 1
    for step, left_out in enumerate(folds):
        told("learning what photos show", step, n_steps)
        others = (fold != left_out) if has_heads else np.zeros(len(fitted), np.bool_)
        pixels = fit_pixels(
            fitted,
            table,
            others,
            config,
            checkpoints,
            n_tags=n_tags,
            step=f"pixels-{left_out}",
            offset=left_out + 1,
        )
        mine = asked[fold[asked] == left_out]
        knowledge = plan.knowledge(pixels, plan.fit_kinds(others))
        if len(mine):
            examples = replay_examples(
                fitted,
                mine,
                Model(knowledge, config.rank_to_fit),
                seed=config.seed,
                sources=plan.sources,
                silent_share=config.drop_sources,
            )
            parts.append(examples)
        if config.first_users:
            hidden = fold == left_out
            parts += first_users(
                fitted,
                np.flatnonzero(hidden),
                Model(with_prior(knowledge, fitted.select(~hidden)), config.rank),
                most_people=-(-config.first_users // n_folds),
                seed=config.seed,
            )
        if config.histories:
            hidden = fold == left_out
            parts += people_with_histories(
                fitted,
                np.flatnonzero(hidden),
                plan.kinds[: len(fitted)],
                Model(with_prior(knowledge, fitted.select(~hidden)), config.rank),
                most=config.histories // n_folds,
                seed=config.seed,
            )
    told("learning what photos show", n_folds, n_steps)
    everyone = np.ones(len(fitted), np.bool_)
    full = fit_pixels(
        fitted,
        table,
        everyone,
        config,
        checkpoints,
        n_tags=n_tags,
        step="pixels-full",
        offset=0,
    )
    knowledge = plan.knowledge(full, plan.fit_kinds(everyone))
    asked = plan.rows_to_calibrate
    # Whatever may be silent in life is calibrated too.
    valid = [
        replay_examples(
            plan.log,
            asked,
            Model(knowledge, config.rank),
            seed=config.seed,
            accepts=False,
            sources=plan.sources,
            silent_share=1.0,
        )
    ]
    if config.first_users:
        user = plan.log.user_of_post
        people = np.unique(user[asked])[::2]
        hidden = np.isin(user, people) & (user < len(plan.log.users))
        rows = asked[hidden[asked]]
        valid += first_users(
            plan.log,
            rows,
            Model(with_prior(knowledge, plan.log.select(~hidden)), config.rank),
            most_people=config.first_users // 4,
            seed=config.seed,
        )
    known = with_prior(knowledge, fitted)
    for other in plan.elsewhere:
        for into, rows, offered in (
            (parts, other.to_fit, config.rank_to_fit),
            (valid, other.to_calibrate, config.rank),
        ):
            into += people_elsewhere(
                other.log,
                rows,
                Model(known, offered),
                seed=config.seed,
                silent_share=config.drop_sources,
            )
    told("learning what photos show", n_steps, n_steps)
    return full, join_examples(parts), join_examples(valid)


def _keep_curves(out: Path, checkpoints: Checkpoints) -> None:
    source = checkpoints.folder / "curves.jsonl"
    if source.exists():
        target = out.with_name(out.name + ".curves.jsonl")
        target.write_bytes(source.read_bytes())
        draw_curves(checkpoints.curves(), out.with_name(out.name + ".curves.png"))
