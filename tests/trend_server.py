"""A server that lists what rises, as Mastodon and Pixelfed do, and others that answer badly."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

DAY_S = 86_400
RISES = (512, 20, 8, 9, 12, 7, 10)  # today's accounts, then those of the six days before
STEADY = (60, 80, 80, 80, 80, 80, 80)
PATH = "/api/v1/trends/tags"


def listed(name: str, accounts: tuple[int, ...] = RISES, *, now: float | None = None) -> dict:
    """A tag with its days as the published API gives it: numbers as text, the latest day first."""
    today = int((time.time() if now is None else now) // DAY_S) * DAY_S
    history = [
        {"day": str(today - i * DAY_S), "uses": str(2 * n), "accounts": str(n)}
        for i, n in enumerate(accounts)
    ]
    return {"name": name, "url": f"https://mastodon.example/tags/{name}", "history": history}


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Generator[str]:
    """Run a server on a free port of this machine that answers every request so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_POST = do_PUT = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reply(
    to: BaseHTTPRequestHandler, body: bytes, *, status: int = 200, location: str | None = None
) -> None:
    to.send_response(status)
    if location is not None:
        to.send_header("Location", location)
    to.send_header("Content-Length", str(len(body)))
    to.end_headers()
    to.wfile.write(body)


def pages_of(tags: list[Any]) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer with the tags, at most twenty a page, by limit and offset."""

    def answer(to: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(to.path)
        if parts.path != PATH:
            reply(to, b"<html>not here</html>", status=404)
            return
        asked = parse_qs(parts.query)
        offset, limit = int(asked["offset"][0]), min(int(asked["limit"][0]), 20)
        reply(to, json.dumps(tags[offset : offset + limit]).encode())

    return answer
