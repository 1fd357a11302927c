"""The demo's programs as processes: started, watched, killed and ended by their own ids only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

__all__ = ["Fleet", "free_port"]

READY = 20.0  # seconds that a service may take to answer


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class Fleet:
    """The running programs by name. Their own output goes to `<name>.out` in `directory`."""

    directory: Path
    config: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, port: int, peer: str) -> None:
        """Start `shop`, `stock` or `mailer`."""
        module = "logferry.shipper.demo.services"
        self._spawn(name, [sys.executable, "-m", module, name, str(port), peer])

    def start_load(self, url: str, seconds: float) -> None:
        """Start the customers."""
        module = "logferry.shipper.demo.load"
        self._spawn("load", [sys.executable, "-m", module, url, str(seconds)])

    def _spawn(self, name: str, command: list[str]) -> None:
        environment = os.environ | {"LOGFERRY_CONFIG": str(self.config), "SHOP_SERVICE": name}
        with (self.directory / f"{name}.out").open("ab") as out:
            self.processes[name] = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def wait_ready(self, name: str, port: int) -> None:
        """Wait until the service answers. Raises RuntimeError with the end of its output when it does not."""
        deadline = time.monotonic() + READY
        while time.monotonic() < deadline and self.processes[name].poll() is None:
            try:
                with urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=1):
                    return
            except (URLError, OSError):
                time.sleep(0.05)
        tail = (self.directory / f"{name}.out").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"the demo's {name} did not start; the end of its output:\n{tail}")

    def last_words(self, name: str, port: int, words: str) -> int:
        """Let service `name` log `words` and die of SIGKILL at once; return its process id."""
        process = self.processes[name]
        with suppress(OSError):  # it dies in the middle of this request: that is the point
            urlopen(f"http://127.0.0.1:{port}/last-words/{words}", data=b"", timeout=5).close()
        if process.wait(timeout=5) != -signal.SIGKILL:
            raise RuntimeError(f"{name} was to die of SIGKILL, but ended with {process.returncode}")
        return process.pid

    def stop(self, timeout: float = 10.0) -> None:
        """End everything that still runs, politely first."""
        running = [p for p in self.processes.values() if p.poll() is None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + timeout
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
