"""Popularity: how many people used a tag, here and among those behind the model."""

from __future__ import annotations

import numpy as np

from pixtag.signals.asked import Asked, Pairs
from pixtag.signals.spec import Feature, Signal
from pixtag.types import Floats, Ints

PRIOR_POSTS = 300.0
"""Posts of a store as much as which the prior's rate of use counts."""


def usage_rate(asked: Asked, pairs: Pairs) -> Floats:
    """Share of posts with each candidate, the prior's counting as `PRIOR_POSTS` posts, `[P]`."""
    facts, n_prior = asked.facts(pairs), asked.knowledge.prior.n_posts
    weight = min(PRIOR_POSTS, n_prior)
    of_prior = facts.prior_uses / max(n_prior, 1)
    posts = asked.n_posts[pairs.question]
    return ((facts.uses + weight * of_prior) / np.maximum(posts + weight, 1.0)).astype(np.float32)


def _popularity(asked: Asked, pairs: Pairs) -> Floats:
    facts = asked.facts(pairs)
    columns = [
        np.log1p(facts.people + facts.prior_people),
        np.log1p(facts.uses + facts.prior_uses),
        np.log(usage_rate(asked, pairs) + 1e-5),
    ]
    return np.array(columns).T.astype(np.float32)


def propose_popular(asked: Asked, *, limit: int) -> tuple[Ints, Ints]:
    """The tags of most people in the store (at the start of the day) and in the prior."""
    of_prior = asked.knowledge.prior.popular[:limit]
    tags = [
        np.concatenate([asked.view.popular(tick, limit=limit), of_prior])
        for tick in asked.tick.tolist()
    ]
    question = np.repeat(np.arange(len(asked)), [len(row) for row in tags])
    return question, np.concatenate(tags).astype(np.int64)


POPULARITY = Signal(
    "popularity",
    (
        Feature("people_log", (), "popular"),
        Feature("uses_log", (), "popular"),
        Feature("usage_rate_log", (), "popular"),
    ),
    _popularity,
)
