"""The operations team of the demo: starts the shop, watches, kills a service, draws up the account."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from ..model import Account
from ..spool import audit
from ..store import Store, StoreError
from .live import Live
from .page import Page
from .processes import Fleet, free_port
from .report import Killed, report
from .screen import Frame, Screen, open_screen

__all__ = ["demo_directory", "run"]

SETTLE = 10.0  # seconds that the last records may take to be delivered

CONFIG = """\
# The demo's configuration: the same file for all of its services.
service: ${{SHOP_SERVICE:-shop}}
environment: dev
logging: {{level: INFO, console: "off"}}
spool:
  path: {spool}
sinks:
  here: {{type: local, path: {logs}}}
"""


def demo_directory() -> Path:
    """Return where the demo keeps its files: one directory a user, made anew by every run."""
    return Path(tempfile.gettempdir()) / f"logferry-demo-{os.getuid()}"


def prepare(directory: Path, loki_url: str | None) -> Path:
    """Make the directory (0700) and the configuration in it; return the latter's path.

    Raises RuntimeError when the directory is there and belongs to someone else.
    """
    if directory.is_symlink() or (directory.exists() and directory.stat().st_uid != os.getuid()):
        raise RuntimeError(f"{directory} belongs to someone else: give --directory another place")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True)
    text = CONFIG.format(spool=directory / "spool", logs=directory / "logs")
    if loki_url:
        text += f"  loki: {{type: loki, url: {loki_url}}}\n"
    config = directory / "logferry.yaml"
    config.write_text(text)
    return config


def totals(spool: Path) -> Account:
    """Return the books of the local sink over all services, read from the files on disk."""
    total = Account()
    for (_, sink), account in audit(spool).accounts.items():
        if sink == "here":
            total.add(account)
    return total


def run(
    duration: float = 60.0,
    *,
    directory: Path | None = None,
    loki_url: str | None = None,
    screen: Screen | None = None,
    page: bool = False,
) -> int:
    """Run the demo for about `duration` seconds; return 0 when every record is accounted for and arrived.

    With `page` the local page is served as soon as there is something to see, and after the report until
    Ctrl-C.
    """
    directory = (directory or demo_directory()).resolve()  # the configuration in it names its paths
    config = prepare(directory, loki_url)
    spool, logs = directory / "spool", directory / "logs"
    fleet, live, stop = Fleet(directory, config), Live(time.time), threading.Event()
    follower = threading.Thread(target=follow, args=(logs, live, stop), daemon=True, name="demo-follower")
    ports = {"shop": free_port(), "stock": free_port()}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    screen = screen or open_screen(sys.stdout)
    words, waited = uuid4().hex, 0
    local = Page(logs, spool)
    try:
        screen.say(f"files in {directory}")
        screen.say("starting stock, shop and mailer (uvicorn and a worker), and their customers")
        fleet.start("stock", ports["stock"], urls["shop"])
        fleet.start("shop", ports["shop"], urls["stock"])
        for name, port in ports.items():
            fleet.wait_ready(name, port)
        fleet.start("mailer", 0, urls["shop"])
        follower.start()
        fleet.start_load(urls["shop"], duration)
        started = time.monotonic()
        if page:
            local.open(screen.say)

        def show(until: float, done: Callable[[], bool] = lambda: False) -> None:
            while (passed := time.monotonic() - started) < until and not done():
                screen.draw(Frame(passed, duration, live, totals(spool)))
                time.sleep(0.5)

        show(duration * 0.4)
        killed = fleet.last_words("stock", ports["stock"], words)
        waited = audit(spool).accounts[("stock", "here")].pending
        screen.say(f"✗ killed stock (process {killed}) with SIGKILL: {waited} records wait in its spool")
        show(duration * 0.4 + 2)
        fleet.start("stock", ports["stock"], urls["shop"])
        fleet.wait_ready("stock", ports["stock"])
        screen.say("✓ stock runs again; it adopts what the dead one left")
        show(duration)
        screen.say("the load has ended; waiting for the last records")
        show(duration + SETTLE, lambda: totals(spool).pending == 0)
    except KeyboardInterrupt:
        screen.say("interrupted: stopping the shop")
    finally:
        fleet.stop()
        stop.set()
        screen.close()
    code = report(directory, config, Store(logs), audit(spool), Killed(words, waited))
    local.stay(lambda text: print(text, flush=True))  # noqa: T201 - the demo's output
    local.close()
    return code


def follow(logs: Path, live: Live, stop: threading.Event) -> None:
    """Feed `live` with what arrives in the store at `logs`, from when the first service has written to it."""
    while not stop.wait(0.1):
        with suppress(StoreError):
            for event in Store(logs).tail(stop=stop.is_set):
                live.take(event)
