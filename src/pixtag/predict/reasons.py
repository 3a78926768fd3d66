"""Why a tag is suggested: what each kind of evidence added to its score, in words.

The contribution of a group of signals is the tag's score less its score when the group is
silent: its features at their mean, nothing copied from its memory. It is measured on the very
network that ranks, so a reason that made no difference is not shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pixtag import network
from pixtag.signals.columns import DAY_S
from pixtag.signals.cooccurrence import CoOccurrence
from pixtag.signals.counts import Counts
from pixtag.signals.memory import OwnMemory
from pixtag.signals.trend import Trend
from pixtag.state import (
    CONTEXT_NAMES,
    FEATURE_NAMES,
    HISTORY_NAMES,
    PIXEL_NAMES,
    TASTE_NAMES,
    TREND_LIKE,
    TREND_NAMES,
    Scored,
    State,
)
from pixtag.types import Floats, Ints, Reason

LEAST_WEIGHT = 0.01
"""Contributions below this many log units are no reason."""

_WEEKDAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
_LEAST_RISE = 1.5
_TWO = float(np.log1p(1.5))
"""Above this a logged count of people is two or more."""
_LEAST_WEEKDAY_LIFT = 0.3
_LEAST_PEOPLE = 3
_POPULAR_SHARE = 0.05
_SIMILAR_SLOTS = 3
_SHRINK = 3.0
_UNITS_S = (
    ("year", 365.25 * DAY_S),
    ("month", 30.44 * DAY_S),
    ("week", 7 * DAY_S),
    ("day", DAY_S),
    ("hour", 3600.0),
    ("minute", 60.0),
)


@dataclass(frozen=True, slots=True)
class Group:
    """Signals that a person would call one reason.

    Attributes:
        name: Short name.
        source: As in `Reason.source`.
        features: Their names in `FEATURE_NAMES`.
        memory: The memory whose attention belongs to it.
    """

    name: str
    source: str
    features: tuple[str, ...]
    memory: Literal["own", "near"] | None = None


def _but(names: tuple[str, ...], *others: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if not any(name in other for other in others))


_NEAR = ("neighbour_share",)
_OWN_POSTS = ("own_memory_share", *TASTE_NAMES)
_WEEKDAY = ("weekday_lift",)

GROUPS = (
    Group("picture", "pixels", _but(PIXEL_NAMES, _NEAR, TREND_LIKE)),
    Group("neighbours", "pixels", _NEAR, "near"),
    Group("own uses", "history", _but(HISTORY_NAMES, _OWN_POSTS)),
    Group("own posts", "history", _OWN_POSTS, "own"),
    Group("rising", "trend", (*TREND_NAMES, *_but(TREND_LIKE, _WEEKDAY))),
    Group("weekday", "trend", _WEEKDAY),
    Group("company", "general", CoOccurrence.names),
    Group("popular", "general", _but(Counts.names, TREND_LIKE)),
)


_COLUMN = {name: i for i, name in enumerate(FEATURE_NAMES)}
_COLUMNS_OF = [np.array([_COLUMN[name] for name in group.features]) for group in GROUPS]
_PIXELS_ON = CONTEXT_NAMES.index("pixels_on")
_SIMILARITY = OwnMemory.key_names.index("similarity")
_HAS_BOTH = OwnMemory.key_names.index("has_both_photos")
_LIFTS = [
    (_COLUMN[name], _COLUMN[name.replace("lift", "people")])
    for name in Trend.names[: len(Trend.names) // 2]
]


def contributions(weights: network.Weights, scored: Scored, query: int, places: Ints) -> Floats:
    """Measure what each group of signals added to the scores of some candidates.

    Shapes:
        K: candidates asked about. G: groups.

    Args:
        weights: The network.
        scored: Candidates and signals from the state.
        query: Which of its queries.
        places: Which candidates of that query, `[K]`.

    Returns:
        Natural log units, `[K, G]`, in the order of `GROUPS`.
    """
    # Every variant of a candidate is one more candidate of the same query, the whole one last.
    n = len(GROUPS) + 1
    features = np.repeat(scored.features[query, places][None], n, axis=0)
    members = {
        "own": np.repeat(scored.own_member[query, places][None], n, axis=0),
        "near": np.repeat(scored.near_member[query, places][None], n, axis=0),
    }
    for i, group in enumerate(GROUPS):
        columns = _COLUMNS_OF[i]
        features[i, :, columns] = weights["norm/mean"][columns][:, None]
        if group.memory is not None:
            members[group.memory][i] = False
    one = slice(query, query + 1)
    inputs: dict[str, NDArray[Any]] = {
        "features": features.reshape(1, -1, features.shape[-1]),
        "context": scored.context[one],
        "own_keys": scored.own_keys[one],
        "own_filled": scored.own_filled[one].astype(np.float32),
        "near_keys": scored.near_keys[one],
        "near_filled": scored.near_filled[one].astype(np.float32),
    }
    for name, member in members.items():
        flat = member.reshape(1, -1, member.shape[-1])
        inputs[f"{name}_member"] = flat.astype(np.float32)
    scores = network.scores(weights, inputs).reshape(n, len(places))
    return np.asarray(scores[-1] - scores[:-1], np.float32).T


class Explainer:
    """Puts the evidence for the candidates of one query into words.

    Args:
        state: Just asked, its running sums at this query's block.
        scored: What it answered.
        query: Which of the queries.
        at: The query's time, Unix seconds UTC.
        user: The person, or None.
        accepted: Tags that the person has chosen already.
        given: Tags of a history that was typed in, so that its times mean nothing, with how often
            each was mentioned.
        has_store: Whether the posts are anybody's that the person knows.
    """

    def __init__(
        self,
        state: State,
        scored: Scored,
        query: int,
        *,
        at: float,
        user: str | None,
        accepted: tuple[str, ...] = (),
        given: Mapping[str, int] | None = None,
        has_store: bool = True,
    ) -> None:
        self._state = state
        self._scored = scored
        self._query = query
        self._at = at
        self._accepted = [state.tag_index[t] for t in accepted if t in state.tag_index]
        self._given = given or {}
        self._has_store = has_store
        self._own_tags, self._own_at = self._own_uses(user)
        self._like_this = _most_alike(scored.own_keys[query])
        self._n_near = int(scored.near_filled[query].sum())

    def reasons(
        self, weights: network.Weights, places: Ints, offered: Sequence[int]
    ) -> list[tuple[Reason, ...]]:
        """Give the reasons of some candidates, strongest first.

        Args:
            weights: The network.
            places: Which candidates of the query, `[K]`.
            offered: Indices of all tags that are suggested together, best first.

        Returns:
            One tuple a candidate: what raised its score and can be said in words; where nothing
            did, the first thing that can be said at all.
        """
        added = contributions(weights, self._scored, self._query, places)
        orders = np.argsort(-added, axis=1, kind="stable")
        rows = zip(added.tolist(), orders.tolist(), places.tolist(), strict=True)
        return [self._said(row, order, place, offered) for row, order, place in rows]

    def _said(
        self, added: list[float], order: list[int], place: int, offered: Sequence[int]
    ) -> tuple[Reason, ...]:
        found: list[Reason] = []
        for column in order:
            # What added nothing is said only where nothing else can be.
            if added[column] < LEAST_WEIGHT and found:
                break
            text = self._text(GROUPS[column].name, place, offered)
            if text:
                found.append(Reason(GROUPS[column].source, text, added[column]))
        return tuple(found)

    def _own_uses(self, user: str | None) -> tuple[Ints, NDArray[np.float64]]:
        state, columns = self._state, self._state.columns
        if user is None or user not in state.user_index:
            return np.zeros(0, np.int64), np.zeros(0)
        index = np.array([state.user_index[user]], np.int64)
        cut = columns.cut(np.array([self._at]))
        start, stop = columns.own_uses(index, cut)
        mine = slice(int(start[0]), int(stop[0]))
        return columns.use_tag_by_user[mine], columns.at[columns.use_row_by_user[mine]]

    def _feature(self, name: str, place: int) -> float:
        return float(self._scored.features[self._query, place, _COLUMN[name]])

    def _can_be_seen(self, place: int) -> bool:
        """Whether anything links pixels to the tag: the vocabulary, a photo that carried it."""
        if not self._scored.context[self._query, _PIXELS_ON]:
            return False
        return any(self._feature(name, place) > 0 for name in ("head_known", "photos_log"))

    def _text(self, group: str, place: int, offered: Sequence[int]) -> str:
        match group:
            case "picture":
                return "in the picture" if self._can_be_seen(place) else ""
            case "neighbours":
                n = int(np.count_nonzero(self._scored.near_member[self._query, place]))
                return f"on {n} of the {self._n_near} most similar photos" if n else ""
            case "own uses":
                return self._own_text(place)
            case "own posts":
                return self._own_posts_text(place)
            case "rising":
                return self._rising_text(place)
            case "weekday":
                day = int((np.floor(self._at / DAY_S) + 3) % 7)
                usual = self._feature("weekday_lift", place) > _LEAST_WEEKDAY_LIFT
                return f"usual on {_WEEKDAYS[day]}" if usual else ""
            case "company":
                partner = self._partner(place, offered)
                return f"goes with #{partner}" if partner else ""
            case _:
                return self._people_text(place)

    def _people_text(self, place: int) -> str:
        n = round(np.expm1(self._feature("people_log", place)))
        if n < _LEAST_PEOPLE:
            return ""
        # Without a store the count is the bundle's, of people whom nobody here knows.
        if not self._has_store:
            return "popular"
        is_popular = n >= _POPULAR_SHARE * len(self._state.users)
        return f"{'popular: ' if is_popular else ''}{n:,} people use it"

    def _own_text(self, place: int) -> str:
        tag = int(self._scored.tag[self._query, place])
        n_given = self._given.get(self._state.tags[tag], 0)
        if n_given:
            return f"in the history you gave{_times(n_given, ', ')}"
        used_at = self._own_at[self._own_tags == tag]
        if not len(used_at):
            return ""
        return f"you used it {ago(self._at - float(used_at.max()))}{_times(len(used_at), ', ')}"

    def _own_posts_text(self, place: int) -> str:
        carries = self._scored.own_member[self._query, place]
        n = int(np.count_nonzero(carries))
        if not n or self._given:
            return ""
        if carries[self._like_this].any():
            return "on a photo of yours like this"
        return "on your last post" if carries[0] and n == 1 else f"on {n} of your latest posts"

    def _rising_text(self, place: int) -> str:
        features = self._scored.features[self._query, place]
        best = max((float(features[lift]) for lift, n in _LIFTS if features[n] > _TWO), default=0.0)
        ratio = float(np.exp(best))
        if ratio < _LEAST_RISE:
            return ""
        shown = f"{ratio:.0f}" if ratio >= 3 else f"{ratio:.1f}"
        return f"rising: {shown} times its usual rate"

    def _partner(self, place: int, offered: Sequence[int]) -> str:
        """The accepted tag, else the offered one, that a candidate stands beside most often."""
        counts = self._state.cooccurrence.counts
        tag = int(self._scored.tag[self._query, place])
        if tag >= len(counts):
            return ""
        for group in (self._accepted, offered):
            known = [t for t in group if t < len(counts) and t != tag]
            share = [counts[t, tag] / (counts[t, t] + _SHRINK) for t in known]
            if share and max(share) > 0:
                return self._state.tags[known[int(np.argmax(share))]]
        return ""


def ago(age_s: float) -> str:
    """Say how long ago something was.

    Args:
        age_s: Seconds, not negative.

    Example:
        >>> ago(3 * 86400), ago(86400 * 400), ago(30)
        ('3 days ago', '1 year ago', 'just now')
    """
    for name, length_s in _UNITS_S:
        n = int(age_s / length_s)
        if n >= 1:
            return f"{n} {name}{'s' if n > 1 else ''} ago"
    return "just now"


def _most_alike(own_keys: Floats) -> Ints:
    """The slots of the person's posts, `[M, F]`, whose photos are most like this one."""
    has_both = np.flatnonzero(own_keys[:, _HAS_BOTH] > 0)
    order = np.argsort(-own_keys[has_both, _SIMILARITY], kind="stable")
    return has_both[order[:_SIMILAR_SLOTS]]


def _times(n: int, before: str) -> str:
    return f"{before}{n:,} times" if n > 1 else ""
