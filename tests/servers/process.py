"""One process of a real server: started, waited for until it answers, and killed by its own pid.

What it says is in `log`, below its directory. What Java unpacks goes below that as well, and is gone with the
process: as it is, each JVM leaves its native libraries in the machine's /tmp.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

__all__ = ["Process", "java"]

_UNPACKED = "java-tmp"
_TAKEN = b"address already in use"


def java(data: Path, *options: str, program: str = "java") -> list[str]:
    """Return how Java is called for a server in the directory `data`."""
    unpacked = data / _UNPACKED
    unpacked.mkdir(parents=True, exist_ok=True)
    # The C1 compiler alone starts faster and uses less of a small machine. Nobody reads the counters of /tmp.
    small = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData")
    return [program, *small, f"-Djava.io.tmpdir={unpacked}", *options]


class Process:
    """What is started, its files in the directory `data`."""

    name = ""
    log = "server.log"
    pause = 0.1
    """Seconds between two questions whether it answers."""

    def __init__(self, data: Path) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self.data = data
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def command(self) -> list[str]:
        """Return what starts it."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str] | None:
        """Return what it finds in its environment; None: the tests' own."""
        return None

    def answers(self) -> bool:
        """Say whether it does; an OSError says no."""
        raise NotImplementedError

    def start(self, seconds: float = 90) -> Self:
        """Start and wait until it answers; raises RuntimeError with its last words when it does not.

        While it was down its port may have been given to somebody's connection: then it is started again.
        """
        log = self.data / self.log
        deadline = time.monotonic() + seconds
        while True:
            said = log.stat().st_size if log.exists() else 0
            if self._answered(log, deadline):
                return self
            words = log.read_bytes()[said:]
            if time.monotonic() > deadline or _TAKEN not in words.lower():
                raise RuntimeError(f"{self.name} did not start: {words[-3000:].decode(errors='replace')}")
            time.sleep(0.5)

    def _answered(self, log: Path, deadline: float) -> bool:
        """Start it once and say whether it answered; it is killed when not."""
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.data,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if self.answers():
                    return True
            except OSError:
                pass
            time.sleep(self.pause)
        self.kill()
        return False

    def kill(self) -> None:
        """Kill it as a power cut would; `start` brings it back with its data."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        shutil.rmtree(self.data / _UNPACKED, ignore_errors=True)
