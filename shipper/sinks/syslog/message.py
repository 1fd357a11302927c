"""An event as an RFC 5424 message, and its frame on a connection. Pure.

    <PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID [SD-ID name="value" …] MSG

- TIMESTAMP is the event's own, HOSTNAME its `host`, PROCID its `process`; what is not there, or is not what
  the RFC allows in its place, is `-`.
- What is not printable ASCII in a header's field becomes `_`, for all but MSG and the values of structured
  data are ASCII; what is too long is cut.
- A frame is the length in octets, a space and the message (RFC 6587, octet counting); or the message and a
  line break, and then a line break inside becomes a space.
- A line that is no JSON object has no message (None).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from string import Formatter
from typing import Any, Final, TypeAlias

import msgspec

from ...core.facilities import FACILITIES

__all__ = ["SEVERITIES", "Composer", "frame", "sd_name", "wrong_template"]

SEVERITIES: Final[Mapping[Any, int]] = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
_NOTICE: Final = 5  # an event without a level that is known
_STAMP: Final = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T"
    r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_FOREIGN: Final = re.compile(r"[^!-~]")
_NOT_IN_NAMES: Final = re.compile(r"[^!#-<>-\\^-~]")  # printable but for " = ]
_ESCAPED: Final = re.compile(r'(["\\\]])')
_BOM: Final = b"\xef\xbb\xbf"
_FIXED: Final = ("timestamp", "level", "host", "process", "message")

Head: TypeAlias = Any


def wrong_template(key: str, text: str) -> str:
    """Return what is wrong with a template whose braces hold fields of the event; `""`: nothing."""
    try:
        for _, field, spec, conversion in Formatter().parse(text):
            if field is not None and (not field or not field.isidentifier() or spec or conversion):
                return f"{key}: {{{field}}} is not a field's name"
    except ValueError:
        return f"{key}: a brace without its other; write {{{{ for a brace"
    return ""


@lru_cache(1024)
def sd_name(name: str) -> str:
    """Return a field's name as the name of a parameter."""
    return _NOT_IN_NAMES.sub("_", name)[:32]


@lru_cache(4096)
def _word(text: str, longest: int) -> str:
    """Return a header's field: printable ASCII, cut; `-` for nothing."""
    return _FOREIGN.sub("_", text)[:longest] or "-"


def _text(value: Any) -> str:
    """Return a JSON value as text; nothing for what is not there."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _template(text: str) -> tuple[Sequence[str], Callable[[Sequence[str]], str]]:
    """Return the fields that a template names, and how it is filled with their texts."""
    parts = [(literal, field) for literal, field, _, _ in Formatter().parse(text)]
    fields = [field for _, field in parts if field is not None]

    def fill(values: Sequence[str]) -> str:
        rest = iter(values)
        return "".join(literal + (next(rest) if field is not None else "") for literal, field in parts)

    return fields, fill


class Composer:
    """Makes messages, as one configuration wants them."""

    def __init__(
        self,
        *,
        facility: str,
        app_name: str,
        msgid: str,
        sd_id: str,
        structured_data: Sequence[str],
        whole: bool,
        bom: bool,
        host: str,
    ) -> None:
        app, self._app = _template(app_name)
        identifier, self._msgid = _template(msgid)
        data = [name for name in structured_data if name != "event_id"]
        names = list(dict.fromkeys((*_FIXED, *app, *identifier, *data)))
        struct = msgspec.defstruct(
            "Head", [(f"f{i}", Any, None) for i in range(len(names))], rename=dict(_renamed(names)), gc=False
        )
        at = {name: f"f{i}" for i, name in enumerate(names)}
        self._decoder = msgspec.json.Decoder(struct)
        self._fixed = [at[name] for name in _FIXED]
        self._app_fields, self._msgid_fields = [at[n] for n in app], [at[n] for n in identifier]
        self._data = [(sd_name(name), at[name]) for name in data]
        self._facility = FACILITIES.index(facility) * 8
        self._sd_id, self._whole, self._bom, self._host = sd_id, whole, bom, host

    def message(self, line: bytes, event_id: str) -> bytes | None:
        """Return the message for an event line; None when it is not a JSON object."""
        try:
            head = self._decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        stamp, level, host, process, text = (getattr(head, name) for name in self._fixed)
        if not (isinstance(stamp, str) and _STAMP.fullmatch(stamp)):
            stamp = "-"
        severity = SEVERITIES.get(level, _NOTICE) if isinstance(level, str) else _NOTICE
        app = self._app(self._texts(head, self._app_fields))
        msgid = self._msgid(self._texts(head, self._msgid_fields))
        head_text = (
            f"<{self._facility + severity}>1 {stamp} {_word(_text(host) or self._host, 255)} "
            f"{_word(app, 48)} {_word(_text(process), 128)} {_word(msgid, 32)} "
            f"{self._structured(head, event_id)} "
        )
        body = line if self._whole else _text(text).encode()
        return head_text.encode() + (_BOM if self._bom else b"") + body

    @staticmethod
    def _texts(head: Head, fields: Sequence[str]) -> list[str]:
        return [_text(getattr(head, name)) for name in fields]

    def _structured(self, head: Head, event_id: str) -> str:
        pairs = [f'event_id="{event_id}"']
        for name, attribute in self._data:
            text = _text(getattr(head, attribute))
            if text:
                pairs.append(f'{name}="{_ESCAPED.sub(_backslash, text)}"')
        return f"[{self._sd_id} {' '.join(pairs)}]"


def _backslash(match: re.Match[str]) -> str:
    return "\\" + match[1]


def _renamed(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return attribute and field for each name, as `rename` takes them."""
    return [(f"f{i}", name) for i, name in enumerate(names)]


def frame(message: bytes, framing: str) -> bytes:
    """Return the message as it goes over a connection."""
    if framing == "octet_counting":
        return b"%d %b" % (len(message), message)
    return message.replace(b"\r", b" ").replace(b"\n", b" ").replace(b"\0", b" ") + b"\n"
