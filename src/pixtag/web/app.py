"""The application: `create_app` joins the page and the API over one `Service`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from pixtag.store.keys import KeyRecord
from pixtag.web import api, frame, home, import_page, mine, problems
from pixtag.web.guard import Guard, Rules
from pixtag.web.metrics import Metrics
from pixtag.web.service import Service
from pixtag.web.work import Work

_PAGES = frame, home, mine, import_page


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
        await asyncio.to_thread(app.state.imports.stop_all)  # what they have read is kept
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
    service.predictor.on_batch = metrics.photos.observe

    async def find(key: str) -> KeyRecord | None:
        return await asyncio.to_thread(service.find_key, key)

    app.state.service, app.state.work, app.state.metrics = service, work, metrics
    app.state.running = set[tuple[str, str]]()  # requests that are to be done once
    app.state.imports, app.state.error_page = import_page.Imports(service), frame.error_page
    problems.install(app)
    app.add_middleware(Guard, rules=rules or Rules(), find_key=find, metrics=metrics)
    for part in (api.health, api.router, *(page.router for page in _PAGES)):
        app.include_router(part)
    plain = app.openapi
    app.openapi = lambda: app.openapi_schema or api.described(plain())
    return app
