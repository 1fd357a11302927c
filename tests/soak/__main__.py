"""The soak: several programs log to Loki and to local stores for hours while everything around them fails.

    PYTHONPATH=tests python -m soak --minutes 60 [--seed 7] [--rate 3000] [--server loki] [--json FILE]

Three programs share a spool with room for every outage: nothing of theirs may be lost. The fourth has a spool
that is always full: what it loses must be what its books say. Two are killed and started again at random; the
two others run from the beginning to the end, and neither their memory nor their descriptors may rise. At the
end every record whose call returned must be in Loki and in the local store, and the books must balance.
`--leak BYTES` (of each record) and `--leak-files N` (a second) are there to see it fail.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evidence import append
from servers.cache import binary
from servers.proxy import FaultProxy

from logferry.shipper.spool import audit

from .faults import Mischief
from .slope import trend
from .stores import Arrivals, Loki, Server, Standin, in_store

PATIENCE = 120.0  # for what is left to be delivered, when all faults have ended
_KIND = re.compile(r"[0-9a-f]{8,}|\d+")
ROW = "Soak: mixed faults, kills, restarts and full spools"


@dataclass(frozen=True, slots=True)
class Place:
    """A service with its spool and its store. `roomy`: nothing may be dropped."""

    service: str
    directory: Path
    max_bytes: str
    roomy: bool

    @property
    def store(self) -> Path:
        return self.directory / "store"

    def config(self, url: str) -> dict[str, Any]:
        return {
            "service": self.service,
            "environment": "test",
            "logging": {"level": "INFO", "console": "off"},
            "spool": {"path": str(self.directory / "spool"), "max_bytes": self.max_bytes},
            "sinks": {
                "loki": {"type": "loki", "url": url, "timeout": "1s"},
                "here": {
                    "type": "local",
                    "path": str(self.store),
                    "retention_bytes": None,
                    "roll_age": "20s",
                },
            },
        }


@dataclass(slots=True)
class Program:
    """One seat: the program that runs there now, and what the earlier ones left behind."""

    place: Place
    process: subprocess.Popen[bytes] | None = None
    counts: dict[int, Path] = field(default_factory=dict)  # run → the file with its count
    samples: list[tuple[float, int, int]] = field(default_factory=list)  # seconds, bytes, descriptors
    most: Counter[str] = field(default_factory=Counter)  # what they were when there were most

    def returned(self) -> dict[int, int]:
        """Return how many calls returned, by run."""
        # A copy: whoever kills programs starts others meanwhile.
        return {r: int.from_bytes(path.read_bytes(), "little") for r, path in list(self.counts.items())}

    def sample(self, now: float) -> None:
        """Note memory and descriptors."""
        assert self.process
        if self.process.poll() is not None:
            raise RuntimeError(f"a steady program ended: {self.process.returncode}; see programs.log")
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        memory = next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))
        self.samples.append((now, memory, self._descriptors()))

    def _descriptors(self) -> int:
        """Return how many are open, those of spools that are there aside.

        What killed programs left is held until it is delivered: how much that is depends on the faults of the
        moment. What is drained is deleted, and a descriptor of something deleted counts.
        """
        assert self.process
        spools, kinds = f"{self.place.directory / 'spool' / self.place.service}/", Counter[str]()
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                target = str(entry.readlink())
                waits = re.match(r"[0-9a-f]{32}(/|$)", target.removeprefix(spools))
                if not waits or target.endswith("(deleted)"):
                    kinds[_KIND.sub("*", target.removeprefix(str(self.place.directory)))] += 1
        if kinds.total() > self.most.total():
            self.most = kinds
        return kinds.total()


class Soak:
    """One soak in a directory of its own."""

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        self.options, self.directory = options, directory
        self.begun, self.since = time.monotonic(), time.time()
        self.seconds = options.minutes * 60
        real = options.server == "loki" or (options.server == "auto" and binary("loki").exists())
        (directory / "server").mkdir()
        self.server: Server = Loki(directory / "server") if real else Standin(directory / "server")
        self.server.start()
        self.proxy = FaultProxy(self.server.url)
        self.stop, self.runs = directory / "stop", 0
        roomy = Place("soak", directory / "roomy", "4GiB", roomy=True)
        tight = Place("soak-tight", directory / "tight", "2MiB", roomy=False)
        for place in (roomy, tight):
            (place.directory / "real").mkdir(parents=True)
            place.store.symlink_to(place.directory / "real")
        self.seats = [Program(roomy), Program(roomy), Program(roomy), Program(tight)]
        self.steady, self.victims = [self.seats[0], self.seats[3]], self.seats[1:3]
        self.places = [roomy, tight]
        self.problems: list[str] = []

    def launch(self, seat: Program, rate: int, *, leaks: bool = False) -> None:
        """Start a program in a seat."""
        self.runs += 1
        count = self.directory / f"count-{self.runs}"
        count.write_bytes(bytes(8))
        seat.counts[self.runs] = count  # from here on it is read
        facts = {
            "config": seat.place.config(self.proxy.url),
            "run": self.runs,
            "rate": rate,
            "stop": str(self.stop),
            "count": str(count),
            "patience": PATIENCE,
            "leak": self.options.leak if leaks else 0,
            "leak_files": self.options.leak_files if leaks else 0,
        }
        script = str(Path(__file__).with_name("program.py"))
        with (self.directory / "programs.log").open("ab") as log:
            seat.process = subprocess.Popen([sys.executable, "-P", script, json.dumps(facts)], stderr=log)

    def mischief(self) -> list[Mischief]:
        """Return everything that goes wrong, each in its own time."""
        wire = Mischief("wire", self.options.seed, (1, 6))
        wire.know_the_wire(self.proxy, self.server)
        disk = Mischief("disk", self.options.seed, (10, 30))
        disk.know_the_disk(self.places[0].store)
        kills = Mischief("kills", self.options.seed, (3, 10))
        chance = random.Random(f"{self.options.seed}-which")

        def kill(how: signal.Signals) -> Callable[[float], None]:
            def deed(_: float) -> None:
                seat = chance.choice(self.victims)
                assert seat.process
                seat.process.send_signal(how)
                seat.process.wait(30)
                self.launch(seat, self.rate)

            return deed

        kills.add("program killed (SIGKILL)", kill(signal.SIGKILL), 3)
        kills.add("program ended (SIGTERM)", kill(signal.SIGTERM), 1)
        return [wire, disk, kills]

    @property
    def rate(self) -> int:
        return int(self.options.rate) // len(self.seats)

    def tell(self, text: str, *, end: bool = False) -> None:
        """Show how far it is: a live line on a terminal, now and then a line elsewhere."""
        passed = time.monotonic() - self.begun
        line = f"soak {passed // 60:3.0f}:{passed % 60:02.0f} of {self.seconds // 60:.0f}:00 · {text}"
        if sys.stderr.isatty():
            print(f"\r\x1b[2K{line[:150]}", end="\n" if end else "", file=sys.stderr, flush=True)
        elif end or time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + 30
            print(line, file=sys.stderr, flush=True)

    _next_line = 0.0

    def run(self) -> dict[str, Any]:
        """Run all of it; return the findings."""
        for seat in self.seats:
            self.launch(seat, self.rate, leaks=seat is self.seats[0])
        deeds = self.mischief()
        for deed in deeds:
            deed.start()
        self.begun = time.monotonic()
        while (passed := time.monotonic() - self.begun) < self.seconds:
            for seat in self.steady:
                seat.sample(passed)
            for deed in deeds:
                deed.look()
            self.tell(self._state(deeds))
            time.sleep(max(0.5, self.seconds / 3600))
        for deed in deeds:
            deed.end()
        self.proxy.heal()
        self.tell("the faults have ended; the rest is delivered", end=True)
        self.finish()
        return self.findings(deeds)

    def _state(self, deeds: list[Mischief]) -> str:
        logged = sum(count for seat in self.seats for count in seat.returned().values())
        figures = [f"{s.samples[-1][1] >> 20} MiB, {s.samples[-1][2]} files" for s in self.steady]
        now = ", ".join(deed.now for deed in deeds if deed.now) or "all well"
        done = sum(sum(list(deed.done.values())) for deed in deeds)
        return f"{logged:,} logged · {done} faults · {' | '.join(figures)} · {now}"

    def finish(self) -> None:
        """End the programs, and have what killed ones left delivered by new ones, which log nothing."""
        self.stop.touch()
        for seat in self.seats:
            assert seat.process
            seat.process.wait(PATIENCE + 60)
        for place in self.places:
            deadline = time.monotonic() + PATIENCE
            while self.pending(place) and time.monotonic() < deadline:
                seat = Program(place)
                self.launch(seat, 0)
                assert seat.process
                seat.process.wait(PATIENCE + 60)

    @staticmethod
    def pending(place: Place) -> int:
        accounts = audit(place.directory / "spool").accounts.values()
        return sum(account.pending for account in accounts)

    # ── what came of it ──

    def findings(self, deeds: list[Mischief]) -> dict[str, Any]:
        there = self.server.arrived(self.since, self.tell)
        lost = 0
        for place in self.places:
            here = in_store(place.store)
            for sink, arrivals in (("loki", there), ("here", here)):
                lost += self._compare(place, sink, arrivals)
            if here.doubled:
                self.problems.append(f"{place.service}: the store holds {here.doubled} records twice")
        slopes = {
            f"{name}, {seat.place.service}": self._slope(name, seat, column, least)
            for seat in self.steady
            for name, column, least in (
                ("memory", 1, self._room(seat)),
                ("descriptors", 2, self._files(seat)),
            )
        }
        done = {name: count for deed in deeds for name, count in sorted(deed.done.items())}
        self.server.kill()
        return {
            "minutes": self.options.minutes,
            "seed": self.options.seed,
            "server": type(self.server).__name__,
            "logged": sum(count for seat in self.seats for count in seat.returned().values()),
            "programs": self.runs,
            "lost": lost,
            "twice in Loki": there.doubled,
            "faults": done,
            "slopes": slopes,
            "most descriptors": {f"{s.place.service}": dict(s.most.most_common(8)) for s in self.steady},
            "problems": self.problems,
        }

    def _compare(self, place: Place, sink: str, arrivals: Arrivals) -> int:
        """Hold what arrived against what was logged and what the books say; return what is lost."""
        returned = {r: n for s in self.seats if s.place is place for r, n in s.returned().items()}
        missing = sum(arrivals.missing(run, count) for run, count in returned.items())
        beyond = {run: arrivals.beyond(run, count) for run, count in returned.items()}
        report = audit(place.directory / "spool")
        self.problems += report.problems
        account = report.accounts[place.service, sink]
        where = f"{place.service}, {sink}"
        if account.balance or account.pending or account.dead_lettered or account.filtered:
            self.problems.append(f"{where}: the books do not close: {account}")
        if any(count > 1 for count in beyond.values()):
            self.problems.append(f"{where}: more arrived than was logged: {beyond}")
        dropped = sum(account.dropped.values())
        if place.roomy and dropped:
            self.problems.append(f"{where}: dropped although there was room: {account.dropped}")
        # Among what was dropped may be logferry's own events: notices of deaths and of the full spool.
        own = account.accepted - sum(returned.values())
        if not place.roomy and not dropped:
            self.problems.append(f"{where}: the spool was never full") if sink == "loki" else None
        lost = max(0, missing - dropped) + max(0, dropped - missing - own)
        if lost:
            self.problems.append(
                f"{where}: {missing} missing, {dropped} dropped in the books, {own} own events"
            )
        return lost

    @staticmethod
    def _room(seat: Program) -> int:
        """Return the bytes that a steady program may grow by.

        What it holds does not grow. Holes in the allocator do, up to the largest batch of each sink and the
        largest piece of a file that is read at once; backlogs that it takes over from killed programs make
        its batches as large as they get, and have it map a segment of theirs, of up to 8 MiB, beside its own.
        """
        return 16 << 20 if seat.place.roomy else 4 << 20

    @staticmethod
    def _files(seat: Program) -> int:
        """Return the descriptors that a steady program may have more of at the end.

        A killed program's spool takes six as long as it waits for Loki (`spoolset._DESCRIPTORS`). The seed
        decides when that is: at the end of two minutes there may be two of them.
        """
        return 12 if seat.place.roomy else 3

    def _slope(self, name: str, seat: Program, column: int, least: float) -> dict[str, Any]:
        series = [(sample[0], float(sample[column])) for sample in seat.samples]
        level = series[len(series) // 2][1]
        found = trend(series, max(least, level * 0.03))
        if found.rises:
            self.problems.append(f"{seat.place.service}: {name} rises: {found}")
        course = [round(value) for _, value in series[:: max(1, len(series) // 30)]]
        return asdict(found) | {"rises": found.rises, "course": course}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=int, default=3000, help="records a second, all programs together")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--server", choices=("auto", "loki", "standin"), default="auto")
    parser.add_argument("--json", type=Path, help="where to write the findings")
    parser.add_argument("--leak", type=int, default=0)
    parser.add_argument("--leak-files", type=float, default=0)
    parser.add_argument("--keep", action="store_true", help="do not remove the directory")
    options = parser.parse_args()
    print(f"soak: {options.minutes:g} minutes, seed {options.seed}", file=sys.stderr, flush=True)
    directory = Path(tempfile.mkdtemp(prefix="logferry-soak-"))
    soak = Soak(options, directory)
    try:
        found = soak.run()
    finally:
        for seat in soak.seats:
            if seat.process is not None and seat.process.poll() is None:
                seat.process.kill()
                seat.process.wait()
        soak.server.kill()
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    print(json.dumps(found, indent=2))
    append(
        ROW,
        tried=sum(found["faults"].values()),
        lost=found["lost"],
        seconds=time.monotonic() - soak.begun,
        test=f"make soak MINUTES={options.minutes:g}",
    )
    for problem in found["problems"]:
        print(f"soak: {problem}", file=sys.stderr)
    if options.keep or found["problems"]:
        print(f"soak: everything is in {directory}", file=sys.stderr)
    else:
        subprocess.run(["rm", "-r", str(directory)], check=True)
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
