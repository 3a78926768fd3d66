"""A frozen view of the past: every read names its moment and sees what lies strictly before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pixtag.evidence.outside import Outside
from pixtag.evidence.postings import (
    DAY_TICKS,
    HOUR_TICKS,
    LAST_TICK,
    MOST_KEYS,
    ORIGIN_S,
    TICKS_PER_S,
    TIME_BITS,
    UNTIMED,
    Postings,
    distinct,
    is_ascending,
    is_first,
    numbered,
    ragged,
)
from pixtag.evidence.records import NOBODY, Counts, Names, OwnPosts, Totals
from pixtag.types import Doubles, Floats, Halfs, Ints, Numbers, Smalls

MOST_IN_WINDOW = 4096
"""Last uses of a tag that are looked at for the distinct people of a window."""

UNTIMED_POSTS, TIMED_POSTS = 0, 1
"""Keys of the postings of all posts."""

_SOMEBODY = 1 << 30
_LAST_POSTS = 128
"""Posts before a moment whose tags are proposed as just used."""

_MOST_LATELY = 16_384
_MOST_KEPT = 4096
_NEVER: tuple[int, Any] = (-1, None)

Kept = dict[str, tuple[int, dict[int, tuple[int, Any]]]]
"""By what is kept: since when, and by tag, of how many of its posts it was made, and what."""


@dataclass(frozen=True)
class View:
    """The past, frozen.

    Shapes:
        N: posts. E: tag uses. M: posts with a photo. J: joint space. K: topics. T: tags.
        P: pairs of a tag and a moment. B: questions.

    Attributes:
        names: Tags by id. people: Users by id. n_tags: T at the time of the view.
        tick: When each post was, `[N]`. user: `[N]`, -1 for nobody.
        use_start: First use of each post, `[N]`. n_uses: `[N]`. tag: Of each use, `[E]`.
        photo: Row of a post's photo, `[N]`, or -1. vectors: Unit vectors, `[M, J]`.
        topics: `[M, K]`. photo_slot: `[M]`. photo_tick: `[M]`; above all ticks once retracted.
        photos_in_order: Whether `photo_tick` ascends.
        posts, by_user, by_tag, firsts, days, weekdays, photos: postings of all posts, of people's
            posts, of uses, of people's first uses, of (person, day) uses, of those by weekday, and
            of photos by tag.
        outside: Counts of tags outside the store, or None.
        cache: Reads as of moments in the past, by (name, ..., tick).
        kept: What was made of the posts with a tag, by what it is, until one comes or goes.
    """

    names: Names
    people: Names
    n_tags: int
    tick: Ints
    user: Smalls
    use_start: Ints
    n_uses: Smalls
    tag: Smalls
    photo: Smalls
    vectors: Floats
    topics: Halfs
    photo_slot: Ints
    photo_tick: Ints
    photos_in_order: bool
    posts: Postings
    by_user: Postings
    by_tag: Postings
    firsts: Postings
    days: Postings
    weekdays: Postings
    photos: Postings
    outside: Outside | None = None
    cache: dict[Any, Any] = field(default_factory=dict[Any, Any], repr=False)
    kept: Kept = field(default_factory=dict[str, tuple[int, dict[int, Any]]], repr=False)

    @property
    def n_posts(self) -> int:
        """Posts that are known."""
        return len(self.posts)

    @property
    def tags(self) -> list[str]:
        """Names of the tags by id; may grow beyond `n_tags`."""
        return self.names.names

    def id_of(self, tag: str) -> int:
        """Id of a tag, or -1 for one that the view does not know."""
        found = self.names.get(tag)
        return found if found < self.n_tags else NOBODY

    def at(self, slot: Ints) -> Doubles:
        """Unix seconds of posts, to a hundredth; `-inf` without a time."""
        tick = self.tick[slot]
        return np.where(tick > 0, tick / TICKS_PER_S + ORIGIN_S, -np.inf)

    def slots_of(self, user: str) -> Ints:
        """Every post of a person, in time order, those without a time first."""
        index = self.people.get(user)
        if index < 0:
            return np.zeros(0, np.int64)
        return self.by_user.rows(np.array([index]), 0, np.array([LAST_TICK]))[2]

    def tags_of(self, slot: int) -> list[str]:
        """Tags of a post, in the order of writing."""
        start = int(self.use_start[slot])
        return [self.tags[t] for t in self.tag[start : start + int(self.n_uses[slot])]]

    def uses_of(self, slots: Ints) -> tuple[Ints, Ints]:
        """Position among `slots` and tag of every use of some posts, `[A]` each."""
        owner, use = ragged(self.use_start[slots], self.n_uses[slots].astype(np.int64))
        return owner, self.tag[use].astype(np.int64)

    def own(self, users: Ints, tick: Ints) -> OwnPosts:
        """All posts of people before their moments, without those that have no time.

        Args:
            users: Ids, `[B]`; `NOBODY` has no posts.
            tick: `[B]`.
        """
        key = np.where(users >= 0, users, MOST_KEYS - 1)
        question, at, slot = self.by_user.rows(key, 1, tick)
        n = np.bincount(question, minlength=len(users))
        post, tag = self.uses_of(slot)
        return OwnPosts(
            question=question,
            slot=slot,
            tick=at,
            place=np.arange(len(slot)) - (np.cumsum(n) - n)[question],
            n=n,
            photo=self.photo[slot].astype(np.int64),
            n_tags=self.n_uses[slot].astype(np.int64),
            post=post,
            tag=tag,
        )

    def totals(self, tick: Ints) -> Totals:
        """Posts before each moment, and since when there are any."""
        untimed, started = self._span
        return Totals(self.n_timed(tick) + untimed, started)

    @cached_property
    def _span(self) -> tuple[int, int]:
        """Posts without a time, and the tick of the first with one."""
        both = np.array([UNTIMED_POSTS, TIMED_POSTS])
        untimed = self.posts.before(both[:1], np.array([LAST_TICK]))[0]
        return int(untimed), int(self.posts.first(both[1:])[0])

    def people_with(self, tag: Ints, tick: Ints) -> Ints:
        """Distinct people who used each tag before each moment, `[P]`."""
        return self.firsts.before(tag, tick)

    def uses_with(self, tag: Ints, tick: Ints) -> Ints:
        """Posts with each tag before each moment, `[P]`."""
        return self.by_tag.before(tag, tick)

    def named_with(self, tag: Ints, tick: Ints) -> Ints:
        """Distinct people with a name who used each tag before each moment, `[P]`."""
        if len(self.by_user) == len(self.posts):
            return self.people_with(tag, tick)
        pair, _, slot = self.firsts.rows(tag, 0, tick)
        return np.bincount(pair[self.user[slot] >= 0], minlength=len(tag))

    def counts(self, tag: Ints, tick: Ints, *, people: Ints | None = None) -> Counts:
        """People (unless given), uses, days and first use of tags before moments, `[P]`."""
        first = self.days.first(tag)
        return Counts(
            people=self.firsts.before(tag, tick) if people is None else people,
            uses=self.by_tag.before(tag, tick),
            days=self.days.before(tag, tick),
            on_weekday=self.weekdays.before(weekday_key(tag, tick), tick),
            first=np.where(first < tick, first, LAST_TICK),
        )

    def photos_with(self, tag: Ints, tick: Ints) -> Ints:
        """How many photos carried each tag before each moment, `[P]`."""
        return self.photos.before(tag, tick)

    def last_photos(self, tag: Ints, tick: Ints, *, limit: int) -> tuple[Ints, Ints]:
        """The last photos with each tag: pair `[E]`, ascending, and row in `vectors` `[E]`."""
        pair, _, row = self.photos.rows(tag, 0, tick, limit=limit)
        return pair, row

    def window(self, tag: Ints, user: Ints, tick: Ints, hours: Sequence[float]) -> Floats:
        """Count the distinct other people who used tags in the last hours.

        Args:
            tag: `[P]`.
            user: Who asks and is left out, `[P]`.
            tick: `[P]`.
            hours: Lengths of the windows, ascending, W of them.

        Returns:
            `[W, P]`.
        """
        spans = (np.array(hours) * HOUR_TICKS).astype(np.int64)
        if len(tag) and (tick == tick[0]).all() and (user == user[0]).all() and is_ascending(tag):
            return self._window_now(tag, int(user[0]), int(tick[0]), spans)
        column, at, person, following = self._recent_uses(tag, tick, int(spans[-1]))
        places = (column[0] << TIME_BITS) | at
        start = np.searchsorted(places, (column[1] << TIME_BITS) | np.maximum(tick - spans[-1], 1))
        stop = np.searchsorted(places, (column[1] << TIME_BITS) | tick)
        start = np.maximum(np.minimum(start, stop), stop - MOST_IN_WINDOW)
        pair, use = ragged(start, stop - start)
        # A person counts once, with their latest use before the moment.
        counted = (following[use] >= tick[pair]) & (person[use] != user[pair])
        pair, use = pair[counted], use[counted]
        inside = len(spans) - np.searchsorted(spans, tick[pair] - at[use])
        return _in_windows(pair, inside, n=len(tag), n_windows=len(spans))

    def _window_now(self, tag: Ints, user: int, tick: int, spans: Ints) -> Floats:
        """As `window`, for one question about ascending tags: by everybody's last uses of them."""
        until = np.full(len(tag), tick)
        # From the start of a day on, so that what is kept of a tag without new uses lasts for it.
        since = max(tick - int(spans[-1]), 1)
        since = max(since - since % DAY_TICKS, 1)

        def last_uses(place: Ints) -> list[Ints]:
            pair, at, slot = self.by_tag.rows(tag[place], since, until[place], limit=MOST_IN_WINDOW)
            person = (pair << 32) | self._person_of(slot)
            order = _order_of(person)
            last = order[is_first(person[order][::-1])[::-1]]
            packed = np.sort((pair[last] << TIME_BITS) | at[last])
            stop = np.searchsorted(packed, np.arange(1, len(place) + 1) << TIME_BITS).tolist()
            at = packed & LAST_TICK
            return [at[i:j].copy() for i, j in zip([0, *stop[:-1]], stop, strict=True)]

        found = self.kept_of("last uses", tag, self.by_tag.before(tag, until), last_uses, since)
        pair = np.arange(len(tag)) << TIME_BITS
        packed = np.concatenate(found) | np.repeat(pair, list(map(len, found)))
        start = np.searchsorted(packed, pair | np.maximum(tick - spans, 0)[:, None])
        out = (np.searchsorted(packed, pair | tick) - start).astype(np.float32)
        if user >= 0:
            _, at, slot = self.by_user.rows(np.array([user]), since, until[:1])
            post, used = self.uses_of(slot)
            place = np.minimum(np.searchsorted(tag, used), len(tag) - 1)
            mine = np.zeros(len(tag), np.int64)
            np.maximum.at(mine, place, at[post] * (tag[place] == used))
            for i in np.flatnonzero(mine).tolist():
                if mine[i] in found[i]:
                    out[:, i] -= tick - mine[i] <= spans
        return out

    def kept_of(
        self,
        name: str,
        tag: Ints,
        uses: Ints,
        make: Callable[[Ints], Sequence[Any]],
        since: int = UNTIMED,
    ) -> list[Any]:
        """What is made of each tag's posts before a moment, kept while these are the same ones.

        Args:
            name: Of what is made.
            tag: `[P]`.
            uses: How many of the tag's posts lie before the moment, `[P]`.
            make: Gives it for some places of `tag`.
            since: Which posts count, if not all.
        """
        kept = self.kept.get(name)
        if kept is None or kept[0] != since or len(kept[1]) > _MOST_KEPT:
            kept = self.kept[name] = since, {}
        n_uses, tags = uses.tolist(), tag.tolist()
        found = [kept[1].get(one, _NEVER) for one in tags]
        missing = [i for i, n in enumerate(n_uses) if found[i][0] != n]
        if missing:
            for i, made in zip(missing, make(np.array(missing)), strict=True):
                found[i] = kept[1][tags[i]] = n_uses[i], made
        return [made for _, made in found]

    def _person_of(self, slot: Ints) -> Ints:
        """The person of each post; a post of nobody is a person of its own."""
        person = self.user[slot].astype(np.int64)
        return np.where(person >= 0, person, _SOMEBODY + slot)

    def _recent_uses(
        self, tag: Ints, tick: Ints, span: int
    ) -> tuple[tuple[Ints, Ints], Ints, Ints, Ints]:
        """Uses of some tags in the windows before some moments, by tag and then time.

        Returns:
            Number of the tag of each use `[E]` and of each pair `[P]`; tick, person and the
            person's next use of the tag, `[E]` each.
        """
        tags = distinct(tag)
        of_pair = np.searchsorted(tags, tag)
        since, until = max(int(tick.min(initial=LAST_TICK)) - span, 1), int(tick.max(initial=1))
        column, at, slot = self.by_tag.rows(tags, since, np.full(len(tags), until))
        person = self._person_of(slot)
        order = _order_of((column << 32) | person)
        same = np.diff((column << 32)[order] | person[order], prepend=-1, append=-1) == 0
        following = np.full(len(at), LAST_TICK)
        following[order[:-1]] = np.where(same[1:-1], at[order[1:]], LAST_TICK)
        return (column, of_pair), at, person, following

    def carrying(self, tag: Ints, tick: Ints, *, limit: int) -> tuple[Ints, Ints]:
        """The last posts with each tag before each moment: pair `[E]` and post `[E]`."""
        pair, _, slot = self.by_tag.rows(tag, 0, tick, limit=limit)
        return pair, slot.astype(np.int64)

    def popular(self, tick: int, *, limit: int) -> Ints:
        """The tags that most people had used at the start of the moment's UTC day, best first."""
        day = tick - tick % DAY_TICKS
        key = ("popular", limit, day)
        found = self.cache.get(key)
        if found is None:
            people = self.firsts.before(np.arange(self.n_tags), np.full(self.n_tags, day))
            found = self.cache[key] = best_tags(people, self.names.ties(), limit=limit)
        return found

    def rising(self, tick: int, *, hours: Sequence[float], shrink: float, limit: int) -> Ints:
        """Tags of most people in some window, and whose rate rose most, as of the full hour.

        Of each window the best by each: of two people at least, by the log ratio of people seen
        to those expected at the long-run rate plus half the log of the people.
        """
        slot = tick - tick % HOUR_TICKS
        key = ("rising", slot)
        found = self.cache.get(key)
        if found is None:
            found = self.cache[key] = self._rising(slot, hours, shrink, limit)
        return found

    def _rising(self, tick: int, hours: Sequence[float], shrink: float, limit: int) -> Ints:
        tags, people = self.people_lately(tick, hours, limit=_MOST_LATELY)
        several = people.max(axis=0, initial=0.0) >= 2
        tags, people = tags[several], people[:, several]
        if not len(tags):
            return tags
        moments = np.full(len(tags), tick)
        ties = self.names.ties()[tags]
        rate = self.days.before(tags, moments) / self.lived_days(moments)
        public = self.people_with(tags, moments) >= 3
        found: list[Ints] = []
        for length, count in zip(hours, people, strict=True):
            lift = np.log((count + shrink) / (rate * (length / 24.0) + shrink))
            rise = np.where((count >= 2) & public, lift + 0.5 * np.log1p(count), 0.0)
            found += [best_tags(rise, ties, limit=limit)]
            # As many people tell nothing apart, so those who ever used a tag do.
            ever = rate / (rate.max() + 1.0)
            found += [best_tags((count + ever) * (count >= 1) * public, ties, limit=limit)]
        return tags[distinct(np.concatenate(found))]

    def people_lately(
        self, tick: int, hours: Sequence[float], *, limit: int | None = None
    ) -> tuple[Ints, Floats]:
        """Count the distinct people behind every tag of the last hours before a moment.

        Args:
            tick: The moment.
            hours: Lengths of the windows, ascending, W of them.
            limit: Last posts that are looked at.

        Returns:
            Tags `[T]`, ascending, and their people `[W, T]`.
        """
        now = np.array([tick])
        since = np.maximum(now - int(max(hours) * HOUR_TICKS), 1)
        _, at, slot = self.posts.rows(np.array([TIMED_POSTS]), since, now, limit=limit)
        owner, tag = self.uses_of(slot)
        if not len(tag):
            return tag, np.zeros((len(hours), 0), np.float32)
        column, tags = numbered(tag)
        person = self._person_of(slot)[owner]
        spans = (np.array(hours) * HOUR_TICKS).astype(np.int64)
        inside = (len(spans) - np.searchsorted(spans, tick - at))[owner]
        packed = np.sort((column << 36) | (person << 4) | inside)
        last = is_first(packed[::-1] >> 4)[::-1]
        people = _in_windows(
            packed[last] >> 36, packed[last] & 15, n=len(tags), n_windows=len(spans)
        )
        return tags, people

    def latest(self, tick: int) -> int:
        """Tick of the last post before a moment; 0 without any."""
        _, at, _ = self.posts.rows(np.array([TIMED_POSTS]), 1, np.array([tick]), limit=1)
        return int(at[-1]) if len(at) else 0

    def n_timed(self, tick: Ints) -> Ints:
        """Posts with a time before each moment, `[B]`."""
        return self.posts.before(np.full(len(tick), TIMED_POSTS), tick)

    def n_people(self, tick: int) -> int:
        """How many named people had posted at the start of the moment's UTC day."""
        day = tick - tick % DAY_TICKS
        found = self.cache.get(("people", day))
        if found is None:
            first = self.by_user.first(np.arange(len(self.people)))
            found = self.cache["people", day] = int(np.count_nonzero(first < day))
        return found

    def lived_days(self, tick: Ints) -> Doubles:
        """Days since the first post with a time, at least one, at each moment."""
        return np.maximum(tick - self._span[1], DAY_TICKS) / DAY_TICKS

    def just_used(self, tick: Ints) -> tuple[Ints, Ints]:
        """Question and tag of the uses in the last posts before each moment."""
        question, _, slot = self.posts.rows(
            np.full(len(tick), TIMED_POSTS), 1, tick, limit=_LAST_POSTS
        )
        owner, tag = self.uses_of(slot)
        return question[owner], tag


def weekday_key(tag: Ints, tick: Ints) -> Ints:
    """Key of a tag on the UTC weekday of a moment."""
    return tag * 8 + (tick // DAY_TICKS) % 7


def _order_of(keys: Ints) -> Ints:
    """What sorts keys, which are not negative; those that are equal keep their order."""
    bits = len(keys).bit_length()
    if int(keys.max(initial=0)).bit_length() + bits > 63:
        return np.argsort(keys, kind="stable")
    # A sort of numbers is several times quicker than one of places.
    packed = (keys << bits) | np.arange(len(keys))
    packed.sort()
    return packed & ((1 << bits) - 1)


def _in_windows(pair: Ints, inside: Ints, *, n: int, n_windows: int) -> Floats:
    """Count entries of pairs by the number of windows that each lies in, the shortest first.

    Returns:
        `[W, P]`: how many lie in each window.
    """
    counts = np.bincount(pair * (n_windows + 1) + inside, minlength=(n_windows + 1) * n)
    return counts.reshape(n, n_windows + 1)[:, ::-1].cumsum(axis=1)[:, :-1].T.astype(np.float32)


def best_tags(strength: Numbers | Ints, ties: Ints, *, limit: int) -> Ints:
    """Places of the strongest positive values, best first; ties by `ties`."""
    places = np.flatnonzero(strength > 0)
    if limit < len(places):
        found = strength[places]
        places = places[found >= np.partition(found, -limit)[-limit]]
    order = np.lexsort((ties[places], -strength[places]))
    return places[order][:limit]


def empty_view(vocabulary: Sequence[str], *, width: int, n_topics: int) -> View:
    """Nothing known but a vocabulary."""
    none = np.zeros(0, np.int64)
    return View(
        names=Names(vocabulary),
        people=Names(),
        n_tags=len(vocabulary),
        tick=none,
        user=np.zeros(0, np.int32),
        use_start=none,
        n_uses=np.zeros(0, np.int32),
        tag=np.zeros(0, np.int32),
        photo=np.zeros(0, np.int32),
        vectors=np.zeros((0, width), np.float32),
        topics=np.zeros((0, n_topics), np.float16),
        photo_slot=none,
        photo_tick=none,
        photos_in_order=True,
        posts=Postings(),
        by_user=Postings(),
        by_tag=Postings(),
        firsts=Postings(),
        days=Postings(),
        weekdays=Postings(),
        photos=Postings(),
    )
