"""Which tags make the set that is shown.

For somebody whose habits are known, the likeliest tags are the set. A stranger gains little from
the tags that go on every photo: what this photo shows counts a little more for them, and places
are kept for the thing itself. Nobody gains from a second tag that says the same as the first,
unless both are their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pixtag.signals.words import BRIDGE_FLOOR
from pixtag.state import CONTEXT_NAMES, FEATURE_NAMES, State
from pixtag.types import Bools, Floats, Ints

SPECIFIC = 0.3
"""How much a tag's lift over its usual share counts for a stranger, against its log chance.
These numbers were chosen on labelled photos that were held out for the choice (docs/log.md)."""

SURE_OF_KIND = 0.3
"""Expected weight of the best tag of the labelled kinds from which on the kind is sure."""

LIKELY_KIND = 0.1
"""The same, from which on its name has a place."""

CLASSES_SAY, KINDS_SAY = 0.7, -0.2
"""What the bridge's scores count more, the kinds' less, where the kind is not sure at all."""

N_NAMES = 2
"""Places kept for names of things by their worth, and again by what the classes call for."""

FAR_BEHIND, LEAST_OF_MOST = 1.0, 0.5
"""How far below the best a name may lie to keep its place: in worth, and as a share of weight."""

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


def names_first(
    probs: Floats, features: Floats, context: Floats, is_name: Bools
) -> tuple[Floats, list[int]]:
    """What candidates are worth in a set, and those whose places are kept.

    For a stranger's photo places are kept for names of things: the two of most worth, the likely
    kind's, and the two that the encoder's own classes call for most, each unless it falls far
    behind the best of its sort.

    Shapes:
        C: candidates. S: features. X: context.

    Args:
        probs: Calibrated chances, `[C]`.
        features: As the state gives them, `[C, S]`.
        context: As the state gives it, `[X]`.
        is_name: Which candidates name a thing that a photo can show, `[C]`.

    Returns:
        Worth, `[C]`, and rows of the candidates with a place, best first; none where the person
        has a history or there is no photo.
    """
    worth = strangers_worth(probs, features, context)
    if not _is_strangers_photo(context):
        return worth, []
    of_kind, of_class = (
        BRIDGE_FLOOR * np.expm1(features[:, FEATURE_NAMES.index(name)]) * is_name
        for name in ("kinds", "bridge")
    )
    order = np.argsort(-worth, kind="stable")
    things = order[is_name[order]][:N_NAMES]
    things = things[worth[things] >= worth[things].max(initial=-np.inf) - FAR_BEHIND]
    for weight, least, n in (
        (of_kind, LIKELY_KIND, 1),
        (of_class, LEAST_OF_MOST * of_class.max(initial=0.0), N_NAMES),
    ):
        weight[things] = 0.0
        best = np.argsort(-weight, kind="stable")[:n]
        things = np.append(things, best[weight[best] > least])
    return worth, things.tolist()


def strangers_worth(probs: Floats, features: Floats, context: Floats) -> Floats:
    """Worth of each candidate to somebody without a history.

    The log chance, some of the lift over the usual share, and, where a photo is of none of the
    labelled kinds for sure, more of what the encoder's own classes say.

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
    if not _is_strangers_photo(context):
        return worth.astype(np.float32)
    uses, bridge, kinds = (
        features[:, FEATURE_NAMES.index(name)] for name in ("uses_log", "bridge", "kinds")
    )
    n_posts = np.expm1(context[CONTEXT_NAMES.index("posts_log")])
    usual = (np.expm1(uses) + 1.0) / (n_posts + 20.0)
    lift = np.clip(np.log(np.maximum(probs, 1e-5) / usual), LEAST_LIFT, MOST_LIFT)
    kind = BRIDGE_FLOOR * np.expm1(kinds.max(initial=0.0))
    unsure = max(0.0, 1.0 - kind / SURE_OF_KIND)
    says = unsure * (CLASSES_SAY * bridge + KINDS_SAY * kinds)
    return (worth + SPECIFIC * lift + says).astype(np.float32)


def _is_strangers_photo(context: Floats) -> bool:
    has_photo, has_history = (
        context[CONTEXT_NAMES.index(name)] for name in ("pixels_on", "history_on")
    )
    return bool(has_photo) and not has_history


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


def choose(
    worth: Floats, same: Bools, *, k: int, is_own: Bools, first: Sequence[int] = ()
) -> list[int]:
    """Choose a set: the best first, and after each one its near-synonyms count for less.

    Tags that the person has used are theirs, and keep their worth.

    Shapes:
        C: candidates.

    Args:
        worth: Log chance or the like, `[C]`.
        same: Near-synonyms, `[C, C]`.
        k: Size of the set.
        is_own: Whether the person has used each, `[C]`.
        first: Places that come before all others, unless one says the same as another of them.

    Returns:
        At most `k` places, in the order in which they were chosen; ties by the first.
    """
    left = worth.astype(np.float64)
    chosen: list[int] = []
    kept = list(first)
    for _ in range(min(k, len(left))):
        kept = [i for i in kept if not same[i, chosen].any() or is_own[i]]
        best = kept.pop(0) if kept else int(np.argmax(left))
        chosen.append(best)
        left[best] = -np.inf
        left[same[best] & ~is_own] += LOG_SECOND
    return chosen


def _unit(rows: Floats) -> Floats:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
