"""Lines by an expression of the user's: its named groups are fields."""

from __future__ import annotations

import re
from typing import Final

from ...core.ids import add_ids
from .levels import level_named
from .model import Fields
from .patterns import pattern_of
from .times import Times

__all__ = ["Custom"]

_INTEGER: Final = re.compile(r"-?(?:0|[1-9]\d{0,14})\Z", re.ASCII)
_REAL: Final = re.compile(r"-?(?:0|[1-9]\d{0,14})\.\d{1,9}\Z", re.ASCII)
_NUMBERS: Final = frozenset({"status_code", "duration_ms", "bytes", "line", "process"})


class Custom:
    """Takes lines that an expression (RE2) matches from their beginning."""

    name = "regex"

    def __init__(self, times: Times, pattern: str) -> None:
        self._times = times
        self._pattern = pattern_of(pattern, "pattern")

    def read(self, line: bytes) -> Fields | None:
        """Return the named groups; None: the expression does not match."""
        found = self._pattern.match(line)
        if found is None:
            return None
        fields: Fields = {}
        for name in self._pattern.names:
            held = found.group(name)
            if held is not None:
                text = held.decode("utf-8", "replace") if isinstance(held, bytes) else held
                self._put(fields, name, text)
        text = line.decode("utf-8", "replace")
        fields.setdefault("message", text)
        add_ids(fields, text)
        return fields

    def _put(self, fields: Fields, name: str, text: str) -> None:
        if name == "timestamp":
            stamp = self._times.any(text)
            fields["timestamp" if stamp else "time"] = stamp or text
        elif name == "level":
            fields["level"] = level_named(text.strip()) or text
        elif name in _NUMBERS and _INTEGER.match(text):
            fields[name] = int(text)
        elif name in _NUMBERS and _REAL.match(text):
            fields[name] = float(text)
        else:
            fields[name] = text
