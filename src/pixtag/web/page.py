"""The page that `pixtag serve` shows: `router`, over the application's `Service`."""

from __future__ import annotations

from pixtag.web import frame, home, import_page, mine
from pixtag.web.frame import error_page, page_router

__all__ = ["error_page", "router"]

router = page_router()
for part in (frame.router, home.router, mine.router, import_page.router):
    router.include_router(part)
