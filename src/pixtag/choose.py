"""Choose the set that is shown: a greedy re-ranking (MMR-like) of the likeliest tags.

The order doesn't depend on how many are asked for, so the set of k begins every larger one. A
stranger's photo keeps places for names of things; a near-synonym counts half after the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pixtag.evidence import LAST_TICK, is_first
from pixtag.lists import Lists
from pixtag.platforms import Platform, find_platform
from pixtag.signals import FEATURES, Asked
from pixtag.signals.words import BRIDGE_FLOOR
from pixtag.tags import tidy_tags
from pixtag.types import Bools, Floats, Ints

SET_SIZE = 5
"""The set that is composed as one; its tags come likeliest first, further ones follow."""

POOL = 40
"""Candidates among which near-synonyms are looked for; those behind follow as they are."""

LAST_POSTS, LAST_PHOTOS = 256, 32
"""Last posts and photos of a tag that tell how it is used."""

SPECIFIC = 0.3
"""How much a tag's lift over its usual share counts for a stranger, against its log chance.
These numbers were chosen on labelled photos that were held out for the choice (docs/log.md)."""

LEAST_LIFT, MOST_LIFT = -3.0, 5.0
USUAL_POSTS = 20.0
"""Posts without the tag that its usual share is shrunk by."""

SURE_OF_KIND, LIKELY_KIND = 0.3, 0.1
"""Expected weight of the best labelled kind's tag: sure, and enough for a place of its name."""

CLASSES_SAY, KINDS_SAY = 0.7, -0.2
"""What the class-to-tag matrix counts more, the kinds' less, where no kind is sure at all."""

N_NAMES = 2
"""Places kept for names of things by their worth, and again by what the classes call for."""

FAR_BEHIND, LEAST_OF_MOST = 1.0, 0.5
"""How far below the best a name may lie to keep its place: in worth, and as a share of weight."""

LEAST_ALIKE, LEAST_COMPANY = 0.95, 0.85
"""Least cosine of two near-synonyms' mean photos, and of how often others stand beside them."""

MOSTLY, HARDLY_EVER = 0.5, 0.05
"""Share of the rarer tag's posts that carry the other one too: at least, or at most."""

LEAST_USES = 10
"""Tags of fewer uses are nobody's near-synonym: too little is known of them."""

SHRINK = 3.0
LOG_SECOND = float(np.log(0.5))
"""The second tag that says the same counts half,"""

LOG_REFUSED = 2.0 * LOG_SECOND
"""and a near-synonym of a refused tag a quarter."""

_NO_TAGS: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Usage:
    """How some tags are used: what near-synonyms are told by.

    Attributes:
        uses: Posts with each tag, `[C]`.
        together: Of the posts with the row's tag that were looked at, those that carry the
            column's too, `[C, C]`; on the diagonal all that were looked at.
        company: Cosine of what stands beside two tags, each other apart, `[C, C]`.
        photos: Mean photo of each tag, any length, zeros without one, `[C, J]`.
    """

    uses: Floats
    together: Floats
    company: Floats
    photos: Floats

    @classmethod
    def of_posts(
        cls, uses: Floats, photos: Floats, tags: Ints, of: Ints, start: Ints, carried: Ints
    ) -> Usage:
        """Count in the last posts with each tag: N posts, M tag uses in them.

        Args:
            uses: As the attribute.
            photos: As the attribute.
            tags: Ids, distinct, `[C]`.
            of: Which of `tags` a post is listed for, perhaps besides others, `[N]`.
            start: Where a post's tags begin in `carried`, and the end, `[N + 1]`.
            carried: Ids, `[M]`.
        """
        n, near = len(tags), np.asarray(look_alike(photos).any(axis=1))
        row = np.repeat(of, np.diff(start))
        most = int(max(tags.max(initial=0), carried.max(initial=0))) + 1
        if not near.any():
            place = np.full(most, -1)
            place[tags] = np.arange(n)
            column = place[carried]
            asked = column >= 0
            together = np.bincount(row[asked] * n + column[asked], minlength=n * n)
            none = np.zeros((n, n), np.float32)
            return cls(uses, together.reshape(n, n).astype(np.float32), none, photos)
        is_carried = np.zeros(most, np.bool_)
        is_carried[carried] = True
        number, n_beside = np.cumsum(is_carried) - 1, int(is_carried.sum())
        beside = np.bincount(row * n_beside + number[carried], minlength=n * n_beside)
        beside = beside.reshape(n, n_beside).astype(np.float32)
        own = np.flatnonzero(is_carried[tags])
        together = np.zeros((n, n), np.float32)
        together[:, own] = beside[:, number[tags[own]]]
        # Only tags whose photos look the same are compared by their company.
        beside[~near] = 0.0
        beside[own, number[tags[own]]] = 0.0
        return cls(uses, together, company_cosine(beside, together), photos)

    def at(self, places: Ints) -> Usage:
        """These tags in another order, repeated or left out."""
        both = np.ix_(places, places)
        return Usage(
            self.uses[places], self.together[both], self.company[both], self.photos[places]
        )


def usage_of(asked: Asked, question: int, names: Sequence[str], *, photos: bool = True) -> Usage:
    """How tags were used before a question, in the store and in the model's prior.

    Args:
        asked: The questions.
        question: Which of them.
        names: Tags, known or not, `[C]`.
        photos: Look at the tags' photos and, for near-synonyms, only at the posts of tags whose
            photos look alike; otherwise at the posts of all, and at no photo.
    """
    ids, place = np.unique([asked.id_of(name) for name in names], return_inverse=True)
    view, prior = asked.view, asked.knowledge.prior
    tick = np.full(len(ids), asked.tick[question])
    known = (ids >= 0) & (ids < len(prior.uses))
    uses = (view.uses_with(ids, tick) + asked.at_prior(prior.uses, ids)) * (ids >= 0)
    sums = np.zeros((len(ids), view.vectors.shape[1]), np.float32)
    looked_at = ids >= 0
    if photos:
        sums = _photo_sums(asked, ids, tick)
        looked_at = look_alike(sums).any(axis=1) & looked_at
    parts: list[tuple[Ints, Ints, Ints]] = []
    for source, until, has in (
        (view, tick, looked_at),
        (prior.view, np.full(len(ids), LAST_TICK), looked_at & known),
    ):
        of, slot = source.carrying(ids[has], until[has], limit=LAST_POSTS)
        parts.append(
            (np.flatnonzero(has)[of], source.n_uses[slot].astype(np.int64), source.uses_of(slot)[1])
        )
    of, lengths, carried = (np.concatenate([part[i] for part in parts]) for i in range(3))
    start = np.append(0, np.cumsum(lengths))
    # An unknown tag has no posts; its id must only be nobody else's.
    distinct = np.where(ids >= 0, ids, max(asked.n_tags, int(carried.max(initial=0)) + 1))
    return Usage.of_posts(uses.astype(np.float32), sums, distinct, of, start, carried).at(place)


def _photo_sums(asked: Asked, ids: Ints, tick: Ints) -> Floats:
    """Sum of the last photos of tags and of the prior's, `[C, J]`; zeros for an unknown tag."""
    view, prior = asked.view, asked.knowledge.prior
    sums = np.zeros((len(ids), view.vectors.shape[1]), np.float32)
    known = (ids >= 0) & (ids < len(prior.uses))
    if prior.n_posts:
        sums[known] = prior.photo_sums[ids[known]]
    pair, row = view.last_photos(np.maximum(ids, 0), tick, limit=LAST_PHOTOS)
    if len(pair):
        first = np.flatnonzero(is_first(pair))
        sums[pair[first]] += np.add.reduceat(view.vectors[row], first, axis=0)
    sums[ids < 0] = 0.0
    return sums


def company_cosine(beside: Floats, together: Floats) -> Floats:
    """Cosine `[C, C]` of the roots of how often others stand `[C, A]` beside two tags.

    Neither tag of a pair is company of the pair itself, so their posts `together` don't count.
    """
    # Roots, so that the squares are the counts.
    roots = np.sqrt(beside)
    others = np.maximum(beside.sum(axis=1)[:, None] - together, 1e-9)
    return (roots @ roots.T / np.sqrt(others * others.T)).astype(np.float32)


def look_alike(photos: Floats) -> Bools:
    """Which tags' mean photos point the same way; False on the diagonal, `[C, C]`."""
    unit = photos / np.maximum(np.linalg.norm(photos, axis=1, keepdims=True), 1e-9)
    found = unit @ unit.T >= LEAST_ALIKE
    np.fill_diagonal(found, val=False)
    return found


def near_synonyms(usage: Usage) -> Bools:
    """Which tags say the same thing, by their use alone and whatever their spelling, `[C, C]`.

    Their photos look the same, the same tags stand beside them, and either the rarer one mostly
    comes together with the other or the two hardly ever meet.
    """
    uses, share = usage.uses, usage.together / (usage.together.diagonal()[:, None] + SHRINK)
    rarer, equal = uses[:, None] < uses, uses[:, None] == uses
    share = np.where(rarer, share, np.where(equal, np.maximum(share, share.T), share.T))
    found = (np.minimum(uses[:, None], uses) >= LEAST_USES) & look_alike(usage.photos)
    found &= (share >= MOSTLY) | (share <= HARDLY_EVER)
    return found & (usage.company >= LEAST_COMPANY)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a stranger's photo says of the candidates.

    Attributes:
        usual: Share of all posts that carry each, `[C]`; see `usual_share`.
        classes: What the encoder's classes call for: expected weight by the class-to-tag
            matrix, `[C]`; 0 where nothing does.
        kinds: The same by the labelled kinds of photos, `[C]`.
        is_name: Which name a thing that a photo can show, `[C]`.
    """

    usual: Floats
    classes: Floats
    kinds: Floats
    is_name: Bools

    @classmethod
    def by_stranger(cls, asked: Asked, question: int, tags: Ints, features: Floats) -> Seen | None:
        """What is seen of candidates `[C]` with features `[C, S]`.

        None without a photo, or where there is a history.
        """
        if not asked.has_photo[question] or asked.own.n[question]:
            return None
        uses = np.expm1(features[:, FEATURES.column("uses_log")])
        classes, kinds = (
            (BRIDGE_FLOOR * np.expm1(features[:, FEATURES.column(name)])).astype(np.float32)
            for name in ("bridge", "kinds")
        )
        n_posts = float(asked.n_posts[question]) + asked.knowledge.prior.n_posts
        return cls(usual_share(uses, n_posts), classes, kinds, asked.knowledge.names_thing(tags))


def usual_share(uses: Floats, n_posts: float) -> Floats:
    """Share of posts that carry a tag, shrunk, `[C]`."""
    return (uses + 1.0) / (n_posts + USUAL_POSTS)


def worth_of(probs: Floats, seen: Seen | None, *, floor: float) -> Floats:
    """What candidates are worth in a set, `[C]`, in natural log units.

    Log chance, and for a stranger's photo what is special: some of the lift over the usual share
    and, where the photo is of no labelled kind for sure, more of what the encoder's own classes
    say. Classes and kinds below an expected weight of `floor` say nothing.
    """
    worth = np.log(np.maximum(probs, 1e-6))
    if seen is None:
        return worth.astype(np.float32)
    lift = np.clip(np.log(np.maximum(probs, 1e-5) / seen.usual), LEAST_LIFT, MOST_LIFT)
    unsure = max(0.0, 1.0 - float(seen.kinds.max(initial=0.0)) / SURE_OF_KIND)
    classes, kinds = np.log1p(seen.classes / floor), np.log1p(seen.kinds / floor)
    says = unsure * (CLASSES_SAY * classes + KINDS_SAY * kinds)
    return (worth + SPECIFIC * lift + says).astype(np.float32)


def names_first(worth: Floats, seen: Seen) -> list[int]:
    """Candidates whose places are kept on a stranger's photo, best first.

    The two names of things of most worth, the likely kind's, and the two that the encoder's own
    classes call for most, each unless it falls far behind the best of its sort.
    """
    order = np.argsort(-worth, kind="stable")
    things = order[seen.is_name[order]][:N_NAMES]
    things = things[worth[things] >= worth[things].max(initial=-np.inf) - FAR_BEHIND]
    of_class = seen.classes * seen.is_name
    least_of_class = LEAST_OF_MOST * float(of_class.max(initial=0.0))
    for weight, least, n in (
        (seen.kinds * seen.is_name, LIKELY_KIND, 1),
        (of_class, least_of_class, N_NAMES),
    ):
        weight[things] = 0.0
        best = np.argsort(-weight, kind="stable")[:n]
        things = np.append(things, best[weight[best] > least])
    return things.tolist()


def greedy(
    worth: Floats,
    same: Bools,
    *,
    is_own: Bools,
    first: Sequence[int] = (),
    limit: int | None = None,
) -> list[int]:
    """Order candidates: the best first, and after each one its near-synonyms count half.

    Args:
        worth: Log chance or the like, `[C]`.
        same: Near-synonyms, `[C, C]`.
        is_own: Tags that the person has used, which keep their worth, `[C]`.
        first: Places that come before all others, unless one says the same as another of them.
        limit: How many are needed at least; all by default.

    Returns:
        Places in the order in which they are chosen, all or as many as needed; ties by the first.
    """
    if not same.any():
        return list(dict.fromkeys([*first, *np.argsort(-worth, kind="stable").tolist()]))
    left = worth.astype(np.float64)
    chosen: list[int] = []
    kept = list(first)
    for _ in range(len(left) if limit is None else min(limit, len(left))):
        kept = [i for i in kept if not same[i, chosen].any() or is_own[i]]
        best = kept.pop(0) if kept else int(np.argmax(left))
        chosen.append(best)
        left[best] = -np.inf
        left[same[best] & ~is_own] += LOG_SECOND
    return chosen


def best_set(
    worth: Floats,
    log_probs: Floats,
    same: Bools,
    *,
    is_own: Bools,
    first: Sequence[int] = (),
    limit: int | None = None,
) -> list[int]:
    """Order candidates as they are shown: `SET_SIZE` chosen by worth come first, likeliest first.

    Near-synonyms count half in that order too, so that one doesn't push the rest out of a shorter
    set. Arguments as for `greedy`.
    """
    order = greedy(worth, same, is_own=is_own, first=first, limit=limit and max(limit, SET_SIZE))
    head = np.array(order[:SET_SIZE], np.int64)
    again = greedy(log_probs[head], same[np.ix_(head, head)], is_own=is_own[head])
    return [*head[again].tolist(), *order[SET_SIZE:]]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person wants of the set.

    Attributes:
        n_new: Tags to choose.
        accepted: Tags that they have chosen already.
        refused: Tags that they do not want, nor much of what says the same.
        denied: Tags that are left out, and nothing else with them.
        allowed: The only tags that may be chosen; every tag when empty.
        always: Tags that follow those chosen.
        allow_similar: Whether near-synonyms stand beside each other as if they were not.
    """

    n_new: int
    accepted: tuple[str, ...] = ()
    refused: frozenset[str] = _NO_TAGS
    denied: frozenset[str] = _NO_TAGS
    allowed: frozenset[str] = _NO_TAGS
    always: tuple[str, ...] = ()
    allow_similar: bool = False

    @classmethod
    def of(
        cls,
        k: int,
        accepted: Sequence[str] = (),
        refused: Sequence[str] = (),
        platform: Platform | str | None = None,
        allow_similar: bool = False,
        lists: Lists | None = None,
    ) -> Wishes:
        """Bring wishes into order.

        Args:
            k: How many tags in all, accepted and always-added ones included.
            accepted: Tags chosen already.
            refused: Tags not wanted.
            platform: Cuts `k` to its cap.
            allow_similar: As the attribute.
            lists: Deny, allow and always lists. What is denied or refused is not added either.

        Raises:
            InputError: There is no platform of this name.
        """
        if isinstance(platform, str):
            platform = find_platform(platform)
        if platform is not None and platform.cap is not None:
            k = min(k, platform.cap)
        lists = lists or Lists()
        chosen, unwanted = tidy_tags(accepted), frozenset(tidy_tags(refused))
        denied = frozenset(lists.deny)
        room = max(0, k - len(chosen))
        left_out = denied | unwanted | set(chosen)
        always = tuple(tag for tag in lists.always if tag not in left_out)[:room]
        return cls(
            n_new=room - len(always),
            accepted=chosen,
            refused=unwanted,
            denied=denied,
            allowed=frozenset(lists.allow),
            always=always,
            allow_similar=allow_similar,
        )

    def chosen(
        self,
        names: Sequence[str],
        probs: Floats,
        worth: Floats,
        *,
        is_own: Bools,
        usage: Callable[[Sequence[str]], Usage],
        first: Sequence[int] = (),
    ) -> list[int]:
        """Choose the set of one photo.

        Args:
            names: The candidates' tags, likeliest first, `[C]`.
            probs: Their chances, `[C]`.
            worth: From `worth_of`, `[C]`.
            is_own: Whether the person has used each, `[C]`.
            usage: How some tags, known or not, are used; asked at most once.
            first: Places that are kept, from `names_first`.

        Returns:
            At most `n_new` places as they are shown: likeliest first among the first five.
        """
        left_out = {*self.accepted, *self.refused, *self.denied, *self.always}
        usable = [
            i
            for i in dict.fromkeys([*first, *np.argsort(-worth, kind="stable").tolist()])
            if names[i] not in left_out and (not self.allowed or names[i] in self.allowed)
        ]
        if not usable or not self.n_new:
            return []
        pool = np.array(usable[:POOL], np.int64)
        n, kept = len(pool), range(len(set(first) & set(pool.tolist())))
        worth, log_probs = worth[pool], np.log(np.maximum(probs[pool], 1e-6))
        same, own = np.zeros((n, n), np.bool_), is_own[pool]
        if not self.allow_similar:
            given = [(tag, LOG_SECOND) for tag in self.accepted]
            given += [(tag, LOG_REFUSED) for tag in sorted(self.refused)]
            asked = [*(names[i] for i in usable[:POOL]), *(tag for tag, _ in given)]
            found = near_synonyms(usage(asked))
            same = found[:n, :n]
            for column, (_, weight) in enumerate(given, start=n):
                less = np.where(found[:n, column] & ~own, weight, 0.0)
                worth, log_probs = worth + less, log_probs + less
        order = best_set(worth, log_probs, same, is_own=own, first=kept, limit=self.n_new)
        return [*pool[order].tolist(), *usable[POOL:]][: self.n_new]
