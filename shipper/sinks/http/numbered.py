"""Ids put in front of many lines at once: the same bytes as `request` gives one by one, or None.

What goes before the lines is made for all of them (`core/rows.py`), and each line is cut once, behind its
brace. Rules:

- The lines' sequences follow one another, and have as many digits.
- Each line is an object with a field, and none carries an id of its own. Columns beside the lines
  (`core/columns.py`) say so, else their beginnings do.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Final

from ...core.columns import unpack_front
from ...core.rows import Rows
from ...model import ID_FRONT, Beside

__all__ = ["MANY", "WORTH", "numbered"]

MANY: Final = 1000
"""So many lines at most at once: what was made of them is still in the processor's cache."""

WORTH: Final = 12
"""With fewer lines it costs less to do one after the other."""

_begin = itemgetter(slice(len(ID_FRONT)))
_behind = itemgetter(slice(1, None))  # what stands behind a line's brace


def numbered(
    first: int, lines: Sequence[bytes], spool: bytes, one: Beside | None, between: bytes
) -> list[bytes] | None:
    """Return pieces that joined are the lines from the sequence `first` on, `between` before each.

    `one` is what was written beside all of them. None: not in this way.
    """
    if not (_are_bare(lines) if one is None else _told_bare(one)):
        return None
    rows = Rows()
    rows.same(b'%b{"event_id":"%b-' % (between, spool))
    rows.numbers(first, len(lines))
    rows.same(b'",')
    pieces = [b""] * (2 * len(lines))
    pieces[::2], pieces[1::2] = rows.made(len(lines)), map(_behind, lines)
    return pieces


def _told_bare(one: Beside) -> bool:
    """Whether columns say that lines have fields, and no ids."""
    front = unpack_front(one.columns)
    if front is None or front.count != one.size:
        return False
    return "timestamp" in front.names and "event_id" not in front.names


def _are_bare(lines: Sequence[bytes]) -> bool:
    """Whether lines look like objects with fields, and without ids."""
    return all(begin.startswith(b'{"') and begin != ID_FRONT for begin in set(map(_begin, lines)))
