"""The signals: each declares its features and reads them at (question, tag) pairs.

To add a signal: a file with a `Signal`, and its name in `SIGNALS`.
"""

from pixtag.signals.asked import Asked, Pairs, Questions, ask
from pixtag.signals.calendar import CALENDAR
from pixtag.signals.context import CONTEXT_NAMES
from pixtag.signals.cooccurrence import CO_OCCURRENCE
from pixtag.signals.knowledge import Knowledge, Prior
from pixtag.signals.memory import NEAR_KEYS, OWN_KEYS, Memory
from pixtag.signals.pixels import LATELY, NEIGHBOURS, PIXELS, PROTOTYPES
from pixtag.signals.popularity import POPULARITY
from pixtag.signals.reuse import HABITS, REUSE
from pixtag.signals.spec import MEMORIES, REASONS, SOURCES, Feature, Signal, Table
from pixtag.signals.taste import OWN_FIT, OWN_MEMORY, TASTE, TOPIC_TASTE
from pixtag.signals.trend import TREND

SIGNALS = (
    PIXELS,
    PROTOTYPES,
    NEIGHBOURS,
    LATELY,
    REUSE,
    HABITS,
    OWN_MEMORY,
    OWN_FIT,
    TASTE,
    TOPIC_TASTE,
    TREND,
    CALENDAR,
    POPULARITY,
    CO_OCCURRENCE,
)
FEATURES = Table(SIGNALS)

INPUT_NAMES: dict[str, tuple[str, ...]] = {
    "features": FEATURES.names,
    "context": CONTEXT_NAMES,
    "own_keys": OWN_KEYS,
    "near_keys": NEAR_KEYS,
}
"""Names of all inputs of the network in their order; a model's file holds them."""

__all__ = [
    "CONTEXT_NAMES",
    "FEATURES",
    "INPUT_NAMES",
    "MEMORIES",
    "NEAR_KEYS",
    "OWN_KEYS",
    "REASONS",
    "SIGNALS",
    "SOURCES",
    "Asked",
    "Feature",
    "Knowledge",
    "Memory",
    "Pairs",
    "Prior",
    "Questions",
    "Signal",
    "Table",
    "ask",
]
