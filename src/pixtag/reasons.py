"""Why a tag is suggested: what each group of signals added to its score, in words that are true.

The contribution of a group is the tag's score less its score when the group is silent: its
features at their mean, nothing copied from its memory (leave-one-group-out on the network that
ranks). A reason is said only when it both added something and holds for this very photo.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixtag import network
from pixtag.choose import usage_of
from pixtag.rank import Candidates
from pixtag.signals import FEATURES, MEMORIES, OWN_KEYS, REASONS, Asked
from pixtag.signals.trend import LIFT_HOURS
from pixtag.signals.words import BRIDGE_FLOOR
from pixtag.types import Doubles, Floats, Ints, Reason

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

LEAST_SAME_SUBJECT, SIMILAR_SLOTS = 0.5, 3
"""Cosine from which two photos are said to be like each other; own photos that may be the one."""

SMOOTH = 5.0
"""Uses that every tag is given when its usual share of all uses is taken."""

_TWO = float(np.log1p(1.5))
"""Above this a logged count of people is two or more."""

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


SAY: dict[str, Callable[[Facts], str]] = {
    "picture": _picture,
    "neighbours": _neighbours,
    "own uses": _own_uses,
    "own posts": _own_posts,
    "rising": _rising,
    "weekday": _weekday,
    "company": _company,
    "popular": _people,
}
"""What is said of each group of `REASONS`; empty where it would not be true."""


def contributions(weights: network.Weights, found: Candidates, row: int, places: Ints) -> Floats:
    """Measure what each group of signals added to the scores of some candidates.

    Args:
        weights: The network.
        found: Candidates and their features.
        row: Which of its questions.
        places: Which candidates of that question, `[K]`.

    Returns:
        Natural log units, `[K, G]`, in the order of `REASONS`.
    """
    # Every variant of a candidate is one more candidate of the same question, the whole one last.
    n = len(REASONS) + 1
    features = np.repeat(found.features[row, places][None], n, axis=0)
    members = {
        "own": np.repeat(found.own_member[row, places][None], n, axis=0),
        "near": np.repeat(found.near_member[row, places][None], n, axis=0),
    }
    for i, group in enumerate(REASONS):
        columns = FEATURES.of_reason(group)
        features[i, :, columns] = weights["norm/mean"][columns][:, None]
        if group in MEMORIES:
            members[MEMORIES[group]][i] = False
    inputs: dict[str, NDArray[Any]] = found.take(np.array([row])).inputs
    inputs["features"] = features.reshape(1, -1, features.shape[-1])
    for name, member in members.items():
        inputs[f"{name}_member"] = member.reshape(1, -1, member.shape[-1]).astype(np.float32)
    scores = network.scores(weights, inputs).reshape(n, len(places))
    return np.asarray(scores[-1] - scores[:-1], np.float32).T


@dataclass(frozen=True)
class Explained:
    """One question of a block, and what else its reasons need.

    Attributes:
        asked: What was read. found: The candidates. row: Which of the questions.
        at: The question's time, Unix seconds UTC.
        accepted: Tags that the person has chosen already.
        given: Tags of a typed history and how often each was mentioned.
    """

    asked: Asked
    found: Candidates
    row: int
    at: float
    accepted: Sequence[str]
    given: Mapping[str, int]

    def facts(self, places: Ints) -> list[Facts]:
        """What holds for some candidates, which are offered together, best first."""
        asked, view = self.asked, self.asked.view
        tags = self.found.tag[self.row, places]
        tick = np.full(len(tags), asked.tick[self.row])
        people, counts = view.named_with(tags, tick), view.counts(tags, tick)
        usual, elsewhere = self._usual(tags, counts.uses)
        partners = self._partners([asked.names[t] for t in tags.tolist()], tags)
        n_people = view.n_people(int(tick[0]))
        return [
            Facts(
                at=self.at,
                **self._of_photo(place, usual[i]),
                **self._of_person(place, tag),
                rise=self._rise(place),
                n_weekday=float(counts.on_weekday[i]),
                n_days=float(counts.days[i]),
                partner=partners[i],
                n_people=int(people[i]),
                n_all_people=n_people,
                share_elsewhere=float(elsewhere[i]),
            )
            for i, (place, tag) in enumerate(zip(places.tolist(), tags.tolist(), strict=True))
        ]

    def _feature(self, name: str, place: int) -> float:
        return float(self.found.features[self.row, place, FEATURES.column(name)])

    def _usual(self, tags: Ints, uses: Ints) -> tuple[Doubles, Doubles]:
        """Share of all uses that are of each tag, and share of the prior's posts with it."""
        asked, prior = self.asked, self.asked.knowledge.prior
        of_prior = asked.at_prior(prior.uses, tags)
        lately = asked.view.just_used(asked.tick[self.row : self.row + 1])[0]
        n_posts = float(asked.n_posts[self.row])
        total = n_posts * len(lately) / max(min(n_posts, 128.0), 1.0) + float(prior.uses.sum())
        usual = (uses + of_prior + SMOOTH) / (total + SMOOTH * asked.view.n_tags)
        people = asked.at_prior(prior.people, tags)
        return usual, np.maximum(of_prior, people) / max(prior.n_posts, 1)

    def _of_photo(self, place: int, usual: float) -> dict[str, Any]:
        found: dict[str, Any] = {
            "n_near": int(self.found.near_filled[self.row].sum()),
            "n_near_with": int(np.count_nonzero(self.found.near_member[self.row, place])),
        }
        if not self.asked.has_photo[self.row]:
            return found
        if self._feature("head_known", place) > 0:
            prob = np.exp(self._feature("head_log_prob", place))
            found["raise_log"] = _log_odds(prob) - _log_odds(usual)
        called = max(self._feature(name, place) for name in ("bridge", "kinds"))
        found["call"] = BRIDGE_FLOOR * float(np.expm1(called))
        found["likeness"] = self._feature("prototype", place)
        return found

    def _of_person(self, place: int, tag: int) -> dict[str, Any]:
        used, slot = self._own_uses
        used_at = self.asked.view.at(slot[used == tag])
        is_real = self.found.own_filled[self.row] & (self.found.own_rows[self.row] >= 0)
        carries = self.found.own_member[self.row, place] & is_real
        return {
            "n_given": self.given.get(self.asked.names[tag], 0),
            "n_own": len(used_at),
            "last_own_at": float(used_at.max(initial=-np.inf)),
            "n_own_posts": int(np.count_nonzero(carries)),
            "is_on_last": bool(carries[np.argmax(is_real)]),
            "is_on_alike": bool(carries[self._most_alike].any()),
        }

    @cached_property
    def _own_uses(self) -> tuple[Ints, Ints]:
        """Tag and post of the person's uses; the posts that stand for a typed history are none."""
        own = self.asked.own
        slot = own.slot[own.post]
        mine = (own.question[own.post] == self.row) & (slot >= 0)
        return own.tag[mine], slot[mine]

    @cached_property
    def _most_alike(self) -> Ints:
        """The slots of the person's posts whose photos are most like this one."""
        keys = self.found.own_keys[self.row]
        both, similarity = (
            keys[:, OWN_KEYS.index(name)] for name in ("has_both_photos", "similarity")
        )
        alike = np.flatnonzero((both > 0) & (similarity >= LEAST_SAME_SUBJECT))
        return alike[np.argsort(-similarity[alike], kind="stable")[:SIMILAR_SLOTS]]

    def _rise(self, place: int) -> float:
        lifts = [
            self._feature(f"trend_lift_{int(h)}h", place)
            for h in LIFT_HOURS
            if self._feature(f"trend_people_{int(h)}h", place) > _TWO
        ]
        return float(np.exp(max([0.0, *lifts])))

    def _partners(self, names: list[str], tags: Ints) -> list[str]:
        """The accepted tag, else an offered one, that each candidate goes with; or empty."""
        asked = self.asked
        every = [*dict.fromkeys(self.accepted), *names]
        usage = usage_of(asked, self.row, every, photos=False)
        n_posts = float(asked.n_posts[self.row]) + asked.knowledge.prior.n_posts
        n_accepted = len(every) - len(names)
        partners = [""] * len(names)
        for i in range(len(names)):
            mine = n_accepted + i
            for group in (range(n_accepted), range(n_accepted, len(every))):
                known = np.array([j for j in group if every[j] != every[mine]], np.int64)
                best = goes_with(
                    usage.together[known, mine],
                    usage.together[known, known],
                    float(usage.uses[mine]),
                    n_posts,
                )
                if best is not None:
                    partners[i] = every[known[best]]
                    break
        return partners


def _log_odds(prob: float) -> float:
    prob = min(max(float(prob), 1e-9), 1.0 - 1e-9)
    return float(np.log(prob / (1.0 - prob)))


def reasons(added: Sequence[float], facts: Facts) -> tuple[Reason, ...]:
    """Say why a tag is suggested.

    Args:
        added: What each group added to its score, `[G]`, natural log units, as in `REASONS`.
        facts: What holds.

    Returns:
        What raised the score and can be said in words, strongest first; where nothing did, the
        first thing that can be said at all; else that it is a guess.
    """
    found: list[Reason] = []
    for group, weight in sorted(zip(REASONS, added, strict=True), key=lambda pair: -pair[1]):
        # What added nothing is said only where nothing else can be.
        if weight < LEAST_WEIGHT and found:
            break
        if text := SAY[group](facts):
            found.append(Reason(REASONS[group], text, weight))
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
