"""An entry of systemd's journal, by its library or by `journalctl -o json`: what stands beside its MESSAGE.

- The priority that programs leave at 6 says nothing; any other counts more than INFO in the text.
- Of a container (Docker's journald driver) the priority says the stream and nothing else, and what journald
  adds is the daemon's; the container's name is the service, unless it was given a tag.
- The identifier is the service. What a program has added by its own names is kept by these, in lower case; of
  what journald adds, the unit, the transport and the command are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .parse import Parsed

__all__ = ["STAMP", "complete", "text_of"]

STAMP: Final = "__REALTIME_TIMESTAMP"
"""What each entry has in `journalctl -o json`: microseconds."""

_LEVELS: Final = dict(
    zip(
        "01234567",
        ("CRITICAL", "CRITICAL", "CRITICAL", "ERROR", "WARNING", "INFO", "INFO", "DEBUG"),
        strict=True,
    )
)
_NAMES: Final[Mapping[str, str]] = {
    "CODE_FUNC": "function",
    "CODE_LINE": "line",
    "CODE_FILE": "file",
    "_SYSTEMD_UNIT": "unit",
    "_SYSTEMD_USER_UNIT": "user_unit",
    "_TRANSPORT": "transport",
    "_COMM": "command",
    "_HOSTNAME": "host",
    "_PID": "process",
    "SYSLOG_PID": "process",
}
_CONTAINER: Final[Mapping[str, str]] = {
    "CONTAINER_NAME": "container",
    "CONTAINER_ID_FULL": "container_id",
    "IMAGE_NAME": "image",
    "_HOSTNAME": "host",
}
_NUMBERS: Final = frozenset({"line", "process"})
_TAKEN: Final = frozenset({"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "SYSLOG_TIMESTAMP", "SYSLOG_RAW"})


def complete(parsed: Parsed, entry: Mapping[str, Any], microseconds: int) -> str:
    """Add to what MESSAGE says what the entry says beside it; return the identifier."""
    from .parse import service_of

    if parsed.timestamp is None:
        parsed.timestamp = microseconds / 1e6
    if "CONTAINER_ID_FULL" in entry:
        return _of_container(parsed, entry)
    level = _LEVELS.get(text_of(entry.get("PRIORITY", "")), "INFO")
    if level != "INFO":
        parsed.level = level
    identifier = text_of(entry.get("SYSLOG_IDENTIFIER", ""))
    parsed.service = parsed.service or service_of(identifier) or ""
    if identifier and identifier != parsed.service:
        parsed.fields.setdefault("app_name", identifier)
    _add(parsed, entry, _NAMES)
    return identifier


def _of_container(parsed: Parsed, entry: Mapping[str, Any]) -> str:
    from .parse import service_of

    identifier = text_of(entry.get("SYSLOG_IDENTIFIER", ""))
    tagged = identifier != text_of(entry.get("CONTAINER_ID", ""))
    name = identifier if tagged else text_of(entry.get("CONTAINER_NAME", ""))
    parsed.service = parsed.service or service_of(name) or ""
    parsed.fields.setdefault("stream", "stderr" if text_of(entry.get("PRIORITY", "")) == "3" else "stdout")
    own = {
        name: value
        for name, value in entry.items()
        if not name.startswith("CONTAINER_") or name in _CONTAINER
    }
    _add(parsed, own, _CONTAINER)
    return name


def _add(parsed: Parsed, entry: Mapping[str, Any], names: Mapping[str, str]) -> None:
    for name, value in entry.items():
        known = names.get(name)
        if known is None and (name in _TAKEN or name.startswith("_")):
            continue
        text = text_of(value)
        number = known in _NUMBERS and text.isascii() and text.isdecimal() and len(text) < 10
        parsed.fields.setdefault(known or name.lower(), int(text) if number else text)


def text_of(value: Any) -> str:
    """Return a field's value as text."""
    if type(value) is str:
        return value
    if isinstance(value, list | tuple):
        if value and all(type(one) is int and 0 <= one < 256 for one in value):  # bytes, in JSON
            return bytes(value).decode("utf-8", "replace")
        return "\n".join(map(text_of, value))  # a field that stands several times in an entry
    if value is None:  # too long for `journalctl`
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
