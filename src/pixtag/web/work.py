"""`Work`: threads for what blocks, with a bound on what may wait for them."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from pixtag.web.metrics import Metrics
from pixtag.web.problems import ApiError, too_busy

N_THREADS = 32  # questions that wait for their photos each hold one
MOST_WAITING = 32
LONGEST_S = 60.0

P = ParamSpec("P")
R = TypeVar("R")


class Work:
    """Runs functions on threads; 503 when too many wait, instead of a queue that grows."""

    def __init__(
        self, metrics: Metrics, *, n_threads: int = N_THREADS, most_waiting: int = MOST_WAITING
    ) -> None:
        self._metrics, self._most = metrics, n_threads + most_waiting
        self._threads = ThreadPoolExecutor(n_threads, thread_name_prefix="pixtag-work")
        self._n = 0

    def close(self) -> None:
        """Finish what was begun."""
        self._threads.shutdown()

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function and wait for what it gives, a minute at most."""
        if self._n >= self._most:
            self._metrics.refused.inc()
            raise too_busy()
        self._n += 1
        context = contextvars.copy_context()
        done = asyncio.get_running_loop().run_in_executor(
            self._threads, partial(context.run, partial(work, *args, **kwargs))
        )
        done.add_done_callback(self._finished)
        try:
            return await asyncio.wait_for(asyncio.shield(done), LONGEST_S)
        except TimeoutError:
            raise ApiError(503, "this takes too long", hint="try again", kind="busy") from None

    def _finished(self, done: asyncio.Future[R]) -> None:
        self._n -= 1
        if not done.cancelled():
            done.exception()  # read, also where nobody waits for it any more
