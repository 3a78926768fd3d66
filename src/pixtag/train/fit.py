"""From a log of posts to a model's file: heads, replayed examples, network, calibration.

posts 0 .. .7 n   fit: folds of heads, replay with out-of-fold heads, network
posts .. .8 n     calibrate
the rest          never read
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixtag.bundle import (
    Arrays,
    Bundle,
    Manifest,
    Trained,
    check_replaceable,
    hash_post_ids,
    save_bundle,
)
from pixtag.encoder import OnnxEncoder
from pixtag.engine import LOCAL, Engine
from pixtag.model import Model
from pixtag.signals import CONTEXT_NAMES, INPUT_NAMES, Knowledge
from pixtag.signals.head import Head
from pixtag.train.calibrate import fit_calibration
from pixtag.train.checkpoints import Checkpoints
from pixtag.train.config import TrainConfig
from pixtag.train.examples import Examples, deal_folds, join_examples
from pixtag.train.network import OnStage, fit_network, score_examples
from pixtag.train.people import first_users, people_elsewhere, people_with_histories
from pixtag.train.pixels import Pixels, fit_pixels, tag_table
from pixtag.train.plan import Auxiliary, Plan
from pixtag.types import Bools, PostLog, Sources

CALIBRATED_SHARE = 8  # one of so many people made up is kept for the calibration


def fit(
    log: PostLog,
    *,
    out: Path,
    config: TrainConfig | None = None,
    labels: Sequence[str] | None = None,
    use_all: bool = False,
    auxiliary: Auxiliary | None = None,
    encoder_digest: str = "",
    encoder: OnnxEncoder | None = None,
    title: str = "",
    sources: Sources | None = None,
    engine: Engine = LOCAL,
    on_stage: OnStage = lambda stage, done, total: None,
    on_examples: Callable[[Examples, Examples], None] | None = None,
) -> Bundle:
    """Train a model on a log, write it, and return it as written.

    An interrupted run leaves `OUT.partial`; the same call goes on from its last epoch and ends
    with the same model as an unbroken run.

    Args:
        log: All posts, with encoder embeddings or none.
        out: File of the model. Curves lie beside it: `OUT.curves.jsonl`, `OUT.curves.png`.
        config: Knobs.
        labels: A fixed set of tags: no other is learned or offered.
        use_all: Fit on the first 90 % and calibrate on the last 10.
        auxiliary: What else a model for everybody learns from.
        encoder_digest: Encoder that made the embeddings.
        encoder: The same, to go into the model when it is not the shipped one.
        title: What the posts are, for the model card.
        sources: Train with these alone; the model must then be asked with these alone.
        engine: What replays many posts side by side; heads and network are fitted here.
        on_stage: Called with a stage's name, what is done and how much there is.
        on_examples: Called with the examples of the fit and of the calibration period that every
            source had a say in.

    Raises:
        ModelError: Too few posts to learn from, or none with a tag of `labels`; `bridge_tags`
            with another encoder than the shipped one; `encoder` is not that of the embeddings.
        InputError: `out` holds something that is not a model.
    """
    check_replaceable(out)
    plan = Plan(
        log,
        config or TrainConfig(),
        auxiliary or Auxiliary(),
        labels=labels,
        sources=sources or Sources(),
        encoder_digest=encoder_digest,
        encoder=encoder,
        use_all=use_all,
        engine=engine,
    )
    checkpoints = Checkpoints(out.with_name(out.name + ".partial"), plan.identity)
    pixels, train, valid = _pixels_and_examples(plan, checkpoints, on_stage)
    if on_examples is not None:
        on_examples(train.heard, valid.heard)
    weights = fit_network(plan.config, checkpoints, train, valid.heard, on_stage)
    del train
    _release_memory()
    on_stage("calibrating", 0, 1)
    score, context = score_examples(weights, valid), valid.found.context.astype(np.float32)
    grows = [CONTEXT_NAMES.index(name) for name in ("posts_log", "prior_log")]
    weights |= fit_calibration(
        weights, score, valid.found.filled, context, valid.used, ignored=grows
    )
    saved = save_bundle(out, _bundle(plan, weights | pixels.arrays(), pixels.head, title))
    checkpoints.finish(out)
    on_stage("calibrating", 1, 1)
    return saved


def _pixels_and_examples(
    plan: Plan, checkpoints: Checkpoints, told: OnStage
) -> tuple[Pixels, Examples, Examples]:
    """Fit heads and topics of the folds and of all; replay the fit and the calibration period."""
    fitted, config, n_tags = plan.fitted, plan.config, len(plan.vocabulary)
    table = tag_table(fitted, plan.vocabulary)
    fold = deal_folds(
        fitted,
        n_folds=config.folds,
        seed=config.seed,
        by_person=config.first_users > 0,
        groups=plan.auxiliary.groups[: len(fitted)],
    )
    folds = np.unique(fold[plan.rows_to_fit]).tolist()
    train: list[Examples] = []
    valid: list[Examples] = []
    for step, left_out in enumerate(folds):
        told("learning what photos show", step, len(folds) + 1)
        seen = fold != left_out
        pixels = fit_pixels(fitted, table, seen, config, checkpoints, n_tags=n_tags, fold=left_out)
        made_up = _fold_examples(plan, plan.knowledge(pixels, seen), ~seen, len(folds), train)
        # People made up are of no period, so some are kept to calibrate on.
        train += [part for i, part in enumerate(made_up) if i % CALIBRATED_SHARE]
        valid += made_up[::CALIBRATED_SHARE]
        del made_up
        _release_memory()
    told("learning what photos show", len(folds), len(folds) + 1)
    everyone = np.ones(len(fitted), np.bool_)
    pixels = fit_pixels(fitted, table, everyone, config, checkpoints, n_tags=n_tags)
    knowledge = plan.knowledge(pixels, everyone)
    valid += _calibration_examples(plan, knowledge)
    known = plan.with_prior(knowledge, fitted)
    replay = partial(people_elsewhere, seed=config.seed, silent_share=config.drop_sources)
    for other in plan.elsewhere:
        train += replay(other.log, other.to_fit, Model(known, config.rank_to_fit))
        valid += replay(other.log, other.to_calibrate, Model(known, config.rank))
    told("learning what photos show", len(folds) + 1, len(folds) + 1)
    return pixels, join_examples(train), join_examples(valid)


def _release_memory() -> None:
    """Give freed memory back: glibc keeps it, in holes between what stays."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another library of C
        ctypes.CDLL(None).malloc_trim(0)


def _fold_examples(
    plan: Plan, knowledge: Knowledge, hidden: Bools, n_folds: int, train: list[Examples]
) -> list[Examples]:
    """Replay the hidden posts of the fit period, with what was fitted without them, into `train`.

    Returns:
        What people are asked whose history is made up.
    """
    fitted, config, asked = plan.fitted, plan.config, plan.rows_to_fit
    model, shares = Model(knowledge, config.rank_to_fit), (config.drop_sources, config.new_subjects)
    asked = asked[hidden[asked]]
    train += [plan.replay(fitted, asked, model, silent_share=shares[0], new_share=shares[1])]
    kinds = plan.auxiliary.kinds[: len(fitted)] if config.histories else ()
    if config.first_users or kinds:
        rows = np.flatnonzero(hidden)
        model = Model(plan.with_prior(knowledge, fitted.select(~hidden)), config.rank)
        # Rounded up: each fold asks somebody.
        most = -(-config.first_users // n_folds)
        if most:
            train += first_users(fitted, rows, model, most=most, seed=config.seed)
        most = config.histories // n_folds
        if kinds:
            return people_with_histories(fitted, rows, kinds, model, most=most, seed=config.seed)
    return []


def _calibration_examples(plan: Plan, knowledge: Knowledge) -> list[Examples]:
    """Replay the calibration period; whatever may be silent in life is calibrated too."""
    log, config, asked = plan.log, plan.config, plan.rows_to_calibrate
    model = Model(knowledge, config.rank)
    parts = [plan.replay(log, asked, model, accepts=False, silent_share=1.0)]
    if config.first_users:
        people = np.unique(log.user_of_post[asked])[::2]
        hidden = np.isin(log.user_of_post, people) & (log.user_of_post < len(log.users))
        model = Model(plan.with_prior(knowledge, log.select(~hidden)), config.rank)
        rows, most = asked[hidden[asked]], config.first_users // 4
        parts += first_users(log, rows, model, most=most, seed=config.seed)
    return parts


def _bundle(plan: Plan, weights: Arrays, head: Head, title: str) -> Bundle:
    """Gather what was learned, without anybody's name."""
    log = plan.log
    trained = Trained(
        n_posts=len(log),
        first_at=float(log.at[log.n_untimed]),
        until_at=float(log.at[plan.split.train_stop - 1]),
        calibrated_until=float(log.at[-1]),
    )
    manifest = Manifest(
        pixtag=importlib.metadata.version("pixtag"),
        size=plan.config.size,
        config=plan.config.model_dump(mode="json"),
        feature_names=INPUT_NAMES,
        encoder_digest=plan.encoder_digest,
        encoder_width=log.embeddings.shape[1],
        trained=trained,
    )
    prior, people = plan.prior(log, head)
    extras: dict[str, NDArray[Any]] = {"prior_people": people.astype(np.float32)}
    if plan.matrix is not None:
        extras["bridge"] = plan.matrix
    if plan.config.words and plan.own_words is not None:
        extras |= {f"words/{name}": array for name, array in plan.own_words.items()}
    for name, array in plan.kinds(np.ones(len(plan.fitted), np.bool_)).items():
        extras[f"kinds/{name}"] = array.astype(np.float16) if name == "weight" else array
    seen = [*log.post_ids, *(post_id for other in plan.elsewhere for post_id in other.asked)]
    return Bundle(
        manifest=manifest,
        vocabulary=plan.vocabulary,
        weights=weights,
        prior=prior,
        extras=extras,
        seen=hash_post_ids(seen, salt=manifest.salt),
        card=write_card(manifest, n_tags=len(plan.vocabulary), title=title),
        encoder=plan.encoder,
    )


def write_card(manifest: Manifest, *, n_tags: int, title: str = "") -> str:
    """Write the model card, Markdown; `title` says what the posts are, in a person's words."""
    trained = manifest.trained
    return f"""# Model card

A Pixtag model of size `{manifest.size}`, written by Pixtag {manifest.pixtag}.

- **Trained on**: {trained.n_posts} posts{f" ({title})" if title else ""}, from \
{_day(trained.first_at)} to {_day(trained.until_at)}; calibrated on posts up to \
{_day(trained.calibrated_until)}. It has read nothing later.
- **Vocabulary**: {n_tags} tags that several people used; tags beyond it are suggested \
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
