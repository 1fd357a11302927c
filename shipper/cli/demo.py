"""`logferry demo`: a real shop under load."""

from __future__ import annotations

from pathlib import Path

import click

from .common import duration as duration_type

__all__ = ["demo"]


@click.command(short_help="Run a real shop under load, ship its logs and watch.")
@click.option(
    "--duration", type=duration_type, default="60s", show_default=True, help="How long the load runs."
)
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), help="Where its files go.")
@click.option("--loki", "loki_url", help="Ship to this Loki as well (http://localhost:3100).")
@click.option(
    "--page/--no-page",
    "page",
    default=None,
    help="Serve the page meanwhile, and after it until Ctrl-C. Default: on a terminal.",
)
def demo(duration: float, directory: Path | None, loki_url: str | None, page: bool | None) -> None:  # noqa: FBT001 - click's signature
    """Run two services and a worker under load, ship what they log, kill one, and draw up the account.

    Needs `pip install "logferry[demo]"`. Everything stays on this machine.
    """
    import sys

    from ..demo.main import run

    shown = sys.stdout.isatty() if page is None else page
    raise SystemExit(run(duration, directory=directory, loki_url=loki_url, page=shown))
