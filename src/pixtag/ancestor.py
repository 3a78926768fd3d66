"""The old project's protocol, kept to show what it measured; nothing in the core imports this.

The 32 most frequent tags are the labels; posts are split at random into 3,000 for training and
500 for testing; a person's history is the count of each label over all of their posts, the test
posts included. That last part is a leak: the answer is in the question. Every method is given
with and without it, so that the difference can be read off.

A tag is *related* to a label set when it is one of the set or goes with one of its tags: of the
posts with the rarer of the two, at least half carry the other. The old project counted a
suggestion of a related tag as right in its second figure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pixtag.errors import InputError
from pixtag.types import Bools, Doubles, Floats, Halfs, Ints, Post, PostLog, Rankings

N_LABELS = 32
N_TRAIN, N_TEST = 3000, 500
_FIRST_AT = 1.5e9
CUTOFFS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
RELATED_SHARE = 0.5

LEAKY = "history includes the test posts"
CLEAN = "history of the training posts only"
NONE = "no history"
PREQUENTIAL = "history of earlier posts, in an invented order"


OldModel = Callable[[PostLog, int], Rankings]


@dataclass(frozen=True)
class OldTask:
    """Posts as the old project saw them.

    Shapes:
        N: posts with a label. L: labels. U: people, the last for posts of nobody. D: embedding.

    Attributes:
        labels: The most frequent tags, most frequent first, `[L]`.
        answers: Which labels each post carries, `[N, L]`.
        user: The person, `[N]`.
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
        """Count each person's labels, `[N, L]`.

        Args:
            leaky: Over all posts, as the old project did; else over training posts alone, where
                a training post does not count itself.
        """
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
    """Lay a log out as the old project did.

    Args:
        log: Posts, with times or without.
        seed: Of the split.

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
    """Score label rankings of the test posts.

    Args:
        task: The posts.
        scores: Of every label for every test post, `[len(test), L]`.

    Returns:
        `p@1` to `p@10`, `related p@1` to `related p@10`, and `recall`: the share of a post's
        labels among the first ten, averaged over posts.
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


def evaluate_ancestor(
    log: PostLog, *, seed: int = 0, model: OldModel | None = None
) -> dict[str, Any]:
    """Repeat the old protocol with simple methods on today's embeddings.

    Args:
        log: Posts, with times or without.
        seed: Of the split and the fits.
        model: Pixtag: from a log whose last posts are asked about, and how many those are, to
            their rankings.

    Returns:
        `title`, `split`, `labels`, `methods` (figures and `history` each) and `notes`.

    Raises:
        InputError: Too few posts carry one of the labels.
    """
    task = old_task(log, seed=seed)
    answers, leaky, clean = task.answers, task.history(leaky=True), task.history(leaky=False)
    counts = answers[task.train].sum(axis=0)
    made: dict[str, tuple[Floats, str]] = {
        "most frequent": (np.tile(counts, (len(task.test), 1)).astype(np.float32), NONE),
        "counts": (leaky[task.test], LEAKY),
        "counts, honest": (clean[task.test], CLEAN),
    }
    if task.embeddings.shape[1]:
        look = _scaled(task.embeddings, task.train)
        inputs = {
            "pixels": (look, NONE),
            "pixels and counts": (np.hstack([look, _shares(leaky)]), LEAKY),
            "pixels and counts, honest": (np.hstack([look, _shares(clean)]), CLEAN),
        }
        for name, (x, label) in inputs.items():
            made[name] = (_fit(x[task.train], answers[task.train], x[task.test], seed), label)
    if model is not None:
        ranked = model(in_some_order(log, task), len(task.test))
        made["pixtag"] = (label_scores(task, ranked), PREQUENTIAL)
    return {
        "title": (
            f"The old protocol: {len(task.labels)} labels, {len(task.train):,} posts to train on "
            f"and {len(task.test):,} to test, split at random with seed {seed}"
        ),
        "split": {"train": len(task.train), "test": len(task.test), "seed": seed},
        "labels": task.labels,
        "related": {
            label: [task.labels[j] for j in np.flatnonzero(task.related[i]) if j != i]
            for i, label in enumerate(task.labels)
        },
        "methods": {
            name: {**old_figures(task, scores), "history": label}
            for name, (scores, label) in made.items()
        },
        "notes": _notes(made),
    }


def in_some_order(log: PostLog, task: OldTask) -> PostLog:
    """Give the posts times, an hour apart, so that a method that lives in time can take part.

    The training posts come first, then the test posts, each in the order of the log; only labels
    are kept as tags.

    Args:
        log: The log of the task.
        task: Its split.

    Returns:
        `len(train) + len(test)` posts, the test posts last.
    """
    labels = set(task.labels)
    posts: list[Post] = []
    embeddings: dict[str, Halfs] = {}
    for hour, place in enumerate([*task.train.tolist(), *task.test.tolist()]):
        row = int(task.rows[place])
        user = int(log.user_of_post[row])
        posts.append(
            Post(
                post_id=log.post_ids[row],
                user_id=log.users[user] if user < len(log.users) else None,
                posted_at=_FIRST_AT + 3600.0 * hour,
                tags=tuple(tag for tag in log.tags_of(row) if tag in labels),
            )
        )
        if log.has_photo[row]:
            embeddings[log.post_ids[row]] = log.embeddings[row]
    return PostLog.of(posts, embeddings or None)


def label_scores(task: OldTask, ranked: Rankings) -> Floats:
    """Turn rankings of the test posts into a score for every label, `[len(test), L]`."""
    place = {label: i for i, label in enumerate(task.labels)}
    of_tag = np.array([*(place.get(tag, -1) for tag in ranked.tags), -1], np.int64)
    labels = of_tag[ranked.tag_ids]
    scores = np.full((len(labels), len(task.labels) + 1), -np.inf, np.float32)
    ranks = np.arange(labels.shape[1], 0, -1, dtype=np.float32)
    np.put_along_axis(scores, labels, np.broadcast_to(ranks, labels.shape), axis=1)
    return scores[:, :-1]


def _notes(made: dict[str, tuple[Floats, str]]) -> list[str]:
    notes = [
        "a random split mixes past and future, and a person's posts stand on both sides; these "
        "figures say nothing about posts to come: use the temporal protocol for those"
    ]
    if any(label == LEAKY for _, label in made.values()):
        notes.append(f"{LEAKY} where the table says so: the answer was part of the question")
    return notes


def _scaled(x: Floats, train: Ints) -> Floats:
    centre, spread = x[train].mean(axis=0), x[train].std(axis=0) + np.float32(1e-3)
    return (x - centre) / spread


def _shares(counts: Floats) -> Floats:
    """Counts on the scale of the scaled embeddings."""
    return np.float32(4) * np.log1p(counts) / np.log1p(counts).max(initial=1)


def _fit(x: Floats, answers: Bools, asked: Floats, seed: int) -> Floats:
    """Fit one logistic regression a label by Adam, as the old network's last layer, and score."""
    x = np.hstack([x, np.ones((len(x), 1), np.float32)])
    asked = np.hstack([asked, np.ones((len(asked), 1), np.float32)])
    weights = np.zeros((x.shape[1], answers.shape[1]), np.float32)
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    rng, step = np.random.default_rng(seed), 0
    target = answers.astype(np.float32)
    for _ in range(12):
        order = rng.permutation(len(x))
        for begin in range(0, len(x), 128):
            rows = order[begin : begin + 128]
            probs: Doubles | Floats = 1 / (1 + np.exp(-np.clip(x[rows] @ weights, -30, 30)))
            gradient = x[rows].T @ (probs - target[rows]) / len(rows) + 1e-3 * weights
            step += 1
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient**2 - second)
            rate = 1e-3 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            weights -= (rate * first / (np.sqrt(second) + 1e-8)).astype(np.float32)
    return (asked @ weights).astype(np.float32)
