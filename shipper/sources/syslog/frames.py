r"""A stream as messages and lines: fed whole, in pieces or byte by byte it gives the same ones. Pure.

Rules

- A message begins with `<`, a digit or anything else, and that says how it ends.
- `123 <…`: RFC 6587's octet counting, if the count is followed by one space and `<`. So many bytes are the
  message, whatever they are. Without that it is a line that begins with a number.
- `<…`: it ends with a line break, or with a NUL as `logging.handlers.SysLogHandler` sends it.
- Anything else is a line. A `\r` before its end stays: it is the parser's to strip.
- What is longer than `limit` is cut there (`CutLine`), and its rest is skipped as it comes, never held.
- NULs and line breaks between messages are nothing.
- Where `syslog` is false everything is a line.
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import Final

from ...core.lines import CutLine, LineSplitter

__all__ = ["FrameSplitter"]

_COUNT: Final = re.compile(rb"[1-9][0-9]{0,9} <")
_ENDS: Final = re.compile(rb"[\n\0]")
_ODD: Final = frozenset([b"<", b"\0", b"", *(bytes([digit]) for digit in b"0123456789")])
_BETWEEN: Final = b"\n\0"


class FrameSplitter:
    """Splits a stream of bytes into messages and lines of at most `limit` bytes."""

    __slots__ = ("_cut", "_lines", "_lost", "_rest", "_skip", "_wanted", "limit")

    def __init__(self, limit: int, *, syslog: bool = True) -> None:
        self.limit = limit
        self._lines = None if syslog else LineSplitter(limit)
        self._rest = bytearray()
        self._cut = b""  # the beginning of a message that is too long
        self._lost = 0  # bytes of it that were skipped
        self._skip = 0  # bytes of a counted message that are still to be skipped
        self._wanted = 0  # bytes of a counted message that is held

    @property
    def pending(self) -> bool:
        """Whether there is the beginning of something that has no end yet."""
        if self._lines is not None:
            return self._lines.pending > 0
        return bool(self._rest or self._cut or self._wanted or self._skip)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return what `chunk` completes, in order."""
        if self._lines is not None:
            return self._lines.feed(chunk)
        found = None if self.pending else self._plain(chunk)
        if found is None:
            found = []
            self._rest += chunk
        at = 0
        while at < len(self._rest):
            next_at = self._next(at, found)
            if next_at < 0:
                break
            at = next_at
        del self._rest[:at]
        return found

    def flush(self) -> list[bytes]:
        """Return what has no end, and begin anew."""
        if self._lines is not None:
            return self._lines.flush()
        rest, self._rest = bytes(self._rest), bytearray()
        cut, lost = self._cut, self._lost
        self._cut, self._lost, self._skip, self._wanted = b"", 0, 0, 0
        if cut:
            return [CutLine(cut, lost)]
        rest = rest.strip(_BETWEEN)
        return [rest] if rest else []

    def _plain(self, chunk: bytes) -> list[bytes] | None:
        """Return lines that nothing of syslog is in, all at once; None: it must be looked at."""
        if b"\0" in chunk:
            return None
        lines = chunk.split(b"\n")
        if max(map(len, lines)) > self.limit:
            return None
        heads = set(map(itemgetter(slice(0, 1)), lines[:-1]))
        if not _ODD.isdisjoint(heads):
            return None
        self._rest += lines.pop()
        return lines

    def _next(self, at: int, found: list[bytes]) -> int:
        """Take one thing that begins at `at`; return where it ends, or -1: it does not yet."""
        if self._skip:
            return self._skip_counted(at, found)
        if self._cut:
            return self._skip_line(at, found)
        return self._counted(at, found) if self._wanted else self._begin(at, found)

    def _begin(self, at: int, found: list[bytes]) -> int:
        """Take a message or a line from its beginning."""
        rest = self._rest
        first = rest[at]
        if first in _BETWEEN:
            return at + 1
        if 0x31 <= first <= 0x39:
            head = bytes(rest[at : at + 12])
            count = _COUNT.match(head)
            if count is not None:
                self._wanted = int(count[0][:-2])
                return at + count.end() - 1
        return self._line(at, found)

    def _line(self, at: int, found: list[bytes]) -> int:
        rest = self._rest
        if rest[at] == 0x3C:
            match = _ENDS.search(rest, at)
            end = match.start() if match else -1
        else:
            end = rest.find(b"\n", at)
        if end < 0 and len(rest) - at <= self.limit:
            return -1
        if 0 <= end <= at + self.limit:
            found.append(bytes(rest[at:end]))
            return end + 1
        self._cut = bytes(rest[at : at + self.limit])
        return at + self.limit

    def _skip_line(self, at: int, found: list[bytes]) -> int:
        """Skip the rest of a line that was cut."""
        rest = self._rest
        if self._cut[0] == 0x3C:
            match = _ENDS.search(rest, at)
            end = match.start() if match else -1
        else:
            end = rest.find(b"\n", at)
        if end < 0:
            self._lost += len(rest) - at
            return len(rest)
        found.append(CutLine(self._cut, self._lost + end - at))
        self._cut, self._lost = b"", 0
        return end + 1

    def _counted(self, at: int, found: list[bytes]) -> int:
        """Take a message whose length is known."""
        wanted = self._wanted
        if wanted > self.limit:
            if len(self._rest) - at < self.limit:
                return -1
            self._cut = bytes(self._rest[at : at + self.limit])
            self._lost, self._skip, self._wanted = wanted - self.limit, wanted - self.limit, 0
            return at + self.limit
        if len(self._rest) - at < wanted:
            return -1
        self._wanted = 0
        message = bytes(self._rest[at : at + wanted]).rstrip(_BETWEEN)
        if message:
            found.append(message)
        return at + wanted

    def _skip_counted(self, at: int, found: list[bytes]) -> int:
        took = min(self._skip, len(self._rest) - at)
        self._skip -= took
        if not self._skip:
            found.append(CutLine(self._cut, self._lost))
            self._cut, self._lost = b"", 0
        return at + took
