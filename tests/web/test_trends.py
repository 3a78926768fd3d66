"""What rises on other servers is read while this one serves."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path

import servers
from pixtag.client import Client, Rising
from trend_server import listed, pages_of, serving


def test_what_rises_elsewhere_is_in_the_answers_of_a_server(tmp_path: Path) -> None:
    with (
        serving(pages_of([listed("sofacat")])) as elsewhere,
        servers.running(tmp_path / "my.sqlite", "--trends", elsewhere) as server,
        Client(server.url) as client,
    ):
        rising: tuple[Rising, ...] = ()
        for _ in range(200):
            if rising := client.trending():
                break
            time.sleep(0.1)
        (first,) = rising
        assert (first.tag, first.n_people) == ("sofacat", 512)
        assert first.source == elsewhere.removeprefix("http://")
        for page in ("rising", "tag/sofacat"):
            with urllib.request.urlopen(f"{server.url}/{page}") as answer:
                assert f"512 people on {first.source}" in answer.read().decode()
