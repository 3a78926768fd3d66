"""All evidence up to now: what a bundle brings and what was observed, ready to be asked."""

from pixtag.state.core import State
from pixtag.state.features import (
    CHANCE_FLOOR,
    CONTEXT_NAMES,
    FEATURE_NAMES,
    FLOOR_LOG_PROB,
    HISTORY_NAMES,
    INPUT_NAMES,
    PIXEL_NAMES,
    TASTE_NAMES,
    TREND_LIKE,
    TREND_NAMES,
    Scored,
    join_scored,
)
from pixtag.state.knowledge import BridgeSignal, Knowledge, StateConfig, WordsSignal

__all__ = [
    "CHANCE_FLOOR",
    "CONTEXT_NAMES",
    "FEATURE_NAMES",
    "FLOOR_LOG_PROB",
    "HISTORY_NAMES",
    "INPUT_NAMES",
    "PIXEL_NAMES",
    "TASTE_NAMES",
    "TREND_LIKE",
    "TREND_NAMES",
    "BridgeSignal",
    "Knowledge",
    "Scored",
    "State",
    "StateConfig",
    "WordsSignal",
    "join_scored",
]
