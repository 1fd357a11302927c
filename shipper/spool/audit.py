"""Checks the accounting identity against the files: frames are the truth, books are the claim. Read-only.

Works while owners live: what is appended between two looks is pending at most. A spool that is put away
meanwhile is half there and in the ledger already: the service is looked at again.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ..core.framing import SHUTDOWN
from ..model import Account
from .books import Books, given_out, read_books
from .directory import Home, Owner, file_name, is_directory, name_of, spool_directories
from .ledger import Ledger, damage, read_ledger
from .reader import FILTERED, LEFT_OUT, Place, Reader
from .scan import frames, last_of
from .segment import DATA

# The sink of an account whose spool no sink has read from yet.
NO_SINK = "-"
_LOOKS = 10  # at a service whose spools are put away while it is looked at

__all__ = ["NO_SINK", "AuditReport", "SpoolInfo", "Verified", "audit", "list_spools", "repair", "verify"]


@dataclass(slots=True)
class AuditReport:
    """`accounts` by (service, sink); `problems` are sentences; none means every record is accounted for."""

    accounts: dict[tuple[str, str], Account] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    spools: int = 0


@dataclass(frozen=True, slots=True)
class SpoolInfo:
    """One spool as `logferry spool ls` shows it. Bytes as allocated."""

    service: str
    id: str
    directory: Path
    owner: Owner
    alive: bool
    shut_down: bool
    segments: int
    bytes: int
    last_sequence: int
    cursors: dict[str, int]  # sink → last committed sequence


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify` and `repair` found in one spool."""

    spool: str
    frames: int
    events: int
    damaged: int  # stretches
    damaged_bytes: int
    missing: dict[str, int]  # events, by reason
    salvaged: tuple[Path, ...] = ()


def _services(path: Path, service: str | None) -> list[Path]:
    if not path.is_dir():
        return []
    found = [entry for entry in sorted(path.iterdir()) if is_directory(entry)]
    return [entry for entry in found if service is None or name_of(entry.name) == service]


def _cursor_names(directory: Path) -> list[str]:
    with suppress(OSError):
        return sorted(entry.name for entry in (directory / "cursors").iterdir())
    return []


def audit(
    path: Path, service: str | None = None, *, sinks: Mapping[str, Collection[str]] = MappingProxyType({})
) -> AuditReport:
    """Return each sink's account as the files prove it, and every way in which books and frames disagree.

    `sinks`: the sinks that a service is configured to have: those that never took anything have no books yet.
    """
    report = AuditReport(problems=_unusable(path))
    for directory in _services(path, service):
        name = name_of(directory.name)
        for _ in range(_LOOKS):
            ledger, found = read_ledger(directory), AuditReport()
            _audit_service(found, name, directory, ledger, sinks.get(name, ()))
            if read_ledger(directory) == ledger:
                break
        report.accounts |= found.accounts
        report.problems += found.problems
        report.spools += found.spools
    return report


def _audit_service(
    report: AuditReport, name: str, directory: Path, ledger: Ledger, sinks: Collection[str]
) -> None:
    if wrong := damage(directory):
        report.problems.append(f"{name}: {wrong}")
    for sink, account in ledger.sinks.items():
        report.accounts.setdefault((name, sink), Account()).add(account)
        if account.balance:
            report.problems.append(f"{name}: {sink}: the ledger is {account.balance:+d} events out")
    spools = [spool for spool in spool_directories(directory) if spool.name not in ledger.folded]
    # A sink that has committed nothing yet in a spool has no cursor file there: all of it is pending.
    names = {cursor for spool in spools for cursor in _cursor_names(spool)}
    names = (names | {file_name(sink) for sink in sinks}) or {NO_SINK}
    for spool in spools:
        with suppress(FileNotFoundError):
            _audit_spool(report, name, spool, sorted(names))


def _unusable(path: Path) -> list[str]:
    """Say why nothing under `path` could be looked at, or written by those who log here."""
    nearest = next(folder for folder in (path, *path.parents) if folder.exists())
    if not nearest.is_dir():
        return [f"{nearest} is no directory: what is logged is in memory only, and is not counted here"]
    wanted = os.R_OK | os.W_OK | os.X_OK if nearest != path else os.R_OK | os.X_OK
    if not os.access(nearest, wanted):
        return [f"{nearest}: permission denied: nothing under it can be counted"]
    return [
        f"{entry} is a link or not readable: it is not counted here"
        for entry in (path.iterdir() if path.is_dir() else ())
        if entry.is_symlink() or (is_directory(entry) and not os.access(entry, os.R_OK | os.X_OK))
    ]


def _audit_spool(report: AuditReport, service: str, directory: Path, sinks: Sequence[str]) -> None:
    home = Home.view(directory)
    report.spools += 1
    where = f"{service}/{home.id}"
    there = _cursor_names(directory)
    given = given_out(home)
    for name in sinks:
        sink = name_of(name)
        books = read_books(home, name) if name in there else Books()
        if books is None:
            report.problems.append(f"{where}: {sink}: neither slot of the cursor file is sound")
            continue
        place = Place(books.segment, max(books.offset, DATA), books.sequence)
        reader = Reader(home, place, last=lambda: given)
        pending = 0
        while True:
            _, lines = reader.read(10_000, 8 << 20)
            if not lines:
                break
            pending += len(lines)
        account = books.account(reader.next - 1)
        account.pending = pending
        for gap in reader.gaps:
            for reason, count in gap.reasons.items():
                target = account.filtered if reason in FILTERED else account.dropped
                target[reason] = target.get(reason, 0) + count
        reader.close()
        if account.balance:
            report.problems.append(
                f"{where}: {sink}: {account.balance:+d} events are unaccounted for "
                f"(accepted {account.accepted}, committed {books.sequence - 1}, pending {pending})"
            )
        report.accounts.setdefault((service, sink), Account()).add(account)
    home.close()


def list_spools(path: Path) -> list[SpoolInfo]:
    """Return the spools under `path`, of all services. Raises nothing for what vanishes meanwhile."""
    found = []
    for directory in _services(path, None):
        for spool in spool_directories(directory):
            with suppress(OSError):
                found.append(_info(name_of(directory.name), Home.view(spool)))
    return found


def _info(service: str, home: Home) -> SpoolInfo:
    numbers = home.numbers()
    size = 0
    for number in numbers:
        segment = home.open(number)
        if segment is not None:
            size += segment.size()
            segment.close()
    cursors = {}
    for name in _cursor_names(home.path):
        books = read_books(home, name)
        cursors[name_of(name)] = books.sequence - 1 if books is not None else 0
    shut = bool(numbers) and any(f.frame.kind == SHUTDOWN for f in frames(home, numbers[-1]))
    info = SpoolInfo(
        service,
        home.id,
        home.path,
        home.owner,
        home.alive(),
        shut,
        len(numbers),
        size,
        last_of(home),
        cursors,
    )
    home.close()
    return info


def _check(directory: Path, keep: Path | None) -> Verified:
    home = Home.view(directory)
    salvaged: list[Path] = []
    lost = 0

    def salvage(number: int, at: int, data: bytes) -> None:
        nonlocal lost
        lost += len(data)
        if keep is not None:
            keep.mkdir(mode=0o700, exist_ok=True)
            target = keep / f"{home.id}-{number:08d}-{at}.bin"
            target.write_bytes(data)
            target.chmod(0o600)
            salvaged.append(target)

    events = 0
    reader = Reader(home, salvage=salvage)
    while True:
        _, lines = reader.read(10_000, 8 << 20)
        if not lines:
            break
        events += len(lines)
    missing: dict[str, int] = {}
    for gap in reader.gaps:
        for reason, count in gap.reasons.items():
            if reason == LEFT_OUT:
                continue
            missing[reason] = missing.get(reason, 0) + count
    count = sum(1 for number in home.numbers() for _ in frames(home, number))
    reader.close()
    home.close()
    return Verified(home.id, count, events, reader.damaged, lost, missing, tuple(salvaged))


def verify(path: Path) -> list[Verified]:
    """Check every frame of every spool under `path`; changes nothing."""
    return [_check(spool, None) for service in _services(path, None) for spool in spool_directories(service)]


def repair(path: Path) -> list[Verified]:
    """Keep copies of the damaged bytes of dead spools in `<service>/salvage`.

    Frames need no repair: readers pass over what is damaged and count it. Spools whose owner lives are only
    checked.
    """
    found = []
    for service in _services(path, None):
        for spool in spool_directories(service):
            home = Home.view(spool)
            alive = home.alive()
            home.close()
            found.append(_check(spool, None if alive else service / "salvage"))
    return found
