"""An application that delivers out of the process: commands come in on stdin, one a line, answers go out.

    appending.py DIRECTORY [JSON of configuration keys that differ]

With AS_USER=uid:gid it becomes that user, with everything imported before: the interpreter may lie where that
user cannot read. With AGENT=1 it is no application but an agent that reads the spools under DIRECTORY/spool.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import logferry
from logferry.shipper import lifecycle
from logferry.shipper.config import load
from logferry.shipper.config.plan import plan
from logferry.shipper.courier import choose

if TYPE_CHECKING:
    from logferry.shipper.pipeline import Pipeline

LOG = logging.getLogger("app")


def configuration(directory: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with the changes."""
    return {
        "service": "checkout",
        "delivery": "process",
        "spool": {"path": f"{directory}/spool"},
        "logging": {"level": "INFO", "console": "off"},
        "sinks": {"out": {"type": "file", "path": f"{directory}/out.ndjson"}},
        **changes,
    }


class Commands:
    """What a line of stdin may ask for."""

    def __init__(self) -> None:
        self._stop, self._stopped, self._count = threading.Event(), threading.Event(), 0

    def log(self, first: str, end: str) -> str:
        """Log records with these numbers."""
        for n in range(int(first), int(end)):
            LOG.info("record", extra={"n": n})
        return "logged"

    def flush(self, seconds: str) -> bool:
        return logferry.flush(float(seconds))

    def shutdown(self, seconds: str) -> bool:
        return logferry.shutdown(float(seconds))

    def die(self) -> None:
        """One more record, and SIGKILL."""
        LOG.info("last words", extra={"request_id": "r-last"})
        os.kill(os.getpid(), signal.SIGKILL)

    def forever(self, first: str) -> str:
        """Log until stopped, a little at a time."""
        self._count = int(first)
        threading.Thread(target=self._forever, daemon=True).start()
        return "started"

    def _forever(self) -> None:
        while not self._stop.is_set():
            for _ in range(20):
                LOG.info("record", extra={"n": self._count})
                self._count += 1
            self._stop.wait(0.005)
        self._stopped.set()

    def stop(self) -> int:
        """Stop logging; return the number that would have come next."""
        self._stop.set()
        self._stopped.wait(10)
        return self._count

    def modules(self) -> list[str]:
        return sorted(sys.modules)

    def states(self) -> dict[str, list[str]]:
        return {name: [state.state, state.error] for name, state in running().states().items()}

    def accounts(self) -> dict[str, list[int]]:
        return {name: [a.accepted, a.delivered, a.pending] for name, a in running().accounts().items()}


def running() -> choose.Shipping:
    """Return what ships in this process."""
    found = lifecycle.current()
    assert found is not None
    return found


def become(user: str) -> None:
    """Use everything once, so that it is imported, then be another user."""
    uid, _, gid = user.partition(":")
    with tempfile.TemporaryDirectory() as place:
        for delivery in ("thread", "agent"):
            logferry.configure(configuration(place, {"delivery": delivery}))
            LOG.info("warm")
            logferry.flush(0.5)
            running().accounts()
            logferry.shutdown(0.5)
        warm = {"apps": {"type": "spool", "path": f"{place}/spool"}}
        agent(place, {"sources": warm}).shutdown(0.5)
    os.setgroups([int(gid)])
    os.setgid(int(gid))
    os.setuid(int(uid))
    os.chdir("/")


def agent(directory: str, changes: dict[str, Any]) -> Pipeline:
    """Start an agent."""
    from logferry.shipper.pipeline import Pipeline  # an application that only appends has none

    config = configuration(
        directory, {"service": "agent", "spool": {"path": f"{directory}/agent"}, **changes}
    )
    pipeline = Pipeline.from_plan(plan(load({**config, "delivery": "thread"})))
    pipeline.start()
    return pipeline


def main() -> None:
    """Configure, then obey."""
    changes = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    choose.LINGER = changes.pop("linger", 1.0)
    os.set_inheritable(os.pipe()[1], True)  # a careless application
    if user := os.environ.get("AS_USER"):
        become(user)
    reader = agent(sys.argv[1], changes) if os.environ.get("AGENT") else None
    if reader is None:
        logferry.configure(configuration(sys.argv[1], changes))
    print("ready", flush=True)
    commands = Commands()
    for line in sys.stdin:
        command, *arguments = line.split()
        print(json.dumps(getattr(commands, command)(*arguments)), flush=True)
    if reader is not None:
        reader.shutdown()


if __name__ == "__main__":
    main()
