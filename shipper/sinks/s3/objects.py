"""Which events go into which object, its key and its bytes. Pure.

Rules

- An object holds the events of one batch that share its key but for the id: usually one hour of one service.
  Hours are those of the events, in UTC; events without a readable time go to `undated/00`.
- The key holds the id of the object's first event, and of nothing later. So whatever is delivered again from
  the same place of the spool (a retry, the halves of a batch, the next start after a kill) overwrites the
  object with the same events, or with the same and those that have come since. A key that named the last
  event as well would leave both, and the events twice. It is this spool's id, whatever id an event carries
  from elsewhere: that one may come twice, and with other events behind it.
- Lines are the events, with `event_id` in front of their fields. gzip's header holds no time: the same events
  make the same bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from ...core.heads import Clock, Head, Heads
from ...core.identified import identified
from ...core.template import Template
from ...model import Batch, event_id
from .config import ID

__all__ = ["CHUNK", "Archive", "Compression", "Piece"]

Compression: TypeAlias = Literal["gzip", "zstd", "none", "parquet"]
"""How NDJSON is compressed; `parquet`: the objects' bytes are made elsewhere (`parquet.py`)."""

_HOUR: Final = 3_600_000
CHUNK: Final = 200
"""Events taken at once."""

_OWN: Final = ("date", "hour", ID)
_PLAIN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-=")
_ENDINGS: Final = {
    "gzip": ".ndjson.gz",
    "zstd": ".ndjson.zst",
    "none": ".ndjson",
    "parquet": ".parquet",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """One object: its key and the events in it, by index in the batch."""

    key: str
    indexes: Sequence[int]


@dataclass(slots=True)
class Archive:
    """Makes objects of batches."""

    template: Template
    compression: Compression
    _heads: Heads = field(init=False)
    _clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self._heads = Heads([name for name in self.template.fields if name not in _OWN])

    def pieces(self, batch: Batch) -> list[Piece]:
        """Return the batch's objects, in the order of their first events."""
        found: dict[Any, list[int]] = {}
        for index, head in enumerate(self._heads.read(batch.lines)):
            found.setdefault(self._place(head), []).append(index)
        return [
            Piece(self._key(place, event_id(batch.spool, batch.sequences[indexes[0]])), indexes)
            for place, indexes in found.items()
        ]

    def content(self, batch: Batch, piece: Piece, rest: Callable[[], object] = lambda: None) -> bytes:
        """Return an object's bytes. `rest` is called between small pieces of work."""
        parts = []
        add, finish = _compressor(self.compression)
        for text in _texts(batch, piece.indexes):
            parts.append(add(text))
            rest()
        return b"".join([*parts, finish()])

    def _place(self, head: Head | None) -> tuple[object, ...]:
        """Return what events of one object have in common: the hour and the template's values."""
        if head is None:
            return (None,)
        at = self._clock.milliseconds(head.t)
        hour = None if at is None or at < 0 else at // _HOUR
        return (hour, *(value if _simple(value) else None for value in self._heads.values(head)))

    def _key(self, place: tuple[Any, ...], first: str) -> str:
        hour, *values = place
        date, clock = "undated", "00"
        if hour is not None:
            moment = datetime.fromtimestamp(hour * 3600, UTC)
            date, clock = f"{moment:%Y-%m-%d}", f"{moment:%H}"
        own = {"date": date, "hour": clock, ID: first}
        rest = iter(values)
        filled = [own[name] if name in own else next(rest, None) for name in self.template.fields]
        return self.template.render(filled, _clean) + _ENDINGS[self.compression]


def _simple(value: object) -> bool:
    return isinstance(value, (str, int, float))


def _clean(text: str) -> str:
    """Return a value as a part of a key: no slashes, no dots alone, nothing that needs quoting."""
    plain = "".join(character if character in _PLAIN else "_" for character in text[:100])
    return plain if plain.strip(".") else plain.replace(".", "_")


def _texts(batch: Batch, indexes: Sequence[int]) -> Iterator[bytes]:
    """Yield the lines, some at a time: a batch is not held twice."""
    spool, sequences, lines = batch.spool.encode(), batch.sequences, batch.lines
    for start in range(0, len(indexes), CHUNK):
        rows = [
            identified(lines[index], b"%b-%d" % (spool, sequences[index]))
            for index in indexes[start : start + CHUNK]
        ]
        yield b"\n".join([*rows, b""])


def _compressor(kind: Compression) -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    if kind == "gzip":
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)
        return packer.compress, packer.flush
    if kind == "none":
        return bytes, bytes
    assert kind == "zstd", "Parquet is made elsewhere"
    from cramjam import zstd

    squeezer = zstd.Compressor(level=3)

    def add(data: bytes) -> bytes:
        squeezer.compress(data)
        return b""

    return add, lambda: bytes(squeezer.finish())
