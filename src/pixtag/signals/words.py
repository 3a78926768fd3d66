"""Words and the bridge: from the classes that the encoder names to tags.

The words signal compares what a tag says with what a photo shows, by word vectors: it needs
nobody to have used the tag before. The bridge knows for every class which tags people put on
such photos, from a reviewed map.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_safetensors

from pixtag.errors import ShapeError
from pixtag.evidence.memory import Column
from pixtag.signals.head import products
from pixtag.types import Floats, Halfs, Ints

PLACE_WEIGHTS = (0.8, 0.6, 0.45, 0.35, 0.28, 0.22, 0.18, 0.15, 0.12, 0.1)
"""Chance of a tag on a photo of a class, by its place in the class's list; then the last."""

BRIDGE_FLOOR = 1e-3
"""Expected weight below which a tag says next to nothing."""

_N_LIKELIEST = 20
_TEMPERATURE = 2.0
_MOST_CACHED = 100_000
_MOST_LETTERS = 64
_LONGEST_WORD = 20
_UNKNOWN_LETTER = 12.0
_DEAREST_LETTER = 3.3
_PIECES = {"insta": 8.0, "stagram": 8.0, "instagram": 6.0}
"""Pieces of tags that say nothing, and what they cost: no dearer than a common word."""

_RUNS = re.compile("[a-z]+")
_SAYS_NOTHING = frozenset(
    """
    a all am an and are as at be been by can daily day days do for from get go got gram had has have
    he her here hi him his how i if in insta instagram is it its just me mr my no not of oh ok on or
    our out photo photographer photographers photography photos pic pics so that the their them
    there they this to too up us vs was we were what when who will with you your
    """.split()  # noqa: SIM905 - a list of words reads better as lines
)
"""Words that say nothing of what a photo shows."""


class Classifier:
    """A linear layer on embeddings: the chances of the encoder's classes, or of labels.

    Several signals ask about the same photos one after the other, so the last answer is kept.

    Shapes:
        B: photos. D: encoder width. K: classes. N: classes kept of each photo, at most 20.

    Args:
        weight: `[K, D]`.
        bias: `[K]`.
        is_multi_label: Whether a photo may have several (a logistic each), or just one (softmax).
    """

    def __init__(self, weight: Floats, bias: Floats, *, is_multi_label: bool = False) -> None:
        self.weight = weight
        self.bias = bias
        self.is_multi_label = is_multi_label
        self._last: tuple[Floats, Ints, Floats] | None = None

    def __len__(self) -> int:
        return len(self.bias)

    def likeliest(self, embeddings: Floats) -> tuple[Ints, Floats]:
        """Give the likeliest classes of photos, in no particular order.

        Logits of a softmax are divided by a temperature of 2 first: the encoder names one class
        where people see several things.

        Args:
            embeddings: From the encoder, `[B, D]`.

        Returns:
            Classes `[B, N]` and their chances `[B, N]`, among all classes or each for itself; all
            chances of an embedding of zeros are 0.

        Raises:
            ShapeError: The embeddings are of another width.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.weight.shape[1]:
            raise ShapeError(
                f"classes want embeddings [B, {self.weight.shape[1]}], "
                f"not {list(embeddings.shape)}",
                hint="only the encoder that has these classes can be asked",
            )
        last = self._last  # read once: another thread may put its own answer there
        has_last = last is not None and last[0].shape == embeddings.shape
        if last is not None and has_last and (last[0] == embeddings).all():
            return last[1], last[2]
        rows = embeddings.astype(np.float32)
        chance = products(rows, self.weight)
        chance += self.bias
        first = max(0, len(self) - _N_LIKELIEST)
        if self.is_multi_label:
            chance, total = _logistic(chance), np.float32(1.0)
        else:
            chance -= chance.max(axis=1, keepdims=True)
            chance /= np.float32(_TEMPERATURE)
            np.exp(chance, out=chance)
            total = chance.sum(axis=1, keepdims=True)
        classes = np.argpartition(chance, first, axis=1)[:, first:]
        kept = np.take_along_axis(chance, classes, axis=1) / total
        kept[~rows.any(axis=1)] = 0.0
        self._last = (rows, classes, kept)
        return classes, kept


class _TagVectors:
    """Vectors of tags that were split already; a place is given once its vector is there."""

    def __init__(self, width: int) -> None:
        self.place: dict[str, int] = {}
        self.vectors = Column(np.zeros((0, width), np.float32))

    def add(self, tags: Sequence[str], vectors: Floats) -> None:
        first = len(self.vectors.rows)
        self.vectors.append(vectors)
        self.place |= zip(tags, range(first, first + len(tags)), strict=True)


class Words:
    """Compares tags with photos by the words in both.

    A photo is the convex combination of the vectors of its likeliest classes' names (ConSE,
    Norouzi et al. 2014); a tag is the mean of its words' vectors. GloVe (Pennington et al. 2014),
    its common part taken out (`tools/word_vectors.py`). Without a classifier the words lie in the
    space of the embeddings (CLIP, Radford et al. 2021), and a photo is its own embedding.

    Shapes:
        N: words. W: width of a word vector. K: classes. T: tags. B: photos.

    Args:
        words: Lower-case letters, the most frequent first, `[N]`.
        vectors: Unit vectors, `[N, W]`.
        classifier: Of the encoder that makes the embeddings; None for words of its own space.
        class_names: All names of each class, `[K]`.
    """

    def __init__(
        self,
        words: Sequence[str],
        vectors: Halfs,
        classifier: Classifier | None = None,
        class_names: Sequence[Sequence[str]] = (),
    ) -> None:
        self._row = dict(zip(words, range(len(words)), strict=True))
        self._cost = _costs(words)
        self._vectors = vectors
        self._classifier = classifier
        self._kept = _TagVectors(vectors.shape[1])
        self._splitting = threading.Lock()
        self._class_vectors = self._means([self._rows_of_names(names) for names in class_names])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_splitting": None}  # a lock stays in its process

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {"_splitting": threading.Lock()})

    @classmethod
    def load(cls, classifier: Classifier, class_names: Sequence[Sequence[str]]) -> Words:
        """Load the words that come with the package.

        Args:
            classifier: Of the encoder that makes the embeddings.
            class_names: All names of each class, `[K]`.
        """
        return cls(*unpack(packaged()), classifier, class_names)

    @property
    def width(self) -> int:
        """Width W of a word vector."""
        return self._vectors.shape[1]

    def tag_vectors(self, tags: list[str]) -> Floats:
        """Unit vectors of tags, `[T, W]`; zeros for a tag without words that say something."""
        kept = self._kept  # read once: another thread may begin anew
        rows = [kept.place.get(tag, -1) for tag in tags]
        if -1 in rows:
            missing = [tag for tag in tags if tag not in kept.place]
            with self._splitting:
                # A server that runs for months doesn't keep every tag it ever met.
                if len(kept.place) > _MOST_CACHED:
                    kept = self._kept = _TagVectors(self._vectors.shape[1])
                    missing = list(dict.fromkeys(tags))
                known = self._row  # as a whole a tag may say more than its words
                words = ([tag] if tag in known else self.split(tag) for tag in missing)
                split = [self._rows_of_words(one) for one in words]
                kept.add(missing, self._means(split))
            rows = [kept.place[tag] for tag in tags]
        return kept.vectors.rows[rows]

    def photo_vectors(self, embeddings: Floats) -> Floats:
        """Unit vectors of what photos show, `[B, W]`; zeros for an embedding of zeros.

        Raises:
            ShapeError: The embeddings are not as wide as the classifier expects.
        """
        if self._classifier is None:
            return _unit(embeddings.astype(np.float32))
        classes, chance = self._classifier.likeliest(embeddings)
        mixed = np.matmul(chance[:, None, :], self._class_vectors[classes])[:, 0, :]
        return _unit(mixed)

    def split(self, tag: str) -> list[str]:
        """Split a tag into words: `dogsofinstagram` into dogs, of, instagram.

        The cheapest way to write each run of letters in known words, where a word costs the
        negative log of its chance under Zipf's law. Letters beyond the 64th are not looked at.

        Args:
            tag: Without '#'.

        Returns:
            The known words in order. None of a run that known words explain badly.
        """
        found: list[str] = []
        for run in _RUNS.findall(tag[:_MOST_LETTERS].casefold()):
            found += [run] if run in self._row else _cheapest(run, self._cost)
        return found

    def _rows_of_words(self, words: Sequence[str]) -> tuple[int, ...]:
        row = self._row
        return tuple(row[w] for w in words if w in row and w not in _SAYS_NOTHING)

    def _rows_of_names(self, names: Sequence[str]) -> tuple[int, ...]:
        """Names are written in words already; what is unknown is mostly Latin."""
        return self._rows_of_words(_RUNS.findall(" ".join(names).casefold()))

    def _means(self, rows: Sequence[tuple[int, ...]]) -> Floats:
        """Unit mean of each group of words, `[T, W]`; zeros for an empty group."""
        lengths = np.fromiter((len(r) for r in rows), np.int64, len(rows))
        flat = np.fromiter((i for r in rows for i in r), np.int64, int(lengths.sum()))
        out = np.zeros((len(rows), self._vectors.shape[1]), np.float32)
        some = np.flatnonzero(lengths)
        if len(some):
            starts = (np.cumsum(lengths) - lengths)[some]
            gathered = self._vectors[flat].astype(np.float32)
            out[some] = np.add.reduceat(gathered, starts, axis=0)
        return _unit(out)


class Bridge:
    """What people tag photos with, given the classes that the encoder sees in them.

    Shapes:
        B: photos. D: encoder width. K: classes. V: vocabulary.

    Args:
        matrix: Chance of each tag on a photo of each class, mostly zeros, `[K, V]`; integers are
            hundredths.
        classifier: Of the encoder that makes the embeddings.
        person: Class of the photos that show somebody, or None.

    Attributes:
        covers: Which tags some class leads to, `[V]`.
        names: Which tags are likeliest on photos of some class, `[V]`: its everyday word.

    Raises:
        ShapeError: The matrix has other classes than the classifier.
    """

    def __init__(
        self, matrix: NDArray[Any], classifier: Classifier, *, person: int | None = None
    ) -> None:
        if matrix.ndim != 2 or len(matrix) != len(classifier):
            raise ShapeError(
                f"the bridge wants a matrix [{len(classifier)}, V], not {list(matrix.shape)}",
                hint="train the model again with this version",
            )
        self._classifier, self._person = classifier, person
        self._n_tags = matrix.shape[1]
        of_class, self._tag = np.divmod(np.flatnonzero(matrix != 0), max(self._n_tags, 1))
        self._weight = matrix[of_class, self._tag].astype(np.float32)
        if matrix.dtype == np.uint8:
            self._weight /= np.float32(100.0)
        most = np.zeros(len(matrix), np.float32)
        np.maximum.at(most, of_class, self._weight)
        self.covers, self.names = np.zeros((2, self._n_tags), bool)
        self.covers[self._tag] = True
        self.names[self._tag[self._weight == most[of_class]]] = True
        self._count = np.bincount(of_class, minlength=len(matrix))
        self._start = np.cumsum(self._count) - self._count

    def scores(self, embeddings: Floats) -> Floats:
        """Score how much a photo's classes call for each tag.

        The log of the expected weight above a floor, over the twenty likeliest classes:
        `log(sum_c p(c) matrix[c, v] + floor) - log(floor)`; of several labels the weight is the
        chance that one of them leads to the tag (noisy or).

        Args:
            embeddings: From the encoder, `[B, D]`.

        Returns:
            `[B, V]`, natural log units, 0 for a tag that no likely class calls for; zeros for an
            embedding of zeros.

        Raises:
            ShapeError: The embeddings are not as wide as the classifier expects.
        """
        classes, chance = self._classifier.likeliest(embeddings)
        # One entry for each tag of each likely class: a few hundred a photo.
        count = self._count[classes].ravel()
        first = np.cumsum(count) - count
        total = int(count.sum())
        entry = np.arange(total) + np.repeat(self._start[classes].ravel() - first, count)
        photo = np.repeat(np.repeat(np.arange(len(classes)), classes.shape[1]), count)
        place = photo * self._n_tags + self._tag[entry]
        weight = np.repeat(chance.ravel(), count) * self._weight[entry]
        size = len(classes) * self._n_tags
        if self._classifier.is_multi_label:
            none = np.bincount(place, weights=np.log1p(-weight), minlength=size)
            expected = -np.expm1(none)
        else:
            expected = np.bincount(place, weights=weight, minlength=size)
        out = np.zeros(size, np.float32)
        out[place] = np.log1p(expected[place] / BRIDGE_FLOOR)
        return out.reshape(len(classes), self._n_tags)

    def person_chance(self, embedding: Floats) -> float | None:
        """Chance that a photo `[D]` shows somebody; None where no class says that."""
        if self._person is None:
            return None
        layer = self._classifier
        return float(_logistic(layer.weight[self._person] @ embedding + layer.bias[self._person]))


def class_tag_matrix(
    tags_of_class: Sequence[Sequence[str]], vocabulary: Sequence[str]
) -> NDArray[np.uint8]:
    """Lay out the chance of each tag on a photo of each class, by its place in the class's list.

    Shapes:
        K: classes. V: vocabulary.

    Args:
        tags_of_class: Tags that people put on photos of each class, best first, `[K]`.
        vocabulary: Tags, V of them; others in the lists are left out, but keep their place.

    Returns:
        Hundredths `[K, V]`; of a tag that is listed twice the better place counts.
    """
    index = {tag: i for i, tag in enumerate(vocabulary)}
    matrix = np.zeros((len(tags_of_class), len(vocabulary)), np.uint8)
    for row, tags in enumerate(tags_of_class):
        for place, tag in reversed(list(enumerate(tags))):
            if tag in index:
                weight = PLACE_WEIGHTS[min(place, len(PLACE_WEIGHTS) - 1)]
                matrix[row, index[tag]] = round(100 * weight)
    return matrix


def unpack(tensors: Mapping[str, NDArray[Any]]) -> tuple[tuple[str, ...], Halfs]:
    """Read words, the most frequent first, and their vectors `[N, W]` out of what a file holds.

    `words` are bytes, UTF-8, one word a line; `vectors` half precision.
    """
    return tuple(tensors["words"].tobytes().decode().split("\n")), tensors["vectors"]


@cache
def packaged() -> Mapping[str, NDArray[Any]]:
    """The words that come with the package, for `unpack`."""
    return load_safetensors(files("pixtag").joinpath("data", "words.safetensors").read_bytes())


def _costs(words: Sequence[str]) -> dict[str, float]:
    """Negative log of each word's chance: Zipf's law over its rank."""
    total = math.log(math.log(max(len(words), 3)))
    ranks = np.log(np.arange(1, len(words) + 1)) + total
    return dict(zip(words, ranks.tolist(), strict=True)) | _PIECES


def _cheapest(run: str, costs: dict[str, float]) -> list[str]:
    """The known words of the cheapest split; none when it is dear for its length."""
    cost_of = costs.get
    best = [0.0] * (len(run) + 1)
    back = [0] * (len(run) + 1)
    for stop in range(1, len(run) + 1):
        low, start = best[stop - 1] + _UNKNOWN_LETTER, stop - 1
        for begin in range(max(0, stop - _LONGEST_WORD), stop):
            before = best[begin]
            if before < low:
                cost = cost_of(run[begin:stop])
                if cost is not None and before + cost < low:
                    low, start = before + cost, begin
        best[stop], back[stop] = low, start
    if best[-1] > _DEAREST_LETTER * len(run):
        return []
    words: list[str] = []
    stop = len(run)
    while stop:
        words.append(run[back[stop] : stop])
        stop = back[stop]
    return [w for w in reversed(words) if w in costs]


def _logistic(logits: Floats) -> Floats:
    return np.float32(1.0) / (np.float32(1.0) + np.exp(-np.clip(logits, -30.0, 30.0)))


def _unit(rows: Floats) -> Floats:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(norm, np.float32(1e-9))
