"""Matrix products on one thread: small ones gain little from more and lose much on a busy machine.

A thread of the BLAS library spins for a while after each product, and the product waits for its
slowest thread: with others at work on the same cores one of .3 ms takes 50.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from threadpoolctl import ThreadpoolController


class _OneThread:
    """The limit on the BLAS libraries of this process, and how many have asked for it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._n_inside = 0
        self._libraries: Any = ThreadpoolController().select(user_api="blas")
        self._limit: Any = None

    def enter(self) -> None:
        with self._lock:
            if not self._n_inside:
                self._limit = self._libraries.limit(limits=1)
            self._n_inside += 1

    def leave(self) -> None:
        with self._lock:
            self._n_inside -= 1
            if not self._n_inside:
                self._limit.restore_original_limits()


@cache
def _of_process() -> _OneThread:
    # Looking for the libraries takes a millisecond; setting the limit a hundredth.
    return _OneThread()


@contextmanager
def one_blas_thread() -> Generator[None]:
    """Let numpy's matrix products run on one thread; the first in sets it, the last out resets.

    The limit holds for the whole process. Threads may enter and leave in any order.
    """
    limit = _of_process()
    limit.enter()
    try:
        yield
    finally:
        limit.leave()
