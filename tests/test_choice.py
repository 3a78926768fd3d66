"""The set that a stranger sees."""

from __future__ import annotations

import numpy as np

from pixtag.predict.choice import strangers_order, strangers_worth
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


def _seen(**columns: list[float]) -> np.ndarray:
    features = _features([5] * len(next(iter(columns.values()))))
    for name, values in columns.items():
        features[:, FEATURE_NAMES.index(name)] = values
    return features


def test_where_no_kind_is_sure_the_classes_of_the_encoder_outdo_the_kinds():
    probs = np.array([0.3, 0.1], np.float32)  # sports by a vague kind; portrait by the classes
    vague = _seen(bridge=[0.0, 4.0], kinds=[np.log1p(50.0), 0.0])
    sure = _seen(bridge=[0.0, 4.0], kinds=[np.log1p(700.0), 0.0])
    stranger = _context(history=0.0)
    assert strangers_worth(probs, vague, stranger).argmax() == 1
    assert strangers_worth(probs, sure, stranger).argmax() == 0


def test_a_stranger_is_told_what_the_photo_shows_before_what_goes_with_it():
    probs = np.array([0.5, 0.45, 0.4, 0.35, 0.3, 0.02, 0.01], np.float32)
    features = _seen(bridge=[3.0, 3.0, 3.0, 3.0, 3.0, 4.0, 1.0], kinds=[7.0] * 7)
    is_name = np.array([False, False, False, False, True, True, True])
    order = strangers_order(probs, features, _context(history=0.0), is_name).tolist()
    assert order == [4, 5, 0, 1, 2, 3, 6]  # the last is called for too faintly to be kept a place
    known = strangers_order(probs, features, _context(history=1.0), is_name).tolist()
    assert known == list(range(7))


def test_without_names_of_things_worth_alone_orders():
    probs = np.array([0.1, 0.5, 0.3], np.float32)
    none = np.zeros(3, np.bool_)
    features = _seen(bridge=[0.0] * 3)
    assert strangers_order(probs, features, _context(history=0.0), none).tolist() == [1, 2, 0]
    empty = strangers_order(probs[:0], features[:0], _context(history=0.0), none[:0])
    assert empty.shape == (0,)
