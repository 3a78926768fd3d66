"""A page that is served, and a Chromium that visits it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

import handmade
from pixtag.store import Store
from pixtag.types import Post
from pixtag.web.service import Service
from web.chromium import NOW
from web.page_server import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt install chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    store = Store.open(tmp_path_factory.mktemp("store") / "my.sqlite", create=True)
    tags = ("zebra", "safari", "sunrise")
    store.add_posts([Post(f"z{i}", "zoe", NOW + i * 86_400, tags) for i in range(4)])
    store.add_posts([Post("y", "yan", NOW, ("sun",))])  # or the only person would be chosen
    with store, Service(store, handmade.bundle()) as found:
        yield found


@pytest.fixture(scope="module")
def address(service: Service) -> Iterator[str]:
    with serving(service) as found:
        yield found


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator:
    """Open pages of contexts of their own; at the end the console must be silent."""
    contexts, said = [], []

    def opened(path: str = "/", **options) -> Page:
        context = browser.new_context(base_url=address, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not said
