"""A soak: a server at 80 % of what it can do for SOAK_MINUTES (30), its memory flat at the end.

Its short form, of some seconds, runs with the other tests. The server is a process of its own,
asked over loopback.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

import handmade
import servers
from pixtag.client import Client, ServiceError
from pixtag.store import Store

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
N_CLIENTS, N_PEOPLE = 8, 50


def rss_mib(server: servers.Running) -> float:
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]


class Load:
    """Clients that ask, publish, give feedback and forget, all at a rate together."""

    def __init__(self, url: str, photo: bytes) -> None:
        self.url, self.photo = url, photo
        self.done: Counter[str] = Counter()
        self.kept: set[str] = set()
        self._n = 0
        self._lock = threading.Lock()

    def run(self, for_s: float, per_second: float | None = None) -> float:
        """Run for some seconds; requests a second that were answered."""
        started, before = time.monotonic(), self.done.total()
        self._next = started

        def one() -> None:
            with Client(self.url, retries=0) as client:
                while (now := time.monotonic()) - started < for_s:
                    with self._lock:
                        self._n += 1
                        n = self._n
                        due, step = self._next, 0.0 if per_second is None else 1 / per_second
                        self._next = max(due, now - 1) + step
                    time.sleep(max(0.0, due - now))
                    self._ask(client, n)

        threads = [threading.Thread(target=one) for _ in range(N_CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (self.done.total() - before) / (time.monotonic() - started)

    def _ask(self, client: Client, n: int) -> None:
        user = f"u{n % N_PEOPLE}"
        try:
            if n % 10 == 0:
                name = f"p{n % 2000}"  # again and again: the store does not grow for ever
                client.post([f"t{n % 300}", "sea"], user=user, post_id=name)
                self.kept.add(name)
                self.done["posts"] += 1
            elif n % 500 == 1:
                guest = f"guest{n}"
                client.post(["sea"], user=guest, post_id=guest)
                client.forget(guest)
                self.done["forgotten"] += 1
            else:
                found = client.suggest(self.photo if n % 2 else None, user=user)
                self.done["questions"] += 1
                if n % 7 == 0 and found.tags:
                    client.feedback(found.id, accepted=found.tags[:1])
                    self.done["feedback"] += 1
        except ServiceError as error:
            self.done[f"error {error.status}"] += 1


def check_soak(tmp_path: Path, *, for_s: float, measured_s: float) -> None:
    model = handmade.bundle_file(tmp_path / "model")
    photo = handmade.photo(tmp_path / "sky.jpg", "sky").read_bytes()
    path = tmp_path / "s.sqlite"
    with servers.running(path, "--model", model, "--rate", 10**9) as server:
        load = Load(server.url, photo)
        with Client(server.url) as client:
            for i in range(N_PEOPLE):
                client.post(["sea"], user=f"u{i}", post_id=f"first{i}")
        load.run(measured_s)
        most = load.run(measured_s)
        # What is kept of answers is bounded, and the bound must be reached before it is flat.
        load.run(for_s / 3, 0.8 * most)
        seen = [rss_mib(server)]
        for _ in range(8):
            load.run(for_s / 12, 0.8 * most)
            seen.append(rss_mib(server))
        print(f"{most:.0f} requests a second at most; MiB {seen}; {dict(load.done)}")
        assert seen[-1] < 1.25 * seen[0] + 48
        errors = {name: n for name, n in load.done.items() if name.startswith("error")}
        assert set(errors) <= {"error 503"}
        assert sum(errors.values()) < 0.01 * load.done.total()
    assert {"posts", "questions", "feedback", "forgotten"} <= set(load.done)
    with Store.open(path, read_only=True) as store:
        assert load.kept <= {post.post_id for post in store.posts()}
        guests = [post for post in store.posts() if str(post.user_id).startswith("guest")]
        assert len(guests) <= sum(errors.values())


def test_some_seconds_of_load(tmp_path: Path) -> None:
    check_soak(tmp_path, for_s=4.0, measured_s=1.5)


@pytest.mark.slow
def test_memory_is_flat_at_four_fifths_of_the_load(tmp_path: Path) -> None:
    check_soak(tmp_path, for_s=MINUTES * 60, measured_s=10.0)
