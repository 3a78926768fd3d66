"""The application under Ray Serve, for real."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from pixtag.store import Store
from pixtag.store.keys import add_key

if TYPE_CHECKING:
    from pathlib import Path

    from ray_cluster import Cluster


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pydantic, at Ray Serve's import
def test_a_replica_answers_learns_and_asks_for_a_key(cluster: Cluster, tmp_path: Path) -> None:
    import ray
    from ray import serve

    from pixtag.on_ray import build

    with Store.open(tmp_path / "s.sqlite", create=True) as store:
        key = add_key(store, "k", scopes=["read", "write"], user=None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def call(path: str, body: object = None, *, key: str = key) -> dict:
        about = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"http://127.0.0.1:{port}{path}", data, about), timeout=60) as found:
            return json.load(found)

    if not ray.is_initialized():
        ray.init(cluster.address, log_to_driver=False, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    try:
        serve.run(build({"store": str(tmp_path / "s.sqlite")}), route_prefix="/")
        with pytest.raises(HTTPError, match="401"):
            call("/api/v1/suggest", {"user": "ana"}, key="none")
        for _ in range(600):
            try:
                call("/readyz")
                break
            except HTTPError:
                time.sleep(0.1)
        post = {"post_id": "p", "user": "ana", "tags": ["kayaktrip"]}
        call("/api/v1/posts", post)
        found = call("/api/v1/suggest", {"user": "ana"})
        assert found["suggestions"][0]["tag"] == "kayaktrip"
    finally:
        serve.shutdown()
