"""A request's body: what is kept of it while the application reads it, and its summary. Pure.

Rules
- Only what the application reads is seen, and at most `limit` bytes of it are kept; it is summed up only when
  an exception ends the request.
- JSON and forms are shown without their secrets; of a multipart form the fields are shown, and of its files
  name, type and size only. Of everything else, type and size.
- Redaction comes first, cutting second: half a secret is none that redaction knows. What was longer than
  `limit` is cut at the last comma, semicolon, ampersand or line break, where no value is torn.
- Values are at most 256 characters, lists 20 items, six deep; the summary says when it holds less than came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

import orjson

__all__ = ["Body", "Cleans"]

_LONGEST: Final = 256
_ITEMS: Final = 20
_DEEPEST: Final = 6
_TEXT: Final = 2_048
_PARTS: Final = 100
_BREAKS: Final = (b",", b";", b"&", b"\n")


class Cleans(Protocol):
    """Removes secrets; a `Redactor` does."""

    def clean_url(self, url: str, /) -> str:
        """Return a redacted URL or path with query."""
        ...

    def clean_text(self, text: str, /) -> str:
        """Return a redacted text."""
        ...

    def clean_mapping(self, mapping: Mapping[str, Any], /) -> dict[str, Any]:
        """Return a redacted mapping."""
        ...


class Body:
    """What was read of one body. `media` is the content type's header, `announced` the content length's."""

    __slots__ = ("_announced", "_form", "_kept", "_limit", "_media", "size")

    def __init__(self, media: str, announced: str, limit: int) -> None:
        self._media = media
        self._announced = announced
        self._limit = limit
        self._kept = bytearray()
        self._form: dict[str, Any] | None = None
        self.size = 0

    def take_form(self, fields: Iterable[tuple[str, Any]]) -> None:
        """Take note of a form that a framework has read by itself."""
        self._form = {}
        for name, value in fields:
            self._form[name] = value if name not in self._form else _more(self._form[name], value)

    def feed(self, data: bytes) -> None:
        """Take note of what the application has read."""
        self.size += len(data)
        room = self._limit - len(self._kept)
        if room > 0:
            self._kept += data[:room]

    def summary(self, redactor: Cleans) -> dict[str, Any] | None:
        """Return type, size and what may be shown; None when there is no body. Never raises."""
        announced = int(self._announced) if self._announced.isdecimal() and len(self._announced) < 16 else 0
        if not self.size and not announced:
            return None
        media = self._media.partition(";")[0].strip().lower()[:100]
        told: dict[str, Any] = {"type": media, "size": max(self.size, announced)}
        if self.size < announced and self._form is None:
            told["read"] = self.size
        try:
            shown = self._shown(media, redactor)
        except Exception:  # noqa: BLE001 - a body is input from strangers
            shown = None
        if shown is not None:
            told["content"] = shown
            if self.size > len(self._kept):
                told["truncated"] = True
        return told

    def _shown(self, media: str, redactor: Cleans) -> Any:
        whole = self.size == len(self._kept)
        if self._form is not None:
            return _bounded(redactor.clean_mapping(self._form), 0)
        if not self._kept:
            return None
        if media == "multipart/form-data":
            return _bounded(redactor.clean_mapping(_multipart(bytes(self._kept), self._media)), 0)
        if media == "application/x-www-form-urlencoded":
            fields: dict[str, Any] = {}
            data = self._kept if whole else _uncut(self._kept)
            for name, value in parse_qsl(data.decode("utf-8", "replace"), True)[:_PARTS]:
                fields[name] = value if name not in fields else _more(fields[name], value)
            return _bounded(redactor.clean_mapping(fields), 0)
        is_json = media == "application/json" or media.endswith("+json")
        if whole and is_json:
            found = orjson.loads(self._kept)
            named = found if isinstance(found, dict) else {"body": found}
            cleaned = redactor.clean_mapping(named)
            return _bounded(cleaned if named is found else cleaned.get("body"), 0)
        return redactor.clean_text(_uncut(self._kept).decode("utf-8", "replace"))[:_TEXT] if is_json else None


def _uncut(data: bytearray) -> bytes:
    return bytes(data[: max(data.rfind(separator) for separator in _BREAKS) + 1])


def _more(former: Any, value: Any) -> list[Any]:
    return [*former, value] if isinstance(former, list) else [former, value]


def _bounded(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…[{len(value)} characters]"
    if isinstance(value, (dict, list)):
        if depth == _DEEPEST:
            return "…"
        if isinstance(value, list):
            more = ["…"] if len(value) > _ITEMS else []
            return [*(_bounded(item, depth + 1) for item in value[:_ITEMS]), *more]
        items = list(value.items())[:_PARTS]
        return {str(name)[:_LONGEST]: _bounded(item, depth + 1) for name, item in items}
    return value


def _multipart(data: bytes, media: str) -> dict[str, Any]:
    """Return the fields of a multipart form, and in the place of its files what they are."""
    boundary = _parameter(media, "boundary").encode("latin-1", "replace")
    if not boundary:
        return {}
    fields: dict[str, Any] = {}
    parts = data.split(b"--" + boundary)[1 : _PARTS + 1]
    for place, part in enumerate(parts):
        head, found, content = part.partition(b"\r\n\r\n")
        if not found:
            continue
        headers = head.decode("utf-8", "replace")
        lines = [line.partition(":") for line in headers.split("\r\n") if ":" in line]
        of = {name.strip().lower(): value.strip() for name, _, value in lines}
        disposition = of.get("content-disposition", "")
        name, content = _parameter(disposition, "name"), content.removesuffix(b"\r\n")
        last = place == len(parts) - 1  # its end was not kept
        if "filename" in disposition.lower():
            file: dict[str, Any] = {"filename": _parameter(disposition, "filename")}
            file["type"] = of.get("content-type", "")
            if not last:
                file["size"] = len(content)
            fields[name] = file
        else:
            fields[name] = (
                _uncut(bytearray(content)).decode("utf-8", "replace")
                if last
                else content.decode("utf-8", "replace")
            )
    return fields


def _parameter(header: str, name: str) -> str:
    """Return a parameter of a header's value: ``name=value`` or ``name="value"``."""
    for part in header.split(";")[1:]:
        key, found, value = part.strip().partition("=")
        if found and key.strip().lower() == name:
            return value.strip().strip('"')[:_LONGEST]
    return ""
