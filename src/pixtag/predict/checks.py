"""What is refused before any work is done."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from pixtag.artifact import Bundle
from pixtag.errors import InputError, ModelError
from pixtag.network import SHAPES, Size, Widths, initial_weights
from pixtag.signals.memory import Neighbours, OwnMemory
from pixtag.state import CONTEXT_NAMES, FEATURE_NAMES


def check_network(bundle: Bundle) -> None:
    """Refuse a bundle of a version whose signals were others; its weights would be misread.

    Raises:
        ModelError: Some weights do not fit this version's signals.
    """
    widths = Widths(
        features=len(FEATURE_NAMES),
        context=len(CONTEXT_NAMES),
        own_keys=len(OwnMemory.key_names),
        near_keys=len(Neighbours.key_names),
    )
    shape = SHAPES.get(cast("Size", bundle.manifest.size))
    wanted = {} if shape is None else initial_weights(shape, widths, seed=0)
    for name, array in wanted.items():
        given = bundle.weights.get(name)
        if given is None or given.shape != array.shape:
            raise ModelError(
                f"this bundle was made by Pixtag {bundle.manifest.pixtag}, whose signals were "
                f"others ({name} does not fit)",
                hint="train it again with `pixtag train`, or leave --bundle out",
            )


def check_question(k: int, at: datetime | None) -> None:
    """Refuse what cannot be answered.

    Args:
        k: Hashtags asked for.
        at: The time asked about.

    Raises:
        InputError: `k` is not positive, or `at` has no zone.
    """
    if k < 1:
        raise InputError(f"k = {k}: at least one hashtag must be asked for", hint="use k=5")
    if at is not None and at.tzinfo is None:
        raise InputError(
            f"the time {at} has no zone", hint="use an aware one: datetime(..., tzinfo=UTC)"
        )
