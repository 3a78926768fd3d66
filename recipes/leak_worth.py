"""What the classic leak is worth: the same methods on the same posts, honest and leaky.

    python recipes/leak_worth.py --store world.sqlite --bundle my-bundle
    python recipes/leak_worth.py --store institutions.sqlite

The validation period of a store is measured, never the test period. A person's history is

    honest      their earlier posts
    all others  their posts before and after, but not the one asked about: a random split
    everything  all of their posts, the one asked about among them: what Pixtag's ancestor counted

For the network, which takes a history as it comes, "everything" means a copy of each measured
post (its tags, no photo) at a random time of the train period. The leaky figures are labelled so
in the JSON file; they say nothing about anybody's next post.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from pixtag.baselines import Ranker, popularity
from pixtag.bundle import load_bundle
from pixtag.cli import output
from pixtag.encoder import load_encoder
from pixtag.evaluate import check_bundle
from pixtag.evaluate.protocol import Comparison, compare, people_of
from pixtag.metrics import Bootstrap
from pixtag.predictor import Predictor
from pixtag.splits import Split, temporal_split
from pixtag.store import Store
from pixtag.types import Bools, Doubles, Ints, Post, PostLog, Rankings

ROOT = Path(__file__).parent.parent
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
    post = np.repeat(np.arange(len(log)), np.diff(log.tag_start))
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


def network(predictor: Predictor, split: Split, *, is_leaky: bool) -> Ranker:
    """Pixtag with an honest or a leaky history, the same weights."""

    def rank(log: PostLog, start: int, stop: int, k: int) -> Rankings:
        if not is_leaky:
            return predictor.rank(log, start, stop, k=k)
        other = with_copies(log, split)
        first = len(other) - (stop - start)
        ranked = predictor.rank(other, first, len(other), k=k)
        place = {other.post_ids[row]: i for i, row in enumerate(ranked.rows.tolist())}
        order = [place[log.post_ids[row]] for row in range(start, stop)]
        return Rankings(
            np.arange(start, stop), ranked.tag_ids[order], ranked.probs[order], ranked.tags
        )

    return rank


def is_fresh(log: PostLog, rows: Ints) -> Bools:
    """Whether a post's person never used its very set of tags before, `[B]`."""
    seen: set[tuple[int, frozenset[int]]] = set()
    fresh = np.zeros(len(log), np.bool_)
    for row in range(int(rows.max()) + 1):
        tags = frozenset(log.tag_ids[log.tag_start[row] : log.tag_start[row + 1]].tolist())
        key = (int(log.user_of_post[row]), tags)
        fresh[row] = key not in seen
        seen.add(key)
    return fresh[rows]


def figures_of(compared: Comparison) -> dict[str, dict]:
    """Each method's means by history, and what the leak adds, with intervals over people."""
    bootstrap = Bootstrap(people_of(compared.log, compared.rows))
    found: dict[str, dict] = {}
    for name, scored in compared.methods.items():
        method, _, history = name.partition(": ")
        honest = compared.methods[f"{method}: honest"]
        found[name] = {
            "is_leaky": history != "honest",
            **{m: bootstrap.over_posts(scored.values[m]).as_dict() for m in SHOWN},
            "added": {
                m: bootstrap.over_posts(scored.values[m] - honest.values[m]).as_dict()
                for m in SHOWN
            },
        }
    return found


def show(figures: dict[str, dict], title: str) -> None:
    """Print one table."""

    def added(f: dict[str, float]) -> str:
        return f"{f['mean']:+.3f} [{f['low']:.3f}, {f['high']:.3f}]"

    output.print_table(
        {"method: history": "left", **dict.fromkeys(SHOWN, "right"), "leak adds to r@5": "right"},
        [
            [name, *(f"{v[m]['mean']:.3f}" for m in SHOWN),
             added(v["added"]["r@5"]) if v["is_leaky"] else ""]
            for name, v in figures.items()
        ],
        title=title,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, help="trained on nothing after the train period")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with Store.open(given.store, read_only=True) as opened:
        log = opened.log(load_encoder().digest)
    split = temporal_split(log)
    start, stop = split.bounds("validation")
    rankers: dict[str, Ranker] = {
        f"{name}: {history}": by_history(weigh, history)
        for name, weigh in METHODS.items()
        for history in HISTORIES
    }
    if given.bundle:
        bundle = load_bundle(given.bundle)
        check_bundle(bundle, log, np.arange(start, stop))
        predictor = Predictor(bundle)
        rankers["pixtag: honest"] = network(predictor, split, is_leaky=False)
        rankers["pixtag: everything"] = network(predictor, split, is_leaky=True)
    with output.progress("measuring", unit="methods") as bar:
        compared = compare(
            log, start, stop, rankers, on_progress=lambda done, n, name: bar.update(done, n, name)
        )
    fresh = is_fresh(log, compared.rows)
    found: dict[str, object] = {"store": given.store.name, "period": "validation"}
    for key, part in (("all", compared), ("fresh sets", compared.select(fresh))):
        found[key] = figures = figures_of(part)
        show(figures, f"{given.store.name}, validation, {key}: {len(part.rows):,} posts")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        output.say(f"wrote all figures to {given.json}")


if __name__ == "__main__":
    main()
