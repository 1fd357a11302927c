"""What Python programs write: `logging`'s default formats and their like, and those of the usual servers.

Taken are `LEVEL:logger:message`, `time - logger - LEVEL - message` (with other marks, other orders, a
process in brackets), loguru's and structlog's (`python_loggers.py`), gunicorn's, uvicorn's, Flask's and
Celery's lines, what Django says of requests, and the access lines of uvicorn, gunicorn, Hypercorn, Daphne,
aiohttp, Werkzeug and Django, by themselves or behind a head. A traceback behind the message is the event's
error (`core/parse.py`), also that of a request that failed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from ...core.ids import add_ids, block_may_hold_ids, has_ids
from .levels import level_named
from .many import Row
from .model import Fields
from .python_loggers import read_loguru, read_structlog
from .times import CLF, ISO_TIME, Times
from .web import access_fields, read_access

__all__ = ["Python"]

_LEVEL: Final = r"(DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL|NOTSET)"
_NAME: Final = r"([A-Za-z_][A-Za-z0-9_.\-]{0,255})"
_BASIC: Final = re.compile(_LEVEL + ":" + _NAME + r":(.*)\Z", re.DOTALL)
_UVICORN: Final = re.compile(_LEVEL + r": +(.*)\Z", re.DOTALL)
_REQUEST: Final = re.compile(
    r'(\S{1,64}?)(?::(\d{1,5}))? - "([A-Z]{1,16} [^\n]{0,8192})" (\d{3})(?: ([A-Za-z \'-]{1,40}))?\Z'
)
_CELERY: Final = re.compile(
    r"\[" + ISO_TIME + ": " + _LEVEL + r"/([^\]]{1,128})\] (.*)\Z", re.ASCII | re.DOTALL
)
_TASK: Final = re.compile(r"[^\[\n]{0,256}\[([0-9a-f-]{36})\]")
_TIMED: Final = re.compile(
    r"\[?" + ISO_TIME + r"\]?(?: ?[-|:,] ?| )"
    r"(?:\[(\d{1,9})\] )?(?:\[?"
    + _LEVEL
    + r"\]? *:?(?: ?[-|:] ?| {1,8})(?:\[?"
    + _NAME
    + r"(?<!:)\]?(?::(\d{1,6}))?(?: ?[|:-] | - |: ))?"
    r"|\[?" + _NAME + r"\]?(?: ?[-|:,] ?| )\[?" + _LEVEL + r"\]? *(?: ?[-|:] ?| ))(.*)\Z",
    re.ASCII | re.DOTALL,
)
# Werkzeug and Daphne begin with the client, Django does not. What stands there is a request or a text.
_CLF_SAID: Final = re.compile(
    r"(?:(\S{1,64}) - - )?\[" + CLF + r'\] (?:"([^\n]{0,8192})" (\d{3}) (\d{1,17}|-)\Z|([^"].*)\Z)',
    re.ASCII | re.DOTALL,
)
_BAD: Final = re.compile(r"code ([45])\d\d, message ")
_SHORT: Final = re.compile(r"\A(\S{1,64}) (?=\[\d\d/)", re.ASCII)  # aiohttp's: neither identity nor user
_PORT: Final = re.compile(r":\d{1,5}\Z", re.ASCII)
_FLASK: Final = re.compile(r"in ([A-Za-z_]\w{0,255}): (.*)\Z", re.DOTALL)
_REASONS: Final = {status.phrase: status.value for status in HTTPStatus if status >= 400}
_REASON: Final = re.compile(r"([A-Z][A-Za-z' -]{2,40})(?: \([^)\n]{1,128}\))?: (/[^\n]{0,8192})")
_QUOTED: Final = ' "'  # stands in each access line
_BAR: Final = " | "  # stands in each of loguru's
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
            return self._said(found[1], found[2], found[3])
        found = _UVICORN.match(text)
        if found is not None:
            return self._said(found[1], "", found[2])
        return self._others(text)

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
        if _BAR in text and (said := read_loguru(text, self._times)) is not None:
            return said
        found = _TIMED.match(text)
        if found is not None:
            return self._usual(found)
        return read_structlog(text, self._times) or self._others(text)

    def _others(self, text: str) -> Fields | None:
        """Take lines of which the first is a record: what follows is the traceback of what it tells."""
        line, newline, rest = text.partition("\n")
        fields = self._clf(line) or self._access(line, "gunicorn") or _django(line)
        if fields is not None and newline:
            fields["message"] += newline + rest
        return fields

    def _clf(self, line: str) -> Fields | None:
        """Take Werkzeug's, Daphne's and Django's lines."""
        found = _CLF_SAID.match(line)
        stamp = found and self._times.clf(found, 2)
        if found is None or stamp is None:
            return None
        colon = line[found.start(5) - 1] == ":"
        logger = "django.server" if not found[1] else "daphne.access" if colon else "werkzeug"
        if found[11] is not None:
            bad = _BAD.match(found[11])
            level = "INFO" if bad is None else "WARNING" if bad[1] == "4" else "ERROR"
            fields: Fields = {"timestamp": stamp, **_plain(level, logger, found[11])}
        elif colon and found[7]:
            return None  # gunicorn's
        else:
            fields = access_fields({"timestamp": stamp}, found[8], found[9], logger)
            if found[10] != "-":
                fields["bytes"] = int(found[10])
        if found[1]:
            fields["client_ip"] = _PORT.sub("", found[1])
        return fields

    def _access(self, said: str, server: str) -> Fields | None:
        """Take an access line: uvicorn's, or one in the combined format."""
        found = _REQUEST.match(said)
        if found is not None:
            fields = access_fields({}, found[3], found[4], "uvicorn.access")
            fields["client_ip"] = found[1]
            return fields
        combined = read_access(_SHORT.sub(r"\1 - - ", said, count=1), self._times, f"{server}.access")
        if combined is not None:
            combined["client_ip"] = _PORT.sub("", combined["client_ip"])
        return combined

    def _usual(self, found: re.Match[str]) -> Fields | None:
        stamp = self._times.match(found)
        if stamp is None:
            return None
        process, first, behind, line, before, second, said = found.group(5, 6, 7, 8, 9, 10, 11)
        fields: Fields = {"timestamp": stamp}
        fields |= self._said(first or second, behind or before or "", said)
        fields["timestamp"] = stamp
        if process:
            fields["process"] = int(process)
        if line:
            fields["line"] = int(line)
        return fields

    def _said(self, level: str, logger: str, said: str) -> Fields:
        """Return what a message says, which may be an access line, or Flask's."""
        if _QUOTED in said and (access := self._access(said, "hypercorn")) is not None:
            return {**access, "logger": logger} if logger else access
        flask = None if logger else _FLASK.match(said)
        if flask is None:
            return _plain(level, logger, said)
        return {**_plain(level, "", flask[2]), "module": flask[1]}

    def many(self, texts: Sequence[str], block: bytes) -> Sequence[Row | None]:
        """Return what lines of the usual form say, a time first; see `many`."""
        ids, iso, match = block_may_hold_ids(block), self._times.iso, _TIMED.match
        coloured = b"\x1b" in block
        rows: list[Row | None] = []
        for text in texts:
            row = None
            found = match(text) if text[:1].isdigit() and _BAR not in text else None
            if found is not None and not (coloured and "\x1b" in text) and not (ids and has_ids(text)):
                day, clock, fraction, zone, process, first, behind, line, before, second, said = (
                    found.groups()
                )
                stamp = iso(day, clock, fraction, zone)
                if stamp is not None and not (process or line or _QUOTED in said or said[:3] == "in "):
                    level = level_named(first or second) or "INFO"
                    row = _Said(stamp, level, said, behind or before or "")
            rows.append(row)
        return rows


def _django(line: str) -> Fields | None:
    """Take what Django says of a request, which has neither time nor level: `Not Found: /x`."""
    found = _REASON.match(line)
    code = found and _REASONS.get(found[1])
    if found is None or code is None:
        return None
    fields = _plain("ERROR" if code >= 500 else "WARNING", "django.request", line)
    fields["path"] = found[2]
    return fields


def _plain(level: str, logger: str, said: str) -> Fields:
    fields: Fields = {"level": level_named(level) or "INFO", "message": said, "logger": logger}
    add_ids(fields, said)
    return fields
