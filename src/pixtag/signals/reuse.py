"""The person's own uses: base-level learning, recency, rhythm, and habits of whole sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pixtag.evidence import DAY_TICKS, HOUR_TICKS, OwnPosts, is_first
from pixtag.signals.asked import Asked, Pairs, strongest, sums
from pixtag.signals.spec import Feature, Signal
from pixtag.types import Doubles, Floats, Ints, Numbers

DECAYS = (0.5, 1.0, 1.7)
POST_SCALES = (2.0, 8.0, 32.0, 128.0, 512.0)
"""Own posts over which a use fades to 1/e."""

MINUTE_TICKS = HOUR_TICKS // 60
YEAR_TICKS = int(365.25 * DAY_TICKS)
SEASON_TICKS = 4 * DAY_TICKS
RHYTHM_SHRINK = 2.0
"""Uses at the person's usual times that a tag is given on top of its own."""

GAP_FADE = 0.8
"""Weight of a gap between uses against the gap after it."""

NEVER_LOG_HOURS, NEVER_LOG_POSTS = 12.0, 8.0

HABIT_POSTS = 256
"""Latest posts of a person whose sets are compared with the last one."""

HABIT_FADE_POSTS = 128.0
HABIT_SHRINK = 0.5
HABIT_FLOOR = 1e-3

REUSE_NAMES = (
    *(f"reuse_decay_{d}" for d in DECAYS),
    *(f"reuse_posts_{int(s)}" for s in POST_SCALES),
    "own_uses_log",
    "own_share",
    "own_last_log_hours",
    "own_last_log_posts",
    "own_in_last_post",
    "own_hour_lift",
    "own_weekday_lift",
    "own_season",
    "due_hours",
    "due_posts",
    "gap_log_posts",
    "gap_spread",
)
HABIT_NAMES = (
    "habit_recent",
    "habit_follows",
    "habit_follows_same",
    "habit_beside",
    "habit_hour",
    "habit_weekday",
    "habit_gap",
    "habit_moment",
)


def propose_own(asked: Asked, *, limit: int, many: int, further: int) -> tuple[Ints, Ints]:
    """The person's own tags, the strongest by uses that fade over several scales of posts.

    Args:
        asked: The questions.
        limit: Proposals a question.
        many: Tags beyond which a person gets one more proposal each.
        further: Most further proposals.

    Returns:
        Question and tag of each proposal.
    """
    own = asked.own
    if not len(own.tag):
        return own.tag, own.tag
    scales = np.array(POST_SCALES, np.float32)[:, None]
    fading = (np.exp(-own.rank.astype(np.float32) / scales) / scales).sum(axis=0)
    pairs = asked.own_pairs
    strength = pairs.total(own.question[own.post], own.tag, fading[own.post])
    beyond = np.bincount(pairs.question, minlength=len(asked)) - many
    log = np.log(np.maximum(strength, 1e-30))
    kept = strongest(
        pairs.question, log, asked.ties[pairs.tag], limit=limit + np.clip(beyond, 0, further)
    )
    return pairs.question[kept], pairs.tag[kept]


@dataclass(frozen=True)
class _Uses:
    """Own uses of the candidates, by pair and then time.

    Shapes:
        A: uses. G: candidates that were used.

    Attributes:
        pair: `[A]`. post: `[A]`. first: Place of each candidate's first use, `[G]`.
        n: Uses of each candidate, `[G]`.
    """

    pair: Ints
    post: Ints
    first: Ints
    n: Ints

    @classmethod
    def of(cls, own: OwnPosts, pairs: Pairs) -> _Uses:
        found = pairs.find(own.question[own.post], own.tag)
        kept = np.flatnonzero(found < len(pairs))
        small = np.uint16 if len(pairs) < 1 << 16 else np.int64  # few bits are sorted quickly
        order = kept[np.argsort(found[kept].astype(small), kind="stable")]
        pair = found[order]
        first = np.flatnonzero(is_first(pair))
        return cls(pair, own.post[order], first, np.bincount(pair)[pair[first]])

    def sum(self, values: Numbers) -> Doubles:
        """Sums `[..., G]` of values `[..., A]`."""
        return np.add.reduceat(values, self.first, axis=-1)


def _reuse(asked: Asked, pairs: Pairs) -> Floats:
    """Base-level learning (Anderson and Schooler 1991; Kowald et al. 2017) and its kin.

    The log of the summed uses of a tag, each discounted by a power law of its age; the same with
    the person's own posts as the clock; whether it is the tag's hour, weekday and season; whether
    it is due: the age of the last use over the usual gap between uses.
    """
    own = asked.own
    out = np.zeros((len(pairs), len(REUSE_NAMES)), np.float32)
    place = {name: i for i, name in enumerate(REUSE_NAMES)}
    out[:, place["own_last_log_hours"]] = NEVER_LOG_HOURS
    out[:, place["own_last_log_posts"]] = NEVER_LOG_POSTS
    uses = _Uses.of(own, pairs)
    if not len(uses.pair):
        return out
    age = np.maximum(asked.tick[own.question] - own.tick, 1)
    # What depends on the post alone is worked out once a post, not once a use.
    of_post = np.log(np.maximum(age, MINUTE_TICKS) / HOUR_TICKS)
    log_hours, post_rank = of_post[uses.post], own.rank.astype(np.float64)
    rank = post_rank[uses.post]
    last = uses.first + uses.n - 1
    at = uses.pair[uses.first]
    question = pairs.question[at]
    powers = [-decay * of_post for decay in DECAYS] + [-post_rank / scale for scale in POST_SCALES]
    total = uses.sum(np.exp(powers)[:, uses.post])
    out[at, : len(total)] = (np.log(np.maximum(total, 1e-5)) - np.log(1e-5)).T
    columns = {
        "own_uses_log": np.log1p(uses.n),
        "own_share": uses.n / own.n[question],
        "own_last_log_hours": log_hours[last],
        "own_last_log_posts": np.log1p(rank[last]),
        "own_in_last_post": rank[last] == 0,
        **_rhythm(asked, uses, age, post_rank, question),
        **_gaps(own, uses, log_hours, rank, last),
    }
    out[at[:, None], [place[name] for name in columns]] = np.array([*columns.values()]).T
    return out


def _rhythm(
    asked: Asked, uses: _Uses, age: Ints, rank: Doubles, question: Ints
) -> dict[str, Numbers]:
    """Log lift of a tag near this hour and this time of the week, and its uses of the season."""
    weight = np.exp(-rank / POST_SCALES[-1])
    count = uses.sum(weight[uses.post])
    every = np.bincount(question, weights=count, minlength=len(asked)) + 1e-6
    faded = weight[uses.post[uses.first + uses.n - 1]]
    kernels = [fejer(age / DAY_TICKS, order=4), fejer(age / (7 * DAY_TICKS), order=6)]
    near = uses.sum((weight * kernels)[:, uses.post])
    usual = sums(question, near, n=len(asked)) + 1e-6
    usual = np.maximum(usual / every, 0.05)[:, question]
    # Counted from the last use on, so that a tag long unused keeps its rhythm.
    lift = (near / faded + RHYTHM_SHRINK * usual) / (count / faded + RHYTHM_SHRINK) / usual
    by_hour, by_weekday = np.log(np.maximum(lift, 1e-9))
    years = np.round(age / YEAR_TICKS)
    in_season = (years > 0) & (np.abs(age - years * YEAR_TICKS) <= SEASON_TICKS)
    return {
        "own_hour_lift": by_hour,
        "own_weekday_lift": by_weekday,
        "own_season": np.log1p(uses.sum(in_season.astype(np.float64)[uses.post])),
    }


def _gaps(
    own: OwnPosts, uses: _Uses, log_hours: Doubles, rank: Doubles, last: Ints
) -> dict[str, Numbers]:
    """How the age of the last use compares with the usual gap between uses."""
    at, place = own.tick[uses.post], own.place[uses.post]
    inner = np.ones(len(at), np.bool_)
    inner[uses.first] = False
    hours, posts = np.zeros(len(at)), np.zeros(len(at))
    hours[1:] = np.log(np.maximum(at[1:] - at[:-1], MINUTE_TICKS) / HOUR_TICKS)
    posts[1:] = np.log(np.maximum(place[1:] - place[:-1], 1))
    newer = np.repeat(last, uses.n) - np.arange(len(at))
    weight = np.where(inner, GAP_FADE**newer, 0.0)
    total, *means = uses.sum(weight * [np.ones(len(at)), hours, posts, posts**2])
    mean_hours, mean_posts, square = means / np.maximum(total, 1e-9)
    regular = uses.n > 1
    return {
        "due_hours": np.where(regular, log_hours[last] - mean_hours, 0.0),
        "due_posts": np.where(regular, np.log1p(rank[last]) - mean_posts, 0.0),
        "gap_log_posts": np.where(regular, mean_posts, NEVER_LOG_POSTS),
        "gap_spread": np.sqrt(np.maximum(square - mean_posts**2, 0.0)) * regular,
    }


def fejer(turns: Doubles, *, order: int) -> Doubles:
    """The Fejer kernel of a number of whole turns: peaks at whole numbers, mean 1.

    Example:
        >>> float(fejer(np.array([1.0]), order=4)[0])
        5.0
    """
    half = np.pi * (turns - np.round(turns))
    sine = np.sin(half)
    small = np.abs(sine) < 1e-6
    ratio = np.sin((order + 1) * half) / np.where(small, 1.0, sine)
    return np.where(small, order + 1.0, ratio**2 / (order + 1))


def _habits(asked: Asked, pairs: Pairs) -> Floats:
    """Log shares of the person's earlier sets that carry a tag, by how alike the moment was.

    A set is weighted by what came before it (how much the set before it overlaps with the last
    one), by its own overlap with the last one, by hour, by weekday and by the gap before it.
    Each share is shrunk to the share among all recent sets.
    """
    out = np.zeros((len(pairs), len(HABIT_NAMES)), np.float32)
    own = asked.own.last(HABIT_POSTS + 1)
    if not len(own.question):
        return out
    weights = np.stack(_habit_weights(asked, own))
    found = pairs.find(own.question[own.post], own.tag)
    carried = sums(found, weights[:, own.post], n=len(pairs) + 1)[:, :-1]
    total = sums(own.question, weights, n=len(asked))[:, pairs.question] + HABIT_SHRINK
    carried[1:] += HABIT_SHRINK * (carried[0] / total[0])
    return np.log(carried / total / HABIT_FLOOR + 1.0).T.astype(np.float32)


def overlaps_with_last(own: OwnPosts, *, n_tags: int) -> Doubles:
    """Shared tags over all tags (Jaccard) of each own set and the person's last one, `[H]`."""
    stop = np.cumsum(own.n) - 1
    is_last = np.zeros(len(own.question), np.bool_)
    is_last[stop[own.n > 0]] = True
    of_last = is_last[own.post]
    key = own.question[own.post] * n_tags + own.tag
    # Membership by a table of untouched zero pages, one for every (question, tag).
    in_last = np.zeros(len(own.n) * n_tags + 1, np.bool_)
    in_last[key[of_last]] = True
    shared = np.bincount(own.post, weights=in_last[key], minlength=len(own.question))
    n_last = own.n_tags[stop[own.question]]
    return shared / np.maximum(own.n_tags + n_last - shared, 1.0)


def _habit_weights(asked: Asked, own: OwnPosts) -> list[Doubles]:
    """The weight of each earlier set for each of `HABIT_NAMES`, `[H]` each."""
    question, rank = own.question, own.rank
    alike = overlaps_with_last(own, n_tags=asked.n_tags)
    has_before = ~is_first(question)
    before, gap = np.zeros(len(alike)), own.tick.copy()
    before[1:] = alike[:-1] * has_before[1:]
    gap[1:] -= own.tick[:-1]
    gap = np.maximum(gap, MINUTE_TICKS)
    last = (np.cumsum(own.n) - 1)[question]
    now_gap = np.maximum(asked.tick[question] - own.tick[last], MINUTE_TICKS)
    days = (asked.tick[question] - own.tick) / DAY_TICKS
    recent = np.exp(-rank / HABIT_FADE_POSTS)
    hour = np.abs(days - np.round(days)) < 1.5 / 24
    weekday = np.abs(days / 7.0 - np.round(days / 7.0)) < 0.25 / 7
    closeness = np.log(gap) - np.log(now_gap)
    gap_close = np.where(has_before, np.exp(-2.0 * closeness**2), 0.0)
    moment = (0.05 + before) * (0.2 + hour) * (0.2 + gap_close) * np.exp(-rank / 64.0)
    return [
        recent,
        recent * before,
        recent * (before > 0.999),
        recent * alike * (rank > 0),
        recent * hour,
        recent * weekday,
        recent * gap_close,
        moment * has_before,
    ]


REUSE = Signal(
    "reuse", tuple(Feature(name, ("history",), "own uses") for name in REUSE_NAMES), _reuse
)
HABITS = Signal(
    "habits", tuple(Feature(name, ("history",), "own uses") for name in HABIT_NAMES), _habits
)
