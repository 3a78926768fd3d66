"""Running the application by granian in this process, until somebody stops it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable

from fastapi import FastAPI
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from pixtag.errors import InputError

_GRACE_S = 10  # for what is being answered when the server is stopped
MOST_CONNECTIONS = 4096  # open at once; as many again wait in the system's queue
_IDLE_S = 15  # a connection without a whole head of a request, from its start or last answer
_OTHER_FILES = 512  # that may be open beside connections: the store's, its database's, libraries
_HINT = "choose another one: --port 0 takes any that is free"


def serve(app: FastAPI, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, finishing what is being answered.

    Args:
        app: What answers.
        host: Address to listen at.
        port: Port to listen at, as `free_port` found it.
        on_ready: Told the server's own address once it answers.
    """
    logging.getLogger("granian").setLevel(logging.ERROR)
    sys.setswitchinterval(0.0005)  # threads hand over to the one that reads requests sooner
    asyncio.run(_serve(app, host, port, on_ready))


def url_of(host: str, port: int) -> str:
    """The address to open in a browser."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{name}:{port}"


async def _serve(app: FastAPI, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    server = Server(
        app, host, port, interface=Interfaces.ASGI, log_enabled=False, websockets=False,
        backlog=MOST_CONNECTIONS, backpressure=_room_for_connections(),
        # Only HTTP/1 alone closes connections that have sent nothing at all.
        http=HTTPModes.http1, http1_settings=HTTP1Settings(header_read_timeout=_IDLE_S * 1000),
    )  # fmt: skip
    server.workers_kill_timeout = _GRACE_S
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.stop)
    told = asyncio.create_task(_tell(host, port, on_ready))
    try:
        await server.serve()
    finally:
        told.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await told


def _room_for_connections() -> int:
    """How many connections may be open, of as many files as the system lets this process open."""
    try:
        import resource
    except ImportError:  # Windows
        return MOST_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(soft - _OTHER_FILES, soft // 2)
    return MOST_CONNECTIONS


async def _tell(host: str, port: int, on_ready: Callable[[str], None]) -> None:
    url = url_of(host, port)
    own = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    while True:
        try:
            _, writer = await asyncio.open_connection(own, port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        await asyncio.to_thread(on_ready, url)
        return


def free_port(host: str, port: int) -> int:
    """Check that nobody listens there: granian would share the port and take half of it.

    Args:
        host: Address to listen at.
        port: Port to listen at; 0 for any that is free, which is given.

    Raises:
        InputError: The address is no address of this machine, or the port is taken.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot listen at {host}:{port}: {why}", hint=_HINT) from error
