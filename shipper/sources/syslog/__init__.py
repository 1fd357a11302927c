"""Syslog as it is spoken: RFC 5424, RFC 3164, and what programs make of them.

`frames` a stream of bytes as messages and lines · `message` what a message says.
"""

from __future__ import annotations

__all__: list[str] = []
