"""Two protocols for posts without times: some true tags given, and the old project's own.

`given`: some of a post's tags are drawn and given, the others are to be ranked: no photo, person
or moment. `ancestor`: the old project's random split, leak included, to show what it measured:
a person's history counts their labels over all posts, those under test included, so every method
is given with that leak and without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pixtag.errors import InputError
from pixtag.evaluate.baselines import fit_linear
from pixtag.evaluate.metrics import Bootstrap, OnProgress, score_lists
from pixtag.evaluate.model import chance_given
from pixtag.evaluate.tables import ALL, Figures, Row, Values, mean_rows
from pixtag.types import Bools, Doubles, Floats, Ints, PostLog, Rankings

# ------------------------------------------------------------------ some tags given

MOST_ASKED = 3000
SHOWN = ("p@1", "p@5", "r@5", "r@10")
SIGNAL, PLAIN = "pixtag's co-occurrence", "plain co-occurrence"
BOUND = "nothing that knows one tag alone"
_RANKS = 10

GivenModel = Callable[[PostLog, list[tuple[str, ...]]], list[list[str]]]
"""Pixtag: from the posts to learn from and the tags given, to ranked tags for each question."""


@dataclass(frozen=True)
class GivenTask:
    """One random split of posts stripped to their tags, and the `given` tags of test, `[B, G]`."""

    log: PostLog
    train: Ints
    test: Ints
    given: Ints


def given_task(log: PostLog, *, n_given: int, seed: int) -> GivenTask:
    """Split posts at random and draw the tags that are given.

    At most a seventh of the posts and `MOST_ASKED` are asked about.

    Raises:
        InputError: Fewer than ten of the posts set apart have more tags than are given.
    """
    n = len(log)
    bare = replace(
        log, user_of_post=np.full(n, len(log.users), np.int64), at=np.full(n, -np.inf),
        has_photo=np.zeros(n, np.bool_), embeddings=np.zeros((n, 0), np.float16),
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    n_test = min(MOST_ASKED, n // 7)
    test = np.sort(order[:n_test])
    test = test[np.diff(log.tag_start)[test] > n_given]
    if len(test) < 10:
        raise InputError(
            f"{len(test)} of the posts set apart have more than {n_given} tags: too few to measure",
            hint="import more posts, or give fewer tags",
        )
    drawn = [rng.permutation(tags)[:n_given] for tags in _tags_of_each(log, test)]
    return GivenTask(bare, np.sort(order[n_test:]), test, np.array(drawn, np.int64))


def _tags_of_each(log: PostLog, rows: Ints) -> list[Ints]:
    return [log.tag_ids[log.tag_start[row] : log.tag_start[row + 1]] for row in rows.tolist()]


def plain_scores(log: PostLog, given: Ints) -> Doubles:
    """Mean over the given tags of the share of their posts that carry each tag, `[B, T]`."""
    member = np.zeros((len(log), len(log.tags)), np.float32)
    member[log.post_of_use, log.tag_ids] = 1.0
    both = (member.T @ member).astype(np.float64)
    return (both / np.maximum(np.diag(both), 1)[:, None])[given].mean(axis=1)


def one_tag_bound(log: PostLog) -> dict[str, float]:
    """What no ranking that depends on one given tag alone can pass, in expectation.

    The ranking that is counted for each tag on all posts, those under test included. Memory grows
    with the square of the number of tags.
    """
    rows = np.flatnonzero(np.diff(log.tag_start) > 1)
    drawn, recalled = (np.zeros((len(log.tags), len(log.tags))) for _ in range(2))
    for tags in _tags_of_each(log, rows):
        drawn[np.ix_(tags, tags)] += 1 / len(tags)
        recalled[np.ix_(tags, tags)] += 1 / (len(tags) * (len(tags) - 1))
    for matrix in (drawn, recalled):
        np.fill_diagonal(matrix, 0.0)
        matrix[:] = -np.sort(-matrix, axis=1)
    wanted = {"p@1": (drawn, 1, 1), "p@5": (drawn, 5, 5), "r@5": (recalled, 5, 1),
              "r@10": (recalled, 10, 1)}  # fmt: skip
    return {name: float(m[:, :k].sum() / len(rows)) / over for name, (m, k, over) in wanted.items()}


def evaluate_given(
    log: PostLog, *, n_given: int = 1, seeds: Sequence[int] = range(5),
    model: GivenModel | None = None, on_progress: OnProgress | None = None,
) -> Figures:  # fmt: skip
    """Measure how well the other tags follow from some given ones.

    Each seed makes one split and one draw. `model` is told the given tags as accepted ones.
    Intervals are of a bootstrap over posts; each split's own means stand in segments `seed 0`, ...
    """
    parts: list[dict[str, Values]] = []
    asked: list[Ints] = []
    for done, seed in enumerate(seeds, 1):
        task = given_task(log, n_given=n_given, seed=seed)
        parts.append(_measure(task, model))
        asked.append(task.test)
        if on_progress:
            on_progress(done, len(seeds), "splits")
    _, post = np.unique(np.concatenate(asked), return_inverse=True)
    pooled = {
        name: {m: np.concatenate([part[name][m] for part in parts]) for m in SHOWN}
        for name in parts[0]
    }
    rows = mean_rows(pooled, Bootstrap(post), metrics=SHOWN)
    rows += [
        Row(f"seed {seed}", name, m, float(values[m].mean()), n=len(values[m]))
        for seed, part in zip(seeds, parts, strict=True)
        for name, values in part.items()
        for m in SHOWN
    ]
    if n_given == 1:
        rows += [Row(ALL, BOUND, m, value, n=len(post)) for m, value in one_tag_bound(log).items()]
    title = f"{n_given} true tag{'s' * (n_given > 1)} given, the others asked for: "
    title += f"{len(post):,} questions in {len(asked)} random splits"
    about = {"n_given": n_given, "n_posts": len(log), "n_test": min(MOST_ASKED, len(log) // 7)}
    note = (
        "tag sets alone, split at random: no photo, no person, no time; "
        f"'{SIGNAL}' is the signal behind --accept by itself, without the network"
    )
    return Figures("given", title, rows, SHOWN, "r@5", about, (note,))


def _measure(task: GivenTask, model: GivenModel | None) -> dict[str, Values]:
    known = task.log.select(task.train)
    popular = np.bincount(known.tag_ids, minlength=len(known.tags)).astype(np.float64)
    scores = {
        SIGNAL: chance_given(known, task.given),
        PLAIN: plain_scores(known, task.given),
        "popularity": np.tile(popular, (len(task.test), 1)),
    }
    given = [tuple(known.tags[t] for t in row) for row in task.given.tolist()]
    ranked: dict[str, list[list[str]]] = {}
    for name, values in scores.items():
        best = np.argsort(-values, axis=1, kind="stable")[:, : _RANKS + task.given.shape[1]]
        ranked[name] = [[known.tags[t] for t in row] for row in best.tolist()]
    if model is not None:
        ranked["pixtag"] = model(known, given)

    def others(lists: Sequence[Sequence[str]]) -> list[list[str]]:
        pairs = zip(lists, given, strict=True)
        return [[tag for tag in tags if tag not in told] for tags, told in pairs]

    answers = others([task.log.tags_of(row) for row in task.test.tolist()])
    return score_lists({name: others(lists) for name, lists in ranked.items()}, answers)


# ------------------------------------------------------------------ the old project's protocol

N_LABELS, N_TRAIN, N_TEST = 32, 3000, 500
CUTOFFS = range(1, 11)
RELATED_SHARE = 0.5
OLD_SHOWN = ("p@1", "p@3", "p@5", "p@10", "related p@1", "related p@5", "recall")

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
        N: posts with a label. L: labels, most frequent first. D: embedding, 0 without photos.
    """

    labels: list[str]  # the most frequent tags, [L]
    answers: Bools  # which labels each post carries, [N, L]
    user: Ints  # the person, [N]; all posts of nobody are one
    embeddings: Floats  # [N, D]
    train: Ints  # positions among the N posts
    test: Ints
    related: Bools  # of the rarer one's posts at least half carry the other, [L, L]
    rows: Ints  # positions of the posts in the log, [N]

    def history(self, *, leaky: bool) -> Floats:
        """Labels of each person, `[N, L]`: of all posts (leaky), or of other training posts."""
        counted = np.arange(len(self.answers)) if leaky else self.train
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
    best = np.argsort(-uses, kind="stable")[:N_LABELS]
    place = np.full(len(log.tags), len(best), np.int64)
    place[best] = np.arange(len(best))
    answers = np.zeros((len(log), len(best) + 1), np.bool_)
    answers[log.post_of_use, place[log.tag_ids]] = True
    rows = np.flatnonzero(answers[:, :-1].any(axis=1))
    answers = answers[rows, :-1]
    n_wanted = N_TRAIN + N_TEST
    n_test = N_TEST if len(rows) >= n_wanted else len(rows) // 7
    if n_test < 10:
        raise InputError(
            f"{len(rows)} posts carry one of the {len(best)} most frequent tags: too few to split",
            hint="import at least a hundred posts",
        )
    order = np.random.default_rng(seed).permutation(len(rows))[:n_wanted]
    both = answers.astype(np.float64).T @ answers
    rarer = np.minimum.outer(np.diag(both), np.diag(both))
    related = (both / np.maximum(rarer, 1) >= RELATED_SHARE) | np.eye(len(both), dtype=np.bool_)
    return OldTask(
        [log.tags[t] for t in best], answers, log.user_of_post[rows],
        log.embeddings[rows].astype(np.float32), np.sort(order[n_test:]), np.sort(order[:n_test]),
        related, rows.astype(np.int64),
    )  # fmt: skip


def old_figures(task: OldTask, scores: Floats) -> dict[str, float]:
    """Score label rankings of the test posts, `[len(test), L]`.

    Returns:
        `p@1` to `p@10`, `related p@1` to `related p@10`, and `recall` among the first ten.
    """
    answers = task.answers[task.test]
    order = np.argsort(-scores, axis=1, kind="stable")[:, : max(CUTOFFS)]
    related = (answers.astype(np.int64) @ task.related) > 0
    found: dict[str, float] = {}
    for prefix, right in (("related ", related), ("", answers)):
        hits = np.take_along_axis(right, order, axis=1)
        found |= {f"{prefix}p@{k}": float(hits[:, :k].mean()) for k in CUTOFFS}
    return {**found, "recall": float((hits.sum(axis=1) / answers.sum(axis=1)).mean())}


def evaluate_ancestor(log: PostLog, *, seed: int = 0, model: OldModel | None = None) -> Figures:
    """Repeat the old protocol with simple methods on today's embeddings, and with Pixtag.

    The methods say in their names what their history holds; there are no intervals.
    """
    task = old_task(log, seed=seed)
    made = _old_methods(task, seed)
    if model is not None:
        ranked = model(in_some_order(log, task), len(task.test))
        made[f"pixtag ({PREQUENTIAL})"] = label_scores(task, ranked)
    title = (
        f"The old protocol: {len(task.labels)} labels, {len(task.train):,} posts to train on "
        f"and {len(task.test):,} to test, split at random with seed {seed}"
    )
    same = [[task.labels[j] for j in np.flatnonzero(row)] for row in task.related]
    pairs = zip(task.labels, same, strict=True)
    related = {one: [label for label in both if label != one] for one, both in pairs}
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
    return Figures("ancestor", title, rows, OLD_SHOWN, about=about, notes=notes)


def _old_methods(task: OldTask, seed: int) -> dict[str, Floats]:
    answers, leaky, clean = task.answers, task.history(leaky=True), task.history(leaky=False)
    counts = answers[task.train].sum(axis=0)
    made: dict[str, Floats] = {
        f"most frequent ({NONE})": np.tile(counts, (len(task.test), 1)).astype(np.float32),
        f"counts ({LEAKY})": leaky[task.test],
        f"counts ({CLEAN})": clean[task.test],
    }
    if not task.embeddings.shape[1]:
        return made
    known = task.embeddings[task.train]
    look = (task.embeddings - known.mean(axis=0)) / (known.std(axis=0) + 1e-3)
    logs = (np.log1p(counts) for counts in (leaky, clean))
    shares = [np.float32(4) * log / log.max(initial=1) for log in logs]
    inputs = {
        f"pixels ({NONE})": look,
        f"pixels and counts ({LEAKY})": np.hstack([look, shares[0]]),
        f"pixels and counts ({CLEAN})": np.hstack([look, shares[1]]),
    }
    for name, x in inputs.items():
        # One logistic regression a label, as the old network's last layer.
        weights = fit_linear(
            x[task.train], answers[task.train], link="sigmoid", seed=seed, n_epochs=12,
            learning_rate=1e-3, batch=128, l2=1e-3,
        )  # fmt: skip
        made[name] = x[task.test] @ weights[:-1] + weights[-1]
    return made


def in_some_order(log: PostLog, task: OldTask) -> PostLog:
    """Give the posts times, an hour apart, train before test, and keep only labels as tags."""
    ordered = log.select(task.rows[np.concatenate([task.train, task.test])])
    at = 1.5e9 + 3600.0 * np.arange(len(ordered))
    return replace(ordered.with_only(task.labels), at=at)


def label_scores(task: OldTask, ranked: Rankings) -> Floats:
    """Turn rankings of the test posts into a score for every label, `[len(test), L]`."""
    place = {label: i for i, label in enumerate(task.labels)}
    of_tag = np.array([*(place.get(tag, -1) for tag in ranked.tags), -1], np.int64)
    labels = of_tag[ranked.tag_ids]
    scores = np.full((len(labels), len(task.labels) + 1), -np.inf, np.float32)
    ranks = np.arange(labels.shape[1], 0, -1, dtype=np.float32)
    np.put_along_axis(scores, labels, np.broadcast_to(ranks, labels.shape), axis=1)
    return scores[:, :-1]
