"""syslog's facilities by their names, in the order of their numbers (RFC 5424, 6.2.1)."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

__all__ = ["FACILITIES", "Facility"]

Facility: TypeAlias = Literal[
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "audit",
    "alert",
    "clock",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
]

FACILITIES: Final[tuple[Facility, ...]] = get_args(Facility)
