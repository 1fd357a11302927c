"""The threads: one that evaluates, and one for each receiver, so that none waits for another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from ...handlers.forward import suppress_thread
from ..diagnostics import say
from ..moment import moment
from ..spool.private import open_private, replace_file
from .conditions import Alert, Conditions
from .counting import Counting
from .groups import Groups, Notice
from .readings import Observed, Readings
from .receivers import send
from .rules import AlertPlan, Receiver

__all__ = ["FILE", "Alarm", "read_firing"]

FILE: Final = "alerts.json"

Send = Callable[[Notice, Receiver, AlertPlan], str]


class Alarm:
    """All of it for one pipeline. `counting` is its sink; `directory` the service's, where state is kept."""

    def __init__(
        self,
        plan: AlertPlan,
        observed: Observed,
        directory: Path | None,
        *,
        now: Callable[[], float] = time.time,
        sending: Send = send,
    ) -> None:
        self._plan, self._now, self._directory = plan, now, directory
        self.counting = Counting(now)
        self._readings = Readings(plan, self.counting, observed, now)
        self._conditions = Conditions()
        self._tellers = [_Teller(receiver, plan, sending, now, self._save) for receiver in plan.receivers]
        self._written = b""
        self._writing = threading.Lock()
        self._ended = False
        self._before: tuple[Alert, ...] = ()
        self._stopping = threading.Event()
        self._load()
        self._thread = threading.Thread(target=self._run, name="logferry-alerts", daemon=True)

    def start(self) -> None:
        """Start all threads; before the workers, or what these drop at once would not be seen."""
        with suppress(OSError):
            self._readings.begin()
        for teller in self._tellers:
            teller.start()
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End within `seconds`; a receiver that hangs is left behind. What was not told is told next time."""
        self._stopping.set()
        for teller in self._tellers:
            teller.stop()
        deadline = time.monotonic() + seconds
        for thread in (self._thread, *(teller.thread for teller in self._tellers)):
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        self._save()
        # Who goes on from here (after a reload) writes that file now, and no receiver that was left behind.
        with self._writing:
            self._ended = True

    def _run(self) -> None:
        suppress_thread()
        while not self._stopping.wait(self._plan.every):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - the next look may be better; no delivery waits for it
                say("ERROR", f"alerts: {type(error).__name__}: {error}", "alerts")

    def look(self) -> None:
        """Evaluate once, and have the receivers told."""
        now = self._now()
        firing = self._conditions.step(self._readings.look(self._before), now)
        for teller in self._tellers:
            teller.take(firing, now)
        self._save()

    # ── what is kept ──

    def _load(self) -> None:
        if self._directory is None:
            return
        with suppress(OSError, msgspec.MsgspecError):
            kept = _KEPT.decode((self._directory / FILE).read_bytes())
            self._conditions.load(bytes(kept.conditions))
            self._before = tuple(self._conditions.firing().values())
            self.counting.load(kept.heard)
            for teller in self._tellers:
                if (raw := kept.told.get(teller.receiver.name)) is not None:
                    teller.groups.load(bytes(raw))

    def _save(self) -> None:
        if self._directory is None:
            return
        with self._writing, suppress(OSError):  # a full disk: alerts go on, and a restart may tell twice
            if self._ended:
                return
            told = {teller.receiver.name: msgspec.Raw(teller.dump()) for teller in self._tellers}
            conditions = msgspec.Raw(msgspec.json.encode(self._conditions.dump()))
            text = msgspec.json.encode(_Kept(conditions, told, self.counting.dump()))
            if text == self._written:
                return
            fd = open_private(self._directory)
            with moment(fd):
                replace_file(fd, FILE, text, durable=False)
            self._written = text


class _Kept(msgspec.Struct):
    conditions: msgspec.Raw
    told: dict[str, msgspec.Raw] = {}
    heard: dict[str, str] = {}


_KEPT: Final = msgspec.json.Decoder(_Kept)


class _Firing(msgspec.Struct):
    firing: bool
    alert: Alert


class _KeptConditions(msgspec.Struct):
    conditions: dict[str, _Firing]


_KEPT_CONDITIONS: Final = msgspec.json.Decoder(_KeptConditions)


def read_firing(directory: Path) -> list[tuple[Alert, bool]]:
    """Return the alerts that a service's agent has, each with whether it fires already. Raises nothing."""
    try:
        kept = _KEPT_CONDITIONS.decode((directory / FILE).read_bytes())
    except (OSError, msgspec.MsgspecError):
        return []
    return [(state.alert, state.firing) for state in kept.conditions.values()]


class _Teller:
    """One receiver, in a thread of its own."""

    def __init__(
        self,
        receiver: Receiver,
        plan: AlertPlan,
        sending: Send,
        now: Callable[[], float],
        told: Callable[[], None],
    ) -> None:
        self.receiver = receiver
        self._told = told
        self._plan, self._send, self._now = plan, sending, now
        wait, interval = plan.group_wait, plan.group_interval
        self.groups = Groups(plan.group_by, wait=wait, interval=interval, repeat=plan.repeat)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self.thread = threading.Thread(target=self._run, name=f"logferry-alerts-{receiver.name}", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()

    def dump(self) -> bytes:
        with self._lock:
            return msgspec.json.encode(self.groups.dump())

    def take(self, firing: Mapping[str, Alert], now: float) -> None:
        """Hear what fires; whatever is for somebody else is left out."""
        name = self.receiver.name
        mine = {known: alert for known, alert in firing.items() if not alert.to or name in alert.to}
        with self._lock:
            self.groups.update(mine, now)
        self._wake.set()

    def _run(self) -> None:
        suppress_thread()
        while not self._stopping:
            self._wake.wait(1.0)
            self._wake.clear()
            if not self._stopping:
                self._tell()

    def _tell(self) -> None:
        with self._lock:
            notices = self.groups.take(self._now())
        for notice in notices:
            wrong = self._try(notice)
            with self._lock:
                if not wrong:
                    self.groups.sent(notice, self._now())
                else:
                    pause = self.groups.failed(notice, self._now())
            if not wrong:
                self._told()  # at once: who is killed now must know that there is a recovery to tell
                continue
            text = f"alerts: {self.receiver.name} was not told, and will be in {pause:.0f} s: {wrong}"
            say("WARNING", text, f"alerts {self.receiver.name}")

    def _try(self, notice: Notice) -> str:
        try:
            return self._send(notice, self.receiver, self._plan)
        except Exception as error:  # noqa: BLE001 - the thread must live on
            return type(error).__name__
