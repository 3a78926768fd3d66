"""Fits a classifier of kinds of photos that somebody labelled: a second bridge to tags.

The encoder's classes are a thousand things from 2012. Where photos come with a label of what they
show, a linear classifier on their embeddings names these kinds too, and a reviewed map leads
from each to tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pixtag.signals.words import Bridge, Classifier, class_tag_matrix
from pixtag.types import Floats, Halfs

RIDGE = 60.0
BACKGROUND = 0.1
SHARPNESS = 48.0
"""What a regression on 0 and 1 is multiplied by to act as a logit before the bridge's
temperature of 2."""


@dataclass(frozen=True)
class Kinds:
    """A fitted classifier of kinds with its map to tags.

    Shapes:
        K: kinds. D: encoder width. V: vocabulary.

    Attributes:
        weight: `[K, D]`.
        bias: `[K]`.
        matrix: Chance of each tag on a photo of each kind, `[K, V]`.
    """

    weight: Floats
    bias: Floats
    matrix: Halfs

    def bridge(self) -> Bridge:
        """The signal."""
        return Bridge(self.matrix, Classifier(self.weight, self.bias))


def fit_kinds(
    embeddings: Floats,
    labels: Sequence[str],
    tags_of_kind: Mapping[str, Sequence[str]],
    vocabulary: Sequence[str],
) -> Kinds:
    """Fit by ridge regression on indicators of the kinds.

    Args:
        embeddings: Of labelled photos, `[N, D]`.
        labels: The kind of each, `[N]`; a kind without a photo here is never named.
        tags_of_kind: Tags that people put on photos of each kind, best first. A kind without tags
            stands for photos of none of the others, so that these are not named at any price; its
            photos weigh less, since they are many and not all rightly there.
        vocabulary: Tags, V of them.
    """
    kinds = sorted(tags_of_kind)
    index = {kind: i for i, kind in enumerate(kinds)}
    target = np.zeros((len(labels), len(kinds)))
    target[np.arange(len(labels)), [index[label] for label in labels]] = 1.0
    weigh = np.array([1.0 if tags_of_kind[label] else BACKGROUND for label in labels])[:, None]
    center = (weigh * embeddings).sum(axis=0) / weigh.sum()
    base = (weigh * target).sum(axis=0) / weigh.sum()
    rows = embeddings - center
    curve = rows.T @ (weigh * rows) + RIDGE * np.eye(rows.shape[1])
    weight = np.linalg.solve(curve, rows.T @ (weigh * (target - base))).T
    bias = base - weight @ center
    absent = target.sum(axis=0) == 0
    bias[absent] = -10.0
    weight[absent] = 0.0
    return Kinds(
        weight=(weight * SHARPNESS).astype(np.float32),
        bias=(bias * SHARPNESS).astype(np.float32),
        matrix=class_tag_matrix([tags_of_kind[kind] for kind in kinds], vocabulary),
    )
