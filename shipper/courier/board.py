"""`delivery.json` and `delivery.next` in a service's directory: what delivery processes say.

Written by the process that delivers (who, with which configuration, how its sinks are) and by the one that is
to take over. Neither proves anything: that somebody is at work is what `delivery.lock` says.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["ASKED_FOR", "Board", "Notice", "SinkNotice"]

ASKED_FOR: Final = 30.0
"""Seconds for which a wish to take over counts: who wished may be dead."""


class SinkNotice(msgspec.Struct, frozen=True):
    """How a sink is, as `worker.SinkState` has it."""

    state: str = "ok"
    error: str = ""
    lag: float = 0.0


class Notice(msgspec.Struct, frozen=True):
    """Process `pid` delivers, or wants to, with the configuration `digest`, which was loaded at `configured`.

    `at` is when it wished to, the wall clock.
    """

    pid: int = 0
    digest: str = ""
    configured: float = 0.0
    at: float = 0.0
    sinks: dict[str, SinkNotice] = {}

    def gives_way_to(self, other: Notice | None) -> bool:
        """Say whether `other` has another configuration, and a newer one."""
        return other is not None and other.digest != self.digest and other.configured > self.configured


_DECODER: Final = msgspec.json.Decoder(Notice)


@dataclass(frozen=True, slots=True)
class Board:
    """The two files of a service. Nothing raises: what cannot be read is not there."""

    service: Path

    def read(self) -> Notice | None:
        """Return what the delivering process says."""
        return self._read("delivery.json")

    def write(self, notice: Notice) -> None:
        """Say who delivers, and how the sinks are."""
        self._write("delivery.json", notice)

    def ask(self, notice: Notice) -> None:
        """Ask whoever delivers to leave."""
        self._write("delivery.next", notice)

    def asked(self, now: float) -> Notice | None:
        """Return who wants to take over, if that was lately; `now` is the wall clock."""
        found = self._read("delivery.next")
        return found if found is not None and abs(now - found.at) < ASKED_FOR else None

    def withdraw(self) -> None:
        """Take the wish back: it is granted."""
        with suppress(OSError):
            (self.service / "delivery.next").unlink()

    def _read(self, name: str) -> Notice | None:
        try:
            fd = os.open(self.service / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                return _DECODER.decode(file.read(1 << 20))
        except (OSError, msgspec.MsgspecError):
            return None

    def _write(self, name: str, notice: Notice) -> None:
        temporary = self.service / f"{name}.{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with suppress(OSError):
            fd = os.open(temporary, flags, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(msgspec.json.encode(notice))
            temporary.replace(self.service / name)
