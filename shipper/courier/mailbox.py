"""What stands in an application in the place of a pipeline when another process delivers: it only appends.

Rules
- A log call is a copy into the spool. There is no sink here, none of their clients is imported, and there is
  one thread: the upkeep, for what no other process can do. It makes segments ahead of the log calls, bounds
  what a power cut can take (`sync`), goes back to the disk when that has room again, gives up what is too
  old, and sees that a delivery process is there.
- The first record of the process wakes it, so that delivery begins at once; a forked child's starts its own.
- `flush` reads the books of whoever delivers. With an agent the sinks are the agent's: those that have a
  cursor.
- `shutdown` closes the spool and does not wait for the sinks: delivery goes on without this process. Only the
  first process of a container waits, because the delivery process dies with it; and who names a time-out.
- What is offered afterwards goes into a late spool, which is delivered like any other.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..diagnostics import say
from ..door import Door
from ..endings import end_with_multiprocessing
from ..model import Account
from ..notices import level_notice
from ..overrides import Overrides
from ..spool import Spool, SpoolSet
from ..spool.audit import NO_SINK
from ..spool.books import read_books
from ..spool.claim import delivery_is_claimed
from ..spool.directory import Home, file_name, name_of
from ..spool.left import sweep
from ..upkeep import PREPARE_EVERY, Job, Upkeep
from .board import Board
from .keeper import Keeper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ...handlers.outlet import Outlet
    from ..health import HealthServer
    from ..plan import Plan
    from ..worker import SinkState
    from .board import Notice

__all__ = ["Mailbox"]

_EVERY = 1.0  # seconds between two looks at the delivery process, the levels and what others have read
_GRACE = 0.2


class Mailbox:
    """The running thing of a process that only appends.

    `job` is what a delivery process is to do, `mine` who would start it; without them an agent delivers.
    """

    def __init__(self, plan: Plan, job: Mapping[str, Any] | None = None, mine: Notice | None = None) -> None:
        assert plan.spool.path is not None  # checked with the configuration
        self._plan = plan
        self._service: Path = plan.spool.path / file_name(plan.spool.service)
        self._job, self._mine = job, mine
        self._board = Board(self._service)
        self.shutdown_timeout = plan.shutdown_timeout
        self.spool = Spool(plan.spool)
        self._door = Door(self.spool, self._begin_once)
        self._overrides = Overrides(plan.spool.path, plan.spool.service, self._tell_level)
        self._running = False
        self.end: Callable[[], object] = self.shutdown  # what ends it where a process ends past `atexit`
        self._clear()
        _all.add(self)

    def _clear(self) -> None:
        self._lock = threading.RLock()
        self._upkeep: Upkeep | None = None
        self._health: HealthServer | None = None
        self._keeper = Keeper(self._service, self._job, self._mine) if self._job and self._mine else None

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

    def start(self) -> None:
        """Start the upkeep. Raises OSError when the metrics' address cannot be had."""
        with self._lock:
            if self._running:
                return
            if self._plan.metrics_listen is not None:
                from ..health import HealthServer

                self._health = HealthServer(self._plan.metrics_listen, self)
            self._running = True
            self._begin()
            end_with_multiprocessing(self)
            self._door.stale = True  # the first record wakes the upkeep

    def succeed(self, other: Any) -> None:
        """Take what is offered to `other` once that is shut down."""
        other.spool.successor = self.outlet

    def _begin(self) -> None:
        sync = self._plan.spool.sync
        self._upkeep = Upkeep(
            [
                Job("delivery", _EVERY, self._look),
                Job("sync", 1.0 if isinstance(sync, str) else float(sync), self.spool.sync),
                Job("segments", PREPARE_EVERY, self.spool.prepare),
                Job("levels", _EVERY, self._overrides.poll),
                Job("sweep", _EVERY, self._sweep),
            ]
        )
        self._upkeep.start()

    def _begin_once(self) -> None:
        """At the first record: wake the upkeep, or start that of a forked child."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._door.stale and self._running:
                self._door.stale = False
                if self._upkeep is None:
                    self._begin()
                    end_with_multiprocessing(self)
                else:
                    self._upkeep.wake()
        except RuntimeError as error:  # no thread can be started: the interpreter is ending
            say("WARNING", f"upkeep does not start in this process: {error}")
        finally:
            self._lock.release()

    def _look(self) -> None:
        if self._keeper is not None and self.spool.accepted and self.spool.home.dir_fd >= 0:
            self._keeper.look(time.monotonic())

    def _sweep(self) -> None:
        sweep(self.spool, siblings=self._keeper is None)

    def _tell_level(self, logger: str, level: int, until: float | None) -> None:
        """Say in the log stream that somebody changed a logger's level, or that it is as before."""
        self.spool.offer(level_notice(self._plan.builder, logger, level, until))

    # ── what is asked from outside ──

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything accepted before this call is settled at every sink; False: not in time."""
        seconds = self.shutdown_timeout if timeout is None else timeout
        if self._upkeep is not None:
            self._upkeep.wake()
        return self._settled_within(self.spool.accepted, self.spool.home.path, seconds)

    def shutdown(self, timeout: float | None = None) -> bool:
        """Close the spool; True when all that was in it is settled.

        Waits for that `timeout` seconds; without one not at all, unless this is a container's first process.
        """
        with self._lock:
            if not self._running:
                return True
            self._running = False
        if self._upkeep is not None:
            self._upkeep.stop(_GRACE)
        self._overrides.close()
        target, path = self.spool.accepted, self.spool.home.path
        try:
            self._look()  # a process that logged for a moment only
        finally:
            if self.spool.successor is None:
                self.spool.successor = Spool(self._plan.spool, late=True)
            self.spool.close()
        if self._health is not None:
            self._health.close()
        seconds = timeout if timeout is not None else self.shutdown_timeout if os.getpid() == 1 else 0.0
        return self._settled_within(target, path, seconds)

    def _settled_within(self, target: int, path: Path, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        pause = 0.005
        while not self._settled(target, path):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(0.05, pause * 1.5)
        return True

    def _settled(self, target: int, path: Path) -> bool:
        """Say whether the books of all sinks are past `target`; a spool that is gone was drained."""
        if not target:
            return True
        try:
            home = Home.view(path)
        except FileNotFoundError:
            return path.parent == self._service  # else it never had a directory: it is in memory
        except OSError:
            return False
        try:
            names = [file_name(sink) for sink in self._names(path)]
            books = [read_books(home, name) for name in names]
            return bool(books) and all(one is not None and one.sequence > target for one in books)
        finally:
            home.close()

    def _names(self, path: Path) -> Sequence[str]:
        """Return the names of the sinks: ours, or those of the agent, as the spool shows them."""
        if self._keeper is not None:
            return [spec.name for spec in self._plan.sinks]
        with suppress(OSError):
            return sorted(name_of(entry.name) for entry in (path / "cursors").iterdir())
        return []

    def accounts(self) -> dict[str, Account]:
        """Return the books by sink over all spools of the service."""
        names = self._names(self.spool.home.path) or [NO_SINK]  # as `audit` calls what nobody has read yet
        return SpoolSet(self._plan.spool).accounts(names)

    def states(self) -> dict[str, SinkState]:
        """Return how each sink is, as the delivery process says; of an agent's sinks the agent tells."""
        from ..worker import SinkState

        if self._keeper is None:
            return {}
        if delivery_is_claimed(self._service):
            notice = self._board.read()
            known = notice.sinks if notice else {}
            return {
                name: SinkState(one.state, one.error, one.lag)  # type: ignore[arg-type]
                for name, one in known.items()
            }
        waiting = SinkState("retrying", "no delivery process is at work")
        return {name: waiting for name, account in self.accounts().items() if account.pending}

    def unparsed(self) -> dict[str, int]:
        """Return nothing: an application that hands over has no sources."""
        return {}

    def stopped_threads(self) -> list[str]:
        """Return the names of threads that should run and don't."""
        gone = self._running and self._upkeep is not None and not self._upkeep.alive
        return ["logferry-upkeep"] if gone else []

    def _forked(self) -> None:
        """Forget, in the child, what runs only in the parent."""
        if self._health is not None:
            self._health.release()
        self._clear()
        self._door.stale = self._running


_all: weakref.WeakSet[Mailbox] = weakref.WeakSet()


def _after_fork() -> None:
    for mailbox in list(_all):
        mailbox._forked()  # noqa: SLF001 - the module's own hook


os.register_at_fork(after_in_child=_after_fork)
