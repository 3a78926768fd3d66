"""`Batches`: photos that wait at the same time are looked at together."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from pixtag.errors import PixtagError
from pixtag.types import Floats

MOST = 8  # photos of a batch: more make the first one wait for the last
_N_THREADS = 2  # one batch is decoded while another is embedded

LookAt = Callable[[Sequence[bytes]], list[Floats | PixtagError]]


class Batches:
    """A queue of photos. Nobody waits for company: a batch is what waits when a thread is free.

    Args:
        look_at: Gives the embedding of each photo, or why there is none.
    """

    def __init__(self, look_at: LookAt) -> None:
        self._look_at = look_at
        self.on_batch: Callable[[int], object] = lambda _: None  # told the size of each
        self._waiting: queue.SimpleQueue[tuple[bytes, Future[Floats]] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"pixtag-batch-{i}", daemon=True)
            for i in range(_N_THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Look at what waits, then end."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def look(self, photo: bytes) -> Future[Floats]:
        """Begin to look at a photo; ImageError or what else is wrong comes with the result."""
        future: Future[Floats] = Future()
        self._waiting.put((photo, future))
        return future

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            while len(batch) < MOST:
                try:
                    one = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if one is None:
                    self._waiting.put(None)  # the end is for the next round
                    break
                batch.append(one)
            self.on_batch(len(batch))
            self._answer(batch)

    def _answer(self, batch: list[tuple[bytes, Future[Floats]]]) -> None:
        try:
            found = self._look_at([photo for photo, _ in batch])
        except Exception as error:  # noqa: BLE001 - those who wait raise it
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), row in zip(batch, found, strict=True):
            if isinstance(row, PixtagError):
                future.set_exception(row)
            else:
                future.set_result(row)
