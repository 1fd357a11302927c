"""What Node programs write as text: winston's lines, and what goes to the console.

Taken are `2026-11-21T20:17:42.123Z [till] info: said`, without a time or a label as well, with colours, and
with the JSON that winston writes behind. pino, bunyan and winston's JSON need no parser. Reports of what
nobody caught and stacks are taken apart in `core/stacks.py`.
"""

from __future__ import annotations

import re
from typing import Final

import orjson

from ...core.ids import add_ids
from ...core.parse import level_of
from .levels import level_in
from .model import Fields
from .times import ISO_TIME, Times

__all__ = ["Node"]

_LINE: Final = re.compile(
    r"(?:\[?" + ISO_TIME + r"\]?:? )?(?:\[([^\]\n]{1,64})\] )?"
    r"(?:\[(trace|silly|debug|verbose|http|info|warn|error|fatal)\]:?"
    r"|(trace|silly|debug|verbose|http|info|warn|error|fatal):) (.*)\Z",
    re.ASCII | re.DOTALL,
)
_COLOUR: Final = re.compile("\x1b\\[[0-9;]{0,16}m")
_NOT_HERE: Final = frozenset({"timestamp", "level", "message", "logger"})


class Node:
    """Lines of winston's and, where `alone`, whatever else a Node program wrote to its console."""

    name = "node"

    def __init__(self, times: Times, *, alone: bool = True) -> None:
        self._times = times
        self._alone = alone

    def read(self, line: bytes) -> Fields | None:
        """Return what a line, or a joined record, says; None: it is JSON, or no line of winston's."""
        if line[:1] == b"{":
            return _object(line) if self._alone else None
        text = line.decode("utf-8", "replace")
        if "\x1b" in text:
            text = _COLOUR.sub("", text)
        found = _LINE.match(text)
        stamp = self._times.match(found) if found is not None and found[1] else None
        if found is None or (found[1] and stamp is None):
            return self._console(text)
        label, bracketed, plain, said = found.group(5, 6, 7, 8)
        fields: Fields = {} if stamp is None else {"timestamp": stamp}
        fields |= {"level": level_of(bracketed or plain) or "INFO", "message": said, "logger": label or ""}
        _behind(fields, said)
        add_ids(fields, said)
        return fields

    def _console(self, text: str) -> Fields | None:
        if not self._alone:
            return None
        failed = "\n    at " in text or "\nNode.js v" in text
        level = "ERROR" if failed else level_in(text.partition("\n")[0])
        fields: Fields = {"level": level, "message": text, "logger": ""}
        add_ids(fields, text)
        return fields


def _behind(fields: Fields, said: str) -> None:
    """Take the JSON that winston writes behind a message."""
    at = said.find(' {"')
    if at < 0 or not said.endswith("}"):
        return
    try:
        more = orjson.loads(said[at:])
    except orjson.JSONDecodeError:
        return
    fields["message"] = said[:at]
    for name, value in more.items():
        fields[f"outer_{name}" if name in _NOT_HERE else name] = value


def _object(line: bytes) -> Fields | None:
    try:
        content = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return content if isinstance(content, dict) else None
