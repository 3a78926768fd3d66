"""Co-occurrence: tags that go with tags already accepted and with the likeliest candidates."""

from __future__ import annotations

import numpy as np

from pixtag.signals.columns import Block, Columns, Pairs
from pixtag.signals.head import top_of_rows
from pixtag.types import Bools, Floats, Ints

SHRINK = 3.0


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

    def _unknown_share(self, block: Block, seeds: Ints, weights: Floats) -> Floats:
        """What `given` leaves open for want of posts with the seeds, `[B]`.

        Where it is filled with the usual rates, a tag of few posts says little.
        """
        v = self.n_counted
        if not v:
            return weights.sum(axis=1)
        times, _ = self._seed_counts(block, np.where(seeds < v, seeds, 0))
        times = np.where(seeds < v, times, 0.0)
        return (weights * SHRINK / (times + SHRINK)).sum(axis=1).astype(np.float32)

    @staticmethod
    def _self_share(
        block: Block, pairs: Pairs, seeds: Ints, scale: Floats, in_block: Floats
    ) -> Floats:
        n_in_block = in_block.sum(axis=2)
        is_self = seeds[pairs.query] == pairs.tag[:, None]
        return np.einsum("pq,pq->p", is_self, (scale * n_in_block)[pairs.query])

    def features(
        self,
        block: Block,
        pairs: Pairs,
        likely: tuple[Ints, Floats],
        accepted: tuple[Ints, Floats],
        base_rate: Floats,
    ) -> Floats:
        """Co-occurrence at the pairs, `[P, 3]`, as in `names`.

        Args:
            block: The queries.
            pairs: The candidates.
            likely: Likeliest candidates `[B, Q]` and their weights.
            accepted: Tags chosen already `[B, A]` and their weights.
            base_rate: Share of posts with each candidate, `[P]`.
        """
        with_likely = self.given(block, pairs, *likely)
        mass = likely[1].sum(axis=1)[pairs.query] + 1e-6
        lift = np.log((with_likely / mass + 1e-4) / (base_rate + 1e-4))
        out = [np.log(with_likely + 1e-4) - np.log(1e-4), lift]
        if accepted[0].shape[1]:
            with_accepted = self.given(block, pairs, *accepted)
            with_accepted += self._unknown_share(block, *accepted)[pairs.query] * base_rate
            any_accepted = accepted[1].sum(axis=1)[pairs.query]
            chance = with_accepted / np.maximum(any_accepted, 1e-6)
            score = np.log((chance + 1e-3) / (base_rate + 1e-3))
            out.append(np.where(any_accepted > 0, score, 0.0))
        else:
            out.append(np.zeros(len(pairs), np.float32))
        return np.stack(out, axis=1).astype(np.float32)

    def propose(
        self, block: Block, accepted: tuple[Ints, Floats], public: Bools, *, limit: int
    ) -> tuple[Ints, Ints]:
        """Public tags that most often stand beside the accepted ones."""
        seeds, weights = accepted
        v = self.n_counted
        known = (seeds < v) & (weights > 0)
        seeds = np.where(known, seeds, 0)
        times, in_block = self._seed_counts(block, seeds)
        scale = np.where(known, weights / (times + SHRINK), 0.0).astype(np.float32)
        scores = np.einsum("bqv,bq->bv", self.counts[seeds], scale)
        correction = np.einsum("bq,bqr->br", scale, in_block) @ block.member
        counted = block.local_tags < v
        scores[:, block.local_tags[counted]] += correction[:, counted]
        rough = np.round(np.where(public[:, :v] & (scores > 0), scores, -np.inf), 5)
        return top_of_rows(rough.astype(np.float32), limit=limit)
