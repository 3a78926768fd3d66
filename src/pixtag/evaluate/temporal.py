"""The temporal protocol: the last part of the log, which nothing was fitted on, in time order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, TypeVar

import numpy as np

from pixtag.errors import InputError
from pixtag.evaluate.baselines import BASELINES
from pixtag.evaluate.metrics import Comparison, OnProgress, compare, metric_names
from pixtag.evaluate.past import ORACLE, Ranker
from pixtag.evaluate.tables import (
    ALL,
    SEGMENT_METRICS,
    SIGNALS,
    SOURCES,
    Figures,
    Row,
    breadth,
    calibration,
    mean_rows,
    means,
    segments,
)
from pixtag.splits import Period, Split, cold_people, cold_view, occurrence
from pixtag.types import Doubles, Ints, PostLog, Rankings, Sources, iso_time

PIXTAG, BASE = "pixtag", "base_level"
ALL_SOURCES = tuple(Sources(*on) for on in product((True, False), repeat=3))
MOST_CHOSEN_ON = 5_000
"""Settings are chosen on at most so many posts: the last ones before the period."""

Setting = TypeVar("Setting")
Model = Callable[[PostLog, int, int, int, Sources], Rankings]
"""Ranks with some sources only: `model(log, start, stop, k, sources)`."""

Fit = Callable[[PostLog, Split], Model]
"""Trains a model on the train and validation periods of a log."""


# ------------------------------------------------------------------ baselines at their best


def choose(log: PostLog, start: int, stop: int, tried: Mapping[Setting, Ranker]) -> Setting:
    """Choose a setting by P@5 + R@5 on the last posts of a period, at most `MOST_CHOSEN_ON`.

    The first wins ties, and stands where there is no post.
    """
    start = max(start, stop - MOST_CHOSEN_ON)
    if len(tried) < 2 or not (np.diff(log.tag_start)[start:stop] > 0).any():
        return next(iter(tried))
    found = compare(log, start, stop, {str(setting): ranker for setting, ranker in tried.items()})
    quality = [float((m.values["p@5"] + m.values["r@5"]).mean()) for m in found.methods.values()]
    return list(tried)[int(np.argmax(quality))]


def choosing_bounds(split: Split, period: Period) -> tuple[int, int]:
    """Where settings are chosen for a period: on as many posts before it as validation has."""
    start, stop = split.bounds("validation")
    return (start, stop) if period == "test" else (max(0, 2 * start - stop), start)


@dataclass(frozen=True)
class References:
    """Other methods by name, each at its best, and the settings that were chosen for it."""

    rankers: dict[str, Ranker] = field(default_factory=dict[str, Ranker])
    settings: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])

    def __or__(self, other: References) -> References:
        """Both."""
        return References(self.rankers | other.rankers, self.settings | other.settings)


def reference_methods(
    log: PostLog, split: Split, *, period: Period = "test", seed: int = 0
) -> References:
    """Make the baselines, each at its best before the period that is measured.

    What is fitted reads train, what is chosen reads validation (the end of train, when validation
    is measured). Those on pixels are left out when train holds no photo.
    """
    start, stop = choosing_bounds(split, period)

    def made(name: str, fit_until: int, chosen: Mapping[str, float]) -> Ranker:
        baseline = BASELINES[name]
        fixed = {"seed": seed} if baseline.is_seeded else {}
        fitted = (log, fit_until) if baseline.is_fitted else ()
        return baseline.make(*fitted, **fixed, **chosen)

    found = References()
    has_photos = bool(log.has_photo[: split.train_stop].any())
    for name, baseline in BASELINES.items():
        if baseline.needs_photos and not has_photos:
            continue
        chosen: dict[str, float] = {}
        for setting, values in baseline.tried.items():
            # Fitted on what lies before the choice, then on all of train.
            tried = {v: made(name, start, {**chosen, setting: v}) for v in values}
            chosen[setting] = choose(log, start, stop, tried)
        found.rankers[name] = made(name, split.train_stop, chosen)
        if chosen:
            found.settings[name] = chosen
    return found


# ------------------------------------------------------------------ the protocol


@dataclass(frozen=True)
class Evaluation:
    """Everything that one evaluation found, post by post.

    Attributes:
        split, period: The cut, and which part was measured.
        comparison: All methods; `pixtag` first where a model was measured.
        ablation: The model with each set of sources, by name; None without a model.
        cold: Methods over the first posts of people whose past was hidden.
        signals: Values of the model, then of what is left of it without each signal.
        notes: Things a reader of the figures should know.
        settings: What was chosen for the baselines before the period.
        new_subjects: Posts on a subject that is new to their person; None to tell by photos.
    """

    split: Split
    period: Period
    comparison: Comparison
    ablation: Comparison | None = None
    cold: Comparison | None = None
    signals: Mapping[str, Mapping[str, Doubles]] | None = None
    notes: tuple[str, ...] = ()
    settings: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    new_subjects: frozenset[str] | None = None

    def figures(self) -> Figures:
        """The long table."""
        compared, cold = self.comparison, self.cold
        rows = means(compared) + means(compared, over="people")
        rows += segments(compared, self.split, new_subjects=self.new_subjects)
        rows += breadth(compared, self.split)
        if PIXTAG in compared.methods:
            rows += calibration(compared)
        if self.ablation is not None:
            rows += means(self.ablation, SOURCES)
        if self.signals is not None:
            rows += mean_rows(self.signals, compared.bootstrap, SIGNALS, metrics=metric_names())
        if ORACLE in compared.methods:
            rows += _shares(compared)
        if cold is not None:  # everyone hidden together, then the first post of each, the second
            nth = occurrence(cold.log.user_of_post[cold.rows]) + 1
            parts = {f", post {n}": cold.select(nth == n) for n in np.unique(nth).tolist()}
            for name, part in {"": cold, **parts}.items():
                rows += means(part, f"cold people{name}", metrics=SEGMENT_METRICS)
        described = self._describe()
        about = {
            "split": described,
            "interval": {"level": 0.95, "resampled": compared.bootstrap.unit},
            "chosen": self.settings,
        }
        measured = described["measured"]
        title = (
            f"{measured['n_posts']:,} posts of {measured['n_people']:,} people, "
            f"{measured['from'][:10]} to {measured['to'][:10]} ({self.period})"
        )
        return Figures("temporal", title, rows, about=about, notes=self.notes)

    def _describe(self) -> dict[str, Any]:
        split, log, rows = self.split, self.comparison.log, self.comparison.rows
        start, stop = split.bounds(self.period)
        return {
            "period": self.period,
            "train": {"n_posts": split.train_stop, "n_untimed": log.n_untimed},
            "validation": {"n_posts": split.valid_stop - split.train_stop},
            "test": {"n_posts": split.test_stop - split.valid_stop},
            "measured": {
                "n_posts": len(rows),
                "n_people": len(np.unique(log.user_of_post[rows])),
                "n_without_tags": int((np.diff(log.tag_start)[start:stop] == 0).sum()),
                "from": iso_time(float(log.at[rows[0]])),
                "to": iso_time(float(log.at[rows[-1]])),
            },
        }


def _shares(compared: Comparison) -> list[Row]:
    """Share of the oracle's quality that the first method reaches; NaN where it cannot be told.

    Above base-level learning it is 0 where nothing was gained over that, 1 where all that can be
    known is.
    """
    methods, first, boot = compared.methods, compared.first, compared.bootstrap
    rest = (boot.n_posts, boot.n_people, "posts")
    rows: list[Row] = []
    for m in (f"{m}@{k}" for m in ("p", "r", "hit", "ndcg") for k in (1, 3, 5, 10)):
        ours, best = methods[first].values[m], methods[ORACLE].values[m]
        share = boot.ratio(ours, best)
        rows.append(Row.of(ALL, first, m, share, *rest, "share of the oracle", ORACLE))
        if BASE in methods:
            low = methods[BASE].values[m]
            share = boot.ratio(ours - low, best - low)
            rows.append(Row.of(ALL, first, m, share, *rest, "share above base_level", ORACLE))
    return rows


def evaluate(
    log: PostLog, *, model: Model | None = None, split: Split, period: Period = "test",
    user: str | None = None, methods: References | None = None, more: References | None = None,
    ablation: bool = True, notes: tuple[str, ...] = (), new_subjects: frozenset[str] | None = None,
    seed: int = 0, on_progress: OnProgress | None = None,
) -> Evaluation:  # fmt: skip
    """Measure a model and the baselines on a period that none of them was fitted on.

    The period is `test`, or `validation` while tuning. Everyone's posts are replayed, but only
    those of `user` count if one is named. `methods` are the baselines, the usual ones by default,
    `more` stand beside them, and with `ablation` the model with each set of sources.

    Raises:
        InputError: The period or the person has no posts with tags.
    """
    start, stop = split.bounds(period)
    found = methods or reference_methods(log, split, period=period, seed=seed)
    found = found if more is None else found | more
    rankers = dict(found.rankers)
    if model is not None:
        rankers = {PIXTAG: _heard(model, Sources())} | rankers
    elif BASE in rankers:  # the others are held against it, and its suggestions written out
        rankers = {BASE: rankers[BASE]} | rankers
    sourced = {s.name: _heard(model, s) for s in ALL_SOURCES[1:]} if model and ablation else {}
    only = None if user is None else _rows_of(log, user, start, stop)
    every = compare(log, start, stop, rankers | sourced, only=only, on_progress=on_progress)
    compared = replace(every, methods={name: every.methods[name] for name in rankers})
    silenced = None
    if sourced:
        whole = {ALL_SOURCES[0].name: every.methods[PIXTAG]}
        silenced = replace(every, methods=whole | {n: every.methods[n] for n in sourced})
    return Evaluation(
        split, period, compared, silenced, notes=notes, settings=found.settings,
        new_subjects=new_subjects,
    )  # fmt: skip


def evaluate_cold(
    log: PostLog, *, fit: Fit | None, split: Split, period: Period = "test", share: float = 0.2,
    seed: int = 0, on_progress: OnProgress | None = None,
) -> Comparison | None:  # fmt: skip
    """Measure on the first five posts of held-out people: a seeded share of all.

    They are kept out of training (`fit`; only baselines when None), and what they posted before
    the period is hidden. None when none of them posts in the period.
    """
    people = cold_people(log, share=share, seed=seed)
    view = cold_view(log, split, people, period=period)
    if not (np.diff(view.log.tag_start)[view.rows] > 0).any():
        return None
    rankers = {} if fit is None else {PIXTAG: _heard(fit(view.log, view.split), Sources())}
    rankers |= reference_methods(view.log, view.split, period=period, seed=seed).rankers
    start, stop = view.split.bounds(period)
    return compare(view.log, start, stop, rankers, only=view.rows, on_progress=on_progress)


def _heard(model: Model, sources: Sources) -> Ranker:
    return lambda log, start, stop, k: model(log, start, stop, k, sources)


def _rows_of(log: PostLog, user: str, start: int, stop: int) -> Ints:
    if user not in log.users:
        raise InputError(
            f"nobody named {user!r} has posts here", hint="`pixtag posts` lists the people"
        )
    rows = np.flatnonzero(log.user_of_post[start:stop] == log.users.index(user)) + start
    if not len(rows):
        raise InputError(
            f"{user!r} posts nothing in the period that is measured",
            hint="choose a person who posts late in the store",
        )
    return rows
