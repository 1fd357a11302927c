"""The delivery process: a pipeline whose one source is the service's spools, until nobody needs it."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ..config.plan import plan as plan_of
from ..config.transfer import restore
from ..diagnostics import say, set_level
from ..pipeline import Pipeline
from ..plan import Plan, SourceSpec
from ..ports import SourceContext, SourceKind
from ..sources.spool import LOOK, SpoolSource, SpoolSourceConfig
from ..spool.claim import Claim
from ..spool.directory import Home, spool_directories
from .board import Board, Notice, SinkNotice
from .stay import Stay

__all__ = ["deliver"]

_LOG_BYTES: Final = 64 * 1024
_LEAVE: Final = 20.0  # seconds for the batches in hand when another process takes over
_TELL: Final = 1.0  # seconds between two notices


def deliver(job: dict[str, Any], claim: Claim) -> int:
    """Deliver until it is over; return the exit status."""
    service = Path(job["service"])
    _log_to(service / "delivery.log")
    config = restore(job["config"])
    plan = plan_of(config)
    set_level(plan.diagnostics_level)
    mine = Notice(os.getpid(), job["digest"], job["configured"])
    signals = _Signals()
    while True:
        courier = _Courier(plan, Board(service), mine, Stay(job["linger"], job["patience"]), signals, claim)
        again = courier.run()
        following = Claim.take(service) if again and _has_owners(service) else None
        if following is None:
            return 0
        claim = following  # somebody began to log while we were leaving


def _log_to(path: Path) -> None:
    """Have what is written to stderr in a file, begun anew when it is long."""
    with suppress(OSError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(path, flags, 0o600)
        if os.fstat(fd).st_size > _LOG_BYTES:
            os.ftruncate(fd, 0)
        os.dup2(fd, 2)
        os.close(fd)


def _has_owners(service: Path) -> bool:
    """Say whether a living process leaves its spool to others."""
    for directory in spool_directories(service):
        with suppress(OSError):
            home = Home.view(directory)
            left = home.owner.left_to_others
            home.close()
            if left:
                return True
    return False


@dataclass(slots=True)
class _Signals:
    """SIGTERM: end when the owners have. There is no terminal that could send another."""

    asked: bool = field(default=False)

    def __post_init__(self) -> None:
        signal.signal(signal.SIGTERM, self._on_term)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def _on_term(self, _number: int, _frame: object) -> None:
        self.asked = True


@dataclass(slots=True)
class _Courier:
    plan: Plan
    board: Board
    mine: Notice
    stay: Stay
    signals: _Signals
    claim: Claim
    _source: SpoolSource | None = None
    _told: Notice | None = None
    _next: float = 0.0

    def run(self) -> bool:
        """Deliver until it is over; True when it ended because there was nothing left to do."""
        pipeline = Pipeline.from_plan(self._with_spools())
        pipeline.start()
        deadline: float | None = None
        while True:
            now = time.monotonic()
            if self.mine.gives_way_to(self.board.asked(time.time())):
                say("INFO", "delivery process: another configuration takes over")
                pipeline.leave(_LEAVE)
                return False
            if self.signals.asked and deadline is None:
                deadline = now + self.plan.shutdown_timeout
            living = self._source.living if self._source else 0
            if deadline is not None and self._must_end(now, deadline, living):
                pipeline.shutdown(max(0.5, deadline - now))
                return False
            if self._is_over(pipeline, now, living):
                pipeline.shutdown()
                return True
            self._tell(pipeline, now)
            time.sleep(LOOK)

    def _must_end(self, now: float, deadline: float, living: int) -> bool:
        """Say whether one that is told to end does so now: nobody is left who has records to come."""
        # A signal may come before the spools are looked at: until then nobody seems to live.
        knows = self._source is not None and self._source.looked
        return now >= deadline or (knows and not living)

    def _is_over(self, pipeline: Pipeline, now: float, living: int) -> bool:
        pending = 0
        if not living:
            untold = self._source.untold if self._source else 0  # a death is news like any other
            pending = untold + sum(account.pending for account in pipeline.accounts().values())
        return self.stay.over(now, living=living, pending=pending)

    def _tell(self, pipeline: Pipeline, now: float) -> None:
        if now < self._next:
            return
        self._next = now + _TELL
        sinks = {
            name: SinkNotice(state.state, state.error, round(state.lag))
            for name, state in pipeline.states().items()
        }
        notice = _with_sinks(self.mine, sinks)
        if notice != self._told:
            self.board.write(notice)
            self._told = notice

    def _with_spools(self) -> Plan:
        """Return the plan with the service's spools as its only source."""
        spool = replace(self.plan.spool, delivery="courier")
        assert spool.path is not None
        options = SpoolSourceConfig(spool.path, (spool.service,))
        kind = SourceKind("spool", SpoolSourceConfig, self._make)
        source = SourceSpec("spools", kind, options, self.plan.builder)
        return replace(self.plan, spool=spool, sources=(source,), metrics_listen=None)

    def _make(self, options: SpoolSourceConfig, context: SourceContext, /) -> SpoolSource:
        self._source = SpoolSource(options, context)
        self._source.serve(self.plan.spool.service, self.claim)
        return self._source


def _with_sinks(notice: Notice, sinks: dict[str, SinkNotice]) -> Notice:
    """Return the notice with what is known of the sinks now."""
    return Notice(notice.pid, notice.digest, notice.configured, notice.at, sinks)
