"""`LastKnown`: reads of the store that go on for a while when it cannot be read."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from pixtag.errors import StoreError
from pixtag.live import STALE_S

MOST = 10_000  # names whose values are held, those read last
Value = TypeVar("Value")


class LastKnown(Generic[Value]):
    """Reads a value by a name; while the store is away the value that was read last.

    Not for longer than answers stand on the last view. Names are held as their digests, since
    some are keys. Threads may share one.

    Args:
        read: Gives the value of a name; None is not held.
        stale_s: How old a value may be.
    """

    def __init__(self, read: Callable[[str], Value], *, stale_s: float = STALE_S) -> None:
        self._read, self._stale_s = read, stale_s
        self._held: dict[bytes, tuple[float, Value]] = {}
        self._lock = threading.Lock()

    def __call__(self, name: str) -> Value:
        """The value of a name; StoreError where it cannot be read and was not lately."""
        digest, now = _digest(name), time.monotonic()
        try:
            found = self._read(name)
        except StoreError:
            held = self._held.get(digest)
            if held is None or now - held[0] > self._stale_s:
                raise
            return held[1]
        with self._lock:
            self._held.pop(digest, None)
            if found is not None:
                self._held[digest] = now, found
            oldest = next(iter(self._held), digest)
            if oldest != digest and (
                len(self._held) > MOST or now - self._held[oldest][0] > self._stale_s
            ):
                del self._held[oldest]
        return found

    def drop(self, name: str) -> None:
        """Hold nothing of a name."""
        with self._lock:
            self._held.pop(_digest(name), None)


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
