"""The pipelines of a machine as their files show them: what `logferry top` draws. Read-only.

Applications, delivery processes and agents leave the same files: spools with their cursors, the ledger, dead
letters, and what each pipeline says of itself (`status.py`, `courier/board.py`). So they look alike here, and
none of them is asked.

Rules

- Of a spool only what was appended since the last look is read, and of what is pending the first line.
- Figures of drained spools come from the ledger: sums over both never fall.
- A spool that is folded into the ledger while it is looked at counts once, as in `spool/spoolset.py`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import time as wall_clock
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec

from .core.framing import MANY, POSITIONS, SHUTDOWN, split_prefix
from .core.sift import event_time
from .core.tail import decode
from .courier.board import Board
from .model import Account
from .spool.audit import NO_SINK
from .spool.books import Books, read_books
from .spool.claim import delivery_is_claimed
from .spool.directory import Home, file_name, is_directory, name_of, spool_directories
from .spool.ledger import read_ledger
from .spool.reader import Place, Reader
from .spool.scan import first_of, frames, last_of, positions_of
from .spool.segment import DATA
from .status import SinkTold, Told, read_told

__all__ = ["ProcessView", "ServiceView", "SinkView", "SourceView", "Watcher"]

_LINE: Final = 1 << 20
_Said: TypeAlias = tuple[Path, Told]
"""What a pipeline says, and in the directory of which service."""
_WORST: Final = ("paused", "retrying", "ok")


@dataclass(slots=True)
class SinkView:
    """One sink of a service. `oldest`: age in seconds of the oldest pending event; `letters`: their bytes."""

    name: str
    account: Account = field(default_factory=Account)
    oldest: float | None = None
    letters: int = 0
    state: str = ""
    error: str = ""


@dataclass(slots=True)
class SourceView:
    """One source. `events` since the first look; `behind`: bytes of its files that are not read.

    `unparsed`: lines that it has not understood, since those who read it began.
    """

    name: str
    parts: int = 0
    events: int = 0
    behind: int | None = None
    unparsed: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class ProcessView:
    """Who works for a service: an application, a delivery process or an agent."""

    pid: int
    kind: str
    started: float = 0.0


@dataclass(slots=True)
class ServiceView:
    """One service under one path."""

    service: str
    path: Path
    accepted: int = 0
    bytes: int = 0
    spools: int = 0
    living: int = 0
    processes: list[ProcessView] = field(default_factory=list)
    sources: dict[str, SourceView] = field(default_factory=dict)
    sinks: dict[str, SinkView] = field(default_factory=dict)
    last_error: str = ""
    last_error_at: float = 0.0


@dataclass(slots=True)
class _Scan:
    """How far a spool has been looked through."""

    segment: int
    offset: int
    last: int
    positions: dict[str, bytes]
    events: Counter[str] = field(default_factory=Counter)
    ended: bool = False


class Watcher:
    """Looks at the spools under some paths, again and again. `clock` is the wall clock.

    `sinks`: those that a service is configured to have; one that never took anything has no books yet.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        sinks: Mapping[str, Collection[str]] = MappingProxyType({}),
        *,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self._sinks = sinks
        self._paths = list(dict.fromkeys(path.resolve() for path in paths))
        self._clock = clock
        self._scans: dict[Path, _Scan] = {}

    def look(self) -> list[ServiceView]:
        """Return the services as they are now, in the order of paths and names."""
        directories: list[Path] = []
        for path in self._paths:
            with suppress(OSError):
                directories += sorted(entry for entry in path.iterdir() if is_directory(entry))
        told = [(directory, one) for directory in directories for one in read_told(directory)]
        seen: set[Path] = set()
        views = [self._service(directory, told, seen) for directory in directories]
        for gone in self._scans.keys() - seen:
            del self._scans[gone]
        for view in views:
            _add_told(view, told)
        return [view for view in views if view.spools or view.accepted or view.processes or view.sinks]

    def _service(self, directory: Path, told: Iterable[_Said], seen: set[Path]) -> ServiceView:
        view = ServiceView(name_of(directory.name), directory)
        spools = spool_directories(directory)
        ledger = read_ledger(directory)  # after the list: what is folded in between is in it
        folded = set(ledger.folded)
        for name, account in ledger.sinks.items():
            _sink(view, name).account.add(account)
        accepted = max((account.accepted for account in ledger.sinks.values()), default=0)
        # A sink that has committed nothing in a spool has no cursor file there: all of it is pending.
        names = {entry for spool in spools for entry in _cursors(spool)}
        names |= {file_name(name) for said in told if _is_about(said, directory) for name in said[1].sinks}
        names |= {file_name(name) for name in self._sinks.get(view.service, ())}
        names = names or {NO_SINK}
        for spool in spools:
            if spool.name in folded:
                continue
            with suppress(OSError):
                home = Home.view(spool)
                try:
                    accepted += self._spool(view, home, names)
                    seen.add(spool)
                finally:
                    home.close()
        view.accepted = accepted
        for letters in directory.glob("dead-letters/*.ndjson"):
            with suppress(OSError):
                _sink(view, name_of(letters.stem)).letters = letters.stat().st_size
        if len(view.sinks) > 1:
            view.sinks.pop(NO_SINK, None)
        return view

    def _spool(self, view: ServiceView, home: Home, names: Iterable[str]) -> int:
        scan = self._scan(home)
        alive = home.alive()
        view.spools += 1
        view.living += alive
        view.bytes += sum(_size(home, number) for number in home.numbers())
        # Whoever delivers says so itself. A spool that was adopted is in use, but not by its owner.
        if alive and home.owner.left_to_others and _exists(home.owner.pid):
            view.processes.append(ProcessView(home.owner.pid, "application", home.owner.started))
        books = {name: read_books(home, name) or Books() for name in names}
        given = max([scan.last, *(one.sequence - 1 for one in books.values())])
        for name, one in books.items():
            sink = _sink(view, name_of(name))
            account = one.account(given)
            sink.account.add(account)
            if account.pending:
                age = self._age(home, one, given)
                sink.oldest = max(sink.oldest or 0.0, age)
        for source, position in scan.positions.items():
            _add_position(view, source, position)
        for source, count in scan.events.items():
            _source(view, source).events += count
        return given

    def _scan(self, home: Home) -> _Scan:
        """Look through what was appended since the last time."""
        numbers = home.numbers()
        scan = self._scans.get(home.path)
        if scan is None:
            # The newest one in use: those behind it were made ahead.
            used = (number for number in reversed(numbers) if any(True for _ in frames(home, number)))
            newest = next(used, numbers[0] if numbers else 0)
            scan = _Scan(newest, DATA, last_of(home), positions_of(home))
            self._scans[home.path] = scan
            fresh = False  # what is there already is no news
        else:
            fresh = True
        for number in numbers:
            if number < scan.segment:
                continue
            start = scan.offset if number == scan.segment else DATA
            for found in frames(home, number, start):
                frame = found.frame
                scan.segment, scan.offset = number, found.base + frame.stop
                scan.last = max(scan.last, frame.sequence + frame.events - 1)
                scan.ended = frame.kind == SHUTDOWN
                payload = found.block[frame.start : frame.stop]
                if frame.kind in MANY and frame.prefix:
                    source, position = split_prefix(payload, frame.prefix)
                    scan.positions[source] = position
                    if fresh:
                        scan.events[source.partition("/")[0]] += frame.events
                elif frame.kind == POSITIONS and fresh:
                    scan.positions.update(msgspec.msgpack.decode(payload, type=dict[str, bytes]))
            scan.last = max(scan.last, first_of(home, number) - 1)
        scan.last = max([scan.last, *(gone.last for gone in home.evicted())])
        return scan

    def _age(self, home: Home, books: Books, given: int) -> float:
        """Return the age of the first event that a sink has not settled; 0.0 when it cannot be told."""
        reader = Reader(
            home, Place(books.segment, max(books.offset, DATA), books.sequence), last=lambda: given
        )
        try:
            _, lines = reader.read(1, _LINE)
            made = event_time(lines[0]) if lines else None
        except (OSError, ValueError, msgspec.MsgspecError):
            made = None
        finally:
            reader.close()
        return 0.0 if made is None else max(0.0, self._clock() - made)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return pid > 0


def _size(home: Home, number: int) -> int:
    segment = home.open(number)
    if segment is None:
        return 0
    try:
        return segment.size()
    finally:
        segment.close()


def _cursors(spool: Path) -> list[str]:
    with suppress(OSError):
        return [entry.name for entry in (spool / "cursors").iterdir()]
    return []


def _sink(view: ServiceView, name: str) -> SinkView:
    return view.sinks.setdefault(name, SinkView(name))


def _source(view: ServiceView, name: str) -> SourceView:
    return view.sources.setdefault(name, SourceView(name))


def _add_position(view: ServiceView, source: str, position: bytes) -> None:
    if not position:
        return
    found = _source(view, source.partition("/")[0])
    found.parts += 1
    for file in decode(position):
        if file.over or file.packed:  # no more of a file that grows
            continue
        with suppress(OSError):
            facts = Path(file.path).stat()
            if facts.st_ino == file.inode:
                found.behind = (found.behind or 0) + max(0, facts.st_size - file.offset)


def _is_about(said: _Said, directory: Path) -> bool:
    """Whether a pipeline delivers for a service: its own, wherever that is mounted, or one that it names."""
    return said[0] == directory or str(directory) in said[1].delivers


def _add_told(view: ServiceView, told: Iterable[_Said]) -> None:
    """Add what pipelines say that deliver for the service, and its delivery process."""
    states: dict[str, SinkTold] = {}
    for said in told:
        if not _is_about(said, view.path):
            continue
        home, one = said
        view.processes = [process for process in view.processes if process.pid != one.pid]
        view.processes.append(ProcessView(one.pid, one.kind, one.started))
        for name, sink in one.sinks.items():
            held = states.get(name)
            if held is None or _WORST.index(sink.state) < _WORST.index(held.state):
                states[name] = sink
        if home == view.path:
            for name, error in one.sources.items():
                if one.kind == "agent" or error:  # a delivery process has but one, of its own making
                    _source(view, name).error = error
            for name, lines in one.unparsed.items():
                _source(view, name).unparsed += lines
        if one.last_error_at > view.last_error_at:
            view.last_error, view.last_error_at = one.last_error, one.last_error_at
    _add_states(view, states)


def _add_states(view: ServiceView, states: dict[str, SinkTold]) -> None:
    """Say how each sink is, as those say who deliver to it; the board where nobody else does."""
    notice = Board(view.path).read() if not states and delivery_is_claimed(view.path) else None
    if notice is not None:
        states = {name: SinkTold(sink.state, sink.error) for name, sink in notice.sinks.items()}
        view.processes.append(ProcessView(notice.pid, "delivery process", notice.configured))
    for name, one in states.items():
        found = _sink(view, name)
        found.state, found.error = one.state, one.error
    for found in view.sinks.values():
        if not found.state:
            # Somebody delivers, but not to this one: it is not in the configuration any more.
            found.state = "removed" if states else "nobody delivers" if found.account.pending else "at rest"
