"""All postings of many posts at once, from their columns: for evidence that had none before.

Each of them is sorted once, one after the other, and what marks people's first uses and days is
found person by person. So the memory that this takes beside the postings is that of one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pixtag.evidence.postings import (
    DAY_TICKS,
    ROW_BITS,
    TIME_BITS,
    UNTIMED,
    Postings,
    Segment,
    check_keys,
    ragged,
)
from pixtag.evidence.view import TIMED_POSTS, UNTIMED_POSTS, weekday_key
from pixtag.types import Bools, Ints, Smalls

TAG_BITS = 24
_USES_AT_ONCE = 1 << 20
"""Uses, about, of the people whose first uses and days are found together."""

Marks = tuple[Ints, Ints, Ints, Bools, Bools]
"""Tag, tick and post of uses; whether each is its person's first of the tag, and of the day."""


@dataclass(frozen=True)
class Columns:
    """Posts in the order of their slots.

    Shapes:
        N: posts. E: tag uses.

    Attributes:
        tick: `[N]`. user: `[N]`, -1 for nobody. tie: Decides the order at one tick, `[N]`.
        use_start: `[N]`. n_uses: `[N]`. tag: `[E]`, post by post.
        photo: Row of the photo, `[N]`, or -1.
    """

    tick: Ints
    user: Smalls
    tie: Ints
    use_start: Ints
    n_uses: Smalls
    tag: Smalls
    photo: Smalls


def postings_of(posts: Columns) -> dict[str, Postings]:
    """The postings of a view, by name, as observing the posts one by one would make them."""
    tick, tie = posts.tick, posts.tie << ROW_BITS
    slots = np.arange(len(tick))
    named = np.flatnonzero(posts.user >= 0)
    found = {
        "posts": _sorted(post_key(tick), tick, tie | slots),
        "by_user": _sorted(posts.user[named].astype(np.int64), tick[named], (tie | slots)[named]),
    }
    of_uses = np.repeat(tie | slots, posts.n_uses)
    found["by_tag"] = _sorted(posts.tag.astype(np.int64), np.repeat(tick, posts.n_uses), of_uses)
    del of_uses
    seen = np.flatnonzero(np.repeat(posts.photo >= 0, posts.n_uses))
    owner = np.repeat(np.arange(len(tick), dtype=np.int32), posts.n_uses)[seen]
    shown = tie[owner] | posts.photo[owner].astype(np.int64)
    found["photos"] = _sorted(posts.tag[seen].astype(np.int64), tick[owner], shown)
    del seen, owner, shown
    return found | _marked(posts, found["by_user"])


def _marked(posts: Columns, by_user: Postings) -> dict[str, Postings]:
    """People's first uses of tags, and their days of them, of all and by weekday."""
    firsts: list[tuple[Smalls, Smalls]] = []
    days: list[tuple[Smalls, Smalls]] = []
    for slots, person in _people(posts, by_user):
        owner, use = ragged(posts.use_start[slots], posts.n_uses[slots].astype(np.int64))
        tag, slot = posts.tag[use].astype(np.int64), slots[owner]
        tag, _, slot, is_first, is_daily = marks(person[owner], tag, posts.tick[slot], slot)
        small, of = tag.astype(np.int32), slot.astype(np.int32)
        firsts.append((small[is_first], of[is_first]))
        days.append((small[is_daily], of[is_daily]))
    tag, slot = _joined(firsts)
    del firsts
    found = {"firsts": _sorted(tag.astype(np.int64), posts.tick[slot], slot.astype(np.int64))}
    tag, slot = _joined(days)
    del days
    tick = posts.tick[slot]
    found["days"] = _sorted(tag.astype(np.int64), tick, slot.astype(np.int64))
    found["weekdays"] = _sorted(
        weekday_key(tag.astype(np.int64), tick), tick, slot.astype(np.int64)
    )
    return found


def _people(posts: Columns, by_user: Postings) -> Iterator[tuple[Ints, Ints]]:
    """Posts and their people, in parts; a part holds all posts of a person. Nobody's come last."""
    for segment in by_user.segments:
        slot = segment.entry & ((1 << ROW_BITS) - 1)
        person = segment.packed >> TIME_BITS
        last = np.flatnonzero(np.append(person[1:] != person[:-1], True)) + 1
        n_uses = np.cumsum(posts.n_uses[slot])[last - 1]
        part = n_uses // _USES_AT_ONCE
        stops = last[np.flatnonzero(np.append(part[1:] != part[:-1], True))].tolist()
        for start, stop in zip([0, *stops[:-1]], stops, strict=True):
            yield slot[start:stop], person[start:stop]
    slot = np.flatnonzero(posts.user < 0)
    for start in range(0, len(slot), _USES_AT_ONCE):
        one = slot[start : start + _USES_AT_ONCE]
        yield one, somebody(one)


def somebody(slot: Ints) -> Ints:
    """Who made posts of nobody: a person of its own for each."""
    return (1 << 37) + slot


def marks(person: Ints, tag: Ints, tick: Ints, slot: Ints) -> Marks:
    """Mark people's first uses of tags, and the first on each day; uses come sorted by person."""
    order = np.lexsort((slot, tick, (person << TAG_BITS) | tag))
    person, tag, tick, slot = person[order], tag[order], tick[order], slot[order]
    day = tick // DAY_TICKS
    is_first = np.ones(len(tag), np.bool_)
    is_first[1:] = (person[1:] != person[:-1]) | (tag[1:] != tag[:-1])
    is_daily = is_first.copy()
    is_daily[1:] |= day[1:] != day[:-1]
    return tag, tick, slot, is_first, is_daily & (tick != UNTIMED)


def post_key(tick: Ints) -> Ints:
    """Key of a post among all posts."""
    return np.where(tick == UNTIMED, UNTIMED_POSTS, TIMED_POSTS)


def _sorted(key: Ints, tick: Ints, entry: Ints) -> Postings:
    """Postings of entries in any order; what is given is used up."""
    if not len(key):
        return Postings()
    check_keys(key)
    key <<= TIME_BITS
    key |= tick
    return Postings((Segment.of(key, entry),))


def _joined(parts: list[tuple[Smalls, Smalls]]) -> tuple[Smalls, Smalls]:
    none = np.zeros(0, np.int32)
    tags, slots = [none, *(part[0] for part in parts)], [none, *(part[1] for part in parts)]
    return np.concatenate(tags), np.concatenate(slots)
