"""`logferry top`: the pipelines of the machine, live, from their files."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .codes import OK
from .common import config_option, duration, load_config, spool_root
from .output import account_values, stdout

if TYPE_CHECKING:
    from ..overview import ServiceView, Watcher

__all__ = ["Meter", "top"]


@click.command(short_help="Watch the pipelines of this machine.")
@config_option
@click.option(
    "--spool",
    "spool_paths",
    multiple=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The directory of the spools; may be repeated (default: those of the configuration).",
)
@click.option("--once", is_flag=True, help="Show it once; rates are those of one interval.")
@click.option(
    "--interval", type=duration, default="1s", show_default=True, help="How long between two looks."
)
def top(
    config_path: str | None,
    spool_paths: tuple[Path, ...],
    once: bool,  # noqa: FBT001 - click's signature
    interval: float,
) -> None:
    """Watch sources, spools and sinks: rates, what waits and for how long, retries, dead letters, errors.

    It reads the files of applications, delivery processes and agents alike: nothing is asked, and no port is
    needed. On a terminal q ends it; on a pipe each service is one JSON line for each look.
    """
    from ..overview import Watcher

    paths, sinks = (list(spool_paths), {}) if spool_paths else _configured(config_path)
    interval = max(interval, 0.1)
    watcher, meter = Watcher(paths, sinks), Meter()
    meter.take(watcher.look(), time.monotonic())
    out = stdout()
    if once:
        time.sleep(interval)
        rows = meter.take(watcher.look(), time.monotonic())
        if out.people:
            from .top_screen import lines

            for line in lines(rows, width=out.width, colour=out.colour, now=time.time()):
                out.stream.write(line + "\n")
        else:
            for row in rows:
                out.json(row)
        raise SystemExit(OK)
    if out.people:
        from .top_screen import watch

        watch(out, lambda: meter.take(watcher.look(), time.monotonic()), interval, paths)
        raise SystemExit(OK)
    _stream(watcher, meter, interval)


def _stream(watcher: Watcher, meter: Meter, interval: float) -> None:
    out = stdout()
    while True:
        time.sleep(interval)
        for row in meter.take(watcher.look(), time.monotonic()):
            out.json(row)
        out.flush()
        if sys.stdout.closed:
            return


def _configured(config_path: str | None) -> tuple[list[Path], dict[str, list[str]]]:
    """Return where the pipelines have their spools, those that an agent reads among them; and its sinks."""
    config = load_config(config_path)
    read = [Path(one.options.path) for one in config.sources.values() if one.common.type == "spool"]
    return [spool_root(config), *read], {config.service: list(config.sinks)}


@dataclass(slots=True)
class Meter:
    """Turns figures that grow into rates, from look to look."""

    _before: dict[tuple[str, ...], tuple[float, int]] = field(default_factory=dict)

    def take(self, views: Sequence[ServiceView], now: float) -> list[dict[str, Any]]:
        """Return the services as rows for JSON; rates are per second, None at the first look."""
        return [self._row(view, now) for view in views]

    def _rate(self, now: float, count: int, *key: str) -> float | None:
        before = self._before.get(key)
        self._before[key] = now, count
        if before is None or now <= before[0]:
            return None
        return round(max(0, count - before[1]) / (now - before[0]), 1)

    def _row(self, view: ServiceView, now: float) -> dict[str, Any]:
        where = str(view.path)
        sinks = [
            {
                "sink": sink.name,
                "state": sink.state,
                "delivered_per_second": self._rate(now, sink.account.delivered, where, "sink", sink.name),
                "oldest_seconds": None if sink.oldest is None else round(sink.oldest, 1),
                **account_values(sink.account),
                "dead_letter_bytes": sink.letters,
                "error": sink.error,
            }
            for _, sink in sorted(view.sinks.items())
        ]
        sources = [
            {
                "source": source.name,
                "per_second": self._rate(now, source.events, where, "source", source.name),
                "parts": source.parts,
                "behind_bytes": source.behind,
                "unparsed": source.unparsed,
                "error": source.error,
            }
            for _, source in sorted(view.sources.items())
        ]
        return {
            "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            "service": view.service,
            "path": where,
            "accepted": view.accepted,
            "accepted_per_second": self._rate(now, view.accepted, where, "accepted"),
            "spools": view.spools,
            "living": view.living,
            "bytes": view.bytes,
            "processes": [_process(one.pid, one.kind, one.started) for one in view.processes],
            "sources": sources,
            "sinks": sinks,
            "last_error": view.last_error,
            "last_error_at": view.last_error_at or None,
        }


def _process(pid: int, kind: str, started: float) -> Mapping[str, Any]:
    return {"pid": pid, "kind": kind, "started": round(started, 3)}
