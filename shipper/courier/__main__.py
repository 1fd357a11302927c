"""`python -m logferry.shipper.courier`: a delivery process, started by `launch` and by nobody else.

Reads its job, claims the service, forks and lets its parent end: from then on it belongs to no application.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from ..spool.claim import Claim
from .board import ASKED_FOR, Board, Notice
from .launch import BUSY, LENGTH

__all__: list[str] = []


def _read(count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = os.read(0, count - len(data))
        if not piece:
            raise SystemExit(2)  # whoever started us is dead
        data += piece
    return data


def _leave_parent() -> None:
    """Go on in a child that no terminal and no application knows."""
    if os.fork():
        os._exit(0)
    os.umask(0o077)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    os.close(null)


def _claim(service: Path, mine: Notice) -> Claim | None:
    """Ask whoever delivers to leave, and wait for that."""
    board = Board(service)
    board.ask(mine)
    deadline = time.monotonic() + ASKED_FOR
    while (claim := Claim.take(service)) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    board.withdraw()
    return claim


def main() -> None:
    """Deliver what the processes of one service have in their spools."""
    job: dict[str, Any] = json.loads(_read(int.from_bytes(_read(LENGTH), "big")))
    service = Path(job["service"])
    mine = Notice(os.getpid(), job["digest"], job["configured"], time.time())
    claim = None
    if not job["takeover"]:
        for _ in range(5):  # somebody may be looking whether it is held
            if (claim := Claim.take(service)) is not None:
                break
            time.sleep(0.01)
        else:
            raise SystemExit(BUSY)
    _leave_parent()
    claim = claim or _claim(service, mine)
    if claim is None:
        raise SystemExit(BUSY)
    os.environ.update(job["environ"])
    from .process import deliver

    sys.exit(deliver(job, claim))


if __name__ == "__main__":
    main()
