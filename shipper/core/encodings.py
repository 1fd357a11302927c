r"""Lines in other encodings than UTF-8: split in the file's own units, given out in UTF-8.

Rules:
- What is no text in its encoding stands in the line as an escape (`\ud800`, `\x81`); nothing is dropped.
- A line knows the bytes that it took in the file, so that places in the file stay places of the file.
- UTF-16 is split at line breaks that stand at even offsets: the same two bytes may lie across two characters.
  It is fed from an even offset on; a byte order mark is not part of it.
- As the splitter for bytes: fed whole, in pieces or byte by byte it gives the same lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Protocol, TypeAlias

from .lines import CutLine, LineSplitter, RecodedLine

__all__ = ["Encoding", "Splitter", "begins_with", "splitter_for"]

Encoding: TypeAlias = Literal["utf-8", "utf-16", "latin-1"]

_MARKS: Final = {"utf-8": b"\xef\xbb\xbf", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}


class Splitter(Protocol):
    """Splits what it is fed into lines."""

    @property
    def pending(self) -> int:
        """The bytes fed that belong to a line without its end yet."""
        ...

    @property
    def newline(self) -> int:
        """The bytes that a line break takes."""
        ...

    def feed(self, chunk: bytes) -> Sequence[bytes]:
        """Return the lines that `chunk` completes, in order."""
        ...

    def flush(self) -> Sequence[bytes]:
        """Return the last line, which has no end; its `size` counts a line break too many."""
        ...


def begins_with(head: bytes, encoding: Encoding) -> tuple[str, int]:
    """Return the encoding of a file that begins with `head`, byte order included, and the mark's length.

    A mark of UTF-16 counts whatever was said; without one UTF-16 is little-endian.
    """
    for name, mark in _MARKS.items():
        if head.startswith(mark) and (name != "utf-8" or encoding == "utf-8"):
            return name, len(mark)
    return ("utf-16-le" if encoding == "utf-16" else encoding), 0


def splitter_for(encoding: str, max_line_bytes: int) -> Splitter:
    """Return the splitter for what `begins_with` named."""
    if encoding.startswith("utf-16"):
        return _Utf16(encoding, max_line_bytes)
    return LineSplitter(max_line_bytes) if encoding == "utf-8" else _OneByte(encoding, max_line_bytes)


class _OneByte:
    """Encodings of one byte a character: split as they are, then recoded."""

    newline = 1

    def __init__(self, encoding: str, max_line_bytes: int) -> None:
        self._encoding = encoding
        self._lines = LineSplitter(max_line_bytes)

    @property
    def pending(self) -> int:
        return self._lines.pending

    def feed(self, chunk: bytes) -> Sequence[bytes]:
        return self._recoded(self._lines.feed(chunk))

    def flush(self) -> Sequence[bytes]:
        return self._recoded(self._lines.flush())

    def _recoded(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        return [line if line.isascii() else _recode(line, self._encoding, 1) for line in lines]


class _Utf16:
    newline = 2

    def __init__(self, encoding: str, max_line_bytes: int) -> None:
        self._encoding = encoding
        self._break = "\n".encode(encoding)
        self._max = max(2, max_line_bytes & ~1)
        self._rest = b""
        self._lost = 0

    @property
    def pending(self) -> int:
        return len(self._rest) + self._lost

    def feed(self, chunk: bytes) -> Sequence[bytes]:
        lines: list[bytes] = []
        # What was cut already is skipped; of it at most one byte is kept, to stay at even offsets.
        data, start = self._rest + chunk, 0
        while (end := self._find(data, start)) >= 0:
            lines.append(self._line(data[start:end], end - start + self._lost))
            self._lost, start = 0, end + 2
        rest = data[start:]
        if len(rest) > self._max + 1:
            keep = rest[: self._max] + rest[len(rest) & ~1 :]
            self._lost += len(rest) - len(keep)
            rest = keep
        self._rest = rest
        return lines

    def flush(self) -> Sequence[bytes]:
        rest, took = self._rest, self.pending
        self._rest, self._lost = b"", 0
        return [self._line(rest, took)] if took else []

    def _find(self, data: bytes, start: int) -> int:
        at = data.find(self._break, start)
        while at >= 0 and (at - start) % 2:
            at = data.find(self._break, at + 1)
        return at

    def _line(self, raw: bytes, took: int) -> bytes:
        if len(raw) > self._max or took > len(raw):
            kept = raw[: self._max]
            return _recode(CutLine(kept, took - len(kept)), self._encoding, 2)
        return _recode(raw, self._encoding, 2)


def _recode(line: bytes, encoding: str, newline: int) -> bytes:
    """Return a line in UTF-8; bytes that are no characters become escapes."""
    text = bytes(line).decode(encoding, "backslashreplace").encode("utf-8", "backslashreplace")
    if isinstance(line, CutLine):
        return CutLine(text, line.lost, len(line) + line.lost + newline)
    return RecodedLine(text, len(line) + newline)
