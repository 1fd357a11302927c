"""`logferry level`: change loggers' levels in running programs, for a while."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from .codes import OK, UNAVAILABLE, USAGE
from .common import config_option, duration, fail, load_config, spool_option, spool_root
from .output import stdout, warn

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["level"]


@click.command(short_help="Change loggers' levels in running programs, for a while.")
@click.argument("changes", nargs=-1, metavar="[LOGGER=LEVEL]...")
@click.option(
    "--for", "seconds", type=duration, default="10m", show_default=True, help="How long, at most 24h."
)
@click.option("--reset", is_flag=True, help="Take back the named loggers' changes; without names, all.")
@click.option("--service", help="The service (default: that of the configuration).")
@config_option
@spool_option
def level(
    changes: tuple[str, ...],
    seconds: float,
    reset: bool,  # noqa: FBT001 - click's signature
    service: str | None,
    config_path: str | None,
    spool_path: Path | None,
) -> None:
    r"""Set levels in all running processes of the service; they take them back by themselves.

    \b
    logferry level sqlalchemy.engine=DEBUG --for 10m
    logferry level root=DEBUG payments=INFO
    logferry level --reset

    Without an argument, show what is in force. The processes notice within two seconds; a worker that was
    forked and has not logged anything yet begins with its first record.
    """
    from ..overrides import LONGEST, Override, change, read
    from ..spool.directory import file_name

    if spool_path is None or service is None:
        config = load_config(config_path)
        service = service or config.service
        spool_path = spool_path or spool_root(config)
    now = time.time()
    if not 0 < seconds <= LONGEST:
        fail("--for takes up to 24h: nothing should stay at DEBUG for good", USAGE)
    if not changes and not reset:
        found = read(spool_path / file_name(service), now)
    else:
        add = [] if reset else [Override(*_parsed(text), now + seconds) for text in changes]
        try:
            found = change(spool_path, service, now, add=add, remove=changes if reset else None)
        except OSError as error:
            fail(f"{spool_path}: {error.strerror or error}", UNAVAILABLE)
    out = stdout()
    rows = [
        {
            "service": service,
            "logger": one.logger,
            "level": one.level,
            "until": f"{datetime.fromtimestamp(one.until, UTC):%Y-%m-%d %H:%M:%S}Z",
        }
        for one in found
    ]
    if not out.rows(rows) and out.people:
        warn(f"no level of {service} is changed")
    raise SystemExit(OK)


def _parsed(text: str) -> tuple[str, str]:
    """Return logger and level of `LOGGER=LEVEL`; ends the command when it is something else."""
    from ...handlers.levels import parse

    name, equals, value = text.partition("=")
    if not (name and equals and value):
        fail(f"{text!r}: write LOGGER=LEVEL, for example sqlalchemy.engine=DEBUG", USAGE)
    try:
        parse(value)
    except ValueError as error:
        fail(f"{text}: {error}", USAGE)
    return name, value.upper()
