"""How the file source learns that something has happened: inotify where there is any, else by looking again.

Rules:
- Directories are watched for names that come and go. A file is watched only while it is quiet, and once: the
  first change ends the watch, and until it is quiet again it is looked at from time to time. So a flood of
  writes costs one event, and a quiet machine nothing.
- Local file systems only: of what other machines write to a network file system inotify tells nothing. Where
  it is missing (another system, the extra `files` not installed) or has no watches left, nothing is watched,
  and whoever asks is told so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..spool.mounts import maps_are_safe

if TYPE_CHECKING:
    from inotify_simple import INotify

__all__ = ["Inotify", "Noticed", "Polling", "Watcher", "watcher"]

_LOOK: Final = 0.25  # seconds between two looks whether to stop
_OVERFLOW: Final = 0x4000
_IGNORED: Final = 0x8000


@dataclass(frozen=True, slots=True)
class Noticed:
    """What has happened: to files (by the marks that they have), and whether names have come or gone."""

    files: frozenset[Hashable] = frozenset()
    names: bool = False
    lost: bool = False  # more has happened than could be told: look at everything


class Watcher(Protocol):
    """Tells what happens. One thread uses it."""

    def watch_directories(self, wanted: set[str]) -> bool:
        """Watch these and no others; False: not all of them can be."""
        ...

    def watch_file(self, path: str, mark: Hashable) -> bool:
        """Tell the next change of a file by its mark; False: it must be looked at."""
        ...

    def wait(self, seconds: float) -> Noticed:
        """Return what has happened; waits so long at most, and less to be asked whether to stop."""
        ...

    def close(self) -> None:
        """Let go of the descriptor."""
        ...


class Polling:
    """Nothing is watched."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def watch_directories(self, wanted: set[str]) -> bool:  # noqa: ARG002 - as the Protocol has it
        """Say no."""
        return False

    def watch_file(self, path: str, mark: Hashable) -> bool:  # noqa: ARG002 - as the Protocol has it
        """Say no."""
        return False

    def wait(self, seconds: float) -> Noticed:
        """Wait; know nothing."""
        if seconds > 0:
            self._stop.wait(seconds)
        return Noticed()

    def close(self) -> None:
        """Do nothing: there is nothing."""


@dataclass(slots=True)
class Inotify:
    """Linux's inotify."""

    told: INotify
    is_local: Callable[[str], bool]
    _directories: dict[str, int] = field(default_factory=dict)  # -1: cannot be watched
    _files: dict[int, Hashable] = field(default_factory=dict)
    _names: set[int] = field(default_factory=set)

    def watch_directories(self, wanted: set[str]) -> bool:
        """Watch these and no others."""
        from inotify_simple import flags

        mask = flags.CREATE | flags.MOVED_FROM | flags.MOVED_TO | flags.DELETE | flags.DELETE_SELF
        mask |= flags.MOVE_SELF | flags.ATTRIB | flags.ONLYDIR
        for path in self._directories.keys() - wanted:
            with suppress(OSError):
                self.told.rm_watch(self._directories[path])
            self._names.discard(self._directories.pop(path))
        for path in wanted:
            # Again each time: the same name may be another directory by now. It costs a system call.
            known = self._directories.get(path)
            if known == -1 or (known is None and not self.is_local(path)):
                self._directories[path] = -1
                continue
            try:
                self._directories[path] = number = self.told.add_watch(path, mask)
            except OSError:
                self._directories.pop(path, None)
            else:
                self._names.add(number)
        return all(self._directories.get(path, -1) >= 0 for path in wanted)

    def watch_file(self, path: str, mark: Hashable) -> bool:
        """Tell the next change of a file, if it lies in a directory that is watched."""
        from inotify_simple import flags

        if self._directories.get(path.rpartition("/")[0] or "/", -1) < 0:
            return False
        mask = flags.MODIFY | flags.ATTRIB | flags.MOVE_SELF | flags.DELETE_SELF | flags.ONESHOT
        try:
            self._files[self.told.add_watch(path, mask)] = mark
        except OSError:
            return False
        return True

    def wait(self, seconds: float) -> Noticed:
        """Return what has happened."""
        files: set[Hashable] = set()
        names = lost = False
        event: Any
        for event in self.told.read(timeout=int(1000 * min(max(seconds, 0.0), _LOOK))):
            if event.mask & _OVERFLOW:
                lost = True
            elif event.wd in self._names:
                names = True
                if event.mask & _IGNORED:
                    self._names.discard(event.wd)
            elif event.wd in self._files:
                files.add(self._files.pop(event.wd))
        return Noticed(frozenset(files), names, lost)

    def close(self) -> None:
        """Let go of the descriptor, and of all watches with it."""
        self.told.close()


def watcher(mode: str, stop: threading.Event) -> Watcher:
    """Return what there is here; with `mode` "poll" nothing is watched."""
    if mode != "poll":
        with suppress(ImportError, OSError, AttributeError):  # not Linux; no instances left
            from inotify_simple import INotify

            return Inotify(INotify(), lambda path: maps_are_safe(Path(path)))
    return Polling(stop)
