"""A record of several lines that begins in one file and ends in the next: it is one event all the same.

Rules:
- The file before is the one that had the name (renamed, removed), the copy of what was truncated away or,
  without a copy, what had been read of it. Where nobody saw that, names say it: `app.log.1` of `app.log`,
  and of one with a date in its name the one with the date before.
- A new file waits with its first line until the one before has been read to its end, and for `_PATIENCE` at
  most. If that one holds a record that the line goes on with, the new file takes it over. Else it does not
  matter any more what stood before. But a container's log has one writer: there it is complete, and comes
  first.
- A record that waits is given out after the time-out of `multiline`: what goes on later is another event. So
  is what goes on behind a line without its end, and what was in a compressed file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ..core.tail import predecessors
from .parsers.containers import metadata_of

if TYPE_CHECKING:
    from .file_tail import Tail

__all__ = ["link", "may_begin"]

_PATIENCE: Final = 5.0


def link(paths: Mapping[str, Tail]) -> None:
    """Note of the new files which one was before them, by their names."""
    for path, before in predecessors(paths).items():
        if paths[path].is_new and paths[path].before is None:
            paths[path].before = paths[before]


def may_begin(tail: Tail, now: float, patience: float = _PATIENCE) -> bool:
    """Whether a file may be read; if it goes on with a record, it has taken that over."""
    before = tail.before
    if before is None:
        return True
    tail.asked = tail.asked or now
    at_end, line = before.is_at_end(), tail.first_line()
    if at_end and line is not None and before.feed.goes_on_in(line):
        tail.take_over(before)
    elif now - tail.asked < patience and (not at_end or (line is None and before.feed.joining)):
        return False
    elif at_end and line is not None and before.feed.joining and patience and metadata_of(tail.path):
        before.join_rest()  # it is complete, and comes before what stands here
    tail.before = None
    return True
