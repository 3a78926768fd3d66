"""Why a tag is suggested: what each group of signals added to its score, in words that are true.

What a group added is the tag's score less its score when the group is silent: its features at
their mean, nothing copied from its memory (leave-one-group-out on the network that ranks). A
reason is said only when it both added something and holds for this very photo.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixtag import network
from pixtag.choose import usage_of
from pixtag.rank import Candidates
from pixtag.signals import FEATURES, MEMORIES, OWN_KEYS, REASONS, Asked, Questions
from pixtag.signals.calendar import LEAST_LIFT
from pixtag.signals.trend import LIFT_HOURS
from pixtag.signals.words import BRIDGE_FLOOR
from pixtag.types import Doubles, Floats, Ints, Reason

LEAST_WEIGHT = 0.01  # contributions below it, in log units, are no reason
LEAST_RAISE = 1.5  # log units by which a photo must raise a tag's log odds above its usual ones
LEAST_CALL = 0.01  # expected weight from which classes, or kinds of photos, call for a tag
LEAST_LIKENESS = 0.3  # mean cosine with a tag's photos from which a photo looks like them
LEAST_RISE = 1.5
LEAST_ON_WEEKDAY, LEAST_WEEKDAY_RATIO = 3, 1.35
LEAST_TOGETHER, LEAST_COMPANY_LIFT = 2, 1.5
LEAST_PEOPLE = 3  # fewer are not counted aloud
POPULAR_SHARE = 0.05  # of a store's people: from here a tag is popular among them
POPULAR_ELSEWHERE = 0.02  # of the posts behind the model's prior
LEAST_SAME_SUBJECT = 0.5  # cosine from which two photos are said to be like each other
SIMILAR_SLOTS = 3  # own photos that may be the one like this
SMOOTH = 5.0  # uses that every tag is given when its usual share of all uses is taken

_TWO = float(np.log1p(1.5))  # above it a logged count of people is two or more
_WEEKDAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
_ALIKE = ("has_both_photos", "similarity")
_DAY_S = 86_400.0
_UNITS = ("year", "month", "week", "day", "hour", "minute")
_UNITS_S = (31_557_600, 2_630_016, 604_800, 86_400, 3600, 60)


@dataclass(frozen=True, slots=True)
class Facts:
    """What holds for one candidate on one photo: everything that a reason may say."""

    at: float  # the question's time, Unix seconds UTC
    # What the pixel head adds to the tag's usual log odds; None without a photo or a known tag.
    raise_log: float | None = None
    call: float = 0.0  # expected weight by classes or kinds, the larger; 0 without a photo
    likeness: float = 0.0  # mean cosine with the photos that carried it; 0 without any
    n_near: int = 0  # most similar photos looked at
    n_near_with: int = 0  # those of them that carry it
    n_given: int = 0  # mentions in a typed history
    n_own: int = 0  # own uses
    last_own_at: float = -np.inf  # the last of them, Unix seconds UTC
    n_own_posts: int = 0  # the person's latest posts that carry it
    is_on_last: bool = False  # whether the last does
    is_on_alike: bool = False  # whether one of those does whose photo looks like this one
    rise: float = 1.0  # rate among others over the usual one, of the best window
    n_weekday: float = 0.0  # uses on this day of the week, once a person and day
    n_days: float = 0.0  # the same on all days
    weekday_lift: float = 0.0  # log lift of this day of the week, by the calendar
    season_lift: float = 0.0  # of this time of the year, by the calendar or the store
    partner: str = ""  # a tag on the same photo that it goes with
    n_people: int = 0  # people of the store who used it
    n_all_people: int = 0  # all people of the store
    share_elsewhere: float = 0.0  # share of the posts behind the model's prior that carry it


def said(facts: Facts) -> dict[str, str]:
    """What holds of each group of `REASONS`, in words; empty where nothing does."""
    texts = dict.fromkeys(REASONS, "")
    is_raised = (facts.raise_log or 0.0) >= LEAST_RAISE
    is_alike = facts.raise_log is None and facts.likeness >= LEAST_LIKENESS
    if is_raised or is_alike or facts.call >= LEAST_CALL:
        texts["picture"] = "in the picture"
    if n := facts.n_near_with:
        texts["neighbours"] = f"on {n} of the {facts.n_near} most similar photos"
    if n := facts.n_given or facts.n_own:
        times = f", {n:,} times" if n > 1 else ""
        age_s = 0.0 if facts.n_given else facts.at - facts.last_own_at
        used = "in the history you gave" if facts.n_given else f"you used it {ago(age_s)}"
        texts["own uses"] = used + times
    if n := facts.n_own_posts:
        is_last = facts.is_on_last and n == 1
        latest = "on your last post" if is_last else f"on {n} of your latest posts"
        texts["own posts"] = "on a photo of yours like this" if facts.is_on_alike else latest
    if facts.rise >= LEAST_RISE:
        times = f"{facts.rise:.{0 if facts.rise >= 3 else 1}f}"
        texts["rising"] = f"rising: {times} times its usual rate"
    is_counted = facts.n_weekday >= max(LEAST_ON_WEEKDAY, LEAST_WEEKDAY_RATIO * facts.n_days / 7)
    if is_counted or facts.weekday_lift >= LEAST_LIFT:
        today = int((facts.at // _DAY_S + 3) % 7)  # 1970 began on a Thursday
        texts["weekday"] = f"usual on {_WEEKDAYS[today]} (UTC)"
    if facts.season_lift >= LEAST_LIFT:
        texts["season"] = "usual at this time of the year"
    if facts.partner:
        texts["company"] = f"goes with #{facts.partner}"
    if (n := facts.n_people) >= LEAST_PEOPLE:
        popular = "popular: " if n >= POPULAR_SHARE * facts.n_all_people else ""
        texts["popular"] = f"{popular}{n:,} people use it"
    elif facts.share_elsewhere >= POPULAR_ELSEWHERE:
        texts["popular"] = "popular"
    return texts


def reasons(added: Sequence[float], facts: Facts) -> tuple[Reason, ...]:
    """Say what raised a tag's score, strongest first, by what each group added, `[G]` log units.

    Where nothing that added can be said, the first thing that is true; else that it is a guess.
    """
    texts, found = said(facts), list[Reason]()
    for group, weight in sorted(zip(REASONS, added, strict=True), key=lambda pair: -pair[1]):
        # What added nothing is said only where nothing else can be.
        if weight < LEAST_WEIGHT and found:
            break
        if texts[group]:
            found.append(Reason(REASONS[group], texts[group], weight))
    return tuple(found) or (Reason("general", "a guess: little speaks for it", 0.0),)


def contributions(weights: network.Weights, found: Candidates, row: int, places: Ints) -> Floats:
    """What each group of `REASONS` added to the scores of candidates of a question, `[K, G]`."""
    # Every variant of a candidate is one more candidate of the same question, the whole one last.
    n = len(REASONS) + 1
    inputs: dict[str, NDArray[Any]] = found.take(np.array([row])).inputs
    names = ("features", *(f"{memory}_member" for memory in MEMORIES.values()))
    varied = {name: np.repeat(inputs[name][:, places], n, axis=0) for name in names}
    for i, group in enumerate(REASONS):
        columns = FEATURES.of_reason(group)
        varied["features"][i][:, columns] = weights["norm/mean"][columns]
        if group in MEMORIES:
            varied[f"{MEMORIES[group]}_member"][i] = 0.0
    inputs |= {name: part.reshape(1, -1, part.shape[-1]) for name, part in varied.items()}
    scores = network.scores(weights, inputs).reshape(n, len(places))
    return np.asarray(scores[-1] - scores[:-1], np.float32).T


def facts_of(
    asked: Asked, found: Candidates, row: int, places: Ints, question: Questions
) -> list[Facts]:
    """Gather what holds for candidates `[K]`, offered together, of one question (`row`)."""
    given = Counter(question.history[0])
    view, own, has_photo = asked.view, asked.own, bool(asked.has_photo[row])
    tags, features = found.tag[row, places], found.features[row, places].astype(np.float64)
    names, tick = [asked.names[t] for t in tags.tolist()], np.full(len(tags), asked.tick[row])
    counts, people = view.counts(tags, tick), view.named_with(tags, tick)
    usual, elsewhere = _usual(asked, row, tags, counts.uses)
    n_all_people = view.n_people(int(tick[0]))

    def of(name: str) -> Doubles:
        return features[:, FEATURES.column(name)]

    raised = _log_odds(np.exp(of("head_log_prob"))) - _log_odds(usual)
    is_raise_known = of("head_known") * has_photo > 0
    call = BRIDGE_FLOOR * np.expm1(np.maximum(of("bridge"), of("kinds"))) * has_photo
    # The posts that stand for a typed history are nobody's.
    mine = (own.question[own.post] == row) & (own.slot[own.post] >= 0)
    used_at = [view.at(own.slot[own.post[mine & (own.tag == t)]]) for t in tags.tolist()]
    is_real = found.own_filled[row] & (found.own_rows[row] >= 0)
    carries = found.own_member[row, places] & is_real
    both, similarity = (found.own_keys[row, :, OWN_KEYS.index(name)] for name in _ALIKE)
    alike = np.flatnonzero((both > 0) & (similarity >= LEAST_SAME_SUBJECT))
    alike = alike[np.argsort(-similarity[alike], kind="stable")[:SIMILAR_SLOTS]]
    windows = [f"{int(hours)}h" for hours in LIFT_HOURS]
    lifts = [np.where(of(f"trend_people_{w}") > _TWO, of(f"trend_lift_{w}"), 0.0) for w in windows]
    partners = _partners(asked, row, names, list(question.accepted[0]))
    return [
        Facts(
            at=float(question.at[0]),
            raise_log=float(raised[i]) if is_raise_known[i] else None,
            call=float(call[i]),
            likeness=float(of("prototype")[i] * has_photo),
            n_near=int(found.near_filled[row].sum()),
            n_near_with=int(np.count_nonzero(found.near_member[row, place])),
            n_given=given[names[i]],
            n_own=len(used_at[i]),
            last_own_at=float(used_at[i].max(initial=-np.inf)),
            n_own_posts=int(np.count_nonzero(carries[i])),
            is_on_last=bool(carries[i, np.argmax(is_real)]),
            is_on_alike=bool(carries[i, alike].any()),
            rise=float(np.exp(max(0.0, *(lift[i] for lift in lifts)))),
            n_weekday=float(counts.on_weekday[i]),
            n_days=float(counts.days[i]),
            weekday_lift=float(of("calendar_weekday_lift")[i]),
            season_lift=float(max(of("calendar_lift")[i], of("season_lift")[i])),
            partner=partners[i],
            n_people=int(people[i]),
            n_all_people=n_all_people,
            share_elsewhere=float(elsewhere[i]),
        )
        for i, place in enumerate(places.tolist())
    ]


def _usual(asked: Asked, row: int, tags: Ints, uses: Ints) -> tuple[Doubles, Doubles]:
    """Share of all uses that are of each tag, and share of the prior's posts with it."""
    prior = asked.knowledge.prior
    of_prior, people = asked.at_prior(prior.uses, tags), asked.at_prior(prior.people, tags)
    lately = asked.view.just_used(asked.tick[row : row + 1])[0]
    n_posts = float(asked.n_posts[row])
    total = n_posts * len(lately) / max(min(n_posts, 128.0), 1.0) + float(prior.uses.sum())
    usual = (uses + of_prior + SMOOTH) / (total + SMOOTH * asked.view.n_tags)
    return usual, np.maximum(of_prior, people) / max(prior.n_posts, 1)


def _partners(asked: Asked, row: int, names: list[str], accepted: list[str]) -> list[str]:
    """The accepted tag, else an offered one, that each candidate goes with; or empty."""
    every = np.array([*accepted, *names], np.object_)
    usage = usage_of(asked, row, every.tolist(), photos=False)
    n_posts = float(asked.n_posts[row]) + asked.knowledge.prior.n_posts

    def partner(mine: int) -> str:
        for group in np.split(np.arange(len(every)), [len(accepted)]):
            other = group[every[group] != every[mine]]
            together, uses = usage.together[other, mine], usage.together[other, other]
            best = goes_with(together, uses, float(usage.uses[mine]), n_posts)
            if best is not None:
                return str(every[other[best]])
        return ""

    return [partner(len(accepted) + i) for i in range(len(names))]


def _log_odds(probs: Doubles) -> Doubles:
    probs = np.clip(probs, 1e-9, 1.0 - 1e-9)
    return np.log(probs / (1.0 - probs))


def goes_with(together: Floats, uses: Floats, tag_uses: float, n_posts: float) -> int | None:
    """Choose which of Q tags, on `uses [Q]` posts, another goes with, on `together [Q]` of them.

    Where its share is highest (shrunk); None where none has two posts with it and half as much
    again as its usual share, `tag_uses` of `n_posts`.
    """
    share = together / np.maximum(uses, 1.0)
    usual = tag_uses / max(n_posts, 1.0)
    fits = (together >= LEAST_TOGETHER) & (share >= LEAST_COMPANY_LIFT * usual)
    best = np.where(fits, together / (uses + 3.0), 0.0)
    return int(np.argmax(best)) if fits.any() else None


def ago(age_s: float) -> str:
    """Say how long ago something was, by its age in seconds.

    Example:
        >>> ago(3 * 86400), ago(86400 * 400), ago(30)
        ('3 days ago', '1 year ago', 'just now')
    """
    for name, length_s in zip(_UNITS, _UNITS_S, strict=True):
        if (n := int(age_s / length_s)) >= 1:
            return f"{n} {name}{'s' if n > 1 else ''} ago"
    return "just now"
