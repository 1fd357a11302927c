"""Spans beside the spool: each event of a span in a datagram, or as a line of a file.

Rules
- Events of the kinds `span` and `span_start` go there alone. Access events and jobs are log lines as well and
  go both ways: without them the trees would have no roots.
- Nothing here waits: a socket that has no room, a file that cannot be had. What could not be handed over goes
  the way of all events, through the spool, and is lost as little as they are.
- What a datagram or a file has taken is not in the spool's books. UDP loses without a word.
- A file is appended to, a line in one write: several processes may have the same one. One that was moved away
  or removed is opened anew within a second.
- Safe to call from any thread, signal handler and finaliser: there is no lock. After a fork the child goes on
  with the same socket and file.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from io import FileIO
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from .core.span_target import FileTarget, SpanTarget, UdpTarget
from .core.spans import KINDS
from .trouble import why

if TYPE_CHECKING:
    from ..handlers.outlet import Outlet

__all__ = ["SpanOutlet", "with_spans_to"]

_LOG: Final = logging.getLogger("logferry.spans")
_MARK: Final = b'"kind":"'
_ALONE: Final = frozenset({"span", "span_start"})
_BOTH: Final = frozenset(KINDS) - _ALONE
_LOOK: Final = 1.0  # seconds between looks whether a file is still there, or there again


class _Kind(msgspec.Struct):
    kind: object = None


_kind_of: Final = msgspec.json.Decoder(_Kind).decode


class Carrier(Protocol):
    """Takes lines, or says that it cannot."""

    def send(self, line: bytes) -> bool:
        """Take a line; False: it was not taken. Raises OSError or ValueError for the same."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class SpanOutlet:
    """Offers spans to `carrier`, and everything else, and what that does not take, to `outlet`."""

    def __init__(self, outlet: Outlet, carrier: Carrier) -> None:
        self._offer = outlet.offer
        self._carrier = carrier

    def offer(self, event: bytes, /) -> bool:
        """Take one event."""
        if _MARK in event and type(event) is bytes and self._taken(event):
            return True
        return self._offer(event)

    def close(self) -> None:
        """Let go of socket or file; spans go through the spool then."""
        self._carrier.close()

    def _taken(self, event: bytes) -> bool:
        """Hand over what is of a span; True: it need not go through the spool."""
        try:
            kind = _kind_of(event).kind
            return (kind in _ALONE or kind in _BOTH) and self._carrier.send(event) and kind in _ALONE
        except (OSError, ValueError, TypeError, msgspec.MsgspecError):
            return False


def with_spans_to(target: SpanTarget, outlet: Outlet) -> Outlet:
    """Return an outlet that sends spans to `target`. What is wrong there is said, and stops nothing."""
    carrier: Carrier
    match target:
        case None:
            return outlet
        case UdpTarget():
            carrier = Datagrams(target)
        case FileTarget():
            carrier = Lines(target)
    return SpanOutlet(outlet, carrier)


class Datagrams:
    """A datagram for each line."""

    def __init__(self, target: UdpTarget) -> None:
        family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._away = 0.0  # when nobody listened there
        try:
            self._socket.connect((target.host, target.port))  # looks up nothing, and sends nothing
        except OSError as error:  # no way there now
            _say(f"{target.host}:{target.port}", error)

    def send(self, line: bytes) -> bool:
        """Send it.

        That nobody listens is told when the next one is sent, so one is lost; it is not tried again at once.
        """
        if self._away and time.monotonic() - self._away < _LOOK:
            return False
        try:
            sent = self._socket.send(line)
        except ConnectionRefusedError:
            self._away = time.monotonic()
            return False
        self._away = 0.0
        return sent == len(line)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Lines:
    """A line of a file for each."""

    def __init__(self, target: FileTarget) -> None:
        self._path = target.path
        self._file: FileIO | None = None
        self._torn = False
        self._closed = False
        self._looked = -_LOOK
        try:
            self._look(time.monotonic())
        except OSError as error:
            _say(str(self._path), error)

    def send(self, line: bytes) -> bool:
        """Append it."""
        now = time.monotonic()
        if now - self._looked >= _LOOK:
            self._look(now)
        file = self._file
        if file is None:
            return False
        data = b"\n%b\n" % line if self._torn else line + b"\n"
        written = file.write(data)
        if written != len(data):  # the disk is full: a part of a line ends before the next one
            self._torn = self._torn or bool(written)
            return False
        self._torn = False
        return True

    def close(self) -> None:
        """Close the file for good."""
        self._closed = True
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _look(self, now: float) -> None:
        """Open the file unless the one that is open is still the one at the path."""
        self._looked = now
        file = self._file
        if self._closed or (file is not None and self._is_there(file)):
            return
        # A pipe that nobody reads is an error then, and not a wait.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        self._file, self._torn = FileIO(os.open(self._path, flags, 0o600), "ab"), False
        if file is not None:
            file.close()  # another thread that writes to it meets a ValueError, and the spool

    def _is_there(self, file: FileIO) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(file.fileno()))
        except FileNotFoundError:
            return False


def _say(where: str, error: OSError) -> None:
    _LOG.warning("spans: %s: %s; they go through the spool as long as that is so", where, why(error, 0.0))
