"""The set that a stranger sees."""

from __future__ import annotations

import numpy as np

from pixtag.predict.choice import strangers_worth
from pixtag.state import CONTEXT_NAMES, FEATURE_NAMES


def _context(*, history: float, pixels: float = 1.0) -> np.ndarray:
    context = np.zeros(len(CONTEXT_NAMES), np.float32)
    context[CONTEXT_NAMES.index("history_on")] = history
    context[CONTEXT_NAMES.index("pixels_on")] = pixels
    context[CONTEXT_NAMES.index("posts_log")] = np.log1p(1000)
    return context


def _features(uses: list[int]) -> np.ndarray:
    features = np.zeros((len(uses), len(FEATURE_NAMES)), np.float32)
    features[:, FEATURE_NAMES.index("uses_log")] = np.log1p(uses)
    return features


def test_a_stranger_gets_the_special_tag_before_the_common_one_of_about_the_same_chance():
    probs = np.array([0.32, 0.30], np.float32)  # love on a third of all posts; espresso on few
    features = _features([330, 5])
    stranger = strangers_worth(probs, features, _context(history=0.0))
    known = strangers_worth(probs, features, _context(history=1.0))
    assert stranger[1] > stranger[0]
    assert known[0] > known[1]


def test_a_far_likelier_common_tag_still_comes_first():
    probs = np.array([0.8, 0.05], np.float32)
    worth = strangers_worth(probs, _features([330, 5]), _context(history=0.0))
    assert worth[0] > worth[1]


def test_without_a_photo_chance_alone_decides():
    probs = np.array([0.32, 0.30], np.float32)
    worth = strangers_worth(probs, _features([330, 5]), _context(history=0.0, pixels=0.0))
    assert worth[0] > worth[1]
