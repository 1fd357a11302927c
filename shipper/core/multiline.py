r"""Joining the lines of one Python record: message, indented continuation, traceback with its causes.

A state machine over lines, chunking-invariant like the splitter before it. A group is `(lines, size)`: the
lines joined with `\n`, and the bytes that they took in the file. Rules:

- An indented line belongs to the group before it, and so does `Traceback (most recent call last):`.
- Inside a traceback indented lines go on; the first that is not indented is the exception's and ends it.
  `During handling of …` and `The above exception …` (after blank lines) open the next one.
- A line that begins with `{` is a record of its own. A group beyond `max_bytes` is given out, and the next
  line begins another.
- Nobody can see from a group's last line that it is complete: `flush` when nothing came for a while.
"""

from __future__ import annotations

from typing import Final

from .lines import size

__all__ = ["TracebackJoiner"]

_HEAD: Final = b"Traceback (most recent call last):"
_GROUP_HEAD: Final = b"+ Exception Group Traceback (most recent call last):"
_CHAINS: Final = (
    b"During handling of the above exception, another exception occurred:",
    b"The above exception was the direct cause of the following exception:",
)
_PLAIN, _INSIDE, _BEHIND, _CHAINED = range(4)


class TracebackJoiner:
    """Joins lines into records; `feed` gives out what has become complete."""

    __slots__ = ("_blank", "_group", "_max", "_size", "_state", "_text")

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._group: list[bytes] = []
        self._blank: list[bytes] = []
        self._state = _PLAIN
        self._size = 0
        self._text = 0

    @property
    def pending(self) -> int:
        """The bytes of lines that were fed and not given out."""
        return self._size

    def feed(self, line: bytes) -> list[tuple[bytes, int]]:
        """Return the groups that `line` shows to be complete."""
        if self._group and not line.strip():
            self._blank.append(line)  # belongs to the group only if the traceback's next part follows
            self._size += size(line)
            return []
        state = self._next_state(line)
        if state is None or self._text + len(line) > self._max:
            done = self.flush()
            self._state = _INSIDE if self._opens(line) else _PLAIN
        else:
            done = []
            self._group += self._blank
            self._blank.clear()
            self._state = state
        self._group.append(line)
        self._size += size(line)
        self._text += len(line) + 1
        return done

    def flush(self) -> list[tuple[bytes, int]]:
        """Give out the group at hand, complete or not."""
        if not self._group:
            return []
        lines = self._group
        joined = lines[0] if len(lines) == 1 else b"\n".join(line.rstrip(b"\r") for line in lines)
        done = [(joined, self._size)]
        self._group, self._blank = [], []
        self._state, self._size, self._text = _PLAIN, 0, 0
        return done

    @staticmethod
    def _opens(line: bytes) -> bool:
        return line.startswith(_HEAD) or line.lstrip().startswith(_GROUP_HEAD)

    def _next_state(self, line: bytes) -> int | None:
        """Return the state after `line` as part of the group; None: it begins another."""
        if not self._group or line.startswith(b"{"):
            return None
        state = self._state
        if self._opens(line):
            return None if self._blank and state != _CHAINED else _INSIDE
        if line.startswith(_CHAINS) and state == _BEHIND:
            return _CHAINED
        if state == _INSIDE:
            return _INSIDE if line[:1] in {b" ", b"\t"} else _BEHIND
        if line[:1] in {b" ", b"\t"} and not self._blank:
            return state
        return None
