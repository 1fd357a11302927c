"""`logferry audit`: the accounting identity, checked against the files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .codes import OK, PROBLEMS
from .common import config_option, load_config, spool_option, spool_root
from .output import account_row, account_values, harmless, stdout

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["audit"]

_COLUMNS = (
    *("service", "sink", "accepted", "delivered", "pending", "dead_lettered", "filtered", "dropped"),
    *("unaccounted", "reasons"),
)


@click.command(short_help="Prove that every record is accounted for.")
@config_option
@spool_option
def audit(config_path: str | None, spool_path: Path | None) -> None:
    """Check, for every service and sink, accepted = delivered + pending + dead-lettered + filtered + dropped.

    The frames on disk are counted and compared with the sinks' books. Exits with 1 when they disagree.
    """
    from ..spool import audit as check

    if spool_path is None:
        config = load_config(config_path)
        path = spool_root(config)
        report = check(path, sinks={config.service: config.sinks.keys()})
    else:
        path = spool_path
        report = check(path)
    out = stdout()
    accounts = sorted(report.accounts.items())
    if out.people:
        rows = [{"service": service, "sink": sink, **account_row(a)} for (service, sink), a in accounts]
        out.table(rows, _COLUMNS)
        if report.problems:
            for problem in report.problems:
                out.line(f"✗ {harmless(problem)}", "red")
        else:
            out.line(f"every record is accounted for ({report.spools} spools, {path})", "green")
    else:
        for (service, sink), account in accounts:
            out.json({"service": service, "sink": sink, **account_values(account)})
        for problem in report.problems:
            out.json({"problem": problem})
    unbalanced = any(account.balance for _, account in accounts)
    raise SystemExit(PROBLEMS if report.problems or unbalanced else OK)
