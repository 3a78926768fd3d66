"""The signals: each declares its features and reads them at (question, tag) pairs.

To add a signal: a file with a `Signal`, and its name in `SIGNALS`.
"""

from pixtag.signals.asked import Asked, Pairs, Questions, ask
from pixtag.signals.cooccurrence import CO_OCCURRENCE
from pixtag.signals.knowledge import Knowledge, Prior
from pixtag.signals.memory import NEAR_KEYS, OWN_KEYS, Memory
from pixtag.signals.pixels import LATELY, NEIGHBOURS, PIXELS, PROTOTYPES
from pixtag.signals.popularity import POPULARITY
from pixtag.signals.reuse import HABITS, REUSE
from pixtag.signals.spec import MEMORIES, REASONS, SOURCES, Feature, Signal, Table
from pixtag.signals.taste import OWN_MEMORY, TASTE, TOPIC_TASTE
from pixtag.signals.trend import TREND

SIGNALS = (
    PIXELS,
    PROTOTYPES,
    NEIGHBOURS,
    LATELY,
    REUSE,
    HABITS,
    OWN_MEMORY,
    TASTE,
    TOPIC_TASTE,
    TREND,
    POPULARITY,
    CO_OCCURRENCE,
)
FEATURES = Table(SIGNALS)

__all__ = [
    "FEATURES",
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
