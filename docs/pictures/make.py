"""Take the pictures of the local page and of the commands: `make screenshots`.

Two hours of a shop are shipped as anybody would ship them, and looked at in the browser that the tests use;
the commands run on a pseudo-terminal, and the browser draws what they write. For the picture of `top`, an
agent runs with a sink that nobody listens at.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))

import terminal  # noqa: E402 - beside this file
from servers import browser, scene  # noqa: E402 - beside the tests

from logferry.shipper.ui import PageServer  # noqa: E402 - as above

PATIENCE = 120.0
os.environ["TZ"] = "UTC"  # the same pictures everywhere
time.tzset()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background: the commands are ended by it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def until(page: Any, script: str) -> None:
    """Wait until the page says so."""
    deadline = time.monotonic() + PATIENCE
    while not page.evaluate(script):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the page never got so far: {script}")
        page.wait_for_timeout(50)


def take(seen: Any, name: str) -> None:
    """Keep what is seen of a page or an element, as small as PNG makes it."""
    getattr(seen, "page", seen).wait_for_timeout(300)  # a tip fades, a scroll bar goes
    picture = Image.open(BytesIO(seen.screenshot())).convert("RGB")
    if name.startswith("term-"):  # few colours: a palette says the same
        picture = picture.quantize(128, dither=Image.Dither.NONE)
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
        commands(chromium, place)


def commands(chromium: Any, place: Path) -> None:
    """Run the commands that docs/terminal.md tells of."""
    context = chromium.new_context(viewport={"width": 1200, "height": 1400})
    opened = context.new_page()

    def shot(name: str, words: Sequence[str], size: tuple[int, int], *, more: Sequence[str] = ()) -> None:
        width, height = size
        ends = 6.0 if words[0] in {"top", "tail"} else None
        said = terminal.spoken([*words, *more], place, width, height, ends)
        typed = " ".join(f"'{word}'" if set(word) & set(">< ") else word for word in words)
        opened.set_content(terminal.page(f"logferry {typed}", said, width))
        take(opened.locator("#shot"), name)

    failed = ["query", "endpoint=/charge", "status_code>=500", "--since", "3h", "--limit", "1"]
    found = subprocess.run(  # noqa: S603 - a command of ours
        [sys.executable, "-m", "logferry", *failed], cwd=place, capture_output=True, text=True, check=True
    )
    trace, newest = (json.loads(found.stdout)[name] for name in ("trace_id", "timestamp"))
    shot("term-stats", ["stats", "--since", "2h"], (112, 60))
    shot("term-query", ["query", "level=ERROR", "service=payments", "--limit", "6"], (112, 30))
    shot("term-trace", ["trace", trace], (112, 30))
    # However long the pictures took: the last minute of the scene.
    begin = datetime.fromisoformat(newest) - timedelta(minutes=1)
    shot("term-tail", ["tail", "level>=WARNING", "--since", f"{begin.astimezone():%H:%M:%S}"], (112, 30))
    with working(place):
        shot("term-top", ["top"], (112, 14), more=["-c", "live.yaml"])
    context.close()


@contextmanager
def working(place: Path) -> Iterator[None]:
    """Run an agent that reads a file which grows, and delivers to a store and to a sink that is not there."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        (place / "live.yaml").write_text(
            f"service: shop\nspool: {{path: {place}/live}}\n"
            f"sinks:\n  here: {{type: local, path: {place}/live-logs}}\n"
            f"  loki: {{type: loki, url: 'http://127.0.0.1:{nobody.getsockname()[1]}'}}\n"
            f"sources:\n  app: {{type: file, include: ['{place}/live.log']}}\n"
        )
        command = [sys.executable, "-m", "logferry", "run", "-c", "live.yaml"]
        done = threading.Event()

        def write() -> None:
            lines = scene.lines(seconds=600)
            with (place / "live.log").open("ab") as file:
                while not done.wait(0.1):
                    file.write(b"\n".join(lines[:20]) + b"\n")
                    file.flush()
                    lines = lines[20:] + lines[:20]

        with (place / "live.out").open("wb") as out:
            agent = subprocess.Popen(command, cwd=place, stdout=out, stderr=out)  # noqa: S603 - as above
        writer = threading.Thread(target=write)
        writer.start()
        try:
            time.sleep(8)  # until there are figures to look at
            yield
        finally:
            done.set()
            writer.join()
            agent.kill()
            agent.wait()


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
