"""From scored posts to the figures that are shown: intervals, segments, calibration, breadth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from pixtag.evaluate.looks import iso
from pixtag.evaluate.protocol import Comparison, Scored
from pixtag.metrics import Bootstrap, ceilings, metric_names, reliability
from pixtag.splits import (
    BANDS,
    HISTORY_SEGMENTS,
    Split,
    history_length,
    is_repeated,
    tag_bands,
)
from pixtag.types import Bools, Doubles, Ints, PostLog

Figures = dict[str, Any]
"""Nested figures, ready for JSON."""

SEGMENT_METRICS = ("p@1", "p@5", "r@5", "r@10", "hit@5", "ndcg@5", "mrr")
_SHOWN = 10
LEAST_OTHERS = 3
"""Other people who make a new tag known to somebody who never used it."""


def means(scored: Scored, bootstrap: Bootstrap, names: Iterable[str] | None = None) -> Figures:
    """Average metrics over posts, with intervals."""
    return {
        name: bootstrap.over_posts(scored.values[name]).as_dict()
        for name in (names or metric_names())
    }


def ceiling(compared: Comparison) -> dict[str, float]:
    """What a perfect ranker would reach on these posts."""
    return {name: float(v.mean()) for name, v in ceilings(compared.n_relevant).items()}


def over_people(compared: Comparison) -> Figures:
    """Average within people first, then over people, for every method."""
    boot = compared.bootstrap
    return {
        method: {n: boot.over_people(s.values[n]).as_dict() for n in metric_names()}
        for method, s in compared.methods.items()
    }


def paired(compared: Comparison, names: Iterable[str] | None = None) -> Figures:
    """Differences of the first method minus each other one, post by post."""
    (_, first), *others = compared.methods.items()
    metrics = list(names or metric_names())
    return {
        name: {
            metric: compared.bootstrap.over_posts(
                first.values[metric] - other.values[metric]
            ).as_dict()
            for metric in metrics
        }
        for name, other in others
    }


def paired_over_people(compared: Comparison) -> Figures:
    """The same differences, averaged within people first, then over people."""
    (_, first), *others = compared.methods.items()
    return {
        name: {
            metric: compared.bootstrap.over_people(
                first.values[metric] - other.values[metric]
            ).as_dict()
            for metric in metric_names()
        }
        for name, other in others
    }


def drift(compared: Comparison, *, n_parts: int = 10) -> list[Figures]:
    """Figures of equal parts of the period in time order: do they fall as it goes on?"""
    log, rows = compared.log, compared.rows
    found: list[Figures] = []
    for part in np.array_split(np.arange(len(rows)), min(n_parts, len(rows))):
        first, last = (iso(float(log.at[rows[i]])) for i in (part[0], part[-1]))
        mask = np.isin(np.arange(len(rows)), part)
        found.append({"from": first, "to": last, **segment(compared, mask)})
    return found


def segments(compared: Comparison, split: Split) -> Figures:
    """Figures by length of history, by band of the tags, and by whether a tag set is new.

    A set is `fresh` when its person never wrote exactly these tags before. Beside the figures
    stand differences of the first method minus each other one (`paired`).

    Args:
        compared: Methods over a period.
        split: The cut, whose train part decides the bands.
    """
    length = history_length(compared.log)[compared.rows]
    repeated = is_repeated(compared.log)[compared.rows]
    by_history = {
        name: (length >= low) & (length <= (np.inf if high is None else high))
        for name, low, high in HISTORY_SEGMENTS
    }
    return {
        "history": {name: segment(compared, mask) for name, mask in by_history.items()},
        "set": {
            "fresh": segment(compared, ~repeated),
            "repeated": segment(compared, repeated),
        },
        "tags": _by_band(compared, split),
        "new_tags": _by_acquaintance(compared, split),
    }


def segment(compared: Comparison, mask: Bools) -> Figures:
    """Figures of some of the posts."""
    if not mask.any():
        return {"n_posts": 0, "n_people": 0, "methods": {}, "paired": {}}
    part = compared.select(mask)
    return {
        "n_posts": len(part.rows),
        "n_people": part.bootstrap.n_clusters if part.bootstrap.unit == "person" else 1,
        "ceiling": {n: ceiling(part)[n] for n in SEGMENT_METRICS},
        "methods": {
            name: means(scored, part.bootstrap, SEGMENT_METRICS)
            for name, scored in part.methods.items()
        },
        "paired": paired(part, SEGMENT_METRICS),
    }


def _by_band(compared: Comparison, split: Split) -> Figures:
    band_of = tag_bands(train_uses(compared.log, split))
    _, tag = _uses(compared)
    found = _recalls(compared, band_of[tag], {band: (i,) for i, band in enumerate(BANDS)})
    for number, band in enumerate(BANDS):
        found[band]["n_tags"] = int((band_of == number).sum())
    return found


_OWN, _OTHERS, _NOT_YET = range(3)
_ACQUAINTANCE = {
    "known": (_OWN, _OTHERS),
    "by_own": (_OWN,),
    "by_others": (_OTHERS,),
    "not_yet": (_NOT_YET,),
}


def _by_acquaintance(compared: Comparison, split: Split) -> Figures:
    """Recall of tags that training never saw: once they can be known, and before.

    A use counts as known when the person used the tag before (`by_own`), or else when three other
    people did (`by_others`); `known` holds both. A post of nobody is a person of its own.
    """
    found = _recalls(compared, _acquaintance(compared, split), _ACQUAINTANCE)
    for part in found.values():
        if not part["n_uses"]:
            part.update(methods={}, paired={})
    return found


def _acquaintance(compared: Comparison, split: Split) -> Ints:
    """Through whom the tag of each use was known; -1 for tags of the training posts."""
    log = compared.log
    is_new = train_uses(log, split) == 0
    row = np.repeat(np.arange(len(log)), np.diff(log.tag_start))
    user = log.user_of_post[row]
    person = np.where(user < len(log.users), user, len(log.users) + row)
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
        label[i] = _OWN if asker in people else _OTHERS if is_known_to_many else _NOT_YET
    return label


def _uses(compared: Comparison) -> tuple[Ints, Ints]:
    """Every tag use of the posts that count: place of the post among them, and tag."""
    log, rows = compared.log, compared.rows
    place = np.repeat(np.arange(len(rows)), compared.n_relevant)
    within = np.arange(len(place)) - np.repeat(
        np.cumsum(compared.n_relevant) - compared.n_relevant, compared.n_relevant
    )
    return place, log.tag_ids[log.tag_start[rows][place] + within]


def _recalls(compared: Comparison, label: Ints, groups: Mapping[str, tuple[int, ...]]) -> Figures:
    """Share of the uses of each group that are found.

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
    figures: Figures = {}
    for group, labels in groups.items():
        counted = np.isin(label, labels)
        total = np.bincount(place[counted], minlength=n_posts).astype(np.float64)
        recalled = {
            name: {
                f"r@{k}": np.isin(of_rank[:, :k], labels).sum(axis=1).astype(np.float64)
                for k in (5, 10)
            }
            for name, of_rank in found_in.items()
        }
        (_, first), *others = recalled.items()
        figures[group] = {
            "n_uses": int(total.sum()),
            "methods": {
                name: {metric: boot.ratio(v, total).as_dict() for metric, v in values.items()}
                for name, values in recalled.items()
            },
            "paired": {
                name: {m: boot.ratio(first[m] - v, total).as_dict() for m, v in values.items()}
                for name, values in others
            },
        }
    return figures


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


def calibration(scored: Scored, *, n_shown: int = _SHOWN) -> Figures:
    """Compare the shown probabilities of the first suggestions with what came true."""
    filled = scored.rankings.tag_ids[:, :n_shown] < len(scored.rankings.tags)
    made = reliability(scored.rankings.probs[:, :n_shown][filled], scored.hits[:, :n_shown][filled])
    bins = [
        {"shown": float(s), "came_true": float(c), "n": int(n)}
        for s, c, n in zip(made.shown, made.came_true, made.n, strict=True)
    ]
    return {"ece": made.ece, "suggestions": int(made.n.sum()), "bins": bins}


def breadth(compared: Comparison, split: Split, *, k: int = 5) -> Figures:
    """What accuracy does not tell: coverage, popularity bias and redundancy of the first k.

    `coverage` is the share of the tags known by the end of the period that are ever suggested;
    `popularity` the mean rank by uses in training of what is suggested (1 the most used tag,
    0 a new one); `redundancy` the mean cosine between the posts of two suggested tags, 0 when
    they never meet, 1 when they always do. `truth` says the same of what people wrote.
    """
    log = compared.log
    uses = train_uses(log, split)
    order = np.argsort(np.argsort(uses, kind="stable"), kind="stable")
    percentile = np.append(np.where(uses > 0, (order + 1) / max(len(uses), 1), 0.0), np.nan)
    n_known = len(np.unique(log.tag_ids[: log.tag_start[compared.rows[-1] + 1]]))
    cosine = _Cosine(log, split)
    identity = np.arange(len(log.tags) + 1)
    found: Figures = {}
    for name, scored in compared.methods.items():
        tags = ranked_in(log, scored, identity)[:, :k]
        found[name] = _breadth([row[row < len(log.tags)] for row in tags],
                               percentile, cosine, n_known)  # fmt: skip
    truth = [log.tag_ids[log.tag_start[r] : log.tag_start[r + 1]] for r in compared.rows]
    found["truth"] = _breadth(truth, percentile, cosine, n_known)
    return found


def _breadth(sets: list[Ints], percentile: Doubles, cosine: _Cosine, n_known: int) -> Figures:
    everything = np.concatenate(sets) if sets else np.zeros(0, np.int64)
    return {
        "coverage": len(np.unique(everything)) / max(n_known, 1),
        "popularity": float(percentile[everything].mean()) if len(everything) else np.nan,
        "redundancy": cosine.mean_of_pairs(sets),
    }


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
    uses = np.bincount(
        np.concatenate(
            [log.tag_ids[log.tag_start[r] : log.tag_start[r + 1]] for r in compared.rows]
        ),
        minlength=len(log.tags),
    )
    ours, theirs = (_found(log, scored, k) for scored in (first, compared.methods[other]))
    rows = [(log.tags[t], int(uses[t]), int(ours[t]), int(theirs[t])) for t in np.flatnonzero(uses)]
    return sorted(rows, key=lambda row: (row[3] - row[2], row[0]))


def _found(log: PostLog, scored: Scored, k: int) -> Ints:
    tags = ranked_in(log, scored, np.arange(len(log.tags) + 1))[:, :k]
    return np.bincount(tags[scored.hits[:, :k]], minlength=len(log.tags)).astype(np.int64)
