"""Names as a compose network has them: in /etc/hosts for most, and by DNS at 127.0.0.11 for nginx."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Mapping

__all__ = ["serve_names"]


def serve_names(names: Mapping[str, str], address: tuple[str, int] = ("127.0.0.11", 53)) -> None:
    """Answer questions for addresses, in a thread, for as long as the process lives."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(address)

    def run() -> None:
        while True:
            question, asker = server.recvfrom(512)
            server.sendto(_answer(question, names), asker)

    threading.Thread(target=run, name="names", daemon=True).start()


def _answer(question: bytes, names: Mapping[str, str]) -> bytes:
    labels, place = [], 12
    while length := question[place]:
        labels.append(question[place + 1 : place + 1 + length].decode("ascii", "replace"))
        place += 1 + length
    asked = question[12 : place + 5]
    kind = struct.unpack("!H", question[place + 1 : place + 3])[0]
    found = names.get(".".join(labels).lower()) if kind == 1 else None
    flags = 0x8180 if found or kind != 1 else 0x8183  # of our own, recursion offered; or: no such name
    head = question[:2] + struct.pack("!HHHHH", flags, 1, 1 if found else 0, 0, 0)
    if not found:
        return head + asked
    return head + asked + struct.pack("!HHHIH", 0xC00C, 1, 1, 5, 4) + socket.inet_aton(found)
