"""What tests do with the page in a real Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

import handmade

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Dialog, Page

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
NOW = 1_780_000_000.0
expect.set_options(timeout=20_000)  # machines that run the tests are slow and uneven


def photo(folder: Path, name: str = "zebra.jpg", look: str = "stripes", seed: int = 0) -> Path:
    return handmade.photo(folder / name, look, seed)


def upload(page: Page, *files: Path) -> None:
    n = page.locator("article.card").count()
    page.locator("input[type=file][multiple]").set_input_files(files)
    expect(page.locator("article.card")).to_have_count(n + len(files))


def chips(page: Page) -> list[str]:
    return [text.lstrip("#") for text in page.locator(".chip .tag").all_inner_texts()]


def leave(dialog: Dialog) -> None:
    """Go on where the page asks before it is left; any other dialog is none of ours."""
    assert dialog.type == "beforeunload", dialog.message
    dialog.accept()


def is_narrow(page: Page) -> bool:
    widest = page.evaluate("document.documentElement.scrollWidth")
    return widest <= page.viewport_size["width"]  # a phone's innerWidth grows with what is wide
