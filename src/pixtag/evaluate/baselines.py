"""Baselines, written on arrays; each sees only what lies before the time of its query.

Shapes:
    B: posts ranked. K: ranks. T: tags. H: uses in a history. E: uses in the log. D: embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from zlib import crc32

import numpy as np

from pixtag.errors import InputError
from pixtag.evaluate.past import Ranker, Scores, Uses, posts_before, ranker_of, totals_before
from pixtag.splits import occurrence, posts_of_people, posts_of_tags
from pixtag.types import Bools, Doubles, Floats, Ints, PostLog

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
PUBLIC_PEOPLE = 3
"""People who must have used a tag before it is offered to others."""

# ------------------------------------------------------------------ everyone's tags


def random_tags(*, seed: int = 0) -> Ranker:
    """Rank the tags seen so far at random: the floor."""

    def each(log: PostLog, start: int, stop: int, k: int) -> Scores:
        n_seen = np.maximum.accumulate(np.append(log.tag_ids, 0)) + 1
        for row, before in enumerate(posts_before(log, start, stop), start):
            uses = int(log.tag_start[before])
            # Seeded by name: the position of a post depends on what else the log holds.
            name = log.post_ids[row].encode(errors="surrogatepass")
            n = int(n_seen[uses - 1]) if uses else 0
            drawn = np.random.default_rng((seed, crc32(name))).choice(n, min(n, k), replace=False)
            yield drawn, -np.arange(len(drawn), dtype=np.float64)

    return ranker_of(each, fills_up=False)


popularity = ranker_of(
    lambda log, start, stop, k: repeat((np.zeros(0, np.int64), np.zeros(0)), stop - start)
)
"""Rank tags by all uses so far, the same list for everyone."""


def popularity_within(window_s: float) -> Ranker:
    """Rank tags by their uses in the last seconds, ties and the rest by all uses."""

    def each(log: PostLog, start: int, stop: int, k: int) -> Scores:
        since = log.tag_start[np.searchsorted(log.at, log.at[start:stop] - window_s, side="left")]
        for first, (until, totals) in zip(since, totals_before(log, start, stop), strict=True):
            ids, n = np.unique(log.tag_ids[first:until], return_counts=True)
            yield ids, n + totals[ids] / (totals[ids] + 1.0) * 0.999

    return ranker_of(each)


def popularity_of_others(window_s: float) -> Ranker:
    """Rank tags by how many other people used them in the last seconds.

    The asker's own posts are left out of everything, and so are tags that fewer than three people
    have used; a post of nobody is a person of its own. Ties and the rest go by other people's uses
    of all time.
    """

    def each(log: PostLog, start: int, stop: int, k: int) -> Scores:
        n_tags, uses = len(log.tags), Uses(log)
        person, previous, public = _persons(log)
        askers = log.person_of_post[start:stop]
        since = log.tag_start[np.searchsorted(log.at, log.at[start:stop] - window_s, side="left")]
        for row, (until, totals) in enumerate(totals_before(log, start, stop)):
            own, _ = uses.of(int(log.user_of_post[start + row]), before=log.at[start + row])
            others = totals - np.bincount(own, minlength=n_tags)
            others[public >= until] = 0
            window = slice(since[row], until)
            # The first use of a tag by its person within the window.
            counted = (previous[window] < since[row]) & (person[window] != askers[row])
            lately = np.bincount(log.tag_ids[window][counted], minlength=n_tags)
            ids = np.flatnonzero(others > 0)
            yield ids, lately[ids] + others[ids] / (others[ids] + 1.0) * 0.999

    return ranker_of(each, fills_up=False)


def _persons(log: PostLog) -> tuple[Ints, Ints, Ints]:
    """Person and previous use by them of each use, `[E]`; use that made each tag public, `[T]`."""
    n_uses, n_tags = len(log.tag_ids), len(log.tags)
    person = log.person_of_post[log.post_of_use]
    key = person * max(n_tags, 1) + log.tag_ids
    order = np.argsort(key, kind="stable")
    previous = np.full(n_uses, -1, np.int64)
    same = key[order][1:] == key[order][:-1]
    previous[order[1:][same]] = order[:-1][same]
    firsts = np.flatnonzero(previous < 0)
    third = firsts[occurrence(log.tag_ids[firsts]) == PUBLIC_PEOPLE - 1]
    public = np.full(n_tags, n_uses, np.int64)
    public[log.tag_ids[third]] = third
    return person, previous, public


# ------------------------------------------------------------------ the person's own tags

HistoryScore = Callable[[Ints, Doubles, int], Doubles]
"""Scores `[n]`, above 0, from a person's uses: local tag `[H]`, age in seconds `[H]`, n tags."""


def by_history(score: HistoryScore, *, popularity_share: float = 0.0) -> Ranker:
    """Rank a person's own tags by some score of their uses, then the most popular others.

    Args:
        score: From the uses, oldest first, to a score above 0 for each tag.
        popularity_share: Weight of a tag's share of everyone's uses, against its share of the
            summed scores; 0 ranks own tags first and lets popularity only fill up.
    """

    def each(log: PostLog, start: int, stop: int, k: int) -> Scores:
        uses = Uses(log)
        for row, (until, totals) in enumerate(totals_before(log, start, stop), start):
            at = float(log.at[row])
            tag, used_at = uses.of(int(log.user_of_post[row]), before=at)
            ids, local = np.unique(tag, return_inverse=True)
            scores = score(local, at - used_at, len(ids))
            if popularity_share:
                blend = popularity_share * totals / max(until, 1)
                blend[ids] += (1 - popularity_share) * scores / max(scores.sum(), 1e-300)
                ids = np.flatnonzero(blend)
                scores = blend[ids]
            yield ids[scores > 0], scores[scores > 0]

    return ranker_of(each)


def _latest(local: Ints, age_s: Doubles, n: int) -> Doubles:
    """Minus the age of the latest use of each tag; uses come oldest first."""
    latest = np.full(n, -np.inf)
    latest[local] = -age_s
    return latest


def _ordered(first: Ints | Doubles, second: Ints | Doubles) -> Doubles:
    """Ranks that order by `first`, ties by `second`; equal pairs share a rank; from 1."""
    order = np.lexsort((second, first))
    step = (np.diff(first[order]) != 0) | (np.diff(second[order]) != 0)
    ranks = np.empty(len(order))
    ranks[order] = np.concatenate([[1.0], 1 + np.cumsum(step)])[: len(order)]
    return ranks


most_used = by_history(
    lambda tag, age, n: _ordered(np.bincount(tag, minlength=n), _latest(tag, age, n))
)
"""Rank a person's tags by how often they used them, ties by the latest use."""

most_recent = by_history(
    lambda tag, age, n: _ordered(_latest(tag, age, n), np.bincount(tag, minlength=n))
)
"""Rank a person's tags by when they last used them, ties by how often."""


def base_level(decay: float, *, popularity_share: float = 0.0) -> Ranker:
    """Rank a person's tags by base-level learning.

    The summed uses of a tag, each discounted by a power law of its age (Anderson and Schooler
    1991; Kowald et al. 2017, whose framework TagRec uses decay 1.7; 0.5 is the common default).

    Args:
        decay: Exponent of the power law, unitless.
        popularity_share: Weight of popularity in the blend; TagRec's BLL+MP has one half.
    """
    return by_history(
        lambda tag, age_s, n: np.bincount(tag, weights=age_s**-decay, minlength=n).astype(float),
        popularity_share=popularity_share,
    )


# ------------------------------------------------------------------ what goes together


def co_occurrence(n_posts: int = 3, *, own_share: float = 1.0) -> Ranker:
    """Rank tags by how often they stand beside the tags of the person's last posts.

    A tag's score is the sum over those of the share of their posts, by anyone before the query,
    that carry it too (Sigurbjörnsson and van Zwol 2008, "sum").

    Args:
        n_posts: How many last posts give tags, each as often as it was used there.
        own_share: What a given tag's co-occurrence with itself counts; 0 suggests others first.
    """

    def each(log: PostLog, start: int, stop: int, k: int) -> Scores:
        counts, own = _PairCounts(log), posts_of_people(log)
        total = np.zeros(len(log.tags))
        for row, before in enumerate(posts_before(log, start, stop).tolist(), start):
            mine = own.get(int(log.user_of_post[row]), np.zeros(0, np.int64))
            last = mine[: np.searchsorted(mine, before)][-n_posts:]
            for tag, n in zip(*np.unique(log.uses_of(last), return_counts=True), strict=True):
                ids, beside, of_posts = counts.beside(int(tag), before)
                weight = beside.astype(np.float64)
                weight[np.searchsorted(ids, tag)] *= own_share
                total[ids] += n * weight / of_posts
            ids = np.flatnonzero(total)
            yield ids, total[ids]
            total[ids] = 0.0

    return ranker_of(each)


class _PairCounts:
    """How many posts carry each pair of tags, counted further as the queries move on in time."""

    def __init__(self, log: PostLog) -> None:
        self._log, self._posts = log, posts_of_tags(log)
        self._known: dict[int, tuple[Ints, Ints, int]] = {}

    def beside(self, tag: int, before: int) -> tuple[Ints, Ints, int]:
        """Tags beside one in posts at positions below `before`, their posts, and its posts."""
        posts = self._posts[tag]
        stop = int(np.searchsorted(posts, before))
        nothing = np.zeros(0, np.int64)
        ids, counts, done = self._known.get(tag, (nothing, nothing, 0))
        if stop > done:
            more, n = np.unique(self._log.uses_of(posts[done:stop]), return_counts=True)
            fresh = more[~np.isin(more, ids)]
            place = np.searchsorted(ids, fresh)
            ids, counts = np.insert(ids, place, fresh), np.insert(counts, place, 0)
            counts[np.searchsorted(ids, more)] += n
            self._known[tag] = ids, counts, stop
        return ids, counts, stop


# ------------------------------------------------------------------ the photo alone


def image_neighbours(n_neighbours: int = 40) -> Ranker:
    """Rank tags by the earlier photos of everyone that look most alike.

    Each of the nearest by cosine, after the mean embedding is taken off, votes for its tags with
    its similarity. The rest, and posts without a photo, get the most popular tags.
    """

    def each(log: PostLog, start: int, stop: int, k: int) -> Scores:
        _need_embeddings(log, "image neighbours")
        stops = posts_before(log, start, stop)
        # The centre is fixed before the first query, so that no later photo moves it.
        seen = log.embeddings[: stops[0]][log.has_photo[: stops[0]]] if len(stops) else []
        centre = np.mean(seen, axis=0, dtype=np.float32) if len(seen) else np.float32(0)
        unit = log.embeddings[:stop].astype(np.float32) - centre
        unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), np.float32(1e-12))
        unit[~log.has_photo[:stop]] = 0
        for begin in range(start, stop, 256):
            end = min(begin + 256, stop)
            similar = unit[begin:end] @ unit[: stops[end - 1 - start]].T
            for row in range(begin, end):
                yield _votes(log, similar[row - begin, : stops[row - start]], n_neighbours)

    return ranker_of(each)


def _votes(log: PostLog, similar: Floats, n_neighbours: int) -> tuple[Ints, Doubles]:
    n = min(n_neighbours, len(similar))
    nearest = np.argpartition(-similar, n - 1)[:n] if n else np.zeros(0, np.int64)
    nearest = np.sort(nearest[similar[nearest] > 0])
    lengths = log.tag_start[nearest + 1] - log.tag_start[nearest]
    weights = np.repeat(similar[nearest].astype(np.float64), lengths)
    ids, local = np.unique(log.uses_of(nearest), return_inverse=True)
    return ids, np.bincount(local, weights=weights, minlength=len(ids)).astype(np.float64)


def _need_embeddings(log: PostLog, what: str) -> None:
    if not log.embeddings.shape[1]:
        raise InputError(
            f"{what} need photos, and the log holds no embeddings",
            hint="import posts with photos, or leave this method out",
        )


def linear_probe(
    log: PostLog, train_stop: int, *, seed: int = 0, n_epochs: int = 5,
    learning_rate: float = 3e-4, min_uses: int = 3,
) -> Ranker:  # fmt: skip
    """Fit a softmax regression from embedding to tags on the posts before `train_stop`.

    The target of a post is spread evenly over its tags, which trains better than a sigmoid for
    each tag (Mahajan et al. 2018); tags with fewer than `min_uses` are not learned. Posts without a
    photo are ranked by popularity.

    Raises:
        InputError: There are no embeddings.
    """
    _need_embeddings(log, "linear probes")
    counts = np.bincount(log.tag_ids[: log.tag_start[train_stop]], minlength=len(log.tags))
    known = np.flatnonzero(counts >= min_uses)
    rows = np.flatnonzero(log.has_photo[:train_stop] & (np.diff(log.tag_start)[:train_stop] > 0))
    if not len(rows) or not len(known):
        return popularity
    x = log.embeddings[rows].astype(np.float32)
    centre, spread = x.mean(axis=0), x.std(axis=0) + np.float32(1e-3)
    target = np.zeros((len(rows), len(log.tags)), np.float32)
    place = np.repeat(np.arange(len(rows)), log.tag_start[rows + 1] - log.tag_start[rows])
    target[place, log.uses_of(rows)] = 1
    target = target[:, known]
    weights = fit_linear(
        (x - centre) / spread, target / np.maximum(target.sum(axis=1, keepdims=True), 1),
        link="softmax", seed=seed, n_epochs=n_epochs, learning_rate=learning_rate, batch=256,
        l2=1e-4,
    )  # fmt: skip

    def each(log: PostLog, start: int, stop: int, k: int) -> Scores:
        nothing = np.zeros(0, np.int64), np.zeros(0)
        for row in range(start, stop):
            scaled = (log.embeddings[row].astype(np.float32) - centre) / spread
            scores = (scaled @ weights[:-1] + weights[-1]).astype(np.float64)
            yield (known, scores) if log.has_photo[row] else nothing

    return ranker_of(each)


def fit_linear(
    x: Floats, target: Floats | Bools, *, link: str, seed: int, n_epochs: int,
    learning_rate: float, batch: int, l2: float,
) -> Floats:  # fmt: skip
    """Fit softmax or sigmoid regressions by Adam (Kingma and Ba 2015).

    From inputs `x` `[n, D]` to the chance `target` of each output `[n, T]`. `link` is `softmax`
    over all outputs, with a learning rate that falls to 0, or `sigmoid`; `l2` the weight decay.

    Returns:
        Weights `[D + 1, T]`, the last row the bias.
    """
    x, target = np.hstack([x, np.ones((len(x), 1), np.float32)]), target.astype(np.float32)
    weights = np.zeros((x.shape[1], target.shape[1]), np.float32)
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    rng, step, n_steps = np.random.default_rng(seed), 0, n_epochs * -(-len(x) // batch)
    for _ in range(n_epochs):
        order = rng.permutation(len(x))
        for begin in range(0, len(x), batch):
            rows = order[begin : begin + batch]
            logits = x[rows] @ weights
            rate = learning_rate
            if link == "softmax":
                probs = np.exp(logits - logits.max(axis=1, keepdims=True))
                probs *= target[rows].sum(axis=1, keepdims=True) / probs.sum(axis=1, keepdims=True)
                rate *= 1 - step / n_steps
            else:
                probs = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
            gradient = x[rows].T @ (probs - target[rows]) / len(rows) + np.float32(l2) * weights
            step += 1
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient**2 - second)
            rate *= np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            weights -= np.float32(rate) * first / (np.sqrt(second) + np.float32(1e-8))
    return weights


# ------------------------------------------------------------------ the table

DECAYS = (0.5, 1.0, 1.7)


@dataclass(frozen=True)
class Baseline:
    """How a baseline is made, and what is tried for each of its settings on validation.

    The first value stands where there is nothing to choose on. Settings are chosen one after the
    other, those that are not chosen yet at their defaults.
    """

    make: Callable[..., Ranker]
    tried: Mapping[str, Sequence[float]] = field(default_factory=dict[str, Sequence[float]])
    is_seeded: bool = False
    is_fitted: bool = False  # made from a log and the end of its train period, too
    needs_photos: bool = False


BASELINES: dict[str, Baseline] = {
    "random": Baseline(random_tags, is_seeded=True),
    "popularity": Baseline(lambda: popularity),
    "popularity_day": Baseline(lambda: popularity_within(DAY_S)),
    "popularity_week": Baseline(lambda: popularity_within(WEEK_S)),
    "popularity_day_others": Baseline(lambda: popularity_of_others(DAY_S)),
    "popularity_week_others": Baseline(lambda: popularity_of_others(WEEK_S)),
    "most_used": Baseline(lambda: most_used),
    "most_recent": Baseline(lambda: most_recent),
    "base_level": Baseline(base_level, {"decay": DECAYS}),
    "base_level_popularity": Baseline(
        base_level, {"decay": DECAYS, "popularity_share": (0.5, 0.25, 0.1, 0.05)}
    ),
    "co_occurrence": Baseline(co_occurrence, {"n_posts": (3, 1, 10), "own_share": (1.0, 0.5, 0.0)}),
    "image_neighbours": Baseline(
        image_neighbours, {"n_neighbours": (40, 20, 80, 160, 320)}, needs_photos=True
    ),
    "linear_probe": Baseline(
        linear_probe, {"n_epochs": (5, 3, 8)}, is_seeded=True, is_fitted=True, needs_photos=True
    ),
}
