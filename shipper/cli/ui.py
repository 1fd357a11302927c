"""`logferry ui`: the local store in a browser."""

from __future__ import annotations

import secrets
import signal
import threading

import click

from .codes import UNAVAILABLE, USAGE
from .common import config_option, fail, load_config, store_option
from .output import stdout

__all__ = ["ui"]


@click.command(short_help="Show the local store in a browser.")
@config_option
@store_option
@click.option(
    "--listen", default="127.0.0.1:8420", show_default=True, help="host:port; port 0: any free one."
)
@click.option("--open/--no-open", "opens", default=True, show_default=True, help="Open the browser.")
def ui(config_path: str | None, store_path: str | None, listen: str, opens: bool) -> None:  # noqa: FBT001 - click's signature
    """Serve the page over the local store until Ctrl-C: panels, lines, traces, live.

    On the loopback it asks for nothing. On any other address whoever asks needs the token that is printed
    with the address. It is plain HTTP: put TLS in front of it where others can listen.
    """
    from pathlib import Path

    from ..config.sections import listen_address
    from ..store import StoreError
    from ..ui import PageServer, open_browser
    from ..ui.guard import is_loopback
    from .common import open_store

    try:
        host, port = listen_address(listen)
    except ValueError as error:
        fail(f"--listen: {error}", USAGE)
    spool: Path | None = None
    if store_path is None:
        from ..config.plan import spool_path

        spool = spool_path(load_config(config_path))
    token = "" if is_loopback(host) else secrets.token_urlsafe(24)
    try:
        path = open_store(store_path, config_path, awaited=True).path
        server = PageServer(path, host, port, token=token, spool=spool)
    except StoreError as error:
        fail(str(error), UNAVAILABLE)
    except OSError as error:
        fail(f"{listen}: {error.strerror}; --listen takes another port", UNAVAILABLE)
    out = stdout()
    out.line(server.url)
    out.flush()
    threading.Thread(target=server.serve_forever, name="logferry-ui", daemon=True).start()
    if opens and out.people:
        open_browser(server.url)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    server.end()
