"""Tags given, the others asked for: what co-occurrence alone is worth, on tag sets without times.

Some of a post's tags are drawn and given, the others are to be ranked: no photo, no person, no
moment. With one tag given no method can pass the ranking that is counted for each tag on all
posts, those under test included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pixtag.errors import InputError
from pixtag.evaluate.metrics import Bootstrap, per_post
from pixtag.evaluate.model import chance_given
from pixtag.evaluate.tables import ALL, Figures, Row, mean_rows
from pixtag.types import Doubles, Ints, PostLog

N_TEST = 3000
SHOWN = ("p@1", "p@5", "r@5", "r@10")
SIGNAL = "pixtag's co-occurrence"
PLAIN = "plain co-occurrence"
BOUND = "nothing that knows one tag alone"
_RANKS = 10

GivenModel = Callable[[PostLog, list[tuple[str, ...]]], list[list[str]]]
"""Pixtag: from the posts to learn from and the tags given, to ranked tags for each question."""


@dataclass(frozen=True)
class GivenTask:
    """One split and one draw of given tags.

    Attributes:
        log: All posts, without people, times and photos.
        train: Positions of the posts to learn from.
        test: Positions of the posts that are asked about, `[B]`.
        given: Their given tags, `[B, G]`.
    """

    log: PostLog
    train: Ints
    test: Ints
    given: Ints


def given_task(log: PostLog, *, n_given: int, seed: int, n_test: int = N_TEST) -> GivenTask:
    """Split posts at random and draw the tags that are given; at most a seventh is asked about.

    Raises:
        InputError: Fewer than ten of the posts set apart have more tags than are given.
    """
    n = len(log)
    bare = replace(
        log,
        user_of_post=np.full(n, len(log.users), np.int64),
        at=np.full(n, -np.inf),
        has_photo=np.zeros(n, np.bool_),
        embeddings=np.zeros((n, 0), np.float16),
    )
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    n_test = min(n_test, n // 7)
    lengths = np.diff(log.tag_start)
    test = np.sort(order[:n_test])
    test = test[lengths[test] > n_given]
    if len(test) < 10:
        raise InputError(
            f"{len(test)} of the posts set apart have more than {n_given} tags: too few to measure",
            hint="import more posts, or give fewer tags",
        )
    drawn = [rng.permutation(_tags(log, row))[:n_given] for row in test.tolist()]
    return GivenTask(bare, np.sort(order[n_test:]), test, np.array(drawn, np.int64))


def _tags(log: PostLog, row: int) -> Ints:
    return log.tag_ids[log.tag_start[row] : log.tag_start[row + 1]]


def plain_scores(log: PostLog, given: Ints) -> Doubles:
    """Mean over the given tags of the share of their posts that carry each tag, `[B, T]`."""
    n_tags = len(log.tags)
    member = np.zeros((len(log), n_tags), np.float32)
    member[np.repeat(np.arange(len(log)), np.diff(log.tag_start)), log.tag_ids] = 1.0
    both = (member.T @ member).astype(np.float64)
    return (both / np.maximum(np.diag(both), 1)[:, None])[given].mean(axis=1)


def one_tag_bound(log: PostLog) -> dict[str, float]:
    """What no ranking that depends on one given tag alone can pass, in expectation.

    Memory grows with the square of the number of tags.
    """
    lengths = np.diff(log.tag_start)
    rows = np.flatnonzero(lengths > 1)
    n_tags = len(log.tags)
    drawn, recalled = np.zeros((n_tags, n_tags)), np.zeros((n_tags, n_tags))
    for row in rows.tolist():
        tags = _tags(log, row)
        drawn[np.ix_(tags, tags)] += 1 / len(tags)
        recalled[np.ix_(tags, tags)] += 1 / (len(tags) * (len(tags) - 1))
    for matrix in (drawn, recalled):
        np.fill_diagonal(matrix, 0.0)
        matrix[:] = -np.sort(-matrix, axis=1)

    def best(matrix: Doubles, k: int) -> float:
        return float(matrix[:, :k].sum() / len(rows))

    return {
        "p@1": best(drawn, 1),
        "p@5": best(drawn, 5) / 5,
        "r@5": best(recalled, 5),
        "r@10": best(recalled, 10),
    }


def evaluate_given(
    log: PostLog,
    *,
    n_given: int = 1,
    seeds: Sequence[int] = range(5),
    model: GivenModel | None = None,
    n_test: int = N_TEST,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Figures:
    """Measure how well the other tags follow from some given ones.

    Args:
        log: Posts with tags.
        n_given: Tags given.
        seeds: One split and one draw for each.
        model: The whole of Pixtag, told the given tags as accepted ones.
        n_test: Most posts set apart in each split.
        on_progress: Told how many of how many splits are done.

    Returns:
        Means over all splits with intervals of a bootstrap over posts, each split's own (segments
        `seed 0`, ...), the signal minus the others, and with one tag given the bound.
    """
    parts: dict[str, dict[str, list[Doubles]]] = {}
    asked: list[Ints] = []
    for done, seed in enumerate(seeds):
        task = given_task(log, n_given=n_given, seed=seed, n_test=n_test)
        for name, values in _measure(task, model).items():
            for metric in SHOWN:
                parts.setdefault(name, {}).setdefault(metric, []).append(values[metric])
        asked.append(task.test)
        if on_progress:
            on_progress(done + 1, len(seeds), "splits")
    _, post = np.unique(np.concatenate(asked), return_inverse=True)
    n = len(post)
    pooled = {
        name: {m: np.concatenate(v) for m, v in found.items()} for name, found in parts.items()
    }
    rows = mean_rows(pooled, Bootstrap(post), metrics=SHOWN)
    for name, found in parts.items():
        for metric, each in found.items():
            for seed, part in zip(seeds, each, strict=True):
                rows.append(Row(f"seed {seed}", name, metric, float(part.mean()), n=len(part)))
    if n_given == 1:
        rows += [Row(ALL, BOUND, m, value, n=n) for m, value in one_tag_bound(log).items()]
    title = (
        f"{n_given} true tag{'s' * (n_given > 1)} given, the others asked for: "
        f"{n:,} questions in {len(asked)} random splits"
    )
    about = {"n_given": n_given, "n_posts": len(log), "n_test": min(n_test, len(log) // 7)}
    note = (
        "tag sets alone, split at random: no photo, no person, no time; "
        f"'{SIGNAL}' is the signal behind --accept by itself, without the network"
    )
    return Figures("given", title, rows, SHOWN, "r@5", about, (note,))


def _measure(task: GivenTask, model: GivenModel | None) -> dict[str, dict[str, Doubles]]:
    known = task.log.select(task.train)
    popular = np.bincount(known.tag_ids, minlength=len(known.tags)).astype(np.float64)
    scores = {
        SIGNAL: chance_given(known, task.given),
        PLAIN: plain_scores(known, task.given),
        "popularity": np.broadcast_to(popular, (len(task.test), len(popular))),
    }
    ranked = {name: _ranked(values, task.given) for name, values in scores.items()}
    if model is not None:
        index = {tag: i for i, tag in enumerate(known.tags)}
        given = [tuple(known.tags[t] for t in row) for row in task.given.tolist()]
        lists = np.full((len(task.test), _RANKS), -1, np.int64)
        for row, tags in enumerate(model(known, given)):
            kept = [index.get(tag, -1) for tag in tags if tag not in given[row]][:_RANKS]
            lists[row, : len(kept)] = kept
        ranked["pixtag"] = lists
    found: dict[str, dict[str, Doubles]] = {}
    for name, lists in ranked.items():
        rows = task.test.tolist()
        hits = np.stack(
            [np.isin(tags, _tags(task.log, row)) for tags, row in zip(lists, rows, strict=True)]
        )
        n_relevant = np.diff(task.log.tag_start)[task.test] - task.given.shape[1]
        found[name] = per_post(hits, n_relevant)
    return found


def _ranked(scores: Doubles, given: Ints) -> Ints:
    scores = scores.copy()
    np.put_along_axis(scores, given, -np.inf, axis=1)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :_RANKS]
    return np.where(np.isfinite(np.take_along_axis(scores, best, axis=1)), best, -1)
