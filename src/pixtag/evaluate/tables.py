"""One long table of figures, behind the terminal, the page and the JSON file alike.

A row says what one method reached by one metric on some of the posts, or by how much it differs
from another method there. The functions below make rows of scored posts.

Shapes:
    B: posts. K: ranks. T: tags.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any, Literal

import numpy as np

from pixtag.evaluate.compare import Comparison, Scored, people_of
from pixtag.evaluate.metrics import (
    Interval,
    ceilings,
    metric_names,
    reliability,
)
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
from pixtag.types import Bools, Ints, PostLog

SHOWN = ("p@1", "p@5", "r@5", "r@10", "ndcg@5", "mrr")
SEGMENT_METRICS = ("p@1", "p@5", "r@5", "r@10", "hit@5", "ndcg@5", "mrr")
ALL = "all"
SOURCES, SIGNALS = "all, by sources", "all, by signals"
FIRST_FIVE, CHANCES = "all, first five", "all, chances"
"""In place of a segment: all posts, and what is varied or looked at there."""

PERFECT = "perfect ranking"
WRITTEN = "as written"
"""In place of a method: a ranking without mistakes, and the tags that people wrote."""

BREADTH = ("coverage", "popularity", "redundancy")
BANDS_OF_TAGS = tuple(f"{band} tags" for band in BANDS)
KNOWN, BY_OWN, BY_OTHERS, NOT_YET = NEW_TAGS = (
    "new tags once known",
    "new tags once used by the person",
    "new tags once used by three others",
    "new tags before that",
)
LEAST_OTHERS = 3
"""Other people who make a new tag known to somebody who never used it."""

Kind = Literal["mean", "difference", "share of the oracle", "share above base_level"]


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
        over: What is averaged: `posts`, `people` (each person's posts first) or `uses`.
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
    over: Literal["posts", "people", "uses"] = "posts"
    kind: Kind = "mean"
    other: str = ""


@dataclass(frozen=True)
class Figures:
    """What a protocol found.

    Attributes:
        protocol: Its name.
        title: What was measured, in a line.
        rows: The table; the first row is that of the method which the others are held against.
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
        kind: Kind | None = None,
        minus: str = "",
    ) -> Row | None:
        """Look one figure up, or None; the difference to a method where `minus` names one."""
        kind = kind or ("difference" if minus else "mean")
        return self._index.get((segment, method, metric, over, kind, minus))

    def values(self, column: str, **wanted: str) -> list[str]:
        """The different values of a column, in order, in rows whose other columns are so."""
        return list(
            dict.fromkeys(
                getattr(row, column)
                for row in self.rows
                if all(getattr(row, name) == value for name, value in wanted.items())
            )
        )

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON; every row names its protocol, so that tables may be joined."""
        return {
            "protocol": self.protocol,
            "title": self.title,
            **self.about,
            "notes": list(self.notes),
            "rows": [{"protocol": self.protocol, **asdict(row)} for row in self.rows],
        }


# ------------------------------------------------------------------ means and differences


def means(
    compared: Comparison,
    segment: str = ALL,
    *,
    metrics: Iterable[str] | None = None,
    over: Literal["posts", "people"] = "posts",
) -> list[Row]:
    """Average every method, and the first one minus each other, post by post.

    Args:
        compared: Methods over some posts.
        segment: What these posts are called.
        metrics: All by default.
        over: Posts, or people: one busy person then weighs no more than another.
    """
    names, boot = list(metrics or metric_names()), compared.bootstrap
    average = boot.over_posts if over == "posts" else boot.over_people
    n, n_people = len(compared.rows), boot.n_clusters if boot.unit == "person" else 1

    def row(method: str, metric: str, found: Interval, other: str = "") -> Row:
        kind: Kind = "difference" if other else "mean"
        ends = (found.mean, found.low, found.high)
        return Row(segment, method, metric, *ends, n, n_people, over, kind, other)

    (first, ours), *others = compared.methods.items()
    rows = [
        row(name, metric, average(scored.values[metric]))
        for name, scored in compared.methods.items()
        for metric in names
    ]
    rows += [
        row(first, metric, average(ours.values[metric] - theirs.values[metric]), name)
        for name, theirs in others
        for metric in names
    ]
    if over == "posts":
        best = ceilings(compared.n_relevant)
        for m in names:
            mean = float(best[m].mean())
            rows.append(Row(segment, PERFECT, m, mean, n=n, n_people=n_people))
    return rows


def part(compared: Comparison, segment: str, mask: Bools) -> list[Row]:
    """Means of some of the posts; nothing where there are none."""
    return means(compared.select(mask), segment, metrics=SEGMENT_METRICS) if mask.any() else []


def segments(
    compared: Comparison, split: Split, *, new_subjects: frozenset[str] | None = None
) -> list[Row]:
    """Figures by length of history, tag set, subject, band of the tags, and tenth in time.

    A set is fresh when its person never wrote exactly these tags before. A subject is new where
    `new_subjects` says so; without it as `splits.subject_novelty` tells.

    Args:
        compared: Methods over a period.
        split: The cut, whose train part decides the bands.
        new_subjects: Names of the posts on a subject that is new to their person.
    """
    log, rows = compared.log, compared.rows
    length, repeated = history_length(log)[rows], is_repeated(log)[rows]
    if new_subjects is None:
        novelty = subject_novelty(log, rows)
    else:
        novelty = np.array([log.post_ids[row] in new_subjects for row in rows], np.int64)
    found: list[Row] = []
    for name, low, high in HISTORY_SEGMENTS:
        inside = (length >= low) & (length <= (np.inf if high is None else high))
        found += part(compared, f"history {name}", inside)
    for name, mask in (
        ("fresh set", ~repeated),
        ("repeated set", repeated),
        ("new subject", novelty == 1),
        ("familiar subject", novelty == 0),
    ):
        found += part(compared, name, mask)
    band_of = tag_bands(train_uses(log, split))
    _, tag = _uses(compared)
    found += _recalls(compared, band_of[tag], {n: (i,) for i, n in enumerate(BANDS_OF_TAGS)})
    known = {KNOWN: (0, 1), BY_OWN: (0,), BY_OTHERS: (1,), NOT_YET: (2,)}
    found += _recalls(compared, _acquaintance(compared, split), known)
    return found + drift(compared)


def drift(compared: Comparison, *, n_parts: int = 10) -> list[Row]:
    """Figures of equal parts of the period in time order: do they fall as it goes on?"""
    found: list[Row] = []
    places = np.arange(len(compared.rows))
    for number, inside in enumerate(np.array_split(places, min(n_parts, len(places))), 1):
        days = np.datetime_as_string(
            compared.log.at[compared.rows[inside[[0, -1]]]].astype("datetime64[s]"), "D"
        )
        name = f"tenth {number}: {days[0]} to {days[1]}"
        found += part(compared, name, np.isin(places, inside))
    return found


# ------------------------------------------------------------------ uses of tags


def _acquaintance(compared: Comparison, split: Split) -> Ints:
    """Through whom the tag of each use was known; -1 for tags of the training posts.

    0 when the person used the tag before, else 1 when three other people did, else 2. A post of
    nobody is a person of its own.
    """
    log = compared.log
    is_new = train_uses(log, split) == 0
    row = np.repeat(np.arange(len(log)), np.diff(log.tag_start))
    person = people_of(log, np.arange(len(log)))[row]
    order = np.argsort(log.tag_ids, kind="stable")
    start = np.searchsorted(log.tag_ids[order], np.arange(len(log.tags) + 1))
    place, tag = _uses(compared)
    label = np.full(len(tag), -1, np.int64)
    seen: dict[int, set[int]] = {}
    n_seen: dict[int, int] = {}
    for i in np.flatnonzero(is_new[tag]).tolist():
        wanted, asked = int(tag[i]), int(compared.rows[place[i]])
        people = seen.setdefault(wanted, set())
        done = n_seen.get(wanted, int(start[wanted]))
        while log.at[row[order[done]]] < log.at[asked]:
            people.add(int(person[order[done]]))
            done += 1
        n_seen[wanted] = done
        asker = int(person[log.tag_start[asked]])
        is_known_to_many = len(people - {asker}) >= LEAST_OTHERS
        label[i] = 0 if asker in people else 1 if is_known_to_many else 2
    return label


def _uses(compared: Comparison) -> tuple[Ints, Ints]:
    """Every tag use of the posts that count: place of the post among them, and tag."""
    log, rows = compared.log, compared.rows
    return np.repeat(np.arange(len(rows)), compared.n_relevant), uses_in(log, rows)


def _recalls(compared: Comparison, label: Ints, groups: Mapping[str, tuple[int, ...]]) -> list[Row]:
    """Share of the uses of each group that are found; nothing for a group without uses.

    Args:
        compared: Methods.
        label: Of each use as in `_uses`, from 0; -1 belongs to no group.
        groups: Labels of each group.
    """
    n_tags, boot = len(compared.log.tags), compared.bootstrap
    place, tag = _uses(compared)
    n_posts = len(compared.rows)
    keys = place * (n_tags + 1) + tag
    order = np.argsort(keys)
    found_in: dict[str, Ints] = {}
    for name, scored in compared.methods.items():
        ranked = ranked_in(compared.log, scored, np.arange(n_tags + 1))
        asked = ranked + np.arange(n_posts)[:, None] * (n_tags + 1)
        at = np.minimum(np.searchsorted(keys, asked, sorter=order), len(keys) - 1)
        found_in[name] = np.where(scored.hits, label[order[at]], -1)
    first, rows = next(iter(found_in)), list[Row]()
    for group, labels in groups.items():
        counted = np.isin(label, labels)
        total = np.bincount(place[counted], minlength=n_posts).astype(np.float64)
        if not total.any():
            continue
        n, n_people = (
            int(total.sum()),
            len(np.unique(people_of(compared.log, compared.rows)[total > 0])),
        )
        for metric, k in (("r@5", 5), ("r@10", 10)):
            recalled = {
                name: np.isin(of_rank[:, :k], labels).sum(axis=1).astype(np.float64)
                for name, of_rank in found_in.items()
            }
            for name, values in recalled.items():
                of = boot.ratio(values, total)
                rows.append(Row(group, name, metric, of.mean, of.low, of.high, n, n_people, "uses"))
            for name, values in recalled.items():
                if name != first:
                    of = boot.ratio(recalled[first] - values, total)
                    ends = (of.mean, of.low, of.high)
                    rows.append(
                        Row(group, first, metric, *ends, n, n_people, "uses", "difference", name)
                    )
    return rows


def train_uses(log: PostLog, split: Split) -> Ints:
    """Uses of each tag in the train period, `[T]`."""
    train = log.tag_ids[: log.tag_start[split.train_stop]]
    return np.bincount(train, minlength=len(log.tags)).astype(np.int64)


def ranked_in(log: PostLog, scored: Scored, of_tag: Ints) -> Ints:
    """Look up something about every ranked tag, `[B, K]`.

    Args:
        log: The log whose tags `of_tag` describes.
        scored: A method, whose vocabulary may be another.
        of_tag: `[T + 1]`; the last is for padding and for tags that the log never uses.
    """
    if scored.rankings.tags is log.tags:
        return of_tag[scored.rankings.tag_ids]
    index = {tag: i for i, tag in enumerate(log.tags)}
    moved = [*(index.get(t, len(log.tags)) for t in scored.rankings.tags), len(log.tags)]
    return of_tag[np.array(moved, np.int64)[scored.rankings.tag_ids]]


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
        for metric, values in (("shown", made.shown), ("came true", made.came_true)):
            rows.append(Row(f"chance {i + 1}", name, metric, float(values[i]), n=n))
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
    percentile = np.append(np.where(uses > 0, (order + 1) / max(len(uses), 1), 0.0), np.nan)
    n_known = len(np.unique(log.tag_ids[: log.tag_start[compared.rows[-1] + 1]]))
    cosine = _Cosine(log, split)
    sets: dict[str, list[Ints]] = {}
    for name, scored in compared.methods.items():
        tags = ranked_in(log, scored, np.arange(len(log.tags) + 1))[:, :k]
        sets[name] = [row[row < len(log.tags)] for row in tags]
    sets[WRITTEN] = [log.tag_ids[log.tag_start[r] : log.tag_start[r + 1]] for r in compared.rows]
    rows: list[Row] = []
    for name, lists in sets.items():
        every = np.concatenate(lists)
        values = (
            len(np.unique(every)) / max(n_known, 1),
            float(percentile[every].mean()) if len(every) else np.nan,
            cosine.mean_of_pairs(lists),
        )
        rows += [
            Row(FIRST_FIVE, name, metric, value, n=len(every))
            for metric, value in zip(BREADTH, values, strict=True)
        ]
    return rows


class _Cosine:
    """How often two tags meet in the training posts."""

    def __init__(self, log: PostLog, split: Split) -> None:
        stop = log.tag_start[split.train_stop]
        post = np.repeat(np.arange(len(log)), np.diff(log.tag_start))[:stop]
        order = np.argsort(log.tag_ids[:stop], kind="stable")
        start = np.searchsorted(log.tag_ids[:stop][order], np.arange(len(log.tags) + 1))
        self._post, self._start = post[order], start

    def _posts(self, tag: int) -> Ints:
        return self._post[self._start[tag] : self._start[tag + 1]]

    def mean_of_pairs(self, sets: list[Ints]) -> float:
        """Mean cosine over all pairs within sets; NaN without a pair."""
        pairs = Counter(p for s in sets for p in combinations(sorted(s.tolist()), 2))
        total = 0.0
        for (a, b), n in pairs.items():
            first, second = self._posts(a), self._posts(b)
            if len(first) and len(second):
                both = len(np.intersect1d(first, second, assume_unique=True))
                total += n * both / np.sqrt(len(first) * len(second))
        return float(total) / pairs.total() if pairs else float("nan")


def tag_gains(compared: Comparison, other: str, *, k: int = 5) -> list[tuple[str, int, int, int]]:
    """Count, for every tag, on how many posts each of two methods found it.

    Args:
        compared: Methods over the same posts.
        other: The method that the first one is held against.
        k: Suggestions that count.

    Returns:
        Tag, uses, found by the first, found by the other; in order of gain, ties by tag.
    """
    log = compared.log
    first = next(iter(compared.methods.values()))
    uses = np.bincount(uses_in(log, compared.rows), minlength=len(log.tags))
    ours, theirs = (_found(log, scored, k) for scored in (first, compared.methods[other]))
    rows = [(log.tags[t], int(uses[t]), int(ours[t]), int(theirs[t])) for t in np.flatnonzero(uses)]
    return sorted(rows, key=lambda row: (row[3] - row[2], row[0]))


def _found(log: PostLog, scored: Scored, k: int) -> Ints:
    tags = ranked_in(log, scored, np.arange(len(log.tags) + 1))[:, :k]
    return np.bincount(tags[scored.hits[:, :k]], minlength=len(log.tags)).astype(np.int64)
