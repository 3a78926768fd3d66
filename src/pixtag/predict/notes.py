"""What a person should know before they trust the answers."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from difflib import get_close_matches

import numpy as np

from pixtag.bundle import PRIOR_ID, Bundle
from pixtag.state import State
from pixtag.store import Store


def notes_on(
    bundle: Bundle, state: State, *, user: str | None, at: datetime | None, store: Store | None
) -> list[str]:
    """Look for what would surprise a person.

    Args:
        bundle: The model.
        state: The evidence.
        user: The person that will be asked about.
        at: The time that will be asked about; now when None.
        store: The store, if there is one.

    Returns:
        Sentences, most important first.
    """
    notes: list[str] = []
    if user is not None and user not in state.users:
        notes.append(_unknown(state, user, has_store=store is not None))
    has_eyes = bundle.manifest.encoder_width > 0
    if not has_eyes:
        notes.append("this bundle was trained without photos: it goes by history and trend alone")
    if store is not None:
        notes += _times(state, at)
        is_stored = np.array([not p.startswith(PRIOR_ID) for p in state.log.post_ids], np.bool_)
        is_blind = has_eyes and not state.log.has_photo[is_stored].any()
        if is_blind and store.summary().n_photos:
            notes.append(
                "no photo of the store has an embedding for this bundle's encoder, so its posts "
                "count without their pixels; `pixtag import` embeds them"
            )
    return notes


def _unknown(state: State, user: str, *, has_store: bool) -> str:
    if not has_store:
        return f"without a store nothing is known about {user!r}: suggesting as for a stranger"
    close = get_close_matches(user, state.users, n=1, cutoff=0.6)
    known = [u for u in state.users if u.casefold() == user.casefold()] or close
    guess = f" (did you mean {known[0]!r}?)" if known else ""
    return f"nobody called {user!r} in the store{guess}: suggesting as for a stranger"


def _times(state: State, at: datetime | None) -> list[str]:
    times = state.log.at[np.isfinite(state.log.at)]
    if not len(times):
        return []
    when = time.time() if at is None else at.timestamp()
    n_later = int((times >= when).sum())
    if at is None and n_later:
        return [
            f"{n_later:,} of {len(times):,} posts in the store are later than now "
            f"({_day(when)}) and do not count; --at asks about another time"
        ]
    if n_later == len(times):
        return [f"every post in the store is later than {_day(when)}: nothing counts"]
    return []


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
