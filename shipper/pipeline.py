"""Spool, workers, sources and upkeep put together: the running thing.

Rules

- The outlet may be used before `start` and keeps what it is given: the spool needs nothing but itself.
- After a fork the child has neither workers nor sinks of its parent. Its first record starts its own, with a
  spool of its own. Nothing is started in a child that logs nothing, and no lock of the parent is used there.
- `shutdown` is bounded. What is not sent by then waits in the spool. A worker that hangs is left behind.
- What is offered after `shutdown` (by other `atexit` callbacks, finalisers, threads that nobody stops) goes
  into a late spool on disk, which the next process delivers, or into the pipeline that replaced this one.
- What a process that died without shutdown left is adopted, delivered, and reported as one event, the death
  notice (`kind: death`).
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..handlers.forward import suppress_thread
from ..handlers.outlet import Outlet
from ..handlers.record import EventBuilder
from ..handlers.schema import Schema
from .alerts.rules import NAME as ALERTS
from .alerts.rules import AlertPlan
from .builder import SourceBuilder
from .core.sift import Sieve
from .deadletter import DeadLetters
from .diagnostics import say
from .door import Door
from .endings import end_with_multiprocessing
from .feeder import Feeder
from .health import HealthServer
from .model import Account
from .notices import death_notice, level_notice
from .overrides import Overrides
from .plan import DEAD_LETTER_BYTES, Plan, SinkSpec, SourceSpec
from .ports import Sink, SinkContext, SinkKind, SourceContext
from .relay import WorkerRelay
from .settlement import WorkerSettlement
from .sole_reader import sole_reader
from .spool import AdoptedSpool, Spool, SpoolSet, SpoolSettings
from .spool.directory import file_name
from .status import SinkTold, StatusFile, Told
from .upkeep import PREPARE_EVERY, Job, Upkeep
from .worker import SinkState, Worker

if TYPE_CHECKING:
    from .alerts.watch import Alarm

__all__ = ["Pipeline", "SinkSpec", "SourceSpec", "dead_letter_directory"]

ADOPT_EVERY = 2.0  # seconds between two looks for spools that dead processes left
STATUS_EVERY = 1.0  # seconds between two looks whether there is news for `logferry top`
LEVELS_EVERY = 1.0  # seconds between two looks for levels that were changed
GRACE = 0.2  # seconds beyond the deadline that a worker gets to end by itself


def dead_letter_directory(settings: SpoolSettings) -> Path | None:
    """Return where the service's dead letters lie; None when nothing is kept on disk."""
    if settings.path is None:
        return None
    return settings.path / file_name(settings.service) / "dead-letters"


class Pipeline:
    """Ships what is offered to `outlet` and what its sources read to every sink.

    `spool` says where records wait. `shutdown_timeout` is seconds, `dead_letter_bytes` the bound on disk for
    each sink, `metrics` the address of `/metrics`, `/healthz` and `/readyz`. Nothing is opened before
    `start()` or the first record.
    """

    def __init__(  # noqa: PLR0913 - what it is made of, by keyword
        self,
        *,
        schema: Schema,
        spool: SpoolSettings,
        sinks: Sequence[SinkSpec],
        builder: EventBuilder,
        sources: Sequence[SourceSpec] = (),
        shutdown_timeout: float = 5.0,
        dead_letter_bytes: int = DEAD_LETTER_BYTES,
        metrics: tuple[str, int] | None = None,
        alerts: AlertPlan | None = None,
    ) -> None:
        self._schema = schema
        self._settings = spool
        self._alerts = alerts
        watched = [] if alerts is None else [SinkSpec(ALERTS, SinkKind(ALERTS, object, self._counting), None)]
        self._sinks = (*sinks, *watched)
        self._sources = tuple(sources)
        self._builder = builder
        self._metrics = metrics
        self._dead_letter_bytes = dead_letter_bytes
        self.shutdown_timeout = shutdown_timeout
        self.spool = Spool(spool)
        self._door = Door(self.spool, self._revive)
        # A forked child inherits the levels as they are, and takes them back as well.
        self._overrides = (
            None
            if spool.path is None or spool.delivery == "courier"  # it has no loggers that anybody means
            else Overrides(spool.path, spool.service, self._tell_level)
        )
        self._clear()
        self._running = False
        self.end: Callable[[], object] = self.shutdown  # what ends it where a process ends past `atexit`
        _all.add(self)

    @classmethod
    def from_plan(cls, plan: Plan) -> Pipeline:
        """Make the pipeline that a plan describes."""
        # What `delivery` says is for the applications; whoever runs a pipeline delivers what it has.
        own = plan.spool if plan.spool.delivery == "courier" else replace(plan.spool, delivery="thread")
        return cls(
            schema=plan.schema,
            spool=own,
            sinks=plan.sinks,
            sources=plan.sources,
            builder=plan.builder,
            shutdown_timeout=plan.shutdown_timeout,
            dead_letter_bytes=plan.dead_letters_max_bytes,
            metrics=plan.metrics_listen,
            alerts=plan.alerts if plan.sources and own.delivery != "courier" else None,
        )

    def _clear(self) -> None:
        """Have nothing that runs, and a lock that nobody holds."""
        self._lock = threading.RLock()
        self._guard = threading.RLock()  # held by whoever touches cursors
        self._workers: dict[str, Worker] = {}
        self._feeders: list[Feeder] = []
        self._set: SpoolSet | None = None
        self._looked = False  # for what dead processes left
        self._final: dict[str, Account] | None = None  # the books when it was shut down
        self._upkeep: Upkeep | None = None
        self._health: HealthServer | None = None
        self._status: StatusFile | None = None
        self._alarm: Alarm | None = None
        self._relay = WorkerRelay(self._workers, self._guard, self._builder, self.spool)

    @property
    def outlet(self) -> Outlet:
        """Where events are offered; usable from any thread, signal handler and forked child."""
        return self._door

    @property
    def running(self) -> bool:
        """Whether it has been started and not shut down."""
        return self._running

    @property
    def health_address(self) -> tuple[str, int] | None:
        """Where the health pages are served; None: nowhere."""
        return self._health.address if self._health else None

    def start(self, *, sources: bool = True) -> None:
        """Start workers, upkeep and (with `sources`) the sources. Does nothing when it runs already.

        Raises OSError when the metrics' address cannot be had.
        """
        with self._lock:
            if self._running:
                return
            if self._metrics is not None:
                self._health = HealthServer(self._metrics, self)
            self._running = True
            self._begin()
            end_with_multiprocessing(self)
            if sources:
                self._feed(once=False)

    def _begin(self) -> None:
        self._set = SpoolSet(self._settings, self.spool)
        if self._alerts is not None:
            from .alerts.watch import Alarm

            self._alarm = Alarm(self._alerts, self, self._service())
            self._alarm.start()
        for spec in self._sinks:
            worker = self._workers[spec.name] = Worker(
                spec.name,
                partial(self._make, spec),
                self.dead_letters(spec.name),
                sieve=Sieve(spec.routes),
                guard=self._guard,
                passed=self._reclaim,
            )
            worker.attach(self.spool.cursor(spec.name), lambda: self.spool.accepted)
        for worker in self._workers.values():
            worker.start()
        sync = self._settings.sync
        every = 1.0 if isinstance(sync, str) else float(sync)
        jobs = [Job("sync", every, self.spool.sync), Job("segments", PREPARE_EVERY, self.spool.prepare)]
        jobs += [Job("adoption", ADOPT_EVERY, self._adopt)]
        if self._overrides is not None:
            jobs.append(Job("levels", LEVELS_EVERY, self._overrides.poll))
        if (service := self._service()) is not None:
            self._status = StatusFile(service, create=bool(self._sources))
            self._began, self._last_error = time.time(), ("", 0.0)
            jobs.append(Job("status", STATUS_EVERY, self._tell_status))
        self._upkeep = Upkeep(jobs)
        self._upkeep.start()

    def _service(self) -> Path | None:
        """Return the service's directory; None when nothing is kept on disk."""
        path = self._settings.path
        return None if path is None else path / file_name(self._settings.service)

    def _tell_status(self) -> None:
        """Say how sinks and sources are, for whoever looks at the files."""
        status, service = self._status, self._service()
        if status is None or service is None or not self._running:
            return
        clean = getattr(self._builder.redactor, "clean_text", str)  # no exception's text takes a secret along
        sinks = {name: SinkTold(one.state, clean(one.error)[:500]) for name, one in self.states().items()}
        sources = {feeder.name: clean(feeder.error)[:500] for feeder in list(self._feeders)}
        errors = [f"{name}: {one.error}" for name, one in sinks.items() if one.error]
        errors += [f"{name}: {error}" for name, error in sources.items() if error]
        if errors and errors[-1] != self._last_error[0]:
            self._last_error = errors[-1], round(time.time())
        courier = self._settings.delivery == "courier"
        kind = "delivery process" if courier else "agent" if self._sources else "application"
        delivers = tuple(str(place.resolve()) for place in (service, *self._relay.served))
        told = Told(
            os.getpid(), kind, self._began, delivers, sinks, sources, *self._last_error, self.unparsed()
        )
        status.tell(told)

    def _counting(self, _options: object, _context: SinkContext) -> Sink:
        """Return the sink that counts for the alerts."""
        assert self._alarm is not None  # made before the workers
        return self._alarm.counting

    def _make(self, spec: SinkSpec) -> Sink:
        return spec.kind.build(spec.options, SinkContext(spec.name, self._schema, self._settings.path))

    def dead_letters(self, sink: str) -> DeadLetters:
        """Return the dead letters of a sink."""
        return DeadLetters(dead_letter_directory(self._settings), sink, self._dead_letter_bytes)

    def _feed(self, *, once: bool) -> list[Feeder]:
        for spec in self._sources:
            context = SourceContext(
                spec.name,
                spec.builder,
                self.spool.appender(spec.name),
                self._settings.path,
                self._relay,
                WorkerSettlement(self._workers, lambda: self._looked),
            )
            source = spec.kind.build(spec.options, context)
            alone = partial(sole_reader, self._service() if spec.kind.sole else None, spec.name)
            self._feeders.append(
                Feeder(spec.name, source, once=once, alone=alone, waited=self.spool.look_again)
            )
        for feeder in self._feeders:
            feeder.thread.start()
        return self._feeders

    def read_sources_once(self) -> dict[str, str]:
        """Read every source to its present end, after `start(sources=False)`; return the errors by source."""
        feeders = dict(zip((spec.name for spec in self._sources), self._feed(once=True), strict=True))
        for feeder in feeders.values():
            feeder.thread.join()
        self._feeders = []
        return {name: feeder.error for name, feeder in feeders.items() if feeder.error}

    def _adopt(self) -> None:
        """Take over what dead processes left, report the deaths, and put away what is drained."""
        spools = self._set
        if spools is None:
            return
        with self._guard:
            if not self.running:
                return  # what is locked now would stay locked
            found = spools.adopt()
            for adopted in found:
                adopted.told = False  # before anybody else may put it away
        for adopted in found:
            adopted.told = adopted.death is None or (adopted.directory / "reported").exists()
            if not self._running:
                return  # the next process begins with it again
            with self._guard:
                for name, worker in self._workers.items():
                    worker.attach(adopted.cursor(name))
        self._looked = not spools.more
        # Only now: a full spool takes no notice, and has room again when what was adopted is delivered.
        for adopted in spools.adopted:
            if not adopted.told and self._running:
                self._report(adopted)
        self._reclaim()

    def _reclaim(self) -> None:
        """Delete what all sinks have passed."""
        spools = self._set
        if spools is not None:
            with self._guard:
                spools.reclaim(list(self._workers))

    def _report(self, adopted: AdoptedSpool) -> None:
        """Tell the death, once however often the spool changes hands, as soon as there is room for it.

        Twice, if this process is killed before it is noted: rather so than never.
        """
        with self._guard:
            drained = adopted.is_drained(self._workers)
        if adopted.death is not None and self._relay.tell(*death_notice(adopted.death), frees=drained):
            adopted.told = True
            with suppress(OSError):  # a full disk: it would be told again and again, and never be put away
                (adopted.directory / "reported").touch(mode=0o600)

    def _tell_level(self, logger: str, level: int, until: float | None) -> None:
        """Say in the log stream that somebody changed a logger's level, or that it is as before."""
        event = level_notice(self._builder, logger, level, until)
        # What sources have read is given up for nothing.
        (self.spool.tell if self._sources else self.spool.offer)(event)

    # ── what is asked from outside ──

    @property
    def looked(self) -> bool:
        """Whether it has taken over what dead processes left: from then on `flush` speaks of that, too."""
        return self._looked

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything accepted before this call is settled at every sink; False: not in time.

        `timeout` is seconds (default: `shutdown_timeout`). Settled: delivered, dead-lettered, filtered or
        dropped.
        """
        deadline = time.monotonic() + (self.shutdown_timeout if timeout is None else timeout)
        tickets = [worker.flush() for worker in list(self._workers.values())]
        return all(t.settled.wait(max(0.0, deadline - time.monotonic())) for t in tickets)

    def shutdown(self, timeout: float | None = None) -> bool:
        """Stop the sources, deliver what there is, stop; True when nothing is left waiting.

        Takes at most `timeout` seconds (default: `shutdown_timeout`) and a little. Further calls do nothing.
        """
        with self._lock:
            if not self._running:
                return True
            self._running = False
            if self._door.stale:  # a child that has logged nothing: everything is its parent's
                return True
        deadline = time.monotonic() + (self.shutdown_timeout if timeout is None else timeout)
        try:
            ended = self._stop(deadline)
        finally:  # also when a Ctrl-C ends the wait: the end is orderly, what is left waits in the spool
            if self.spool.successor is None and self._settings.path is not None:
                self.spool.successor = Spool(self._settings, late=True)
            self.spool.close()
        self._final = self.accounts()
        # of other processes' spools nothing is said: they deliver them, and are not late
        pending = sum(cursor.account().pending for w in self._workers.values() for cursor in w.cursors())
        if ended:
            self._put_away()
        else:  # a thread that hangs may still use them
            self._put_away_later()
        if pending:
            kept = "waits in the spool" if self._settings.path else "is lost: the spool is in memory"
            say("WARNING", f"{pending} events were not delivered in time; what is left {kept}")
        return ended and not pending

    def succeed(self, other: Any) -> None:
        """Take what is offered to `other`, and what its sources append, once that is shut down."""
        other.spool.successor = self.outlet
        other.spool.heir = self.spool

    def leave(self, seconds: float, sources: float = 0.0) -> bool:
        """Stop as soon as each worker is done with the batch in its hands; what is left is for others.

        `sources`: so many seconds are theirs to end, while the workers still make room for them. True when
        all workers ended within `seconds`; one that hangs keeps what it holds until it ends.
        """
        with self._lock:
            if not self._running:
                return True
            self._running = False
        self._stop_sources(time.monotonic() + sources)
        ended = self._stop(time.monotonic(), seconds)
        self.spool.close()
        if ended:
            self._put_away()
        else:
            self._put_away_later()
        return ended

    def _stop(self, deadline: float, grace: float = GRACE) -> bool:
        """End all threads; False when one hangs."""
        self._stop_sources(deadline)
        if self._upkeep is not None:
            self._upkeep.stop(GRACE)
        if self._overrides is not None:
            self._overrides.close()
        for worker in self._workers.values():
            worker.stop(deadline - time.monotonic())
        if self._alarm is not None:
            self._alarm.stop(GRACE)
        ended = [w.join(deadline + grace - time.monotonic()) for w in self._workers.values()]
        if self._health is not None:
            self._health.close()
        if self._status is not None:
            self._status.close()
        return all(ended)

    def _stop_sources(self, deadline: float) -> None:
        for feeder in self._feeders:
            feeder.stop()
        for feeder in self._feeders:
            feeder.thread.join(max(0.0, deadline - time.monotonic()))

    def _put_away(self) -> None:
        """Delete what is drained, and let others have the rest."""
        if self._set is not None:
            with self._guard:
                self._set.reclaim(list(self._workers))
                for worker in self._workers.values():
                    worker.close_cursors()
                self._set.close()
        with self._guard:
            self._relay.close()

    def _put_away_later(self) -> None:
        """Put away when the last thread that hung has ended: this process may live on, and start another."""
        workers = list(self._workers.values())

        def wait() -> None:
            suppress_thread()
            for worker in workers:
                worker.wait()
            self._put_away()

        with suppress(RuntimeError):  # no thread starts while the interpreter ends; the locks end with it
            threading.Thread(target=wait, name="logferry-last", daemon=True).start()

    def accounts(self) -> dict[str, Account]:
        """Return the books by sink over all spools of the service; after `shutdown` as they were then."""
        if self._final is not None:
            return self._final
        names = [spec.name for spec in self._sinks]
        spools = self._set or SpoolSet(self._settings, self.spool)
        with self._guard:
            total = spools.accounts(names)
            self._relay.add_accounts(total, (self._settings.path, self._settings.service))
            return total

    def states(self) -> dict[str, SinkState]:
        """Return how each sink is."""
        return {name: worker.state() for name, worker in list(self._workers.items())}

    def unparsed(self) -> dict[str, int]:
        """Return by source how many lines were not of its format since the pipeline was made."""
        builders = [(spec.name, spec.builder) for spec in self._sources]
        return {name: one.unparsed for name, one in builders if isinstance(one, SourceBuilder)}

    def stopped_threads(self) -> list[str]:
        """Return the names of threads that should run and don't."""
        if not self._running or self._door.stale:
            return []
        stopped = [f"logferry-{name}" for name, worker in self._workers.items() if not worker.alive]
        return stopped if self._upkeep is None or self._upkeep.alive else [*stopped, "logferry-upkeep"]

    # ── forks ──

    def _forked(self) -> None:
        """Forget, in the child, what runs only in the parent."""
        if self._health is not None:
            self._health.release()
        if self._status is not None:
            self._status.release()
        self._clear()
        self._door.stale = self._running

    def _revive(self) -> None:
        """Start the child's own workers, once; whoever comes second goes on."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._door.stale:
                self._door.stale = False
                self._begin()
                end_with_multiprocessing(self)
        except RuntimeError as error:  # no thread can be started: the interpreter is ending
            say("WARNING", f"delivery does not start in this process: {error}")
        finally:
            self._lock.release()


_all: weakref.WeakSet[Pipeline] = weakref.WeakSet()


def _after_fork() -> None:
    for pipeline in list(_all):
        pipeline._forked()  # noqa: SLF001 - the module's own hook


os.register_at_fork(after_in_child=_after_fork)
