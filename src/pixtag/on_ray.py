"""`pixtag serve` under Ray Serve: replicas of the application, which all answer from one store.

    serve run pixtag.on_ray:build store=postgresql://pixtag@db.example.org/pixtag n_replicas=2

Each replica follows the store as a server of its own does, so a post at one is soon in the answers
of the others. Ray Serve is worth its start and its milliseconds only where a cluster is there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from pixtag.bundle import load_bundle
from pixtag.store import Store
from pixtag.web.app import create_app
from pixtag.web.guard import LOOPBACK, Rules, host_name
from pixtag.web.service import Service

MOST_AT_ONCE = 64  # requests of a replica


class ServeConfig(BaseModel):
    """What may be said as `key=value`; as the words of `pixtag serve`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str
    model: Path | None = None
    n_replicas: int = Field(1, ge=1)
    allow_host: str = ""  # names, by commas; any where none is given
    require_key: bool = True
    rate: int = Field(6000, ge=1)


def build(said: dict[str, Any]) -> serve.Application:
    """Make the application that `serve run` deploys, from what `ServeConfig` takes."""
    config = ServeConfig.model_validate(said)

    def application() -> FastAPI:
        service = Service(Store.open(config.store, create=True), load_bundle(config.model))
        names = {host_name(name) for name in config.allow_host.split(",") if name}
        hosts = LOOPBACK | names if names else None
        rules = Rules(needs_key=config.require_key, hosts=hosts, requests_per_minute=config.rate)
        return create_app(service, rules)

    replica = serve.deployment(
        name="pixtag", num_replicas=config.n_replicas, max_ongoing_requests=MOST_AT_ONCE
    )
    return replica(serve.ingress(application)()).bind()
