"""Spools of other processes, read as they are: what applications with `delivery: agent` leave to an agent.

Nothing is copied: the agent's sinks read each spool with a cursor of their own, and an event keeps its id.
Owners that died are adopted, and their deaths told. `delivery: process` is the same source, for one service,
in a process of its own (`shipper/courier`).

Rules
- One reader for a service and a path (`spool/claim.py`): an agent that finds another one at work waits.
- `run` looks for new spools and for deaths four times a second; a service that appears later is found then.
- What cannot be trusted (a link, another user's directory that its group does not share with us) is said once
  and left alone.
- The death of an application is told when all that it wrote is being delivered, once however often the spool
  changes hands.
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..config.fields import setting
from ..diagnostics import say
from ..notices import death_notice
from ..ports import Relay, SourceContext, SourceKind
from ..spool.claim import Claim
from ..spool.directory import file_name, is_directory, name_of
from ..spool.left import LeftSpool, LeftSpools, trusted
from ..spool.settings import SpoolSettings
from .errors import SourceError

__all__ = ["LOOK", "SOURCE", "SpoolSource", "SpoolSourceConfig"]

LOOK: Final = 0.25
"""Seconds between two looks for new spools and for deaths."""


@dataclass(frozen=True, slots=True)
class SpoolSourceConfig:
    """Which spools are read."""

    path: Path = setting(
        help="the directory that the applications have as spool.path", example="/var/lib/logferry"
    )
    services: tuple[str, ...] = setting((), help="only these services; empty: every one")


@dataclass(slots=True)
class SpoolSource:
    """Hands the spools under a path to the workers. `run` in one thread, `stop` from any."""

    config: SpoolSourceConfig
    context: SourceContext
    _served: dict[str, LeftSpools] = field(default_factory=dict)
    looked: bool = field(default=False, init=False)
    """Whether `living` and `untold` say something: the spools were looked at."""
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def living(self) -> int:
        """How many owners of spools that are read here live."""
        return sum(spools.living for spools in list(self._served.values()))

    @property
    def untold(self) -> int:
        """How many owners have died whose death is yet to be told."""
        return sum(spools.untold for spools in list(self._served.values()))

    def serve(self, service: str, claim: Claim) -> None:
        """Read the spools of `service`, whose claim this process holds already."""
        relay = self._relay()
        self._served[service] = LeftSpools(SpoolSettings(self.config.path, service), claim)
        relay.serve(self.config.path, service)

    def run(self, *, once: bool) -> None:
        """Read until `stop()`; with `once` only hand over what there is now."""
        relay = self._relay()
        relay.at_end(self._close)
        while not self._stop.is_set():
            self._find()
            for spools in self._served.values():
                self._look_after(relay, spools)
            self.looked = True
            if once:
                return
            self._stop.wait(LOOK)

    def stop(self) -> None:
        """Ask `run` to return soon."""
        self._stop.set()

    def _relay(self) -> Relay:
        if self.context.relay is None:
            raise SourceError("the source spool needs workers that take whole spools")
        return self.context.relay

    def _close(self) -> None:
        for spools in self._served.values():
            spools.close()
        self._served.clear()

    def _find(self) -> None:
        """Claim the services that are there and not claimed yet."""
        base = self.config.path
        if not base.exists():
            return
        if not trusted(base, root_allowed=True):
            say("ERROR", f"{base} is a link, or another user's and not shared by its group: it is not read")
            return
        wanted = {file_name(service) for service in self.config.services}
        for directory in sorted(base.iterdir()):
            service = name_of(directory.name)
            if service in self._served or (wanted and directory.name not in wanted):
                continue
            if not directory.name.startswith(".") and is_directory(directory):
                if not trusted(directory):
                    say(
                        "WARNING",
                        f"{directory} is another user's and not shared by its group: it is not read",
                    )
                elif claim := Claim.take(directory):
                    self.serve(service, claim)

    def _look_after(self, relay: Relay, spools: LeftSpools) -> None:
        with relay.guard:
            fresh = spools.meet(relay.sinks)
            for spool in fresh:
                for sink in relay.sinks:
                    relay.attach(sink, spool.cursor(sink), growing=True)
        for spool in spools.held:
            if not spool.live and not spool.told and self._tell(relay, spool):
                spool.told = True
        with relay.guard:
            spools.reclaim(relay.sinks)

    def _tell(self, relay: Relay, spool: LeftSpool) -> bool:
        """Tell the owner's death, if it was one; False: not now."""
        death, marks = spool.death, self._marks(spool)
        if death is None or any(mark.exists() for mark in marks):
            return True
        with relay.guard:
            drained = spool.is_drained(relay.sinks)
        if not relay.tell(*death_notice(death, service=True), frees=drained):
            return False
        for mark in marks:
            with suppress(OSError):
                mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                mark.touch(mode=0o600)
                break
        return True

    def _marks(self, spool: LeftSpool) -> list[Path]:
        """Where it is noted that a death was told: in the spool, or with us where that is another user's."""
        state = self.context.state_dir
        elsewhere = [state / "told" / spool.id] if state is not None and spool.foreign else []
        return [*elsewhere, spool.directory / "reported"]


def _build(config: SpoolSourceConfig, context: SourceContext, /) -> SpoolSource:
    return SpoolSource(config, context)


SOURCE: Final = SourceKind("spool", SpoolSourceConfig, _build)
