"""Events framed from what was written beside their lines (`core/columns.py`): no line is decoded.

An entry is some pieces, as in `loop`; here each piece is made for all events at once, and one join writes
them. It gives byte for byte what the plain way gives, or raises `Unfit`; then the lines are decoded. Rules:

- Every label and every metadata field must be known from the columns, with the type that the schema has for
  it.
- A line keeps its line break (`core/ended.py`): it is the tag of the timestamp, which comes behind the line.
- What has one length in all events is one piece, from the timestamp on (`rows`): texts of one length, and
  what all have alike. Behind the first field that varies: a field with few values by a table of framed pairs;
  numbers as `loop` writes them; other texts one by one, as long as they are short.
- Entries are at most some 4000 bytes long: then what opens them and their lines is found in a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import compress, repeat
from operator import add
from typing import Any, Final

from ...core.columns import Columns, Scalar, unpack
from ...core.rows import Rows, parted
from ...model import Beside
from .loop import column
from .metadata import frame_pairs, openings
from .protobuf import field_two

__all__ = ["TIME", "Columned", "Unfit"]

_NONE: Final = type(None)
_TYPES: Final[Mapping[str, frozenset[type]]] = {
    "string": frozenset((str, _NONE)),
    "integer": frozenset((int, _NONE)),
    "boolean": frozenset((bool, _NONE)),
    "number": frozenset((int, float, _NONE)),
}
_UNIT: Final = 1 << 24  # more than the bytes of any line
_KEPT: Final = 8192
TIME: Final = 27
"""The length of a time."""


class Unfit(Exception):  # noqa: N818 - nothing is wrong
    """These lines must be decoded."""


class _Pieces:
    """The pieces of entries behind the line: bytes that all have, or one piece for each.

    Up to the first that varies in length they are one: a row. `size` is what all have beside it, `sizes` are
    what varies, times `_UNIT`.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.made: list[bytes | Sequence[bytes]] = []
        self.sizes: list[Iterable[int]] = []
        self.size = 0

    def same(self, piece: bytes) -> None:
        if not self.made:
            self.rows.same(piece)
            return
        self.size += len(piece)
        last = self.made[-1]
        if isinstance(last, bytes):
            self.made[-1] = last + piece
        elif piece:
            self.made.append(piece)

    def even(self, held: bytes, count: int, start: int, stop: int) -> None:
        """Put some of `count` texts of one length that are joined."""
        length = len(held) // count
        if self.made:
            self.size += length
            self.made.append(parted(held, length, start, stop - start))
        else:
            self.rows.column(held[length * start : length * stop], length)

    def few(self, framed: Sequence[bytes], codes: Iterable[int]) -> None:
        """Put pieces of which there are few; `codes` say which."""
        sizes = [*map(len, framed)]
        if sizes.count(sizes[0]) == len(sizes):
            self.size += sizes[0]
        else:
            self.sizes.append(map([size * _UNIT for size in sizes].__getitem__, codes))
        self.made.append(list(map(framed.__getitem__, codes)))

    def uneven(self, sizes: Iterable[int], *pieces: Sequence[bytes]) -> None:
        self.sizes.append(sizes)
        self.made += pieces


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

    def times(self, start: int, stop: int) -> bytes:
        """Return the times of events (places in the frame), joined."""
        held = self._columns.even.get("timestamp")
        if held is None:
            return str(self._columns.alike["timestamp"]).encode() * (stop - start)
        return held[TIME * start : TIME * stop]

    def frame(
        self,
        start: int,
        lines: Sequence[bytes],
        rows: Rows,
        put: Callable[[tuple[Scalar, ...], int, bytes], None],
    ) -> None:
        """Frame events whose first has the place `start`. Raises Unfit before anything is `put`.

        `lines` have their breaks; `rows` are what is behind these up to the id. `put` takes the values of
        labels, with the number of entries and the entries of their stream.
        """
        count, lengths = len(lines), list(map(len, lines))
        try:
            pieces = self._pieces(rows, start, start + count)
            openings = _openings_of(lengths, rows.size + pieces.size, pieces.sizes)
        except IndexError:
            raise Unfit from None
        parts = [openings, lines, rows.made(count), *pieces.made]
        keys = [self._values(name, start, start + count) for name in self._labels]
        if all(isinstance(key, repeat) for key in keys):
            put(tuple([next(iter(key)) for key in keys]), count, _joined(parts, count))
            return
        labels = list(zip(*keys, strict=False))
        for key in dict.fromkeys(labels):
            chosen = list(map(key.__eq__, labels))
            some = [part if isinstance(part, bytes) else list(compress(part, chosen)) for part in parts]
            put(key, sum(chosen), _joined(some, sum(chosen)))

    def _values(self, name: str, start: int, stop: int) -> Iterable[Scalar]:
        """Return a field's values, one for each event; a `repeat` when they are all the same."""
        columns = self._columns
        if (held := columns.even.get(name)) is not None:
            length = len(held) // columns.count
            return [value.decode() for value in parted(held, length, start, stop - start)]
        if (few := columns.few.get(name)) is not None:
            return list(map(few[0].__getitem__, few[1][start:stop]))
        if (values := columns.each.get(name)) is not None:
            return values[start:stop]
        return repeat(columns.alike.get(name))

    def _pieces(self, rows: Rows, start: int, stop: int) -> _Pieces:
        """Return the framed metadata of events. Raises IndexError for texts too long for the tables."""
        columns, pieces = self._columns, _Pieces(rows)
        for name in self._metadata:
            if (held := columns.even.get(name)) is not None:
                pieces.same(_openings(name)[0][len(held) // columns.count])
                pieces.even(held, columns.count, start, stop)
            elif (few := columns.few.get(name)) is not None:
                framed, codes = [_pair(name, value) for value in few[0]], few[1][start:stop]
                pieces.few(framed, codes)
            elif (values := columns.each.get(name)) is not None:
                _write(pieces, name, self._types[name], values[start:stop])
            else:
                pieces.same(_pair(name, columns.alike.get(name)))
        return pieces


def _openings_of(lengths: Sequence[int], size: int, sizes: Sequence[Iterable[int]]) -> list[bytes]:
    """Return what opens entries and their lines, of these lengths with their breaks. Raises IndexError.

    An entry has `size` bytes more than its line, and what `sizes` say.
    """
    wholes: Iterable[int] = lengths
    for more in sizes:
        wholes = map(add, wholes, more)
    return list(map(_heads(size).__getitem__, wholes))


class _Heads(dict[int, bytes]):
    """What opens an entry and its line, by the line's length with its break and, times `_UNIT`, what varies.

    `size` as for `_openings_of`.
    """

    def __init__(self, size: int) -> None:
        self._size = size

    def __missing__(self, whole: int) -> bytes:
        more, length = divmod(whole, _UNIT)
        begin = _begins()[length]
        head = field_two()[len(begin) + length + self._size + more] + begin
        if len(self) >= _KEPT:
            self.clear()
        self[whole] = head
        return head


@lru_cache(64)
def _heads(size: int) -> _Heads:
    return _Heads(size)


@cache
def _begins() -> list[bytes]:
    """Return what opens a line, by its length with its break."""
    return [b"", *field_two()]


def _joined(parts: Sequence[bytes | Sequence[bytes]], count: int) -> bytes:
    """Return so many entries of these parts: one for each, or the same for all."""
    step = len(parts)
    pieces = [part if isinstance(part, bytes) else b"" for part in parts] * count
    for place, part in enumerate(parts):
        if not isinstance(part, bytes):
            pieces[place::step] = part
    return b"".join(pieces)


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
    pieces.uneven(map(sizes.__getitem__, lengths), list(map(before.__getitem__, lengths)), texts)


@lru_cache(256)
def _openings(name: str) -> tuple[Sequence[bytes], Sequence[int]]:
    """Return what stands before a value of each short length, and how long the pair is (times `_UNIT`).

    Of none: nothing.
    """
    before = [b"", *(text.encode() for text in openings(name)[1:])]
    return before, [0, *((len(text) + length) * _UNIT for length, text in enumerate(before[1:], 1))]


def _fits(columns: Columns, labels: Sequence[str], metadata: Sequence[str], types: Mapping[str, str]) -> bool:
    """Whether the columns say all that is asked of them, in the types of the schema."""
    if "event_id" in columns.names or not all(map(columns.has, (*labels, *metadata))):
        return False
    time = columns.even.get("timestamp")
    alike = columns.alike.get("timestamp")
    if len(time or b"") != TIME * columns.count and not (isinstance(alike, str) and len(alike) == TIME):
        return False
    for name in {*labels, *metadata} & {*columns.names}:
        kinds = _TYPES.get(types.get(name, ""), frozenset())
        if name in columns.even:
            if str not in kinds:
                return False
        elif name not in columns.each or name in labels or str in kinds:  # numbers' texts are right for any
            values = columns.few[name][0] if name in columns.few else columns.each.get(name)
            if not kinds.issuperset(map(type, (columns.alike.get(name),) if values is None else values)):
                return False
    return True
