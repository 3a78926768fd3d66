"""The pixel head: tag logits from the image embedding, and the joint space of photos and tags."""

from __future__ import annotations

import numpy as np

from pixtag.types import Floats

FEW_ROWS = 32
"""Up to which a product takes less time with the long side first."""


def products(rows: Floats, matrix: Floats) -> Floats:
    """Products of B rows `[B, D]` with all N of a matrix `[N, D]`, `[B, N]`.

    A few rows, as a server has, take half the time with the long side first.
    """
    if len(rows) > FEW_ROWS:
        return rows @ matrix.T
    return np.ascontiguousarray((matrix @ rows.T).T)


class Head:
    """Projects photos into a joint space in which tags have learned embeddings.

    Trained with a softmax loss over the tags used (Mahajan et al. 2018).

    Shapes:
        B: photos. D: encoder width. J: joint space. V: tags of the training vocabulary.

    Args:
        center: Mean of the training embeddings, `[D]`.
        projection: `[D, J]`.
        tag_vectors: `[V, J]`.
        tag_bias: `[V]`.
    """

    def __init__(
        self, center: Floats, projection: Floats, tag_vectors: Floats, tag_bias: Floats
    ) -> None:
        self.center = center
        self.projection = projection
        self.tag_vectors = tag_vectors
        self.tag_bias = tag_bias

    @property
    def width(self) -> int:
        """Width J of the joint space."""
        return int(self.projection.shape[1])

    def project(self, embeddings: Floats) -> Floats:
        """Unit vectors in the joint space, `[B, J]`; zeros for an embedding of zeros."""
        rows = embeddings.astype(np.float32)
        out = (rows - self.center) @ self.projection
        norm = np.linalg.norm(out, axis=1, keepdims=True)
        out = out / np.maximum(norm, 1e-9)
        out[~np.any(rows != 0, axis=1)] = 0.0
        return out

    def logits(self, photo: Floats) -> Floats:
        """Tag logits of projected photos, `[B, V]`."""
        return products(photo, self.tag_vectors) + self.tag_bias

    def log_probs(self, photo: Floats) -> Floats:
        """Log softmax of the logits, `[B, V]`."""
        logits = self.logits(photo)
        top = logits.max(axis=1, keepdims=True)
        return logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
