"""`PostgresEngine`: processes that were started with the same command share its shards by leases.

Nothing but data lies in the database: a shard is JSON, a result arrays. What is to be done with
them each process knows from its own command.
"""

from __future__ import annotations

import io
import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from typing import Self, TypeVar

import numpy as np

from pixtag.encoder import n_processors
from pixtag.engine import MOST_TRIES, Arrays, Keep, Shard, Work
from pixtag.errors import ServerError, StoreError
from pixtag.store import Store
from pixtag.store.leases import Leases

LEASE_S = 30.0
_POLL_S = 0.2
_PATIENCE_S = 60.0  # with a server that went away

Result = TypeVar("Result")


class PostgresEngine:
    """Maps over shards together with whoever has the same job; each gets all the results.

    Args:
        store: In PostgreSQL.
        job: Names all that decides the results.
        lease_s: How long after its last sign of life a process counts as gone.
    """

    def __init__(self, store: Store, job: str, *, lease_s: float = LEASE_S) -> None:
        self._leases = Leases(store, job, lease_s=lease_s)
        self._lease_s, self._is_over = lease_s, threading.Event()
        self._beat = threading.Thread(target=self._live, name="pixtag-lease")

    def __enter__(self) -> Self:
        self._leases.join()
        self._beat.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._beat.join()
        with suppress(StoreError):  # then it ends when the lease does
            self._leases.leave()

    def _live(self) -> None:
        while not self._is_over.wait(self._lease_s / 4):
            with suppress(StoreError):
                self._leases.renew()

    def map(
        self, work: Work, shards: Sequence[Shard], *, key: Callable[[], str], keep: Keep | None
    ) -> Iterator[Arrays]:
        """As `Engine.map`; where others began with the same key, their shards are done."""
        name = key()
        offer = partial(self._leases.offer, name, [json.dumps(shard) for shard in shards])
        n_shards = _patiently(offer)
        running: set[Future[None]] = set()
        with ThreadPoolExecutor(n_processors(), thread_name_prefix="pixtag-shard") as workers:
            try:
                for place in range(n_shards):
                    find = partial(self._leases.result, name, place)
                    while (found := _patiently(find)) is None or found[0] is None:
                        if found is None:  # we were silent for too long, and somebody tidied up
                            _patiently(offer)
                        running = self._go_on(running, workers, name, work, keep)
                    yield unpacked(found[0])
            finally:
                workers.shutdown(wait=True, cancel_futures=True)
                with suppress(StoreError):  # then they are free when the lease ends
                    self._leases.give_back(name)

    def _go_on(
        self, running: set[Future[None]], workers: ThreadPoolExecutor, key: str, work: Work,
        keep: Keep | None,
    ) -> set[Future[None]]:  # fmt: skip
        """Claim shards for all idle threads, then wait a little; those that still run."""
        while len(running) < n_processors():
            claimed = _patiently(partial(self._leases.claim, key))
            if claimed is None:
                break
            running.add(workers.submit(self._do, key, claimed, work, keep))
        if not running:
            self._is_over.wait(_POLL_S)  # others have the rest
            return running
        done, running = wait(running, _POLL_S, FIRST_COMPLETED)
        for future in done:
            future.result()
        return running

    def _do(self, key: str, claimed: tuple[int, str, int], work: Work, keep: Keep | None) -> None:
        place, text, n_tries = claimed
        if n_tries > MOST_TRIES:
            what = f"shard {place} ended {MOST_TRIES} processes that had claimed it"
            hint = "has each machine memory enough? Run it on one machine alone to see more"
            raise ServerError(what, hint=hint)
        shard = json.loads(text)
        found = work(shard)
        found = found if keep is None else keep(shard, found)
        _patiently(partial(self._leases.finish, key, place, packed(found)))


def packed(found: Arrays) -> bytes:
    """Arrays of numbers and texts as bytes, without a pickle."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **found)
    return zlib.compress(file.getbuffer(), 1)


def unpacked(data: bytes) -> Arrays:
    """The opposite of `packed`."""
    with np.load(io.BytesIO(zlib.decompress(data)), allow_pickle=False) as found:
        return dict(found)


def _patiently(ask: Callable[[], Result]) -> Result:
    """Ask a server again that went away for a moment."""
    until_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return ask()
        except StoreError:
            if time.monotonic() > until_s:
                raise
            time.sleep(_POLL_S)
