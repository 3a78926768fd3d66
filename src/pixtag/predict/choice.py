"""Which tags make the set that is shown.

For somebody whose habits are known, the likeliest tags are the set. A stranger gains little from
the tags that go on every photo: what this photo shows counts a little more for them, and places
are kept for the thing itself.
"""

from __future__ import annotations

import numpy as np

from pixtag.signals.words import BRIDGE_FLOOR
from pixtag.state import CONTEXT_NAMES, FEATURE_NAMES
from pixtag.types import Bools, Floats, Ints

SPECIFIC = 0.3
"""How much a tag's lift over its usual share counts for a stranger, against its log chance.
These numbers were chosen on labelled photos that were held out for the choice (docs/log.md)."""

SURE_OF_KIND = 0.4
"""Expected weight of the best tag of the labelled kinds from which on the kind is sure."""

LIKELY_KIND = 0.2
"""The same, from which on its name has a place."""

CLASSES_SAY, KINDS_SAY = 0.7, -0.2
"""What the bridge's scores count more, the kinds' less, where the kind is not sure at all."""

N_NAMES = 2
"""Places kept for names of things by their worth, and again by what the classes call for."""

FAR_BEHIND, LEAST_OF_MOST = 1.0, 0.5
"""How far below the best a name may lie to keep its place: in worth, and as a share of weight."""

MOST_LIFT = 5.0
LEAST_LIFT = -3.0


def strangers_order(probs: Floats, features: Floats, context: Floats, is_name: Bools) -> Ints:
    """Order candidates for a set.

    For a stranger's photo the first places go to names of things: the two of most worth, the
    likely kind's, and the two that the encoder's own classes call for most, each unless it falls
    far behind the best of its sort; all others follow by worth.

    Shapes:
        C: candidates. S: features. X: context.

    Args:
        probs: Calibrated chances, `[C]`.
        features: As the state gives them, `[C, S]`.
        context: As the state gives it, `[X]`.
        is_name: Which candidates name a thing that a photo can show, `[C]`.

    Returns:
        Rows of the candidates, `[C]`, best first; by chance alone where the person has a history
        or there is no photo. Ties go by row.
    """
    worth = strangers_worth(probs, features, context)
    order = np.argsort(-worth, kind="stable")
    if not _is_strangers_photo(context):
        return order
    of_kind, of_class = (
        BRIDGE_FLOOR * np.expm1(features[:, FEATURE_NAMES.index(name)]) * is_name
        for name in ("kinds", "bridge")
    )
    things = order[is_name[order]][:N_NAMES]
    things = things[worth[things] >= worth[things].max(initial=-np.inf) - FAR_BEHIND]
    for weight, least, n in (
        (of_kind, LIKELY_KIND, 1),
        (of_class, LEAST_OF_MOST * of_class.max(initial=0.0), N_NAMES),
    ):
        weight[things] = 0.0
        best = np.argsort(-weight, kind="stable")[:n]
        things = np.append(things, best[weight[best] > least])
    return np.concatenate([things, order[~np.isin(order, things)]])


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
