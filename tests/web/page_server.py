"""A page that is being served: granian on a free port of loopback, in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

from granian.constants import Interfaces
from granian.server.embed import Server

from pixtag.web.app import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixtag.web.guard import Rules
    from pixtag.web.service import Service


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(service: Service, rules: Rules | None = None) -> Iterator[str]:
    """Serve until the block ends; gives the address."""
    app = create_app(service, rules)
    port = free_port()
    ready, loops = threading.Event(), []

    def run() -> None:
        async def main() -> None:
            server = Server(app, port=port, interface=Interfaces.ASGI, log_enabled=False)
            loops.append((asyncio.get_running_loop(), server))
            ready.set()
            await server.serve()

        asyncio.run(main())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait(10)
    _wait_for(port)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop, server = loops[0]
        loop.call_soon_threadsafe(server.stop)
        thread.join(10)


def _wait_for(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.05)
    raise AssertionError("the server did not come up")
