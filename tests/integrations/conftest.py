from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pixtag.predictor import Predictor
from places import ROOT, Asked, Reply, Server

BUNDLE = ROOT / "src" / "pixtag" / "data" / "model.safetensors"


@pytest.fixture(scope="session")
def predictor() -> Iterator[Predictor]:
    """The shipped model without a store."""
    if not BUNDLE.exists():
        pytest.skip("no bundle came with this checkout")
    with Predictor.load() as loaded:
        yield loaded


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[Asked], Reply]], Server]]:
    servers: list[Server] = []

    def start(answer: Callable[[Asked], Reply]) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
