"""Memories: earlier posts that the network's attention may copy whole tag sets from.

Two memories: the person's own latest posts, and the posts of everyone whose photos look most like
this one. Each slot has a few key features; the network learns from them which posts to copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pixtag.evidence import DAY_TICKS, HOUR_TICKS, NOBODY, Evidence
from pixtag.signals.asked import Asked, Pairs, strongest, sums
from pixtag.signals.head import products
from pixtag.types import Bools, Floats, Ints

UNKNOWN_AGE_LOG_HOURS = 10.0
MINUTE_TICKS = HOUR_TICKS // 60
GROUP = 32
LEAST_SIMILARITY = -1.5

OWN_KEYS = (
    "similarity",
    "similarity_sharp",
    "has_both_photos",
    "fits_photo",
    "words_fit",
    "same_topic",
    "since_in_topic",
    "log_hours",
    "log_place",
    "is_last",
    "log_tags",
    "hour_close",
    "weekday_same",
)
NEAR_KEYS = (
    "similarity",
    "similarity_sharp",
    "similarity_rank",
    "log_hours",
    "has_time",
    "is_own",
    "asker_uses",
    "log_tags",
    "same_topic",
)


@dataclass(frozen=True)
class Memory:
    """Earlier posts offered to each question.

    Shapes:
        B: questions. M: slots. F: key features. A: entries (tag uses in all slots).

    Attributes:
        rows: Post in each slot, `[B, M]`; 0 where the slot is empty, and for posts of the prior
            their number below zero less one.
        filled: Whether a slot holds a post, `[B, M]`.
        keys: Key features, `[B, M, F]`; zeros in empty slots.
        question: Of each entry, `[A]`. slot: `[A]`. tag: `[A]`.
    """

    rows: Ints
    filled: Bools
    keys: Floats
    question: Ints
    slot: Ints
    tag: Ints
    _found: list[tuple[Pairs, Ints]] = field(default_factory=list[tuple[Pairs, Ints]], repr=False)

    @staticmethod
    def empty(n_questions: int, n_slots: int, n_keys: int) -> Memory:
        """No earlier post for anyone."""
        shape, none = (n_questions, n_slots), np.zeros(0, np.int64)
        keys = np.zeros((*shape, n_keys), np.float32)
        return Memory(np.zeros(shape, np.int64), np.zeros(shape, np.bool_), keys, none, none, none)

    def set_mean(self, key: int, of_entry: Floats) -> None:
        """Set a key to the mean of the finite values `[A]` of a slot's tags."""
        counted = np.isfinite(of_entry)
        place = self._cell[counted]
        n = np.bincount(place, minlength=self.filled.size)
        total = np.bincount(place, weights=of_entry[counted], minlength=self.filled.size)
        self.keys[:, :, key] = (total / np.maximum(n, 1)).reshape(self.filled.shape) * self.filled

    @cached_property
    def _cell(self) -> Ints:
        """Place of each entry's slot among all slots, `[A]`."""
        return self.question * self.filled.shape[1] + self.slot

    def places(self, pairs: Pairs) -> Ints:
        """Place of each entry among the candidates, `[A]`; P when it is none."""
        if not self._found or self._found[0][0] is not pairs:
            self._found[:] = [(pairs, pairs.find(self.question, self.tag))]
        return self._found[0][1]

    def totals(self, pairs: Pairs, weights: Sequence[Floats] | Floats) -> Floats:
        """Total weight of the slots that carry each candidate, `[W, P]`, of W weights `[B, M]`."""
        of_slot = np.array(weights).reshape(len(weights), -1)
        total = sums(self.places(pairs), of_slot[:, self._cell], n=len(pairs) + 1)
        return total[:, :-1].astype(np.float32)

    def propose(self, weight: Floats, ties: Ints, *, n_tags: int, limit: int) -> tuple[Ints, Ints]:
        """Question and tag of the tags of the slots, strongest total weight `[B, M]` first."""
        if not len(self.question):
            return self.question, self.tag
        pairs = Pairs.of(self.question, self.tag, n_questions=len(self.filled), n_tags=n_tags)
        strength = pairs.total(self.question, self.tag, weight[self.question, self.slot])
        log = np.log(np.maximum(strength, 1e-30))
        kept = strongest(pairs.question, log, ties[pairs.tag], limit=limit)
        return pairs.question[kept], pairs.tag[kept]

    def member(self, pairs: Pairs, place: Ints, n_places: int) -> Bools:
        """1 where the post in a slot carries the candidate in a place, `[B, C, M]`."""
        n_questions, n_slots = self.filled.shape
        out = np.zeros((n_questions, n_places + 1, n_slots), np.bool_)
        of_pair = np.append(place, n_places)
        out[self.question, of_pair[self.places(pairs)], self.slot] = True
        return out[:, :n_places]


def own_memory(asked: Asked, *, n_slots: int) -> Memory:
    """The last posts of each question's person, newest first."""
    last = asked.own.last(n_slots)
    shape = (len(asked), n_slots)
    slot = last.rank
    rows = np.zeros(shape, np.int64)
    filled = np.zeros(shape, np.bool_)
    keys = np.zeros((*shape, len(OWN_KEYS)), np.float32)
    question = last.question
    rows[question, slot], filled[question, slot] = last.slot, True
    age = np.maximum(asked.tick[question] - last.tick, 1)
    days = age / DAY_TICKS
    by_name = {
        "log_hours": np.log(np.maximum(age, MINUTE_TICKS) / HOUR_TICKS) / 4.0,
        "log_place": np.log1p(slot) / 2.0,
        "is_last": slot == 0,
        "log_tags": np.log1p(last.n_tags) / 2.0,
        "hour_close": np.cos(2.0 * np.pi * days),
        "weekday_same": np.abs(days / 7.0 - np.round(days / 7.0)) < 1 / 14,
    }
    both = np.flatnonzero((last.photo >= 0) & asked.has_photo[question])
    if len(both):
        similarity = np.zeros(len(question), np.float32)
        mine = asked.view.vectors[last.photo[both]]
        similarity[both] = np.einsum("hj,hj->h", mine, asked.photo[question[both]])
        has = np.zeros(len(question), np.bool_)
        has[both] = True
        by_name |= {
            "similarity": similarity,
            "similarity_sharp": np.exp(4.0 * (similarity - 1.0)) * has,
            "has_both_photos": has,
        }
    memory = Memory(rows, filled, keys, question[last.post], slot[last.post], last.tag)
    _set_keys(memory, question, slot, OWN_KEYS, by_name)
    return memory


class Similar:
    """How alike the photos of questions and of earlier posts are.

    Args:
        view: The earlier posts.
        photo: Unit vectors, `[B, J]`; zeros without a photo.
        tick: Moments, `[B]`; photos at or after them are `-inf`.
    """

    def __init__(self, view: Evidence, photo: Floats, tick: Ints) -> None:
        self._view = view
        at = view.photo_tick
        self.n = int(np.searchsorted(at, tick.max())) if view.photos_in_order else len(at)
        self.scores = products(photo, view.vectors[: self.n])
        first = int(np.searchsorted(at[: self.n], tick.min())) if view.photos_in_order else 0
        self.scores[:, first:][at[None, first : self.n] >= tick[:, None]] = -np.inf

    def hide(self, people: Ints) -> None:
        """Let photos of one person a question be like nothing, `[B]`; those of nobody stay."""
        user = self._view.user[self._view.photo_slot[: self.n]]
        self.scores[(user[None, :] == people[:, None]) & (people >= 0)[:, None]] = -np.inf

    def lately(self, tick: Ints, asker: Ints, *, since: Ints) -> tuple[Floats, int]:
        """Scores of others' photos from `since` on, `[B, R]`, and the first photo of them."""
        view, at = self._view, self._view.photo_tick
        first = int(np.searchsorted(at[: self.n], since.min())) if view.photos_in_order else 0
        scores = self.scores[:, first:].copy()
        user = view.user[view.photo_slot[first : self.n]]
        hidden = at[None, first : self.n] < since[:, None]
        hidden |= (user[None, :] == asker[:, None]) & (user >= 0)[None, :]
        scores[hidden] = -np.inf
        return scores, first


def near_memory(asked: Asked, similar: Similar | None, *, n_slots: int) -> Memory:
    """The posts of the store and of the prior whose photos look most like this one."""
    if similar is None:
        return Memory.empty(len(asked), n_slots, len(NEAR_KEYS))
    view, prior = asked.view, asked.knowledge.prior.view
    scores = similar.scores
    if len(prior.vectors):
        scores = np.concatenate([scores, products(asked.photo, prior.vectors)], axis=1)
    if not asked.has_photo.all():
        scores = np.where(asked.has_photo[:, None], scores, np.float32(-np.inf))

    def tie(column: Ints) -> Ints:
        out = np.full(len(column), -1)
        ours = column < similar.n
        out[ours] = view.photo_tick[column[ours]]
        return out

    column, best = nearest(scores, tie, limit=n_slots)
    filled = np.isfinite(best)
    best = np.where(filled, best, 0.0).astype(np.float32)
    from_prior = column >= similar.n
    rows = np.zeros(column.shape, np.int64)
    mine, theirs = filled & ~from_prior, filled & from_prior
    rows[mine] = view.photo_slot[column[mine]]
    rows[theirs] = -1 - prior.photo_slot[column[theirs] - similar.n].astype(np.int64)
    question, slot = np.nonzero(filled)
    entry_of, tag = _uses(view, prior, rows[question, slot])
    memory = Memory(
        rows,
        filled,
        np.zeros((*filled.shape, len(NEAR_KEYS)), np.float32),
        question[entry_of],
        slot[entry_of],
        tag,
    )
    n_tags = np.bincount(entry_of, minlength=len(question))
    ours = mine[question, slot]
    post = np.where(ours, rows[question, slot], 0)
    at = np.where(ours, view.tick[post], 0) if len(view.tick) else np.zeros(len(post))
    timed = at > 0
    age = np.where(timed, asked.tick[question] - at, HOUR_TICKS)
    log_age = np.log(np.maximum(age, MINUTE_TICKS) / HOUR_TICKS)
    user = view.user[post] if len(view.tick) else np.full(len(post), NOBODY)
    is_mine = timed & (user == asked.user[question]) & (user >= 0)
    similarity = best[question, slot]
    values = {
        "similarity": similarity,
        "similarity_sharp": np.exp(8.0 * (similarity - 1.0)),
        "similarity_rank": np.log1p(slot) / 2.0,
        "log_hours": np.where(timed, log_age, UNKNOWN_AGE_LOG_HOURS) / 4.0,
        "has_time": timed,
        "is_own": is_mine,
        "log_tags": np.log1p(n_tags) / 2.0,
    }
    _set_keys(memory, question, slot, NEAR_KEYS, values)
    return memory


def _set_keys(
    memory: Memory, question: Ints, slot: Ints, names: Sequence[str], values: dict[str, Any]
) -> None:
    """Set the keys of some slots; those without values are set to 0."""
    of_slot = np.zeros((len(names), len(question)), np.float32)
    for name, value in values.items():
        of_slot[names.index(name)] = value
    memory.keys[question, slot] = of_slot.T


def _uses(view: Evidence, prior: Evidence, rows: Ints) -> tuple[Ints, Ints]:
    """Position and tag of the uses of posts of the store, and (below zero) of the prior."""
    ours, theirs = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
    if not len(theirs):
        return view.uses_of(rows)
    of_ours, tag = view.uses_of(rows[ours])
    of_theirs, prior_tag = prior.uses_of(-1 - rows[theirs])
    owner = np.concatenate([ours[of_ours], theirs[of_theirs]])
    order = np.argsort(owner, kind="stable")
    return owner[order], np.concatenate([tag, prior_tag])[order]


def kernel_shares(memory: Memory, weight: Floats) -> Floats:
    """A kernel over the slots, `[B, M]`, scaled to sum to 1 over a question's filled slots."""
    weight = weight * memory.filled
    return weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)


def own_kernel(memory: Memory) -> Floats:
    """A fixed kernel over the person's posts: recent in order, and alike where photos tell."""
    place = np.expm1(memory.keys[:, :, OWN_KEYS.index("log_place")] * 2.0)
    similarity = memory.keys[:, :, OWN_KEYS.index("similarity")]
    both = memory.keys[:, :, OWN_KEYS.index("has_both_photos")]
    alike = np.exp(6.0 * (similarity - 0.5)) * both
    return kernel_shares(memory, np.exp(-place / 8.0) * (0.3 + alike))


def near_kernel(memory: Memory) -> Floats:
    """A fixed kernel over the neighbours: sharp in similarity."""
    return kernel_shares(memory, memory.keys[:, :, NEAR_KEYS.index("similarity_sharp")])


def nearest(
    similarity: Floats, tie: Ints | Callable[[Ints], Ints], *, limit: int
) -> tuple[Ints, Floats]:
    """The highest similarities of each row, best first.

    At least `limit` groups of columns have a maximum as high as the `limit`-th best one, so
    nothing below that maximum is among the best: exact, and several times quicker than a search
    of everything.

    Args:
        similarity: `[B, N]`, at most 1.5; `-inf` is never better than anything.
        tie: Decides between columns that are equal to five decimals, the smallest first, `[N]`;
            or gives it for some columns.
        limit: Columns kept, M.

    Returns:
        Columns `[B, M]` and their similarities `[B, M]`; 0 and `-inf` where there are too few.
    """
    n_rows, n = similarity.shape
    least = np.full(n_rows, -np.inf, np.float32)
    n_groups = n // GROUP
    if n_groups > limit:
        grouped = similarity[:, : n_groups * GROUP].reshape(n_rows, GROUP, n_groups)
        least = np.partition(grouped.max(axis=1), -limit, axis=1)[:, -limit]
    # A little lower, since similarities that agree when rounded are ties.
    high = similarity >= np.maximum(least - 2e-5, LEAST_SIMILARITY)[:, None]
    row, column = high.nonzero()
    found = similarity[row, column]
    distance = np.rint((1.5 - found).astype(np.float64) * 1e5).astype(np.int64)
    ties = tie(column) if callable(tie) else tie[column]
    order = np.lexsort((ties, (row << 20) + distance))
    count = np.bincount(row, minlength=n_rows)
    place = np.arange(len(row)) - (count.cumsum() - count)[row]
    first = place < limit
    kept = order[first]
    columns = np.zeros((n_rows, limit), np.int64)
    values = np.full((n_rows, limit), -np.inf, np.float32)
    columns[row[kept], place[first]] = column[kept]
    values[row[kept], place[first]] = found[kept]
    return columns, values
