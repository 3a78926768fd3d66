"""The past, read as of a moment.

evidence.observe(posts)        the posts become part of the past
evidence.retract(post_ids)     as if they had never been
evidence.view()                a frozen view: every read names its moment and sees what lies
                               strictly before it
"""

from pixtag.evidence.memory import Derive, MemoryEvidence, NoModel
from pixtag.evidence.outside import Crowd, Outside
from pixtag.evidence.postings import (
    DAY_TICKS,
    HOUR_TICKS,
    LAST_TICK,
    MOST_KEYS,
    TICKS_PER_S,
    Postings,
    distinct,
    is_among,
    is_first,
    numbered,
    ragged,
    repeated,
    seconds,
    ticks,
)
from pixtag.evidence.protocol import Evidence
from pixtag.evidence.records import NOBODY, Counts, OwnPosts
from pixtag.evidence.snapshot import load_evidence, save_evidence
from pixtag.evidence.view import View, best_tags, weekday_key

__all__ = [
    "DAY_TICKS",
    "HOUR_TICKS",
    "LAST_TICK",
    "MOST_KEYS",
    "NOBODY",
    "TICKS_PER_S",
    "Counts",
    "Crowd",
    "Derive",
    "Evidence",
    "MemoryEvidence",
    "NoModel",
    "Outside",
    "OwnPosts",
    "Postings",
    "View",
    "best_tags",
    "distinct",
    "is_among",
    "is_first",
    "load_evidence",
    "numbered",
    "ragged",
    "repeated",
    "save_evidence",
    "seconds",
    "ticks",
    "weekday_key",
]
