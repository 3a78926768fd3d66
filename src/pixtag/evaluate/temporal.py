"""Two protocols in time order: posts that nothing was fitted on, and people whom it never met."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Any, TypeVar

import numpy as np

from pixtag import model as models
from pixtag import rank as ranking
from pixtag.bundle import Bundle
from pixtag.errors import InputError, LeakError
from pixtag.evaluate.baselines import BASELINES, DECAYS, base_level, most_recent, most_used
from pixtag.evaluate.metrics import (
    Bootstrap,
    Comparison,
    OnProgress,
    compare,
    metric_names,
    score_lists,
)
from pixtag.evaluate.past import ORACLE, Ranker
from pixtag.evaluate.tables import (
    ALL,
    SEGMENT_METRICS,
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
from pixtag.types import Doubles, Ints, PostLog, Rankings, Sources, iso_time

PIXTAG, BASE = "pixtag", "base_level"
ALL_SOURCES = tuple(Sources(*on) for on in product((True, False), repeat=3))
ONE_MORE = [
    (more.name, replace(more, **{source.name: False}).name)
    for more in ALL_SOURCES
    for source in fields(Sources)
    if getattr(more, source.name)
]
"""Sets of sources, and each without one of them."""

LOSS_METRICS, MOST_LOSS = ("p@5", "r@5"), 0.002
"""What adding a source may not lower, and by how much it may for chance."""

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

    `settings` were chosen for the baselines before the period.
    """

    split: Split
    period: Period
    comparison: Comparison  # all methods; `pixtag` first where a model was measured
    ablation: Comparison | None = None  # the model with each set of sources
    cold: Comparison | None = None  # over the first posts of people whose past was hidden
    notes: tuple[str, ...] = ()
    settings: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    new_subjects: frozenset[str] | None = None  # posts on such; None to tell by photos

    def figures(self) -> Figures:
        """The long table."""
        compared, cold = self.comparison, self.cold
        rows = means(compared) + means(compared, over="people")
        start, _ = self.split.bounds(self.period)
        rows += segments(compared, self.split, start, new_subjects=self.new_subjects)
        rows += breadth(compared, self.split)
        if PIXTAG in compared.methods:
            rows += calibration(compared)
        if self.ablation is not None:
            rows += means(self.ablation, SOURCES) + what_sources_add(self.ablation)
        if ORACLE in compared.methods:
            rows += _shares(compared)
        if cold is not None:  # everyone hidden together, then the first post of each, the second
            nth = occurrence(cold.log.user_of_post[cold.rows]) + 1
            parts = {f", post {n}": cold.select(nth == n) for n in np.unique(nth).tolist()}
            for name, part in {"": cold, **parts}.items():
                rows += means(part, f"cold people{name}", metrics=SEGMENT_METRICS)
        described, unit = self._describe(), compared.bootstrap.unit
        about = {"split": described, "interval": {"level": 0.95, "resampled": unit}}
        about |= {"chosen": self.settings}
        of = described["measured"]
        title = f"{of['n_posts']:,} posts of {of['n_people']:,} people, {of['from'][:10]} to "
        title += f"{of['to'][:10]} ({self.period})"
        return Figures("temporal", title, rows, about=about, notes=self.notes + losses(rows))

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


def what_sources_add(ablation: Comparison) -> list[Row]:
    """Every smaller set of sources minus itself without one of them; `means` holds the whole."""
    values = {name: scored.values for name, scored in ablation.methods.items()}
    rows: list[Row] = []
    for more, less in ONE_MORE:
        if more != ablation.first:
            pair = {name: values[name] for name in (more, less)}
            found = mean_rows(pair, ablation.bootstrap, SOURCES, metrics=metric_names())
            rows += [row for row in found if row.kind == "difference"]
    return rows


def losses(rows: Sequence[Row]) -> tuple[str, ...]:
    """Say where a source that is added makes the mean answer worse."""
    return tuple(
        f"{row.method} has {-row.mean:.4f} less {row.metric} than {row.other}: a source that is "
        "added should not make an answer worse"
        for row in rows
        if (row.method, row.other) in ONE_MORE and row.segment == SOURCES
        if row.metric in LOSS_METRICS and row.mean < -MOST_LOSS
    )


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
        rows.append(Row(ALL, first, m, *share, *rest, "share of the oracle", ORACLE))
        if BASE in methods:
            low = methods[BASE].values[m]
            share = boot.ratio(ours - low, best - low)
            rows.append(Row(ALL, first, m, *share, *rest, "share above base_level", ORACLE))
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
    log: PostLog, *, fit: Fit | None, split: Split, period: Period = "test",
    on_progress: OnProgress | None = None,
) -> Comparison | None:  # fmt: skip
    """Measure on the first five posts of held-out people: a seeded share of all.

    They are kept out of training (`fit`; only baselines when None), and what they posted before
    the period is hidden. None when none of them posts in the period.
    """
    view = cold_view(log, split, cold_people(log), period=period)
    if not (np.diff(view.log.tag_start)[view.rows] > 0).any():
        return None
    rankers = {} if fit is None else {PIXTAG: _heard(fit(view.log, view.split), Sources())}
    rankers |= reference_methods(view.log, view.split, period=period).rankers
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


# ------------------------------------------------------------------ first users

N_PEOPLE, LEAST_POSTS, FIRST_SEED = 50, 5, 20_260_106
RANKS, LAST = 10, 50
FIRST_SHOWN = ("p@1", "p@5", "r@5", "r@10")
OWN: dict[str, Ranker] = {
    "most_used": most_used,
    "most_recent": most_recent,
    **{f"base_level {decay}": base_level(decay) for decay in DECAYS},
}
"""Baselines on nothing but the person's own posts."""

BEST_OF_EACH = "each person's best baseline"
STRANGER, NO_TREND = "pixtag for a stranger", "pixtag without trend"
STEPS = ((1, 1), (2, 2), (3, 3), (4, 5), (6, 10), (11, 20), (21, LAST))
"""Posts of a person that share a segment, first and last."""


def first_users(log: PostLog) -> Ints:
    """Draw the people who are taken out: at most half of those with a few tagged posts."""
    tagged = log.user_of_post[np.diff(log.tag_start) > 0]
    n_posts = np.bincount(tagged, minlength=len(log.users) + 1)[: len(log.users)]
    able = np.flatnonzero(n_posts >= LEAST_POSTS)
    rng = np.random.default_rng(FIRST_SEED)
    return np.sort(rng.choice(able, min(N_PEOPLE, len(able) // 2), replace=False))


def without_first_users(log: PostLog, split: Split) -> PostLog:
    """What a model for first users may learn from: the others' posts of the train period."""
    is_other = ~np.isin(log.user_of_post, first_users(log))
    return log.select(is_other & (np.arange(len(log)) < split.train_stop))


def evaluate_first_users(
    log: PostLog, bundle: Bundle, *, split: Split, stop: int,
    on_progress: OnProgress | None = None,
) -> Figures:  # fmt: skip
    """Replay people whom the model never met, each with no store but their own posts.

    Beside the model (of a bundle trained on `without_first_users`, or elsewhere) stand its answer
    to a stranger and the person's own baselines, filled up with tags popular in its prior. Posts
    from `stop` on are not read; posts without tags are part of the past and not asked about.

    Raises:
        LeakError: The bundle learned from one of the people or from what came after the cut.
        InputError: Nobody has enough posts.
    """
    people = first_users(log)
    _refuse_what_was_seen(bundle, log, split, people)
    model = models.model_of(bundle)
    usual = np.bincount(bundle.prior.tag_ids, minlength=len(bundle.prior.tags))
    most = np.argsort(-usual, kind="stable")[: 2 * RANKS]
    popular = [bundle.prior.tags[t] for t in most.tolist()]
    counted = (log.at > -np.inf) & (np.arange(len(log)) < stop)
    is_tagged = np.diff(log.tag_start) > 0
    lists: dict[str, list[list[str]]] = {}
    asked: list[Ints] = []
    for done, one in enumerate(people, 1):
        mine = np.flatnonzero(counted & (log.user_of_post == one))[:LAST]
        if is_tagged[mine].any():
            for name, ranked in _replayed(log.select(mine), model, popular).items():
                lists.setdefault(name, []).extend(ranked)
            asked.append(np.stack([mine, np.arange(1, len(mine) + 1)])[:, is_tagged[mine]])
        if on_progress:
            on_progress(done, len(people), "people")
    if not asked:
        raise InputError(
            f"nobody has {LEAST_POSTS} posts with tags", hint="import the posts of more people"
        )
    row, which = np.concatenate(asked, axis=1)
    found = score_lists(lists, [log.tags_of(one) for one in row.tolist()], k=RANKS)
    who = log.user_of_post[row]
    best = max(OWN, key=lambda name: float(found[name]["p@5"].mean()))
    found[BEST_OF_EACH] = _best_of_each(found, who)
    masks = {ALL: row >= 0, "after the train period": row >= split.train_stop}
    for low, high in STEPS:
        name = f"post {low} to {high}" if low < high else f"post {low}"
        masks[name] = (which >= low) & (which <= high)
    table: list[Row] = []
    for name, mask in masks.items():
        if mask.any():
            part = {n: {m: v[mask] for m, v in values.items()} for n, values in found.items()}
            table += mean_rows(part, Bootstrap(who[mask]), name, metrics=FIRST_SHOWN,
                              against=(best, BEST_OF_EACH, STRANGER, NO_TREND))  # fmt: skip
    title = f"From the first post on: {len(who):,} posts of {len(asked)} people"
    about = {"best_baseline": best, "bundle": bundle.manifest.digest}
    return Figures("first-user", title, table, FIRST_SHOWN, about=about)


def _refuse_what_was_seen(bundle: Bundle, log: PostLog, split: Split, people: Ints) -> None:
    mine = np.flatnonzero(np.isin(log.user_of_post, people)).tolist()
    late = range(split.train_stop, len(log))
    for rows, what in ((mine, "of the people taken out"), (late, "after the train period")):
        n_seen = int(bundle.has_seen([log.post_ids[row] for row in rows]).sum())
        if n_seen:
            raise LeakError(
                f"the model learned from {n_seen} posts {what}",
                hint="leave --model out: one is then trained without them",
            )


def _replayed(log: PostLog, model: models.Model, popular: list[str]) -> dict[str, list[list[str]]]:
    """What every method lists for one person's tagged posts, each with what lies before it.

    The baselines on the person's own posts are filled up with popular tags.
    """
    rows = np.flatnonzero(np.diff(log.tag_start) > 0)
    questions = ranking.questions_of(log, rows, width=model.knowledge.encoder_width)
    mine, nobody = model.evidence(log).view(), model.evidence().view()
    lists = {
        "pixtag": ranking.rank(model, mine, questions, k=RANKS).names,
        STRANGER: ranking.rank(model, nobody, questions, k=RANKS).names,
        NO_TREND: ranking.rank(model, mine, questions, k=RANKS, sources=Sources(trend=False)).names,
    }
    for name, ranker in OWN.items():
        own = ranker(log, 0, len(log), RANKS)
        lists[name] = [[*dict.fromkeys([*own.list_of(row)[0], *popular])] for row in rows.tolist()]
    return lists


def _best_of_each(found: Mapping[str, Values], person: Ints) -> dict[str, Doubles]:
    """The values of the baseline that was best for each person, chosen afterwards."""
    best = {metric: np.zeros(len(person)) for metric in FIRST_SHOWN}
    for one in np.unique(person):
        mine = person == one
        for metric in FIRST_SHOWN:
            each = (found[name][metric][mine] for name in OWN)
            best[metric][mine] = max(each, key=lambda values: float(values.mean()))
    return best
