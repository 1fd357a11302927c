"""Lumberjack, the protocol between Beats and Logstash: bytes in, frames out; in any pieces the same. Pure.

    version 'W' uint32 count                            so many events follow until an acknowledgement is due
    version 'J' uint32 sequence uint32 length JSON      an event
    version 'D' uint32 sequence uint32 pairs { uint32 length key uint32 length value }   an event of version 1
    version 'C' uint32 length zlib                      frames, packed
    version 'A' uint32 sequence                         what we answer: all up to here is stored

- Version is `1` or `2`; integers are big endian.
- Packed frames are unpacked piece by piece: whatever they unpack to, no more than a piece is held.
- An event longer than `limit` is cut there (`CutLine`); its rest is skipped as it comes.
- What is none of this is a `ProtocolError`: there is no way to find the next frame.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

import orjson

from ...core.lines import CutLine

__all__ = ["FrameReader", "Item", "ProtocolError", "Window", "acknowledgement"]

_TWO: Final = Struct(">II").unpack_from
_ONE: Final = Struct(">I").unpack_from
_PIECE: Final = 64 * 1024
_MOST_PAIRS: Final = 1_000
_VERSIONS: Final = b"12"


class ProtocolError(Exception):
    """What arrived is not lumberjack."""


@dataclass(frozen=True, slots=True)
class Window:
    """So many events follow. `version` is the sender's."""

    version: int
    count: int


@dataclass(frozen=True, slots=True)
class Item:
    """An event: a JSON object, if it is whole."""

    sequence: int
    payload: bytes


Frame = Window | Item


def acknowledgement(version: int, sequence: int) -> bytes:
    """Return the frame that says: everything up to `sequence` is stored."""
    return bytes([version]) + b"A" + sequence.to_bytes(4, "big")


class FrameReader:
    """Reads the stream of one connection."""

    __slots__ = ("_cut", "_inner", "_left", "_limit", "_packed", "_rest", "_skip", "_stream")

    def __init__(self, limit: int, *, packed: bool = False) -> None:
        self._limit = limit
        self._packed = packed  # these are frames within a frame: there is no third level
        self._rest = bytearray()
        self._left = 0  # bytes of a packed frame that are still to come
        self._inner: FrameReader | None = None
        self._stream = zlib.decompressobj()
        self._cut: tuple[int, bytes, int] | None = None  # sequence, beginning, bytes lost
        self._skip = 0  # bytes of it still to be skipped

    @property
    def pending(self) -> bool:
        """Whether there is the beginning of a frame that has no end yet."""
        return bool(self._rest or self._left or self._cut)

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Yield what `chunk` completes, in order; must be gone through to its end."""
        self._rest += chunk
        while True:
            if self._left:
                if not self._rest:
                    return
                yield from self._unpack()
            elif self._cut is not None:
                if not self._rest:
                    return
                found = self._skip_rest()
                if found is not None:
                    yield found
            else:
                size, frame = self._next()
                if size == 0:
                    return
                del self._rest[:size]
                if frame is not None:
                    yield frame

    def _next(self) -> tuple[int, Frame | None]:
        """Return how long the frame at the beginning is (0: not whole yet) and what it is."""
        rest = self._rest
        if len(rest) < 2:
            if rest and rest[0] not in _VERSIONS:
                raise ProtocolError("not lumberjack")
            return 0, None
        version, kind = rest[0], bytes(rest[1:2])
        if version not in _VERSIONS or kind not in {b"W", b"J", b"D", b"C"}:
            raise ProtocolError("not lumberjack")
        if len(rest) < (6 if kind in {b"W", b"C"} else 10):
            return 0, None
        if kind == b"W":
            return 6, Window(version, _ONE(rest, 2)[0])
        if kind == b"C":
            self._open(_ONE(rest, 2)[0])
            return 6, None
        sequence, number = _TWO(rest, 2)
        return self._json(sequence, number) if kind == b"J" else self._pairs(sequence, number)

    def _json(self, sequence: int, size: int) -> tuple[int, Frame | None]:
        rest = self._rest
        if size > self._limit:
            if len(rest) < 10 + self._limit:
                return 0, None
            self._skip = size - self._limit
            self._cut = sequence, bytes(rest[10 : 10 + self._limit]), self._skip
            return 10 + self._limit, None
        if len(rest) < 10 + size:
            return 0, None
        return 10 + size, Item(sequence, bytes(rest[10 : 10 + size]))

    def _pairs(self, sequence: int, pairs: int) -> tuple[int, Frame | None]:
        if pairs > _MOST_PAIRS:
            raise ProtocolError(f"an event with {pairs} fields")
        at, texts = 10, list[str]()
        for _ in range(2 * pairs):
            if len(self._rest) < at + 4:
                return 0, None
            size = _ONE(self._rest, at)[0]
            if size > self._limit or at > 2 * self._limit:
                raise ProtocolError(f"an event with a field of {size} bytes")
            if len(self._rest) < at + 4 + size:
                return 0, None
            texts.append(self._rest[at + 4 : at + 4 + size].decode("utf-8", "replace"))
            at += 4 + size
        return at, Item(sequence, orjson.dumps(dict(zip(texts[::2], texts[1::2], strict=True))))

    def _open(self, size: int) -> None:
        if self._packed or not size:
            raise ProtocolError("packed frames within packed frames, or none in them")
        self._left = size
        self._inner, self._stream = FrameReader(self._limit, packed=True), zlib.decompressobj()

    def _unpack(self) -> Iterator[Frame]:
        """Unpack what there is of a packed frame."""
        assert self._inner is not None
        piece = bytes(self._rest[: self._left])
        del self._rest[: len(piece)]
        self._left -= len(piece)
        try:
            while piece:
                data = self._stream.decompress(piece, _PIECE)
                yield from self._inner.feed(data)
                piece = self._stream.unconsumed_tail
                if not data and not piece:
                    break
            if not self._left:
                yield from self._inner.feed(self._stream.flush())
        except zlib.error as error:
            raise ProtocolError(f"a packed frame that is none: {error}") from None
        if not self._left:
            if not self._stream.eof or self._inner.pending:
                raise ProtocolError("a packed frame without its end")
            self._inner = None

    def _skip_rest(self) -> Frame | None:
        assert self._cut is not None
        took = min(self._skip, len(self._rest))
        del self._rest[:took]
        self._skip -= took
        if self._skip:
            return None
        sequence, beginning, lost = self._cut
        self._cut = None
        return Item(sequence, CutLine(beginning, lost))
