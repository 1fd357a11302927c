"""One spool's directory: made privately, locked by its owner, read by anybody who may.

Rules
- All on the way to it, and in it, is private (`private.py`).
- The lock is a `flock` on the file `lock`. Whoever can take it may treat the owner as dead. The descriptor
  is never inherited by programs; a forked child closes its copy and never unlocks.
- Making a directory races with adopters: after `flock` the creator looks whether its lock file is still
  there.
- Descriptors belong to a `Home` from the moment that they are had. An exception of a signal handler in the
  middle of making or adopting one leaves no lock behind, however long somebody keeps its traceback.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote

import msgspec

from ..core.segments import Evicted, merged
from ..moment import moment
from .checked import pack, unpack
from .claim import prepare_claim
from .private import group_id, let_group_in, open_private, prepare_directory, replace_file, restrict
from .segment import MemorySegment, Readable, SegmentFile, segment_name

__all__ = [
    "Home",
    "Owner",
    "Shelf",
    "file_name",
    "is_directory",
    "is_spool",
    "name_of",
    "spool_directories",
]

_SEGMENT = re.compile(r"(\d{8,})\.seg")
_SPOOL = re.compile(r"[0-9a-f]{32}")


class Shelf(Protocol):
    """A spool as readers see it."""

    @property
    def id(self) -> str:
        """The spool's id, 32 hex digits."""
        ...

    def numbers(self) -> Sequence[int]:
        """Return the numbers of the segments there are, in order."""
        ...

    def open(self, number: int) -> Readable | None:
        """Open a segment; None when it is gone."""
        ...

    def alive(self) -> bool:
        """Say whether the owner may still write."""
        ...

    def evicted(self) -> Sequence[Evicted]:
        """Return what was given up on purpose."""
        ...


class Owner(msgspec.Struct, frozen=True):
    """Who made a spool: the content of its lock file. `late`: after its shutdown, so no other will follow.

    `delivery` as in `SpoolSettings`; `adopter` is a process that took the dead owner's spool over to read it
    itself, although it had been left to a delivery process or an agent. `yields`: its oldest events may go
    when the path is full.
    """

    pid: int = 0
    service: str = ""
    started: float = 0.0
    late: bool = False
    delivery: str = "thread"
    adopter: int = 0
    yields: bool = False

    @property
    def left_to_others(self) -> bool:
        """Whether another process may read what this owner writes while it lives."""
        return self.delivery in ("process", "agent") and not self.adopter


_OWNER = msgspec.json.Decoder(Owner)
_EVICTED = msgspec.json.Decoder(list[Evicted])


def file_name(name: str) -> str:
    """Return `name` as one path component: never empty, never hidden, never a way out."""
    quoted = quote(name, safe=" @+,=") or "%"
    return "%2E" + quoted[1:] if quoted.startswith(".") else quoted


def name_of(component: str) -> str:
    """Return the name that `file_name` made `component` of."""
    return "" if component == "%" else unquote(component)


def is_spool(name: str) -> bool:
    """Say whether a directory called `name` is a spool's."""
    return _SPOOL.fullmatch(name) is not None


class Home:
    """A spool's directory, open. `locked` says whether this process holds its lock."""

    dir_fd = lock_fd = -1  # for one whose making was interrupted at its first step

    def __init__(self, path: Path, dir_fd: int, lock_fd: int, gid: int | None = None) -> None:
        self.path = path
        self.id = path.name
        self.raw = bytes.fromhex(path.name)
        self.dir_fd = dir_fd
        self.lock_fd = lock_fd
        self.gid = gid
        self.memory: dict[int, MemorySegment] = {}
        self._listed: set[int] = set()
        self._keep = threading.RLock()  # no eviction leaves a file in what is being removed
        self._evicted: tuple[tuple[int, int], list[Evicted]] | None = None
        _homes.add(self)

    @classmethod
    def create(
        cls,
        base: Path,
        service: str,
        spool: str,
        *,
        group: str | None,
        started: float,
        late: bool = False,
        delivery: str = "thread",
        yields: bool = False,
    ) -> Home:
        """Make and lock the directory of spool `spool`. Raises OSError; FileExistsError: take another id."""
        gid = group_id(group)
        base.parent.mkdir(parents=True, exist_ok=True)
        prepare_directory(base, gid)
        let_group_in(open_private(base, root_allowed=True), gid)
        prepare_directory(base / file_name(service), gid)
        let_group_in(open_private(base / file_name(service)), gid, exactly=True)
        if delivery in ("process", "agent"):
            prepare_claim(base / file_name(service), gid)
        path = base / file_name(service) / spool
        home = cls(path, -1, -1, gid)
        locked = False
        try:
            path.mkdir(mode=0o700)
            home.dir_fd = open_private(path)
            restrict(home.dir_fd, gid, directory=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            home.lock_fd = os.open("lock", flags, 0o600, dir_fd=home.dir_fd)
            restrict(home.lock_fd, gid, directory=False)
            fcntl.flock(home.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(home.lock_fd).st_nlink == 0:
                raise FileExistsError(f"{path} was taken for a dead process's")  # noqa: TRY301 - one clean-up for all
            locked = True
            if gid is not None:
                prepare_directory(path / "cursors", gid, shared=True)
            owner = Owner(os.getpid(), service, started, late, delivery, yields=yields)
            os.write(home.lock_fd, msgspec.json.encode(owner))
        except BaseException as error:
            if locked:  # ours alone, and empty
                home.remove()
            home.close()
            if isinstance(error, BlockingIOError):
                raise FileExistsError(f"{path} is being looked at by another process") from error
            raise
        return home

    @classmethod
    def adopt(cls, path: Path) -> Home | None:
        """Take over a dead owner's spool; None when its owner lives or it is not ours. Raises nothing.

        A power cut may take the name of the lock and leave segments. An owner locks before it makes any, so
        where there are some and no lock file, there is no owner.
        """
        home = cls(path, -1, -1)
        try:
            home.dir_fd = open_private(path)
            made = os.O_CREAT if _has_segments(home.dir_fd) else 0
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | made
            home.lock_fd = os.open("lock", flags, 0o600, dir_fd=home.dir_fd)
            fcntl.flock(home.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(home.lock_fd).st_nlink == 0:
                raise FileNotFoundError(path)  # noqa: TRY301 - one clean-up for all
        except BaseException as error:
            home.close()
            if isinstance(error, OSError):
                return None
            raise
        return home

    @classmethod
    def view(cls, path: Path) -> Home:
        """Open a spool for reading only, its owner alive or not. Raises OSError."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        return cls(path, os.open(path, flags), -1)

    @property
    def owner(self) -> Owner:
        """Who made it; zeros when the lock file does not say."""
        try:
            fd = os.open("lock", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.dir_fd)
        except OSError:
            return Owner()
        try:
            return _OWNER.decode(os.pread(fd, 4096, 0))
        except (OSError, ValueError, msgspec.MsgspecError):
            return Owner()
        finally:
            os.close(fd)

    def numbers(self) -> list[int]:
        """Return the numbers of the segments there are, on disk and in memory, in order.

        Those of the last time where it cannot be asked (no descriptors): nothing is taken for gone by that.
        """
        with suppress(OSError):
            names = _names_in(self.dir_fd) if self.dir_fd >= 0 else []
            self._listed = {int(match[1]) for name in names if (match := _SEGMENT.fullmatch(name))}
        return sorted(self._listed | set(self.memory))

    def open(self, number: int) -> Readable | None:
        """Open a segment for reading; None when it is gone."""
        held = self.memory.get(number)
        if held is not None:
            return held
        if self.dir_fd < 0:
            return None
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            return SegmentFile(os.open(segment_name(number), flags, dir_fd=self.dir_fd))
        except OSError:
            return None

    def create_file(self, name: str) -> int:
        """Create a new private file and return its descriptor. Raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=self.dir_fd)
        restrict(fd, self.gid, directory=False, shared=name.startswith("cursors/"))
        return fd

    def remove_segment(self, number: int) -> bool:
        """Delete a segment; False when it was gone already."""
        if self.memory.pop(number, None) is not None:
            return True
        if self.dir_fd < 0:
            return False
        try:
            os.unlink(segment_name(number), dir_fd=self.dir_fd)
        except FileNotFoundError:
            return False
        return True

    def alive(self) -> bool:
        """Say whether an owner may still write: for whoever does not hold the lock, whether it is held."""
        if self.lock_fd >= 0 or self.dir_fd < 0:
            return False
        try:
            fd = os.open("lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.dir_fd)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        with moment(fd):
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
        return False

    def take_lock(self) -> bool:
        """Take the lock of a spool that was opened for reading, if its owner is dead. Raises nothing."""
        try:
            fd = os.open("lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.dir_fd)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:
                self.lock_fd = fd
        except OSError:
            return False
        finally:
            if self.lock_fd != fd:
                os.close(fd)
        return self.lock_fd == fd

    def claim(self) -> None:
        """Note in the lock file that this process reads what had been left to others. Raises nothing."""
        text = msgspec.json.encode(msgspec.structs.replace(self.owner, adopter=os.getpid()))
        with suppress(OSError):
            os.pwrite(self.lock_fd, text, 0)
            os.ftruncate(self.lock_fd, len(text))

    def evicted(self) -> list[Evicted]:
        """Return what was given up on purpose, in order."""
        if self.dir_fd < 0:
            return [] if self._evicted is None else self._evicted[1]
        try:
            info = os.stat("evicted.json", dir_fd=self.dir_fd)
            stamp = (info.st_mtime_ns, info.st_ino)
            if self._evicted is None or self._evicted[0] != stamp:
                fd = os.open("evicted.json", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.dir_fd)
                with os.fdopen(fd, "rb") as file:
                    self._evicted = (stamp, _EVICTED.decode(unpack(file.read())))
        except (OSError, ValueError, msgspec.MsgspecError):
            return [] if self._evicted is None else self._evicted[1]
        return self._evicted[1]

    def note(self, ranges: list[Evicted]) -> None:
        """Remember what was given up where there is no directory to write it down in."""
        self._evicted = ((0, 0), ranges)

    def evict(self, number: int, first: int, last: int, reason: str) -> bool:
        """Write down that a segment's events are given up, then delete it; False when it was gone already.

        In this order: what is written down but still there is simply read. Others may do so to a living
        owner's (`share.py`); they leave it when somebody is just writing, which the owner may not.
        """
        with self._keep, self._alone() as alone:
            if self.dir_fd < 0 or (self.lock_fd < 0 and not alone):
                return False
            self.write_evicted(merged([*self.evicted(), Evicted(first, last, reason)]))
            return self.remove_segment(number)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Let nobody else write down what is given up; False: after 20 ms somebody still does."""
        alone = False
        for _ in range(20):
            try:
                fcntl.flock(self.dir_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = True
                break
            except BlockingIOError:
                time.sleep(0.001)
            except (OSError, ValueError):  # closed
                break
        try:
            yield alone
        finally:
            # Also when it is not known to be held: an interruption may have come right behind the call.
            with suppress(OSError, ValueError):
                fcntl.flock(self.dir_fd, fcntl.LOCK_UN)

    def write_evicted(self, ranges: list[Evicted]) -> None:
        """Write down what was given up. Raises nothing."""
        try:
            # Not waited for: it may be a log call. A power cut costs the reason, not the count.
            data = pack(msgspec.json.encode(ranges))
            by = "new" if self.lock_fd >= 0 else "taken"  # a sibling that takes a segment from a living owner
            replace_file(self.dir_fd, "evicted.json", data, self.gid, durable=False, by=by)
            info = os.stat("evicted.json", dir_fd=self.dir_fd)
            self._evicted = ((info.st_mtime_ns, info.st_ino), ranges)
        except OSError:  # a full disk: the reason is lost to other processes, the count is not
            self._evicted = ((-1, -1), ranges)

    def sync_names(self, *, parents: bool) -> None:
        """Put the files' names on the disk, with `parents` that of the directory too. Raises OSError."""
        os.fsync(self.dir_fd)
        for folder in (self.path.parent, self.path.parent.parent) if parents else ():
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def remove(self) -> None:
        """Delete the directory and all in it; the lock goes last. Raises nothing."""
        with self._keep:
            self._remove()

    def _remove(self) -> None:
        for folder in (self.path / "cursors", self.path):
            try:
                names = sorted((entry.name for entry in folder.iterdir()), key=lambda name: name == "lock")
                for name in names:
                    if name != "cursors":
                        (folder / name).unlink(missing_ok=True)
                folder.rmdir()
            except OSError:
                continue
        self.close()

    def close(self) -> None:
        """Release lock and descriptors."""
        lock, self.lock_fd = self.lock_fd, -1  # no call between the two
        try:
            if lock >= 0:
                os.close(lock)
        finally:
            directory, self.dir_fd = self.dir_fd, -1
            if directory >= 0:
                os.close(directory)

    def __del__(self) -> None:
        self.close()


_homes: weakref.WeakSet[Home] = weakref.WeakSet()


def _after_fork() -> None:
    """Close, in the child, also those that another thread of the parent was just making or adopting."""
    for home in list(_homes):
        with suppress(OSError):
            home.close()


os.register_at_fork(after_in_child=_after_fork)


def _names_in(dir_fd: int) -> list[str]:
    """Return the names in a directory. Raises OSError.

    Through a descriptor of its own: `os.listdir` duplicates the one it is given, and all duplicates have one
    place in the directory. Of two threads that list at once each would miss what the other has read.
    """
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        return os.listdir(fd)  # noqa: PTH208 - by descriptor
    finally:
        os.close(fd)


def _has_segments(dir_fd: int) -> bool:
    return any(_SEGMENT.fullmatch(name) for name in _names_in(dir_fd))


def spool_directories(path: Path) -> list[Path]:
    """Return the spools under one service's directory, in name order."""
    try:
        with os.scandir(path) as entries:
            names = [e.name for e in entries if is_spool(e.name) and e.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [path / name for name in sorted(names)]


def is_directory(path: Path) -> bool:
    """Say whether `path` is a directory and no link."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False
