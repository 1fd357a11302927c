"""`ledger.json`: the books of spools that are no more, by sink, and the positions of their sources.

Rules
- A drained spool is folded in first and deleted then. `folded` holds the ids that were folded in and may
  not be deleted yet, so that being killed between the two counts nothing twice.
- A replay of dead letters is counted under a token of its own: told twice, because its teller was killed, it
  counts once.
- Written under `ledger.lock`, replaced in one step.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ..diagnostics import say
from ..model import Account
from ..moment import moment
from .checked import pack, unpack
from .directory import Home, is_directory, spool_directories
from .private import open_private, replace_file
from .scan import created_of, positions_of

__all__ = ["Ledger", "damage", "fold", "known_positions", "note_replayed", "read_ledger"]


class Position(msgspec.Struct):
    """A source's position, and when the spool that held it was made (nanoseconds)."""

    at: bytes
    made: int


class Ledger(msgspec.Struct):
    """The file's content."""

    version: int = 1
    sinks: dict[str, Account] = {}
    positions: dict[str, Position] = {}
    folded: list[str] = []
    replays: dict[str, str] = {}  # sink → the token of the replay that was counted last


_DECODER = msgspec.json.Decoder(Ledger)


def _decoded(path: Path) -> Ledger:
    return _DECODER.decode(unpack(path.read_bytes()))


def damage(service: Path) -> str:
    """Return what is wrong with the service's ledger, or was with one that was put aside; empty: nothing."""
    path = service / "ledger.json"
    if (aside := service / "ledger.json.damaged").exists():
        return f"{aside.name}: the books of older spools were damaged and are not counted"
    try:
        _decoded(path)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        return f"{path.name}: {error}; the books of spools that are gone are not counted"
    return ""


def read_ledger(service: Path) -> Ledger:
    """Return the ledger of the service's directory; an empty one when there is none."""
    path = service / "ledger.json"
    try:
        return _decoded(path)
    except FileNotFoundError:
        return Ledger()
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        say("ERROR", f"{path}: {error}; the books of spools that are gone are not counted", "spool.ledger")
        return Ledger()


@contextmanager
def _locked(service: Path) -> Iterator[int]:
    directory = open_private(service)
    try:
        lock = os.open(
            "ledger.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory
        )
        with moment(lock):
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield directory
    finally:
        os.close(directory)


def _keep_damaged(service: Path) -> None:
    """Keep a ledger that cannot be read aside before it is replaced."""
    path = service / "ledger.json"
    try:
        _decoded(path)
    except FileNotFoundError:
        return
    except (ValueError, msgspec.MsgspecError):
        path.replace(service / "ledger.json.damaged")


def fold(home: Home, accounts: Mapping[str, Account]) -> None:
    """Add a drained spool's books and positions to the ledger, then delete the spool. Raises OSError."""
    service = home.path.parent
    with _locked(service) as directory:
        ledger = read_ledger(service)
        if home.id not in ledger.folded:
            for sink, account in accounts.items():
                ledger.sinks.setdefault(sink, Account()).add(account)
            made = created_of(home)
            for source, position in positions_of(home).items():
                held = ledger.positions.get(source)
                if held is None or held.made <= made:
                    ledger.positions[source] = Position(position, made)
                    if not position:  # forgotten
                        del ledger.positions[source]
            ledger.folded = [i for i in ledger.folded if is_directory(service / i)] + [home.id]
            _keep_damaged(service)
            replace_file(directory, "ledger.json", pack(msgspec.json.encode(ledger)), home.gid)
        home.remove()


def note_replayed(service: Path, sink: str, count: int, token: str) -> None:
    """Count dead letters of `sink` that were delivered by the replay `token`, once. Raises OSError."""
    with _locked(service) as directory:
        ledger = read_ledger(service)
        if ledger.replays.get(sink) == token:
            return
        ledger.replays[sink] = token
        ledger.sinks.setdefault(sink, Account()).replayed += count
        _keep_damaged(service)
        replace_file(directory, "ledger.json", pack(msgspec.json.encode(ledger)), _group(service))


def _group(service: Path) -> int | None:
    """Return the group that the service's files are shared with; None: with none."""
    facts = service.stat()
    return facts.st_gid if facts.st_mode & 0o070 else None


def known_positions(service: Path) -> dict[str, bytes]:
    """Return the newest position of each source, of all spools there are and the ledger.

    The ledger is read last: a spool that is folded meanwhile is in it, and what it says is whole.
    """
    found: dict[str, Position] = {}
    for directory in spool_directories(service):
        try:
            home = Home.view(directory)
        except OSError:
            continue
        made = created_of(home)
        for source, position in positions_of(home).items():
            if source not in found or found[source].made <= made:
                found[source] = Position(position, made)
        home.close()
    for source, held in read_ledger(service).positions.items():
        if source not in found or found[source].made <= held.made:
            found[source] = held
    return {source: position.at for source, position in found.items()}
