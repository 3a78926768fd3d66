"""The old project's protocol, random split and leak included, to show what it measured.

The 32 most frequent tags are the labels; 3,000 random posts are trained on and 500 tested. A
person's history counts their labels over all posts, those under test included: the answer is in
the question, so every method is given with that leak and without. In its second figure a
suggestion is right when it is *related* to one of the labels: of the posts with the rarer of the
two at least half carry the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pixtag.errors import InputError
from pixtag.evaluate.baselines import fit_linear
from pixtag.evaluate.past import uses_in
from pixtag.evaluate.tables import ALL, Figures, Row
from pixtag.types import Bools, Floats, Ints, PostLog, Rankings

N_LABELS = 32
N_TRAIN, N_TEST = 3000, 500
CUTOFFS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
RELATED_SHARE = 0.5
SHOWN = ("p@1", "p@3", "p@5", "p@10", "related p@1", "related p@5", "recall")

LEAKY = "history includes the test posts"
CLEAN = "history of the training posts only"
NONE = "no history"
PREQUENTIAL = "history of earlier posts, in an invented order"

OldModel = Callable[[PostLog, int], Rankings]
"""From a log whose last posts are asked about, and how many those are, to their rankings."""


@dataclass(frozen=True)
class OldTask:
    """Posts as the old project saw them.

    Shapes:
        N: posts with a label. L: labels, most frequent first. D: embedding.

    Attributes:
        labels: The most frequent tags, `[L]`.
        answers: Which labels each post carries, `[N, L]`.
        user: The person, `[N]`; all posts of nobody are one.
        embeddings: `[N, D]`; D = 0 without photos.
        train: Positions of the training posts.
        test: Positions of the test posts.
        related: Which labels count as the same, `[L, L]`.
        rows: Positions of the posts in the log, `[N]`.
    """

    labels: list[str]
    answers: Bools
    user: Ints
    embeddings: Floats
    train: Ints
    test: Ints
    related: Bools
    rows: Ints

    def history(self, *, leaky: bool) -> Floats:
        """Labels of each person, `[N, L]`: of all posts (leaky), or of other training posts."""
        counted = np.ones(len(self.answers), np.bool_)
        if not leaky:
            counted[:] = False
            counted[self.train] = True
        totals = np.zeros((int(self.user.max(initial=0)) + 1, len(self.labels)), np.float32)
        np.add.at(totals, self.user[counted], self.answers[counted].astype(np.float32))
        mine = totals[self.user]
        if not leaky:
            mine[counted] -= self.answers[counted]
        return mine


def old_task(log: PostLog, *, seed: int = 0) -> OldTask:
    """Lay a log out as the old project did; the seed decides the split.

    Raises:
        InputError: Too few posts carry one of the labels.
    """
    uses = np.bincount(log.tag_ids, minlength=len(log.tags))
    best = np.lexsort((np.arange(len(uses)), -uses))[:N_LABELS]
    place = np.full(len(log.tags), N_LABELS, np.int64)
    place[best] = np.arange(len(best))
    answers = np.zeros((len(log), N_LABELS + 1), np.bool_)
    answers[np.repeat(np.arange(len(log)), np.diff(log.tag_start)), place[log.tag_ids]] = True
    answers = answers[:, : len(best)]
    rows = np.flatnonzero(answers.any(axis=1))
    n_wanted = N_TRAIN + N_TEST
    n_test = N_TEST if len(rows) >= n_wanted else len(rows) // 7
    if n_test < 10:
        raise InputError(
            f"{len(rows)} posts carry one of the {len(best)} most frequent tags: too few to split",
            hint="import at least a hundred posts",
        )
    order = np.random.default_rng(seed).permutation(len(rows))[:n_wanted]
    answers = answers[rows]
    return OldTask(
        labels=[log.tags[t] for t in best],
        answers=answers,
        user=log.user_of_post[rows],
        embeddings=log.embeddings[rows].astype(np.float32),
        train=np.sort(order[n_test:]),
        test=np.sort(order[:n_test]),
        related=_related(answers),
        rows=rows.astype(np.int64),
    )


def _related(answers: Bools) -> Bools:
    both = answers.astype(np.float64).T @ answers
    uses = np.diag(both)
    rarer = np.minimum(uses[:, None], uses[None, :])
    return (both / np.maximum(rarer, 1) >= RELATED_SHARE) | np.eye(len(both), dtype=np.bool_)


def old_figures(task: OldTask, scores: Floats) -> dict[str, float]:
    """Score label rankings of the test posts, `[len(test), L]`.

    Returns:
        `p@1` to `p@10`, `related p@1` to `related p@10`, and `recall` among the first ten.
    """
    answers = task.answers[task.test]
    order = np.argsort(-scores, axis=1, kind="stable")[:, : max(CUTOFFS)]
    related = (answers.astype(np.int64) @ task.related) > 0
    found: dict[str, float] = {}
    for prefix, right in (("", answers), ("related ", related)):
        hits = np.take_along_axis(right, order, axis=1)
        for k in CUTOFFS:
            found[f"{prefix}p@{k}"] = float(hits[:, :k].mean())
    strict = np.take_along_axis(answers, order, axis=1)
    found["recall"] = float((strict.sum(axis=1) / answers.sum(axis=1)).mean())
    return found


def evaluate_ancestor(log: PostLog, *, seed: int = 0, model: OldModel | None = None) -> Figures:
    """Repeat the old protocol with simple methods on today's embeddings, and with Pixtag.

    The methods say in their names what their history holds; there are no intervals.
    """
    task = old_task(log, seed=seed)
    answers, leaky, clean = task.answers, task.history(leaky=True), task.history(leaky=False)
    counts = answers[task.train].sum(axis=0)
    made: dict[str, Floats] = {
        f"most frequent ({NONE})": np.tile(counts, (len(task.test), 1)).astype(np.float32),
        f"counts ({LEAKY})": leaky[task.test],
        f"counts ({CLEAN})": clean[task.test],
    }
    if task.embeddings.shape[1]:
        centre = task.embeddings[task.train].mean(axis=0)
        look = (task.embeddings - centre) / (task.embeddings[task.train].std(axis=0) + 1e-3)
        inputs = {
            f"pixels ({NONE})": look,
            f"pixels and counts ({LEAKY})": np.hstack([look, _shares(leaky)]),
            f"pixels and counts ({CLEAN})": np.hstack([look, _shares(clean)]),
        }
        for name, x in inputs.items():
            # One logistic regression a label, as the old network's last layer.
            weights = fit_linear(
                x[task.train], answers[task.train], link="sigmoid", seed=seed, n_epochs=12,
                learning_rate=1e-3, batch=128, l2=1e-3,
            )  # fmt: skip
            made[name] = x[task.test] @ weights[:-1] + weights[-1]
    if model is not None:
        ranked = model(in_some_order(log, task), len(task.test))
        made[f"pixtag ({PREQUENTIAL})"] = label_scores(task, ranked)
    title = (
        f"The old protocol: {len(task.labels)} labels, {len(task.train):,} posts to train on "
        f"and {len(task.test):,} to test, split at random with seed {seed}"
    )
    related = {
        label: [task.labels[j] for j in np.flatnonzero(task.related[i]) if j != i]
        for i, label in enumerate(task.labels)
    }
    rows = [
        Row(ALL, name, metric, value, n=len(task.test))
        for name, scores in made.items()
        for metric, value in old_figures(task, scores).items()
    ]
    notes = (
        "a random split mixes past and future, and a person's posts stand on both sides; these "
        "figures say nothing about posts to come: use the temporal protocol for those",
        f"where the {LEAKY}, the answer was part of the question",
    )
    about = {"labels": task.labels, "related": related}
    return Figures("ancestor", title, rows, SHOWN, about=about, notes=notes)


def in_some_order(log: PostLog, task: OldTask) -> PostLog:
    """Give the posts times, an hour apart, train before test, and keep only labels as tags."""
    rows = task.rows[np.concatenate([task.train, task.test])]
    lengths = log.tag_start[rows + 1] - log.tag_start[rows]
    uses = uses_in(log, rows)
    place = {tag: i for i, tag in enumerate(task.labels)}
    of_tag = np.array([place.get(tag, -1) for tag in log.tags], np.int64)[uses]
    post = np.repeat(np.arange(len(rows)), lengths)[of_tag >= 0]
    start = np.searchsorted(post, np.arange(len(rows) + 1))
    return replace(
        log,
        post_ids=[log.post_ids[row] for row in rows],
        tags=task.labels,
        user_of_post=log.user_of_post[rows],
        at=1.5e9 + 3600.0 * np.arange(len(rows)),
        tag_start=start.astype(np.int64),
        tag_ids=of_tag[of_tag >= 0],
        has_photo=log.has_photo[rows],
        embeddings=log.embeddings[rows],
    )


def label_scores(task: OldTask, ranked: Rankings) -> Floats:
    """Turn rankings of the test posts into a score for every label, `[len(test), L]`."""
    place = {label: i for i, label in enumerate(task.labels)}
    of_tag = np.array([*(place.get(tag, -1) for tag in ranked.tags), -1], np.int64)
    labels = of_tag[ranked.tag_ids]
    scores = np.full((len(labels), len(task.labels) + 1), -np.inf, np.float32)
    ranks = np.arange(labels.shape[1], 0, -1, dtype=np.float32)
    np.put_along_axis(scores, labels, np.broadcast_to(ranks, labels.shape), axis=1)
    return scores[:, :-1]


def _shares(counts: Floats) -> Floats:
    return np.float32(4) * np.log1p(counts) / np.log1p(counts).max(initial=1)
