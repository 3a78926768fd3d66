"""Co-occurrence: tags that go with tags already accepted and with the likeliest candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pixtag.signals.columns import Block, Columns, Pairs, ragged
from pixtag.signals.head import top_of_rows
from pixtag.types import Bools, Doubles, Floats, Ints

SHRINK = 3.0

BACK_OFF = 2.5
"""What posts weigh together when what they say counts as much as the broader rule."""

OWN_BACK_OFF = 1.0
"""The same for a person's own posts."""

Company = Mapping[int, tuple[Doubles, Doubles]]
"""By query: chance of every tag beside the accepted ones, and usually, `[T]` each."""


class CoOccurrence:
    """How often tags stand in one post, as running counts over a limited vocabulary.

    Shapes:
        V: tags with counts (the first V of all tags). B: queries. P: pairs. Q: seeds a query.

    Args:
        columns: The observed posts.
        n_counted: V.
    """

    names = ("goes_with_candidates", "goes_with_candidates_lift", "goes_with_accepted")

    def __init__(self, columns: Columns, *, n_counted: int) -> None:
        self._columns = columns
        self.n_counted = n_counted
        self.cursor = 0
        self.counts = np.zeros((n_counted, n_counted), np.float32)

    def advance(self, row: int) -> None:
        """Move the cursor to a row, forwards or backwards."""
        if row == self.cursor:
            return
        low, high = sorted((self.cursor, row))
        sign = np.float32(1.0 if row >= self.cursor else -1.0)
        columns = self._columns
        uses = columns.uses_between(low, high)
        tag, of_row = columns.tag[uses], columns.row[uses]
        counted = tag < self.n_counted
        tag, of_row = tag[counted], of_row[counted]
        if len(tag):
            lengths = np.bincount(of_row - low, minlength=high - low)
            starts = np.cumsum(lengths) - lengths
            n_partners = lengths[of_row - low]
            left = np.repeat(tag, n_partners)
            first = np.repeat(np.cumsum(n_partners) - n_partners, n_partners)
            offset = np.arange(len(left)) - first
            right = tag[np.repeat(starts[of_row - low], n_partners) + offset]
            np.add.at(self.counts.reshape(-1), left * self.n_counted + right, sign)
        self.cursor = row

    def given(self, block: Block, pairs: Pairs, seeds: Ints, weights: Floats) -> Floats:
        """Expected chance of each candidate given the seeds: sum of weight times P(tag | seed).

        A seed says nothing about itself.

        Args:
            block: The queries.
            pairs: The candidates, `[P]`.
            seeds: Tags, `[B, Q]`.
            weights: Of each seed, `[B, Q]`; 0 where there is none.

        Returns:
            `[P]`, between 0 and the sum of the weights.
        """
        v = self.n_counted
        if not v:
            return np.zeros(len(pairs), np.float32)
        known = (seeds < v) & (weights > 0)
        seeds = np.where(known, seeds, 0)
        times, in_block = self._seed_counts(block, seeds)
        scale = np.where(known, weights / (times + SHRINK), 0.0).astype(np.float32)
        tag = np.minimum(pairs.tag, v - 1)
        rows = self.counts[seeds[pairs.query], tag[:, None]]
        not_self = seeds[pairs.query] != pairs.tag[:, None]
        total = np.einsum("pq,pq->p", rows * not_self, scale[pairs.query])
        # In-block posts: a post that carries a seed adds the seed's scale to all its tags.
        total += block.at_pairs(np.einsum("bq,bqr->br", scale, in_block) @ block.member, pairs)
        total -= self._self_share(block, pairs, seeds, scale, in_block)
        return np.where(pairs.tag < v, total, 0.0).astype(np.float32)

    def _seed_counts(self, block: Block, seeds: Ints) -> tuple[Floats, Floats]:
        """Posts with each seed before each query `[B, Q]`; in-block ones as 0/1 `[B, Q, R]`."""
        carries = np.concatenate([block.member, np.zeros((len(block.rows), 1), np.float32)], axis=1)
        in_block = carries[:, block.local_index(seeds)].transpose(1, 2, 0) * block.before[:, None]
        times = self.counts[seeds, seeds] + in_block.sum(axis=2)
        return times, in_block

    @staticmethod
    def _self_share(
        block: Block, pairs: Pairs, seeds: Ints, scale: Floats, in_block: Floats
    ) -> Floats:
        n_in_block = in_block.sum(axis=2)
        is_self = seeds[pairs.query] == pairs.tag[:, None]
        return np.einsum("pq,pq->p", is_self, (scale * n_in_block)[pairs.query])

    def company(self, block: Block, accepted: Sequence[Ints]) -> Company:
        """Chance of every tag on a post that carries the accepted ones, and without knowing them.

        From the broad to the narrow: all posts, those with one of the accepted tags (the mean
        over the tags), those with two of them, and so on; what each says is shrunk to what the
        one before says. The person's own posts come last, in the same way. A post of n tags
        weighs 1 / n: were one of its tags named at random, it would be the accepted one that
        often. An accepted tag says nothing about itself.

        Unlike the counts, this looks the posts up and knows every tag.

        Args:
            block: The queries.
            accepted: Distinct tags chosen already, for each query; may be empty altogether.

        Returns:
            By query, for those with accepted tags.
        """
        return {
            query: self._company(int(block.cut[query]), int(block.user[query]), tags)
            for query, tags in enumerate(accepted)
            if len(tags)
        }

    def _company(self, cut: int, user: int, accepted: Ints) -> tuple[Doubles, Doubles]:
        columns = self._columns
        tag = columns.tag[: int(columns.tag_start[cut])]
        usual = np.bincount(tag, minlength=columns.n_tags) / max(cut, 1)
        carrying = [columns.row[np.flatnonzero(tag == one)] for one in accepted]
        chance = np.mean([self._shrunk(rows, usual) for rows in carrying], axis=0)
        rows, n_matched = np.unique(np.concatenate(carrying), return_counts=True)
        for n in range(2, len(accepted) + 1):
            chance = self._shrunk(rows[n_matched >= n], chance)
        own = self._own_posts(user, cut)
        if len(own):
            mine = self._shrunk(own, usual, back_off=OWN_BACK_OFF)
            lift = np.divide(chance, usual, out=np.ones_like(chance), where=usual > 0)
            chance = np.minimum(mine * lift, 1.0)
            is_own = np.isin(rows, own)
            for n in range(1, len(accepted) + 1):
                kept = rows[is_own & (n_matched >= n)]
                chance = self._shrunk(kept, chance, back_off=OWN_BACK_OFF)
            usual = mine
        chance[accepted] = usual[accepted]
        return chance, usual

    def _own_posts(self, user: int, cut: int) -> Ints:
        if user >= self._columns.n_users:
            return np.zeros(0, np.int64)
        start, stop = self._columns.own_posts(np.array([user]), np.array([cut]))
        return self._columns.posts_by_user[int(start[0]) : int(stop[0])]

    def _shrunk(self, rows: Ints, broader: Doubles, *, back_off: float = BACK_OFF) -> Doubles:
        """Share of the weight of some posts that carries each tag, shrunk to a broader rule."""
        columns = self._columns
        lengths = columns.n_tags_of_post[rows]
        weight = 1.0 / np.maximum(lengths, 1)
        owner, use = ragged(columns.tag_start[rows], lengths)
        carried = np.bincount(columns.tag[use], weights=weight[owner], minlength=columns.n_tags)
        return (carried + back_off * broader) / (weight.sum() + back_off)

    def features(
        self,
        block: Block,
        pairs: Pairs,
        likely: tuple[Ints, Floats],
        company: Company,
        base_rate: Floats,
    ) -> Floats:
        """Co-occurrence at the pairs, `[P, 3]`, as in `names`.

        Args:
            block: The queries.
            pairs: The candidates.
            likely: Likeliest candidates `[B, Q]` and their weights.
            company: What the accepted tags say, from `company`.
            base_rate: Share of posts with each candidate, `[P]`.
        """
        with_likely = self.given(block, pairs, *likely)
        mass = likely[1].sum(axis=1)[pairs.query] + 1e-6
        lift = np.log((with_likely / mass + 1e-4) / (base_rate + 1e-4))
        with_accepted = np.zeros(len(pairs), np.float32)
        for query, (chance, usual) in company.items():
            at = pairs.query == query
            tag = pairs.tag[at]
            with_accepted[at] = np.log((chance[tag] + 1e-3) / (usual[tag] + 1e-3))
        out = [np.log(with_likely + 1e-4) - np.log(1e-4), lift, with_accepted]
        return np.stack(out, axis=1).astype(np.float32)

    @staticmethod
    def propose(company: Company, public: Bools, *, limit: int) -> tuple[Ints, Ints]:
        """Public tags that are likeliest beside the accepted ones."""
        scores = np.full(public.shape, -np.inf, np.float32)
        for query, (chance, _) in company.items():
            scores[query] = np.where(public[query], np.log(chance + 1e-6), -np.inf)
        return top_of_rows(scores, limit=limit)
