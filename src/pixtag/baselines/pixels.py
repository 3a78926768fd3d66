"""Reference methods that look at the photo alone."""

from __future__ import annotations

import numpy as np

from pixtag.baselines.past import (
    Ranker,
    as_rankings,
    fill_up,
    popular_rows,
    posts_before,
    put_best,
)
from pixtag.errors import InputError
from pixtag.types import Doubles, Floats, Ints, PostLog, Rankings


def image_neighbours(n_neighbours: int = 40) -> Ranker:
    """Rank tags by the earlier photos of everyone that look most alike.

    Each of the nearest photos by cosine, after the mean embedding is taken off, votes for its
    tags with its similarity. The rest, and posts without a photo, get the most popular tags.

    Args:
        n_neighbours: How many photos vote.
    """

    def rank(log: PostLog, start: int, stop: int, k: int) -> Rankings:
        _need_embeddings(log, "image neighbours")
        ranked = np.full((stop - start, k), len(log.tags), np.int64)
        popular = popular_rows(log, start, stop, k)
        stops = posts_before(log, start, stop)
        # The centre is fixed before the first query, so that no later photo moves it.
        seen = log.embeddings[: stops[0]][log.has_photo[: stops[0]]] if len(stops) else []
        centre = np.mean(seen, axis=0, dtype=np.float32) if len(seen) else np.float32(0)
        unit = _unit(log.embeddings[:stop].astype(np.float32) - centre)
        unit[~log.has_photo[:stop]] = 0
        for begin in range(start, stop, 256):
            end = min(begin + 256, stop)
            similar = unit[begin:end] @ unit[: stops[end - 1 - start]].T
            for row in range(begin, end):
                if log.has_photo[row]:
                    near = similar[row - begin, : stops[row - start]]
                    ids, scores = _votes(log, near, n_neighbours)
                    put_best(ranked[row - start], ids, scores)
        for row in range(stop - start):
            fill_up(ranked[row], popular[row], len(log.tags))
        return as_rankings(log, start, ranked)

    return rank


def _votes(log: PostLog, similar: Floats, n_neighbours: int) -> tuple[Ints, Doubles]:
    n = min(n_neighbours, len(similar))
    nearest = np.argpartition(-similar, n - 1)[:n] if n else np.zeros(0, np.int64)
    nearest = np.sort(nearest[similar[nearest] > 0])
    uses = [log.tag_ids[log.tag_start[i] : log.tag_start[i + 1]] for i in nearest]
    if not uses:
        return np.zeros(0, np.int64), np.zeros(0)
    weights = np.repeat(similar[nearest].astype(np.float64), [len(u) for u in uses])
    ids, local = np.unique(np.concatenate(uses), return_inverse=True)
    return ids, np.bincount(local, weights=weights).astype(np.float64)


def _need_embeddings(log: PostLog, what: str) -> None:
    if not log.embeddings.shape[1]:
        raise InputError(
            f"{what} need photos, and the log holds no embeddings",
            hint="import posts with photos, or leave this method out",
        )


def _unit(rows: Floats) -> Floats:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))


def linear_probe(
    log: PostLog,
    train_stop: int,
    *,
    seed: int = 0,
    n_epochs: int = 5,
    learning_rate: float = 3e-4,
    min_uses: int = 3,
) -> Ranker:
    """Fit a softmax regression from embedding to tags on the training posts.

    The target of a post is spread evenly over its tags, which trains better than a sigmoid for
    each tag (Mahajan et al. 2018). The weights stay as they are over the test period.

    Args:
        log: The log to fit on.
        train_stop: Only posts before this position are read.
        seed: Decides the order of the posts.
        n_epochs: Passes over them.
        learning_rate: Of Adam.
        min_uses: Tags used less often in training are not learned.

    Returns:
        The ranker; it ranks by popularity when nothing could be learned, and for posts without a
        photo.

    Raises:
        InputError: There are no embeddings.
    """
    _need_embeddings(log, "linear probes")
    counts = np.bincount(log.tag_ids[: log.tag_start[train_stop]], minlength=len(log.tags))
    known = np.flatnonzero(counts >= min_uses)
    rows = np.flatnonzero(log.has_photo[:train_stop] & (np.diff(log.tag_start)[:train_stop] > 0))
    if not len(rows) or not len(known):
        return lambda log, start, stop, k: as_rankings(
            log, start, popular_rows(log, start, stop, k)
        )
    x = log.embeddings[rows].astype(np.float32)
    centre, spread = x.mean(axis=0), x.std(axis=0) + np.float32(1e-3)
    weights = _fit_softmax(
        (x - centre) / spread, _targets(log, rows, known), seed, n_epochs, learning_rate
    )

    def rank(log: PostLog, start: int, stop: int, k: int) -> Rankings:
        ranked = popular_rows(log, start, stop, k)
        for begin in range(start, stop, 1024):
            end = min(begin + 1024, stop)
            scaled = (log.embeddings[begin:end].astype(np.float32) - centre) / spread
            logits = np.hstack([scaled, np.ones((end - begin, 1), np.float32)]) @ weights
            for row in np.flatnonzero(log.has_photo[begin:end]):
                ranked[begin - start + row] = len(log.tags)
                put_best(ranked[begin - start + row], known, logits[row].astype(np.float64))
        return as_rankings(log, start, ranked)

    return rank


def _targets(log: PostLog, rows: Ints, known: Ints) -> Floats:
    """Even shares over the known tags of each post, `[n, T]`."""
    column = np.full(len(log.tags), len(known), np.int64)
    column[known] = np.arange(len(known))
    target = np.zeros((len(rows), len(known) + 1), np.float32)
    for i, row in enumerate(rows):
        target[i, column[log.tag_ids[log.tag_start[row] : log.tag_start[row + 1]]]] = 1
    target = target[:, :-1]
    return target / np.maximum(target.sum(axis=1, keepdims=True), 1)


def _fit_softmax(
    x: Floats, target: Floats, seed: int, n_epochs: int, learning_rate: float
) -> Floats:
    """Adam (Kingma and Ba 2015) on the softmax loss; the last row is the bias."""
    x = np.hstack([x, np.ones((len(x), 1), np.float32)])
    weights = np.zeros((x.shape[1], target.shape[1]), np.float32)
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    rng, step, batch = np.random.default_rng(seed), 0, 256
    n_steps = n_epochs * -(-len(x) // batch)
    for _ in range(n_epochs):
        order = rng.permutation(len(x))
        for begin in range(0, len(x), batch):
            rows = order[begin : begin + batch]
            logits = x[rows] @ weights
            probs = np.exp(logits - logits.max(axis=1, keepdims=True))
            probs /= probs.sum(axis=1, keepdims=True)
            mass = target[rows].sum(axis=1, keepdims=True)
            gradient = x[rows].T @ (probs * mass - target[rows]) / len(rows) + 1e-4 * weights
            step += 1
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient**2 - second)
            rate = learning_rate * (1 - (step - 1) / n_steps)
            rate *= np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            weights -= np.float32(rate) * first / (np.sqrt(second) + np.float32(1e-8))
    return weights
