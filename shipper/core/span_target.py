"""Where spans go when they do not take the way of all events, as a user writes it. Pure.

    spool                       the way of all events
    udp://127.0.0.1:9411        a datagram for each; IPv6 in brackets
    file:///var/log/spans.ndjson

A UDP target is an address or `localhost`: a name would have to be looked up, and a lookup can take seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import unquote, urlsplit

__all__ = ["SPOOL", "FileTarget", "SpanTarget", "UdpTarget", "span_target", "wrong_target"]

SPOOL: Final = "spool"
_FORMS: Final = "spool, udp://127.0.0.1:9411 or file:///var/log/spans.ndjson"


@dataclass(frozen=True, slots=True)
class UdpTarget:
    """A port that takes datagrams."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class FileTarget:
    """A file that is appended to."""

    path: Path


SpanTarget: TypeAlias = UdpTarget | FileTarget | None
"""None: the spool."""


def span_target(text: str) -> SpanTarget:
    """Return what `text` names; ValueError says what is wrong with it."""
    if text == SPOOL:
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"not {_FORMS}") from None
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"not {_FORMS}")
    if parts.scheme == "udp" and parts.path in {"", "/"}:
        return UdpTarget(_address(parts.hostname or ""), _port(port))
    if parts.scheme == "file" and not parts.netloc and parts.path.strip("/"):
        return FileTarget(Path(unquote(parts.path)))
    raise ValueError(f"not {_FORMS}")


def wrong_target(text: str) -> str:
    """Return what is wrong with a target; `""`: nothing."""
    try:
        span_target(text)
    except ValueError as error:
        return str(error)
    return ""


def _address(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ip_address(host))
    except ValueError:
        raise ValueError("udp: an address, such as udp://127.0.0.1:9411; names are not looked up") from None


def _port(port: int | None) -> int:
    if not port:
        raise ValueError("udp: without a port; write udp://127.0.0.1:9411")
    return port
