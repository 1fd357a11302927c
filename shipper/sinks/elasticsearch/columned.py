"""Events framed for the bulk interface by the times that were written beside their lines (`core/columns.py`).

An event's time is all that `framing` reads of its line. Where it stands beside the lines, what goes before
them is made for all events of a frame at once (`core/rows.py`), and one join writes them. It gives byte for
byte what the plain way gives, or None; then that does it. Rules:

- A time must be text without a character that JSON could write in another way.
- No line brings an id of its own.
- Lines keep their line breaks (`core/ended.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Final

from ...core.columns import unpack_front
from ...core.rows import Rows
from ...model import Beside

__all__ = ["MANY", "by_columns"]

MANY: Final = 1000
"""So many events at most are framed at once: what was made of them is still in the processor's cache."""

_TIME: Final = 27
_SECOND: Final = 20  # what times of one second begin with
_PLAIN: Final = b"0123456789-:.TZ+"
_behind = itemgetter(slice(1, None))  # what stands behind a line's brace


def by_columns(one: Beside, first: int, lines: Sequence[bytes], spool: bytes) -> bytes | None:
    """Return the bulk lines of events from the sequence `first` on, all of them beside `one`.

    `lines` have their breaks; their sequences have as many digits. None: not in this way.
    """
    front = unpack_front(one.columns)
    if front is None or front.count != one.size or "event_id" in front.names:
        return None
    count, place = len(lines), first - one.first
    alike, held = front.alike.get("timestamp"), front.even.get("timestamp", b"")
    if isinstance(alike, str):
        times = alike.encode()
    else:
        width = len(held) // front.count
        times = held[width * place : width * (place + count)]
    if not times or times.translate(None, _PLAIN):
        return None
    rows = Rows()
    rows.same(b'{"create":{"_id":"%b-' % spool)
    rows.numbers(first, count)
    rows.same(b'"}}\n{"@timestamp":"')
    if held:
        _put(rows, times, count)
    else:
        rows.same(times)
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
