"""`logferry where ID`: one event's fate at each sink, from cursors, dead letters and the store."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from ..core.sift import Routes, Sieve
from .codes import OK, PROBLEMS, USAGE
from .common import config_option, fail, load_config, spool_root
from .output import event_line, stdout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..config import Config
    from ..model import Account
    from ..spool import SpoolInfo

__all__ = ["where"]

_RANK: Final = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
_REASONS: Final = {
    "full": "full: the spool had no room and gave up its oldest records",
    "max_age": "max_age: it waited for longer than the spool keeps records",
    "removed": "removed: the sink was not in the configuration for a day",
    "damaged": "damaged: the bytes on disk were no longer sound",
}
_EVENT_ID: Final = re.compile(r"([0-9a-f]{32})-([1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class _Fate:
    """What became of the event at one sink.

    `state`: delivered, pending, dead-lettered, filtered, dropped; passed: one of several that the books do
    not tell apart; unknown.
    """

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
    fates = _fates(config, root, match[1], int(match[2]), (event, stores))
    out = stdout()
    if out.people:
        if event is not None:
            out.line(event_line(event, colour=out.colour, width=out.width))
        out.table(
            [{"sink": f.sink, "state": f.state, "detail": f.detail} for f in fates],
            ("sink", "state", "detail"),
        )
    else:
        for fate in fates:
            out.json({"sink": fate.sink, "state": fate.state, "detail": fate.detail})
    raise SystemExit(OK if all(fate.state == "delivered" for fate in fates) else PROBLEMS)


def _fates(
    config: Config,
    root: Path,
    spool: str,
    sequence: int,
    found: tuple[Mapping[str, Any] | None, Mapping[str, bool]],
) -> list[_Fate]:
    from ..config.plan import plan
    from ..spool import list_spools

    info = next((one for one in list_spools(root) if one.id == spool), None)
    letters, kept = _dead_letters(root, spool, f"{spool}-{sequence}")
    event, stores = found
    fates = []
    routes = {sink.name: sink.routes for sink in plan(config).sinks}
    if info is not None and not routes:  # `delivery: agent`: the sinks are those that have a cursor
        routes = dict.fromkeys(info.cursors, Routes())
    for sink, route in routes.items():
        if sink in letters:
            fates.append(_Fate(sink, "dead-lettered", letters[sink]))
        elif stores.get(sink):
            fates.append(_Fate(sink, "delivered", "it is in the store"))
        elif info is not None and sequence > info.last_sequence:
            fates.append(_Fate(sink, "unknown", f"the spool has given out {info.last_sequence:,} ids only"))
        elif info is not None and sequence > (done := info.cursors.get(sink, 0)):
            fates.append(_pending(sink, info, sequence, done))
        elif event is not None and (why := _kept_away(route, event)):
            fates.append(_Fate(sink, "filtered", why))
        else:
            account = _books(root, config.service, info, sink, event)
            if account is not None:
                account.dead_lettered -= kept.get(sink, 0)
            fates.append(_from_books(sink, info, sequence, account))
    return fates


def _kept_away(routes: Routes, event: Mapping[str, Any]) -> str:
    """Return why a sink's routes do not let the event through; empty when they do, or cannot tell alone."""
    from ..model import Batch

    least = routes.min_level
    if least is not None and _RANK.get(event.get("level", ""), 50) < _RANK[least]:
        return f"{event['level']} is below this sink's min_level {least}"
    if routes.match is not None and not routes.match(event):
        return "it is not what this sink's match says"
    if routes.sample is not None:
        spool, _, number = str(event.get("event_id", "")).partition("-")
        alone = Batch(spool, [int(number or 0)], [msgspec.json.encode(event)])
        if Sieve(Routes(sample=routes.sample)).sift(alone, {}, 0.0)[1]:
            return f"its trace is not among the {routes.sample:g} that this sink's sample keeps"
    return ""


def _pending(sink: str, info: SpoolInfo, sequence: int, done: int) -> _Fate:
    from ..spool.fate import evicted_of

    for gone in evicted_of(info.directory):
        if gone.first <= sequence <= gone.last:
            return _Fate(sink, "dropped", _REASONS.get(gone.reason, gone.reason))
    return _Fate(sink, "pending", f"{sequence - done - 1:,} events before it")


def _books(
    root: Path, service: str, info: SpoolInfo | None, sink: str, event: Mapping[str, Any] | None
) -> Account | None:
    """Return the books that tell of the event: its spool's; those of drained spools, when it was in one."""
    from ..spool import audit
    from ..spool.fate import account_of

    if info is not None:
        return account_of(info.directory, sink)
    return audit(root, service).accounts.get((service, sink)) if event is not None else None


def _from_books(sink: str, info: SpoolInfo | None, sequence: int, account: Account | None) -> _Fate:
    """Return the fate of an event that the sink has passed."""
    if account is None:
        return _Fate(sink, "unknown", "its spool is gone: drained by every sink, or never here")
    from ..spool.fate import evicted_of

    gone = evicted_of(info.directory) if info is not None else ()
    sizes: Counter[str] = Counter()
    for one in gone:
        sizes[one.reason] += one.last - one.first + 1
    # Of these every one is known: the sink had none of what was given up for that reason.
    known = {reason for reason, size in sizes.items() if account.dropped.get(reason, 0) >= size}
    reason = next((one.reason for one in gone if one.first <= sequence <= one.last), "")
    if reason in known:
        return _Fate(sink, "dropped", _REASONS.get(reason, reason))
    dropped = {name: count for name, count in account.dropped.items() if name not in known}
    others = {**account.filtered, **dropped}
    if account.dead_lettered > 0:
        others["dead letters replayed or removed since"] = account.dead_lettered
    if not others:
        return _Fate(sink, "delivered", "the sink acknowledged all that it passed there")
    told = ", ".join(f"{name} {count:,}" for name, count in others.items())
    return _Fate(sink, "passed", f"delivered, unless it is one of: {told}")


def _dead_letters(root: Path, spool: str, event_id: str) -> tuple[dict[str, str], Counter[str]]:
    """Return why, by sink, the event is a dead letter; and how many letters of its spool are kept."""
    from ..deadletter import DeadLetters

    reasons: dict[str, str] = {}
    kept: Counter[str] = Counter()
    for path in sorted(root.glob("*/dead-letters/*.ndjson")):
        for letter in DeadLetters(path.parent, path.stem, 0).read():
            if letter.id == event_id:
                reasons[letter.sink] = letter.reason
            if letter.id.startswith(f"{spool}-"):
                kept[letter.sink] += 1
    return reasons, kept


def _stored(config: Config, event_id: str) -> tuple[dict[str, Any] | None, dict[str, bool]]:
    """Look the event up in every local sink's store."""
    found: dict[str, Any] | None = None
    stores = {}
    for name, sink in config.sinks.items():
        if sink.common.type == "local":
            from ..store import Store, StoreError

            try:
                store = Store(sink.options.path)
                event = store.get(event_id)
            except StoreError:  # nothing was ever written to it, or DuckDB is not installed
                continue
            stores[name] = event is not None
            found = found or event
    return found, stores
