"""What loguru and structlog's console renderer write, for the parser `python`.

    2026-11-22 20:17:42.123 | INFO     | shop.orders:pay:8 - paid
    2026-11-22 20:17:42 [info     ] paid      [shop.orders] order=7 who='a b'

structlog's pairs are fields where they reach to the line's end: what only looks like one stays in the
message.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ...core.ids import add_ids
from .levels import level_named
from .model import Fields
from .times import ISO_TIME, Times

__all__ = ["read_loguru", "read_structlog"]

_LOGURU: Final = re.compile(
    ISO_TIME + r" \| ([A-Z]{1,16}) {0,16}\| ([^:\n]{1,255}):([^:\n]{1,255}):(\d{1,9}) - (.*)\Z",
    re.ASCII | re.DOTALL,
)
_STRUCTLOG: Final = re.compile(
    ISO_TIME + r" \[(debug|info|warning|warn|error|critical|exception|notset) {0,8}\] (.*)\Z",
    re.ASCII | re.DOTALL,
)
_FIRST: Final = re.compile(
    r"(?<! ) +(?:\[([A-Za-z_][\w.]{0,255})\](?: +(?=[A-Za-z_])|\Z)|(?=[A-Za-z_][\w.]{0,127}=))"
)
_PAIR: Final = re.compile(
    r"([A-Za-z_][\w.]{0,127})="
    r"(?:'([^'\\]*(?:\\.[^'\\]*)*)'|\"([^\"\\]*(?:\\.[^\"\\]*)*)\"|([^\s'\"]\S*|))(?: +|\Z)"
)
_NUMBER: Final = re.compile(r"-?\d{1,15}(\.\d{1,15})?\Z", re.ASCII)
_WORDS: Final = {"True": True, "False": False, "None": None}
_OURS: Final = frozenset({"timestamp", "level", "message", "logger"})
_TRIES: Final = 8  # beginnings of pairs in a message that are none


def read_loguru(text: str, times: Times) -> Fields | None:
    """Return what a line of loguru's default format says."""
    found = _LOGURU.match(text)
    stamp = found and times.match(found)
    level = found and level_named(found[5])
    if found is None or stamp is None or level is None:
        return None
    fields: Fields = {"timestamp": stamp, "level": level, "message": found[9]}
    fields |= {"logger": found[6], "function": found[7], "line": int(found[8])}
    add_ids(fields, found[9])
    return fields


def read_structlog(text: str, times: Times) -> Fields | None:
    """Return what a line of structlog's console renderer says."""
    found = _STRUCTLOG.match(text)
    stamp = found and times.match(found)
    if found is None or stamp is None:
        return None
    line, newline, rest = found[6].partition("\n")
    message, logger, pairs = _parted(line.rstrip())
    fields: Fields = {**pairs, "timestamp": stamp, "level": level_named(found[5]) or "INFO"}
    fields |= {"message": message + newline + rest, "logger": logger}
    add_ids(fields, line)
    return fields


def _parted(line: str) -> tuple[str, str, dict[str, Any]]:
    """Return the message of a line, its logger, and its pairs."""
    for tried, found in enumerate(_FIRST.finditer(line)):
        if tried == _TRIES:
            break
        pairs: dict[str, Any] = {}
        at = found.end()
        while at < len(line) and (pair := _PAIR.match(line, at)) is not None:
            pairs[f"{pair[1]}_" if pair[1] in _OURS else pair[1]] = _value(pair)
            at = pair.end()
        if at == len(line):
            return line[: found.start()].rstrip(), found[1] or "", pairs
    return line, "", {}


def _value(pair: re.Match[str]) -> Any:
    """Return the value of a pair: a text, or what its `repr` stands for."""
    quoted = pair[2] if pair[2] is not None else pair[3]
    if quoted is not None:
        return quoted.replace("\\'", "'").replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")
    text = pair[4]
    number = _NUMBER.match(text)
    if number is not None:
        return float(text) if number[1] else int(text)
    return _WORDS.get(text, text)
