"""What the classic leak is worth: the same methods on the same posts, honest and leaky.

    python -m experiments.leak_worth --store world.sqlite --bundle my-bundle
    python -m experiments.leak_worth --store institutions.sqlite

The validation period of a store is measured, never the test period. A person's history is

    honest      their earlier posts
    all others  their posts before and after, but not the one asked about: a random split
    everything  all of their posts, the one asked about among them: what Pixtag's ancestor counted

For the network, which takes a history as it comes, "everything" means a copy of each measured
post (its tags, no photo) at a random time of the train period. The leaky figures are labelled so
in the JSON file; they say nothing about anybody's next post.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from experiments.harness import Task, arguments, finish, ranker_of, run

from pixtag.bundle import load_bundle
from pixtag.evaluate import Comparison, Figures, Row, check_bundle, compare
from pixtag.evaluate.baselines import popularity
from pixtag.evaluate.past import Ranker
from pixtag.evaluate.tables import ALL, means
from pixtag.splits import Split, is_repeated
from pixtag.types import Doubles, Ints, Post, PostLog, Rankings

SEED = 20_260_107
HOUR_S = 3600.0
SHOWN = ("p@1", "p@5", "r@5")
History = Literal["honest", "all others", "everything"]
HISTORIES: tuple[History, ...] = ("honest", "all others", "everything")

Weigh = Callable[[Doubles], Doubles]
"""Weight of each use by its distance in time, seconds."""

METHODS: dict[str, Weigh] = {
    "most used": np.ones_like,
    "base level, d = 0.5": lambda apart_s: np.maximum(apart_s, HOUR_S) ** -0.5,
    "base level, d = 1": lambda apart_s: np.maximum(apart_s, HOUR_S) ** -1.0,
}


def by_history(weigh: Weigh, history: History) -> Ranker:
    """Rank a person's tags by their weighted uses, then what is popular among earlier posts."""

    def rank(log: PostLog, start: int, stop: int, k: int) -> Rankings:
        ranked = popularity(log, start, stop, k)
        lists = ranked.tag_ids.copy()
        uses_of = _uses_by_person(log, stop)
        for place, row in enumerate(range(start, stop)):
            user = int(log.user_of_post[row])
            if user not in uses_of:
                continue
            tag, post = uses_of[user]
            if history != "everything":
                kept = log.at[post] < log.at[row] if history == "honest" else post != row
                tag, post = tag[kept], post[kept]
            own, local = np.unique(tag, return_inverse=True)
            total = np.bincount(local, weights=weigh(np.abs(log.at[post] - log.at[row])))
            best = own[np.argsort(-total, kind="stable")]
            others = lists[place][~np.isin(lists[place], own)]
            lists[place] = np.concatenate([best, others])[:k]
        return Rankings(ranked.rows, lists, ranked.probs, ranked.tags)

    return rank


def _uses_by_person(log: PostLog, stop: int) -> dict[int, tuple[Ints, Ints]]:
    """Tag and post of each person's timed uses before a position, where the test period begins."""
    post = log.post_of_use
    user = log.user_of_post[post]
    counted = np.flatnonzero((post >= log.n_untimed) & (post < stop) & (user < len(log.users)))
    order = counted[np.argsort(user[counted], kind="stable")]
    people, first = np.unique(user[order], return_index=True)
    parts = np.split(order, first[1:])
    return {u: (log.tag_ids[p], post[p]) for u, p in zip(people.tolist(), parts, strict=True)}


def with_copies(log: PostLog, split: Split) -> PostLog:
    """The posts before the test period, and a copy of each that is measured in the train period."""
    rng = np.random.default_rng(SEED)
    users = (*log.users, None)
    start, stop = split.bounds("validation")
    first, last = float(log.at[log.n_untimed]), float(log.at[start - 1])

    def post(name: str, row: int, at: float) -> Post:
        return Post(name, users[log.user_of_post[row]], at, tuple(log.tags_of(row)))

    posts = [post(log.post_ids[i], i, float(log.at[i])) for i in range(log.n_untimed, stop)]
    posts += [
        post(f"leak {log.post_ids[i]}", i, rng.uniform(first, last)) for i in range(start, stop)
    ]
    embeddings = {log.post_ids[i]: log.embeddings[i] for i in range(stop) if log.has_photo[i]}
    return PostLog.of(posts, embeddings)


def leaky(ranker: Ranker, split: Split) -> Ranker:
    """The same ranker with a copy of each measured post in everybody's past."""

    def rank(log: PostLog, start: int, stop: int, k: int) -> Rankings:
        other = with_copies(log, split)
        ranked = ranker(other, len(other) - (stop - start), len(other), k)
        place = {other.post_ids[row]: i for i, row in enumerate(ranked.rows.tolist())}
        order = [place[log.post_ids[row]] for row in range(start, stop)]
        return Rankings(
            np.arange(start, stop), ranked.tag_ids[order], ranked.probs[order], ranked.tags
        )

    return rank


def rows_of(compared: Comparison, segment: str) -> list[Row]:
    """Each leaky history's means, and what it adds to the honest one."""
    rows: list[Row] = []
    for name in compared.methods:
        method, _, history = name.partition(": ")
        names = [name] if history == "honest" else [name, f"{method}: honest"]
        pair = {n: compared.methods[n] for n in names}
        rows += means(replace(compared, methods=pair), segment, metrics=SHOWN)
    return list({(r.segment, r.method, r.metric, r.kind, r.other): r for r in rows}.values())


def main() -> None:
    """Measure every method with every history."""
    parser = arguments(__doc__)
    parser.add_argument("--bundle", type=Path, help="trained on nothing after the train period")
    parser.add_argument("--json", type=Path, default=Path("out/leak-worth.json"))
    given = parser.parse_args()
    task = Task.of(given.store, "validation", Path("out"))
    rankers: dict[str, Ranker] = {
        f"{name}: {history}": by_history(weigh, history)
        for name, weigh in METHODS.items()
        for history in HISTORIES
    }
    start, stop = task.split.bounds("validation")
    if given.bundle:
        bundle = load_bundle(given.bundle)
        check_bundle(bundle, task.log, np.arange(start, stop))
        rankers["pixtag: honest"] = ranker_of(bundle)
        rankers["pixtag: everything"] = leaky(ranker_of(bundle), task.split)
    compared = compare(task.log, start, stop, rankers)
    fresh = ~is_repeated(task.log)[compared.rows]
    rows = rows_of(compared, ALL) + rows_of(compared.select(fresh), "fresh set")
    title = f"{given.store.name}, validation: {len(compared.rows):,} posts"
    finish(Figures("leak-worth", title, rows, SHOWN, "r@5"), given.json)


if __name__ == "__main__":
    run(main)
