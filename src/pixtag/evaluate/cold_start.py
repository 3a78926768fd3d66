"""First users: what a model is worth to people whom it never met, from their first post on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pixtag import rank as ranking
from pixtag.bundle import Bundle
from pixtag.errors import InputError, LeakError
from pixtag.evaluate.baselines import DECAYS, base_level, most_recent, most_used
from pixtag.evaluate.metrics import Bootstrap, OnProgress, find_hits, per_post
from pixtag.evaluate.past import Ranker
from pixtag.evaluate.tables import ALL, Figures, Row, Values, mean_rows
from pixtag.model import Model, model_of
from pixtag.splits import Split
from pixtag.types import Doubles, Ints, PostLog, Rankings, Sources

N_PEOPLE, LEAST_POSTS, SEED = 50, 5, 20_260_106
RANKS, LAST = 10, 50
SHOWN = ("p@1", "p@5", "r@5", "r@10")
OWN: dict[str, Ranker] = {
    "most_used": most_used,
    "most_recent": most_recent,
    **{f"base_level {decay}": base_level(decay) for decay in DECAYS},
}
"""Baselines on nothing but the person's own posts."""

BEST_OF_EACH = "each person's best baseline"
STRANGER, NO_TREND = "pixtag for a stranger", "pixtag without trend"
STEPS = ((1, 1), (2, 2), (3, 3), (4, 5), (6, 10), (11, 20), (21, LAST))
"""Posts of a person that share a segment, first and last."""


def first_users(log: PostLog) -> Ints:
    """Draw the people who are taken out: at most half of those with a few tagged posts."""
    tagged = log.user_of_post[np.diff(log.tag_start) > 0]
    n_posts = np.bincount(tagged, minlength=len(log.users) + 1)[: len(log.users)]
    able = np.flatnonzero(n_posts >= LEAST_POSTS)
    rng = np.random.default_rng(SEED)
    return np.sort(rng.choice(able, min(N_PEOPLE, len(able) // 2), replace=False))


def without_first_users(log: PostLog, split: Split) -> PostLog:
    """What a model for first users may learn from: the others' posts of the train period."""
    is_other = ~np.isin(log.user_of_post, first_users(log))
    return log.select(is_other & (np.arange(len(log)) < split.train_stop))


def evaluate_first_users(
    log: PostLog, bundle: Bundle, *, split: Split, stop: int,
    on_progress: OnProgress | None = None,
) -> Figures:  # fmt: skip
    """Replay people whom the model never met, each with no store but their own posts.

    Beside the model (of a bundle trained on `without_first_users`, or elsewhere) stand its answer
    to a stranger and the person's own baselines, filled up with tags popular in its prior. Posts
    from `stop` on are not read; posts without tags are part of the past and not asked about.

    Raises:
        LeakError: The bundle learned from one of the people or from what came after the cut.
        InputError: Nobody has enough posts.
    """
    people = first_users(log)
    _refuse_what_was_seen(bundle, log, split, people)
    model = model_of(bundle)
    usual = np.bincount(bundle.prior.tag_ids, minlength=len(bundle.prior.tags))
    popular = [bundle.prior.tags[t] for t in np.argsort(-usual, kind="stable").tolist()]
    counted = (log.at > -np.inf) & (np.arange(len(log)) < stop)
    is_tagged = np.diff(log.tag_start) > 0
    parts: list[dict[str, Values]] = []
    asked: list[Ints] = []
    for done, one in enumerate(people, 1):
        mine = np.flatnonzero(counted & (log.user_of_post == one))[:LAST]
        if is_tagged[mine].any():
            parts.append(_replayed(log.select(mine), model, popular))
            asked.append(np.stack([mine, np.arange(1, len(mine) + 1)])[:, is_tagged[mine]])
        if on_progress:
            on_progress(done, len(people), "people")
    if not parts:
        raise InputError(
            f"nobody has {LEAST_POSTS} posts with tags", hint="import the posts of more people"
        )
    found = {
        name: {m: np.concatenate([part[name][m] for part in parts]) for m in SHOWN}
        for name in parts[0]
    }
    row, which = np.concatenate(asked, axis=1)
    who = log.user_of_post[row]
    best = max(OWN, key=lambda name: float(found[name]["p@5"].mean()))
    found[BEST_OF_EACH] = _best_of_each(found, who)
    masks = {ALL: row >= 0, "after everything that the model learned from": row >= split.train_stop}
    for low, high in STEPS:
        name = f"post {low} to {high}" if low < high else f"post {low}"
        masks[name] = (which >= low) & (which <= high)
    table: list[Row] = []
    for name, mask in masks.items():
        if mask.any():
            part = {n: {m: v[mask] for m, v in values.items()} for n, values in found.items()}
            table += mean_rows(part, Bootstrap(who[mask]), name, metrics=SHOWN,
                              against=(best, BEST_OF_EACH, STRANGER, NO_TREND))  # fmt: skip
    title = f"From the first post on: {len(who):,} posts of {len(parts)} people"
    about = {"best_baseline": best, "bundle": bundle.manifest.digest}
    return Figures("first-user", title, table, SHOWN, about=about)


def _refuse_what_was_seen(bundle: Bundle, log: PostLog, split: Split, people: Ints) -> None:
    mine = np.flatnonzero(np.isin(log.user_of_post, people)).tolist()
    late = range(split.train_stop, len(log))
    for rows, what in ((mine, "of the people taken out"), (late, "after the train period")):
        n_seen = int(bundle.has_seen([log.post_ids[row] for row in rows]).sum())
        if n_seen:
            raise LeakError(
                f"the model learned from {n_seen} posts {what}",
                hint="leave --bundle out: one is then trained without them",
            )


def _replayed(log: PostLog, model: Model, popular: list[str]) -> dict[str, Values]:
    """Every method over one person's posts, each with what lies before it; tagged ones count."""
    rows = np.flatnonzero(np.diff(log.tag_start) > 0)
    questions = ranking.questions_of(log, rows, width=model.knowledge.encoder_width)
    mine, nobody = model.evidence(log).view(), model.evidence().view()
    ranked = {
        "pixtag": ranking.rank(model, mine, questions, k=RANKS),
        STRANGER: ranking.rank(model, nobody, questions, k=RANKS),
        NO_TREND: ranking.rank(model, mine, questions, k=RANKS, sources=Sources(trend=False)),
    }
    ranked = {name: replace(found, rows=rows) for name, found in ranked.items()}
    for name, ranker in OWN.items():
        found = ranker(log, 0, len(log), RANKS)
        kept = replace(found, rows=rows, tag_ids=found.tag_ids[rows])
        ranked[name] = _filled_up(kept, popular)
    return {name: per_post(*find_hits(log, one)) for name, one in ranked.items()}


def _filled_up(ranked: Rankings, popular: list[str]) -> Rankings:
    """The same lists with popular tags after the person's own."""
    tags = list(dict.fromkeys([*ranked.tags, *popular]))
    index = {tag: i for i, tag in enumerate(tags)}
    ids = np.full((len(ranked.rows), RANKS), len(tags), np.int64)
    for row, own in enumerate(ranked.tag_ids.tolist()):
        kept = [t for t in own if t < len(ranked.tags)]
        more = [index[t] for t in popular[: 2 * RANKS] if index[t] not in set(kept)]
        chosen = [*kept, *more][:RANKS]
        ids[row, : len(chosen)] = chosen
    return Rankings(ranked.rows, ids, np.zeros(ids.shape, np.float32), tags)


def _best_of_each(found: Mapping[str, Values], person: Ints) -> dict[str, Doubles]:
    """The values of the baseline that was best for each person, chosen afterwards."""
    best = {metric: np.zeros(len(person)) for metric in SHOWN}
    for one in np.unique(person):
        mine = person == one
        for metric in SHOWN:
            each = (found[name][metric][mine] for name in OWN)
            best[metric][mine] = max(each, key=lambda values: float(values.mean()))
    return best
