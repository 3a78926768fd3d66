"""One long table of figures, behind the terminal, the page and the JSON file alike.

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

from pixtag import splits
from pixtag.evaluate import metrics as m
from pixtag.evaluate.metrics import Bootstrap, Comparison, metric_names, numbered_as
from pixtag.splits import Split
from pixtag.types import Bools, Doubles, Ints, PostLog

SHOWN = ("p@1", "p@5", "r@5", "r@10", "ndcg@5", "mrr")
SEGMENT_METRICS = ("p@1", "p@5", "r@5", "r@10", "hit@5", "ndcg@5", "mrr")
ALL, SOURCES = "all", "all, by sources"
FIRST_FIVE, CHANCES = "all, first five", "all, chances"
"""Segments of all posts: the methods, and what else is varied or looked at there."""

PERFECT, WRITTEN = "perfect ranking", "as written"
"""In place of a method: a ranking without mistakes, and the tags that people wrote."""

RELIABILITY = ("shown", "came true", "ece")
BREADTH = ("coverage", "popularity", "redundancy")
BANDS_OF_TAGS = tuple(f"{band} tags" for band in splits.BANDS)
KNOWN = "new tags that three others used"
BY_OTHERS, BY_OWN = f"{KNOWN}: first by the person", f"{KNOWN}: again"
OWN_ALONE, NOT_YET = "new tags that the person used", "new tags before that"
LEAST_OTHERS = 3
"""Other people who make a new tag known to somebody who never used it."""

Kind = Literal["mean", "difference", "share of the oracle", "share above base_level"]
Over = Literal["posts", "people", "uses"]
Values = Mapping[str, Doubles]
"""Metric name to values, `[B]`."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: a method's metric on some of the posts, or its difference to another method.

    Attributes:
        segment: Which posts or uses: `all`, `history 1-4`, `head tags`, `cold people`, ...
        method: Who ranked.
        metric: As `metrics.metric_names`, or what is counted.
        mean, low, high: The figure with its 95 % interval; NaN where there is none.
        n: Posts, uses or suggestions behind it. n_people: 0 where they don't matter.
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


@dataclass(frozen=True)
class Figures:
    """What a protocol found: the rows, the first of the method that others are held against.

    `shown` are the metrics of the main table, `headline` that of the segments; `about` holds facts
    ready for JSON: the split, what was chosen, ...
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
        self, method: str, metric: str, *, segment: str = ALL, over: str = "posts",
        kind: str = "", minus: str = "",
    ) -> Row | None:  # fmt: skip
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
    found: Mapping[str, Values], bootstrap: Bootstrap, segment: str = ALL, *,
    metrics: Iterable[str], over: Over = "posts", against: Collection[str] | None = None,
) -> list[Row]:  # fmt: skip
    """Average every method's values, then the first one's minus each other's, post by post.

    Over people, one busy person weighs no more than another. `against`: methods that the first is
    held against; all others by default.
    """
    average = bootstrap.over_people if over == "people" else bootstrap.over_posts
    rest = (bootstrap.n_posts, bootstrap.n_people, over)
    (first, ours), *others = found.items()
    rows = [
        Row(segment, name, metric, *average(values[metric]), *rest)
        for name, values in found.items()
        for metric in metrics
    ]
    return rows + [
        Row(segment, first, k, *average(ours[k] - theirs[k]), *rest, "difference", name)
        for name, theirs in others
        if against is None or name in against
        for k in metrics
    ]


def means(
    compared: Comparison, segment: str = ALL, *, metrics: Iterable[str] | None = None,
    over: Over = "posts",
) -> list[Row]:  # fmt: skip
    """Average compared methods (see `mean_rows`), with what a perfect ranking would reach."""
    names, boot = list(metrics or metric_names()), compared.bootstrap
    values = {name: scored.values for name, scored in compared.methods.items()}
    rows = mean_rows(values, boot, segment, metrics=names, over=over)
    if over == "posts":
        best, nan = m.ceilings(compared.n_relevant), float("nan")
        rest = (nan, nan, boot.n_posts, boot.n_people)
        known = [k for k in metric_names() if k in names]
        rows += [Row(segment, PERFECT, k, float(best[k].mean()), *rest) for k in known]
    return rows


def segments(
    compared: Comparison, split: Split, start: int, *, new_subjects: frozenset[str] | None = None
) -> list[Row]:
    """Figures by length of history, tag set, subject, band of the tags, and tenth in time.

    A set is fresh when its person never wrote exactly these tags before. A subject is new where
    `new_subjects` names the post; without it as `splits.subject_novelty` tells. A tag is new when
    nobody used it before the period, which begins at `start`.
    """
    log, rows = compared.log, compared.rows
    repeated = splits.is_repeated(log)[rows]
    if new_subjects is None:
        novelty = splits.subject_novelty(log, rows)
    else:
        novelty = np.array([log.post_ids[row] in new_subjects for row in rows], np.int64)
    masks = by_history(log, rows)
    masks |= {"fresh set": ~repeated, "repeated set": repeated}
    masks |= {"new subject": novelty == 1, "familiar subject": novelty == 0}
    places = np.arange(len(rows))
    tenths = {}
    for number, inside in enumerate(np.array_split(places, min(10, len(places))), 1):
        ends = log.at[rows[inside[[0, -1]]]].astype("datetime64[s]")
        first, last = np.datetime_as_string(ends, "D")
        tenths[f"tenth {number}: {first} to {last}"] = np.isin(places, inside)
    found = _parts(compared, masks)
    band = splits.tag_bands(_uses_before(log, split.train_stop))[log.uses_of(rows)]
    found += _recalls(compared, band, {n: (i,) for i, n in enumerate(BANDS_OF_TAGS)})
    known = {KNOWN: (0, 1), BY_OTHERS: (1,), BY_OWN: (0,), OWN_ALONE: (2,), NOT_YET: (3,)}
    found += _recalls(compared, _known_by(compared, start), known)
    return found + _parts(compared, tenths)


def by_history(log: PostLog, rows: Ints) -> dict[str, Bools]:
    """Which posts have a history of which length: masks `[B]`."""
    length = splits.history_length(log)[rows]
    return {
        f"history {name}": (length >= low) & (length <= (np.inf if high is None else high))
        for name, low, high in splits.HISTORY_SEGMENTS
    }


def _parts(compared: Comparison, masks: Mapping[str, Bools]) -> list[Row]:
    """Means of parts of the posts; nothing of an empty part."""
    return [
        row
        for name, mask in masks.items()
        if mask.any()
        for row in means(compared.select(mask), name, metrics=SEGMENT_METRICS)
    ]


# ------------------------------------------------------------------ uses of tags


def _uses_before(log: PostLog, stop: int) -> Ints:
    """Uses of each tag in the posts before a position, `[T]`."""
    uses = np.bincount(log.tag_ids[: log.tag_start[stop]], minlength=len(log.tags))
    return uses.astype(np.int64)


def _known_by(compared: Comparison, start: int) -> Ints:
    """Through whom the tag of each use was known, `[E]`; -1 for tags of the posts before `start`.

    0 when three other people and the person used it before, 1 when those others alone did, 2 when
    the person but fewer others did, else 3. A post of nobody is a person of its own.
    """
    log, label = compared.log, np.full(int(compared.n_relevant.sum()), -1, np.int64)
    is_new = _uses_before(log, start) == 0
    person, rows_of = log.person_of_post, splits.posts_of_tags(log)
    asked = np.repeat(compared.rows, compared.n_relevant)
    for i, tag in enumerate(log.uses_of(compared.rows).tolist()):
        if is_new[tag]:
            rows = rows_of[tag]
            people = set(person[rows[log.at[rows] < log.at[asked[i]]]].tolist())
            is_own = person[asked[i]] in people
            label[i] = 2 * (len(people) - is_own < LEAST_OTHERS) + (not is_own)
    return label


def _recalls(compared: Comparison, label: Ints, groups: Mapping[str, tuple[int, ...]]) -> list[Row]:
    """Share of the uses of each group (by `label` of each use, `[E]`) that are found."""
    log, boot, n_posts = compared.log, compared.bootstrap, len(compared.rows)
    n_keys, first = len(log.tags) + 1, compared.first
    place = np.repeat(np.arange(n_posts), compared.n_relevant)
    keys = place * n_keys + log.uses_of(compared.rows)
    order = np.argsort(keys)
    found_in: dict[str, Ints] = {}
    for name, scored in compared.methods.items():
        asked = numbered_as(log, scored.rankings) + np.arange(n_posts)[:, None] * n_keys
        at = np.minimum(np.searchsorted(keys, asked, sorter=order), len(keys) - 1)
        found_in[name] = np.where(scored.hits, label[order[at]], -1)
    rows: list[Row] = []
    for group, labels in groups.items():
        total = np.bincount(place[np.isin(label, labels)], minlength=n_posts).astype(np.float64)
        if not total.any():
            continue
        n_people = len(np.unique(log.person_of_post[compared.rows][total > 0]))
        rest = (int(total.sum()), n_people, "uses")
        for k in (5, 10):
            hits = {name: np.isin(ranks[:, :k], labels) for name, ranks in found_in.items()}
            recalled = {name: hit.sum(axis=1).astype(np.float64) for name, hit in hits.items()}
            for name, values in recalled.items():
                rows.append(Row(group, name, f"r@{k}", *boot.ratio(values, total), *rest))
                if name != first:
                    gain = boot.ratio(recalled[first] - values, total)
                    rows.append(Row(group, first, f"r@{k}", *gain, *rest, "difference", name))
    return rows


# ------------------------------------------------------------------ beyond accuracy


def calibration(compared: Comparison) -> list[Row]:
    """Compare the probabilities of the first method's first ten with what came true.

    The expected calibration error (`ece`) with mean probability (`shown`) and share of hits (`came
    true`), of all posts and by length of history; the latter two also by bins `chance 1`, ...
    """
    name = compared.first
    scored = compared.methods[name]
    rows: list[Row] = []
    everything = {CHANCES: np.ones(len(compared.rows), np.bool_)}
    parts = everything | by_history(compared.log, compared.rows)
    for segment, mask in parts.items():
        filled = scored.rankings.tag_ids[mask, :10] < len(scored.rankings.tags)
        probs = scored.rankings.probs[mask, :10][filled]
        made = m.reliability(probs, scored.hits[mask, :10][filled])
        n = int(made.n.sum())
        if not n:
            continue
        title = segment if segment == CHANCES else f"chances, {segment}"
        rows.append(Row(title, name, "ece", made.ece, n=n))
        for metric, values in (("shown", made.shown), ("came true", made.came_true)):
            rows.append(Row(title, name, metric, float(np.average(values, weights=made.n)), n=n))
            if segment == CHANCES:
                rows += [
                    Row(f"chance {i + 1}", name, metric, float(values[i]), n=n_of)
                    for i, n_of in enumerate(made.n.tolist())
                ]
    return rows


def breadth(compared: Comparison, split: Split) -> list[Row]:
    """What accuracy does not tell: coverage, popularity bias and redundancy of the first five.

    `coverage` is the share of the tags known by the end of the period that are ever suggested;
    `popularity` the mean rank by uses in training of what is suggested (1 the most used tag,
    0 a new one); `redundancy` the mean cosine between the posts of two suggested tags.
    """
    log = compared.log
    uses = _uses_before(log, split.train_stop)
    order = np.argsort(np.argsort(uses, kind="stable"), kind="stable")
    percentile = np.where(uses > 0, (order + 1) / max(len(uses), 1), 0.0)
    n_known = len(np.unique(log.tag_ids[: log.tag_start[compared.rows[-1] + 1]]))
    posts = splits.posts_of_tags(log, split.train_stop)
    sets = {
        name: [row[row < len(log.tags)] for row in numbered_as(log, scored.rankings)[:, :5]]
        for name, scored in compared.methods.items()
    }
    sets[WRITTEN] = np.split(log.uses_of(compared.rows), np.cumsum(compared.n_relevant)[:-1])
    rows: list[Row] = []
    for name, lists in sets.items():
        every = np.concatenate(lists)
        coverage = len(np.unique(every)) / max(n_known, 1)
        popularity = float(percentile[every].mean()) if len(every) else np.nan
        values = zip(BREADTH, (coverage, popularity, _mean_cosine(posts, lists)), strict=True)
        rows += [Row(FIRST_FIVE, name, metric, value, n=len(every)) for metric, value in values]
    return rows


def _mean_cosine(posts: list[Ints], sets: list[Ints]) -> float:
    """Mean cosine between the posts of two tags over all pairs within sets; NaN without a pair."""
    pairs = Counter(p for s in sets for p in combinations(sorted(s.tolist()), 2))
    total = 0.0
    for (a, b), n in pairs.items():
        both = len(np.intersect1d(posts[a], posts[b], assume_unique=True))
        total += n * both / max(np.sqrt(len(posts[a]) * len(posts[b])), 1)
    return float(total) / pairs.total() if pairs else float("nan")


def tag_gains(compared: Comparison, other: str) -> list[tuple[str, int, int, int]]:
    """Count, for every tag, on how many posts each of two methods had it among its five.

    Returns:
        Tag, uses, found by the first method, found by the other; in order of gain, ties by tag.
    """
    log, n_tags = compared.log, len(compared.log.tags)
    counts = [np.bincount(log.uses_of(compared.rows), minlength=n_tags)]
    for scored in (compared.methods[compared.first], compared.methods[other]):
        found = numbered_as(log, scored.rankings)[:, :5][scored.hits[:, :5]]
        counts.append(np.bincount(found, minlength=n_tags))
    uses, ours, theirs = (count.tolist() for count in counts)
    rows = [(tag, uses[t], ours[t], theirs[t]) for t, tag in enumerate(log.tags) if uses[t]]
    return sorted(rows, key=lambda row: (row[3] - row[2], row[0]))
