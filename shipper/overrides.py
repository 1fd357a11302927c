"""Levels changed while the programs run: `logferry level sqlalchemy=DEBUG --for 10m`.

Rules

- `<path>/<service>/levels.json` says which logger has which level until when. Whoever may write there may
  change levels: the directory is private to the service's user.
- Every process of the service looks at the file once a second (one `stat`) and sets and takes back levels by
  itself, on time also when nobody touches the file again. A forked child begins with its first record.
- Taking back puts the former level there, unless somebody else has changed it since.
- An override is for a day at most: nothing stays at DEBUG for good.
"""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from ..handlers import levels
from .moment import moment
from .spool.directory import file_name
from .spool.private import open_private, prepare_directory, replace_file

__all__ = ["LONGEST", "Override", "Overrides", "change", "read"]

FILE = "levels.json"
LONGEST = 24 * 3600.0  # seconds


class Override(msgspec.Struct, frozen=True):
    """`logger` (`root` for the root) has `level` until `until`, seconds since 1970."""

    logger: str
    level: str
    until: float


_DECODER = msgspec.json.Decoder(list[Override])


def read(directory: Path, now: float) -> list[Override]:
    """Return what is in force at `now` in a service's directory, by logger. Raises nothing."""
    try:
        found = _DECODER.decode((directory / FILE).read_bytes())
    except (OSError, msgspec.MsgspecError):
        return []
    return sorted((one for one in found if now < one.until <= now + LONGEST), key=lambda one: one.logger)


def change(
    path: Path, service: str, now: float, *, add: Iterable[Override] = (), remove: Iterable[str] | None = None
) -> list[Override]:
    """Write overrides for `service` under the spool's `path`; return what is then in force.

    `remove` names loggers whose overrides go; None removes none, and an empty one all. Raises OSError.
    """
    directory = path / file_name(service)
    path.parent.mkdir(parents=True, exist_ok=True)
    prepare_directory(path, None)
    prepare_directory(directory, None)
    with _locked(directory) as fd:
        kept = {one.logger: one for one in read(directory, now)}
        if remove is not None:
            gone = set(remove) or set(kept)
            kept = {name: one for name, one in kept.items() if name not in gone}
        kept.update((one.logger, one) for one in add)
        replace_file(fd, FILE, msgspec.json.encode(list(kept.values())))
    return read(directory, now)


@contextmanager
def _locked(directory: Path) -> Iterator[int]:
    fd = open_private(directory)
    with moment(fd):
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd


class Overrides:
    """What one process does about the overrides of its service: `poll` it once a second.

    `tell` is called with each change: the logger's name, its new level, and until when (None: taken back).
    """

    def __init__(
        self,
        path: Path,
        service: str,
        tell: Callable[[str, int, float | None], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = path / file_name(service)
        self._tell = tell
        self._clock = clock
        self._stamp: tuple[int, int] | None = None
        self._wanted: Mapping[str, tuple[int, float]] = {}
        self._ours: dict[str, tuple[int, int]] = {}  # logger: its former level, ours

    def poll(self) -> None:
        """Set the levels that are wanted now, and take back those that are not. Raises nothing."""
        self._look()
        now = self._clock()
        wanted = {name: level for name, (level, until) in self._wanted.items() if now < until}
        for name in [name for name, (_, ours) in self._ours.items() if wanted.get(name) != ours]:
            self._take_back(name)
        for name, level in wanted.items():
            if name not in self._ours:
                logger = logging.getLogger(name or None)
                self._ours[name] = (logger.level, level)
                levels.overridden.add(name)
                logger.setLevel(level)
                self._tell(name or "root", level, self._wanted[name][1])

    def close(self) -> None:
        """Take everything back."""
        for name in list(self._ours):
            self._take_back(name)
        self._stamp, self._wanted = None, {}

    def _look(self) -> None:
        try:
            info = (self._directory / FILE).stat()
        except OSError:
            self._stamp, self._wanted = None, {}
            return
        stamp = (info.st_mtime_ns, info.st_ino)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        wanted = {}
        for one in read(self._directory, self._clock()):
            with suppress(ValueError):
                wanted["" if one.logger == "root" else one.logger] = (levels.parse(one.level), one.until)
        self._wanted = wanted

    def _take_back(self, name: str) -> None:
        former, ours = self._ours.pop(name)
        levels.overridden.discard(name)
        logger = logging.getLogger(name or None)
        if logger.level == ours:
            logger.setLevel(former)
            self._tell(name or "root", former, None)
