"""The usual protocol: the last part of the log, which nothing was fitted on, in time order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

from pixtag.errors import InputError
from pixtag.evaluate.compare import Comparison, OnProgress, References, compare, reference_methods
from pixtag.evaluate.files import ORACLE, iso
from pixtag.evaluate.metrics import metric_names
from pixtag.evaluate.model import Model
from pixtag.evaluate.past import Ranker
from pixtag.evaluate.tables import (
    ALL,
    SEGMENT_METRICS,
    SIGNALS,
    SOURCES,
    Figures,
    Row,
    Values,
    breadth,
    calibration,
    mean_rows,
    means,
    segments,
)
from pixtag.splits import Period, Split, cold_people, cold_view, occurrence
from pixtag.types import Ints, PostLog, Sources

PIXTAG, BASE = "pixtag", "base_level"
ALL_SOURCES = tuple(Sources(*on) for on in product((True, False), repeat=3))

Fit = Callable[[PostLog, Split], Model]
"""Trains a model on the train and validation periods of a log."""


@dataclass(frozen=True)
class Evaluation:
    """Everything that one evaluation found, post by post.

    Attributes:
        split: The cut.
        period: Which part was measured.
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
    signals: Mapping[str, Values] | None = None
    notes: tuple[str, ...] = ()
    settings: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    new_subjects: frozenset[str] | None = None

    def figures(self) -> Figures:
        """The long table."""
        compared = self.comparison
        rows = means(compared) + means(compared, over="people")
        rows += segments(compared, self.split, new_subjects=self.new_subjects)
        rows += breadth(compared, self.split)
        if PIXTAG in compared.methods:
            rows += calibration(compared)
        if self.ablation is not None:
            rows += means(self.ablation, SOURCES)
        if self.signals is not None:
            boot, metrics = compared.bootstrap, metric_names()
            rows += mean_rows(self.signals, boot, SIGNALS, metrics=metrics)
        if ORACLE in compared.methods:
            rows += _shares(compared)
        if self.cold is not None:
            rows += _cold_rows(self.cold)
        described = _describe(compared, self.split, self.period)
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


def _describe(compared: Comparison, split: Split, period: Period) -> dict[str, Any]:
    log, rows = compared.log, compared.rows
    start, stop = split.bounds(period)
    return {
        "period": period,
        "train": {"n_posts": split.train_stop, "n_untimed": log.n_untimed},
        "validation": {"n_posts": split.valid_stop - split.train_stop},
        "test": {"n_posts": split.test_stop - split.valid_stop},
        "measured": {
            "n_posts": len(rows),
            "n_people": len(np.unique(log.user_of_post[rows])),
            "n_without_tags": int((np.diff(log.tag_start)[start:stop] == 0).sum()),
            "from": iso(float(log.at[rows[0]])),
            "to": iso(float(log.at[rows[-1]])),
        },
    }


def _shares(compared: Comparison) -> list[Row]:
    """Share of the oracle's quality that the first method reaches.

    Above base-level learning it is 0 where nothing was gained over that, 1 where all that can be
    known is; NaN where the oracle is no better.
    """
    first, ours = next(iter(compared.methods.items()))
    best, boot = compared.methods[ORACLE].values, compared.bootstrap
    rest = (boot.n_posts, boot.n_people, "posts")
    rows: list[Row] = []
    for m in (f"{m}@{k}" for m in ("p", "r", "hit", "ndcg") for k in (1, 3, 5, 10)):
        share = boot.ratio(ours.values[m], best[m])
        rows.append(Row.of(ALL, first, m, share, *rest, "share of the oracle", ORACLE))
        if BASE in compared.methods:
            low = compared.methods[BASE].values[m]
            share = boot.ratio(ours.values[m] - low, best[m] - low)
            rows.append(Row.of(ALL, first, m, share, *rest, "share above base_level", ORACLE))
    return rows


def _cold_rows(compared: Comparison) -> list[Row]:
    """Everyone hidden together, then the first post of each, the second, ..."""
    rows = means(compared, "cold people", metrics=SEGMENT_METRICS)
    nth = occurrence(compared.log.user_of_post[compared.rows]) + 1
    for number in np.unique(nth).tolist():
        part = compared.select(nth == number)
        rows += means(part, f"cold people, post {number}", metrics=SEGMENT_METRICS)
    return rows


def evaluate(
    log: PostLog,
    *,
    model: Model | None = None,
    split: Split,
    period: Period = "test",
    user: str | None = None,
    methods: References | None = None,
    more: References | None = None,
    ablation: bool = True,
    notes: tuple[str, ...] = (),
    new_subjects: frozenset[str] | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Measure a model and the baselines on a period that none of them was fitted on.

    Args:
        log: The whole log.
        model: The model; only baselines when None.
        split: The cut.
        period: `test`, or `validation` while tuning.
        user: Count only this person's posts; everyone's are replayed.
        methods: Baselines; the usual ones by default.
        more: Methods beside these, such as an oracle or fitted rankers.
        ablation: Measure the model with each set of sources too.
        notes: Passed on to the figures.
        new_subjects: Posts on a subject that is new to their person; None to tell by photos.
        seed: Of the random ranking and the probe.
        on_progress: Told which method is next.

    Raises:
        InputError: The period or the person has no posts with tags.
    """
    start, stop = split.bounds(period)
    found = methods or reference_methods(log, split, period=period, seed=seed)
    found = found if more is None else found | more
    rankers = dict(found.rankers)
    if model is not None:
        rankers = {PIXTAG: _ranker(model, Sources())} | rankers
    elif BASE in rankers:  # the others are held against it, and its suggestions written out
        rankers = {BASE: rankers[BASE]} | rankers
    sourced = {s.name: _ranker(model, s) for s in ALL_SOURCES[1:]} if model and ablation else {}
    only = None if user is None else _rows_of(log, user, start, stop)

    n_all = len(rankers) + len(sourced)
    compared = compare(log, start, stop, rankers, only=only, on_progress=on_progress, n_all=n_all)
    lifted = None
    if sourced:
        lifted = compare(log, start, stop, sourced, only=only, on_progress=on_progress,
                         n_done=len(rankers), n_all=n_all)  # fmt: skip
        whole = {ALL_SOURCES[0].name: compared.methods[PIXTAG]}
        lifted = replace(lifted, methods=whole | lifted.methods)
    return Evaluation(
        split, period, compared, lifted, notes=notes, settings=found.settings,
        new_subjects=new_subjects,
    )  # fmt: skip


def evaluate_cold(
    log: PostLog,
    *,
    fit: Fit | None,
    split: Split,
    period: Period = "test",
    share: float = 0.2,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Comparison | None:
    """Measure on the first five posts of people whom nobody has met: a seeded share of all.

    They are kept out of training, and what they posted before the period is hidden.

    Args:
        log: The whole log.
        fit: Trains the model without them; only baselines when None.
        split: The cut.
        period: Where they appear.
        share: Share of the people.
        seed: Decides who.
        on_progress: Told which method is next.

    Returns:
        None when none of the chosen people posts in the period.
    """
    people = cold_people(log, share=share, seed=seed)
    view = cold_view(log, split, people, period=period)
    if not (np.diff(view.log.tag_start)[view.rows] > 0).any():
        return None
    rankers: dict[str, Ranker] = {}
    if fit is not None:
        rankers[PIXTAG] = _ranker(fit(view.log, view.split), Sources())
    rankers |= reference_methods(view.log, view.split, period=period, seed=seed).rankers
    start, stop = view.split.bounds(period)
    return compare(view.log, start, stop, rankers, only=view.rows, on_progress=on_progress)


def _ranker(model: Model, sources: Sources) -> Ranker:
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
