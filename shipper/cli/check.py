"""`logferry check`: every mistake of the configuration, and with `--connect` of the sinks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .codes import PROBLEMS, USAGE
from .common import config_option, report_config
from .output import Output, harmless, stdout

if TYPE_CHECKING:
    from ..config import ConfigError
    from ..plan import Plan

__all__ = ["check"]


@click.command(short_help="Find every mistake in the configuration.")
@config_option
@click.option("--connect", is_flag=True, help="Try each sink: address, credentials, permissions.")
def check(config_path: str | None, connect: bool) -> None:  # noqa: FBT001 - click's signature
    """Find every mistake in the configuration; with --connect try the sinks as well.

    Exits with 2 when the configuration has a mistake, with 1 when a sink cannot be used.
    """
    from ..config import ConfigError, load
    from ..config.plan import plan

    out = stdout()
    try:
        made = plan(load(config_path))
    except ConfigError as error:
        _show(out, error)
        raise SystemExit(USAGE) from None
    if out.people:
        out.line("the configuration is good", "green")
    if connect and not _connect(out, made):
        raise SystemExit(PROBLEMS)


def _show(out: Output, error: ConfigError) -> None:
    if out.people:
        report_config(error)
        return
    for problem in error.problems:
        place = {"file": problem.file, "line": problem.line, "column": problem.column, "path": problem.path}
        out.json({**place, "message": problem.message, "suggestion": problem.suggestion})


def _connect(out: Output, made: Plan) -> bool:
    from ..ports import SinkContext

    good = True
    for spec in made.sinks:
        try:
            sink = spec.kind.build(spec.options, SinkContext(spec.name, made.schema, made.spool.path))
            try:
                complaints = list(sink.check())
            finally:
                sink.close()
        except Exception as error:  # noqa: BLE001 - a sink of somebody else's must not hide the others
            complaints = [f"{type(error).__name__}: {error}"]
        good = good and not complaints
        if not out.people:
            out.json(
                {"sink": spec.name, "type": spec.kind.type, "ok": not complaints, "problems": complaints}
            )
        elif complaints:
            for complaint in complaints:
                out.line(f"✗ {spec.name}: {harmless(complaint)}", "red")
        else:
            out.line(f"✓ {spec.name}", "green")
    return good
