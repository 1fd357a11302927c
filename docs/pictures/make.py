"""Take the pictures of the local page: `make screenshots`.

Two hours of a shop are shipped as anybody would ship them, and looked at in the browser that the tests use.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))

from servers import browser, scene  # noqa: E402 - beside the tests

from logferry.shipper.ui import PageServer  # noqa: E402 - as above

PATIENCE = 120.0


def until(page: Any, script: str) -> None:
    """Wait until the page says so."""
    deadline = time.monotonic() + PATIENCE
    while not page.evaluate(script):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the page never got so far: {script}")
        page.wait_for_timeout(50)


def take(page: Any, name: str, **how: Any) -> None:
    """Keep what is seen, as small as PNG makes it."""
    page.wait_for_timeout(300)  # a tip fades, a scroll bar goes
    picture = Image.open(BytesIO(page.screenshot(**how))).convert("RGB")
    path = HERE / f"{name}.png"
    picture.save(path, optimize=True)
    sys.stdout.write(f"· {path.relative_to(HERE.parents[1])}: {path.stat().st_size // 1024} KiB\n")


def main() -> None:
    """Make all of them."""
    if not browser.install():
        sys.exit("the pictures are taken with Debian's Chromium, which could not be had")
    with tempfile.TemporaryDirectory() as scratch, browser.opened(Path(scratch)) as chromium:
        place = Path(scratch)
        scene.ship(place, scene.lines())
        server = PageServer(place / "logs", spool=place / "spool")
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            pictures(chromium, server.url)
        finally:
            server.end()


def pictures(chromium: Any, url: str) -> None:
    """Look at the page in all the ways that docs/page.md tells of."""

    def page(theme: str, address: str, width: int = 1440, height: int = 1080) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
        opened = context.new_page()
        opened.goto(f"{url}#since=2h&{address}")
        until(opened, "document.body.dataset.shown")
        return opened

    def with_page(act: Callable[[Any], None], name: str, *given: Any) -> None:
        opened = page(*given)
        act(opened)
        take(opened, name)
        opened.context.close()

    def complete(opened: Any) -> None:
        opened.fill("#filter", "level=ERROR ")
        opened.type("#filter", "service=")
        until(opened, "document.querySelectorAll('#words li').length > 3")
        opened.keyboard.press("ArrowDown")

    def open_line(opened: Any) -> None:
        until(opened, "document.querySelectorAll('#rows .row').length > 3")
        opened.click("#row-2")
        until(opened, "!document.querySelector('#detail').hidden")

    def open_trace(opened: Any) -> None:
        open_line(opened)
        opened.keyboard.press("o")
        until(opened, "document.querySelectorAll('#trace .span').length > 3")
        opened.keyboard.press("Escape")

    charged = "filter=service%3Dpayments%20%22charge%20failed%22"
    with_page(lambda _: None, "page-dark", "dark", "")
    with_page(lambda _: None, "page-light", "light", "")
    with_page(complete, "page-filter", "light", "", 1440, 420)
    with_page(open_line, "page-line", "dark", f"{charged}&view=lines", 1440, 760)
    with_page(open_trace, "page-trace", "light", charged, 1440, 420)
    with_page(lambda _: None, "page-alike", "light", "mode=similar&view=lines", 1440, 700)
    with_page(lambda _: None, "page-small", "dark", "", 390, 844)


if __name__ == "__main__":
    main()
