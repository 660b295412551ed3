"""A browser without a screen, driven by Playwright's client, for pages that people look at.

Debian's chromium draws without a GPU. Where it, or the client, is not installed, the tests that
ask for a page are skipped, and say so.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

SOFTWARE_GL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox")
WAIT_MS = 60_000


@contextmanager
def browsing(**options: Any) -> Iterator[Any]:
    """A page of its own; ``page.asked`` are the addresses that it has asked for, ``page.wrong``
    what went wrong in its scripts, and dialogs, which no page of ours opens."""
    client = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: no page is looked at"
    )
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed: no page is looked at")
    with client.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(SOFTWARE_GL))
        context = browser.new_context(**options)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.asked, page.wrong = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("dialog", lambda dialog: (page.wrong.append(dialog.message), dialog.dismiss()))
        try:
            yield page
        finally:
            browser.close()


def outside(page: Any, own: str) -> list[str]:
    """Addresses of other places that a page has asked for."""
    return [url for url in page.asked if not url.startswith((own, "blob:", "data:"))]


def colours_in(page: Any, selector: str) -> int:
    """How many different colours an element shows: one or two if nothing is drawn in it."""
    import io

    from PIL import Image

    shot = Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB")
    return len(shot.getcolors(maxcolors=1 << 24) or ())
