"""`Batches`: what waits at the same time is worked on together."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batches(Generic[Item, Result]):
    """A queue in front of some threads: a batch is what waits when one of them is free.

    Its threads end with it, also where nobody closes it.

    Args:
        work: Gives the result of each item of a batch, or what is wrong with it.
        most: Items of a batch; more make the first one wait for the last.
        n_threads: Batches at once.
        name: Of the threads.
        patience_s: How long the first of a batch waits for company.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        most: int,
        n_threads: int,
        name: str,
        patience_s: float = 0.0,
    ) -> None:
        self._work, self._most, self._patience_s = work, most, patience_s
        self.on_batch: Callable[[int], object] = lambda _: None  # told the size of each
        self._waiting: deque[tuple[Item, Future[Result]]] = deque()
        self._threads = ThreadPoolExecutor(n_threads, thread_name_prefix=name)

    def close(self) -> None:
        """Work on what waits, then end."""
        self._threads.shutdown()

    def put(self, item: Item) -> Future[Result]:
        """Let an item wait; what is wrong with it is raised with its result."""
        future: Future[Result] = Future()
        self._waiting.append((item, future))
        self._threads.submit(self._run)
        return future

    def _run(self) -> None:
        """Work on the next batch; others may have taken all of it, since each item asks for one."""
        if self._patience_s:
            time.sleep(self._patience_s)
        batch: list[tuple[Item, Future[Result]]] = []
        while self._waiting and len(batch) < self._most:
            try:
                batch.append(self._waiting.popleft())
            except IndexError:  # another thread was quicker
                break
        if not batch:
            return
        self.on_batch(len(batch))
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
