"""The page that `pixtag serve` shows, over the application's `Service`."""

from __future__ import annotations

from fastapi import FastAPI

from pixtag.web import frame, home, import_page, mine


def install(app: FastAPI) -> None:
    """Add the page to an application that holds a `Service`, and let it draw errors."""
    for part in (frame, home, mine, import_page):
        app.include_router(part.router)
    app.state.error_page = frame.error_page


def stop(app: FastAPI) -> None:
    """End what goes on behind the page: imports keep what they have read."""
    if hasattr(app.state, "imports"):
        app.state.imports.stop_all()
