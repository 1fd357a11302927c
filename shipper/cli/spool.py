"""`logferry spool`: the spools on disk."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from .codes import OK, PROBLEMS
from .common import config_option, load_config, spool_option, spool_root
from .output import stdout, warn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..spool import Verified

__all__ = ["spool"]


def _root(config_path: str | None, spool_path: Path | None) -> Path:
    return spool_root(load_config(config_path)) if spool_path is None else spool_path


@click.group(short_help="List, verify and repair spools.")
def spool() -> None:
    """Look at the spools on disk, where records wait until every sink has them."""


@spool.command("ls")
@config_option
@spool_option
def ls(config_path: str | None, spool_path: Path | None) -> None:
    """List the spools: whose they are, how large, and how far each sink has come."""
    from ..spool import list_spools

    out = stdout()
    root = _root(config_path, spool_path)
    rows = []
    for info in list_spools(root):
        started = datetime.fromtimestamp(info.owner.started, UTC) if info.owner.started else None
        state = "alive" if info.alive else "shut down" if info.shut_down else "killed"
        sinks = {sink: info.last_sequence - done for sink, done in info.cursors.items()}
        shown = ", ".join(f"{sink} {pending:,}" for sink, pending in sinks.items())
        rows.append(
            {
                "service": info.service,
                "spool": info.id,
                "process": str(info.owner.pid),
                "state": state,
                "started": f"{started:%Y-%m-%d %H:%M:%S}" if started else "",
                "segments": info.segments,
                "bytes": info.bytes,
                "events": info.last_sequence,
                "pending": shown if out.people else sinks,
            }
        )
    if not out.rows(rows) and out.people:
        warn(f"no spools under {root}")


@spool.command("verify")
@config_option
@spool_option
def verify(config_path: str | None, spool_path: Path | None) -> None:
    """Check every frame of every spool; changes nothing. Exits with 1 when something is damaged."""
    from ..spool import verify as check

    found = check(_root(config_path, spool_path))
    _show(found)
    raise SystemExit(PROBLEMS if any(one.damaged for one in found) else OK)


@spool.command("repair")
@config_option
@spool_option
def repair(config_path: str | None, spool_path: Path | None) -> None:
    """Keep copies of what is damaged in dead processes' spools, beside them in `salvage`.

    Delivery needs no repair: readers pass over damaged bytes, count what was in them, and go on.
    """
    from ..spool import repair as mend

    _show(mend(_root(config_path, spool_path)))


def _show(found: Sequence[Verified]) -> None:
    out = stdout()
    rows = []
    for one in found:
        missing = ", ".join(f"{reason} {count:,}" for reason, count in one.missing.items())
        salvaged = [str(path) for path in one.salvaged]
        rows.append(
            {
                "spool": one.spool,
                "frames": one.frames,
                "events": one.events,
                "damaged": one.damaged,
                "damaged_bytes": one.damaged_bytes,
                "missing": missing if out.people else one.missing,
                "salvaged": ", ".join(salvaged) if out.people else salvaged,
            }
        )
    out.rows(rows)
