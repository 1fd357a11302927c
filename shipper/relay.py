"""What a `spool` source may do with its pipeline: hand whole spools to the workers (`ports.Relay`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ..handlers.record import EventBuilder
from .model import Account
from .ports import Cursor
from .spool import Spool, SpoolSet, SpoolSettings
from .spool.directory import file_name
from .worker import Worker

__all__ = ["WorkerRelay"]


class WorkerRelay:
    """A `Relay` over workers by sink. `spool` takes notices."""

    def __init__(
        self,
        workers: Mapping[str, Worker],
        guard: AbstractContextManager[Any],
        builder: EventBuilder,
        spool: Spool,
    ) -> None:
        self._workers = workers
        self._guard = guard
        self._builder = builder
        self._spool = spool
        self._served: dict[tuple[Path, str], None] = {}
        self._ends: list[Callable[[], None]] = []

    @property
    def sinks(self) -> Sequence[str]:
        """The names of the sinks."""
        return list(self._workers)

    @property
    def guard(self) -> AbstractContextManager[Any]:
        """Held while cursors are touched."""
        return self._guard

    def attach(self, sink: str, cursor: Cursor, *, growing: bool) -> None:
        """Deliver from this cursor too."""
        self._workers[sink].attach(cursor, growing=growing)

    @property
    def served(self) -> Sequence[Path]:
        """The directories of the services that are served."""
        return [path / file_name(service) for path, service in list(self._served)]

    def serve(self, path: Path, service: str) -> None:
        """Count the spools of `service` under `path` in the accounts."""
        self._served[path, service] = None

    def tell(self, message: str, fields: Mapping[str, object], *, frees: bool = False) -> bool:
        """Put a notice into the log stream; False: not now. `frees`: it makes more room than it takes."""
        event = self._builder.compose(level="ERROR", message=message, logger="logferry.death", fields=fields)
        return self._spool.tell(event, frees=frees)

    def at_end(self, close: Callable[[], None]) -> None:
        """Call `close` when the workers have ended."""
        self._ends.append(close)

    def close(self) -> None:
        """Let go of what sources hold, after the workers have ended."""
        while self._ends:
            self._ends.pop()()

    def add_accounts(self, total: Mapping[str, Account], own: tuple[Path | None, str]) -> None:
        """Add the books of the services that are served beside the pipeline's `own` one."""
        for path, service in list(self._served):
            if (path, service) != own:
                for sink, account in _books(path, service, total).items():
                    total[sink].add(account)


def _books(path: Path, service: str, sinks: Iterable[str]) -> dict[str, Account]:
    return SpoolSet(SpoolSettings(path, service)).accounts(list(sinks))
