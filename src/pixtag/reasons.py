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
from pixtag.candidates import Candidates
from pixtag.signals import FEATURES, MEMORIES, OWN_KEYS, REASONS, Asked, Pairs
from pixtag.signals.calendar import LEAST_LIFT
from pixtag.signals.trend import LEAST_PEOPLE, LEAST_RISE, LIFT_HOURS
from pixtag.signals.words import BRIDGE_FLOOR
from pixtag.synonyms import usage_of
from pixtag.types import Doubles, Floats, Ints, Reason

LEAST_WEIGHT = 0.01  # contributions below it, in log units, are no reason
LEAST_RAISE = 1.5  # log units by which a photo must raise a tag's log odds above its usual ones
LEAST_CALL = 0.08  # expected weight from which classes, or kinds of photos, call for a tag
LEAST_LIKENESS = 0.3  # mean cosine with a tag's photos from which a photo looks like them
LEAST_ON_WEEKDAY, LEAST_WEEKDAY_RATIO = 3, 1.35
LEAST_TOGETHER, LEAST_COMPANY_LIFT = 2, 1.5
POPULAR_SHARE = 0.05  # of a store's people: from here a tag is popular among them
POPULAR_ELSEWHERE = 0.02  # of the posts behind the model's prior
LEAST_SAME_SUBJECT = 0.5  # cosine from which two photos are said to be like each other
SIMILAR_SLOTS = 3  # own photos that may be the one like this
SMOOTH = 5.0  # uses that every tag is given when its usual share of all uses is taken

_TWO = float(np.log1p(1.5))  # above it a logged count of people is two or more
_WEEKDAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
_LIFTS, _PEOPLE = (
    FEATURES.columns([f"trend_{of}_{int(hours)}h" for hours in LIFT_HOURS])
    for of in ("lift", "people")
)
_WEEKDAY = FEATURES.column("calendar_weekday_lift")
_SEASON = FEATURES.columns(["calendar_lift", "season_lift"])
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
    outside: str = ""  # who uses it outside the store, in words
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
    if facts.outside:
        texts["rising"] = facts.outside
    elif facts.rise >= LEAST_RISE:
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


def contributions(weights: network.Weights, found: Candidates, rows: Ints, places: Ints) -> Floats:
    """What each group of `REASONS` added to the scores of candidates of a block, `[K, G]`.

    Args:
        weights: The network.
        found: Candidates of B questions.
        rows: Question of each of K candidates, ascending, `[K]`.
        places: Their places among the question's candidates, `[K]`.
    """
    # Every variant of a candidate is one more candidate of its question, the whole one last.
    n, n_rows = len(REASONS) + 1, len(found)
    count = np.bincount(rows, minlength=n_rows)
    nth = np.arange(len(rows)) - (np.cumsum(count) - count)[rows]
    at = np.zeros((n_rows, int(count.max(initial=0))), np.int64)
    at[rows, nth] = places

    def variants(values: NDArray[Any]) -> Floats:
        picked = np.take_along_axis(values, at[:, :, None], axis=1).astype(np.float32)
        return np.repeat(picked[:, None], n, axis=1)  # [B, G + 1, K of a question, ...]

    features = variants(found.features)
    np.copyto(features[:, :-1], weights["norm/mean"], where=FEATURES.by_reason[:, None, :])
    inputs: dict[str, Any] = {"context": found.context, "features": features}
    for memory in MEMORIES.values():
        for name in (f"{memory}_keys", f"{memory}_filled"):
            inputs[name] = getattr(found, name).astype(np.float32, copy=False)
        inputs[f"{memory}_member"] = variants(getattr(found, f"{memory}_member"))
    for i, group in enumerate(REASONS):
        if group in MEMORIES:
            inputs[f"{MEMORIES[group]}_member"][:, i] = 0.0
    for name in ("features", *(f"{memory}_member" for memory in MEMORIES.values())):
        one = inputs[name]
        inputs[name] = one.reshape(n_rows, at.shape[1] * n, one.shape[-1])
    scores = network.scores(weights, inputs).reshape(n_rows, n, at.shape[1])[rows, :, nth]
    return np.asarray(scores[:, -1:] - scores[:, :-1], np.float32)


def facts_of(
    asked: Asked,
    found: Candidates,
    rows: Ints,
    places: Ints,
    *,
    at: Sequence[float],
    history: Sequence[Sequence[str]],
) -> list[Facts]:
    """Gather what holds for candidates of a block, those of a question offered together.

    Args:
        asked: B questions.
        found: Their candidates.
        rows: Question of each of K candidates, ascending, `[K]`.
        places: Their places among the question's candidates, `[K]`.
        at: Unix seconds UTC of each question, B of them.
        history: What was typed with each, B of them.
    """
    given = [Counter(typed) for typed in history]
    view, has_photo = asked.view, asked.has_photo[rows]
    tags, features = found.tag[rows, places], found.features[rows, places].astype(np.float64)
    names, tick, row_of = [asked.names[t] for t in tags.tolist()], asked.tick[rows], rows.tolist()
    pair, counts = asked.pairs.find(rows, tags), asked.facts(asked.pairs)
    uses, people = counts.uses[pair], view.named_with(tags, tick)
    usual, elsewhere = _usual(asked, rows, tags, uses)
    n_all_people = {moment: view.n_people(moment) for moment in set(tick.tolist())}

    def of(name: str) -> Doubles:
        return features[:, FEATURES.column(name)]

    raised = _log_odds(np.exp(of("head_log_prob"))) - _log_odds(usual)
    is_raise_known = np.logical_and(of("head_known") > 0, has_photo)
    call = BRIDGE_FLOOR * np.expm1(np.maximum(of("bridge"), of("kinds"))) * has_photo
    likeness = of("prototype") * has_photo
    n_own, last_own_at = _own_uses(asked, rows, tags)
    n_near = np.count_nonzero(found.near_filled, axis=1)[rows]
    n_near_with = np.count_nonzero(found.near_member[rows, places], axis=1)
    is_real = np.logical_and(found.own_filled, found.own_rows >= 0)
    carries = found.own_member[rows, places] & is_real[rows]
    both, similarity = (found.own_keys[:, :, OWN_KEYS.index(name)] for name in _ALIKE)
    likest = np.where((both > 0) & (similarity >= LEAST_SAME_SUBJECT), similarity, -np.inf)
    slot = np.argsort(-likest, axis=1, kind="stable")[:, :SIMILAR_SLOTS]
    is_alike = np.isfinite(np.take_along_axis(likest, slot, axis=1))
    on_alike = np.take_along_axis(carries, slot[rows], axis=1) & is_alike[rows]
    is_on_alike = np.count_nonzero(on_alike, axis=1) > 0
    last = np.argmax(is_real, axis=1)[rows, None]
    is_on_last = np.take_along_axis(carries, last, axis=1)[:, 0]
    is_many = features[:, _PEOPLE] > _TWO
    rise = np.exp(np.where(is_many, features[:, _LIFTS], 0.0).max(axis=1, initial=0.0))
    n_own_posts = np.count_nonzero(carries, axis=1)
    partners = [
        partner
        for row in dict.fromkeys(row_of)
        for partner in _partners(asked, row, tags[rows == row])
    ]
    return [
        Facts(
            at=at[row],
            raise_log=float(raised[i]) if is_raise_known[i] else None,
            call=float(call[i]),
            likeness=float(likeness[i]),
            n_near=int(n_near[i]),
            n_near_with=int(n_near_with[i]),
            n_given=given[row][names[i]],
            n_own=n_own[i],
            last_own_at=last_own_at[i],
            n_own_posts=int(n_own_posts[i]),
            is_on_last=bool(is_on_last[i]),
            is_on_alike=bool(is_on_alike[i]),
            outside=_outside(asked, row, int(tags[i]), at[row]),
            rise=float(rise[i]),
            n_weekday=float(counts.on_weekday[pair[i]]),
            n_days=float(counts.days[pair[i]]),
            weekday_lift=float(features[i, _WEEKDAY]),
            season_lift=float(features[i, _SEASON].max()),
            partner=partners[i],
            n_people=int(people[i]),
            n_all_people=n_all_people[int(tick[i])],
            share_elsewhere=float(elsewhere[i]),
        )
        for i, row in enumerate(row_of)
    ]


def _outside(asked: Asked, row: int, tag: int, at: float) -> str:
    """Say who uses a tag outside the store, and whether more than usual; empty if nobody does."""
    found = None if asked.heard is None else asked.heard.said(row, tag)
    if found is None:
        return ""
    crowd, i = found
    n, is_known = int(crowd.accounts[i]), not np.isnan(crowd.usual[i])
    if n < LEAST_PEOPLE or (is_known and crowd.times[i] < LEAST_RISE):
        return ""
    days = max(int(at // _DAY_S) - int(crowd.day[i]), 0)
    return used_outside(crowd.source[i], n, days, is_rising=is_known)


def used_outside(source: str, n_people: int, days_ago: int, *, is_rising: bool) -> str:
    """Say how many people use a tag outside the store, and of which day that is known.

    Example:
        >>> used_outside("a.example", 1200, 1, is_rising=True)
        'rising on a.example: 1,200 people yesterday'
    """
    when = ("today", "yesterday")[days_ago] if days_ago < 2 else f"{days_ago} days ago"
    return f"{'rising' if is_rising else 'used'} on {source}: {n_people:,} people {when}"


def _own_uses(asked: Asked, rows: Ints, tags: Ints) -> tuple[list[int], list[float]]:
    """How often the person used each tag, and when last (Unix seconds UTC), typed uses apart."""
    own, n = asked.own, len(tags)
    # The posts that stand for a typed history are nobody's.
    use = np.flatnonzero(own.slot[own.post] >= 0)
    post = own.post[use]
    order = np.lexsort((tags, rows))
    pairs = Pairs(rows[order], tags[order], n_questions=len(asked), n_tags=asked.n_tags)
    of_pair = pairs.find(own.question[post], own.tag[use])
    last = np.full(n + 1, -1, np.int64)
    last[of_pair] = own.slot[post]  # the last of several stays
    count, latest = np.zeros(n, np.int64), np.full(n, -np.inf)
    count[order] = np.bincount(of_pair, minlength=n + 1)[:-1]
    is_used = last[:-1] >= 0
    latest[order[is_used]] = asked.view.at(last[:-1][is_used])
    return count.tolist(), latest.tolist()


def _usual(asked: Asked, rows: Ints, tags: Ints, uses: Doubles) -> tuple[Doubles, Doubles]:
    """Share of all uses that are of each tag, and share of the prior's posts with it."""
    prior = asked.knowledge.prior
    of_prior, people = asked.at_prior(prior.uses, tags), asked.at_prior(prior.people, tags)
    n_lately = np.bincount(asked.just_used[0], minlength=len(asked))
    n_posts = asked.n_posts.astype(np.float64)
    total = n_posts * n_lately / np.maximum(np.minimum(n_posts, 128.0), 1.0) + prior.n_uses
    usual = (uses + of_prior + SMOOTH) / (total[rows] + SMOOTH * asked.view.n_tags)
    return usual, np.maximum(of_prior, people) / max(prior.n_posts, 1)


def _partners(asked: Asked, row: int, tags: Ints) -> list[str]:
    """The accepted tag, else an offered one, that each candidate goes with; or empty."""
    accepted = asked.accepted[row]
    every = np.append(accepted, tags)
    usage = usage_of(asked, row, every)
    n_posts = float(asked.n_posts[row]) + asked.knowledge.prior.n_posts
    mine = usage.uses[len(accepted) :]
    partners = [""] * len(tags)
    for other in (slice(len(accepted)), slice(len(accepted), None)):
        together, uses = usage.together[other, len(accepted) :], usage.together.diagonal()[other]
        together = np.where(every[other, None] == tags, 0.0, together)
        for i, best in enumerate(goes_with(together, uses, mine, n_posts).tolist()):
            if best >= 0 and not partners[i]:
                partners[i] = asked.names[every[other][best]]
    return partners


def _log_odds(probs: Doubles) -> Doubles:
    probs = np.clip(probs, 1e-9, 1.0 - 1e-9)
    return np.log(probs / (1.0 - probs))


def goes_with(together: Floats, uses: Floats, tag_uses: Floats, n_posts: float) -> Ints:
    """Choose which of Q tags, on `uses [Q]` posts, each of K others goes with, `[K]`.

    They are on `together [Q, K]` of these posts. Where the share is highest (shrunk); -1 where none
    has two posts with it and half as much again as its usual share, `tag_uses [K]` of `n_posts`.
    """
    if not len(uses):
        return np.full(len(tag_uses), -1)
    share = together / np.maximum(uses, 1.0)[:, None]
    usual = tag_uses / max(n_posts, 1.0)
    fits = (together >= LEAST_TOGETHER) & (share >= LEAST_COMPANY_LIFT * usual)
    best = np.where(fits, together / (uses[:, None] + 3.0), 0.0)
    return np.where(fits.any(axis=0), np.argmax(best, axis=0), -1)


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
