"""A connection to a syslog receiver that is watched: whether it stands, and has taken what was sent.

- `alive` finds a connection that was closed or reset before anything is written to it. What a receiver says
  (it has nothing to say) is read and forgotten.
- `taken` waits until the receiver's system has acknowledged every byte (Linux tells; elsewhere it cannot be
  known).
- `finish` ends our side and waits until the receiver has ended its own. It does so after having read
  everything: an end without a reset is its word that it has.
- Every wait is bounded by `timeout`, however slowly the other side takes or gives.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import sys
import time
from contextlib import suppress
from typing import Final

__all__ = ["Connection"]

_PIECE: Final = 65_536
_WORDS: Final = 64
"""Reads of what a receiver says, before it is left to say the rest."""

_LOOK: Final = 0.02
"""Seconds between two looks whether all is acknowledged, at most."""


class Connection:
    """One connection, made at once. Raises OSError (TLS's errors included) for whatever goes wrong."""

    def __init__(self, address: tuple[str, int], timeout: float, tls: ssl.SSLContext | None) -> None:
        self._timeout = timeout
        deadline = time.monotonic() + timeout
        sock = socket.create_connection(address, timeout)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                sock.settimeout(max(deadline - time.monotonic(), 0.001))
                sock = tls.wrap_socket(sock, server_hostname=address[0])
        except BaseException:
            sock.close()
            raise
        self._sock = sock

    def alive(self, wait: float = 0.0) -> bool:
        """Whether the receiver neither closes nor resets the connection within `wait` seconds."""
        deadline = time.monotonic() + wait
        for _ in range(_WORDS):
            if not _readable(self._sock, max(deadline - time.monotonic(), 0.0)):
                return True
            self._sock.settimeout(0)
            try:
                if not self._sock.recv(_PIECE):
                    return False
            except (BlockingIOError, ssl.SSLWantReadError):
                pass  # a record of TLS's own, such as a session ticket
            except OSError:
                return False
        return True

    def send(self, data: bytes) -> None:
        """Give all of it to the system."""
        deadline = time.monotonic() + self._timeout
        rest = memoryview(data)
        while rest:
            self._sock.settimeout(_left(deadline))
            rest = rest[self._sock.send(rest[:_PIECE]) :]

    def taken(self) -> None:
        """Wait until the receiver's system has all of it."""
        deadline = time.monotonic() + self._timeout
        pause = 0.000_2
        while _unacknowledged(self._sock):
            if not self.alive(min(pause, _left(deadline))):
                raise ConnectionResetError("closed before all was taken")
            pause = min(pause * 2, _LOOK)

    def finish(self) -> None:
        """End our side, and wait for the receiver to end its own."""
        deadline = time.monotonic() + self._timeout
        if isinstance(self._sock, ssl.SSLSocket):
            self._sock.settimeout(0)
            with suppress(ssl.SSLError, ValueError):
                # Our farewell. The receiver's own may never come; its end of the connection does.
                self._sock.unwrap()
        # From here on a TLS socket is a plain one: what TLS still has to say is not looked at.
        self._sock.shutdown(socket.SHUT_WR)
        while True:
            self._sock.settimeout(_left(deadline))
            if not self._sock.recv(_PIECE):
                break
        self.close()

    def reset(self) -> None:
        """Cut it."""
        with suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close our end; what the system still holds is sent."""
        with suppress(OSError):
            self._sock.close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("not taken in time")
    return left


def _readable(sock: socket.socket, seconds: float) -> bool:
    poll = select.poll()  # not `select`: an application may have more than 1,024 files open
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _unacknowledged(sock: socket.socket) -> int:
    """Return the bytes that the other side has not acknowledged; 0 where the system does not tell."""
    if sys.platform != "linux":
        return 0
    import fcntl
    import termios

    return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0])
