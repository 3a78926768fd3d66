"""Make the README's pictures of the page: `python demo/page.py`, with Chromium on the PATH.

Ana is invented, as are her friends (demo/posts.jsonl); the photos are those of samples/.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import tempfile
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from granian.constants import Interfaces
from granian.server.embed import Server
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from pixtag.encoder import load_encoder
from pixtag.ingest import find_sources, import_posts
from pixtag.photos import embed_missing
from pixtag.store import Store
from pixtag.web.app import create_app
from pixtag.web.service import Service

ROOT = Path(__file__).parent.parent
SAMPLES, OUT = ROOT / "samples", ROOT / "docs" / "images"
OWN = {
    "coffee": ("coffee", "latteart", "espresso", "anasmornings"),
    "cat": ("cat", "catsofinstagram", "misterwhiskers"),
    "flower": ("flowers", "spring", "garden"),
}
DAY_S = 86_400


def main() -> None:
    """Serve the page to a browser and take its pictures."""
    OUT.mkdir(exist_ok=True)
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="pixtag-")))
        store = opened.enter_context(Store.open(folder / "demo.sqlite", create=True))
        import_posts(find_sources([ROOT / "demo" / "posts.jsonl", _own_posts(folder)]), store)
        embed_missing(store, load_encoder())
        service = Service(store)
        opened.callback(service.close)
        address = _served(service)
        playwright = opened.enter_context(sync_playwright())
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        _desktop(browser, address)
        _phone(browser, address)
        browser.close()
    print(f"wrote {', '.join(sorted(p.name for p in OUT.glob('page*.jpg')))} to {OUT}")


def _desktop(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(address)
    page.get_by_label("Posting as").fill("ana")
    page.locator("select[name=platform]").select_option("instagram")
    page.locator("input[type=file][multiple]").set_input_files(SAMPLES / "coffee.jpg")
    page.locator(".chip").first.wait_for()
    for i in range(2):
        page.locator(".take").nth(i).click()
        page.locator(".chip.taken").nth(i).wait_for()
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(500)
    page.screenshot(path=OUT / "page.jpg", type="jpeg", quality=88)
    page.locator("[data-focus$=why]").first.click()
    page.locator(".why").wait_for()
    page.wait_for_timeout(500)
    page.locator(".chip.open").screenshot(path=OUT / "page-why.jpg", type="jpeg", quality=88)
    page.goto(f"{address}/mine")
    page.screenshot(path=OUT / "page-mine.jpg", type="jpeg", quality=88)
    context.close()


def _phone(browser: Browser, address: str) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, color_scheme="dark", is_mobile=True, has_touch=True
    )
    page = context.new_page()
    page.goto(address)
    page.locator("input[type=file][multiple]").set_input_files(SAMPLES / "cat.jpg")
    page.locator(".chip").first.wait_for()
    page.wait_for_timeout(500)
    page.screenshot(path=OUT / "page-phone.jpg", type="jpeg", quality=88)
    context.close()


def _own_posts(folder: Path) -> Path:
    """Posts of Ana's with photos, cut differently out of the samples."""
    lines: list[str] = []
    for i, (name, tags) in enumerate([*OWN.items()] * 2):
        with Image.open(SAMPLES / f"{name}.jpg") as image:
            width, height = image.size
            image.crop((6 * i, 4 * i, width - 12 * i, height - 9 * i)).save(folder / f"{i}.jpg")
        at = datetime.fromtimestamp(time.time() - (3 + 9 * i) * DAY_S, UTC)
        post = {"post_id": f"own-{i}", "user_id": "ana", "posted_at": at.isoformat()}
        lines.append(json.dumps({**post, "image": str(folder / f"{i}.jpg"), "tags": tags}))
    file = folder / "own.jsonl"
    file.write_text("\n".join(lines))
    return file


def _served(service: Service) -> str:
    """Serve on a thread that ends with the process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])

    async def run() -> None:
        app = create_app(service)
        await Server(app, port=port, interface=Interfaces.ASGI, log_enabled=False).serve()

    threading.Thread(target=lambda: asyncio.run(run()), daemon=True).start()
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    return f"http://127.0.0.1:{port}"


if __name__ == "__main__":
    main()
