"""Which tags make the set that is shown.

For somebody whose habits are known, the likeliest tags are the set. A stranger gains little from
the tags that go on every photo: what this photo shows counts a little more for them.
"""

from __future__ import annotations

import numpy as np

from pixtag.state import CONTEXT_NAMES, FEATURE_NAMES
from pixtag.types import Floats

SPECIFIC = 0.3
"""How much a tag's lift over its usual share counts for a stranger, against its log chance;
chosen on labelled photos that were held out for the choice (docs/log.md)."""

MOST_LIFT = 5.0
LEAST_LIFT = -3.0


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
    if context[CONTEXT_NAMES.index("history_on")] or not context[CONTEXT_NAMES.index("pixels_on")]:
        return worth.astype(np.float32)
    uses = np.expm1(features[:, FEATURE_NAMES.index("uses_log")])
    n_posts = np.expm1(context[CONTEXT_NAMES.index("posts_log")])
    usual = (uses + 1.0) / (n_posts + 20.0)
    lift = np.clip(np.log(np.maximum(probs, 1e-5) / usual), LEAST_LIFT, MOST_LIFT)
    return (worth + SPECIFIC * lift).astype(np.float32)
