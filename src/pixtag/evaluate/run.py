"""One evaluation from end to end: methods, ablation, cold people, and the figures as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from pixtag.baselines import Ranker
from pixtag.errors import InputError
from pixtag.evaluate.looks import iso
from pixtag.evaluate.oracle import ORACLE, knowable
from pixtag.evaluate.protocol import (
    Comparison,
    OnProgress,
    References,
    compare,
    reference_methods,
)
from pixtag.evaluate.signals import SignalLift
from pixtag.evaluate.summary import (
    SEGMENT_METRICS,
    Figures,
    breadth,
    calibration,
    ceiling,
    drift,
    means,
    over_people,
    paired,
    paired_over_people,
    segments,
)
from pixtag.splits import Period, Split, cold_people, cold_view, occurrence
from pixtag.types import Ints, PostLog, Rankings, Sources

PIXTAG = "pixtag"
_STAND_IN = "base_level"
"""The method whose suggestions are written out when no model is measured."""


Model = Callable[[PostLog, int, int, int, Sources], Rankings]
"""Ranks with some sources only: `model(log, start, stop, k, sources)`."""

Fit = Callable[[PostLog, Split], Model]
"""Trains a model on the train and validation periods of a log."""

ALL_SOURCES = tuple(Sources(*on) for on in product((True, False), repeat=3))


@dataclass(frozen=True)
class Cold:
    """People without a past: few in most test periods, so they are made.

    Attributes:
        comparison: Methods over the first posts of the people whose past was hidden.
        n_people: How many people were hidden.
    """

    comparison: Comparison
    n_people: int


@dataclass(frozen=True)
class Evaluation:
    """Everything that one evaluation found.

    Attributes:
        split: The cut.
        period: Which part was measured.
        comparison: All methods; `pixtag` first where a model was measured.
        ablation: The model with each set of sources, by name; empty without a model.
        cold: The cold protocol; None when it was left out.
        signals: The model without each of its signals; None when that was left out.
        notes: Things a reader of the figures should know.
        settings: What was chosen for the baselines before the period.
    """

    split: Split
    period: Period
    comparison: Comparison
    ablation: Comparison | None = None
    cold: Cold | None = None
    signals: SignalLift | None = None
    notes: tuple[str, ...] = field(default=())
    settings: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])

    def as_dict(self) -> Figures:
        """All figures, ready for JSON."""
        compared = self.comparison
        log, rows = compared.log, compared.rows
        found: Figures = {
            "split": _describe(log, self.split, self.period, rows),
            "interval": {"level": 0.95, "resampled": compared.bootstrap.unit},
            "ceiling": ceiling(compared),
            "methods": {n: means(s, compared.bootstrap) for n, s in compared.methods.items()},
            "chosen": self.settings,
            "per_person": over_people(compared),
            "segments": segments(compared, self.split),
            "drift": drift(compared),
            "breadth": breadth(compared, self.split),
            "notes": list(self.notes),
        }
        if PIXTAG in compared.methods:
            found["paired"] = paired(compared)
            found["paired_per_person"] = paired_over_people(compared)
            found["calibration"] = calibration(compared.methods[PIXTAG])
        if self.ablation is not None:
            found["ablation"] = {
                name: means(scored, self.ablation.bootstrap)
                for name, scored in self.ablation.methods.items()
            }
            found["ablation_paired"] = paired(self.ablation)
            found["lift"] = _lift(self.ablation)
        if self.signals is not None:
            found["signals"] = self.signals.as_dict()
        if ORACLE in compared.methods:
            found["knowable"] = knowable(compared)
        if self.cold is not None:
            found["segments"]["cold"] = _cold_figures(self.cold)
        return found


def _lift(ablation: Comparison) -> Figures:
    """What each source adds to the other two, post by post."""
    whole = ablation.methods[Sources().name].values
    found: Figures = {}
    for source in ("pixels", "history", "trend"):
        without = ablation.methods[replace(Sources(), **{source: False}).name].values
        found[source] = {
            metric: ablation.bootstrap.over_posts(whole[metric] - without[metric]).as_dict()
            for metric in whole
        }
    return found


def _describe(log: PostLog, split: Split, period: Period, rows: Ints) -> Figures:
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


def _cold_figures(cold: Cold) -> Figures:
    compared = cold.comparison
    return {
        "n_posts": len(compared.rows),
        "n_people": len(np.unique(compared.log.user_of_post[compared.rows])),
        "n_hidden_people": cold.n_people,
        "ceiling": {name: ceiling(compared)[name] for name in SEGMENT_METRICS},
        "methods": {
            name: means(scored, compared.bootstrap, SEGMENT_METRICS)
            for name, scored in compared.methods.items()
        },
        "paired": paired(compared, SEGMENT_METRICS),
        "by_post": _by_post(compared),
    }


def _by_post(compared: Comparison) -> Figures:
    """The first post of every person, the second, ...; by number from 1."""
    nth = occurrence(compared.log.user_of_post[compared.rows]) + 1
    found: Figures = {}
    for number in np.unique(nth).tolist():
        part = compared.select(nth == number)
        found[str(number)] = {
            "n_posts": len(part.rows),
            "methods": {
                name: means(scored, part.bootstrap, SEGMENT_METRICS)
                for name, scored in part.methods.items()
            },
        }
    return found


def evaluate(
    log: PostLog,
    *,
    model: Model | None = None,
    split: Split,
    period: Period = "test",
    user: str | None = None,
    methods: Mapping[str, Ranker] | None = None,
    more: References | None = None,
    ablation: bool = True,
    notes: tuple[str, ...] = (),
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
        methods: Baselines by name; the usual ones by default.
        more: Methods beside these, such as an oracle or fitted rankers.
        ablation: Measure the model with each set of sources too.
        notes: Passed on to the figures.
        seed: Of the random ranking and the probe.
        on_progress: Told which method is next.

    Raises:
        InputError: The period or the person has no posts with tags.
    """
    start, stop = split.bounds(period)
    rankers: dict[str, Ranker] = {} if model is None else {PIXTAG: _ranker(model, Sources())}
    settings: dict[str, dict[str, float]] = {}
    if methods is None:
        references = reference_methods(log, split, period=period, seed=seed)
        methods, settings = references.rankers, references.settings
    rankers |= methods
    if more is not None:
        rankers |= more.rankers
        settings |= more.settings
    if model is None and _STAND_IN in rankers:
        rankers = {_STAND_IN: rankers[_STAND_IN]} | rankers
    sourced = {s.name: _ranker(model, s) for s in ALL_SOURCES[1:]} if model and ablation else {}
    n_all = len(rankers) + len(sourced)
    only = None if user is None else _rows_of(log, user, start, stop)

    def tell(offset: int) -> OnProgress:
        def told(done: int, _: int, name: str) -> None:
            if on_progress is not None:
                on_progress(offset + done, n_all, name)

        return told

    compared = compare(log, start, stop, rankers, only=only, on_progress=tell(0))
    lifted = None
    if sourced:
        lifted = compare(log, start, stop, sourced, only=only, on_progress=tell(len(rankers)))
        whole = {ALL_SOURCES[0].name: compared.methods[PIXTAG]}
        lifted = replace(lifted, methods=whole | lifted.methods)
    return Evaluation(split, period, compared, lifted, notes=notes, settings=settings)


def evaluate_cold(
    log: PostLog,
    *,
    fit: Fit | None,
    split: Split,
    period: Period = "test",
    share: float = 0.2,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Cold | None:
    """Measure on the first five posts of people whom nobody has met.

    A seeded fifth of the people are kept out of training, and what they posted before the
    period is hidden.

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
    compared = compare(view.log, start, stop, rankers, only=view.rows, on_progress=on_progress)
    return Cold(compared, int(people.sum()))


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
