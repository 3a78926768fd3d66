"""What a person wants of the set that is shown, and the set that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from pixtag.lists import Lists
from pixtag.platforms import Platform, find_platform
from pixtag.predict.choice import LOG_SECOND, choose, names_first, near_synonyms
from pixtag.state import FEATURE_NAMES, State
from pixtag.tags import tidy_tags
from pixtag.types import Bools, Floats, Ints

LOG_REFUSED = 2.0 * LOG_SECOND
"""A near-synonym of a refused tag counts a quarter."""

_SPARE = 16
"""Candidates beyond those wanted among which near-synonyms are looked for."""

_OWN_USES = FEATURE_NAMES.index("own_uses_log")
_NO_TAGS: frozenset[str] = frozenset()


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
        self, state: State, tags: Ints, probs: Floats, features: Floats, context: Floats
    ) -> list[int]:
        """Choose the set for one photo.

        Shapes:
            C: candidates, likeliest first. S: features. X: context.

        Args:
            state: Just asked about this photo.
            tags: Indices, `[C]`.
            probs: Their chances, `[C]`.
            features: As the state gives them, `[C, S]`.
            context: As the state gives it, `[X]`.

        Returns:
            At most `n_new` places among the candidates.
        """
        is_name = state.knowledge.names_thing(tags)
        worth, first = names_first(probs, features, context, is_name)
        left_out = {*self.accepted, *self.refused, *self.denied, *self.always}
        names = state.tags
        order = dict.fromkeys([*first, *np.argsort(-worth, kind="stable").tolist()])
        usable = (
            i
            for i in order
            if (name := names[tags[i]]) not in left_out
            and (not self.allowed or name in self.allowed)
        )
        offered = list(islice(usable, self.n_new + _SPARE))
        if self.allow_similar:
            return offered[: self.n_new]
        n_first = len(set(first) & set(offered))
        is_own = features[:, _OWN_USES] > 0
        return self._without_crowding(state, tags, worth, offered, is_own, n_first=n_first)

    def _without_crowding(
        self,
        state: State,
        tags: Ints,
        worth: Floats,
        offered: list[int],
        is_own: Bools,
        *,
        n_first: int,
    ) -> list[int]:
        index = state.tag_index
        beside = [
            (index[tag], weight)
            for group, weight in ((self.accepted, LOG_SECOND), (self.refused, LOG_REFUSED))
            for tag in group
            if tag in index
        ]
        best = np.array(offered[: self.n_new], np.int64)
        # Mostly the best are the set: nothing says the same as another that is not their own.
        if not beside and not (near_synonyms(state, tags[best]).any(axis=1) & ~is_own[best]).any():
            return offered[: self.n_new]
        short = np.array(offered, np.int64)
        given = np.array([tag for tag, _ in beside], np.int64)
        same = near_synonyms(state, np.concatenate([tags[short], given]))
        n, is_own, left = len(short), is_own[short], worth[short].copy()
        for column, (_, weight) in enumerate(beside, start=n):
            left[same[:n, column] & ~is_own] += weight
        first = range(min(n_first, n))
        found = choose(left, same[:n, :n], k=self.n_new, is_own=is_own, first=first)
        return short[found].tolist()
