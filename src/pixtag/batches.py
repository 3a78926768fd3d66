"""`Batches`: what waits at the same time is worked on together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

PATIENCE_S = 0.002
"""For each that wants a result: a block of several costs a third, which is worth the wait."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batches(Generic[Item, Result]):
    """A queue in front of a thread: a batch is what waits when it is free.

    The thread ends with it, also where nobody closes it.

    Args:
        work: Gives the result of each item of a batch, or what is wrong with it.
        most: Items of a batch; more make the first one wait for the last.
        name: Of the thread.
        n_asking: How many want a result now: the first of a batch waits until half of them are
            there, up to 2 ms for each. Two or fewer never wait.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        most: int,
        name: str,
        n_asking: Callable[[], int] = lambda: 0,
    ) -> None:
        self._work, self._most, self._n_asking = work, most, n_asking
        self._came, self._enough = threading.Condition(), 0
        self._waiting: deque[tuple[Item, Future[Result]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    def close(self) -> None:
        """Work on what waits, then end."""
        self._thread.shutdown()

    def put(self, item: Item) -> Future[Result]:
        """Let an item wait; what is wrong with it is raised with its result."""
        future: Future[Result] = Future()
        with self._came:
            self._waiting.append((item, future))
            if len(self._waiting) >= self._enough:
                self._came.notify()
        self._thread.submit(self._run)
        return future

    def _run(self) -> None:
        """Work on the next batch; others may have taken all of it, since each item asks for one."""
        with self._came:
            if not self._waiting:
                return
            n = self._n_asking()
            self._enough = min(n // 2, self._most)
            self._came.wait_for(lambda: len(self._waiting) >= self._enough, PATIENCE_S * n)
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
        found = self._results([item for item, _ in batch])
        for (_, future), result in zip(batch, found, strict=True):
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _results(self, items: Sequence[Item]) -> Sequence[Result | Exception]:
        """Work on items: one after the other when something is wrong, so that each has its own."""
        try:
            return self._work(items)
        except Exception as error:  # noqa: BLE001 - those who wait raise it
            alone = len(items) == 1
            return [error] if alone else [self._results([item])[0] for item in items]
