"""What Python programs write: `logging`'s default formats and their like, and those of the usual servers.

Taken are `LEVEL:logger:message`, `time - logger - LEVEL - message` (with other marks, other orders, a
process in brackets), gunicorn's, uvicorn's and Celery's lines, and the access lines of uvicorn, Werkzeug and
Django. A traceback behind the message is the event's error (`core/parse.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ...core.ids import add_ids, block_may_hold_ids, has_ids
from .levels import level_named
from .many import Row
from .model import Fields
from .times import CLF, ISO_TIME, Times
from .web import access_fields

__all__ = ["Python"]

_LEVEL: Final = r"(DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL|NOTSET)"
_NAME: Final = r"([A-Za-z_][A-Za-z0-9_.\-]{0,255})"
_BASIC: Final = re.compile(_LEVEL + ":" + _NAME + r":(.*)\Z", re.DOTALL)
_UVICORN: Final = re.compile(_LEVEL + r": +(.*)\Z", re.DOTALL)
_REQUEST: Final = re.compile(
    r'(\S{1,64}?)(?::(\d{1,5}))? - "([A-Z]{1,16} [^"]{0,8192})" (\d{3})(?: ([A-Za-z \'-]{1,40}))?\Z'
)
_CELERY: Final = re.compile(
    r"\[" + ISO_TIME + ": " + _LEVEL + r"/([^\]]{1,128})\] (.*)\Z", re.ASCII | re.DOTALL
)
_TASK: Final = re.compile(r"[^\[\n]{0,256}\[([0-9a-f-]{36})\]")
_TIMED: Final = re.compile(
    r"\[?" + ISO_TIME + r"\]?(?: ?[-|:,] ?| )"
    r"(?:\[(\d{1,9})\] )?(?:\[?"
    + _LEVEL
    + r"\]? *:?(?: ?[-|:] ?| )(?:\[?"
    + _NAME
    + r"(?<!:)\]?(?::(\d{1,6}))?(?: ?[|:-] | - |: ))?"
    r"|\[?" + _NAME + r"\]?(?: ?[-|:,] ?| )\[?" + _LEVEL + r"\]? *(?: ?[-|:] ?| ))(.*)\Z",
    re.ASCII | re.DOTALL,
)
_WERKZEUG: Final = re.compile(r"(\S{1,64}) - - \[" + CLF + r'\] "([^"]{0,8192})" (\d{3}) (\d+|-)\Z', re.ASCII)
_DJANGO: Final = re.compile(r"\[" + CLF + r'\] "([^"]{0,8192})" (\d{3}) (\d+)\Z', re.ASCII)
_COLOUR: Final = re.compile("\x1b\\[[0-9;]{0,16}m")


class _Said(Row, gc=False):
    timestamp: str
    level: str
    message: str
    logger: str


class Python:
    """Lines of Python programs."""

    name = "python"

    def __init__(self, times: Times) -> None:
        self._times = times

    def read(self, line: bytes) -> Fields | None:
        """Return what a line, or a joined record, says; None: it has no form that is known here."""
        text = line.decode("utf-8", "replace")
        if "\x1b" in text:
            text = _COLOUR.sub("", text)
        first = text[:1]
        if first.isdigit() or first == "[":
            return self._timed(text)
        found = _BASIC.match(text)
        if found is not None:
            return _plain(found[1], found[2], found[3])
        found = _UVICORN.match(text)
        if found is not None:
            return self._uvicorn(found[1], found[2])
        return None

    def _timed(self, text: str) -> Fields | None:
        found = _CELERY.match(text)
        if found is not None:
            stamp = self._times.match(found)
            if stamp is None:
                return None
            fields: Fields = {"timestamp": stamp}
            fields |= _plain(found[5], "celery", found[7])
            fields["thread"] = found[6]
            task = _TASK.match(found[7])
            if task is not None:
                fields["task_id"] = task[1]
            return fields
        found = _TIMED.match(text)
        if found is not None:
            return self._usual(found)
        found = _WERKZEUG.match(text)
        if found is not None:
            stamp = self._times.clf(found, 2)
            return (
                None
                if stamp is None
                else self._access(stamp, found[1], found[8], found[9], found[10], "werkzeug")
            )
        found = _DJANGO.match(text)
        if found is not None:
            stamp = self._times.clf(found, 1)
            return (
                None
                if stamp is None
                else self._access(stamp, "", found[7], found[8], found[9], "django.server")
            )
        return None

    def _usual(self, found: re.Match[str]) -> Fields | None:
        stamp = self._times.match(found)
        if stamp is None:
            return None
        process, first, behind, line, before, second, said = found.group(5, 6, 7, 8, 9, 10, 11)
        fields: Fields = {"timestamp": stamp}
        fields |= _plain(first or second, behind or before or "", said)
        if process:
            fields["process"] = int(process)
        if line:
            fields["line"] = int(line)
        return fields

    def _uvicorn(self, level: str, said: str) -> Fields:
        found = _REQUEST.match(said)
        if found is None:
            return _plain(level, "", said)
        fields = access_fields({}, found[3], found[4], "uvicorn.access")
        fields["client_ip"] = found[1]
        return fields

    def many(self, texts: Sequence[str], block: bytes) -> Sequence[Row | None]:
        """Return what lines of the usual form say, a time first; see `many`."""
        ids, iso, match = block_may_hold_ids(block), self._times.iso, _TIMED.match
        coloured = b"\x1b" in block
        rows: list[Row | None] = []
        for text in texts:
            row = None
            found = match(text) if text[:1].isdigit() else None
            if found is not None and not (coloured and "\x1b" in text) and not (ids and has_ids(text)):
                day, clock, fraction, zone, process, first, behind, line, before, second, said = (
                    found.groups()
                )
                stamp = iso(day, clock, fraction, zone)
                if stamp is not None and not (process or line):
                    level = level_named(first or second) or "INFO"
                    row = _Said(stamp, level, said, behind or before or "")
            rows.append(row)
        return rows

    @staticmethod
    def _access(stamp: str, client: str, request: str, status: str, size: str, logger: str) -> Fields:
        fields = access_fields({"timestamp": stamp}, request, status, logger)
        if client:
            fields["client_ip"] = client
        if size != "-":
            fields["bytes"] = int(size[:17])
        return fields


def _plain(level: str, logger: str, said: str) -> Fields:
    fields: Fields = {"level": level_named(level) or "INFO", "message": said, "logger": logger}
    add_ids(fields, said)
    return fields
