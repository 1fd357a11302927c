"""What Go programs write with the standard library: `log`, and `log/slog` where it was given no handler.

A line is `2026/11/21 20:17:42 said`, with what flags add (microseconds, `till.go:57: `, a prefix before or
behind). A level at the beginning is taken; behind slog's the pairs at the end are fields. slog's handlers
write logfmt and JSON. A panic is a record of its own, and has no time.
"""

from __future__ import annotations

import re
from typing import Final

from ...core.ids import add_ids
from ...core.parse import level_of
from .levels import level_in
from .model import Fields
from .programs import pairs_of
from .times import Times

__all__ = ["Go"]

_LINE: Final = re.compile(
    r"(?:\[?([A-Za-z][A-Za-z0-9_.\-]{0,62})\]?:? )?(\d{4}/\d\d/\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{6}))? "
    r"(?:([^\s:\"]{1,512}\.go|\?\?\?):(\d{1,9}): )?(.*)\Z",
    re.ASCII | re.DOTALL,
)
_SLOG: Final = re.compile(r"((?:DEBUG|INFO|WARN|ERROR)(?:[+-]\d{1,2})?) ", re.ASCII)
_LEVEL: Final = re.compile(r"(?:\[([A-Za-z]{3,8})\] ?:?|([A-Z]{3,8}):) +")
_PYTHONS: Final = re.compile(r"[-|,] |\[\d{1,9}\] |\[?[A-Z]{4,8}\]? +\[?[A-Za-z_][A-Za-z0-9_.]{0,255}\]?: ")
_PAIR: Final = re.compile(r" (?=[A-Za-z_@][A-Za-z0-9_.@/-]{0,127}=)")
_TRIES: Final = 16  # an equals sign in the message itself
_PANIC: Final = re.compile(r"panic: |fatal error: |goroutine \d{1,19} \[")
_DUMP: Final = ("\npanic: ", "\ngoroutine ")


class Go:
    """Lines of Go's `log`. `alone`: nothing else can have written them."""

    name = "go"

    def __init__(self, times: Times, *, alone: bool = True) -> None:
        self._times = times
        self._alone = alone  # the same form of a date may be another language's

    def read(self, line: bytes) -> Fields | None:
        """Return what a line, or a joined record, says; None: Go's `log` has not written it."""
        text = line.decode("utf-8", "replace")
        found = _LINE.match(text)
        if found is None:
            if self._alone and _PANIC.match(text):
                return {"level": "ERROR", "message": text, "logger": ""}
            return None
        prefix, day, clock, fraction, file, number, said = found.groups()
        if not self._alone and file is None and _PYTHONS.match(said):
            return None
        stamp = self._times.iso(day, clock, fraction)
        if stamp is None:
            return None
        fields: Fields = {"timestamp": stamp, "logger": prefix or ""}
        if file is not None:
            fields |= {"module": file.rpartition("/")[2], "line": int(number)}
        _said(fields, said)
        if fields["level"] == "INFO" and any(word in said for word in _DUMP):
            fields["level"] = "ERROR"
        add_ids(fields, said)
        return fields


def _said(fields: Fields, said: str) -> None:
    """Put the level and the message into `fields`, and what slog wrote behind the message."""
    found = _SLOG.match(said)
    level = level_of(found[1]) if found is not None else None
    if found is not None and level is not None:
        fields["level"], fields["message"] = level, said[found.end() :]
        _pairs(fields, said, found.end())
        return
    found = _LEVEL.match(said)
    level = level_of(found[1] or found[2]) if found is not None else None
    fields["level"] = level or level_in(said)
    fields["message"] = said if found is None or level is None else said[found.end() :]


def _pairs(fields: Fields, said: str, at: int) -> None:
    """Take the pairs at the end of what slog wrote, where there are some, out of the message."""
    begin = at
    for _ in range(_TRIES):
        found = _PAIR.search(said, begin)
        if found is None:
            return
        more, end = pairs_of(said, found.end())
        if more and not said[end:].strip():
            fields["message"] = said[at : found.start()]
            for name, value in more.items():
                fields.setdefault(name, value)
            return
        begin = max(found.end(), end)
