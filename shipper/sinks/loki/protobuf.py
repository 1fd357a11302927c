"""logproto's PushRequest, framed by hand around event lines that are already bytes.

    PushRequest { repeated Stream streams = 1 }
    Stream      { string labels = 1; repeated Entry entries = 2 }
    Entry       { string line = 2; Timestamp timestamp = 1; repeated Pair metadata = 3 }
    Timestamp   { int64 seconds = 1; int32 nanos = 2 }          Pair { string name = 1; string value = 2 }

A generated encoder would copy and check every line; here an entry is a handful of lookups. Rules:

- `seconds` are always written with six bytes (enough until the year 9999), `nanos` with five, so that a
  timestamp is always 13 bytes long and its prefix is shared by all entries of a second. The stream's length
  is always written with five. Protobuf allows such longer forms.
- An entry's line comes before its timestamp: fields may have any order, and the timestamp's tag is a line
  break (`columned`).
- Lengths below `_SHORT` come from tables; others are computed.
- Many events' nanoseconds are written at once (`framed_nanos`, `framed_micros`): all of them stand in one
  large number, eight bytes each, so that one operation reads a digit, or moves seven bits, of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

from ...core.varint import varint

__all__ = [
    "MANY",
    "TOP_BITS",
    "Row",
    "field_two",
    "fives",
    "fourteen_bits",
    "framed_micros",
    "framed_nanos",
    "opens",
    "pair",
    "push_of",
    "push_request",
    "second_stamp",
    "varint",
]

Row: TypeAlias = tuple[int, int, int]
"""An entry's place in the batch, its seconds since 1970, its nanoseconds."""

MANY: Final = 1000
"""Events whose nanoseconds are framed at once, at most."""

_SHORT: Final = 4096
_STAMP: Final = 15  # a framed timestamp: tag, length, and 13 bytes


def pair(name: str, value: str) -> bytes:
    """Return one framed metadata pair of an entry."""
    key, text = name.encode(), value.encode()
    body = b"\x0a" + varint(len(key)) + key + b"\x12" + varint(len(text)) + text
    return b"\x1a" + varint(len(body)) + body


@cache
def field_two() -> list[bytes]:
    """Return the tag of field 2 with each short length: it opens both an entry and its line."""
    return [b"\x12" + varint(length) for length in range(_SHORT)]


@lru_cache(64)
def opens(base: int) -> list[bytes]:
    """Return what opens an entry of each short length, less `base`."""
    return field_two()[base:]


@cache
def fourteen_bits() -> list[bytes]:
    """Return two bytes of an unfinished varint for each value of 14 bits."""
    return [bytes((bits & 0x7F | 0x80, bits >> 7 | 0x80)) for bits in range(1 << 14)]


def framed_nanos(nanos: Sequence[int]) -> bytes:
    """Return five bytes and three zeros for each of some nanoseconds, as `framed_micros` does."""
    return _framed(int.from_bytes(_lanes(len(nanos)).pack(*nanos), "little"), len(nanos))


def framed_micros(digits: bytes, first: int) -> bytes:
    """Return five bytes and three zeros for the nanoseconds of each of at most `MANY` events.

    `digits` are their microseconds: `0123456Z` for each. `first` is what the first has below a microsecond;
    each further one has one more, and after 999 comes 0. ValueError: no such characters. Few different
    numbers of events, for what is kept for each.
    """
    size = len(digits) // 8
    form, most, high, byte = _digit_lanes(size)
    lanes = int.from_bytes(digits, "little") ^ form
    # What was a digit is 0 to 9 now and the rest 0: `most` added to anything more sets its highest bit.
    if (lanes | (lanes + most)) & high:
        raise ValueError(digits)
    pairs = lanes * 10 + (lanes >> 8)
    nanos = (pairs >> 8 & byte) * 10_000_000 + (pairs >> 24 & byte) * 100_000 + (pairs >> 40 & byte) * 1_000
    below = int.from_bytes(_below()[8 * first : 8 * (first + size)], "little")
    return _framed(nanos + below, size)


def fives(framed: bytes) -> tuple[bytes, ...]:
    """Return the five bytes of each of some framed nanoseconds."""
    return _lanes(len(framed) // 8).unpack(framed)


def _framed(lanes: int, size: int) -> bytes:
    """Return the framed form of `size` nanoseconds that stand in one number."""
    held = _lanes(size)
    lanes = (
        held.unfinished
        | lanes & held.lowest
        | (lanes & held.second) << 1
        | (lanes & held.third) << 2
        | (lanes & held.fourth) << 3
        | (lanes & held.top) << 4
    )
    return lanes.to_bytes(8 * size, "little")


class _Lanes(NamedTuple):
    """What framing so many needs: in and out, the masks of seven bits, the "more" bits."""

    pack: Callable[..., bytes]
    unpack: Callable[[bytes], tuple[bytes, ...]]
    lowest: int
    second: int
    third: int
    fourth: int
    top: int
    unfinished: int


@lru_cache(128)  # of a thousand each holds 100 KB
def _lanes(size: int) -> _Lanes:
    lowest, second, third, fourth, top = (_everywhere(0x7F << place, size) for place in range(0, 35, 7))
    pack, unpack = Struct(f"<{size}Q").pack, Struct("<" + "5s3x" * size).unpack
    return _Lanes(pack, unpack, lowest, second, third, fourth, top, _everywhere(0x80808080, size))


@lru_cache(128)
def _digit_lanes(size: int) -> tuple[int, ...]:
    """Return what reading so many microseconds needs; see `framed_micros`."""
    form = int.from_bytes(b"0000000Z", "little")
    lanes = form, 0x7F_76_76_76_76_76_76_7F, 0x80_80_80_80_80_80_80_80, 0xFF
    return tuple(_everywhere(lane, size) for lane in lanes)


@cache
def _below() -> bytes:
    """Return what consecutive events have below a microsecond, eight bytes each."""
    return b"".join(place.to_bytes(8, "little") for place in range(1000)) * 2


def _everywhere(lane: int, size: int) -> int:
    return int.from_bytes(lane.to_bytes(8, "little") * size, "little")


def push_of(labels: str, entries: Iterable[bytes]) -> bytes:
    """Return a push of one stream, of framed entries."""
    name, parts = labels.encode(), list(entries)
    stream = b"\x0a" + varint(len(name)) + name
    size = len(stream) + sum(map(len, parts))
    length = bytes(size >> shift & 0x7F | 0x80 for shift in range(0, 28, 7)) + bytes((size >> 28,))
    return b"".join((b"\x0a", length, stream, *parts))


def second_stamp(second: int) -> bytes:
    """Return a framed timestamp up to the nanoseconds' value, which takes five bytes."""
    seconds = bytes(second >> shift & 0x7F | 0x80 for shift in range(0, 35, 7))
    return b"\x0a\x0d\x08" + seconds + bytes((second >> 35 & 0x7F,)) + b"\x10"


TOP_BITS: Final = (b"\x00", b"\x01", b"\x02", b"\x03")  # bits 28 and 29 end the nanoseconds


def push_request(labels: str, rows: Iterable[Row], lines: Sequence[bytes], metas: Sequence[bytes]) -> bytes:
    """Return a push of one stream. `rows` name entries of `lines` and `metas` (framed pairs)."""
    opens, bits = field_two(), fourteen_bits()
    parts: list[bytes] = []
    shared, stamp = -1, b""
    for index, second, nanos in rows:
        if second != shared:
            shared = second
            stamp = second_stamp(second)
        line, meta = lines[index], metas[index]
        length = len(line)
        try:
            line_open = opens[length]
            entry_open = opens[_STAMP + len(line_open) + length + len(meta)]
        except IndexError:
            line_open = b"\x12" + varint(length)
            entry_open = b"\x12" + varint(_STAMP + len(line_open) + length + len(meta))
        parts += (
            entry_open,
            line_open,
            line,
            stamp,
            bits[nanos & 0x3FFF],
            bits[nanos >> 14 & 0x3FFF],
            TOP_BITS[nanos >> 28],
            meta,
        )
    return push_of(labels, parts)
