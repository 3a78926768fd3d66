"""The feature table: everything about an input of the network stands in one row of it.

A signal is one file that declares its features and gives them by one pure function. The order of
the inputs, which source silences which, what training hides, the ablation table and the groups of
reasons all follow from the rows; a model's file holds the names and is refused when they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from pixtag.types import Bools, Floats, Ints, Sources

if TYPE_CHECKING:
    from pixtag.signals.asked import Asked, Pairs

Source = Literal["pixels", "history", "trend"]
SOURCES: tuple[Source, ...] = ("pixels", "history", "trend")


@dataclass(frozen=True, slots=True)
class Feature:
    """One number that the network reads of a candidate.

    Attributes:
        name: Unique.
        sources: The sources that it needs: silent when any of them is.
        reason: The group of reasons that it belongs to, a key of `REASONS`.
        when_unknown: Its value for a tag that the model's vocabulary lacks; None where the
            vocabulary does not matter.
        when_unseen: Its value for a tag that no photo carried; None where photos do not matter.
    """

    name: str
    sources: tuple[Source, ...]
    reason: str
    when_unknown: float | None = None
    when_unseen: float | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    """Features that are computed together.

    Attributes:
        name: Of the signal, for the ablation table.
        features: Its rows of the table.
        compute: Gives the features `[P, S]` of pairs of a question and a candidate.
    """

    name: str
    features: tuple[Feature, ...]
    compute: Callable[[Asked, Pairs], Floats]


REASONS: dict[str, str] = {
    "picture": "pixels",
    "neighbours": "pixels",
    "own uses": "history",
    "own posts": "history",
    "rising": "trend",
    "weekday": "trend",
    "season": "trend",
    "company": "general",
    "popular": "general",
}
"""Groups of features that a person would call one reason, and the source that each is told as."""

MEMORIES: dict[str, str] = {"own posts": "own", "neighbours": "near"}
"""The memory whose attention belongs to a group of reasons."""


class Table:
    """The features of some signals in the order in which the network reads them.

    Args:
        signals: In order.
    """

    def __init__(self, signals: Sequence[Signal]) -> None:
        self.signals = tuple(signals)
        self.features = tuple(feature for signal in signals for feature in signal.features)
        self.names = tuple(feature.name for feature in self.features)
        self._column = {name: i for i, name in enumerate(self.names)}
        self._by_sources: dict[Sources, list[tuple[Signal, slice, Ints]]] = {}
        if len(self._column) < len(self.names):
            raise ValueError("two features have the same name")

    def __len__(self) -> int:
        return len(self.features)

    def column(self, name: str) -> int:
        """Place of a feature."""
        return self._column[name]

    def columns(self, names: Sequence[str]) -> Ints:
        """Places of some features."""
        return np.array([self._column[name] for name in names], np.int64)

    @property
    def needed(self) -> Floats:
        """1 where a feature needs a source, `[3, S]`."""
        return np.array(
            [[float(s in f.sources) for f in self.features] for s in SOURCES], np.float32
        )

    def of_signal(self, name: str) -> Ints:
        """Places of a signal's features."""
        return self.columns([f.name for s in self.signals if s.name == name for f in s.features])

    def of_reason(self, reason: str) -> Ints:
        """Places of the features of a group of reasons."""
        return self.columns([f.name for f in self.features if f.reason == reason])

    @cached_property
    def by_reason(self) -> Bools:
        """Which features belong to each group of `REASONS`, `[G, S]`."""
        return np.array([[f.reason == reason for f in self.features] for reason in REASONS])

    def compute(self, asked: Asked, pairs: Pairs) -> Floats:
        """Every feature at the pairs, `[P, S]`; 0 where a source that it needs is silent."""
        out = np.zeros((len(pairs), len(self)), np.float32)
        for signal, columns, silent in self._heard(asked.sources):
            out[:, columns] = signal.compute(asked, pairs)
            if len(silent):
                out[:, silent] = 0.0
        return out

    def _heard(self, sources: Sources) -> list[tuple[Signal, slice, Ints]]:
        """Signals of which something is heard, their columns, and those of them that are not."""
        known = self._by_sources.get(sources)
        if known is None:
            known = []
            stop = 0
            for signal in self.signals:
                start, stop = stop, stop + len(signal.features)
                is_silent = np.array(
                    [not all(getattr(sources, s) for s in f.sources) for f in signal.features]
                )
                if not is_silent.all():
                    known.append((signal, slice(start, stop), start + np.flatnonzero(is_silent)))
            self._by_sources[sources] = known
        return known
