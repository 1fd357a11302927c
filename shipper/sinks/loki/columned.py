"""Events framed from what was written beside their lines (`core/columns.py`): no line is decoded.

An entry is some pieces, as in `loop`; here each piece is made for all events at once, and one join writes
them. It gives byte for byte what the plain way gives, or raises `Unfit`; then the lines are decoded. Rules:

- Every label and every metadata field must be known from the columns, with the type that the schema has for
  it.
- Texts of one length are written as they stand; a field with few values by a table of framed pairs; numbers
  as `loop` writes them; other texts one by one, as long as they are short.
- Lines are from 128 to some 4000 bytes long: then what opens them is found in a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, compress, repeat
from operator import add
from struct import Struct
from typing import Any, Final, NamedTuple

from ...core.columns import Columns, Scalar, unpack
from ...model import Beside
from .loop import column
from .metadata import frame_pairs, openings
from .protobuf import field_two

__all__ = ["Columned", "Shared", "Unfit"]

_NONE: Final = type(None)
_TYPES: Final[Mapping[str, frozenset[type]]] = {
    "string": frozenset((str, _NONE)),
    "integer": frozenset((int, _NONE)),
    "boolean": frozenset((bool, _NONE)),
    "number": frozenset((int, float, _NONE)),
}
_SHORTEST: Final = 128
_TIME: Final = 27


class Unfit(Exception):  # noqa: N818 - nothing is wrong
    """These lines must be decoded."""


class Shared(NamedTuple):
    """What the entries of some events with consecutive sequences share, or have one by one."""

    stamps: Iterable[bytes]
    nanos: Sequence[bytes]
    own: bytes
    tails: Sequence[bytes]


class _Pieces:
    """The framed metadata of events: pieces for each, with their lengths, and what is the same in all."""

    def __init__(self) -> None:
        self.made: list[Iterable[bytes]] = []
        self.sizes: list[Iterable[int]] = []
        self.size = 0
        self._same = b""

    def same(self, piece: bytes) -> None:
        self._same += piece
        self.size += len(piece)

    def put(self, pieces: Iterable[bytes]) -> None:
        if self._same:
            self.made.append(repeat(self._same))
            self._same = b""
        self.made.append(pieces)

    def all(self) -> list[Iterable[bytes]]:
        if self._same:
            self.made.append(repeat(self._same))
        return self.made


class Columned:
    """The columns of one frame. `labels` and `metadata` are fields; `types` the schema's."""

    def __init__(
        self, beside: Beside, labels: Sequence[str], metadata: Sequence[str], types: Mapping[str, str]
    ) -> None:
        self.beside = beside
        self.first = beside.first
        self.stop = beside.first + beside.size
        columns = unpack(beside.columns)
        whole = columns is not None and columns.count == beside.size
        self._columns = columns or Columns(0, [], {}, {}, {}, {})
        self.fits = whole and _fits(self._columns, labels, metadata, types)
        self._labels, self._metadata, self._types = labels, metadata, types

    def times(self, start: int, stop: int) -> str:
        """Return the times of events (places in the frame), joined."""
        held = self._columns.even.get("timestamp")
        if held is None:
            return str(self._columns.alike["timestamp"]) * (stop - start)
        return held[_TIME * start : _TIME * stop].decode()

    def frame(
        self,
        start: int,
        lines: Sequence[bytes],
        shared: Shared,
        opens: Callable[[int], Sequence[bytes]],
        put: Callable[[tuple[Scalar, ...], int, bytes], None],
    ) -> None:
        """Frame events whose first has the place `start`. Raises Unfit before anything is `put`.

        `opens` returns the openings of entries with so many bytes beside what varies; `put` takes the values
        of labels, with the number of entries and the entries of their stream.
        """
        lengths = list(map(len, lines))
        if min(lengths) < _SHORTEST:
            raise Unfit
        stop = start + len(lines)
        try:
            pieces = self._pieces(start, stop)
            begins = list(map(field_two().__getitem__, lengths))
            sizes: Iterable[int] = lengths
            for more in pieces.sizes:
                sizes = map(add, sizes, more)
            entries = list(map(opens(pieces.size).__getitem__, sizes))
        except IndexError:
            raise Unfit from None
        rows: Iterable[tuple[bytes, ...]] = zip(
            entries,
            shared.stamps,
            shared.nanos,
            begins,
            lines,
            repeat(shared.own),
            shared.tails,
            *pieces.all(),
        )
        keys = [self._values(name, start, stop) for name in self._labels]
        if all(isinstance(key, repeat) for key in keys):
            put(tuple([next(iter(key)) for key in keys]), len(lines), b"".join(chain.from_iterable(rows)))
            return
        labels = list(zip(*keys, strict=False))
        rows = list(rows)
        for key in dict.fromkeys(labels):
            chosen = list(map(key.__eq__, labels))
            put(key, sum(chosen), b"".join(chain.from_iterable(compress(rows, chosen))))

    def _values(self, name: str, start: int, stop: int) -> Iterable[Scalar]:
        """Return a field's values, one for each event; a `repeat` when they are all the same."""
        columns = self._columns
        if (held := columns.even.get(name)) is not None:
            return [value.decode() for value in _parted(held, columns.count, start, stop)]
        if (few := columns.few.get(name)) is not None:
            return list(map(few[0].__getitem__, few[1][start:stop]))
        if (values := columns.each.get(name)) is not None:
            return values[start:stop]
        return repeat(columns.alike.get(name))

    def _pieces(self, start: int, stop: int) -> _Pieces:
        """Return the framed metadata of events. Raises IndexError for texts too long for the tables."""
        columns, pieces = self._columns, _Pieces()
        for name in self._metadata:
            if (held := columns.even.get(name)) is not None:
                length = len(held) // columns.count
                pieces.same(_openings(name)[0][length])
                pieces.put(_parted(held, columns.count, start, stop))
                pieces.size += length
            elif (few := columns.few.get(name)) is not None:
                framed, codes = [_pair(name, value) for value in few[0]], few[1][start:stop]
                pieces.put(list(map(framed.__getitem__, codes)))
                pieces.sizes.append(list(map([*map(len, framed)].__getitem__, codes)))
            elif (values := columns.each.get(name)) is not None:
                _write(pieces, name, self._types[name], values[start:stop])
            else:
                pieces.same(_pair(name, columns.alike.get(name)))
        return pieces


def _pair(name: str, value: Scalar) -> bytes:
    """Return a framed pair; nothing for None and for an empty text."""
    # Equal numbers may have different texts (0.0 and -0.0).
    return frame_pairs({name: value}) if type(value) is float else _known_pair(name, value)


@lru_cache(4096, typed=True)
def _known_pair(name: str, value: Scalar) -> bytes:
    return frame_pairs({name: value})


def _write(pieces: _Pieces, name: str, type_: str, values: Sequence[Any]) -> None:
    """Write the pairs of a field whose values differ."""
    encoded = type_ == "string"
    texts = [value.encode() if value else b"" for value in values] if encoded else column(values)
    before, sizes = _openings(name)
    lengths = list(map(len, texts))
    pieces.put(list(map(before.__getitem__, lengths)))
    pieces.put(texts)
    pieces.sizes.append(list(map(sizes.__getitem__, lengths)))


def _parted(held: bytes, count: int, start: int, stop: int) -> Sequence[bytes]:
    """Return some of `count` texts of one length that are joined."""
    length = len(held) // count
    return _struct(length, stop - start).unpack_from(held, length * start)


@lru_cache(64)
def _struct(length: int, count: int) -> Struct:
    return Struct(f"{length}s" * count)


@lru_cache(256)
def _openings(name: str) -> tuple[Sequence[bytes], Sequence[int]]:
    """Return what stands before a value of each short length, and how long the pair is; of none: nothing."""
    before = [b"", *(text.encode() for text in openings(name)[1:])]
    return before, [0, *(len(text) + length for length, text in enumerate(before[1:], 1))]


def _fits(columns: Columns, labels: Sequence[str], metadata: Sequence[str], types: Mapping[str, str]) -> bool:
    """Whether the columns say all that is asked of them, in the types of the schema."""
    if "event_id" in columns.names or not all(map(columns.has, (*labels, *metadata))):
        return False
    time = columns.even.get("timestamp")
    if len(time or b"") != _TIME * columns.count and type(columns.alike.get("timestamp")) is not str:
        return False
    for name in {*labels, *metadata} & {*columns.names}:
        kinds = _TYPES.get(types.get(name, ""), frozenset())
        if name in columns.even:
            if str not in kinds:
                return False
        else:
            values = columns.few[name][0] if name in columns.few else columns.each.get(name)
            if not kinds.issuperset(map(type, (columns.alike.get(name),) if values is None else values)):
                return False
    return True
