"""What a service manager is told (`sd_notify`): a datagram to the socket that NOTIFY_SOCKET names.

systemd starts what depends on logferry after READY, and knows a reload from a hang. Without the variable, and
whatever goes wrong, nothing happens.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

__all__ = ["notify", "reloading"]


def notify(*lines: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send lines such as `READY=1`; return whether there was somebody to send them to."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    target = "\0" + address[1:] if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        out.settimeout(1.0)
        out.sendto("\n".join(lines).encode(), target)
        return True
    return False


def reloading() -> None:
    """Say that a reload begins; `READY=1` ends it. The moment is what `Type=notify-reload` asks for."""
    moment = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notify("RELOADING=1", f"MONOTONIC_USEC={moment}")
