"""Which tags make the set that is shown.

For somebody whose habits are known, the likeliest tags are the set. A stranger gains little from
the tags that go on every photo: what this photo shows counts a little more for them. Nobody gains
from a second tag that says the same as the first, unless both are their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pixtag.state import CONTEXT_NAMES, FEATURE_NAMES, Scored, State
from pixtag.types import Bools, Floats, Ints

Weights = Mapping[str, Any]

SPECIFIC = 0.3
"""How much a tag's lift over its usual share counts for a stranger, against its log chance;
chosen on labelled photos that were held out for the choice (docs/log.md)."""

MOST_LIFT = 5.0
LEAST_LIFT = -3.0

LEAST_ALIKE = 0.95
"""Cosine of the mean photos of two tags from which their photos look the same."""

LEAST_COMPANY = 0.85
"""Cosine of how often others stand beside two tags from which they have the same company."""

MOSTLY, HARDLY_EVER = 0.5, 0.05
"""Share of the rarer tag's posts that carry the other one too: at least, or at most."""

LEAST_USES = 10
"""Tags of fewer uses are nobody's near-synonym: too little is known of them."""

SHRINK = 3.0
LOG_SECOND = float(np.log(0.5))
"""The second tag that says the same counts half."""

PULL, PULL_BESIDE_HABITS = 0.45, 0.15
"""Log odds for each log unit of lift that accepted tags give; the second where a photo and the
person's own posts speak already. This and the bounds above were chosen on validation
(docs/log.md)."""

_WITH_ACCEPTED = FEATURE_NAMES.index("goes_with_accepted")
_HISTORY_ON = CONTEXT_NAMES.index("history_on")
_PIXELS_ON = CONTEXT_NAMES.index("pixels_on")


def strangers_worth(probs: Floats, features: Floats, context: Floats) -> Floats:
    """Worth of each candidate to somebody without a history: log chance and some of the lift.

    Shapes:
        C: candidates. S: features. X: context.

    Args:
        probs: Calibrated chances, `[C]`.
        features: As the state gives them, `[C, S]`.
        context: As the state gives it, `[X]`.

    Returns:
        `[C]`, higher is better; the log chance alone where the person has a history or there is
        no photo.
    """
    worth = np.log(np.maximum(probs, 1e-6))
    if context[_HISTORY_ON] or not context[_PIXELS_ON]:
        return worth.astype(np.float32)
    uses = np.expm1(features[:, FEATURE_NAMES.index("uses_log")])
    n_posts = np.expm1(context[CONTEXT_NAMES.index("posts_log")])
    usual = (uses + 1.0) / (n_posts + 20.0)
    lift = np.clip(np.log(np.maximum(probs, 1e-5) / usual), LEAST_LIFT, MOST_LIFT)
    return (worth + SPECIFIC * lift).astype(np.float32)


def without_accepted(weights: Weights, scored: Scored) -> tuple[Scored, Floats]:
    """Take the accepted tags' pull out of what the network reads.

    No post that trains a network has an accepted tag, so its weights for that signal mean
    nothing. The pull is added to the chances instead (`drawn_in`).

    Args:
        weights: The network.
        scored: Candidates of queries with accepted tags.

    Returns:
        The candidates with the signal at its mean, and the signal, `[B, C]`: log of how much
        likelier a tag is beside the accepted ones than usual.
    """
    features = scored.features.copy()
    features[..., _WITH_ACCEPTED] = weights["norm/mean"][_WITH_ACCEPTED]
    return replace(scored, features=features), scored.features[..., _WITH_ACCEPTED]


def pull_of_accepted(lift: Floats, context: Floats) -> Floats:
    """How far accepted tags move each candidate, `[C]`, in log odds.

    Args:
        lift: As `without_accepted` gives it, `[C]`.
        context: As the state gives it, `[X]`.
    """
    is_known = context[_HISTORY_ON] and context[_PIXELS_ON]
    return (PULL_BESIDE_HABITS if is_known else PULL) * lift


def moved(probs: Floats, pull: Floats) -> Floats:
    """Chances after a move in log odds, `[C]` each; nothing is ever certain."""
    kept = np.clip(probs, 1e-6, 1.0 - 1e-6)
    return (1.0 / (1.0 + (1.0 - kept) / kept * np.exp(-pull))).astype(np.float32)


def near_synonyms(state: State, tags: Ints) -> Bools:
    """Which tags say the same thing, by their use alone; how they are spelt plays no part.

    Two tags say the same when their photos look the same, the same tags stand beside them, and
    either the rarer one mostly comes together with the other or the two hardly ever meet.

    Shapes:
        C: tags asked about.

    Args:
        state: Just asked: its running sums hold what lies before the question.
        tags: Indices, `[C]`.

    Returns:
        Symmetric, False on the diagonal and for tags of few uses, `[C, C]`.
    """
    counts = state.cooccurrence.counts
    if not len(counts) or len(tags) < 2:
        return np.zeros((len(tags), len(tags)), np.bool_)
    photos = _unit(state.prototypes.sums[tags])
    place = np.minimum(tags, len(counts) - 1)
    together = counts[place[:, None], place]
    uses = np.where(tags < len(counts), together.diagonal(), 0.0)
    rarer = np.minimum(uses[:, None], uses)
    share = together / (rarer + SHRINK)
    found = (rarer >= LEAST_USES) & ((share >= MOSTLY) | (share <= HARDLY_EVER))
    found &= photos @ photos.T >= LEAST_ALIKE
    np.fill_diagonal(found, val=False)
    rows = np.flatnonzero(found.any(axis=1))
    if len(rows):
        among = np.ix_(rows, rows)
        beside = counts[place[rows]]
        beside[np.arange(len(rows)), place[rows]] = 0.0
        # Roots, so that the squares are the counts: neither tag is company of the pair itself.
        others = np.maximum(beside.sum(axis=1)[:, None] - together[among], 1e-9)
        roots = np.sqrt(beside)
        found[among] &= roots @ roots.T >= LEAST_COMPANY * np.sqrt(others * others.T)
    return found


def choose(worth: Floats, same: Bools, *, k: int, is_own: Bools) -> list[int]:
    """Choose a set: the best first, and after each one its near-synonyms count for less.

    Tags that the person has used are theirs, and keep their worth.

    Shapes:
        C: candidates.

    Args:
        worth: Log chance or the like, `[C]`.
        same: Near-synonyms, `[C, C]`.
        k: Size of the set.
        is_own: Whether the person has used each, `[C]`.

    Returns:
        At most `k` places, in the order in which they were chosen; ties by the first.
    """
    left = worth.astype(np.float64)
    chosen: list[int] = []
    for _ in range(min(k, len(left))):
        best = int(np.argmax(left))
        chosen.append(best)
        left[best] = -np.inf
        left[same[best] & ~is_own] += LOG_SECOND
    return chosen


def _unit(rows: Floats) -> Floats:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
