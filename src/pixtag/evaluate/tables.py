"""One long table of figures, behind the terminal, the page and the JSON file alike.

A row says what one method reached by one metric on some of the posts, or by how much it differs
from another method there.

Shapes:
    B: posts. K: ranks. T: tags. E: tag uses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any, Literal

import numpy as np

from pixtag.evaluate.compare import Comparison, Scored, people_of
from pixtag.evaluate.metrics import Bootstrap, Interval, ceilings, metric_names, reliability
from pixtag.evaluate.past import uses_in
from pixtag.splits import (
    BANDS,
    HISTORY_SEGMENTS,
    Split,
    history_length,
    is_repeated,
    subject_novelty,
    tag_bands,
)
from pixtag.types import Bools, Doubles, Ints, PostLog

SHOWN = ("p@1", "p@5", "r@5", "r@10", "ndcg@5", "mrr")
SEGMENT_METRICS = ("p@1", "p@5", "r@5", "r@10", "hit@5", "ndcg@5", "mrr")
ALL, SOURCES, SIGNALS = "all", "all, by sources", "all, by signals"
FIRST_FIVE, CHANCES = "all, first five", "all, chances"
"""Segments of all posts: the methods, and what else is varied or looked at there."""

PERFECT, WRITTEN = "perfect ranking", "as written"
"""In place of a method: a ranking without mistakes, and the tags that people wrote."""

BREADTH = ("coverage", "popularity", "redundancy")
BANDS_OF_TAGS = tuple(f"{band} tags" for band in BANDS)
KNOWN, BY_OWN = "new tags once known", "new tags once used by the person"
BY_OTHERS, NOT_YET = "new tags once used by three others", "new tags before that"
LEAST_OTHERS = 3
"""Other people who make a new tag known to somebody who never used it."""

Kind = Literal["mean", "difference", "share of the oracle", "share above base_level"]
Over = Literal["posts", "people", "uses"]
Values = Mapping[str, Doubles]
"""Metric name to values, `[B]`."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        segment: Which posts or uses: `all`, `history 1-4`, `head tags`, `cold people`, ...
        method: Who ranked.
        metric: As `metrics.metric_names`, or what is counted.
        mean: The figure; NaN where there is nothing to average.
        low: Lower end of its 95 % interval; NaN where none is known.
        high: Upper end.
        n: Posts, uses or suggestions behind it.
        n_people: People behind it; 0 where they don't matter.
        over: What is averaged; `people` averages each person's posts first.
        kind: `mean`; `difference`: the method minus `other`; `share of the oracle`; `share above
            base_level`: the same after base-level learning is taken off both.
        other: The method that it is held against.
    """

    segment: str
    method: str
    metric: str
    mean: float
    low: float = float("nan")
    high: float = float("nan")
    n: int = 0
    n_people: int = 0
    over: Over = "posts"
    kind: Kind = "mean"
    other: str = ""

    @classmethod
    def of(cls, segment: str, method: str, metric: str, found: Interval, *rest: Any) -> Row:  # noqa: ANN401
        """From an interval; the rest from `n` on."""
        return cls(segment, method, metric, found.mean, found.low, found.high, *rest)


@dataclass(frozen=True)
class Figures:
    """What a protocol found.

    Attributes:
        protocol: Its name.
        title: What was measured, in a line.
        rows: The table; the first row is of the method that the others are held against.
        shown: Metrics of the main table.
        headline: The one by which segments are shown.
        about: Facts beside it, ready for JSON: the split, what was chosen, ...
        notes: Things a reader of the figures should know.
    """

    protocol: str
    title: str
    rows: list[Row]
    shown: tuple[str, ...] = SHOWN
    headline: str = "p@5"
    about: dict[str, Any] = field(default_factory=dict[str, Any])
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> str:
        """The method that the others are held against."""
        return self.rows[0].method

    @cached_property
    def _index(self) -> dict[tuple[str, ...], Row]:
        return {(r.segment, r.method, r.metric, r.over, r.kind, r.other): r for r in self.rows}

    def find(
        self,
        method: str,
        metric: str,
        *,
        segment: str = ALL,
        over: str = "posts",
        kind: str = "",
        minus: str = "",
    ) -> Row | None:
        """Look one figure up, or None; the difference to a method where `minus` names one."""
        kind = kind or ("difference" if minus else "mean")
        return self._index.get((segment, method, metric, over, kind, minus))

    def values(self, column: str, **wanted: str) -> list[str]:
        """The different values of a column, in order, in rows whose other columns are so."""
        rows = (r for r in self.rows if all(getattr(r, c) == v for c, v in wanted.items()))
        return list(dict.fromkeys(getattr(row, column) for row in rows))

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON; every row names its protocol, so that tables may be joined."""
        rows = [{"protocol": self.protocol, **asdict(row)} for row in self.rows]
        head = {"protocol": self.protocol, "title": self.title, **self.about}
        return {**head, "notes": list(self.notes), "rows": rows}


# ------------------------------------------------------------------ means and differences


def mean_rows(
    found: Mapping[str, Values],
    bootstrap: Bootstrap,
    segment: str = ALL,
    *,
    metrics: Iterable[str],
    over: Over = "posts",
    against: Collection[str] | None = None,
) -> list[Row]:
    """Average every method's values, then the first one's minus each other's, post by post.

    Args:
        found: Values of each method on the same posts.
        bootstrap: Their draw of people.
        segment: What these posts are called.
        metrics: Which are averaged.
        over: Posts, or people: one busy person then weighs no more than another.
        against: Methods that the first is held against; all others by default.
    """
    average = bootstrap.over_people if over == "people" else bootstrap.over_posts
    n, n_people = bootstrap.n_posts, bootstrap.n_people
    (first, ours), *others = found.items()
    rows = [
        Row.of(segment, name, metric, average(values[metric]), n, n_people, over)
        for name, values in found.items()
        for metric in metrics
    ]
    for name, theirs in others:
        if against is None or name in against:
            gained = {m: average(ours[m] - theirs[m]) for m in metrics}
            rest = (n, n_people, over, "difference", name)
            rows += [Row.of(segment, first, m, gain, *rest) for m, gain in gained.items()]
    return rows


def means(
    compared: Comparison,
    segment: str = ALL,
    *,
    metrics: Iterable[str] | None = None,
    over: Over = "posts",
) -> list[Row]:
    """Average compared methods (see `mean_rows`), with what a perfect ranking would reach."""
    names, boot = list(metrics or metric_names()), compared.bootstrap
    values = {name: scored.values for name, scored in compared.methods.items()}
    rows = mean_rows(values, boot, segment, metrics=names, over=over)
    if over == "posts":
        for metric, best in ceilings(compared.n_relevant).items():
            if metric in names:
                found = Interval(float(best.mean()), np.nan, np.nan)
                rows.append(Row.of(segment, PERFECT, metric, found, boot.n_posts, boot.n_people))
    return rows


def segments(
    compared: Comparison, split: Split, *, new_subjects: frozenset[str] | None = None
) -> list[Row]:
    """Figures by length of history, tag set, subject, band of the tags, and tenth in time.

    A set is fresh when its person never wrote exactly these tags before. A subject is new where
    `new_subjects` names the post; without it as `splits.subject_novelty` tells.
    """
    log, rows = compared.log, compared.rows
    length, repeated = history_length(log)[rows], is_repeated(log)[rows]
    if new_subjects is None:
        novelty = subject_novelty(log, rows)
    else:
        novelty = np.array([log.post_ids[row] in new_subjects for row in rows], np.int64)
    masks = {
        f"history {name}": (length >= low) & (length <= (np.inf if high is None else high))
        for name, low, high in HISTORY_SEGMENTS
    }
    masks |= {"fresh set": ~repeated, "repeated set": repeated}
    masks |= {"new subject": novelty == 1, "familiar subject": novelty == 0}
    places = np.arange(len(rows))
    tenths = {}
    for number, inside in enumerate(np.array_split(places, min(10, len(places))), 1):
        ends = log.at[rows[inside[[0, -1]]]].astype("datetime64[s]")
        first, last = np.datetime_as_string(ends, "D")
        tenths[f"tenth {number}: {first} to {last}"] = np.isin(places, inside)
    found = _parts(compared, masks)
    band = tag_bands(train_uses(log, split))[uses_in(log, rows)]
    found += _recalls(compared, band, {n: (i,) for i, n in enumerate(BANDS_OF_TAGS)})
    known = {KNOWN: (0, 1), BY_OWN: (0,), BY_OTHERS: (1,), NOT_YET: (2,)}
    return found + _recalls(compared, _known_by(compared, split), known) + _parts(compared, tenths)


def _parts(compared: Comparison, masks: Mapping[str, Bools]) -> list[Row]:
    """Means of parts of the posts; nothing of an empty part."""
    return [
        row
        for name, mask in masks.items()
        if mask.any()
        for row in means(compared.select(mask), name, metrics=SEGMENT_METRICS)
    ]


# ------------------------------------------------------------------ uses of tags


def train_uses(log: PostLog, split: Split) -> Ints:
    """Uses of each tag in the train period, `[T]`."""
    train = log.tag_ids[: log.tag_start[split.train_stop]]
    return np.bincount(train, minlength=len(log.tags)).astype(np.int64)


def _known_by(compared: Comparison, split: Split) -> Ints:
    """Through whom the tag of each use was known, `[E]`; -1 for tags of the training posts.

    0 when the person used the tag before, else 1 when three other people did, else 2. A post of
    nobody is a person of its own.
    """
    log = compared.log
    is_new = train_uses(log, split) == 0
    row = np.repeat(np.arange(len(log)), np.diff(log.tag_start))
    person = people_of(log, np.arange(len(log)))
    order = np.argsort(log.tag_ids, kind="stable")
    start = np.searchsorted(log.tag_ids[order], np.arange(len(log.tags) + 1))
    tag = uses_in(log, compared.rows)
    asked = np.repeat(compared.rows, compared.n_relevant)
    label = np.full(len(tag), -1, np.int64)
    for i in np.flatnonzero(is_new[tag]).tolist():
        rows = row[order[start[tag[i]] : start[tag[i] + 1]]]
        people = set(person[rows[log.at[rows] < log.at[asked[i]]]].tolist())
        asker = int(person[asked[i]])
        label[i] = 0 if asker in people else 1 if len(people) >= LEAST_OTHERS else 2
    return label


def _recalls(compared: Comparison, label: Ints, groups: Mapping[str, tuple[int, ...]]) -> list[Row]:
    """Share of the uses of each group that are found; nothing for a group without uses.

    Args:
        compared: Methods.
        label: Of each use, `[E]`, from 0; -1 belongs to no group.
        groups: Labels of each group.
    """
    log, n_posts, n_keys = compared.log, len(compared.rows), len(compared.log.tags) + 1
    place = np.repeat(np.arange(n_posts), compared.n_relevant)
    keys = place * n_keys + uses_in(log, compared.rows)
    order = np.argsort(keys)
    found_in: dict[str, Ints] = {}
    for name, scored in compared.methods.items():
        asked = ranked_in(log, scored) + np.arange(n_posts)[:, None] * n_keys
        at = np.minimum(np.searchsorted(keys, asked, sorter=order), len(keys) - 1)
        found_in[name] = np.where(scored.hits, label[order[at]], -1)
    rows: list[Row] = []
    for group, labels in groups.items():
        total = np.bincount(place[np.isin(label, labels)], minlength=n_posts).astype(np.float64)
        if not total.any():
            continue
        people = people_of(log, compared.rows)[total > 0]
        for k in (5, 10):
            recalled = {
                name: np.isin(ranks[:, :k], labels).sum(axis=1).astype(np.float64)
                for name, ranks in found_in.items()
            }
            first = next(iter(recalled))
            rest = (int(total.sum()), len(np.unique(people)), "uses")
            for name, values in recalled.items():
                share = compared.bootstrap.ratio(values, total)
                rows.append(Row.of(group, name, f"r@{k}", share, *rest))
                if name != first:
                    gain = compared.bootstrap.ratio(recalled[first] - values, total)
                    rows.append(Row.of(group, first, f"r@{k}", gain, *rest, "difference", name))
    return rows


def ranked_in(log: PostLog, scored: Scored) -> Ints:
    """Ranked tags as the log numbers them, `[B, K]`; T for padding and tags that it never uses."""
    if scored.rankings.tags is log.tags:
        return scored.rankings.tag_ids
    index = {tag: i for i, tag in enumerate(log.tags)}
    moved = [*(index.get(t, len(log.tags)) for t in scored.rankings.tags), len(log.tags)]
    return np.array(moved, np.int64)[scored.rankings.tag_ids]


# ------------------------------------------------------------------ beyond accuracy


def calibration(compared: Comparison, *, n_shown: int = 10) -> list[Row]:
    """Compare the first method's shown probabilities with what came true.

    The expected calibration error (`ece`), and for the bins `chance 1`, `chance 2`, ... mean
    probability (`shown`) and share of hits (`came true`).
    """
    name, scored = next(iter(compared.methods.items()))
    filled = scored.rankings.tag_ids[:, :n_shown] < len(scored.rankings.tags)
    made = reliability(scored.rankings.probs[:, :n_shown][filled], scored.hits[:, :n_shown][filled])
    rows = [Row(CHANCES, name, "ece", made.ece, n=int(made.n.sum()))]
    for i, n in enumerate(made.n.tolist()):
        rows.append(Row(f"chance {i + 1}", name, "shown", float(made.shown[i]), n=n))
        rows.append(Row(f"chance {i + 1}", name, "came true", float(made.came_true[i]), n=n))
    return rows


def breadth(compared: Comparison, split: Split, *, k: int = 5) -> list[Row]:
    """What accuracy does not tell: coverage, popularity bias and redundancy of the first k.

    `coverage` is the share of the tags known by the end of the period that are ever suggested;
    `popularity` the mean rank by uses in training of what is suggested (1 the most used tag,
    0 a new one); `redundancy` the mean cosine between the posts of two suggested tags, 0 when
    they never meet, 1 when they always do.
    """
    log = compared.log
    uses = train_uses(log, split)
    order = np.argsort(np.argsort(uses, kind="stable"), kind="stable")
    percentile = np.where(uses > 0, (order + 1) / max(len(uses), 1), 0.0)
    n_known = len(np.unique(log.tag_ids[: log.tag_start[compared.rows[-1] + 1]]))
    cosine = _Cosine(log, split)
    sets = {
        name: [row[row < len(log.tags)] for row in ranked_in(log, scored)[:, :k]]
        for name, scored in compared.methods.items()
    }
    sets[WRITTEN] = [log.tag_ids[log.tag_start[r] : log.tag_start[r + 1]] for r in compared.rows]
    rows: list[Row] = []
    for name, lists in sets.items():
        every = np.concatenate(lists)
        coverage = len(np.unique(every)) / max(n_known, 1)
        popularity = float(percentile[every].mean()) if len(every) else np.nan
        values = zip(BREADTH, (coverage, popularity, cosine.mean_of_pairs(lists)), strict=True)
        rows += [Row(FIRST_FIVE, name, metric, value, n=len(every)) for metric, value in values]
    return rows


class _Cosine:
    """How often two tags meet in the training posts."""

    def __init__(self, log: PostLog, split: Split) -> None:
        stop = log.tag_start[split.train_stop]
        post = np.repeat(np.arange(len(log)), np.diff(log.tag_start))[:stop]
        order = np.argsort(log.tag_ids[:stop], kind="stable")
        start = np.searchsorted(log.tag_ids[:stop][order], np.arange(1, len(log.tags)))
        self._posts = np.split(post[order], start)

    def mean_of_pairs(self, sets: list[Ints]) -> float:
        """Mean cosine over all pairs within sets; NaN without a pair."""
        pairs = Counter(p for s in sets for p in combinations(sorted(s.tolist()), 2))
        total = 0.0
        for (a, b), n in pairs.items():
            first, second = self._posts[a], self._posts[b]
            if len(first) and len(second):
                both = len(np.intersect1d(first, second, assume_unique=True))
                total += n * both / np.sqrt(len(first) * len(second))
        return float(total) / pairs.total() if pairs else float("nan")


def tag_gains(compared: Comparison, other: str, *, k: int = 5) -> list[tuple[str, int, int, int]]:
    """Count, for every tag, on how many posts each of two methods found it.

    Returns:
        Tag, uses, found by the first method, found by the other; in order of gain, ties by tag.
    """
    log, n_tags = compared.log, len(compared.log.tags)
    counts = [np.bincount(uses_in(log, compared.rows), minlength=n_tags)]
    for scored in (next(iter(compared.methods.values())), compared.methods[other]):
        found = ranked_in(log, scored)[:, :k][scored.hits[:, :k]]
        counts.append(np.bincount(found, minlength=n_tags))
    uses, ours, theirs = (count.tolist() for count in counts)
    rows = [(tag, uses[t], ours[t], theirs[t]) for t, tag in enumerate(log.tags) if uses[t]]
    return sorted(rows, key=lambda row: (row[3] - row[2], row[0]))
