"""Bursts: tags that rise by more than training has met, and that fit the photo.

A network that learned from slow trends says little of eight people who use a tag within the hour;
counting says it: the tag's share of what others post now is its chance on a photo that it fits.
"""

from __future__ import annotations

import numpy as np

from pixtag.signals import FEATURES, Asked
from pixtag.signals.outside import WINDOWS_HOURS
from pixtag.signals.pixels import CHANCE_FLOOR
from pixtag.signals.words import BRIDGE_FLOOR
from pixtag.types import Doubles, Floats

HOURS = WINDOWS_HOURS[:4]  # up to three days
# Other people, standard deviations above their usual number, and share of a window's posts from
# which a rise is a burst; posts without the tag that the share is shrunk by
LEAST_PEOPLE, LEAST_SIGMA, LEAST_SHARE, SHRINK = 5, 4.0, 0.2, 2.0
# Cosine of words, mean cosine with its last photos, expected weight by labels or classes, or chance
# by topics, and how many times the usual one, from which a tag fits a photo
LEAST_FIT, LEAST_LIKENESS, LEAST_CALL = 0.6, 0.5, 0.1
LEAST_CHANCE, LEAST_TIMES = 0.03, 10.0
MOST = 0.9  # chance of the surest


def burst_chances(asked: Asked, question: int, features: Floats) -> Floats:
    """Chance of each candidate that bursts and fits the photo of a question, 0 for all others.

    The largest share, shrunk, of other people's posts of the last hours or, where it is larger, of
    the last photos that look like this one. What comes back every week is no burst.

    Args:
        asked: A block of questions.
        question: One of them.
        features: Of its candidates, `[C, S]`.

    Returns:
        `[C]`.
    """
    out = np.zeros(len(features), np.float32)
    if not (asked.has_photo[question] and asked.sources.trend):
        return out

    def of(name: str) -> Doubles:
        return features[:, FEATURES.column(name)].astype(np.float64)

    people = np.expm1(np.array([of(f"trend_people_{int(hours)}h") for hours in HOURS]))
    if people.max(initial=0.0) <= LEAST_PEOPLE - 0.5:
        return out
    today = np.exp(of("daily_rate_log") + np.maximum(of("weekday_lift"), 0.0))
    usual = today * np.array(HOURS)[:, None] / 24.0
    posts = asked.lately_posted[: len(HOURS), question, None]
    share = people / (np.maximum(posts, people) + SHRINK)
    bursts = (people > LEAST_PEOPLE - 0.5) & (share >= LEAST_SHARE)
    bursts &= people - usual >= LEAST_SIGMA * np.sqrt(usual + 1.0)
    bursts &= of("calendar_weekday_lift") == 0.0
    call = BRIDGE_FLOOR * np.expm1(np.maximum(of("kinds"), of("bridge")))
    chance = CHANCE_FLOOR * np.expm1(of("topic_log_chance"))
    ever = np.expm1(of("uses_log")) / (
        asked.n_posts[question] + asked.knowledge.prior.n_posts + 1.0
    )
    fits = (of("words") >= LEAST_FIT) | (of("recent_similarity") >= LEAST_LIKENESS)
    fits |= (call >= LEAST_CALL) | (chance >= np.maximum(LEAST_CHANCE, LEAST_TIMES * ever))
    alike = 0.01 * np.expm1(of("recent_share"))
    sure = np.where(bursts, np.maximum(share, alike), 0.0).max(axis=0) * fits
    return np.minimum(sure, MOST).astype(np.float32)
