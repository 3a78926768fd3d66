"""Prototypes: for every tag a running mean of the photos that carried it."""

from __future__ import annotations

import numpy as np

from pixtag.signals.columns import DAY_S, Block, Columns, Pairs, numbered
from pixtag.signals.head import top_of_rows
from pixtag.types import Bools, Floats, Ints

SHRINK = 2.0
RECENT_DAYS = 3.0
RECENT_SHARPNESS = 8.0
RECENT_SHRINK = 0.5
LONG_RUN = 8


class Prototypes:
    """Similarity of this photo to the mean photo of each tag, over all time and lately.

    A tag first seen a minute ago has a prototype, so the vocabulary is open. The recent mean
    fades with a half-life in days and tells whether a rising tag fits this photo. Means are
    shrunk towards nothing for tags with few photos.

    Shapes:
        T: tags. J: joint space. B: queries. P: pairs. N: posts.

    Args:
        columns: The observed posts.
        photos: Unit vectors, `[N, J]`; zeros without a photo.
    """

    names = ("prototype", "recent_prototype", "recent_share", "photos_log")

    def __init__(self, columns: Columns, photos: Floats) -> None:
        self._columns = columns
        self._photos = photos
        self._carries = columns.has_photo[columns.row]
        self.cursor = 0
        self.sums = np.zeros((columns.n_tags, photos.shape[1]), np.float32)
        self.count = np.zeros(columns.n_tags, np.float32)
        timed = np.isfinite(columns.at)
        self._epoch = float(columns.at[timed][0]) if timed.any() else 0.0

    def advance(self, row: int) -> None:
        """Move the cursor to a row, forwards or backwards."""
        if row == self.cursor:
            return
        low, high = sorted((self.cursor, row))
        sign = np.float32(1.0 if row >= self.cursor else -1.0)
        uses = self._columns.uses_between(low, high)
        carries = self._carries[uses]
        tag = self._columns.tag[uses][carries]
        if len(tag):
            of_row = self._columns.row[uses][carries]
            order = np.argsort(tag, kind="stable")
            first = np.flatnonzero(np.r_[True, np.diff(tag[order]) > 0])
            present = tag[order][first]
            lengths = np.diff(np.r_[first, len(order)])
            self.sums[present] += sign * self._totals(of_row[order], first, lengths)
            self.count[present] += sign * lengths
        self.cursor = row

    def _totals(self, rows: Ints, first: Ints, lengths: Ints) -> Floats:
        """Sum photos over runs of rows; long runs one by one, which is quicker from eight on."""
        out = np.empty((len(first), self._photos.shape[1]), np.float32)
        is_long = lengths >= LONG_RUN
        for run in np.flatnonzero(is_long).tolist():
            start = first[run]
            out[run] = self._photos[rows[start : start + lengths[run]]].sum(axis=0)
        if not is_long.all():
            short = lengths[~is_long]
            rows = rows[np.repeat(~is_long, lengths)]
            out[~is_long] = np.add.reduceat(self._photos[rows], np.cumsum(short) - short)
        return out

    def scores(self, block: Block) -> Floats:
        """Shrunk mean similarity of every tag, `[B, T]`; 0 for a tag without photos."""
        carries = block.membership(self._carries[block.uses])
        photos = self._photos[block.base : block.base + len(block.rows)]
        similarity = (block.photo @ photos.T) * block.before
        total = block.photo @ self.sums.T
        total[:, block.local_tags] += similarity.astype(np.float32) @ carries
        n = block.to_dense(self.count, block.before @ carries)
        return (total / (n + SHRINK)).astype(np.float32)

    def propose(
        self, block: Block, public: Bools, scores: Floats, *, limit: int
    ) -> tuple[Ints, Ints]:
        """Public tags whose photos look most like this one."""
        masked = np.where(public & block.has_photo[:, None] & (scores > 0), scores, -np.inf)
        return top_of_rows(masked.astype(np.float32), limit=limit)

    def features(self, block: Block, pairs: Pairs, scores: Floats) -> Floats:
        """Similarities at the pairs, `[P, 4]`, as in `names`."""
        carries = block.membership(self._carries[block.uses])
        n = self.count[pairs.tag] + block.at_pairs(block.before @ carries, pairs)
        recent = self._recent(block, pairs)
        return np.concatenate(
            [scores[pairs.query, pairs.tag][:, None], recent, np.log1p(n)[:, None]], axis=1
        )

    def _recent(self, block: Block, pairs: Pairs) -> Floats:
        """What other people did with photos like this one in the last days, `[P, 2]`.

        Mean similarity to the photos that they gave the tag, and the log share of the photos
        like this one, sharply weighted, that got it.
        """
        columns = self._columns
        window_s = RECENT_DAYS * DAY_S
        start = int(columns.cut(np.array([block.at.min() - window_s]))[0])
        stop = int(block.cut.max())
        rows = slice(start, stop)
        uses = columns.uses_between(start, stop)
        if uses.start == uses.stop:
            return np.zeros((len(pairs), 2), np.float32)
        at = columns.at[rows][None, :]
        seen = (np.arange(start, stop)[None, :] < block.cut[:, None]) & (
            at >= block.at[:, None] - window_s
        )
        seen &= columns.is_other(rows, block.user)
        seen &= columns.has_photo[rows][None, :]
        similarity = np.where(seen, block.photo @ self._photos[rows].T, np.float32(0.0))
        # The uses of candidates by tag; narrow numbers are sorted several times quicker.
        candidates, place = numbered(pairs.tag, n_tags=columns.n_tags)
        of_tag = place[columns.tag[uses]].astype(np.min_scalar_type(len(candidates)))
        order = np.argsort(of_tag, kind="stable")[: np.count_nonzero(of_tag < len(candidates))]
        of_tag, of_row = of_tag[order], columns.row[uses][order] - start
        first = np.flatnonzero(np.diff(of_tag, prepend=len(candidates)))
        total = np.add.reduceat(similarity[:, of_row], first, axis=1)
        n = np.add.reduceat(seen[:, of_row].astype(np.float32), first, axis=1)
        mean = total / (n + SHRINK)
        alike = np.exp(RECENT_SHARPNESS * (similarity - 1.0)) * seen
        carried = np.add.reduceat(alike[:, of_row], first, axis=1)
        share = carried / (alike.sum(axis=1, keepdims=True) + RECENT_SHRINK)
        recent = np.zeros((2, len(block), len(candidates)), np.float32)
        recent[:, :, of_tag[first]] = mean, np.log1p(share / 0.01)
        return recent[:, pairs.query, place[pairs.tag]].T
