"""What waits at the same time is worked on together."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from pixtag.batches import Batches
from pixtag.errors import InputError


def test_what_waits_is_worked_on_together() -> None:
    is_begun, is_free, sizes = threading.Event(), threading.Event(), list[int]()

    def work(items: Sequence[int]) -> list[int]:
        is_begun.set()
        is_free.wait(10)
        return [2 * item for item in items]

    batches = Batches(work, most=4, n_threads=1, name="test")
    batches.on_batch = sizes.append
    first = batches.put(0)
    is_begun.wait(10)
    rest = [batches.put(n) for n in range(1, 10)]
    is_free.set()
    assert [future.result() for future in (first, *rest)] == [2 * n for n in range(10)]
    batches.close()
    assert sizes == [1, 4, 4, 1]


def test_what_is_wrong_with_one_is_not_wrong_with_others() -> None:
    def work(items: Sequence[int]) -> list[int | Exception]:
        if 7 in items:
            raise ValueError("seven")
        return [InputError("three", hint="") if item == 3 else item for item in items]

    batches = Batches(work, most=9, n_threads=2, name="test", patience_s=0.01)
    found = [batches.put(n) for n in range(9)]
    assert [f.result() for n, f in enumerate(found) if n not in {3, 7}] == [0, 1, 2, 4, 5, 6, 8]
    with pytest.raises(InputError, match="three"):
        found[3].result()
    with pytest.raises(ValueError, match="seven"):
        found[7].result()
    batches.close()
