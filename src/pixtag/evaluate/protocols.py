"""The protocols of `pixtag evaluate`: one table, and one function that runs any of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from pixtag.bundle import Bundle, load_bundle
from pixtag.encoder import OnnxEncoder, load_encoder
from pixtag.engine import LOCAL, Engine
from pixtag.errors import ConfigError, InputError, extra_hint
from pixtag.evaluate.labelled import (
    LabelledPhoto,
    evaluate_histories,
    evaluate_strangers,
    read_photos,
)  # fmt: skip
from pixtag.evaluate.metrics import Comparison, OnProgress
from pixtag.evaluate.model import check_bundle, model_of, rank_given
from pixtag.evaluate.past import ORACLE, read_oracle, read_post_ids
from pixtag.evaluate.tables import Figures
from pixtag.evaluate.temporal import (
    Model,
    References,
    evaluate,
    evaluate_cold,
    evaluate_first_users,
    without_first_users,
)
from pixtag.evaluate.untimed import evaluate_ancestor, evaluate_given
from pixtag.splits import Period, Split, temporal_split
from pixtag.store import Store
from pixtag.train.config import TrainConfig
from pixtag.types import PostLog, Rankings, Sources

N_SPLITS = 5
"""Random splits of the protocol of given tags."""


@dataclass(frozen=True)
class Request:
    """What is to be measured, and how: the flags of `pixtag evaluate`, which explains them.

    `engine` replays posts; `say` is told what was made, `on_progress` how much of what is done.
    """

    store: Store | None = None
    bundle: Path | None = None
    encoder: Path | None = None
    period: Period = "test"
    user: str | None = None
    n_given: int = 1
    cold: bool = True
    ablation: bool = True
    baselines_only: bool = False
    oracle: Path | None = None
    new_subjects: Path | None = None
    photos: Path | None = None
    photo_tags: Path | None = None
    config: TrainConfig = field(default_factory=TrainConfig)
    seed: int = 0
    engine: Engine = LOCAL
    say: Callable[[str], None] = lambda text: None
    on_progress: OnProgress = lambda done, total, what: None

    def eyes(self, bundle: Bundle | None = None) -> OnnxEncoder:
        """The encoder whose embeddings are read: the model's, else the one that was named."""
        return load_encoder(self.encoder if bundle is None else bundle.encoder)

    @property
    def posts(self) -> Store:
        """The store, which the protocol needs."""
        if self.store is None:
            raise InputError("this protocol measures on posts", hint="name a store: --store FILE")
        return self.store


@dataclass(frozen=True)
class Outcome:
    """Figures, the suggestions behind them, the model's digest, and the period to log a look at."""

    figures: Figures
    comparison: Comparison | None = None
    bundle_digest: str | None = None
    looked_at: Period | None = None


def run_protocol(name: str, request: Request) -> Outcome:
    """Measure by the protocol of that name in `PROTOCOLS`.

    Raises:
        InputError: The request lacks what the protocol needs, or there is too little to measure.
        LeakError: The model learned from what it would be measured on.
    """
    return PROTOCOLS[name](request)


# ------------------------------------------------------------------ temporal


def _temporal(request: Request) -> Outcome:
    store, period = request.posts, request.period
    bundle = None if request.bundle is None else load_bundle(request.bundle)
    log = store.log(request.eyes(bundle).digest)
    split = temporal_split(log)
    start, stop = split.bounds(period)
    if split.test_stop - split.valid_stop < 1:
        raise InputError(
            f"{store.address} holds {len(log) - log.n_untimed} posts with a time: too few to set "
            "some apart and measure",
            hint="import more posts; for posts without times use --protocol ancestor",
        )
    more, notes = References(), list[str]()
    if request.oracle is not None:
        ranker = read_oracle(request.oracle)
        ranker(log, start, stop, 1)  # what it lacks is told before anything is trained
        more = References({ORACLE: ranker})
    news = None if request.new_subjects is None else read_post_ids(request.new_subjects)
    if bundle is not None:
        notes += check_bundle(bundle, log, np.arange(start, stop))
        bundle = None if request.baselines_only else bundle
    elif not request.baselines_only:
        is_test = period == "test"
        name = "evaluated" if is_test else f"evaluated-{period}"
        bundle = train_beside(request, log, None if is_test else start, name=name)
    model = None if bundle is None else model_of(bundle, request.engine)
    found = evaluate(
        log, model=model, split=split, period=period,
        user=request.user, more=more, ablation=request.ablation, notes=tuple(notes),
        new_subjects=news, seed=request.seed, on_progress=request.on_progress,
    )  # fmt: skip
    if request.cold and request.bundle is None and request.user is None:

        def fit(known: PostLog, cut: Split) -> Model:
            until, _ = cut.bounds(period)
            beside = train_beside(request, known, until, name="evaluated-cold")
            return model_of(beside, request.engine)

        cold = evaluate_cold(log, fit=None if bundle is None else fit, split=split, period=period,
                             on_progress=request.on_progress)  # fmt: skip
        found = replace(found, cold=cold)
    digest = None if bundle is None else bundle.manifest.digest
    return Outcome(found.figures(), found.comparison, digest, period)


def train_beside(request: Request, log: PostLog, stop: int | None, *, name: str) -> Bundle:
    """Train a model and keep it as STORE.NAME; the store notes whose posts were used.

    The log is cut as usual; with `stop` only what lies before this post is handed over, to fit on
    nine tenths of it. ConfigError when what training needs is not installed.
    """
    try:
        from pixtag.train.fit import fit
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "pixtag":
            raise
        raise ConfigError(
            f"without --model one is trained first, and {error.name} is not installed",
            hint=f"{extra_hint('train')}, or give a --model, or --baselines-only",
        ) from error
    store = request.posts
    known = log if stop is None else log.select(np.arange(stop))
    out = store.path.with_name(f"{store.path.name}.{name}")
    eyes = request.eyes()
    bundle = fit(
        known, out=out, config=request.config, use_all=stop is not None,
        encoder_digest=eyes.digest, encoder=eyes, title=store.path.name, engine=request.engine,
        on_stage=lambda stage, done, total: request.on_progress(done, total, stage),
    )  # fmt: skip
    trained = bundle.manifest.trained
    people = {*known.user_of_post[: trained.n_posts].tolist()} - {len(known.users)}
    names = [known.users[user] for user in sorted(people)]
    store.record_bundle(out, bundle.manifest.digest, trained.until_at, names)
    request.say(f"trained {out}, which is kept")
    return bundle


# ------------------------------------------------------------------ the others


def _ancestor(request: Request) -> Outcome:
    log = request.posts.log(request.eyes().digest)

    def model(ordered: PostLog, n_asked: int) -> Rankings:
        start = len(ordered) - n_asked
        bundle = train_beside(request, ordered, start, name="evaluated-ancestor")
        return model_of(bundle, request.engine)(ordered, start, len(ordered), 50, Sources())

    asked = None if request.baselines_only else model
    return Outcome(evaluate_ancestor(log, seed=request.seed, model=asked))


def _given(request: Request) -> Outcome:
    bundle = None if request.baselines_only else load_bundle(request.bundle)
    figures = evaluate_given(
        request.posts.log(), n_given=request.n_given,
        seeds=range(request.seed, request.seed + N_SPLITS), on_progress=request.on_progress,
        model=bundle and (lambda known, given: rank_given(bundle, known, given, 20)),
    )  # fmt: skip
    return Outcome(figures, bundle_digest=None if bundle is None else bundle.manifest.digest)


def _labelled(
    request: Request, measure: Callable[[Bundle, Sequence[LabelledPhoto]], Figures]
) -> Outcome:
    if request.photos is None:
        raise InputError(
            "this protocol asks about labelled photos, and none are given",
            hint="name a folder of photos with manifest.csv: --photos FOLDER",
        )
    bundle = load_bundle(request.bundle)
    photos = read_photos(request.photos, request.photo_tags, bundle)
    return Outcome(measure(bundle, photos), bundle_digest=bundle.manifest.digest)


def _histories(request: Request) -> Outcome:
    told = {"seed": request.seed, "on_progress": request.on_progress}
    return _labelled(request, partial(evaluate_histories, **told))


def _first_user(request: Request) -> Outcome:
    bundle = None if request.bundle is None else load_bundle(request.bundle)
    log = request.posts.log(request.eyes(bundle).digest)
    split = temporal_split(log)
    if bundle is None:
        known = without_first_users(log, split)
        bundle = train_beside(request, known, len(known), name="evaluated-first-user")
    _, stop = split.bounds(request.period)
    figures = evaluate_first_users(
        log, bundle, split=split, stop=stop, on_progress=request.on_progress
    )
    return Outcome(figures, None, bundle.manifest.digest, request.period)


PROTOCOLS: dict[str, Callable[[Request], Outcome]] = {
    "temporal": _temporal, "ancestor": _ancestor, "given": _given,
    "strangers": partial(_labelled, measure=evaluate_strangers), "histories": _histories,
    "first-user": _first_user,
}  # fmt: skip
