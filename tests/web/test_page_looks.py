"""How the page looks, on a phone and wide, light and dark: nothing is wide, axe finds nothing."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from pixtag.errors import ArchiveError
from pixtag.types import Post
from pixtag.web import import_page
from pixtag.web.service import Service
from pixtag.web.texts import LANGUAGES
from web.chromium import NOW, PHONE, is_narrow, photo, upload

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Page


def check(page: Page, folder: Path, name: str) -> None:
    page.screenshot(path=folder / f"{name}.png", full_page=True)
    assert is_narrow(page), name
    found = [
        f"{one['id']}: {one['nodes'][0]['html'][:200]}"
        for one in Axe().run(page).response["violations"]
        if (one["id"], one["impact"]) != ("aria-allowed-role", "minor")  # a textarea as combobox
    ]
    assert not found, name


@pytest.mark.parametrize(
    ("scheme", "size"), [("light", PHONE), ("dark", PHONE), ("light", {}), ("dark", {})]
)
def test_axe_finds_nothing_and_nothing_is_wide(
    visit, tmp_path: Path, scheme: str, size: dict[str, object]
) -> None:
    page = visit(color_scheme=scheme, **size)
    page.get_by_label("Posting as").fill("zoe")
    check(page, tmp_path, "first")
    upload(page, photo(tmp_path), photo(tmp_path, "leaves.jpg", "leaves"))
    page.locator(".take").first.click()
    expect(page.locator(".chip.taken")).to_have_count(1)
    page.get_by_role("button", name="Refuse").nth(3).click()
    expect(page.locator(".refused")).to_have_count(1)
    page.locator("[data-focus$=why]").first.click()
    expect(page.locator(".why")).to_be_visible()
    page.get_by_role("combobox", name="Caption").first.press_sequentially("#su")
    expect(page.locator(".offers li")).to_have_count(1)
    check(page, tmp_path, "photos")
    for path in ("mine", "tag/zebra", "tag/nobodys", "rising", "import", "sign-in"):
        page.goto(f"/{path}")
        check(page, tmp_path, path.replace("/", "-"))
    page.goto("/mine")
    for details in page.locator("details").all():
        details.locator("summary").click()
    check(page, tmp_path, "mine-open")


@pytest.mark.parametrize(("scheme", "size"), [("light", {}), ("dark", PHONE)])
def test_axe_finds_nothing_on_the_pages_between(
    visit, service: Service, tmp_path: Path, monkeypatch, scheme: str, size: dict[str, object]
) -> None:
    is_seen = threading.Event()

    def waits_and_fails(*_: object, on_progress: Callable[[int, int], None], **__: object) -> None:
        on_progress(3, 10)
        is_seen.wait(60)
        raise ArchiveError("posts.jsonl holds nothing", hint="choose another one")

    monkeypatch.setattr(import_page, "import_posts", waits_and_fails)
    page = visit("/mine", color_scheme=scheme, **size)
    check(page, tmp_path, "who")
    service.store.add_posts([Post("gone", "gus", NOW, ("sun",))])
    page.get_by_label("Posting as").fill("gus")
    page.get_by_role("button", name="OK").click()
    page.get_by_text("Forget me").click()
    page.get_by_role("checkbox").check()
    check(page, tmp_path, "agree")
    page.get_by_role("button", name="Forget gus").click()
    expect(page.locator("h1")).to_have_text("Forgotten")
    check(page, tmp_path, "forgotten")
    page.goto("/import")
    file = tmp_path / "posts.jsonl"
    file.write_text('{"tags": ["sun"]}')
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Import").click()
    expect(page.locator("#job-line")).to_have_text("Reading posts: 3 of 10")
    check(page, tmp_path, "running")
    is_seen.set()
    expect(page.locator("#job-line")).to_have_text("This could not be imported.")
    expect(page.locator("#job")).to_contain_text("choose another one")
    check(page, tmp_path, "failed")


@pytest.mark.parametrize(("scheme", "size"), [("light", {}), ("dark", PHONE)])
def test_axe_finds_nothing_on_an_error(
    browser: Browser, address: str, tmp_path: Path, scheme: str, size: dict[str, object]
) -> None:
    context = browser.new_context(base_url=address, color_scheme=scheme, **size)
    page = context.new_page()
    page.goto("/nothing")
    expect(page.locator("h1")).to_have_text("That did not work")
    check(page, tmp_path, "error")
    context.close()


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_navigation_is_one_line_on_a_small_phone(visit, language: str) -> None:
    page = visit(locale=language, viewport={"width": 360, "height": 740}, is_mobile=True)
    tops = page.evaluate("[...document.querySelectorAll('nav a')].map((one) => one.offsetTop)")
    assert len(tops) == 4
    assert len(set(tops)) == 1
