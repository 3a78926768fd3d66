"""Why a tag is suggested: what each group of signals added to its score, in words that are true.

The contribution of a group is the tag's score less its score when the group is silent: its
features at their mean, nothing copied from its memory (leave-one-group-out on the network that
ranks). A reason is said only when it both added something and holds for this very photo.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pixtag import network
from pixtag.signals.cooccurrence import CoOccurrence
from pixtag.signals.counts import Counts
from pixtag.state import (
    FEATURE_NAMES,
    HISTORY_NAMES,
    PIXEL_NAMES,
    TASTE_NAMES,
    TREND_LIKE,
    TREND_NAMES,
    Scored,
)
from pixtag.types import Floats, Ints, Reason

LEAST_WEIGHT = 0.01
"""Contributions below this many log units are no reason."""

LEAST_RAISE = 1.5
"""Natural log units by which a photo must raise a tag's log odds above its usual ones."""

LEAST_CALL = 0.01
"""Expected weight from which the encoder's classes, or the kinds of photos, call for a tag."""

LEAST_LIKENESS = 0.3
"""Mean cosine with a tag's photos from which this one looks like them."""

LEAST_RISE = 1.5
LEAST_ON_WEEKDAY, LEAST_WEEKDAY_RATIO = 3, 1.35
LEAST_TOGETHER, LEAST_COMPANY_LIFT = 2, 1.5

LEAST_PEOPLE = 3
"""Fewer people than this are not counted aloud."""

POPULAR_SHARE = 0.05
"""Share of a store's people from which a tag is popular among them."""

POPULAR_ELSEWHERE = 0.02
"""Share of the posts behind the model's prior from which a tag is popular there."""

_WEEKDAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
_DAY_S = 86_400.0
_UNITS_S = (
    ("year", 365.25 * _DAY_S),
    ("month", 30.44 * _DAY_S),
    ("week", 7 * _DAY_S),
    ("day", _DAY_S),
    ("hour", 3600.0),
    ("minute", 60.0),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What holds for one candidate on one photo: everything that a reason may say.

    Attributes:
        at: The question's time, Unix seconds UTC.
        raise_log: By how much the pixel head raises the tag's log odds above its usual ones,
            natural log units; None where there is no photo or the head doesn't know the tag.
        call: Expected weight by the classes or kinds of photos, the larger; 0 without a photo.
        likeness: Mean cosine of the photo with those that carried the tag; 0 without any.
        n_near: Most similar photos looked at; n_near_with: those of them that carry it.
        n_given: Mentions in a typed history.
        n_own: Own uses; last_own_at: the last one, Unix seconds UTC.
        n_own_posts: The person's latest posts that carry it; is_on_last: whether the last does;
            is_on_alike: whether one of those does whose photo looks like this one.
        rise: Rate among others over the usual one, of the best window; 1 without a rise.
        n_weekday: Uses on this day of the week, once a person and day; n_days: on all days.
        partner: A tag on the same photo that it goes with, from `goes_with`; or empty.
        n_people: People of the store who used it; n_all_people: all people of the store.
        share_elsewhere: Share of the posts behind the model's prior that carry it.
    """

    at: float
    raise_log: float | None = None
    call: float = 0.0
    likeness: float = 0.0
    n_near: int = 0
    n_near_with: int = 0
    n_given: int = 0
    n_own: int = 0
    last_own_at: float = -np.inf
    n_own_posts: int = 0
    is_on_last: bool = False
    is_on_alike: bool = False
    rise: float = 1.0
    n_weekday: float = 0.0
    n_days: float = 0.0
    partner: str = ""
    n_people: int = 0
    n_all_people: int = 0
    share_elsewhere: float = 0.0


def _picture(facts: Facts) -> str:
    if facts.raise_log is None:
        is_raised = facts.likeness >= LEAST_LIKENESS
    else:
        is_raised = facts.raise_log >= LEAST_RAISE
    return "in the picture" if is_raised or facts.call >= LEAST_CALL else ""


def _neighbours(facts: Facts) -> str:
    n = facts.n_near_with
    return f"on {n} of the {facts.n_near} most similar photos" if n else ""


def _own_uses(facts: Facts) -> str:
    if facts.n_given:
        return f"in the history you gave{_times(facts.n_given)}"
    if not facts.n_own:
        return ""
    return f"you used it {ago(facts.at - facts.last_own_at)}{_times(facts.n_own)}"


def _own_posts(facts: Facts) -> str:
    n = facts.n_own_posts
    if not n:
        return ""
    if facts.is_on_alike:
        return "on a photo of yours like this"
    return "on your last post" if facts.is_on_last and n == 1 else f"on {n} of your latest posts"


def _rising(facts: Facts) -> str:
    if facts.rise < LEAST_RISE:
        return ""
    shown = f"{facts.rise:.0f}" if facts.rise >= 3 else f"{facts.rise:.1f}"
    return f"rising: {shown} times its usual rate"


def _weekday(facts: Facts) -> str:
    is_usual = facts.n_weekday >= max(LEAST_ON_WEEKDAY, LEAST_WEEKDAY_RATIO * facts.n_days / 7)
    return f"usual on {_WEEKDAYS[weekday(facts.at)]} (UTC)" if is_usual else ""


def _company(facts: Facts) -> str:
    return f"goes with #{facts.partner}" if facts.partner else ""


def _people(facts: Facts) -> str:
    n = facts.n_people
    if n >= LEAST_PEOPLE:
        is_popular = n >= POPULAR_SHARE * facts.n_all_people
        return f"{'popular: ' if is_popular else ''}{n:,} people use it"
    return "popular" if facts.share_elsewhere >= POPULAR_ELSEWHERE else ""


@dataclass(frozen=True, slots=True)
class Group:
    """Signals that a person would call one reason.

    Attributes:
        name: Short name.
        source: As in `Reason.source`.
        features: Their names in `FEATURE_NAMES`.
        say: What is said; empty where it wouldn't be true.
        memory: The memory whose attention belongs to it.
    """

    name: str
    source: str
    features: tuple[str, ...]
    say: Callable[[Facts], str]
    memory: Literal["own", "near"] | None = None


def _but(names: tuple[str, ...], *others: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if not any(name in other for other in others))


_NEAR = ("neighbour_share",)
_OWN = ("own_memory_share", *TASTE_NAMES)
_DAYS = ("weekday_lift",)

GROUPS = (
    Group("picture", "pixels", _but(PIXEL_NAMES, _NEAR, TREND_LIKE), _picture),
    Group("neighbours", "pixels", _NEAR, _neighbours, "near"),
    Group("own uses", "history", _but(HISTORY_NAMES, _OWN), _own_uses),
    Group("own posts", "history", _OWN, _own_posts, "own"),
    Group("rising", "trend", (*TREND_NAMES, *_but(TREND_LIKE, _DAYS)), _rising),
    Group("weekday", "trend", _DAYS, _weekday),
    Group("company", "general", CoOccurrence.names, _company),
    Group("popular", "general", _but(Counts.names, TREND_LIKE), _people),
)
"""The one table of reasons: which features belong together, and what is said of them."""

_COLUMNS_OF = [np.array([FEATURE_NAMES.index(n) for n in group.features]) for group in GROUPS]


def contributions(weights: network.Weights, scored: Scored, query: int, places: Ints) -> Floats:
    """Measure what each group of signals added to the scores of some candidates.

    Shapes:
        K: candidates asked about. G: groups.

    Args:
        weights: The network.
        scored: Candidates and their features.
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


def reasons(added: Sequence[float], facts: Facts) -> tuple[Reason, ...]:
    """Say why a tag is suggested.

    Args:
        added: What each group added to its score, `[G]`, natural log units, as in `GROUPS`.
        facts: What holds.

    Returns:
        What raised the score and can be said in words, strongest first; where nothing did, the
        first thing that can be said at all; else that it is a guess.
    """
    found: list[Reason] = []
    for group, weight in sorted(zip(GROUPS, added, strict=True), key=lambda pair: -pair[1]):
        # What added nothing is said only where nothing else can be.
        if weight < LEAST_WEIGHT and found:
            break
        if text := group.say(facts):
            found.append(Reason(group.source, text, weight))
    return tuple(found) or (Reason("general", "a guess: little speaks for it", 0.0),)


def goes_with(together: Floats, uses: Floats, tag_uses: float, n_posts: float) -> int | None:
    """Choose the tag that another one goes with: it comes oftener beside it than usual.

    Args:
        together: Posts that carry both, `[Q]`.
        uses: Posts that carry each tag that may be named, `[Q]`.
        tag_uses: Posts that carry the candidate.
        n_posts: Posts in all.

    Returns:
        Place of the tag beside which the candidate's share is highest (shrunk); None where none
        has two posts with it and half as much again as its usual share.
    """
    share = together / np.maximum(uses, 1.0)
    usual = tag_uses / max(n_posts, 1.0)
    fits = (together >= LEAST_TOGETHER) & (share >= LEAST_COMPANY_LIFT * usual)
    best = np.where(fits, together / (uses + 3.0), 0.0)
    return int(np.argmax(best)) if fits.any() else None


def weekday(at: float) -> int:
    """Day of the week in UTC, 0 is Monday."""
    return int((np.floor(at / _DAY_S) + 3) % 7)


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


def _times(n: int) -> str:
    return f", {n:,} times" if n > 1 else ""
