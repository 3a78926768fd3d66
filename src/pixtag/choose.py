"""Choose the set that is shown: a greedy re-ranking (MMR-like) of the likeliest tags.

The order doesn't depend on how many are asked for, so the set of k begins every larger one. A
stranger's photo keeps places for names of things; a near-synonym counts half after the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from pixtag.errors import InputError
from pixtag.lists import Lists
from pixtag.signals import FEATURES, OWN_KEYS, Asked
from pixtag.signals.words import BRIDGE_FLOOR
from pixtag.tags import split_tags, tidy_tags
from pixtag.types import Bools, Floats, Ints
from pixtag.wording import (
    MOST_GENERAL,
    barred_on_people,
    is_general,
    is_vague,
    names_theme,
    same_word,
)

if TYPE_CHECKING:
    from pixtag.platforms import Platform

SET_SIZE = 5  # composed as one; its tags come likeliest first, further ones follow
POOL = 40  # candidates among which near-synonyms are looked for; those behind follow as they are

# For a stranger's photo; chosen on labelled photos that were held out for the choice (docs/log.md).
SPECIFIC = 0.3  # how much the lift over a tag's usual share counts, against its log chance
LEAST_LIFT, MOST_LIFT = -3.0, 5.0
TELLING = 0.7  # how much more it counts in which of a stranger's names stay beside own tags
USUAL_POSTS = 20.0  # posts without the tag that its usual share is shrunk by
SURE_OF_KIND = 0.3  # expected weight of the best labelled kind's tag from which the kind is sure
# and from which a name by kinds, or by the encoder's own classes, is kept a place
LIKELY_KIND, LIKELY_CLASS = 0.1, 0.05
CLASSES_SAY, KINDS_SAY = 0.7, -0.2  # what each counts more where no kind is sure at all,
KINDS_MORE = 0.4  # and what kinds count more where one is sure
# Largest cosine with the person's photos below which a photo is unlike them, and from which it is
# like them even where it shows a thing that they never named
UNLIKE_PHOTOS, LIKE_PHOTOS = 0.6, 0.8
SURE_NEW = 0.3  # expected weight from which a place is kept for such a thing
N_UNLIKE, SURE_UNLIKE = 1, 0.15  # places kept then for the thing, from this expected weight on
MOST_OWN = 2  # of the person's tags that nothing in the photo calls for
# What the person uses counts so much less there if what it belongs to has less expected weight
LOG_FOREIGN, NOT_SEEN, ON_MOST = float(np.log(0.2)), 0.03, 0.5  # but for what is on most posts
REFUTED = 0.003  # and below which something else is surely shown instead of what was typed
N_NAMES = 2  # places kept for names of things by worth, and again by what the classes call for
FAR_BEHIND = 1.0  # below the best in worth, from where a name keeps no place
LEAST_OF_KIND, LEAST_OF_CLASS = 0.25, 0.5  # of the weight of what kinds, or classes, call for most
# Best expected weights by labels and by classes below which it is not sure what a photo shows, and
# tags that are shown then
SURE_LABEL, SURE_CLASS, SET_UNSURE = 0.15, 0.15, 3

# What says the same as a tag of the set
LOG_SECOND = float(np.log(0.5))  # the second that says the same counts half,
LOG_REFUSED = 2.0 * LOG_SECOND  # and a near-synonym of a refused tag a quarter
BARRED = 1e3  # what has no place in the set comes only where there is nothing else

History = Literal["none", "unlike", "like", "near", "unknown"]
"""How a photo lies to the person's posts: there are none, or it is unlike or like them, or like
them and yet shows something else; unknown without photos of theirs where it is not sure what it
shows."""

_BOTH, _SIMILARITY = (OWN_KEYS.index(name) for name in ("has_both_photos", "similarity"))


@dataclass(frozen=True, slots=True)
class Seen:
    """What a photo says of the candidates, each `[C]`, and how it lies to the person's posts."""

    usual: Floats  # from `usual_share`
    classes: Floats  # expected weight by the class-to-tag matrix, 0 where it says nothing
    kinds: Floats  # the same by the labelled kinds of photos
    is_name: Bools  # which name a thing that a photo can show
    person: float | None = None  # chance that the photo shows somebody; None without labels
    is_general: Bools | bool = False  # which are general nouns
    # Which are no signature: of things that the photo does not show, general nouns, used by many
    is_common: Bools | bool = False
    is_elsewhere: Bools | bool = False  # which name what is surely not seen in this photo
    # Which are on few of the person's posts and of things that the photo does not show, or called
    # for by nothing where it is sure what it shows
    is_foreign: Bools | bool = False
    history: History = "none"

    @classmethod
    def of(cls, asked: Asked, question: int, tags: Ints, features: Floats) -> Seen | None:
        """Read features `[C, S]` of tags `[C]`; None without a photo."""
        if not asked.has_photo[question]:
            return None
        uses = np.expm1(features[:, FEATURES.column("uses_log")])
        classes, kinds = (
            (BRIDGE_FLOOR * np.expm1(features[:, FEATURES.column(name)])).astype(np.float32)
            for name in ("bridge", "kinds")
        )
        n_posts = float(asked.n_posts[question]) + asked.knowledge.prior.n_posts
        knowledge, person = asked.knowledge, None
        if knowledge.kinds is not None:
            person = knowledge.kinds.person_chance(asked.embeddings[question])
        usual = usual_share(uses, n_posts)
        seen = cls(usual, classes, kinds, knowledge.names_thing(tags), person)
        share = features[:, FEATURES.column("own_share")]
        uncalled = seen.says < NOT_SEEN
        elsewhere = np.asarray(uncalled & (asked.at_prior(knowledge.covers, tags) > 0))
        is_sure = len(seen.things) > 0 and not seen.is_unsure
        refuted = elsewhere & (seen.says < REFUTED) & is_sure
        names = [asked.names[tag] for tag in tags.tolist()]
        general = is_general(names)
        seen = replace(seen, is_general=general)
        return replace(
            seen,
            is_elsewhere=refuted & ~names_theme(names),
            is_common=elsewhere | general | (asked.at_prior(knowledge.prior.people, tags) > 0),
            is_foreign=(uncalled if len(seen.things) else elsewhere) & (share < ON_MOST),
            history=history_like(asked, question, seen, share > 0),
        )

    def take(self, index: Ints) -> Seen:
        """The same of some of the candidates."""
        of_each = ("usual", "classes", "kinds", "is_name", "is_general")
        of_each += ("is_common", "is_elsewhere", "is_foreign")
        return replace(self, **{name: getattr(self, name)[index] for name in of_each})

    @property
    def says(self) -> Floats:
        """Expected weight by kinds or classes, the larger, `[C]`."""
        return np.maximum(self.kinds, self.classes)

    @property
    def things(self) -> Ints:
        """Names of things, not general ones, that the photo fairly surely calls for, best first."""
        says = self.says * self.is_name * np.logical_not(self.is_general)
        order = np.argsort(-says, kind="stable")
        return order[says[order] >= SURE_UNLIKE]

    def most_special(self, least: float) -> list[int]:
        """Those of the `things` with at least this expected weight, by it and its lift."""
        sure = self.things[self.says[self.things] >= least]
        says = self.says[sure]
        worth = np.log(says) + SPECIFIC * _lift(says, self.usual[sure])
        return sure[np.argsort(-worth, kind="stable")].tolist()

    @property
    def is_unsure(self) -> bool:
        """Whether neither labels nor classes say what the photo shows, people apart."""
        if self.person is None:
            return False
        best = self.kinds.max(initial=0.0), self.classes.max(initial=0.0)
        is_faint = bool(best[0] < SURE_LABEL and best[1] < SURE_CLASS)
        return is_faint or is_vague(self.person, self.kinds)


def history_like(asked: Asked, question: int, seen: Seen, is_own: Bools) -> History:
    """Whether the photo is like what the person has posted: by photos, else by names of things.

    Without photos it is unlike when the person has used less than half of the names that it surely
    calls for, by weight, and unknown where there are none; with photos it is `near` when they look
    alike, not the same, and its surest name is new. What somebody typed is no post: it says which
    tags, not what they post.
    """
    memory = asked.own_memory
    keys = memory.keys[question, memory.filled[question] & (memory.rows[question] >= 0)]
    both = keys[:, _BOTH] > 0
    if not len(keys):
        return "none"
    things = seen.things
    if 2 * np.count_nonzero(both) < len(keys):
        says = seen.says[things]
        if not len(things):
            return "unknown"
        return "unlike" if 2.0 * says[is_own[things]].sum() < says.sum() else "like"
    is_new = len(things) > 0 and not is_own[things[0]]
    alike = keys[both, _SIMILARITY].max()
    if alike < UNLIKE_PHOTOS:
        return "unlike"
    return "near" if is_new and alike < LIKE_PHOTOS else "like"


def usual_share(uses: Floats, n_posts: float) -> Floats:
    """Share of posts that carry a tag, shrunk, `[C]`."""
    return (uses + 1.0) / (n_posts + USUAL_POSTS)


def worth_of(probs: Floats, seen: Seen | None, *, floor: float) -> Floats:
    """What candidates are worth in a set, `[C]`, in natural log units.

    Log chance, and for a photo unlike all that the person has posted what is special: some of the
    lift over the usual share and of what the labelled kinds say and, where the photo is of none for
    sure, more of what the encoder's own classes say. Classes and kinds below an expected weight of
    `floor` say nothing.
    """
    worth = np.log(np.maximum(probs, 1e-6))
    if seen is None or seen.history not in {"none", "unlike"}:
        return worth.astype(np.float32)
    lift = _lift(probs, seen.usual)
    unsure = max(0.0, 1.0 - float(seen.kinds.max(initial=0.0)) / SURE_OF_KIND)
    classes, kinds = np.log1p(seen.classes / floor), np.log1p(seen.kinds / floor)
    says = unsure * (CLASSES_SAY * classes + KINDS_SAY * kinds)
    says += (1.0 - unsure) * KINDS_MORE * kinds
    return (worth + SPECIFIC * lift + says).astype(np.float32)


def _lift(probs: Floats, usual: Floats) -> Floats:
    """Log of how much likelier each is than usual, within limits, `[C]`."""
    return np.clip(np.log(np.maximum(probs, 1e-5) / usual), LEAST_LIFT, MOST_LIFT)


def names_first(worth: Floats, seen: Seen | None) -> list[int]:
    """Candidates whose places are kept on a stranger's photo, best first.

    The two names of things of most worth, the likely kind's, and where no kind is sure the two that
    the encoder's own classes call for most, each unless it falls far behind the best of its sort.
    On a photo that looks like the person's and surely shows something else, the most special name
    for that alone.
    """
    if seen is None or seen.history in {"like", "unknown"}:
        return []
    if seen.history == "near":
        return seen.most_special(SURE_NEW)[:1]
    order = np.argsort(-worth, kind="stable")
    things = order[seen.is_name[order]][:N_NAMES]
    things = things[worth[things] >= worth[things].max(initial=-np.inf) - FAR_BEHIND]
    kinds, classes = seen.kinds * seen.is_name, seen.classes * seen.is_name
    best_kind, best_class = float(seen.kinds.max(initial=0.0)), float(classes.max(initial=0.0))
    n_classes = N_NAMES if best_kind < SURE_OF_KIND else 0
    for weight, least, n in (
        (kinds, max(LIKELY_KIND, LEAST_OF_KIND * best_kind), 1),
        (classes, max(LIKELY_CLASS, LEAST_OF_CLASS * best_class), n_classes),
    ):
        weight[things] = 0.0
        best = np.argsort(-weight, kind="stable")[:n]
        things = np.append(things, best[weight[best] > least])
    return things.tolist()


def as_a_stranger(
    probs: Floats, worth: Floats, seen: Seen, *, is_own: Bools, five: Sequence[int]
) -> tuple[Floats, list[int]]:
    """Worth and kept places on a photo unlike what the person has posted.

    Tags that the person has not used take the places that their chances have among all, in the
    order in which a stranger would get them (the `five`, then by `worth`), but that among the
    five names of things come before the rest, the telling ones first: own tags take places of the
    last. A place is kept for the first that kinds or classes are fairly sure of. What the person
    uses on some posts for things that the photo does not show counts less, twice so where it is
    sure what it shows; then so does all of theirs that nothing calls for but `MOST_OWN` tags, a
    signature rather than another thing, a general noun or what many use: the rest of a set that
    was made for other photos.
    """
    out = np.log(np.maximum(probs, 1e-6)).astype(np.float32)
    is_sure = len(seen.things) > 0
    out[is_own & seen.is_foreign] += LOG_FOREIGN * (1.0 + is_sure)
    if is_sure:
        uncalled = np.flatnonzero(is_own & (seen.says < NOT_SEEN))
        own_way = (out + 2.0 * LOG_SECOND * seen.is_common)[uncalled]
        out[uncalled[np.argsort(-own_way, kind="stable")[MOST_OWN:]]] += 2.0 * LOG_FOREIGN
    order = dict.fromkeys([*five, *np.argsort(-worth, kind="stable").tolist()])
    others = np.fromiter(order, np.int64, len(order))
    others = others[~is_own[others]]
    n = int(np.count_nonzero(np.isin(others, five)))
    shown, is_thing = others[:n], seen.is_name & np.logical_not(seen.is_general)
    telling = worth + TELLING * _lift(probs, seen.usual)
    others[:n] = shown[np.lexsort((-telling[shown], ~is_thing[shown]))]
    out[others] = -np.sort(-out[others])
    sure = [i for i in others[:n].tolist() if is_thing[i] and seen.says[i] >= SURE_UNLIKE]
    return out, sure[:N_UNLIKE]


def greedy(
    worth: Floats,
    same: Bools,
    *,
    is_own: Bools,
    first: Sequence[int] = (),
    limit: int | None = None,
    twice: Bools | None = None,
    general: Bools | None = None,
) -> list[int]:
    """Order candidates: the best by `worth [C]` first, then its near-synonyms (`same`) count half.

    Tags that the person has used (`is_own`) keep their worth; the places `first` come before all
    others, unless one says the same as another of them; ties go by place. Among the first
    `SET_SIZE` no word stands `twice`, `[C, C]`, and few are `general`, `[C]`, but for what the
    person has used. At least `limit` places, or all.
    """
    n = len(worth)
    twice = np.zeros((n, n), np.bool_) if twice is None else twice & ~is_own[:, None]
    general = np.zeros(n, np.bool_) if general is None else general & ~is_own
    if not (same.any() or twice.any() or general.any()):
        return list(dict.fromkeys([*first, *np.argsort(-worth, kind="stable").tolist()]))
    left = worth.astype(np.float64)
    chosen: list[int] = []
    kept, barred, n_general = list(first), np.zeros(n, np.bool_), 0
    for place in range(n if limit is None else min(limit, n)):
        if place == SET_SIZE:
            barred = np.zeros(n, np.bool_)
        kept = [i for i in kept if not barred[i] and (not same[i, chosen].any() or is_own[i])]
        best = kept.pop(0) if kept else int(np.argmax(left - BARRED * barred))
        chosen.append(best)
        left[best] = -np.inf
        left[same[best] & ~is_own] += LOG_SECOND
        if place < SET_SIZE:
            n_general += int(general[best])
            barred = barred | twice[:, best]
            if n_general >= MOST_GENERAL:
                barred |= general
    return chosen


def best_set(
    worth: Floats,
    log_probs: Floats,
    same: Bools,
    *,
    is_own: Bools,
    first: Sequence[int] = (),
    limit: int | None = None,
    twice: Bools | None = None,
    general: Bools | None = None,
) -> list[int]:
    """Order candidates as they are shown: `SET_SIZE` chosen by worth (`greedy`), likeliest first.

    Near-synonyms count half here too, so that one doesn't push others out of a shorter set. At
    least `limit` places, or all.
    """
    most = limit and max(limit, SET_SIZE)
    order = greedy(
        worth, same, is_own=is_own, first=first, limit=most, twice=twice, general=general
    )
    head = np.array(order[:SET_SIZE], np.int64)
    again = greedy(log_probs[head], same[np.ix_(head, head)], is_own=is_own[head])
    return [*head[again].tolist(), *order[SET_SIZE:]]


@dataclass(frozen=True, slots=True)
class Wishes:
    """Who asks, and what they want of the set."""

    n_new: int  # tags to choose
    accepted: tuple[str, ...]  # chosen already
    refused: frozenset[str]  # not wanted, nor much of what says the same
    always: tuple[str, ...]  # follow those chosen
    left_out: frozenset[str]  # never chosen: all of these, and the deny list
    allowed: frozenset[str]  # the only tags that may be chosen; every tag when empty
    allow_similar: bool  # let near-synonyms stand beside each other
    user: str | None  # whose photos they are
    history: tuple[str, ...]  # tags that they say they use, repeated when used often

    @classmethod
    def of(
        cls,
        k: int,
        accepted: Sequence[str] = (),
        refused: Sequence[str] = (),
        platform: Platform | str | None = None,
        allow_similar: bool = False,
        lists: Lists | None = None,
        user: str | None = None,
        history: Sequence[str] | None = None,
    ) -> Wishes:
        """Tidy the tags and fit them into `k`, accepted and always-added ones included.

        One text in the place of a list of tags is split as on the command line.

        The platform's cap cuts `k`; what is denied or refused is not added either.

        Raises:
            InputError: `k` is not positive, or there is no platform of this name.
        """
        check_k(k)
        if isinstance(platform, str):
            from pixtag.platforms import find_platform

            platform = find_platform(platform)
        if platform is not None and platform.cap is not None:
            k = min(k, platform.cap)
        lists = lists or Lists()
        accepted, refused, history = (
            split_tags(one) if isinstance(one, str) else one or ()
            for one in (accepted, refused, history)
        )
        chosen, unwanted = tidy_tags(accepted), frozenset(tidy_tags(refused))
        room, out = max(0, k - len(chosen)), unwanted.union(chosen, lists.deny)
        always = tuple(tag for tag in lists.always if tag not in out)[:room]
        allowed, n_new = frozenset(lists.allow), room - len(always)
        out = out.union(always)
        typed = tuple(tag for raw in history for tag in tidy_tags([raw]))
        return cls(n_new, chosen, unwanted, always, out, allowed, allow_similar, user, typed)

    def chosen(
        self,
        names: Sequence[str],
        probs: Floats,
        worth: Floats,
        *,
        is_own: Bools,
        same_meaning: Callable[[Sequence[str]], Bools],
        first: Sequence[int] = (),
        seen: Seen | None = None,
        unsure: bool = False,
        settled: Sequence[int] = (),
    ) -> list[int]:
        """Choose the set of one photo: at most `n_new` places of the candidates, as shown.

        Of C candidates, likeliest first, `is_own` were used by the person and `first` are kept
        places (`names_first`). `same_meaning` tells near-synonyms, and is asked at most once.
        A photo (`seen`) gets nothing that is barred on photos of people but what the person uses,
        and fewer tags where it is `unsure` what it shows. Those `settled` may stand together.
        """
        out = self.left_out
        if seen is not None and seen.person is not None:
            barred = barred_on_people(names, person=seen.person, kinds=seen.kinds) & ~is_own
            out = out.union(names[i] for i in np.flatnonzero(barred).tolist()) - self.allowed
            out |= self.left_out
        n_new = min(self.n_new, SET_UNSURE) if unsure else self.n_new
        usable = [
            i
            for i in dict.fromkeys([*first, *np.argsort(-worth, kind="stable").tolist()])
            if names[i] not in out and (not self.allowed or names[i] in self.allowed)
        ]
        if not usable or not n_new:
            return []
        pool = np.array(usable[:POOL], np.int64)
        n, kept = len(pool), range(len(set(first) & set(pool.tolist())))
        worth, log_probs = worth[pool], np.log(np.maximum(probs[pool], 1e-6))
        same, own = np.zeros((n, n), np.bool_), is_own[pool]
        twice, general = same, None
        if seen is not None and seen.history == "none":
            general = is_general([names[i] for i in usable[:n]])
        if not self.allow_similar:
            given = [(tag, LOG_SECOND) for tag in self.accepted]
            given += [(tag, LOG_REFUSED) for tag in sorted(self.refused)]
            every = [*(names[i] for i in usable[:n]), *(t for t, _ in given)]
            words = same_word(every)
            found = same_meaning(every) | words
            beside = np.isin(pool, settled)
            apart = ~(beside[:, None] & beside)
            same, twice = found[:n, :n] & apart, words[:n, :n] & apart
            for column, (_, weight) in enumerate(given, start=n):
                less = np.where(found[:n, column] & ~own, weight, 0.0)
                worth, log_probs = worth + less, log_probs + less
        order = best_set(
            worth,
            log_probs,
            same,
            is_own=own,
            first=kept,
            limit=self.n_new,
            twice=twice,
            general=general,
        )
        return [*pool[order].tolist(), *usable[POOL:]][:n_new]


def check_k(k: int) -> None:
    """Raise `InputError` unless at least one is asked for."""
    if k < 1:
        raise InputError(f"k = {k}: at least one hashtag must be asked for", hint="use k=5")
