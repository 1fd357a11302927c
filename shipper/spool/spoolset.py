"""All spools of one service as the delivering side sees them: its own, and those that dead processes left.

Rules
- A dead owner's spool is adopted by taking its lock; nobody else can then.
- Each that waits takes descriptors, which are the application's as well: of very many dead spools
  (`most_held`) the others are adopted when these are drained. `more` says that there are some.
- A segment goes when the cursors of all configured sinks passed it, and those of sinks that are not
  configured any more but moved within the last 24 hours.
- A dead spool goes when all configured sinks have drained it: its books, those of forgotten sinks included
  (what they did not get is `dropped["removed"]`), are in the ledger before anything is deleted.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from ..core.segments import deletable
from ..model import Account
from ..ports import Cursor
from .books import given_out, read_books
from .claim import delivery_is_claimed
from .cursor import SpoolCursor
from .death import DeathNotice, death_of
from .directory import Home, file_name, name_of, spool_directories
from .ledger import fold, read_ledger
from .settings import SpoolSettings
from .writer import Spool

__all__ = ["AdoptedSpool", "SpoolSet", "most_held"]

KEEP_REMOVED = 24 * 3600.0
_DESCRIPTORS = 6  # of a spool that waits: directory, lock, and a cursor and a segment for each of two sinks


def most_held() -> int:
    """Return how many dead spools one process takes at a time: a quarter of its descriptors are for them."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 10_000 if limit == resource.RLIM_INFINITY else max(16, limit // 4 // _DESCRIPTORS)


class AdoptedSpool:
    """A dead owner's spool, held by this process."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.id = home.id
        self.directory = home.path
        self.told = True  # False: the owner's death is yet to be told, and the spool stays until then
        self._last = given_out(home)
        self._cursors: dict[str, SpoolCursor] = {}

    @cached_property
    def death(self) -> DeathNotice | None:
        """The notice, when the owner was killed; None when it shut down."""
        return death_of(self.home)

    @property
    def accepted(self) -> int:
        """How many sequences the owner gave out, as far as it is known."""
        return self._last

    def cursor(self, sink: str) -> Cursor:
        """Return the cursor of `sink` on this spool; the same one each time."""
        return self.own_cursor(sink)

    def own_cursor(self, sink: str) -> SpoolCursor:
        """Return the cursor with what only this package needs of it."""
        found = self._cursors.get(sink)
        # A worker closes what it has drained. The books are known then: a cursor made anew would hold files
        # and a block of bytes for as long as the garbage collector likes.
        if found is None or (found.closed and not found.done):
            found = SpoolCursor(self.home, sink, home=lambda: self.home, last=lambda: self.accepted)
            self._cursors[sink] = found
        return found

    def is_drained(self, sinks: Collection[str]) -> bool:
        """Whether all of `sinks` have all that is in it."""
        return bool(sinks) and all(self.own_cursor(sink).done for sink in sinks)

    def forget(self) -> None:
        """Know its cursors no more: a worker that still has one closes it, and nothing else keeps it."""
        self._cursors.clear()

    def close(self) -> None:
        """Let go of cursors, files and lock."""
        for cursor in self._cursors.values():
            cursor.close()
        self.home.close()


class SpoolSet:
    """The spools of `settings.service` under `settings.path`. `clock` is the wall clock in seconds."""

    def __init__(
        self, settings: SpoolSettings, own: Spool | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._own = own
        self._clock = clock
        self._adopted: dict[str, AdoptedSpool] = {}
        self.more = False
        self._service = settings.path / file_name(settings.service) if settings.path is not None else None

    @property
    def adopted(self) -> list[AdoptedSpool]:
        """The spools that were adopted and are not drained yet."""
        return list(self._adopted.values())

    def adopt(self) -> list[AdoptedSpool]:
        """Lock and return dead owners' spools that were not adopted before. Raises nothing."""
        fresh: list[AdoptedSpool] = []
        if self._service is None:
            return fresh
        self.more = False
        most = most_held()
        for directory in spool_directories(self._service):
            if directory.name in self._adopted:
                continue
            if len(self._adopted) >= most:
                self.more = True
                break
            home = self._adoptable(directory)
            if home is None:
                self._clear_stillborn(directory)
                continue
            spool = AdoptedSpool(home)
            self._adopted[home.id] = spool
            if self._own is not None:
                self._own.adopted[directory] = home
            if home.id in read_ledger(self._service).folded:
                self._drop(spool)
            else:
                fresh.append(spool)
        return fresh

    def _adoptable(self, directory: Path) -> Home | None:
        """Lock a dead owner's spool, unless it is left to a delivery process or an agent that is there."""
        home = Home.adopt(directory)
        if home is None or not home.owner.left_to_others:
            return home
        if delivery_is_claimed(directory.parent):
            home.close()
            return None
        home.claim()
        return home

    def _clear_stillborn(self, directory: Path) -> None:
        """Remove a directory without a lock: its owner was killed while it made or removed it."""
        with suppress(OSError):
            if (directory / "lock").exists():
                return
            # One that the ledger has is being removed; any other may be in the making.
            folded = self._service is not None and directory.name in read_ledger(self._service).folded
            if folded or directory.stat().st_mtime + 60 < self._clock():
                Home.view(directory).remove()  # no segments: those would have been adopted

    def reclaim(self, sinks: Collection[str]) -> int:
        """Delete what all of `sinks` have passed, and drained dead spools; return how many segments.

        Raises nothing: what cannot be deleted now is tried again at the next call.
        """
        gone = 0
        own = self._own
        if own is not None:
            places = [own.own_cursor(sink).segment for sink in sinks]
            for number in self._passed(own.home, own.numbers(), places, sinks):
                with suppress(OSError):
                    gone += own.release(number)
            if own.closed and own.home.dir_fd >= 0 and sinks:
                cursors = [own.own_cursor(sink) for sink in sinks]
                if all(cursor.done for cursor in cursors):
                    gone += self._fold(own.home, own.accepted, cursors)
        for spool in self.adopted:
            held = [spool.own_cursor(sink) for sink in sinks]
            places = [cursor.segment for cursor in held]
            for number in self._passed(spool.home, spool.home.numbers(), places, sinks):
                with suppress(OSError):
                    gone += spool.home.remove_segment(number)
            if not spool.told:
                continue
            if self._may_go(spool) and (spool.accepted == 0 or spool.is_drained(sinks)):
                gone += self._fold(spool.home, spool.accepted, held)
                if spool.home.dir_fd < 0:
                    self._drop(spool)
        return gone

    def _may_go(self, spool: AdoptedSpool) -> bool:
        """Whether the spool may be put away when it is drained."""
        return spool.home.lock_fd >= 0

    def _passed(
        self, home: Home, numbers: Sequence[int], places: Sequence[int], sinks: Collection[str]
    ) -> Sequence[int]:
        """Return the segments that all have passed; on the disk is looked only when there may be some."""
        if not deletable(numbers, places):
            return ()
        return deletable(numbers, [*places, *self._removed(home, sinks)])

    def _removed(self, home: Home, sinks: Collection[str]) -> list[int]:
        """Return the places of sinks that are not configured any more but moved within 24 hours."""
        places = []
        with suppress(OSError):
            for entry in os.scandir(home.path / "cursors") if home.dir_fd >= 0 else ():
                recent = entry.stat().st_mtime + KEEP_REMOVED > self._clock()
                if recent and name_of(entry.name) not in sinks:
                    books = read_books(home, entry.name)
                    places.append(books.segment if books is not None else 0)
        return places

    def _fold(self, home: Home, accepted: int, cursors: Collection[SpoolCursor]) -> int:
        numbers = len(home.numbers())
        # What the cursors know counts: on a full disk there may be no file of theirs.
        accounts = _accounts_of(home, accepted) | {cursor.sink: cursor.account() for cursor in cursors}
        for account in accounts.values():
            if account.pending:
                account.dropped["removed"] = account.dropped.get("removed", 0) + account.pending
                account.pending = 0
        try:
            fold(home, accounts)
        except OSError:
            return 0
        return numbers

    def _drop(self, spool: AdoptedSpool) -> None:
        del self._adopted[spool.id]
        if self._own is not None:
            self._own.adopted.pop(spool.directory, None)
        spool.forget()
        if spool.home.dir_fd >= 0:
            spool.home.remove()

    def accounts(self, sinks: Collection[str]) -> dict[str, Account]:
        """Return each sink's account over the ledger and all spools there are."""
        total = {sink: Account() for sink in sinks}
        known: set[str] = set()
        if self._service is not None:
            ledger = read_ledger(self._service)
            known.update(ledger.folded)
            _add(total, ledger.sinks)
        held: list[Spool | AdoptedSpool] = [*self.adopted]
        if self._own is not None:
            held.append(self._own)
        for spool in held:
            if spool.id not in known:
                known.add(spool.id)
                _add(total, {sink: spool.own_cursor(sink).account() for sink in sinks})
        for directory in spool_directories(self._service) if self._service is not None else ():
            if directory.name not in known:
                with suppress(OSError):
                    home = Home.view(directory)
                    last = given_out(home)
                    # A sink that has committed nothing here has no cursor file: all of it is pending.
                    untouched = {sink: Account(accepted=last, pending=last) for sink in sinks}
                    _add(total, untouched | _accounts_of(home, last))
                    home.close()
        return total

    def close(self) -> None:
        """Release the adopted spools, and the own one's lock if it is closed: others may deliver the rest."""
        for spool in self.adopted:
            spool.close()
        self._adopted.clear()
        if self._own is not None and self._own.closed:
            self._own.home.close()


def _add(total: dict[str, Account], more: Mapping[str, Account]) -> None:
    for sink, account in more.items():
        if sink in total:
            total[sink].add(account)


def _accounts_of(home: Home, accepted: int) -> dict[str, Account]:
    """Return the accounts in a spool's cursor files, by sink."""
    accounts = {}
    with suppress(OSError):
        for name in [entry.name for entry in (home.path / "cursors").iterdir()]:
            books = read_books(home, name)
            if books is not None:
                accounts[name_of(name)] = books.account(accepted)
    return accounts
