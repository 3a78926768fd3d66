"""How fast `pixtag serve` answers over HTTP on loopback, and what it needs.

    python bench/serve.py [--bundle FILE] [--soak-minutes 30] [--only warm] [--json FILE]

The store is the evaluation set; the photos are of 1080 x 1350 px; the server is a process of its
own and the clients are threads of this one.

- start: from `pixtag serve` to the first answer about a photo.
- warm: one photo, over HTTP, in turns with decoding and encoding the same photo here.
- load: 32 clients at once against 2 / (2 / E + d) photos a second: E is the encoder's own rate on
  two threads, d the processor seconds to decode one photo.
- soak: questions, posts and feedback by eight clients for some minutes; the server's memory before
  and after, and in the middle, by when what is kept is full.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import local

from _figures import Figures, make_photo, ratio_in_turns, seconds
from import_photos import decoding_s, encoder_rate
from predict import make_world

from pixtag import images
from pixtag.bundle import load_bundle
from pixtag.encoder import load_encoder

N_CLIENTS, N_SOAKING = 32, 8


@dataclass
class Server:
    """A server that is running, and this process's connections to it, one a thread."""

    process: subprocess.Popen[str]
    port: int

    def __post_init__(self) -> None:
        self._local = local()

    def send(self, path: str, body: bytes, kind: str) -> dict:
        """Post a body; what is answered."""
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection = self._local.connection
        connection.request("POST", f"/api/v1/{path}", body, {"Content-Type": kind})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{answer.status}: {text.decode()}")
        return json.loads(text)

    def suggest(self, photo: bytes, user: str) -> dict:
        """Ask about a photo."""
        return self.send(f"suggest?user={user}", photo, "image/jpeg")

    @property
    def rss_mib(self) -> float:
        """Memory of the server."""
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]


@contextmanager
def running(store: Path, bundle: Path | None) -> Generator[Server]:
    words = ["serve", "--store", str(store), "--port", "0", "--no-open", "--rate", "1000000000"]
    words += ["--model", str(bundle)] if bundle else []
    command = [sys.executable, "-m", "pixtag", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if found := re.search(r"http://\S+:(\d+)", line):
                yield Server(process, int(found[1]))
                return
        raise SystemExit("the server did not start")
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bundle", type=Path, help="the shipped one by default")
    parser.add_argument("--runs", type=int, default=5, help="starts, and rounds of load")
    parser.add_argument("--asked", type=int, default=120, help="warm questions")
    parser.add_argument("--soak-minutes", type=float, default=30.0)
    parser.add_argument("--only", choices=("start", "warm", "load", "soak"))
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    figures = Figures()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = [make_photo(folder / f"photo{seed}.jpg", seed) for seed in (5, 7)]
        data = [photo.read_bytes() for photo in photos]
        world = make_world(folder / "s.sqlite", 0, 0, load_bundle(asked.bundle))
        if asked.only in (None, "start"):
            start(figures, world.store, asked.bundle, data[0], asked.runs)
        with running(world.store, asked.bundle) as server:
            for i in range(40):
                server.suggest(data[i % 2], world.people[i % len(world.people)])
            if asked.only in (None, "warm"):
                warm(figures, server, world.people, data, asked.asked)
            if asked.only in (None, "load"):
                load(figures, server, world.people, photos, asked.asked, asked.runs)
            if asked.only in (None, "soak"):
                soak(figures, server, world.people, data, asked.soak_minutes * 60)
    figures.write(asked.json)


def start(figures: Figures, store: Path, bundle: Path | None, photo: bytes, n_runs: int) -> None:
    """Seconds from the command to the first answer; the first, which reads every post, apart."""

    def once() -> float:
        began = time.perf_counter()
        with running(store, bundle) as server:
            server.suggest(photo, "somebody")
            return time.perf_counter() - began

    figures.add("first start with a changed store, s", once())
    taken = [once() for _ in range(n_runs)]
    figures.add("start to first answer, s", statistics.median(taken), at_most=2.0)


def warm(figures: Figures, server: Server, people: list[str], data: list[bytes], n: int) -> None:
    """Milliseconds of an answer and of its photo alone, and their ratio."""
    encoder = load_encoder()

    def look(i: int) -> None:
        encoder.embed(images.decode(data[i % 2])[None])

    def ask(i: int) -> None:
        server.suggest(data[i % 2], people[i % len(people)])

    for i in range(40):
        look(i)
        ask(i)
    asks, looks, ratio = ratio_in_turns(
        [lambda i=i: ask(i) for i in range(n)], [lambda i=i: look(i) for i in range(n)]
    )
    figures.add("decode + encode, ms", statistics.median(looks) * 1e3)
    figures.add_times("one photo over HTTP", asks)
    figures.add("over HTTP / (decode + encode)", ratio, at_most=1.4)
    figures.add("quickest over HTTP / quickest", min(asks) / min(looks))


def load(
    figures: Figures, server: Server, people: list[str], photos: list[Path], n: int, n_runs: int
) -> None:
    """Answers a second to many clients against what two processors could do at best."""
    data = [photo.read_bytes() for photo in photos]

    def ask(i: int) -> float:
        return seconds(lambda: server.suggest(data[i % 2], people[i % len(people)]))

    ratios: list[float] = []
    taken: list[float] = []
    with ThreadPoolExecutor(N_CLIENTS) as pool:
        list(pool.map(ask, range(2 * N_CLIENTS)))
        for _ in range(n_runs):
            rate, _ = encoder_rate(load_encoder(n_threads=2))
            bound = 2 / (2 / rate + decoding_s(photos * 8))
            taken_s = seconds(lambda: taken.extend(pool.map(ask, range(n))))
            ratios.append(n / taken_s / bound)
    figures.add_times(f"{N_CLIENTS} clients at once", taken)
    figures.add(f"{N_CLIENTS} clients: answers / bound", statistics.median(ratios), least=0.8)


def soak(figures: Figures, server: Server, people: list[str], data: list[bytes], s: float) -> None:
    """Memory of the server while it answers, learns and is told what became of it."""
    began, until = time.monotonic(), time.monotonic() + s

    def use(client: int) -> int:
        n = 0
        while time.monotonic() < until:
            user = people[(client + n) % len(people)]
            found = server.suggest(data[n % 2], user)
            tags = [one["tag"] for one in found["suggestions"]][:2]
            told = {"id": found["id"], "accepted": tags}
            server.send("feedback", json.dumps(told).encode(), "application/json")
            if n % 10 == 0:
                post = {"user": user, "tags": tags, "post_id": f"soak-{client}-{n % 200}"}
                server.send("posts", json.dumps(post).encode(), "application/json")
            n += 1
        return n

    before = server.rss_mib
    with ThreadPoolExecutor(N_SOAKING) as pool:
        counts = pool.map(use, range(N_SOAKING))
        time.sleep(s / 2)
        middle = server.rss_mib
        n_asked = sum(counts)
    after = server.rss_mib
    figures.add("soak: minutes", (time.monotonic() - began) / 60)
    figures.add("soak: questions", n_asked)
    figures.add("soak: memory before, MiB", before)
    figures.add("soak: memory in the middle, MiB", middle)
    figures.add("soak: memory after, MiB", after)
    figures.add("soak: after / middle", after / middle, at_most=1.1)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
