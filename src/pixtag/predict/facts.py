"""What the state knows of some candidates: the facts and arrays that choice and reasons read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pixtag.artifact import Bundle
from pixtag.choose import Seen, Usage, company_cosine, usual_share
from pixtag.reasons import Facts, goes_with, weekday
from pixtag.signals.memory import OwnMemory
from pixtag.signals.trend import Trend
from pixtag.signals.words import BRIDGE_FLOOR
from pixtag.state import CONTEXT_NAMES, FEATURE_NAMES, Scored, State
from pixtag.types import Doubles, Floats, Ints

_SMOOTH = 5.0
"""Uses that every tag is given when its usual share of all uses is taken."""

_LEAST_SAME_SUBJECT = 0.5
"""Cosine from which two photos are said to be like each other."""

_SIMILAR_SLOTS = 3
_TWO = float(np.log1p(1.5))
"""Above this a logged count of people is two or more."""

_COLUMN = {name: i for i, name in enumerate(FEATURE_NAMES)}
_LIFTS = [
    (_COLUMN[name], _COLUMN[name.replace("lift", "people")])
    for name in Trend.names[: len(Trend.names) // 2]
]


def popularity_elsewhere(bundle: Bundle) -> dict[str, float]:
    """Share of the posts behind a bundle's prior that carry each tag of its vocabulary."""
    n = len(bundle.vocabulary)
    uses = np.bincount(bundle.prior.tag_ids, minlength=n)[:n].astype(np.float64)
    more = bundle.extras.get("prior_people", np.zeros(n))
    share = np.maximum(uses, uses + more) / max(len(bundle.prior), 1)
    return dict(zip(bundle.vocabulary, share.tolist(), strict=True))


def seen_by_stranger(state: State, tags: Ints, features: Floats, context: Floats) -> Seen | None:
    """What the photo says of candidates; None where there is none or the person has a history."""
    has_photo, has_history = (
        context[CONTEXT_NAMES.index(name)] for name in ("pixels_on", "history_on")
    )
    if not has_photo or has_history:
        return None
    uses = np.expm1(features[:, _COLUMN["uses_log"]]).astype(np.float32)
    n_posts = float(np.expm1(context[CONTEXT_NAMES.index("posts_log")]))
    classes, kinds = (
        (BRIDGE_FLOOR * np.expm1(features[:, _COLUMN[name]])).astype(np.float32)
        for name in ("bridge", "kinds")
    )
    return Seen(usual_share(uses, n_posts), classes, kinds, state.knowledge.names_thing(tags))


def usage_of(state: State, names: Sequence[str]) -> Usage:
    """How tags were used before the question that the state was asked last."""
    tags = np.array([state.tag_index.get(name, -1) for name in names], np.int64)
    counts = state.cooccurrence.counts
    counted = (tags >= 0) & (tags < len(counts))
    photos = state.prototypes.sums[tags] * (tags >= 0)[:, None]
    if not counted.any():
        none = np.zeros((len(tags), len(tags)), np.float32)
        return Usage(none.diagonal(), none, none, photos)
    place = np.where(counted, tags, 0)
    both = counted[:, None] & counted
    together = counts[place[:, None], place] * both
    beside = counts[place] * counted[:, None]
    beside[np.arange(len(tags)), place] = 0.0
    return Usage(together.diagonal(), together, company_cosine(beside, together), photos)


@dataclass(frozen=True)
class Explained:
    """One query of an answered block, and what else its reasons need.

    Attributes:
        state: Just asked about it.
        scored: What it answered.
        query: Which of the queries.
        at: The query's time, Unix seconds UTC.
        user: The person, or None.
        accepted: Tags that the person has chosen already.
        given: Tags of a typed history and how often each was mentioned.
        elsewhere: From `popularity_elsewhere`.
    """

    state: State
    scored: Scored
    query: int
    at: float
    user: str | None
    elsewhere: Mapping[str, float]
    accepted: Sequence[str] = ()
    given: Mapping[str, int] = field(default_factory=dict[str, int])

    def facts(self, places: Ints) -> list[Facts]:
        """What holds for some candidates, which are offered together, best first."""
        tags = self.scored.tag[self.query, places]
        n_people = self._people(tags)
        own_tags, own_at = self._own_uses()
        alike = _most_alike(self.scored.own_keys[self.query])
        return [
            Facts(
                at=self.at,
                **self._of_photo(place, int(tag)),
                **self._of_person(place, int(tag), own_at[own_tags == tag], alike),
                **self._of_everyone(place, int(tag), tags.tolist()),
                n_people=n,
                n_all_people=len(self.state.users),
            )
            for place, tag, n in zip(places.tolist(), tags.tolist(), n_people, strict=True)
        ]

    def _feature(self, name: str, place: int) -> float:
        return float(self.scored.features[self.query, place, _COLUMN[name]])

    def _of_photo(self, place: int, tag: int) -> dict[str, Any]:
        near = self.scored.near_member[self.query, place]
        found: dict[str, Any] = {
            "n_near": int(self.scored.near_filled[self.query].sum()),
            "n_near_with": int(np.count_nonzero(near)),
        }
        if not self.scored.context[self.query, CONTEXT_NAMES.index("pixels_on")]:
            return found
        if self._feature("head_known", place) > 0:
            uses = self.state.counts.uses
            usual = (uses[tag] + _SMOOTH) / (uses.sum() + _SMOOTH * len(uses))
            prob = np.exp(self._feature("head_log_prob", place))
            found["raise_log"] = _log_odds(prob) - _log_odds(usual)
        called = max(self._feature(name, place) for name in ("bridge", "kinds"))
        found["call"] = BRIDGE_FLOOR * float(np.expm1(called))
        found["likeness"] = self._feature("prototype", place)
        return found

    def _of_person(self, place: int, tag: int, used_at: Doubles, alike: Ints) -> dict[str, Any]:
        found: dict[str, Any] = {
            "n_given": self.given.get(self.state.tags[tag], 0),
            "n_own": len(used_at),
            "last_own_at": float(used_at.max(initial=-np.inf)),
        }
        # The posts that stand for a typed history are nobody's.
        if not self.given:
            carries = self.scored.own_member[self.query, place]
            found["n_own_posts"] = int(np.count_nonzero(carries))
            found["is_on_last"] = bool(carries[0])
            found["is_on_alike"] = bool(carries[alike].any())
        return found

    def _of_everyone(self, place: int, tag: int, offered: list[int]) -> dict[str, Any]:
        features = self.scored.features[self.query, place]
        rise = max((float(features[lift]) for lift, n in _LIFTS if features[n] > _TWO), default=0.0)
        by_day = self.state.counts.weekday[tag]
        return {
            "rise": float(np.exp(max(rise, 0.0))),
            "n_weekday": float(by_day[weekday(self.at)]),
            "n_days": float(by_day[:7].sum()),
            "partner": self._partner(tag, offered),
            "share_elsewhere": self.elsewhere.get(self.state.tags[tag], 0.0),
        }

    def _partner(self, tag: int, offered: list[int]) -> str:
        """The accepted tag, else the offered one, that a candidate goes with."""
        counts, index = self.state.cooccurrence.counts, self.state.tag_index
        if tag >= len(counts):
            return ""
        n_posts = float(np.expm1(self.scored.context[self.query, CONTEXT_NAMES.index("posts_log")]))
        for group in ([index[t] for t in self.accepted if t in index], offered):
            known = np.array([t for t in group if t < len(counts) and t != tag], np.int64)
            if not len(known):
                continue
            best = goes_with(
                counts[known, tag], counts[known, known], float(counts[tag, tag]), n_posts
            )
            if best is not None:
                return self.state.tags[known[best]]
        return ""

    def _people(self, tags: Ints) -> list[int]:
        """Named people of the store who used each tag before the question."""
        log, columns = self.state.log, self.state.columns
        stop = int(columns.tag_start[int(columns.cut(np.array([self.at]))[0])])
        place = np.full(columns.n_tags, -1)
        place[tags] = np.arange(len(tags))
        found, user = place[columns.tag[:stop]], log.user_of_post[columns.row[:stop]]
        counts = (found >= 0) & (user < len(log.users))
        pairs = np.unique(found[counts] * (len(log.users) + 1) + user[counts])
        return np.bincount(pairs // (len(log.users) + 1), minlength=len(tags)).tolist()

    def _own_uses(self) -> tuple[Ints, Doubles]:
        state, columns = self.state, self.state.columns
        if self.user is None or self.user not in state.user_index:
            return np.zeros(0, np.int64), np.zeros(0)
        index = np.array([state.user_index[self.user]], np.int64)
        start, stop = columns.own_uses(index, columns.cut(np.array([self.at])))
        mine = slice(int(start[0]), int(stop[0]))
        return columns.use_tag_by_user[mine], columns.at[columns.use_row_by_user[mine]]


def _most_alike(own_keys: Floats) -> Ints:
    """The slots of the person's posts, `[M, F]`, whose photos are most like this one."""
    both, similarity = (
        own_keys[:, OwnMemory.key_names.index(name)] for name in ("has_both_photos", "similarity")
    )
    alike = np.flatnonzero((both > 0) & (similarity >= _LEAST_SAME_SUBJECT))
    return alike[np.argsort(-similarity[alike], kind="stable")[:_SIMILAR_SLOTS]]


def _log_odds(prob: float) -> float:
    prob = min(max(float(prob), 1e-9), 1.0 - 1e-9)
    return float(np.log(prob / (1.0 - prob)))
