"""A program that logs, in a process of its own, and does what it is told: JSON lines in, JSON lines out.

    with Application() as app:
        app.configure({...}); figures = app.log(500); app.flush(10); app.shutdown(1)

`under` is put before the command, e.g. to give it file systems of its own. Times are seconds, sizes bytes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

__all__ = ["Application"]


class Application:
    """The parent's side."""

    def __init__(self, under: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [*under, sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.numbers = 0  # of the records logged: each has its own, from 0
        self.trace = ""  # records are the spans of this trace, whose ids are their numbers and one
        self.kind = "span"  # which kind of span

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            assert self._process.stdin
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()

    def ask(self, do: str, **facts: Any) -> Any:
        """Have one command done; RuntimeError with its words when it fails."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"do": do, **facts}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the application ended in {do}: {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{do}: {answer['error']}")
        return answer["done"]

    @property
    def pid(self) -> int:
        return int(self.ask("pid"))

    def configure(self, config: Mapping[str, Any]) -> None:
        self.ask("configure", config=config)

    def log(self, count: int, *, long: int = 0, every: int = 50) -> dict[str, float]:
        """Log so many records; return the seconds in the calls: p50, p99, max.

        With `long`, number 7 of each `every` is so many bytes longer than the others.
        """
        first, self.numbers = self.numbers, self.numbers + count
        facts = {"first": first, "count": count, "long": long, "every": every}
        facts |= {"trace": self.trace, "kind": self.kind}
        figures: dict[str, float] = self.ask("log", **facts)
        return figures

    def settle(self, sinks: Sequence[str], seconds: float) -> float:
        """Wait until nothing is pending for these sinks; return how long that took, or infinity."""
        took = self.ask("settle", sinks=list(sinks), seconds=seconds)
        return float("inf") if took is None else float(took)

    def wait(self, question: str, seconds: float = 20) -> None:
        """Wait until the answer to `question` is yes."""
        deadline = time.monotonic() + seconds
        while not self.ask(question):
            assert time.monotonic() < deadline, question
            time.sleep(0.02)

    def clock(self, *offsets: float) -> None:
        """Set the program's clock so many seconds off; with several it jumps from one to the next."""
        self.ask("clock", offsets=offsets)

    def flush(self, seconds: float) -> bool:
        return bool(self.ask("flush", seconds=seconds))

    def shutdown(self, seconds: float) -> tuple[bool, float]:
        """Return whether all was delivered, and how long the shutdown took."""
        done, took = self.ask("shutdown", seconds=seconds)
        return done, took

    def accounts(self) -> dict[str, dict[str, Any]]:
        """Return the books by sink, with `balance`."""
        found: dict[str, dict[str, Any]] = self.ask("accounts")
        return found

    def states(self) -> dict[str, list[str]]:
        """Return state and error by sink."""
        found: dict[str, list[str]] = self.ask("states")
        return found

    def memory(self) -> tuple[int, int]:
        """Return what is resident now, and the most since the last call."""
        now, peak = self.ask("memory")
        return now, peak


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


class _Commands:
    """The child's side. Sinks, threads and files are the real ones."""

    def __init__(self) -> None:
        import logging

        self.offsets = itertools.cycle((0.0,))
        self.off, self.jumps = 0.0, False
        now, now_ns = time.time, time.time_ns
        # Before anything is imported that takes the clock as an argument.
        time.time = lambda: now() + self.off
        time.time_ns = lambda: now_ns() + int(self.off * 1e9)
        import logferry
        from logferry.shipper import lifecycle

        self.logferry, self.current = logferry, lifecycle.current
        self.logger = logging.getLogger("app")
        self.running: dict[tuple[str, ...], subprocess.Popen[bytes]] = {}
        self.resolve, self.mode, self.waiting = socket.getaddrinfo, "works", False

    def pid(self) -> int:
        return os.getpid()

    def clock(self, offsets: list[float]) -> None:
        self.offsets = itertools.cycle(offsets)
        self.off = next(self.offsets)
        if len(offsets) > 1 and not self.jumps:
            self.jumps = True
            threading.Thread(target=self._jump, daemon=True).start()
        self.jumps = len(offsets) > 1

    def _jump(self) -> None:
        while self.jumps:
            self.off = next(self.offsets)
            time.sleep(0.005)

    def configure(self, config: dict[str, Any]) -> None:
        self.logferry.configure(config)

    def log(self, first: int, count: int, long: int, every: int, trace: str, kind: str) -> dict[str, float]:
        from logferry.handlers.context import TraceContext, put_trace

        clock, times = time.perf_counter, []
        for number in range(first, first + count):
            call = self.logger.error if number % 10 == 0 else self.logger.info
            note = "é" * (number % 60) + "x" * (long if number % every == 7 else 0)
            extra: dict[str, Any] = {"n": number, "note": note}
            if trace:
                put_trace(TraceContext(trace, f"{number + 1:016x}", ""))
                extra |= {"kind": kind, "tags": {"note": note}}
            begun = clock()
            call("order %s created", number, extra=extra)
            times.append(clock() - begun)
            if number % 10 == 0:
                time.sleep(0.0005)  # as an application: it does something else too
        times.sort()
        return {"p50": times[count // 2], "p99": times[count * 99 // 100], "max": times[-1]}

    def settle(self, sinks: list[str], seconds: float) -> float | None:
        begun = time.monotonic()
        pipeline = self.current()
        assert pipeline is not None
        while time.monotonic() - begun < seconds:
            accounts = pipeline.accounts()
            if not any(accounts[name].pending for name in sinks):
                return time.monotonic() - begun
            time.sleep(0.01)
        return None

    def flush(self, seconds: float) -> bool:
        return bool(self.logferry.flush(seconds))

    def shutdown(self, seconds: float) -> tuple[bool, float]:
        begun = time.monotonic()
        done = self.logferry.shutdown(seconds)
        return done, time.monotonic() - begun

    def accounts(self) -> dict[str, Any]:
        pipeline = self.current()
        assert pipeline is not None
        fields = ("accepted", "delivered", "pending", "dead_lettered", "filtered", "dropped", "balance")
        return {
            sink: {field: getattr(account, field) for field in fields}
            for sink, account in pipeline.accounts().items()
        }

    def states(self) -> dict[str, list[str]]:
        pipeline = self.current()
        assert pipeline is not None
        return {sink: [state.state, state.error] for sink, state in pipeline.states().items()}

    def memory(self) -> tuple[int, int]:
        found = _status("VmRSS"), _status("VmHWM")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        return found

    def waiting_for_name(self) -> bool:
        return self.waiting

    def shell(self, command: list[str]) -> None:
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def background(self, command: list[str]) -> None:
        """Have it run until this process ends; a second one of the same kind is not started."""
        if tuple(command) not in self.running:
            self.running[tuple(command)] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )

    def resolver(self, mode: str) -> None:
        """Have names fail as they do where nobody knows them, or hang, from now on; or work again."""
        real, self.mode, self.waiting = self.resolve, mode, False

        def resolve(host: Any, *arguments: Any, **options: Any) -> Any:
            while self.mode == "hangs":
                self.waiting = True
                time.sleep(0.02)
            if self.mode == "fails":
                return real("no-such-host.invalid", *arguments, **options)
            return real(host, *arguments, **options)

        socket.getaddrinfo = resolve


def _main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    commands = _Commands()
    for line in sys.stdin:
        facts = json.loads(line)
        try:
            answer = {"done": getattr(commands, facts.pop("do"))(**facts)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error} {getattr(error, 'stderr', '') or ''}"}
        print(json.dumps(answer), file=answers, flush=True)
    for process in commands.running.values():
        process.kill()
        process.wait()


if __name__ == "__main__":
    _main()
