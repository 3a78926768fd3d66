"""What one may pick instead of Pixtag, each as its documentation advises; see `libraries.py`.

A system is fitted on the posts before a position and then asked about later ones in order of time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from itertools import product
from typing import Any

import numpy as np

from pixtag.evaluate.baselines import DECAYS
from pixtag.evaluate.past import posts_before
from pixtag.splits import Split, posts_of_people
from pixtag.types import Doubles, Floats, Ints, PostLog

K = 10
DAY_S = 86_400.0

Ask = Callable[[int], list[int]]
"""Tags for the post at a position of the log, likeliest first; reads only what lies before it."""
Setting = dict[str, Any]


@dataclass(frozen=True)
class System:
    """One row: the module it needs, what is tried on validation, and how it is fitted."""

    module: str
    fit: Callable[[PostLog, Split, int, Setting], Ask]  # log, split, end of the fit, setting
    tried: list[Setting] = field(default_factory=lambda: [{}])


# ------------------------------------------------------------------ the past


class Histories:
    """Tags of a person's last posts before a post's instant."""

    def __init__(self, log: PostLog) -> None:
        self._log, self._posts = log, posts_of_people(log)
        self._before = posts_before(log, 0, len(log))

    def counts(self, row: int, n_posts: int) -> tuple[Ints, Ints]:
        """Tags and their uses in the last `n_posts` posts."""
        mine = self._posts.get(int(self._log.user_of_post[row]), np.zeros(0, np.int64))
        last = mine[: np.searchsorted(mine, self._before[row])][-n_posts:]
        return np.unique(self._log.uses_of(last), return_counts=True)


def popular(log: PostLog, stop: int, n: int = K) -> list[int]:
    """The most used tags of the posts before a position."""
    return [tag for tag, _ in Counter(log.tag_ids[: log.tag_start[stop]].tolist()).most_common(n)]


def filled_up(first: Iterable[int], rest: list[int]) -> list[int]:
    """The first ten of both lists, each once."""
    return list(dict.fromkeys([*first, *rest]))[:K]


# ------------------------------------------------------------------ plain Python


def base_level(log: PostLog, split: Split, stop: int, setting: Setting) -> Ask:
    """Base-level learning as one writes it down: nothing to fit, every post is learned from."""
    used: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    everyone: Counter[int] = Counter()
    known, decay, nobody = 0, setting["decay"], len(log.users)

    def ask(row: int) -> list[int]:
        nonlocal known
        at, user = float(log.at[row]), int(log.user_of_post[row])
        while log.at[known] < at:
            for tag in log.tag_ids[log.tag_start[known] : log.tag_start[known + 1]].tolist():
                used[int(log.user_of_post[known])][tag].append(float(log.at[known]))
                everyone[tag] += 1
            known += 1
        mine = used[user] if user != nobody else {}
        score = {tag: sum((at - t) ** -decay for t in times) for tag, times in mine.items()}
        best = sorted(score, key=score.__getitem__, reverse=True)[:K]
        return best if len(best) == K else filled_up(best, [t for t, _ in everyone.most_common(K)])

    return ask


# ------------------------------------------------------------------ LightGBM

HALF_LIVES_S = (DAY_S, 7 * DAY_S, 30 * DAY_S)
MOST_OWN, MOST_POPULAR = 100, 30
N_EXAMPLES, N_CHECKED, MOST_ROUNDS, PATIENCE = 10_000, 2_000, 300, 30
TREES: Setting = {
    "objective": "lambdarank", "lambdarank_truncation_level": 10, "metric": "ndcg", "eval_at": [5],
    "learning_rate": 0.08, "num_leaves": 31, "min_data_in_leaf": 50, "num_threads": 1, "seed": 0,
    "deterministic": True, "force_row_wise": True, "verbose": -1,
}  # fmt: skip


class Decayed:
    """Uses of keys, their last instant, and uses that halve in a day, a week and a month."""

    def __init__(self, n: int) -> None:
        self.uses = np.zeros(n, np.float32)
        self.first_at, self.last_at = np.full((2, n), -np.inf)
        self._sums = np.zeros((n, len(HALF_LIVES_S)))

    def grow(self, n: int) -> None:
        """Make room for twice as many keys when `n` do not fit."""
        while len(self.uses) < n:
            more = Decayed(len(self.uses))
            for name, values in vars(self).items():
                setattr(self, name, np.concatenate([values, getattr(more, name)]))

    def sums(self, keys: Ints, at: float) -> Doubles:
        """The halving sums as they are at an instant, `[n, 3]`."""
        age_s = np.where(self.uses[keys] > 0, at - self.last_at[keys], 0.0)
        return self._sums[keys] * 0.5 ** (age_s[:, None] / np.array(HALF_LIVES_S))

    def add(self, keys: Ints, at: float) -> None:
        """Count one use of each key."""
        self._sums[keys] = self.sums(keys, at) + 1
        self.first_at[keys] = np.where(self.uses[keys] > 0, self.first_at[keys], at)
        self.uses[keys] += 1
        self.last_at[keys] = at


class Table:
    """Candidates and features that follow the log: a person's tags, and what is popular."""

    def __init__(self, log: PostLog) -> None:
        self._log, self._known = log, 0
        self._tags, self._own = Decayed(len(log.tags)), Decayed(1024)
        self._number: dict[tuple[int, int], int] = {}
        self._pairs: dict[int, list[int]] = defaultdict(list)
        self._tag_of_pair: list[int] = []
        self._posts: Counter[int] = Counter()

    def _follow(self, at: float) -> None:
        log = self._log
        while log.at[self._known] < at:
            row, self._known = self._known, self._known + 1
            user, when = int(log.user_of_post[row]), max(float(log.at[row]), 0.0)
            tags = log.tag_ids[log.tag_start[row] : log.tag_start[row + 1]]
            self._tags.add(tags, when)
            if user == len(log.users):
                continue
            for tag in tags.tolist():
                if (user, tag) not in self._number:
                    self._number[user, tag] = len(self._number)
                    self._pairs[user].append(len(self._tag_of_pair))
                    self._tag_of_pair.append(tag)
            self._own.grow(len(self._number))
            self._own.add(np.array([self._number[user, t] for t in tags.tolist()], np.int64), when)
            self._posts[user] += 1

    def read(self, row: int) -> tuple[Ints, Floats]:
        """Candidates `[C]` for a post, and their features `[C, F]`."""
        log, tags, own = self._log, self._tags, self._own
        at, user = float(log.at[row]), int(log.user_of_post[row])
        self._follow(at)
        pairs = np.array(self._pairs.get(user, []), np.int64)
        if len(pairs) > MOST_OWN:
            kept = own.sums(pairs, at)[:, -1] + 1e-3 * own.uses[pairs]
            pairs = pairs[np.argpartition(-kept, MOST_OWN)[:MOST_OWN]]
        mine = np.array([self._tag_of_pair[p] for p in pairs.tolist()], np.int64)
        lately = tags.sums(np.arange(len(log.tags)), at)[:, 1]
        best = [np.argsort(-s, kind="stable")[:MOST_POPULAR] for s in (lately, tags.uses)]
        others = np.unique(np.concatenate(best))
        others = others[(tags.uses[others] > 0) & ~np.isin(others, mine)]
        ids = np.concatenate([mine, others])
        owned = np.zeros((len(ids), 7), np.float32)
        owned[:, -2:] = np.nan
        if len(pairs):
            latest = own.last_at[pairs].max()
            owned[: len(pairs)] = np.column_stack([
                own.uses[pairs], own.uses[pairs] / self._posts[user], own.sums(pairs, at),
                np.log1p(at - own.last_at[pairs]), own.last_at[pairs] == latest,
            ])  # fmt: skip
        sums = tags.sums(ids, at)
        crowd = np.column_stack([
            np.log1p(tags.uses[ids]), sums, sums[:, 0] / (sums[:, 1] / 7 + 1),
            np.log1p(at - tags.last_at[ids]), np.log1p(at - tags.first_at[ids]),
        ])  # fmt: skip
        whole = np.full((len(ids), 2), [self._posts[user], len(self._pairs.get(user, []))])
        return ids, np.concatenate([owned, crowd, whole], axis=1, dtype=np.float32)


def lightgbm_ranker(log: PostLog, split: Split, stop: int, setting: Setting) -> Ask:
    """LambdaMART over a person's counts and what is popular: fitted on 70 %, stopped on 10 %."""
    lightgbm = import_module("lightgbm")
    table = Table(log)
    start = max(0, split.train_stop - N_EXAMPLES)
    first, last = (
        _examples(log, table, begin, end)
        for begin, end in (
            (start, split.train_stop),
            (max(split.train_stop, split.valid_stop - N_CHECKED), split.valid_stop),
        )
    )
    data = lightgbm.Dataset(first[0], first[1], group=first[2])
    check = data.create_valid(last[0], last[1], group=last[2])
    stopping = lightgbm.early_stopping(PATIENCE, verbose=False)
    trees = lightgbm.train(TREES, data, MOST_ROUNDS, valid_sets=[check], callbacks=[stopping])

    def ask(row: int) -> list[int]:
        ids, features = table.read(row)
        if not len(ids):
            return []
        score = trees.predict(features, num_threads=1)
        return ids[np.argsort(-score, kind="stable")[:K]].tolist()

    return ask


def _examples(log: PostLog, table: Table, start: int, stop: int) -> tuple[Floats, Ints, list[int]]:
    """Features, whether a tag was used, and rows a post, of posts with a hit among candidates."""
    features: list[Floats] = []
    used: list[Ints] = []
    for row in range(start, stop):
        ids, found = table.read(row)
        hit = np.isin(ids, log.tag_ids[log.tag_start[row] : log.tag_start[row + 1]])
        if hit.any():
            features.append(found)
            used.append(hit.astype(np.int64))
    return np.concatenate(features), np.concatenate(used), [*map(len, used)]


# ------------------------------------------------------------------ LensKit and implicit

UNITS: list[Setting] = [
    {"row": row, "n_posts": n} for row, n in product(("person", "post"), (3, 30, 1_000_000))
]
"""Whose tags make a row of the matrix, and how many last posts a question is asked with."""


def _rows_of_use(log: PostLog, stop: int, row: str) -> tuple[Ints, Ints]:
    """Row of the matrix and tag of every use before a position."""
    tags = log.tag_ids[: log.tag_start[stop]]
    posts = log.post_of_use[: len(tags)]
    return (log.person_of_post[posts] if row == "person" else posts), tags


def implicit_model(
    make: Callable[[], Any], *, is_weighted: bool
) -> Callable[[PostLog, Split, int, Setting], Ask]:
    """A model of implicit, asked with the person's latest tags as they are now."""

    def fit(log: PostLog, split: Split, stop: int, setting: Setting) -> Ask:
        sparse = import_module("scipy.sparse")
        weigh = import_module("implicit.nearest_neighbours").bm25_weight
        rows, tags = _rows_of_use(log, stop, setting["row"])
        _, rows = np.unique(rows, return_inverse=True)
        shape = (int(rows.max()) + 1, len(log.tags))
        table = sparse.csr_matrix((np.ones(len(tags), np.float32), (rows, tags)), shape)
        model = make()
        model.fit(
            weigh(table, K1=100, B=0.8).tocsr() if is_weighted else table, show_progress=False
        )
        more = {"recalculate_user": True} if is_weighted else {}
        histories, rest = Histories(log), popular(log, stop)

        def ask(row: int) -> list[int]:
            ids, n = histories.counts(row, setting["n_posts"])
            if not len(ids):
                return rest
            one = sparse.csr_matrix(
                (n.astype(np.float32), ids, np.array([0, len(ids)])), (1, len(log.tags))
            )
            found, score = model.recommend(0, one, N=K, filter_already_liked_items=False, **more)
            return filled_up(found[(found >= 0) & (score > 0)].tolist(), rest)

        return ask

    return fit


def _implicit_als() -> Any:  # noqa: ANN401 - implicit has no types
    als = import_module("implicit.als").AlternatingLeastSquares
    return als(factors=64, regularization=0.05, alpha=2.0, num_threads=1, random_state=0)


def _implicit_bm25() -> Any:  # noqa: ANN401
    return import_module("implicit.nearest_neighbours").BM25Recommender(
        K=100, K1=100, B=0.5, num_threads=1
    )


def lenskit_model(
    scorer: Callable[[PostLog, int, Setting], tuple[Any, Any]],
) -> Callable[[PostLog, Split, int, Setting], Ask]:
    """A scorer of LensKit in its usual pipeline, with tags of the history left in."""

    def fit(log: PostLog, split: Split, stop: int, setting: Setting) -> Ask:
        data = import_module("lenskit.data")
        pipelines = import_module("lenskit.pipeline")
        candidates = import_module("lenskit.basic.candidates").TrainingItemsCandidateSelector
        frames = import_module("pandas")
        rows, tags = _rows_of_use(log, stop, setting.get("row", "person"))
        at = np.repeat(np.maximum(log.at[:stop], 0), np.diff(log.tag_start)[:stop])
        frame = frames.DataFrame({"user_id": rows, "item_id": tags, "timestamp": at})
        frame = frame.drop_duplicates(["user_id", "item_id"]) if "row" in setting else frame
        frame["timestamp"] = frames.to_datetime(frame["timestamp"], unit="s")
        builder = data.DatasetBuilder()
        builder.add_interactions(
            "use", frame, entities=["user", "item"], missing="insert", allow_repeats=True,
            default=True,
        )  # fmt: skip
        made = pipelines.RecPipelineBuilder()
        made.scorer(*scorer(log, stop, setting))
        made.candidate_selector(candidates, {"exclude": None})
        made.ranker(n=K)
        pipeline = made.build()
        pipeline.train(builder.build())
        histories, rest, trained = Histories(log), popular(log, stop), np.unique(tags)

        def ask(row: int) -> list[int]:
            ids, _ = histories.counts(row, setting.get("n_posts", 1))
            ids = ids[np.isin(ids, trained)]  # LensKit's neighbours panic at others
            if not len(ids):
                return rest
            query = data.RecQuery(history_items=data.ItemList(item_ids=ids))
            return filled_up(pipeline.run("recommender", query=query, n=K).ids().tolist(), rest)

        return ask

    return fit


def _lenskit_popular(log: PostLog, stop: int, setting: Setting) -> tuple[Any, Any]:
    popularity = import_module("lenskit.basic.popularity")
    since = datetime.fromtimestamp(float(log.at[stop - 1]) - setting["days"] * DAY_S, UTC)
    cutoff = since.replace(tzinfo=None)
    return popularity.TimeBoundedPopScore, popularity.TimeBoundedPopConfig(
        cutoff=cutoff, score="count"
    )


def _lenskit_knn(log: PostLog, stop: int, setting: Setting) -> tuple[Any, Any]:
    knn = import_module("lenskit.knn.item")
    return knn.ItemKNNScorer, knn.ItemKNNConfig(max_nbrs=20, save_nbrs=500, feedback="implicit")


def _lenskit_als(log: PostLog, stop: int, setting: Setting) -> tuple[Any, Any]:
    als = import_module("lenskit.als")
    return als.ImplicitMFScorer, als.ImplicitMFConfig(embedding_size=64)


# ------------------------------------------------------------------ the table

SYSTEMS: dict[str, System] = {
    "base level (Python)": System("math", base_level, [{"decay": d} for d in DECAYS]),
    "LightGBM ranker": System("lightgbm", lightgbm_ranker),
    "LensKit popularity": System(
        "lenskit", lenskit_model(_lenskit_popular), [{"days": d} for d in (1, 7, 30, 20_000)]
    ),
    "LensKit item-kNN": System("lenskit", lenskit_model(_lenskit_knn), UNITS),
    "LensKit implicit ALS": System("lenskit", lenskit_model(_lenskit_als), UNITS),
    "implicit ALS": System("implicit", implicit_model(_implicit_als, is_weighted=True), UNITS),
    "implicit BM25": System("implicit", implicit_model(_implicit_bm25, is_weighted=False), UNITS),
}
