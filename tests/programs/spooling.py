"""A process with a spool that does what it is told, a line at a time, and answers in JSON.

log N [S]    offer N events, with rests of S seconds; how many were taken, the state afterwards, the slowest
             call in seconds
sync         what the upkeep does each second
deliver      deliver everything; the account
hold         take all descriptors there are;  `free` gives them back
limit NAME N set a soft resource limit (RLIMIT_FSIZE ...), with the signal of exceeding it as C has it
user N       become this user
slow S       each sync of the disk takes S seconds from now on
background   sync in a thread of its own, for ever; `longest` is what one took at most, in seconds
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from logferry.shipper.ports import Outcome
from logferry.shipper.spool import Spool, SpoolSet, SpoolSettings, supply

supply.RETRY = 0.2
EVENT = b'{"n":%d,"x":"' + b"x" * 400 + b'"}'


class Program:
    """The spool and the commands."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.spool = Spool(SpoolSettings(path, "shop", **settings))
        self.set = SpoolSet(self.spool.settings, self.spool)
        self.count = 0
        self.held: list[int] = []
        self.numbers: list[int] = []
        self.syncs = [0.0]

    def log(self, times: str, rest: str = "0") -> dict[str, Any]:
        taken, slowest = 0, 0.0
        for _ in range(int(times)):
            self.count += 1
            event = EVENT % self.count
            begun = time.perf_counter()
            taken += self.spool.offer(event)
            slowest = max(slowest, time.perf_counter() - begun)
            time.sleep(float(rest))
        return {"taken": taken, "state": self.spool.state, "slowest": slowest}

    def sync(self) -> dict[str, Any]:
        self.spool.sync()
        self.spool.prepare()
        return {"state": self.spool.state}

    def deliver(self) -> dict[str, Any]:
        cursor = self.spool.cursor("a")
        while (batch := cursor.read(500, 1 << 20)) is not None:
            self.numbers += [int(line[5 : line.index(b",")]) for line in batch.lines]
            cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
            self.set.reclaim(["a"])
        account = cursor.account()
        ordered = self.numbers == sorted(set(self.numbers))
        return {
            "accepted": account.accepted,
            "delivered": account.delivered,
            "pending": account.pending,
            "dropped": account.dropped,
            "balance": account.balance,
            "ordered": ordered and len(self.numbers) == account.delivered,
        }

    def hold(self) -> dict[str, Any]:
        try:
            while True:
                self.held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            return {"held": len(self.held)}

    def free(self) -> dict[str, Any]:
        while self.held:
            os.close(self.held.pop())
        return {}

    def limit(self, name: str, value: str) -> dict[str, Any]:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # an application may: Python ignores it
        kind = getattr(resource, name)
        resource.setrlimit(kind, (int(value), resource.getrlimit(kind)[1]))
        return {}

    def user(self, number: str) -> dict[str, Any]:
        os.setgroups([])
        os.setgid(int(number))
        os.setuid(int(number))
        return {}

    def slow(self, seconds: str) -> dict[str, Any]:
        for name in ("fsync", "fdatasync"):
            setattr(os, name, lambda _fd: time.sleep(float(seconds)))
        return {}

    def background(self) -> dict[str, Any]:
        def run() -> None:
            while True:
                begun = time.monotonic()
                self.sync()
                self.syncs[0] = max(self.syncs[0], time.monotonic() - begun)

        threading.Thread(target=run, daemon=True).start()
        return {}

    def longest(self) -> dict[str, Any]:
        return {"seconds": self.syncs[0]}


def main() -> None:
    """Read commands until there are no more."""
    program = Program(Path(sys.argv[1]), **json.loads(sys.argv[2]))
    for line in sys.stdin:
        command, *arguments = line.split()
        print(json.dumps(getattr(program, command)(*arguments)), flush=True)


if __name__ == "__main__":
    main()
