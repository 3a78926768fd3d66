"""The application: `create_app` joins the page and the API over one `Service`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from pixtag.web.service import Service


def create_app(service: Service) -> FastAPI:
    """Make the ASGI application of a service, which it closes when it ends.

    Handlers reach the service as `request.app.state.service`.
    """

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncGenerator[None]:
        yield
        service.close()

    app = FastAPI(title="Pixtag", lifespan=life, docs_url=None, redoc_url=None)
    app.state.service = service
    return app
