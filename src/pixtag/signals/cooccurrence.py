"""Co-occurrence: P(tag given tag), from the last posts that carried it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pixtag.evidence import LAST_TICK, distinct
from pixtag.signals.asked import Asked, Pairs, strongest
from pixtag.signals.popularity import usage_rate
from pixtag.signals.spec import Feature, Signal
from pixtag.types import Bools, Doubles, Floats, Ints

SHRINK = 3.0
BACK_OFF = 2.5
"""What posts weigh together when what they say counts as much as the broader rule."""

OWN_BACK_OFF = 1.0
"""The same for a person's own posts."""

SEEDS = 8
"""Likeliest candidates whose company is looked at."""

SEED_POSTS = 64
"""Last posts of a seed that are looked at."""

ACCEPTED_POSTS = 512
"""Last posts of an accepted tag that are looked at, and of those with several of them."""

MATCHED_POSTS = 4_096
"""Last posts of each of several accepted tags among which those with another one are looked for."""


def _given_likely(asked: Asked, pairs: Pairs) -> Floats:
    """Log expected chance of each candidate given the likeliest ones, and its log lift.

    A sum over the seeds of their weight times P(tag | seed); a seed says nothing about itself.
    """
    first, view, prior = asked.first, asked.view, asked.knowledge.prior
    order = strongest(pairs.question, first, asked.ties[pairs.tag], limit=SEEDS, step=1e-5)
    question, seed, weight = pairs.question[order], pairs.tag[order], first[order]
    of_seed, post = view.carrying(seed, asked.tick[question], limit=SEED_POSTS)
    n = np.bincount(of_seed, minlength=len(order)).astype(np.float64)
    owner, tag = view.uses_of(post)
    of_seed = of_seed[owner]
    if prior.n_posts:
        n += asked.at_prior(prior.uses, seed)
    scale = weight / (n + SHRINK)
    given = pairs.total(question[of_seed], tag, scale[of_seed] * (tag != seed[of_seed]))
    if prior.n_posts:
        beside = [prior.beside(tag) for tag in seed.tolist()]
        lengths = [len(others) for others, _ in beside]
        count = np.concatenate([count for _, count in beside]) if beside else np.zeros(0)
        others = np.concatenate([others for others, _ in beside]) if beside else seed
        given += pairs.total(
            np.repeat(question, lengths), others, np.repeat(scale, lengths) * count
        )
    mass = np.bincount(question, weights=weight, minlength=len(asked))[pairs.question] + 1e-6
    rate = usage_rate(asked, pairs)
    out = np.empty((len(pairs), 2), np.float32)
    out[:, 0] = np.log(given + 1e-4) - np.log(1e-4)
    out[:, 1] = np.log((given / mass + 1e-4) / (rate + 1e-4))
    return out


@dataclass(frozen=True)
class Company:
    """The posts that carried a question's accepted tags, of the store and of the prior.

    Shapes:
        R: posts. E: their tag uses.

    Attributes:
        matched: How many of the accepted tags each carried, `[R]`.
        carries: Whether it is one of the last posts with each of them, `[R, accepted]`.
        is_own: Whether the asker posted it, `[R]`.
        n_tags: Tags of each post, `[R]`.
        post: Post of each use, `[E]`. tag: `[E]`.
    """

    matched: Ints
    carries: Bools
    is_own: Bools
    n_tags: Ints
    post: Ints
    tag: Ints

    @classmethod
    def of(cls, asked: Asked, question: int, accepted: Ints) -> Company:
        """Look the posts up."""
        parts: list[tuple[Bools, Ints, Bools, Ints, Ints, Ints]] = []
        n_posts, limit = 0, MATCHED_POSTS if len(accepted) > 1 else ACCEPTED_POSTS
        for view, tick in (
            (asked.view, int(asked.tick[question])),
            (asked.knowledge.prior.view, LAST_TICK),
        ):
            known = np.flatnonzero(accepted < view.n_tags)
            pair, slot = view.carrying(accepted[known], np.full(len(known), tick), limit=limit)
            count = np.bincount(pair, minlength=len(known))
            is_late = np.cumsum(count)[pair] - np.arange(len(pair)) <= ACCEPTED_POSTS
            slots, place, matched = np.unique(slot, return_inverse=True, return_counts=True)
            carries = np.zeros((len(slots), len(accepted)), np.bool_)
            carries[place[is_late], known[pair[is_late]]] = True
            several = np.flatnonzero(matched > 1)[-ACCEPTED_POSTS:]
            kept = np.union1d(np.flatnonzero(carries.any(axis=1)), several)
            slots = slots[kept]
            user = view.user[slots]
            own = (user == asked.user[question]) & (user >= 0) & (view.tick[slots] > 0)
            post, tag = view.uses_of(slots)
            lengths = view.n_uses[slots].astype(np.int64)
            parts.append((carries[kept], matched[kept], own, lengths, post + n_posts, tag))
            n_posts += len(slots)
        carries, matched, own, lengths, post, tag = (
            np.concatenate(one) for one in zip(*parts, strict=True)
        )
        return cls(matched, carries, own, lengths, post, tag)

    def shrunk(
        self, rows: Bools, tags: Ints, broader: Doubles, *, back_off: float = BACK_OFF
    ) -> Doubles:
        """Share of the weight of some posts that carries each tag, shrunk to a broader rule.

        A post of n tags weighs 1 / n: were one of its tags named at random, it would be the
        accepted one that often.
        """
        weight = rows / np.maximum(self.n_tags, 1)
        return _shrunk(weight, self.post, self.tag, tags, broader, back_off)

    def chances(
        self, asked: Asked, question: int, tags: Ints, usual: Doubles
    ) -> tuple[Doubles, Doubles]:
        """Chance of tags on a post that carries the accepted ones, and without knowing them.

        From the broad to the narrow: all posts, those with one of the accepted tags (the mean
        over the tags), those with two of them, and so on; what each says is shrunk to what the
        one before says. The person's own posts come last, in the same way.

        Args:
            asked: The questions.
            question: Which of them.
            tags: Ascending, `[L]`.
            usual: Share of all posts with each, `[L]`.
        """
        n_accepted = self.carries.shape[1]
        of_each = [self.shrunk(self.carries[:, i], tags, usual) for i in range(n_accepted)]
        chance = np.mean(of_each, axis=0)
        for n in range(2, n_accepted + 1):
            chance = self.shrunk(self.matched >= n, tags, chance)
        own = asked.own
        if own.n[question]:
            mine_here = (own.question == question).astype(np.float64)
            weight = mine_here / np.maximum(own.n_tags, 1)
            mine = _shrunk(weight, own.post, own.tag, tags, usual, OWN_BACK_OFF)
            lift = np.divide(chance, usual, out=np.ones_like(chance), where=usual > 0)
            chance = np.minimum(mine * lift, 1.0)
            for n in range(1, n_accepted + 1):
                rows = self.is_own & (self.matched >= n)
                chance = self.shrunk(rows, tags, chance, back_off=OWN_BACK_OFF)
            usual = mine
        is_accepted = np.isin(tags, asked.accepted[question])
        return np.where(is_accepted, usual, chance), usual


def _shrunk(
    weight: Doubles, post: Ints, tag: Ints, tags: Ints, broader: Doubles, back_off: float
) -> Doubles:
    place = np.minimum(np.searchsorted(tags, tag), max(len(tags) - 1, 0))
    found = tags[place] == tag
    carried = np.bincount(place[found], weights=weight[post[found]], minlength=len(tags))
    return (carried + back_off * broader) / (weight.sum() + back_off)


def companies(asked: Asked) -> dict[int, Company]:
    """By question, for those with accepted tags."""
    return {q: Company.of(asked, q, tags) for q, tags in enumerate(asked.accepted) if len(tags)}


def propose_company(asked: Asked, *, limit: int) -> tuple[Ints, Ints]:
    """Tags of most of the weight of the posts that carried the accepted ones."""
    question: list[Ints] = []
    tags: list[Ints] = []
    for q, company in asked.company.items():
        found = distinct(company.tag)
        if not len(found):
            continue
        chance = company.shrunk(company.matched > 0, found, np.zeros(len(found)))
        best = strongest(
            np.zeros(len(found), np.int64), np.log(chance + 1e-6), asked.ties[found], limit=limit
        )
        question.append(np.full(len(best), q))
        tags.append(found[best])
    if not tags:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(question), np.concatenate(tags)


def _given_accepted(asked: Asked, pairs: Pairs) -> Floats:
    out = np.zeros((len(pairs), 1), np.float32)
    if not asked.company:
        return out
    usual = usage_rate(asked, pairs).astype(np.float64)
    for q, company in asked.company.items():
        mine = np.flatnonzero(pairs.question == q)
        if not len(mine):
            continue
        chance, base = company.chances(asked, q, pairs.tag[mine], usual[mine])
        out[mine, 0] = np.log((chance + 1e-3) / (base + 1e-3))
    return out


def _cooccurrence(asked: Asked, pairs: Pairs) -> Floats:
    return np.concatenate([_given_likely(asked, pairs), _given_accepted(asked, pairs)], axis=1)


CO_OCCURRENCE = Signal(
    "co-occurrence",
    (
        Feature("goes_with_candidates", (), "company"),
        Feature("goes_with_candidates_lift", (), "company"),
        Feature("goes_with_accepted", (), "company"),
    ),
    _cooccurrence,
)
