"""Evidence in memory: posts in append-only columns, and postings that answer as of a moment.

One writer observes and retracts; readers take a frozen `view()` and never wait. Nothing moves
forwards or backwards: a late post is an insertion, a retraction a removal, and every read names
its moment.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pixtag.errors import ShapeError
from pixtag.evidence.build import TAG_BITS, Columns, Marks, marks, post_key, postings_of, somebody
from pixtag.evidence.outside import Outside
from pixtag.evidence.postings import LAST_TICK, UNTIMED, Postings, distinct, is_among, ragged, ticks
from pixtag.evidence.records import NOBODY
from pixtag.evidence.view import Kept, View, empty_view, weekday_key
from pixtag.types import Floats, Halfs, Ints, PostLog

_PART = 4096
"""Posts that are derived at once."""

_MOST_CARRIED = 4096
"""Cached reads that a new view takes over from the one before."""


class Derive(Protocol):
    """What a model derives from a post: a vector in the joint space, and topics."""

    @property
    def encoder_width(self) -> int:
        """Width D of the encoder's embeddings; 0 without an encoder."""
        ...

    @property
    def width(self) -> int:
        """Width J of the joint space."""
        ...

    @property
    def n_topics(self) -> int:
        """Topics K; 0 without any."""
        ...

    def vectors(self, embeddings: Floats) -> Floats:
        """Unit vectors in the joint space, `[N, J]`, of embeddings `[N, D]`."""
        ...

    def topics(self, vectors: Floats, post: Ints, tag: Ints) -> Halfs:
        """Topics `[N, K]` of posts with a photo, from `vectors` and the uses (post, tag)."""
        ...


class NoModel:
    """Derives nothing: for what tags alone tell."""

    encoder_width = 0
    width = 0
    n_topics = 0

    def vectors(self, embeddings: Floats) -> Floats:
        """No width."""
        return np.zeros((len(embeddings), 0), np.float32)

    def topics(self, vectors: Floats, post: Ints, tag: Ints) -> Halfs:
        """No topics."""
        return np.zeros((len(vectors), 0), np.float16)


class Column:
    """An array that grows at its end; a view of it never changes.

    Args:
        rows: The first rows.
    """

    def __init__(self, rows: NDArray[Any]) -> None:
        self._data = rows
        self._n = len(rows)

    def append(self, rows: NDArray[Any]) -> None:
        """Add rows, growing by half when there is no room."""
        n = self._n + len(rows)
        if n > len(self._data):
            self.make_room(n)
        self._data[self._n : n] = rows
        self._n = n

    def make_room(self, n: int) -> None:
        """Copy it to where there is room for so many rows, and for half as many again as now."""
        n = max(n, len(self._data) * 3 // 2, 64)
        grown = np.empty((n, *self._data.shape[1:]), self._data.dtype)
        grown[: self._n] = self._data[: self._n]
        self._data = grown

    @property
    def rows(self) -> NDArray[Any]:
        """Everything appended so far."""
        return self._data[: self._n]


class _Rows(NamedTuple):
    """Posts that were appended, `[N]`, and the post and tag of their uses, `[E]`."""

    slots: Ints
    users: Ints
    tick: Ints
    tie: Ints
    photo: Ints
    owner: Ints
    tags: Ints


class MemoryEvidence:
    """The past in memory: observe, retract, forget, and views to read from.

    Args:
        vocabulary: Tags that get the first ids: the model's.
        derive: What the model derives from posts.
    """

    def __init__(self, vocabulary: Sequence[str], derive: Derive) -> None:
        self._derive = derive
        self._writing = threading.RLock()
        self._ids: list[str] = []
        self._slot_of: dict[str, int] = {}
        self._view = empty_view(vocabulary, width=derive.width, n_topics=derive.n_topics)
        self._columns = {name: Column(getattr(self._view, name)) for name in _COLUMNS}

    @classmethod
    def restored(cls, view: View, post_ids: list[str], derive: Derive) -> MemoryEvidence:
        """Evidence with this view, in whose rows the posts lie in this order."""
        evidence = cls(view.tags[: view.n_tags], derive)
        evidence._columns = {name: Column(getattr(view, name)) for name in _COLUMNS}
        for name in _BY_POST_OR_USE:  # now, so that the first post does not wait for it
            evidence._columns[name].make_room(0)
        evidence._view = replace(view, **{n: c.rows for n, c in evidence._columns.items()})
        evidence._ids = post_ids
        evidence._slot_of = {post_id: slot for slot, post_id in enumerate(post_ids)}
        return evidence

    def view(self) -> View:
        """What is known now, frozen."""
        return self._view

    @property
    def post_ids(self) -> Collection[str]:
        """Ids of the posts that are known, in the order of their rows."""
        return self._slot_of.keys()

    def observe(self, posts: PostLog) -> None:
        """Make posts part of the past, in any order; a known post_id is replaced.

        Args:
            posts: With encoder embeddings, `[N, D]`, or none (D = 0).

        Raises:
            ShapeError: The embeddings are of another width than the model's.
            StoreError: There are more tags or people than the postings can hold.
        """
        if not len(posts):
            return
        with self._writing:
            if not self._ids:
                self.observe_all([posts])
                return
            known = [self._slot_of[p] for p in posts.post_ids if p in self._slot_of]
            view = remove_posts(self._view, np.array(known, np.int64)) if known else self._view
            self._view = self._appended(view, posts)

    def observe_all(self, parts: Iterable[PostLog]) -> None:
        """As `observe` of each part in turn; with less work and memory where nothing is known yet.

        A post_id comes in one part once at most. `ShapeError`, `StoreError`: as for `observe`;
        then nothing is known.
        """
        with self._writing:
            if self._ids:
                for part in parts:
                    self.observe(part)
                return
            empty, ties = self._view, [np.zeros(0, np.int64)]
            try:
                ties.extend(self._rows_of(part).tie for part in parts)
                self._view = self._built(np.concatenate(ties))
            except BaseException:
                self._ids, self._slot_of = [], {}
                self._columns = {name: Column(getattr(empty, name)) for name in _COLUMNS}
                raise

    def _built(self, tie: Ints) -> View:
        """A view of all the posts in the columns, for one that had none before."""
        rows = {name: column.rows for name, column in self._columns.items()}
        photo_tick = rows["tick"][rows["photo_slot"]]
        of = {name: rows[name] for name in ("tick", "user", "use_start", "n_uses", "tag", "photo")}
        return replace(
            self._view,
            **rows,
            photo_tick=photo_tick,
            photos_in_order=bool((np.diff(photo_tick) >= 0).all()),
            n_tags=len(self._view.names),
            **postings_of(Columns(tie=tie, **of)),
            cache={},
            kept={},
        )

    def retract(self, post_ids: Collection[str]) -> None:
        """Forget posts as if they had never been; unknown ids are ignored."""
        with self._writing:
            slots = [self._slot_of.pop(p) for p in post_ids if p in self._slot_of]
            if not slots:
                return
            for slot in slots:
                self._ids[slot] = ""
            rows = np.array(slots, np.int64)
            view = remove_posts(self._view, rows)
            photos = view.photo[rows]
            if (photos >= 0).any():
                # Older views go on reading the old array, which is gone with the last of them.
                vectors = view.vectors.copy()
                vectors[photos[photos >= 0]] = 0.0
                self._columns["vectors"] = Column(vectors)
                view = replace(view, vectors=vectors)
            self._view = view

    def forget(self, user: str) -> None:
        """Retract every post of a person."""
        with self._writing:
            slots = self._view.slots_of(user)
            self.retract([self._ids[slot] for slot in slots.tolist()])

    def hear(self, outside: Outside | None) -> None:
        """Take counts of tags outside the store in the place of those before."""
        with self._writing:
            self._view = replace(self._view, outside=outside)

    def without(self, post_ids: Collection[str]) -> View:
        """What would be known had some posts never been; nothing else changes."""
        with self._writing:
            slots = [self._slot_of[p] for p in post_ids if p in self._slot_of]
            return remove_posts(self._view, np.array(slots, np.int64)) if slots else self._view

    def _rows_of(self, posts: PostLog) -> _Rows:
        """Append posts to the columns."""
        view, n, first = self._view, len(posts), len(self._ids)
        slots = np.arange(first, first + n)
        tags = view.names.ids_of(posts.tags)[posts.tag_ids]
        users = np.append(view.people.ids_of(posts.users), NOBODY)[posts.user_of_post]
        tick = ticks(posts.at)
        tie = np.fromiter(map(zlib.crc32, map(str.encode, posts.post_ids)), np.int64, n)
        lengths = np.diff(posts.tag_start)
        owner = np.repeat(np.arange(n), lengths)
        n_photos = len(self._columns["vectors"].rows)
        photo, vectors, topics = self._photos_of(posts, owner, tags, n_photos)
        self._append(
            tick=tick,
            user=users,
            use_start=len(self._columns["tag"].rows) + posts.tag_start[:-1],
            n_uses=lengths,
            photo=photo,
            tag=tags,
            vectors=vectors,
            topics=topics,
            photo_slot=slots[photo >= 0],
        )
        self._ids += posts.post_ids
        self._slot_of |= zip(posts.post_ids, slots.tolist(), strict=True)
        return _Rows(slots, users, tick, tie, photo, owner, tags)

    def _appended(self, view: View, posts: PostLog) -> View:
        new = self._rows_of(posts)
        slots, users, tick, tie, owner, tags = (
            new.slots, new.users, new.tick, new.tie, new.owner, new.tags
        )  # fmt: skip
        with_photo = new.photo >= 0
        old, marked = _changed_marks(view, users[owner], tags, tick[owner], slots[owner])
        has = with_photo[owner]
        named = users >= 0
        in_order = view.photos_in_order and bool(
            (np.diff(np.append(view.photo_tick[-1:], tick[with_photo])) >= 0).all()
        )
        return replace(
            view,
            **{name: column.rows for name, column in self._columns.items()},
            photo_tick=np.append(view.photo_tick, tick[with_photo]),
            photos_in_order=in_order,
            n_tags=len(view.names),
            posts=view.posts.add(post_key(tick), tick, slots, tie),
            by_user=view.by_user.add(users[named], tick[named], slots[named], tie[named]),
            by_tag=view.by_tag.add(tags, tick[owner], slots[owner], tie[owner]),
            photos=view.photos.add(
                tags[has], tick[owner][has], new.photo[owner][has], tie[owner][has]
            ),
            **_with_marks(view, old, marked),
            cache=_carried(view.cache, int(tick.min())),
            # The first uses of a tag stay the same where all others come after them.
            kept=view.kept if int(tick.min()) > _newest(view) else _but_for(view.kept, tags),
        )

    def _append(self, **rows: NDArray[Any]) -> None:
        for name, column in self._columns.items():
            column.append(rows[name].astype(column.rows.dtype, copy=False))

    def _photos_of(
        self, posts: PostLog, owner: Ints, tags: Ints, n_photos: int
    ) -> tuple[Ints, Floats, Halfs]:
        """Row of each post's photo (-1 for none), and vectors and topics of those with one."""
        derive, width = self._derive, posts.embeddings.shape[1]
        has = posts.has_photo if width else np.zeros(len(posts), np.bool_)
        if has.any() and width != derive.encoder_width:
            raise ShapeError(
                f"embeddings are {width} wide, the model expects {derive.encoder_width}",
                hint="embed the photos with the encoder that the model was trained with",
            )
        rows = np.flatnonzero(has)
        photo = np.full(len(posts), -1, np.int64)
        photo[rows] = n_photos + np.arange(len(rows))
        vectors = np.zeros((len(rows), derive.width), np.float32)
        for start in range(0, len(rows), _PART):
            part = rows[start : start + _PART]
            vectors[start : start + _PART] = derive.vectors(
                posts.embeddings[part].astype(np.float32)
            )
        place = photo[owner] - n_photos
        seen = place >= 0
        topics = derive.topics(vectors, place[seen], tags[seen])
        return photo, vectors, topics


_BY_POST_OR_USE = ("tick", "user", "use_start", "n_uses", "photo", "tag")
_COLUMNS = (*_BY_POST_OR_USE, "vectors", "topics", "photo_slot")


def remove_posts(view: View, slots: Ints) -> View:
    """The view without some posts, whose rows no posting leads to any more."""
    slots = distinct(slots)
    owner, use = ragged(view.use_start[slots], view.n_uses[slots].astype(np.int64))
    tags, tick, user = view.tag[use].astype(np.int64), view.tick[slots], view.user[slots]
    photo = view.photo[slots].astype(np.int64)
    has = photo[owner] >= 0
    named = user >= 0
    photo_tick = view.photo_tick.copy()
    photo_tick[photo[photo >= 0]] = LAST_TICK + 1
    trimmed = replace(
        view,
        photo_tick=photo_tick,
        photos_in_order=view.photos_in_order and not (photo >= 0).any(),
        posts=view.posts.remove(post_key(tick), tick, slots),
        by_user=view.by_user.remove(user[named].astype(np.int64), tick[named], slots[named]),
        by_tag=view.by_tag.remove(tags, tick[owner], slots[owner]),
        photos=view.photos.remove(tags[has], tick[owner][has], photo[owner][has]),
        cache=_carried(view.cache, int(tick.min(initial=LAST_TICK))),
        kept=_but_for(view.kept, tags),
    )
    new, old = _changed_marks(
        trimmed, user[owner].astype(np.int64), tags, tick[owner], slots[owner]
    )
    return replace(trimmed, **_with_marks(view, old, new))


def _changed_marks(
    view: View, user: Ints, tag: Ints, tick: Ints, slot: Ints
) -> tuple[Marks, Marks]:
    """Marks of the uses of the same people and tags: of the view alone, and with these uses.

    First uses and days count distinct people, so a use touches only those of its own person and
    tag. A post of nobody counts as a person of its own.
    """
    named = user >= 0
    people = distinct(user[named])
    pair, own_tick, own = view.by_user.rows(people, UNTIMED, np.full(len(people), LAST_TICK))
    owner, use = ragged(view.use_start[own], view.n_uses[own].astype(np.int64))
    # Of a long history only the uses of these tags are looked at further.
    used, is_new = view.tag[use], np.zeros(len(view.names), np.bool_)
    is_new[tag[named]] = True
    hit = np.flatnonzero(is_new[used])
    owner, known = owner[hit], used[hit].astype(np.int64)
    person = people[pair[owner]]
    touched = is_among(
        (person << TAG_BITS) | known, distinct((user[named] << TAG_BITS) | tag[named])
    )
    owner = owner[touched]
    before = person[touched], known[touched], own_tick[owner], own[owner].astype(np.int64)
    person = np.where(named, user, somebody(slot))
    after = tuple(
        np.concatenate([a, b]) for a, b in zip(before, (person, tag, tick, slot), strict=True)
    )
    return marks(*before), marks(*after)


def _with_marks(view: View, old: Marks, new: Marks) -> dict[str, Postings]:
    """First uses and days (of all and by weekday) with `new` in the place of `old`."""
    out: dict[str, Postings] = {}
    for name, column in (("firsts", 3), ("days", 4)):
        gone, come = _difference(old, new, column), _difference(new, old, column)
        out[name] = getattr(view, name).remove(*gone).add(*come)
        if name == "days":
            out["weekdays"] = view.weekdays.remove(*_by_weekday(gone)).add(*_by_weekday(come))
    return out


def _difference(of: Marks, but: Marks, column: int) -> tuple[Ints, Ints, Ints]:
    mine, others = (
        (marks[2][marks[column]] << TAG_BITS) | marks[0][marks[column]] for marks in (of, but)
    )
    kept = ~is_among(mine, np.sort(others))
    rows = np.flatnonzero(of[column])[kept]
    return of[0][rows], of[1][rows], of[2][rows]


def _by_weekday(entries: tuple[Ints, Ints, Ints]) -> tuple[Ints, Ints, Ints]:
    tag, tick, slot = entries
    return weekday_key(tag, tick), tick, slot


def _newest(view: View) -> int:
    """Tick of the last post; 0 without any."""
    return max((int(s.packed[-1]) & LAST_TICK for s in view.posts.segments), default=UNTIMED)


def _but_for(kept: Kept, tags: Ints) -> Kept:
    """What was kept of the other tags."""
    kept = {name: (since, by_tag.copy()) for name, (since, by_tag) in kept.copy().items()}
    for tag in set(tags.tolist()):
        for _, by_tag in kept.values():
            by_tag.pop(tag, None)
    return kept


def _carried(cache: dict[Any, Any], tick: int) -> dict[Any, Any]:
    """Cached reads as of moments that new posts do not lie before."""
    if len(cache) > _MOST_CARRIED:
        return {}
    # A copy first: readers put their answers into the cache meanwhile.
    return {key: value for key, value in cache.copy().items() if key[-1] <= tick}
