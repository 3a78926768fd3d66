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
        sizes.append(len(items))
        is_begun.set()
        is_free.wait(10)
        return [2 * item for item in items]

    batches = Batches(work, most=4, name="test")
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

    batches = Batches(work, most=9, name="test")
    found = [batches.put(n) for n in range(9)]
    assert [f.result() for n, f in enumerate(found) if n not in {3, 7}] == [0, 1, 2, 4, 5, 6, 8]
    with pytest.raises(InputError, match="three"):
        found[3].result()
    with pytest.raises(ValueError, match="seven"):
        found[7].result()
    batches.close()


def test_half_of_those_who_ask_are_waited_for_and_nobody_who_does_not_come() -> None:
    sizes = list[int]()

    def work(items: Sequence[int]) -> Sequence[int]:
        sizes.append(len(items))
        return items

    coming = Batches(work, most=16, name="test", n_asking=lambda: 200)
    found = [coming.put(n) for n in range(1_008)]
    assert [one.result() for one in found] == list(range(1_008))
    assert max(sizes) == 16
    sizes.clear()
    absent = Batches(work, most=16, name="test", n_asking=lambda: 8)
    assert absent.put(1).result() == 1
    assert sizes == [1]
    coming.close()
    absent.close()
