"""`logferry run`: sources → spool → sinks, until told to stop, or once, with an account at the end."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import click

from .codes import OK, PROBLEMS, UNAVAILABLE, USAGE
from .common import config_option, duration, fail, load_config, report_config
from .output import Output, account_row, account_values, stdout, warn

if TYPE_CHECKING:
    from types import FrameType

    from ..model import Account
    from ..pipeline import Pipeline
    from ..plan import Plan

__all__ = ["run"]

_LOOK: Final = 0.2  # seconds between two looks at what has been delivered
_QUIET: Final = 0.5  # seconds before progress is worth a line
_M_TRIM_THRESHOLD: Final = -1  # malloc.h
_M_MMAP_THRESHOLD: Final = -3
_COLUMNS: Final = (
    "sink",
    "accepted",
    "delivered",
    "pending",
    "dead_lettered",
    "filtered",
    "dropped",
    "reasons",
)


@click.command(short_help="Read the sources and deliver, until told to stop.")
@config_option
@click.option(
    "--once", is_flag=True, help="Read the sources to their ends, deliver, print the account, exit."
)
@click.option(
    "--patience",
    type=duration,
    default="30s",
    show_default=True,
    help="With --once: give up when a sink has taken nothing for so long. What is left waits in the spool.",
)
@click.option(
    "--watch",
    is_flag=True,
    help="Reload the configuration when its file changes; SIGHUP does so at any time.",
)
def run(  # click's signature
    config_path: str | None,
    once: bool,  # noqa: FBT001
    patience: float,
    watch: bool,  # noqa: FBT001
) -> None:
    """Read the sources and deliver to the sinks, until SIGTERM or Ctrl-C.

    SIGHUP reloads the configuration: sources go on where they are, and nothing is lost or read twice. One
    with mistakes is reported as `check` does, and the old one goes on.

    With --once it reads the sources to their ends, delivers, prints what became of every record, and exits
    with 0 only if all of it was delivered. Killed and started again, it goes on where it was.
    """
    if not once:
        from .service import serve, signalled

        wishes = signalled()  # first of all: a SIGHUP that nobody expects ends the process
    from ..config import ConfigError
    from ..config.plan import plan
    from ..diagnostics import set_level
    from ..floor import FLOOR
    from ..pipeline import Pipeline

    config = load_config(config_path)
    if once and watch:
        fail("--once ends by itself: there is nothing to --watch", USAGE)
    if once and not config.sources:
        fail("the configuration has no sources: there is nothing to read", USAGE)
    try:
        made = plan(config)
    except ConfigError as error:
        report_config(error)
        raise SystemExit(USAGE) from None
    _collect_seldom()
    _keep_memory()
    FLOOR.share()
    if not once:
        raise SystemExit(serve(config, made, config_path, wishes, watch=watch))
    set_level(made.diagnostics_level)
    # What is read to its end and over has nobody to be told a minute later.
    pipeline = Pipeline.from_plan(replace(made, alerts=None))
    stop = _stop_on_signals()
    try:
        pipeline.start(sources=False)
    except OSError as error:
        fail(f"cannot start: {error}", UNAVAILABLE)
    raise SystemExit(_Once(pipeline, made, stop, patience).run())


def _collect_seldom() -> None:
    """Have Python look for cycles less often: lines leave none, and looking took 3 % of the time."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _keep_memory() -> None:
    """Have the C library keep what was freed for the next block of lines.

    By default it gives large pieces back to the system and takes them again for the next block: that is a
    hundred page faults for a thousand lines. Elsewhere than with glibc nothing is changed.
    """
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 8 << 20)
        mallopt(_M_TRIM_THRESHOLD, 32 << 20)


def _stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and Ctrl-C set; the second signal ends the process at once."""
    stop = threading.Event()

    def handle(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        # Not stop.set(): the code that is interrupted may hold the event's lock.
        threading.Thread(target=stop.set, name="logferry-stop").start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return stop


@dataclass(slots=True)
class _Once:
    """One reading of all sources."""

    pipeline: Pipeline
    plan: Plan
    stop: threading.Event
    patience: float
    errors: dict[str, str] = field(default_factory=dict)

    def run(self) -> int:
        before = self.pipeline.accounts()
        started = time.monotonic()
        reader = threading.Thread(target=self._read, name="logferry-read", daemon=True)
        reader.start()
        moved, marks = started, -1
        while not self.stop.is_set():
            # `flush` covers what was accepted before it was called: the last one begins after the reading,
            # and when what a killed process left has been taken over.
            done, looked = not reader.is_alive(), self.pipeline.looked
            settled = self.pipeline.flush(_LOOK)
            if done and looked and settled:
                break
            now = time.monotonic()
            progress = sum(a.accepted - a.pending for a in self.pipeline.accounts().values())
            if progress != marks:
                moved, marks = now, progress
            if done and now - moved > self.patience:
                warn(f"logferry: nothing was delivered for {self.patience:g} s; giving up for now")
                break
            self._progress(before, now - started)
        self.pipeline.shutdown(1.0 if self.stop.is_set() else None)
        reader.join(self.plan.shutdown_timeout)
        self._clear()
        return self._report(before, time.monotonic() - started)

    def _read(self) -> None:
        self.errors = self.pipeline.read_sources_once()

    def _progress(self, before: Mapping[str, Account], passed: float) -> None:
        if not sys.stderr.isatty() or passed < _QUIET:
            return
        parts = []
        for name, account in self.pipeline.accounts().items():
            new = _since(before.get(name), account)
            parts.append(f"{name} {new.delivered:,}/{new.accepted:,}")
        sys.stderr.write(f"\r\x1b[K{passed:5.1f} s  delivered  {'  '.join(parts)}")
        sys.stderr.flush()

    @staticmethod
    def _clear() -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _report(self, before: Mapping[str, Account], passed: float) -> int:
        accounts = {n: _since(before.get(n), a) for n, a in self.pipeline.accounts().items()}
        _print(stdout(), accounts, passed)
        for name, text in self.errors.items():
            warn(f"logferry: source {name}: {text}")
        if self.stop.is_set():
            warn("logferry: interrupted; what was not read or delivered goes out next time")
        left = sum(account.pending for account in accounts.values())
        if left:
            kept = "wait in the spool" if self.plan.spool.path else "are lost: the spool is in memory"
            warn(f"logferry: {left:,} records were not delivered and {kept}")
        lost = any(a.pending or a.dead_lettered or a.dropped or a.balance for a in accounts.values())
        return PROBLEMS if lost or self.errors or self.stop.is_set() else OK


def _since(before: Account | None, now: Account) -> Account:
    """Return what came in since `before`, and what became of it and of what had been pending then."""
    from ..model import Account

    old = before or Account()

    def grown(mine: Mapping[str, int], theirs: Mapping[str, int]) -> dict[str, int]:
        return {
            name: count - theirs.get(name, 0) for name, count in mine.items() if count != theirs.get(name, 0)
        }

    return Account(
        accepted=now.accepted - old.accepted + old.pending,
        delivered=now.delivered - old.delivered,
        pending=now.pending,
        dead_lettered=now.dead_lettered - old.dead_lettered,
        filtered=grown(now.filtered, old.filtered),
        dropped=grown(now.dropped, old.dropped),
        retried=now.retried - old.retried,
        duplicates=now.duplicates - old.duplicates,
    )


def _print(out: Output, accounts: Mapping[str, Account], passed: float) -> None:
    if not out.people:
        for name, account in accounts.items():
            out.json({"sink": name, **account_values(account)})
        out.flush()
        return
    out.table([{"sink": name, **account_row(account)} for name, account in accounts.items()], _COLUMNS)
    balanced = all(account.balance == 0 for account in accounts.values())
    verdict = "every record is accounted for" if balanced else "RECORDS ARE UNACCOUNTED FOR"
    out.line(f"{verdict}; {passed:.1f} s", "green" if balanced else "red")
