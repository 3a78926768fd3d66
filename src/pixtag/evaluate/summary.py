"""From scored posts to the figures that are shown: intervals, segments, calibration, breadth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from typing import Any

import numpy as np

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


def paired(compared: Comparison) -> Figures:
    """Differences of the first method minus each other one, post by post."""
    (_, first), *others = compared.methods.items()
    return {
        name: {
            metric: compared.bootstrap.over_posts(
                first.values[metric] - other.values[metric]
            ).as_dict()
            for metric in metric_names()
        }
        for name, other in others
    }


def segments(compared: Comparison, split: Split) -> Figures:
    """Figures by length of history, by band of the tags, and by whether a tag set is new.

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
        "history": {name: _segment(compared, mask) for name, mask in by_history.items()},
        "set": {
            "fresh": _segment(compared, ~repeated),
            "repeated": _segment(compared, repeated),
        },
        "tags": _by_band(compared, split),
    }


def _segment(compared: Comparison, mask: Bools) -> Figures:
    if not mask.any():
        return {"n_posts": 0, "n_people": 0, "methods": {}}
    part = compared.select(mask)
    return {
        "n_posts": len(part.rows),
        "n_people": part.bootstrap.n_clusters if part.bootstrap.unit == "person" else 1,
        "ceiling": {n: ceiling(part)[n] for n in SEGMENT_METRICS},
        "methods": {
            name: means(scored, part.bootstrap, SEGMENT_METRICS)
            for name, scored in part.methods.items()
        },
    }


def _by_band(compared: Comparison, split: Split) -> Figures:
    log = compared.log
    band_of = np.append(tag_bands(train_uses(log, split)), -1)
    used = np.stack([
        np.bincount(band_of[log.tag_ids[log.tag_start[r] : log.tag_start[r + 1]]],
                    minlength=len(BANDS))
        for r in compared.rows
    ])  # fmt: skip
    found: Figures = {}
    for number, band in enumerate(BANDS):
        total = used[:, number].astype(np.float64)
        figures: Figures = {}
        for name, scored in compared.methods.items():
            in_band = (ranked_in(log, scored, band_of) == number) & scored.hits
            figures[name] = {
                f"r@{k}": compared.bootstrap.ratio(
                    in_band[:, :k].sum(axis=1).astype(np.float64), total
                ).as_dict()
                for k in (5, 10)
            }
        n_tags = int((band_of[:-1] == number).sum())
        found[band] = {"n_uses": int(total.sum()), "n_tags": n_tags, "methods": figures}
    return found


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
