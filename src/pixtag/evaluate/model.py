"""How the evaluation asks a model: with all it knows or given tags alone; and leak checks.

Scores must not move when the future, or the post's own tags, are changed. To look for in-sample
scores, hand in a scorer that does its fitting inside: whatever it learned from a post's own tags
moves its score for that post.

Shapes:
    B: posts. C: candidates. K: ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from pixtag import rank as ranking
from pixtag.bundle import Bundle
from pixtag.engine import LOCAL, Engine
from pixtag.errors import InputError, LeakError
from pixtag.evaluate.temporal import Model
from pixtag.model import evidence_of
from pixtag.model import model_of as loaded
from pixtag.signals import Knowledge, Questions, ask
from pixtag.signals.cooccurrence import companies
from pixtag.signals.head import Head
from pixtag.types import Doubles, Ints, PostLog, Rankings, Sources


def model_of(bundle: Bundle, engine: Engine = LOCAL) -> Model:
    """Rank with a model on top of the log's own posts, as a predictor does."""

    def ranked(log: PostLog, start: int, stop: int, k: int, sources: Sources) -> Rankings:
        model, evidence = evidence_of(bundle, log, judged_by=start)
        rows = np.arange(start, stop)
        questions = ranking.questions_of(log, rows, width=model.knowledge.encoder_width)
        view = evidence.view()
        found = ranking.rank(model, view, questions, k=k, sources=sources, engine=engine)
        return replace(found, rows=rows)

    return ranked


# ------------------------------------------------------------------ tags given, no photo


def rank_given(
    bundle: Bundle, known: PostLog, given: Sequence[tuple[str, ...]], k: int
) -> list[list[str]]:
    """Rank tags for strangers without a photo who have accepted some, without the prior.

    What the prior holds of the posts in `known` can't be told, so it is left out.
    """
    model = loaded(bundle).without_prior()
    questions = _given(given, width=model.knowledge.encoder_width)
    view = model.evidence(_without_photos(known)).view()
    return ranking.rank(model, view, questions, k=k).names


def chance_given(log: PostLog, given: Ints) -> Doubles:
    """Chance of every tag `[B, T]` by the co-occurrence of untimed posts, tags `[B, G]` given."""
    nothing = np.zeros((0, 1), np.float32)
    head = Head(np.zeros(0, np.float32), nothing, nothing, np.zeros(0, np.float32))
    knowledge = Knowledge.of([], head)
    view = knowledge.evidence(_without_photos(log)).view()
    asked = ask(knowledge, view, _given([tuple(log.tags[t] for t in row) for row in given]))
    every = view.names.ids_of(log.tags)
    order = np.argsort(every)
    usual = np.bincount(view.tag, minlength=view.n_tags)[every[order]] / max(view.n_posts, 1)
    company = companies(asked)
    out = np.empty((len(given), len(log.tags)))
    for row in range(len(given)):
        out[row, order] = company[row].chances(asked, row, every[order], usual)[0]
    return out


def _without_photos(log: PostLog) -> PostLog:
    return replace(log, embeddings=np.zeros((len(log), 0), np.float16))


def _given(given: Sequence[tuple[str, ...]], *, width: int = 0) -> Questions:
    n = len(given)
    return Questions(
        at=np.full(n, np.inf), users=(None,) * n, embeddings=np.zeros((n, width), np.float32),
        has_photo=np.zeros(n, np.bool_), accepted=tuple(given),
    )  # fmt: skip


# ------------------------------------------------------------------ leaks

Scorer = Callable[[PostLog, int, int], Rankings]
"""Ranks posts `start..stop - 1` of a log: `scorer(log, start, stop)`."""

Change = Literal["permute", "alter", "delete", "own"]
CHANGES: tuple[Change, ...] = get_args(Change)
"""`own` alters nothing but the tags of the post that is asked about."""

ROUNDING = 1e-5
"""Sums over arrays of another length, as of another log, differ in their last bits."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A score that moved when the log was changed from `cut_at` on, and the first suggestions."""

    change: Change
    cut_at: float
    post_id: str
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LeakReport:
    """Query times that were tried, posts compared over all times and changes, posts that moved."""

    n_times: int
    n_compared: int
    leaks: tuple[Leak, ...]


def leakcheck(
    log: PostLog, scorer: Scorer, *, n_times: int = 12, n_before: int = 16,
    changes: tuple[Change, ...] = CHANGES, start: int | None = None, seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> LeakReport:  # fmt: skip
    """Change the future of `n_times` query times and compare what is said about their past.

    The times are spread evenly from position `start` on, by default a tenth into the log; besides
    the post itself the `n_before` posts before it are compared.

    Raises:
        InputError: The log is too short to have a past and a future.
    """
    first = max(log.n_untimed + 2, len(log) // 10) if start is None else start
    last = len(log) - 2
    if last < first:
        raise InputError(
            f"{len(log)} posts are too few for a leak check",
            hint="import at least a few dozen posts with a time",
        )
    rng = np.random.default_rng(seed)
    cuts = np.unique(np.linspace(first, last, n_times).astype(np.int64))
    leaks: list[Leak] = []
    n_compared = n_done = 0
    for row in cuts.tolist():
        begin = max(log.n_untimed, row - n_before)
        truth = scorer(log, begin, row + 1)
        for change in changes:
            other, place = _changed(log, row, change, rng)
            again = scorer(other, min(begin, place), place + 1)
            # Posts of the same instant as the query lie in its future.
            earlier = [i for i in range(begin, row) if log.at[i] < log.at[row]]
            kept = [(row, place)] if change == "own" else [*((i, i) for i in earlier), (row, place)]
            for one, moved in kept:
                before = truth.list_of(one - begin)
                after = again.list_of(moved - min(begin, place))
                if not _same(before, after):
                    shown = (tuple(before[0][:5]), tuple(after[0][:5]))
                    leaks.append(Leak(change, float(log.at[row]), log.post_ids[one], *shown))
            n_compared, n_done = n_compared + len(kept), n_done + 1
            if on_progress:
                on_progress(n_done, len(cuts) * len(changes))
    return LeakReport(len(cuts), n_compared, tuple(leaks))


_Said = tuple[list[str], list[float]]


def _same(before: _Said, after: _Said) -> bool:
    """Whether two lists say the same, but for rounding and what ties by it.

    Tags are compared by name, since the changed log numbers them anew.
    """
    first, second = (dict(zip(*said, strict=True)) for said in (before, after))
    if len(set(first.values())) <= 1:  # the order is all that is said
        return before == after
    last, last_after = (said[1][-1] if said[1] else 0.0 for said in (before, after))
    return len(first) == len(second) and all(
        abs(first.get(tag, last) - second.get(tag, last_after)) <= ROUNDING
        for tag in first.keys() | second.keys()
    )


def _changed(
    log: PostLog, row: int, change: Change, rng: np.random.Generator
) -> tuple[PostLog, int]:
    """The log with another future of a post, whose tags are exchanged too, and its place there."""
    first = int(np.searchsorted(log.at, log.at[row], side="left"))
    own = _other_tags(log, row, rng)
    if change == "own":
        return _retag(log, {row: own}), row
    if change == "delete":
        keep = np.arange(len(log)) < first
        keep[row] = True
        return _retag(log.select(keep), {first: own}), first
    future = np.array([i for i in range(first, len(log)) if i != row], np.int64)
    source = np.arange(len(log))
    if change == "permute":
        source[future] = rng.permutation(future)
        tags = {i: log.tags_of(int(source[i])) for i in future.tolist()}
    else:
        tags = {i: _other_tags(log, i, rng) for i in future.tolist()}
    users, embeddings = log.user_of_post[source], log.embeddings[source]
    if change == "alter":
        noise = rng.normal(size=(len(future), embeddings.shape[1])).astype(np.float16)
        embeddings[future] = noise * log.has_photo[future, None]
        # The person who is asked about floods the future with tags that nobody knows.
        users[future] = np.where(rng.random(len(future)) < 0.5, users[row], users[future])
    other = replace(log, user_of_post=users, has_photo=log.has_photo[source], embeddings=embeddings)
    return _retag(other, {**tags, row: own}), row


def _other_tags(log: PostLog, row: int, rng: np.random.Generator) -> list[str]:
    own = log.tags_of(row)
    drawn = [log.tags[i] for i in rng.integers(0, len(log.tags), 2 * len(own) + 4)]
    other = [tag for tag in dict.fromkeys(drawn) if tag not in own]
    return [*other[: len(own) + 2], f"unheardof{int(rng.integers(1 << 30))}"]


def _retag(log: PostLog, new: dict[int, list[str]]) -> PostLog:
    number: dict[str, int] = {}
    tags = [new[row] if row in new else log.tags_of(row) for row in range(len(log))]
    ids = [number.setdefault(tag, len(number)) for own in tags for tag in own]
    start = np.cumsum([0, *map(len, tags)], dtype=np.int64)
    return replace(log, tags=list(number), tag_start=start, tag_ids=np.array(ids, np.int64))


def check_bundle(bundle: Bundle, log: PostLog, rows: Ints) -> list[str]:
    """Refuse to measure a bundle on posts that it learned from, at positions `rows`.

    Returns:
        Things a reader of the figures should know; often none.

    Raises:
        LeakError: Training or calibration read one of the posts, or, when the bundle does not
            say which posts it read, anything as late as the first of them.
    """
    hint = "train on the train period alone: `pixtag train` without --all, or leave --model out"
    n_seen = int(bundle.has_seen([log.post_ids[r] for r in rows]).sum())
    if n_seen:
        raise LeakError(
            f"the model learned from {n_seen} of the {len(rows)} posts that it would be "
            "measured on",
            hint=hint,
        )
    until = bundle.manifest.trained_until
    if until is None or not len(rows) or until <= log.at[rows[0]]:
        return []
    if not len(bundle.seen):
        raise LeakError(
            "the model learned from posts as late as those that it would be measured on, and "
            "does not say which",
            hint=hint,
        )
    return ["the model learned from other posts of the same time, so it may know its events"]
