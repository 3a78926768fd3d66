"""Small photos, and servers that answer as published APIs do."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from pixtag.cli.main import run

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "samples"


def photos(folder: Path, n: int, names: tuple[str, ...] = ("cat", "coffee", "flower")) -> Path:
    """A folder of n different photos of samples."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        name = names[i % len(names)]
        (folder / f"{name}-{i:02}.jpg").write_bytes(small(name, i))
    return folder


def small(name: str, seed: int = 0) -> bytes:
    """A sample as a small JPEG, other bytes for every seed."""
    out = io.BytesIO()
    with Image.open(SAMPLES / f"{name}.jpg") as image:
        image.thumbnail((256, 256))
        image.save(out, "JPEG", quality=80, comment=f"photo {seed}")
    return out.getvalue()


class Done(NamedTuple):
    """What a command gave."""

    returncode: int
    stdout: str
    stderr: str


class Asked(NamedTuple):
    """A request as a server got it."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]


class Reply(NamedTuple):
    """What a server answers; JSON unless it is bytes."""

    body: Any = None
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


class Server:
    """A real HTTP server on a free port of this machine that answers by a function."""

    def __init__(self, answer: Callable[[Asked], Reply]) -> None:
        self.asked: list[Asked] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                parts = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                raw = self.rfile.read(length)
                query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
                body = json.loads(raw) if raw else None
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, parts.path, query, body, headers)
                outer.asked.append(asked)
                reply = answer(asked)
                data = reply.body
                if not isinstance(data, bytes):
                    data = json.dumps(data).encode()
                self.send_response(reply.status)
                sent = {"Content-Length": str(len(data)), **dict(reply.headers)}
                for name, value in sent.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
                self.close_connection = True

            do_GET = do_POST = do_PUT = _any  # noqa: N815 - as http.server calls them

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def paths(self, start: str) -> list[Asked]:
        return [one for one in self.asked if one.path.startswith(start)]


def command(capsys: pytest.CaptureFixture[str], *words: object) -> Done:
    """Run `pixtag` in this process, which takes a fraction of the time that a new one does."""
    capsys.readouterr()
    code = run([str(word) for word in words])
    said = capsys.readouterr()
    return Done(code, said.out, said.err)
