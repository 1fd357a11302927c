"""Compressed predecessors of log files (gz, zst, xz): read once, and not at all what was read uncompressed.

Rules:
- What counts is the content: places, fingerprints and the bytes before a place are of the decompressed bytes.
- Whether it is a copy shows at the places where the files that it may be a copy of were left: up to there it
  is only decompressed. If one is, its lines go on behind that place, else all are new.
- A file that does not end yet (still being compressed) is gone on with when it has grown. One that is
  damaged, or stays without an end, is read as far as it goes, which is said.
- Memory is bounded: what comes out of one piece is taken in pieces.
"""

from __future__ import annotations

import lzma
import os
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..core.tail import TAIL_BYTES, Position, fingerprint
from ..floor import FLOOR
from .file_tail import CHUNK

if TYPE_CHECKING:
    from .file_feed import Feed
    from .file_places import Places

__all__ = ["DamagedError", "PackedTail", "Unpacker", "missing"]

_PIECE: Final = 64 * 1024  # compressed bytes at once


class DamagedError(Exception):
    """What is there does not decompress."""


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """zlib's decoder with the ways of those for xz and zstd."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _decoder(kind: str) -> _Decoder:
    if kind == "gz":
        return _Gzip()
    if kind == "xz":
        return lzma.LZMADecompressor(lzma.FORMAT_XZ)
    made: _Decoder = _zstd().ZstdDecompressor()
    return made


def _zstd() -> Any:
    import sys

    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd
    from backports import zstd as older

    return older


def missing(kind: str) -> str:
    """Return what has to be installed to read such files; `""`: nothing."""
    if kind == "zst":
        try:
            _zstd()
        except ImportError:
            return "pip install 'logferry[files]'"
    return ""


class Unpacker:
    """The content of a compressed file, in order; several streams behind one another are one."""

    def __init__(self, file: int, kind: str) -> None:
        self._file = file
        self._kind = kind
        self._decoder = _decoder(kind)
        self._at = 0
        self._left = b""  # read and not decoded: it belongs to the next stream

    @property
    def whole(self) -> bool:
        """Whether what was read so far is complete: it ends where a stream ends."""
        return self._decoder.eof and not self._left

    def read(self, limit: int) -> bytes:
        """Return up to `limit` bytes; nothing: at the file's present end. Raises DamagedError."""
        try:
            while True:
                if self._decoder.eof:
                    rest = self._left or self._decoder.unused_data or self._more()
                    if not rest.strip(b"\0"):  # padding, or the end
                        self._left = b""
                        return b""
                    self._decoder, self._left = _decoder(self._kind), rest
                data = self._left if self._decoder.needs_input else b""
                if self._decoder.needs_input:
                    data, self._left = self._left or self._more(), b""
                    if not data and self._kind != "gz":
                        return b""
                made = self._decoder.decompress(data, limit)
                if made or not (data or self._decoder.eof):
                    return made
        except (zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
            raise DamagedError(str(error)) from None
        except Exception as error:
            if type(error).__name__ == "ZstdError":
                raise DamagedError(str(error)) from None
            raise

    def _more(self) -> bytes:
        piece = os.pread(self._file, _PIECE, self._at)
        self._at += len(piece)
        return piece


class PackedTail:
    """A compressed file on its way. `origins` are the positions that it may go on from."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a file is
        self,
        path: str,
        facts: os.stat_result,
        file: int,
        kind: str,
        places: Places,
        part: str,
        head: bytes,
        origins: Sequence[Position],
        fresh: Callable[[bytes], Feed],
        mark: Callable[[bytes], int],
    ) -> None:
        self.path = path
        self.key = facts.st_dev, facts.st_ino
        self.part = part
        self.offset = self.at = 0
        self.copy_of: Position | None = None
        self._file = file
        self._kind = kind
        self._places = places
        self._origins = sorted(origins, key=lambda origin: origin.offset)
        self._fresh = fresh
        self._mark = mark
        self._content = Unpacker(file, kind)
        self._recent = b""
        self._head = head
        self._feed: Feed | None = None
        self._skip = 0
        if not self._origins:
            self._begin(0)

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self._file)

    def turn(self, limit: int) -> bool:
        """Read about `limit` bytes; False: at the file's present end. Raises DamagedError."""
        done = 0
        while done < limit:
            if self._feed is None and not self._due():
                continue
            chunk = self._content.read(self._next())
            if not chunk:
                if self._feed is None and self._content.whole:  # shorter than what it might be a copy of
                    self.decide()
                    continue
                return False
            done += len(chunk)
            self.at += len(chunk)
            self._recent = self._recent[-TAIL_BYTES:] + chunk
            if self._feed is not None and self.at > self._skip:
                with FLOOR:
                    self._append(self._feed.feed(chunk))
        return True

    @property
    def decided(self) -> bool:
        """Whether it is known from where on its lines are new."""
        return self._feed is not None

    def facts(self) -> os.stat_result:
        """Return what the system says of it."""
        return os.fstat(self._file)

    def decide(self) -> None:
        """Do not wait for more to compare: what has not shown to be a copy is none."""
        self._origins.clear()

    def finish(self) -> None:
        """Append what there is, the last line although it has no end, and note that it was read."""
        if self._feed is not None:
            self._append(self._feed.rest())
        self._places.store(self.part, self._position(os.fstat(self._file).st_size))

    def pass_over(self) -> None:
        """Note that it is not to be read."""
        self._places.store(self.part, self._position(os.fstat(self._file).st_size))

    @property
    def whole(self) -> bool:
        """Whether it is complete."""
        return self._content.whole

    def _next(self) -> int:
        """Return how much may be read at once: up to the next place at which something is to be looked at."""
        stop = self._origins[0].offset if self._feed is None else self._skip
        return min(CHUNK, stop - self.at) if stop > self.at else CHUNK

    def _due(self) -> bool:
        """Look whether it is a copy of what was left here; False when that is decided, and reading begins."""
        while self._origins and self._origins[0].offset <= self.at:
            origin = self._origins.pop(0)
            tail = self._recent[-origin.tail_length :] if origin.tail_length else b""
            if (
                origin.offset == self.at
                and len(self._head) >= origin.length
                and fingerprint(self._head[: origin.length]) == origin.fingerprint
                and (not tail or fingerprint(tail) == origin.tail)
            ):
                self.copy_of = origin
        if self._origins:
            return True
        start = self.copy_of.offset if self.copy_of is not None else 0
        if start < self.at:
            self._content = Unpacker(self._file, self._kind)
            self._recent, self.at = b"", 0
        self._begin(start)
        return False

    def _begin(self, start: int) -> None:
        self._skip = self.offset = max(start, self._mark(self._head))
        self._feed = self._fresh(self._head)

    def _append(self, blocks: Any) -> None:
        for block, taken in blocks:
            self.offset += taken
            if block:
                self._places.store(self.part, self._position(-1), block)

    def _position(self, packed: int) -> Position:
        end = len(self._recent) - (self.at - self.offset)
        tail = self._recent[max(0, end - TAIL_BYTES) : end] if end > 0 else b""
        return Position(
            self.path,
            *self.key,
            fingerprint(self._head),
            len(self._head),
            self.offset,
            fingerprint(tail) if tail else "",
            len(tail),
            packed,
        )
