"""The application's side of a delivery process: it is there when it is needed.

Rules
- Several workers look at the same time: one of them starts it, under a lock that nobody waits for.
- A process that dies again and again is started ever more slowly, up to once a minute.
- One with another configuration is replaced, if ours was loaded later.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..diagnostics import say
from ..spool.claim import delivery_is_claimed
from .board import Board, Notice
from .launch import BUSY, launch

__all__ = ["Keeper"]

_FIRST: Final = 0.5  # seconds after a start before the next one is tried
_LONGEST: Final = 60.0
_SOUND: Final = 30.0  # seconds of life after which a start was no failure


class Keeper:
    """Looks after the delivery process of the service whose directory is `service`.

    `job` is what a new process is given, `mine` who would start it.
    """

    def __init__(
        self,
        service: Path,
        job: Mapping[str, Any],
        mine: Notice,
        *,
        start: Callable[[Mapping[str, Any]], int] = launch,
    ) -> None:
        self._service = service
        self._job = job
        self._mine = mine
        self._start = start
        self._board = Board(service)
        self._wait = _FIRST
        self._not_before = 0.0
        self._started = 0.0

    def look(self, now: float) -> None:
        """See that a process delivers, with the newest configuration. `now` is monotonic; raises nothing."""
        claimed = delivery_is_claimed(self._service)
        replace = claimed and self._is_older(self._board.read())
        if claimed and not replace:
            if now - self._started >= _SOUND:
                self._wait = _FIRST
            return
        self._reap()
        if now >= self._not_before:
            self._try(now, takeover=replace)

    def _is_older(self, other: Notice | None) -> bool:
        return other is not None and other.gives_way_to(self._mine)

    def _try(self, now: float, *, takeover: bool) -> None:
        try:
            lock = os.open(self._service, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._started, self._not_before = now, now + self._wait
            self._wait = min(_LONGEST, self._wait * 2)
            status = self._start({**self._job, "takeover": takeover})
            if status not in (0, BUSY):
                self._say(f"ended with status {status}")
        except BlockingIOError:
            return  # another worker is at it
        except OSError as error:
            self._say(str(error))
        finally:
            os.close(lock)

    def _say(self, what: str) -> None:
        log = self._service / "delivery.log"
        say("ERROR", f"delivery process: {what}; records wait in the spool (see {log})", "delivery process")

    def _reap(self) -> None:
        """Take the exit status of a process that has become our child because we are the first one."""
        notice = self._board.read() if os.getpid() == 1 else None
        if notice is not None and notice.pid > 1:
            with suppress(OSError):
                os.waitpid(notice.pid, os.WNOHANG)
