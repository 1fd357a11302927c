"""`logferry where ID`: one event's fate at each sink, from cursors, dead letters and the store."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from .codes import OK, PROBLEMS, USAGE
from .common import config_option, fail, load_config, spool_root
from .output import event_line, stdout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..config import Config
    from ..spool import SpoolInfo

__all__ = ["where"]

_EVENT_ID: Final = re.compile(r"([0-9a-f]{32})-([1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class _Fate:
    """What became of the event at one sink. `state`: delivered, pending, dead-lettered, passed or unknown."""

    sink: str
    state: str
    detail: str = ""


@click.command(short_help="Show what became of one event at each sink.")
@click.argument("event_id", metavar="ID")
@config_option
def where(event_id: str, config_path: str | None) -> None:
    """Show, for the event ID, whether each sink has it, will get it, or refused it and why.

    The id is in the field `event_id` of what `logferry query` shows. Exits with 1 unless every sink has it.
    """
    match = _EVENT_ID.fullmatch(event_id.strip())
    if match is None:
        fail("an event id is 32 hex digits, a dash and a number", USAGE)
    config = load_config(config_path)
    root = spool_root(config)
    event, stores = _stored(config, event_id)
    fates = _fates(config, root, match[1], int(match[2]), stores)
    out = stdout()
    if out.people:
        if event is not None:
            out.line(event_line(event, colour=out.colour))
        out.table(
            [{"sink": f.sink, "state": f.state, "detail": f.detail} for f in fates],
            ("sink", "state", "detail"),
        )
    else:
        for fate in fates:
            out.json({"sink": fate.sink, "state": fate.state, "detail": fate.detail})
    raise SystemExit(OK if all(fate.state == "delivered" for fate in fates) else PROBLEMS)


def _fates(config: Config, root: Path, spool: str, sequence: int, stores: Mapping[str, bool]) -> list[_Fate]:
    from ..spool import audit, list_spools

    info = next((one for one in list_spools(root) if one.id == spool), None)
    letters = _dead_letters(root, f"{spool}-{sequence}")
    accounts = audit(root).accounts if info is not None else {}
    fates = []
    for sink in config.sinks:
        if sink in letters:
            fates.append(_Fate(sink, "dead-lettered", letters[sink]))
        elif stores.get(sink):
            fates.append(_Fate(sink, "delivered", "it is in the store"))
        elif info is None:
            fates.append(_Fate(sink, "unknown", "its spool is gone: drained by every sink, or never here"))
        else:
            account = accounts.get((info.service, sink))
            reasons = {**account.filtered, **account.dropped} if account else {}
            fates.append(_from_cursor(sink, info, sequence, reasons))
    return fates


def _from_cursor(sink: str, info: SpoolInfo, sequence: int, reasons: Mapping[str, int]) -> _Fate:
    if sequence > info.last_sequence:
        return _Fate(sink, "unknown", f"the spool has given out {info.last_sequence:,} ids only")
    done = info.cursors.get(sink, 0)
    if sequence > done:
        ahead = sequence - done - 1
        return _Fate(sink, "pending", f"{ahead:,} events before it")
    if reasons:
        told = ", ".join(f"{name} {count:,}" for name, count in reasons.items())
        return _Fate(sink, "passed", f"delivered, unless it is one of: {told}")
    return _Fate(sink, "delivered", "the sink acknowledged it")


def _dead_letters(root: Path, event_id: str) -> dict[str, str]:
    """Return the reasons by sink under which the event is a dead letter, whatever the service."""
    from ..deadletter import DeadLetters

    found = {}
    for path in sorted(root.glob("*/dead-letters/*.ndjson")):
        letter = DeadLetters(path.parent, path.stem, 0).get(event_id)
        if letter is not None:
            found[letter.sink] = letter.reason
    return found


def _stored(config: Config, event_id: str) -> tuple[dict[str, Any] | None, dict[str, bool]]:
    """Look the event up in every local sink's store."""
    found: dict[str, Any] | None = None
    stores = {}
    for name, sink in config.sinks.items():
        if sink.common.type == "local":
            from ..store import Store, StoreError

            try:
                event = Store(sink.options.path).get(event_id)
            except StoreError:  # nothing was ever written to it, or DuckDB is not installed
                continue
            stores[name] = event is not None
            found = found or event
    return found, stores
