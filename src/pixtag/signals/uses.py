"""Every use of a tag by a person, with running sums over that person's earlier uses of it.

A long history is too much to add up for every query. Most of what is wanted of it is a sum over
earlier uses that fades by a constant factor (an hour, a post, a use): such a sum after one use
follows from the sum after the use before. Here they are kept after every use, so that a query
only looks up the last use before its time. Power laws of age are sums of such fading sums.
"""

from __future__ import annotations

from math import gamma

import numpy as np

from pixtag.signals.columns import DAY_S, Block, Columns, ragged
from pixtag.types import Doubles, Floats, Ints

HOUR_S = 3600.0
LEAST_AGE_S = 60.0
SLOWEST = 1e-7
"""Slowest rate of the fading sums behind power laws, an hour."""

N_RATES = 34
"""Rates, each twice the one before: within 1e-4 from a minute to two years, .1 % to ten."""

POST_SCALES = np.array([2.0, 8.0, 32.0, 128.0, 512.0], np.float32)
"""Own posts over which a use fades to 1/e."""

DAY_HARMONICS = 4
WEEK_HARMONICS = 6
GAP_FADE = 0.8
"""Weight of a gap between uses against the gap after it."""

GROUP = 16_384
"""About as many uses are summed at once."""


class OwnUses:
    """Uses by person, tag and time; sums are made for the people asked about, when asked.

    Shapes:
        E: uses, ordered by person, then tag, then time. B: queries. Q: pairs of a query and a
        use. N: posts. K: sums.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        n, n_uses = len(columns), len(columns.tag)
        place = np.empty(n, np.int64)
        place[columns.posts_by_user] = np.arange(n)
        self.place_of_post = place
        user = columns.user[columns.use_row_by_user]
        key = user * columns.n_tags + columns.use_tag_by_user
        order = np.argsort(key, kind="stable")
        self.row = columns.use_row_by_user[order]
        self.tag = columns.use_tag_by_user[order]
        self.place = place[self.row]
        self.at = columns.at[self.row]
        self._key = key[order]
        self.user = user[order]
        starts = np.r_[True, self._key[1:] != self._key[:-1]] if n_uses else np.zeros(0, np.bool_)
        first = np.flatnonzero(starts)
        self.ordinal = np.arange(n_uses) - np.repeat(first, np.diff(np.r_[first, n_uses]))
        following = np.full(n_uses, n, np.int64)
        following[:-1] = np.where(starts[1:], n, self.row[1:])
        self._next_row = following
        self._position = np.empty(n_uses, np.int64)
        self._position[order] = np.arange(n_uses)
        self._next_row_by_user = following[self._position]
        self._timeline = self._key * (n + 1) + self.row
        self._sums = np.zeros((n_uses, N_SUMS), np.float32)
        self._over_posts = np.zeros((n_uses, len(POST_SCALES)), np.float32)
        self._has_sums = np.zeros(columns.n_users + 1, np.bool_)

    def last_uses(self, block: Block) -> tuple[Ints, Ints]:
        """The last use of each of a person's tags before each query.

        Returns:
            Query `[Q]`, ascending, and use `[Q]`, ascending by tag within a query.
        """
        columns = self._columns
        known = np.flatnonzero(block.user < columns.n_users)
        people, of_query = np.unique(block.user[known], return_inverse=True)
        if not len(people):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        least = np.full(len(people), len(columns), np.int64)
        most = np.zeros(len(people), np.int64)
        np.minimum.at(least, of_query, block.cut[known])
        np.maximum.at(most, of_query, block.cut[known])
        start, stop = columns.own_uses(people, most)
        # Uses that are the last of their tag before the person's first query, and all later ones.
        owner, use = ragged(start, stop - start)
        later = self._next_row_by_user[use] >= least[owner]
        # People ascend, so that in the order of all uses each person's still lie together.
        length = np.bincount(owner[later], minlength=len(people))
        use = np.sort(self._position[use[later]])
        query, place = ragged((np.cumsum(length) - length)[of_query], length[of_query])
        use = use[place]
        cut = block.cut[known][query]
        kept = (self.row[use] < cut) & (self._next_row[use] >= cut)
        return known[query[kept]], use[kept]

    def find(self, user: Ints, tag: Ints, row: Ints) -> Ints:
        """Uses of (user, tag) before a row: the place after the last among all uses, `[Q]`."""
        n = len(self._columns)
        return np.searchsorted(self._timeline, (user * self._columns.n_tags + tag) * (n + 1) + row)

    def sums(self, use: Ints) -> Floats:
        """The running sums after some uses, `[Q, K]`."""
        self._prepare(use)
        return self._sums[use]

    def over_posts(self, use: Ints) -> Floats:
        """Those of the sums that fade over posts, `[Q, 5]`: quicker for many uses."""
        self._prepare(use)
        return self._over_posts[use]

    def _prepare(self, use: Ints) -> None:
        """Make the sums of the people of some uses, each from that person's uses alone."""
        missing = ~self._has_sums[self.user[use]]
        if not missing.any():
            return
        people = np.unique(self.user[use[missing]])
        n_tags = self._columns.n_tags
        start = np.searchsorted(self._key, people * n_tags)
        length = np.searchsorted(self._key, (people + 1) * n_tags) - start
        group = (np.cumsum(length) - length) // GROUP
        for i in range(int(group.max(initial=-1)) + 1):
            _, use = ragged(start[group == i], length[group == i])
            self._sums[use] = self._summed(use)
            self._over_posts[use] = self._sums[use, POSTS]
        self._has_sums[people] = True

    def _summed(self, use: Ints) -> Floats:
        at, ordinal = self.at[use], self.ordinal[use]
        place = self.place[use].astype(np.float32)
        sums = np.ones((N_SUMS, len(use)), np.float32)
        sums[RHYTHM] = rhythm(at)
        sums[GAPS] = 0.0
        again = np.flatnonzero(ordinal > 0)
        hours = np.maximum(at[again] - at[again - 1], LEAST_AGE_S) / HOUR_S
        log_posts = np.log(place[again] - place[again - 1])
        sums[GAPS, again] = np.stack([np.log(hours), log_posts, log_posts**2])
        # After the pass with distance d, a sum holds the last 2 d uses.
        distance = 1
        while (ordinal >= distance).any():
            again = (ordinal >= distance)[distance:].astype(np.float32)
            hours = ((at[distance:] - at[:-distance]) / HOUR_S).astype(np.float32) * again
            posts = (place[distance:] - place[:-distance]) * again
            factor = np.empty((N_SUMS, len(again)), np.float32)
            factor[TIME] = np.exp(-RATES[:, None] * hours)
            factor[POSTS] = np.exp(-posts / POST_SCALES[:, None])
            factor[RHYTHM] = factor[POSTS.stop - 1]
            factor[GAPS] = GAP_FADE**distance
            factor *= again
            factor *= sums[:, :-distance]
            sums[:, distance:] += factor
            distance *= 2
        return sums.T

    def power_laws(self, use: Ints, now: Doubles, decays: tuple[float, ...]) -> Floats:
        """Sum `age ** -decay` over a use and all earlier ones of its person and tag.

        Args:
            use: `[Q]`.
            now: Unix seconds, after the use, `[Q]`.
            decays: Exponents; ages are in hours, at least a minute.

        Returns:
            `[Q, len(decays)]`.
        """
        # The youngest uses all count as a minute old.
        settled = use.copy()
        n_young = np.zeros(len(use), np.float32)
        young = np.flatnonzero(now - self.at[use] < LEAST_AGE_S)
        while len(young):
            n_young[young] += 1
            young = young[self.ordinal[settled[young]] > 0]
            settled[young] -= 1
            young = young[now[young] - self.at[settled[young]] < LEAST_AGE_S]
        hours = (now - self.at[settled]) / HOUR_S
        faded = np.exp(-RATES * hours.astype(np.float32)[:, None]) * self.sums(settled)[:, TIME]
        faded *= (hours >= LEAST_AGE_S / HOUR_S)[:, None]
        weights = np.stack([_weights(decay) for decay in decays], axis=1)
        least = np.array([(LEAST_AGE_S / HOUR_S) ** -decay for decay in decays], np.float32)
        total = faded @ weights + n_young[:, None] * least
        return total.astype(np.float32)


RATES = (SLOWEST * 2.0 ** np.arange(N_RATES)).astype(np.float32)
TIME = slice(0, N_RATES)
POSTS = slice(N_RATES, N_RATES + len(POST_SCALES))
RHYTHM = slice(POSTS.stop, POSTS.stop + 2 * (DAY_HARMONICS + WEEK_HARMONICS))
GAPS = slice(RHYTHM.stop, RHYTHM.stop + 3)
N_SUMS = GAPS.stop


def rhythm(at: Doubles) -> Doubles:
    """Cosines and sines of the hour of the day and of the time of the week, `[20, n]`."""
    day = 2.0 * np.pi * (at / DAY_S - np.floor(at / DAY_S))
    week = 2.0 * np.pi * (at / (7.0 * DAY_S) - np.floor(at / (7.0 * DAY_S)))
    angles = [day * k for k in range(1, DAY_HARMONICS + 1)]
    angles += [week * k for k in range(1, WEEK_HARMONICS + 1)]
    return np.stack([wave for angle in angles for wave in (np.cos(angle), np.sin(angle))])


def _weights(decay: float) -> Doubles:
    """Weights that make a sum of exponentials a power law: `x ** -d` is an integral over rates.

    What is slower than the slowest rate hardly fades: its weights, a geometric series, go there.
    """
    weights = np.log(2.0) * RATES.astype(np.float64) ** decay / gamma(decay)
    weights[0] /= 1.0 - 2.0**-decay
    return weights


def close_in_day_and_week(sums: Floats, count: Floats, at: Doubles) -> tuple[Floats, Floats]:
    """Uses near this hour of the day and near this time of the week, each by a Fejer kernel.

    Args:
        sums: Faded cosines and sines of the uses, `[Q, 20]`.
        count: Faded number of uses, `[Q]`.
        at: When it is asked, `[Q]`.

    Returns:
        Weighted uses, `[Q]` each; as many as `count` when uses are spread evenly.
    """
    waves = rhythm(at)
    found: list[Floats] = []
    start = 0
    for n in (DAY_HARMONICS, WEEK_HARMONICS):
        total = count.astype(np.float64)
        for k in range(1, n + 1):
            i = start + 2 * (k - 1)
            agree = waves[i] * sums[:, i] + waves[i + 1] * sums[:, i + 1]
            total = total + 2.0 * (1.0 - k / (n + 1)) * agree
        found.append(np.maximum(total, 0.0).astype(np.float32))
        start += 2 * n
    return found[0], found[1]
