"""`Engine`: a map over shards, on this machine, from leases in PostgreSQL, or on a Ray cluster.

    for found in engine.map(work, shards, key=lambda: "what this is"):
        ...

A shard is a small value that JSON can hold. `work` turns one into arrays by name, the same ones
wherever it runs, so all engines give the same bytes where the same versions run on the same kind
of processor. Results come in the order of the shards, a few shards ahead of the one that is handed
out. A shard whose machine went away is done again.
"""

from __future__ import annotations

import platform
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol, TypeAlias, TypeVar

from numpy.typing import NDArray

from pixtag.encoder import n_processors

Shard: TypeAlias = Any  # numbers, texts, and lists of those
Arrays: TypeAlias = dict[str, NDArray[Any]]
Work: TypeAlias = Callable[[Any], Arrays]
Keep: TypeAlias = Callable[[Any, Arrays], Arrays]

Item = TypeVar("Item")
Result = TypeVar("Result")

N_AHEAD = 2  # shards for each worker that are begun or finished, and not yet handed out
MOST_TRIES = 4
"""How often a shard is begun, whose workers go away, before that is taken for its own fault."""

_PACKAGES = ("pixtag", "numpy", "onnxruntime", "pillow", "jax")


class Engine(Protocol):
    """Maps over shards. A class for each way of running them; `LOCAL` needs nothing else."""

    def map(
        self, work: Work, shards: Sequence[Shard], *, key: Callable[[], str], keep: Keep | None
    ) -> Iterator[Arrays]:
        """Do work on shards.

        Args:
            work: Depends on its shard alone; may run anywhere, and more than once.
            shards: What to do, in order.
            key: Names work and shards, where several processes do the same together.
            keep: What becomes of a result, in a process of those who called `map`: at least once,
                before it counts as finished. It gives what is handed out instead.

        Yields:
            The result of each shard, once.
        """
        ...


class Local:
    """On threads of this process: numpy, Pillow and ONNX Runtime let others run meanwhile."""

    def map(
        self, work: Work, shards: Sequence[Shard], *, key: Callable[[], str], keep: Keep | None
    ) -> Iterator[Arrays]:
        """As `Engine.map`."""
        del key
        for shard, found in zip(shards, in_order(work, shards), strict=True):
            yield found if keep is None else keep(shard, found)


LOCAL = Local()


def in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Apply a function on a thread for each processor; results come in order, as they are ready."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(n_processors(), thread_name_prefix="pixtag-shard") as workers:
        try:
            for item in items:
                waiting.append(workers.submit(function, item))
                if len(waiting) == N_AHEAD * n_processors():
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # On Ctrl-C nobody needs what has not begun.
            workers.shutdown(wait=True, cancel_futures=True)


@cache
def runtime() -> str:
    """Name the versions that decide the last bits of a result."""
    found = [f"python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
