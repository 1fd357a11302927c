"""What the lines of a frame say, field by field, written beside them by who had decoded them.

A source decodes each line to check it. What sinks need from inside a line (time, level, labels, ids) it
writes down with the frame, so that no sink has to decode the line again. Rules:

- Columns never say anything else than the lines: they are made of the same values, stand in the same frame
  under the same check sum, and are left behind where lines are changed. Such lines were written by an
  encoder: they begin with `{` and hold no line break.
- `names` are all that any line holds. A field that is not among them is in no line; one that is, and has no
  values here, has to be read from the lines.
- `alike` are fields with one value in all lines; `even` texts of one length each (ASCII), joined; `few` some
  values, and for each line which of them (a byte); `each` one value for each line. None: the line has none.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from operator import attrgetter
from typing import Final, TypeAlias

import msgspec

from ..model import Beside

__all__ = ["Columns", "Front", "Scalar", "pack", "unpack", "unpack_front", "useful"]

Scalar: TypeAlias = str | int | float | bool | None

_WORTH: Final = 16
"""Of frames with fewer lines it costs less to decode the lines, many frames in one call."""

_first = attrgetter("first")


class Columns(msgspec.Struct, array_like=True, frozen=True):
    """The fields of `count` lines."""

    count: int
    names: list[str]
    alike: dict[str, Scalar]
    even: dict[str, bytes]
    few: dict[str, tuple[list[Scalar], bytes]]
    each: dict[str, list[Scalar]]

    def has(self, name: str) -> bool:
        """Whether it is known what the lines have under a name."""
        held = name in self.alike or name in self.even or name in self.few or name in self.each
        return held or name not in self.names


class Front(msgspec.Struct, array_like=True, frozen=True):
    """The columns without the values that differ in length; these are passed over."""

    count: int
    names: list[str]
    alike: dict[str, Scalar]
    even: dict[str, bytes]


pack = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Columns)
_front_decoder = msgspec.msgpack.Decoder(Front)


def useful(beside: Sequence[Beside], sequence: int) -> Beside | None:
    """Return what of `beside`, which is in order, was written beside an event, if it pays to read that."""
    at = bisect(beside, sequence, key=_first) - 1
    one = beside[at] if at >= 0 else None
    return one if one is not None and sequence - one.first < one.size and one.size >= _WORTH else None


def unpack(held: bytes) -> Columns | None:
    """Return what was packed; None: it is nothing that this version understands."""
    try:
        columns = _decoder.decode(held)
    except msgspec.MsgspecError:
        return None
    count = columns.count
    sound = (
        count > 0
        and not any(len(texts) % count for texts in columns.even.values())
        and all(len(codes) == count and max(codes) < len(kept) for kept, codes in columns.few.values())
        and all(len(values) == count for values in columns.each.values())
    )
    return columns if sound else None


def unpack_front(held: bytes) -> Front | None:
    """Return the front of what was packed; None: it is nothing that this version understands."""
    try:
        front = _front_decoder.decode(held)
    except msgspec.MsgspecError:
        return None
    sound = front.count > 0 and not any(len(texts) % front.count for texts in front.even.values())
    return front if sound else None
