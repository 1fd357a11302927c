"""The spools that one service's processes leave to others: read while their owners live, adopted afterwards.

Rules
- Only who holds the service's claim (`claim.py`) reads here. Of living owners only those spools are read that
  their lock file says are left to others; dead ones are adopted whoever they were.
- A place that strangers can prepare is refused: a directory must belong to this user, or be shared with it by
  its group (setgid, readable and closed to all others). Links are never followed.
- Of another user's spool only the places and books are written (`cursors/`, which its group may write). Its
  segments are deleted by its owner (`sweep`), and so is the directory by the next process of the service.
- A cursor file exists for every sink from the beginning, so that the owner can tell what is still to be done.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from ..core.segments import deletable
from .books import Books, read_books
from .claim import Claim
from .death import death_of
from .directory import Home, name_of, spool_directories
from .ledger import fold, read_ledger
from .scan import last_of
from .settings import SpoolSettings
from .spoolset import AdoptedSpool, SpoolSet
from .writer import Spool

__all__ = ["LeftSpool", "LeftSpools", "sweep", "trusted"]

_FRESH = 0.2  # seconds for which a living spool's newest sequence need not be looked up again


def trusted(path: Path, *, root_allowed: bool = False) -> bool:
    """Say whether a directory is no link and is this user's, or shared with it by its group."""
    try:
        info = path.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(info.st_mode):
        return False
    if info.st_uid == os.geteuid() or (root_allowed and info.st_uid == 0):
        return True
    shared = info.st_mode & 0o2077 == 0o2050  # setgid, the group may read and enter, nobody else
    return shared and (os.geteuid() == 0 or info.st_gid in {os.getegid(), *os.getgroups()})


class LeftSpool(AdoptedSpool):
    """A spool that was left to this process. `live` until its owner's lock could be taken."""

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        info = os.fstat(home.dir_fd)
        self.foreign = info.st_uid != os.geteuid()
        if self.foreign:
            home.gid = info.st_gid
        self.told = False
        self._looked = time.monotonic()

    @property
    def live(self) -> bool:
        """Whether its owner may still write."""
        return self.home.lock_fd < 0

    @property
    def accepted(self) -> int:
        """How many sequences the owner gave out, as far as it is known."""
        now = time.monotonic()
        if self.live and now - self._looked > _FRESH:
            self._last, self._looked = last_of(self.home), now
        return self._last

    def bury(self) -> bool:
        """Take the lock if the owner is dead; True when it was."""
        if not self.home.take_lock():
            return False
        self._last = last_of(self.home)
        return True

    def begin(self, sinks: Collection[str]) -> None:
        """Make the cursor files, so that the owner sees who is to have its records."""
        for sink in sinks:
            self.own_cursor(sink).begin()


class LeftSpools(SpoolSet):
    """What the processes of `settings.service` leave to others. Made by `claimed`."""

    def __init__(
        self, settings: SpoolSettings, claim: Claim, *, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(settings, clock=clock)
        self._claim = claim
        self._done: set[str] = set()  # spools of other users that are drained: theirs to delete

    @property
    def held(self) -> list[LeftSpool]:
        """The spools that are read now."""
        return [spool for spool in self._adopted.values() if isinstance(spool, LeftSpool)]

    @property
    def living(self) -> int:
        """How many owners live."""
        return sum(spool.live for spool in self.held)

    @property
    def untold(self) -> int:
        """How many owners are dead, and that is yet to be told."""
        return sum(not spool.live and not spool.told for spool in self.held)

    def meet(self, sinks: Collection[str]) -> list[LeftSpool]:
        """Take spools that were not met before, and the locks of owners who died; return the former."""
        for spool in self.held:
            if spool.live:
                spool.bury()
        fresh: list[LeftSpool] = []
        if self._service is None:
            return fresh
        for directory in spool_directories(self._service):
            if directory.name in self._adopted or directory.name in self._done:
                continue
            home = self._open(directory)
            if home is None:
                self._clear_stillborn(directory)
                continue
            spool = LeftSpool(home)
            self._adopted[home.id] = spool
            if not spool.live and home.id in read_ledger(self._service).folded:
                self._forget(spool)  # somebody was killed while it was removed
                continue
            spool.begin(sinks)
            fresh.append(spool)
        return fresh

    @staticmethod
    def _open(directory: Path) -> Home | None:
        """Open what may be read here; None: somebody else reads it, or it is not to be trusted."""
        if not trusted(directory):
            return None
        with suppress(OSError):
            home = Home.view(directory)
            if home.take_lock() or home.owner.left_to_others:
                return home
            home.close()
            if not (directory / "lock").exists():  # a power cut may have taken its name: then nobody owns it
                return Home.adopt(directory)
        return None

    def reclaim(self, sinks: Collection[str]) -> int:
        """Delete what all of `sinks` have passed; let go of other users' spools that are drained."""
        gone = super().reclaim(sinks)
        for spool in self.held:
            drained = spool.told and not spool.live and spool.is_drained(sinks)
            if spool.foreign and drained:
                self._forget(spool)
        return gone

    def _forget(self, spool: LeftSpool) -> None:
        """Remove what is drained; of another user's only let go."""
        if not spool.foreign:
            self._drop(spool)
            return
        self._done.add(spool.id)
        del self._adopted[spool.id]
        spool.close()

    def close(self) -> None:
        """Let go of all spools, and of the claim."""
        super().close()
        self._claim.release()


def _books(home: Home) -> dict[str, Books]:
    found = {}
    with suppress(OSError):
        for name in os.listdir(home.path / "cursors"):  # noqa: PTH208 - names are what is wanted
            books = read_books(home, name)
            if books is not None:
                found[name_of(name)] = books
    return found


def _foreign(home: Home) -> bool:
    """Say whether somebody else has read the spool: whose death it was is told by them."""
    with suppress(OSError):
        return any(entry.stat().st_uid != os.geteuid() for entry in (home.path / "cursors").iterdir())
    return False


def sweep(spool: Spool, *, siblings: bool) -> None:
    """Delete from the owner's side what others have read. Raises nothing.

    Needed where the reader may not delete: its segments here, and with `siblings` the directories of dead
    processes of the service that are drained.
    """
    path = spool.settings.path
    home = spool.home
    if path is None or home.dir_fd < 0:
        return
    places = [books.segment for books in _books(home).values()]
    for number in deletable(spool.numbers(), places) if places else ():
        with suppress(OSError):
            spool.release(number)
    spool.forget_gone()
    if not siblings:
        return
    for directory in spool_directories(home.path.parent):
        dead = Home.adopt(directory)
        if dead is None:
            continue
        dead.gid = home.gid
        last = last_of(dead)
        accounts = {name: books.account(last) for name, books in _books(dead).items()}
        told = (directory / "reported").exists() or death_of(dead) is None or _foreign(dead)
        if accounts and told and not any(account.pending for account in accounts.values()):
            with suppress(OSError):
                fold(dead, accounts)
        dead.close()
