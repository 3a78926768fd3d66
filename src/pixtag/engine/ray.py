"""`RayEngine`: shards as tasks of a Ray cluster, the one at an address or one on this machine."""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Self

import ray
from ray import cloudpickle, exceptions

from pixtag.engine import MOST_TRIES, N_AHEAD, Arrays, Keep, Shard, Work, runtime
from pixtag.errors import ConfigError, ServerError

_STORE_BYTES = 256 * 2**20  # for results on their way, where a cluster is started here


class RayEngine:
    """Maps over shards by tasks of Ray, which starts those of a lost node again; so does this.

    Work travels to the nodes as a pickle, by Ray's own ways: a cluster belongs to people who trust
    each other, and should ask for its token (RAY_AUTH_MODE=token).

    Args:
        address: HOST:PORT of a cluster, or `auto` for the one that runs on this machine; None
            starts one here, and stops it at the end.
    """

    def __init__(self, address: str | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        self._is_own = not ray.is_initialized()
        here: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
        if self._is_own:
            try:
                _check_port(address)
                ray.init(
                    address or "local", logging_level=logging.ERROR, log_to_driver=False,
                    configure_logging=False, **({} if address else here),
                )  # fmt: skip
            except (OSError, ValueError, RuntimeError, exceptions.RayError) as error:
                what = f"no Ray cluster at {address or 'this machine'}: {_line(error)}"
                hint = "check the address, that it runs, and RAY_AUTH_MODE and its token"
                raise ServerError(what, hint=hint) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_own:
            ray.shutdown()

    def map(
        self, work: Work, shards: Sequence[Shard], *, key: Callable[[], str], keep: Keep | None
    ) -> Iterator[Arrays]:
        """As `Engine.map`."""
        del key
        # As a pickle that is read once in each process: Ray would give arrays that are read-only.
        sent = [ray.put(cloudpickle.dumps(work))]  # pyright: ignore[reportPrivateImportUsage]
        running: deque[Any] = deque()
        waiting = deque(shards)
        for shard in shards:
            n_ahead = N_AHEAD * max(1, int(ray.cluster_resources().get("CPU", 0)))
            while waiting and len(running) < n_ahead:
                running.append(_run.remote(sent, waiting.popleft(), runtime()))
            found = _result(running.popleft(), lambda one=shard: _run.remote(sent, one, runtime()))
            yield found if keep is None else keep(shard, found)


@ray.remote(num_cpus=1, max_retries=MOST_TRIES - 1)
def _run(sent: list[Any], shard: Shard, wanted: str) -> Arrays:
    if runtime() != wanted:
        what = f"a node of the cluster has {runtime()}, and this machine {wanted}"
        raise ConfigError(what, hint="install the same versions on all of them")
    return _received(sent[0])(shard)


@lru_cache(1)
def _received(reference: Any) -> Work:  # noqa: ANN401 - Ray's own
    return cloudpickle.loads(ray.get(reference))


def _result(task: Any, again: Callable[[], Any]) -> Arrays:  # noqa: ANN401
    """Wait for a task; begin it again when Ray has lost what it could not begin again itself."""
    for n_left in reversed(range(MOST_TRIES)):
        try:
            return ray.get(task)
        except exceptions.RayTaskError as error:  # raised by the work itself
            raise error.cause from None
        except exceptions.RayError as error:
            if not n_left:
                what = f"the Ray cluster lost a shard {MOST_TRIES} times: {_line(error)}"
                raise ServerError(
                    what, hint="see its logs; has each node memory enough?"
                ) from error
            task = again()
    raise AssertionError


def _check_port(address: str | None) -> None:
    """Ask whether somebody listens there: Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=5.0).close()


def _line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
