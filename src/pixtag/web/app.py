"""The application: `create_app` joins the page and the API over one `Service`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

from fastapi import FastAPI

from pixtag.store.keys import KeyRecord, find_key
from pixtag.web import api, page, problems
from pixtag.web.guard import Guard, Rules
from pixtag.web.known import LastKnown
from pixtag.web.metrics import Metrics
from pixtag.web.service import Service
from pixtag.web.work import Work


def create_app(service: Service, rules: Rules | None = None) -> FastAPI:
    """Make the ASGI application of a service, which it closes when it ends.

    Handlers reach the service as `request.app.state.service`, threads for what blocks as
    `request.app.state.work`, who asks as `guard.principal_of(request)`; `state.error_page` draws
    errors for browsers.

    Args:
        service: What answers.
        rules: Who is answered; by default whoever reaches a server on loopback.
    """

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncGenerator[None]:
        yield
        page.stop(app)
        await asyncio.to_thread(work.close)
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="Pixtag",
        version=version("pixtag"),
        summary="Predicts the hashtags that a person will put on a photo.",
        lifespan=life,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    metrics = Metrics()
    work = Work(metrics)
    service.watch_batches(metrics.photos.observe)

    known = LastKnown[KeyRecord | None](partial(find_key, service.reader))

    async def find(key: str) -> KeyRecord | None:
        return await asyncio.to_thread(known, key)

    app.state.service, app.state.work, app.state.metrics = service, work, metrics
    app.state.running = set[tuple[str, str]]()  # requests that are to be done once
    problems.install(app)
    app.add_middleware(Guard, rules=rules or Rules(), find_key=find, metrics=metrics)
    app.include_router(api.health)
    app.include_router(api.router)
    page.install(app)
    plain = app.openapi
    app.openapi = lambda: app.openapi_schema or api.described(plain())
    return app
