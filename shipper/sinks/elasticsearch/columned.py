"""Many events framed for the bulk interface at once, by their times.

An event's time is all that is read of its line. Where times stand beside the lines (`core/columns.py`) no
line is decoded; else many are in one call. What goes before the lines is made for all of them at once
(`core/rows.py`), and one join writes them. It gives byte for byte what the plain way in `framing` gives, or
None; then that does it. Rules:

- All times have one length, and no character that JSON could write in another way.
- No line brings an id of its own.
- Lines keep their line breaks (`core/ended.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

import msgspec

from ...core.columns import unpack_front
from ...core.rows import Rows
from ...model import ID_FRONT, Beside

__all__ = ["HEADS", "MANY", "OPENING", "by_columns", "by_decoding"]

OPENING: Final = b'{"timestamp":"'
"""How lines begin whose time is found without decoding."""

MANY: Final = 1000
"""So many events at most are framed at once: what was made of them is still in the processor's cache."""

_TIME: Final = 27
_SECOND: Final = 20  # what times of one second begin with
_PLAIN: Final = b"0123456789-:.TZ+"
_behind = itemgetter(slice(1, None))  # what stands behind a line's brace
_begin = itemgetter(slice(len(ID_FRONT)))


class _Head(msgspec.Struct):
    timestamp: Any = None


HEADS: Final = msgspec.json.Decoder(_Head)


def by_columns(one: Beside, first: int, lines: Sequence[bytes], spool: bytes) -> bytes | None:
    """Return the bulk lines of events from the sequence `first` on, all of them beside `one`.

    `lines` have their breaks; their sequences have as many digits. None: not in this way.
    """
    front = unpack_front(one.columns)
    if front is None or front.count != one.size or "event_id" in front.names:
        return None
    place = first - one.first
    alike, held = front.alike.get("timestamp"), front.even.get("timestamp", b"")
    if isinstance(alike, str):
        return _framed(first, lines, alike.encode() * len(lines), spool)
    width = len(held) // front.count
    return _framed(first, lines, held[width * place : width * (place + len(lines))], spool)


def by_decoding(first: int, lines: Sequence[bytes], spool: bytes) -> bytes | None:
    """Return the same of events that nothing was written beside."""
    if any(begin[:1] != b"{" or begin == ID_FRONT for begin in set(map(_begin, lines))):
        return None
    block = b"".join(lines)
    try:
        times = [head.timestamp for head in HEADS.decode_lines(block)]
        joined = "".join(times).encode()
    except (msgspec.DecodeError, UnicodeError, RecursionError, TypeError):
        return None
    # One of them may hold a line break, or nothing.
    if len(times) != len(lines) or block.count(b"\n") != len(lines) or len(set(map(len, times))) != 1:
        return None
    return _framed(first, lines, joined, spool)


def _framed(first: int, lines: Sequence[bytes], times: bytes, spool: bytes) -> bytes | None:
    """Return the bulk lines of events with these times, which are joined and of one length."""
    if not times or times.translate(None, _PLAIN):
        return None
    rows, count = Rows(), len(lines)
    rows.same(b'{"create":{"_id":"%b-' % spool)
    rows.numbers(first, count)
    rows.same(b'"}}\n{"@timestamp":"')
    _put(rows, times, count)
    rows.same(b'","event_id":"%b-' % spool)
    rows.numbers(first, count)
    rows.same(b'",')
    pieces = [b""] * (2 * count)
    pieces[::2], pieces[1::2] = rows.made(count), map(_behind, lines)
    return b"".join(pieces)


def _put(rows: Rows, times: bytes, count: int) -> None:
    """Add a time to each row; of times of one second their fractions alone are columns."""
    width = len(times) // count
    second = bytearray((times[:_SECOND] + b"______Z") * count)
    if width == _TIME:
        for digit in range(_SECOND, _TIME - 1):
            second[digit::_TIME] = times[digit::_TIME]
    if second != times:
        rows.column(times, width)
        return
    rows.same(times[:_SECOND])
    for digit in range(_SECOND, _TIME - 1):
        rows.column(times[digit::_TIME], 1)
    rows.same(b"Z")
