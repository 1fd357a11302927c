"""Random histories of a spool, held against a model of sets: what was taken, what each sink was given.

A history is made by a seed. Up to three processes (objects that share nothing but the files) offer, append,
read, commit, reclaim, adopt, sync and restart; time passes, the disk breaks and mends. At a random step
*within* such an action something else may happen: another record is logged (a signal handler, a finaliser),
the reader reads, another process acts, an exception comes out of a signal handler, or all processes are
killed, or this one is and the others go on, or the power fails. Under the profile `left` the processes only
write, and one of another kind reads what they leave to it while they live.

- *This one is killed*: the action is taken in a fork of this process, which sends itself SIGKILL at that
  step; what it knew of the model by then comes back in a file. Its locks are gone, whatever it held; what
  others have open and remember stays.
- *All killed* is a copy of the directory as it is at that step: exactly what SIGKILL leaves. The history goes
  on in the copy.
- *Power cut*: of each file any subset of the 4 KiB pages that were not synced is as it was at the last sync,
  and files may be missing whose directory was not synced since they were made.

A step is a call or return, of Python or C, within the spool's code; every store into a map lies between two.
"""

from __future__ import annotations

import errno
import math
import os
import pickle
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any
from uuid import UUID

from logferry.handlers.outlet import Violation
from logferry.shipper.core.framing import parse, resync, salt_of
from logferry.shipper.ports import Outcome
from logferry.shipper.spool import Spool, SpoolSet, SpoolSettings, audit, list_spools, supply
from logferry.shipper.spool.claim import Claim
from logferry.shipper.spool.cursor import SpoolCursor
from logferry.shipper.spool.directory import _homes, file_name
from logferry.shipper.spool.left import LeftSpools, sweep
from logferry.shipper.spool.writer import _living

__all__ = ["PROFILES", "History", "Profile"]

SINKS = ("a", "b")
PAGE = 4096
_CODE = os.path.join("shipper", "spool") + os.sep  # noqa: PTH118 - a piece of a path
_NUMBER = re.compile(rb'\{"n":(\d+),')


@dataclass(frozen=True, slots=True)
class Profile:
    """What a history is about: settings, what may go wrong, and for which reasons events may be missing."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    mapped: bool = True
    trouble: bool = False  # the disk refuses now and then
    left: bool = False  # another process reads, while the owners live
    lost: frozenset[str] = frozenset()

    @property
    def keeps_all(self) -> bool:
        """True when nothing whose call returned may be missing after a kill."""
        return not self.lost


_FULL = {"max_bytes": 500_000, "block_timeout": 0.0}
PROFILES = (
    Profile("plain"),
    Profile("written", mapped=False),
    Profile("always", {"sync": "always"}),
    Profile("left", {"delivery": "process"}, left=True),
    # "removed": one process stands still while it writes down what it takes from another.
    Profile("drop_oldest", {**_FULL, "when_full": "drop_oldest"}, lost=frozenset({"full", "removed"})),
    Profile("drop_newest", {**_FULL, "when_full": "drop_newest"}, lost=frozenset({"full"})),
    Profile("block", {**_FULL, "when_full": "block"}, lost=frozenset({"full"})),
    Profile("max_age", {"max_age": 60.0}, lost=frozenset({"max_age"})),
    Profile(
        "trouble",
        {"memory_bytes": 300_000},
        trouble=True,
        lost=frozenset({"memory_full", "memory_lost", "full", "damaged"}),
    ),
)


# What an action changes of a history.
_MODEL = (
    *("random", "broken", "count", "returned", "refused", "pending", "flying", "begun", "place", "at", "got"),
    *("perhaps", "committing", "synced", "waits", "durable", "names"),
)


class Process:
    """One process's spool, with cursors on it and on those it adopted."""

    def __init__(self, settings: SpoolSettings, **options: Any) -> None:
        self.spool = Spool(settings, **options)
        self.set = SpoolSet(settings, self.spool, clock=options["clock"])
        self.cursors: dict[tuple[str, str], SpoolCursor] = {}

    def adopt(self) -> None:
        """Adopt what dead processes left."""
        for adopted in self.set.adopt():
            _ = adopted.death
            for sink in SINKS:
                self.cursors[sink, adopted.id] = adopted.own_cursor(sink)

    def reclaim(self) -> None:
        """Delete what was passed."""
        self.set.reclaim(SINKS)
        held = {spool.id for spool in self.set.adopted}
        self.cursors = {key: cursor for key, cursor in self.cursors.items() if key[1] in held}

    def readable(self, sink: str) -> list[SpoolCursor]:
        """Return the cursors of a sink."""
        return [self.spool.own_cursor(sink)] + [c for (name, _), c in self.cursors.items() if name == sink]

    def close(self, *, clean: bool) -> None:
        """End, with or without shutting down."""
        self.spool.close(clean=clean)
        for cursor in [*self.cursors.values(), *(self.spool.own_cursor(sink) for sink in SINKS)]:
            cursor.close()
        self.set.close()
        self.spool.home.close()

    def let_go(self) -> None:
        """Close this process's descriptors and run nothing else: the one they were for was killed."""
        for cursor in [*self.cursors.values(), *(self.spool.own_cursor(sink) for sink in SINKS)]:
            cursor.close()
        self.set.close()
        self.spool._after_fork()  # what a forked child does with the parent's


class Writer(Process):
    """A process that leaves what it writes to another."""

    def adopt(self) -> None:
        """Take nobody's spool."""

    def reclaim(self) -> None:
        """Delete what the other has read, and the directories of the dead."""
        sweep(self.spool, siblings=True)

    def readable(self, sink: str) -> list[SpoolCursor]:
        """Read nothing, not even the own one."""
        del sink
        return []


class Courier(Process):
    """The process that reads what the others leave to it; it writes nothing."""

    def __init__(self, settings: SpoolSettings, claim: Claim, **options: Any) -> None:
        super().__init__(settings, **options)
        self.set = self.left = LeftSpools(settings, claim, clock=options["clock"])

    @classmethod
    def begin(cls, settings: SpoolSettings, **options: Any) -> Courier | None:
        """Return the one courier; None when there is one, or nothing to claim yet."""
        assert settings.path
        claim = Claim.take(settings.path / file_name(settings.service))
        return None if claim is None else cls(settings, claim, **options)

    def adopt(self) -> None:
        """Meet new spools, and take the locks of the dead; their deaths are told."""
        self.left.meet(SINKS)
        for spool in self.left.held:
            if not spool.live:
                _ = spool.death
                spool.told = True

    def reclaim(self) -> None:
        """Delete what was passed."""
        self.left.reclaim(SINKS)

    def readable(self, sink: str) -> list[SpoolCursor]:
        """Return the cursors of a sink on all that is left to this one."""
        return [spool.own_cursor(sink) for spool in self.left.held]


class History:
    """One history. `run` plays it and raises AssertionError where the spool and the model part."""

    def __init__(self, seed: int, directory: Path, profile: Profile, *, forks: bool = True) -> None:
        self.random = Random(seed)
        self.forks = forks  # False: nobody is killed while others go on, as it was at first
        self.profile = profile
        self.on_mains = self.random.random() < 0.4  # after a power cut less can be asked for
        self.directory = directory
        self.now = time.time()
        self.broken = False
        self.count = 0
        self.action = 0
        self.log: list[str] = []
        # The model. Events are numbers.
        self.returned: set[int] = set()
        self.refused: set[int] = set()
        self.pending: list[int] = []  # whose call has not returned
        self.flying: set[int] = set()  # whose call never will
        self.begun: dict[int, int] = {}  # event → action
        self.place: dict[int, tuple[str, int]] = {}
        self.at: dict[tuple[str, int], int] = {}
        self.got: dict[str, set[int]] = {sink: set() for sink in SINKS}
        self.perhaps: dict[str, set[int]] = {sink: set() for sink in SINKS}  # whose commit was cut off
        self.committing: tuple[str, set[int]] = ("a", set())
        self.survivors: set[int] = set()  # in sound frames after a power cut
        self.synced: set[int] = set()
        self.owner: dict[int, Spool] = {}
        self.powerless = False  # there was a power cut
        self.killed = False
        self.waits = 0
        # Files as the disk has them: inode → content, directory's inode → names.
        self.durable: dict[int, bytes] = {}
        self.names: dict[int, set[str]] = {}
        self.images = 0
        self.image: Path | None = None
        self.base = directory / "0"
        self.processes: list[Process] = []

    # The world.

    def _settings(self) -> SpoolSettings:
        return SpoolSettings(self.base / "spool", "shop", **{"max_bytes": 1 << 24, **self.profile.settings})

    def _options(self) -> dict[str, Any]:
        return {
            "clock": lambda: self.now,
            "sleep": self._wait,
            "monotonic": lambda: self.now,
            "mapped": lambda _: self.profile.mapped,
            "allocate": self._allocate,
        }

    def _process(self) -> Process:
        return (Writer if self.profile.left else Process)(self._settings(), **self._options())

    def _courier(self) -> Courier | None:
        return Courier.begin(self._settings(), **self._options())

    def _allocate(self, fd: int, size: int) -> None:
        if self.broken:
            os.pwrite(fd, b"\0" * min(size, self.random.randrange(8192)), 0)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.truncate(fd, size)

    def _wait(self, _seconds: float) -> None:
        """A source waits for room: the sinks get on meanwhile."""
        tracing = sys.getprofile()
        sys.setprofile(None)  # a cursor has one reader: nothing comes in between here
        self.now += 1
        self.broken = False
        self.waits += 1
        assert self.waits < 100, "waits for ever"
        for process in self.processes:
            process.adopt()
            for sink in SINKS:
                self.deliver(process, sink, 1000, 1 << 24, "commit")
            process.reclaim()
        sys.setprofile(tracing)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Remember what is synced."""
        real = {name: getattr(os, name) for name in ("fsync", "fdatasync")}

        def remembered(fd: int) -> None:
            info = os.fstat(fd)
            if os.path.isdir(f"/proc/self/fd/{fd}"):  # noqa: PTH112
                self.names[info.st_ino] = set(os.listdir(fd))
            else:
                self.durable[info.st_ino] = Path(f"/proc/self/fd/{fd}").read_bytes()

        for name in real:
            setattr(os, name, remembered)
        ids, supply.uuid4 = supply.uuid4, lambda: UUID(int=self.random.getrandbits(128), version=4)
        try:
            yield
        finally:
            supply.uuid4 = ids
            for name, function in real.items():
                setattr(os, name, function)

    # Events.

    def _new(self, size: int) -> tuple[int, bytes]:
        self.count += 1
        self.begun[self.count] = self.action
        return self.count, b'{"n":%d,"x":"%s"}' % (self.count, b"x" * size)

    def _size(self) -> int:
        return self.random.choice((0, 10, 300, 300, 900, 5_000, self.random.choice((300, 70_000))))

    def offer(self, process: Process) -> None:
        """Offer one event; it may break the schema."""
        n, line = self._new(self._size())
        event = Violation(line, "no such field") if self.random.random() < 0.1 else line
        self.pending.append(n)
        self.owner[n] = process.spool
        try:
            taken = process.spool.offer(event)
        except KeyboardInterrupt:
            if self.image is None:
                self.flying.add(n)
        else:
            if self.image is None:
                (self.returned if taken else self.refused).add(n)
                self._kept(n)
        finally:
            self.pending.remove(n)

    def _kept(self, *numbers: int) -> None:
        """With `sync: always` the power may fail as soon as the call has returned."""
        if self.profile.settings.get("sync") == "always":
            self.synced.update(numbers)

    def append(self, process: Process) -> None:
        """Append a frame of several lines with a position, as a source does."""
        made = [self._new(self._size()) for _ in range(self.random.randint(1, 3))]
        self.pending += [n for n, _ in made]
        self.owner.update((n, process.spool) for n, _ in made)
        self.waits = 0
        process.spool.append([line for _, line in made], b"%d" % self.count, "source")
        if self.image is None:
            self.returned.update(n for n, _ in made)
            self._kept(*(n for n, _ in made))
            assert process.spool.last_position("source") == b"%d" % made[-1][0] or self.count != made[-1][0]
        for n, _ in made:
            self.pending.remove(n)

    def deliver(self, process: Process, sink: str, events: int, size: int, fate: str) -> None:
        """Read, and commit all, a part or nothing."""
        for cursor in process.readable(sink):
            if fate == "rewind":
                cursor.rewind()
            batch = cursor.read(events, size)
            if batch is None:
                continue
            assert len(batch) <= events
            assert len(batch) == 1 or sum(map(len, batch.lines)) <= size
            numbers = [int(_NUMBER.match(line)[1]) for line in batch.lines]  # type: ignore[index]
            if self.image is None:
                for n, sequence in zip(numbers, batch.sequences, strict=True):
                    self._seen(batch.spool, sequence, n)
            part = {"commit": len(batch), "part": (len(batch) + 1) // 2}.get(fate, 0)
            if part:
                dead = self.random.randint(0, part) if self.random.random() < 0.2 else 0
                done = set(numbers[:part])
                if self.image is None:
                    assert self.powerless or not done & self.got[sink], "delivered twice"
                    self.committing = (sink, done)
                cursor.commit(batch.sequences[part - 1], Outcome(delivered=part - dead, dead_lettered=dead))
                if self.image is None:
                    self.got[sink] |= done
                    self.committing = (sink, set())
            cursor.rewind()
            assert cursor.account().balance == 0

    def _seen(self, spool: str, sequence: int, n: int) -> None:
        assert n not in self.refused, f"event {n} was refused"
        assert n in self.returned or n in self.flying or n in self.pending
        assert self.place.setdefault(n, (spool, sequence)) == (spool, sequence), f"event {n} is there twice"
        assert self.at.setdefault((spool, sequence), n) == n
        before = self.at.get((spool, sequence - 1))
        assert before is None or self.begun[before] <= self.begun[n], f"{before} before {n}"

    # Ends.

    def copy(self, *, power: bool) -> None:
        """All processes end here: go on in a copy of the directory, without power with less."""
        if self.image is not None:
            return
        self.images += 1
        image = self.directory / str(self.images)
        image.mkdir()
        source = self.base / "spool"
        odds = self.random.choice((0.1, 0.5, 0.9, 1.0))
        for folder, _, names in os.walk(source):
            there = image / "spool" / Path(folder).relative_to(source)
            there.mkdir(parents=True)
            known = self.names.get(os.stat(folder).st_ino, set())  # noqa: PTH116
            for name in names:
                path = Path(folder, name)
                data = path.read_bytes()
                if power:
                    if name not in known and self.random.random() < odds / 2:
                        continue
                    data = self._torn(data, self.durable.get(path.stat().st_ino, b""), odds)
                (there / name).write_bytes(data)
        self.flying.update(self.pending)
        sink, numbers = self.committing
        self.perhaps[sink] |= numbers
        self.killed = True
        sound = _sound(image / "spool")
        if power:
            self.powerless = True
            self.survivors |= sound
            done = self.got["a"] & self.got["b"]
            if self.profile.keeps_all:
                assert self.synced <= sound | done, "synced and gone"
        elif self.profile.keeps_all and not self.powerless:
            done = (self.got["a"] | self.perhaps["a"]) & (self.got["b"] | self.perhaps["b"])
            assert self.returned <= sound | done, f"returned and gone: {self.returned - sound - done}"
        self.image = image

    def _torn(self, new: bytes, old: bytes, odds: float) -> bytes:
        old = old[: len(new)].ljust(len(new), b"\0")
        pages = range(0, len(new), PAGE)
        return b"".join((old if self.random.random() < odds else new)[p : p + PAGE] for p in pages)

    def _go_on(self) -> None:
        """Begin again in the copy, if one was made."""
        if self.image is None:
            return
        for process in self.processes:
            process.close(clean=False)
        shutil.rmtree(self.base)
        self.base, self.image = self.image, None
        self.pending, self.committing = [], ("a", set())
        self.durable, self.names = {}, {}
        for folder, _, names in os.walk(self.base):
            for name in names:
                path = Path(folder, name)
                self.durable[path.stat().st_ino] = path.read_bytes()
            self.names[os.stat(folder).st_ino] = set(names)  # noqa: PTH116
        self.processes = []

    # Actions.

    def _act(self, process: Process) -> tuple[str, Callable[[], None]]:
        draw = self.random
        sink, fate = draw.choice(SINKS), draw.choice(("commit", "commit", "part", "rewind", "leave"))
        events, size = draw.randint(1, 60), draw.choice((1, 2_000, 100_000))
        if isinstance(process, Courier):
            return draw.choices(
                (
                    ("drain", lambda: self._drain_all(process)),
                    (f"deliver {sink} {fate}", lambda: self.deliver(process, sink, events, size, fate)),
                    ("reclaim", process.reclaim),
                    ("adopt", process.adopt),
                    ("restart", lambda: self._restart(process)),
                ),
                (4, 4, 5, 5, 1),
            )[0]
        return draw.choices(
            (
                ("offer", lambda: self.offer(process)),
                ("offers", lambda: [self.offer(process) for _ in range(30)] and None),
                ("append", lambda: self.append(process)),
                (f"deliver {sink} {fate}", lambda: self.deliver(process, sink, events, size, fate)),
                ("reclaim", process.reclaim),
                ("adopt", process.adopt),
                ("sync", lambda: self._sync(process)),
                ("prepare", process.spool.prepare),
                ("restart", lambda: self._restart(process)),
            ),
            (4, 6, 3, 8, 4, 2, 3, 3, 2),
        )[0]

    def _drain_all(self, process: Process) -> None:
        for sink in SINKS:
            for _ in range(3):
                self.deliver(process, sink, 1000, 1 << 20, "commit")

    def _sync(self, process: Process) -> None:
        before = {n for n in self.returned if self.owner[n] is process.spool}
        process.spool.sync()
        if self.image is None and process.spool.state == "disk" and not self.profile.trouble:
            self.synced |= before

    def _restart(self, process: Process) -> None:
        self.killed |= bool(process.spool.home.memory)  # what has not found room on the disk ends with it
        process.close(clean=self.random.random() < 0.5)
        if self.image is None:
            self.processes.remove(process)

    def _meanwhile(self, name: str, process: Process) -> tuple[str, Callable[[], None]]:
        """Choose what comes in between: what the real thing could meet there."""
        draw = self.random
        writing = name in ("offer", "offers", "append", "sync", "prepare")
        choices: list[tuple[str, Callable[[], None]]] = [
            ("kill", lambda: self.copy(power=False)),
        ]
        if self.on_mains:
            choices += [("power", lambda: self.copy(power=True))]
        if name != "restart":
            choices += [("nested", lambda: self.offer(process))] * 2
        if writing:
            choices += [("read", lambda: self.deliver(process, draw.choice(SINKS), 20, 50_000, "part"))]
        if name in ("offer", "offers"):
            choices += [("interrupt", self._interrupt)]
        others = [other for other in self.processes if other is not process]
        if others:
            act, run = self._act(draw.choice(others))
            if act != "restart" and (act != "append" or "max_bytes" not in self.profile.settings):
                choices += [(f"other {act}", run)] * 2
        return draw.choice(choices)

    def _interrupt(self) -> None:
        raise KeyboardInterrupt

    def step(self) -> None:
        """One action, with or without something in between."""
        draw = self.random
        self.action += 1
        if draw.random() < 0.2:
            self.now += draw.choice((0.1, 6.0, 61.0))
        if self.profile.trouble and draw.random() < 0.2:
            self.broken = not self.broken
        while len(self.processes) < (1 if draw.random() < 0.7 else 3):
            self.processes.append(self._process())
            self.processes[-1].adopt()
        if self.profile.left and draw.random() < 0.7 and (courier := self._courier()) is not None:
            self.processes.append(courier)
        process = draw.choice(self.processes)
        name, run = self._act(process)
        if (
            self.forks
            and draw.random() < 0.1
            and not (name == "append" and "max_bytes" in self.profile.settings)
        ):
            step = int(math.exp(draw.uniform(0, math.log(700))))
            self.log.append(f"{self.action}: {name}, is killed at step {step}")
            self._kill_one(process, run, step)
        elif draw.random() < 0.5:
            between, hook = self._meanwhile(name, process)
            step = int(math.exp(draw.uniform(0, math.log(700))))
            self.log.append(f"{self.action}: {name}, at step {step} {between}")
            with at_step(step, hook):
                run()
            if between in ("kill", "power"):
                hook()  # if there were not so many steps
        else:
            self.log.append(f"{self.action}: {name}")
            run()
        self._go_on()
        if draw.random() < 0.1:
            self._audit()

    def _kill_one(self, process: Process, run: Callable[[], None], step: int) -> None:
        """Act in a fork that is killed at a step, or behind the last."""
        told = self.directory / "told"
        told.unlink(missing_ok=True)
        # The fork is the process that acts, no child of it: it keeps what a child would close.
        living, homes = list(_living), list(_homes)
        _living.clear()
        _homes.clear()
        child = os.fork()
        _living.update(living)
        _homes.update(homes)
        if not child:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(300)  # one that waits for ever tells nothing
            try:
                with at_step(step, lambda: self._tell(told, ""), anywhere=True):
                    run()
                self._tell(told, "")
            except BaseException:  # whatever it was, it is told, and nothing else runs here
                self._tell(told, traceback.format_exc())
        os.waitpid(child, 0)
        failed, model = pickle.loads(told.read_bytes())
        assert not failed, failed
        for name, value in model.items():
            setattr(self, name, value)
        for n in range(1, self.count + 1):
            self.owner.setdefault(n, process.spool)
        self.flying.update(self.pending)
        sink, numbers = self.committing
        self.perhaps[sink] |= numbers
        self.pending, self.committing = [], ("a", set())
        self.killed = True
        self.processes.remove(process)
        process.let_go()

    def _tell(self, told: Path, failed: str) -> None:
        """Write down what is known of the model, and be killed."""
        told.write_bytes(pickle.dumps((failed, {name: getattr(self, name) for name in _MODEL})))
        os.kill(os.getpid(), signal.SIGKILL)

    def _audit(self) -> None:
        if not self.powerless and self.base.joinpath("spool").exists():
            assert audit(self.base / "spool").problems == []

    def run(self, actions: int) -> None:
        """Play the history to its end and compare."""
        self.base.mkdir()
        self.log.append(self.profile.name)
        with self._disk():
            for _ in range(actions):
                self.step()
            self.finish()

    def finish(self) -> None:
        """Deliver all that is left, then compare the books with the model."""
        self.broken = False
        for process in self.processes:
            self.killed |= bool(process.spool.home.memory)
            process.close(clean=True)
        self.now += 100  # what never became a spool goes after a minute
        last = (self._courier() if self.profile.left else None) or self._process()
        self.processes = [last]
        last.adopt()
        for sink in SINKS:
            for cursor in last.readable(sink):
                while not cursor.drained and cursor is not last.spool.own_cursor(sink):
                    self._drain(cursor, sink)
        self._audit()
        last.reclaim()
        assert list_spools(self.base / "spool") == []
        assert audit(self.base / "spool").problems == []
        for sink, account in last.set.accounts(SINKS).items():
            self._compare(sink, account)
        last.close(clean=True)

    def _drain(self, cursor: SpoolCursor, sink: str) -> None:
        batch = cursor.read(50, 1 << 20)
        if batch is None:
            assert cursor.drained
            return
        numbers = {int(_NUMBER.match(line)[1]) for line in batch.lines}  # type: ignore[index]
        for line, sequence in zip(batch.lines, batch.sequences, strict=True):
            self._seen(batch.spool, sequence, int(_NUMBER.match(line)[1]))  # type: ignore[index]
        assert self.powerless or not numbers & self.got[sink], "delivered twice"
        self.got[sink] |= numbers
        cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))

    def _compare(self, sink: str, account: Any) -> None:
        assert account.balance == account.pending == 0
        known = self.got[sink] | self.perhaps[sink]
        missing = self.returned - known
        if self.profile.keeps_all:
            assert self.survivors <= known, "not damaged and not delivered"
        if self.powerless:
            return
        # A call that was cut off has its event delivered, or counted as dropped, or has left no trace.
        taken = len(self.returned | self.refused)
        assert account.accepted <= taken + len(self.flying), (account, taken, self.flying)
        if self.profile.trouble and self.killed:
            return  # what was only in memory is gone, and nobody may know of it
        assert taken <= account.accepted
        given = account.delivered + account.dead_lettered
        assert len(self.got[sink]) <= given <= len(known)
        gone = sum(account.dropped.values())
        assert not account.filtered
        low = len(missing | self.refused)
        unsure = len(self.flying) + len(self.perhaps[sink] - self.got[sink])
        assert low <= gone <= low + unsure, (low, unsure, account.dropped)
        if self.profile.keeps_all:
            assert not missing, f"missing: {missing}"
            assert not self.refused
        cut = {"damaged"} if self.flying else set()
        assert set(account.dropped) <= self.profile.lost | cut, account.dropped
        if self.profile.keeps_all or "damaged" not in self.profile.lost:
            assert account.dropped.get("damaged", 0) <= len(self.flying), account.dropped


@contextmanager
def at_step(step: int, hook: Callable[[], None], *, anywhere: bool = False) -> Iterator[None]:
    """Call `hook` at the `step`th call or return within the spool's code."""
    count = 0

    def trace(frame: FrameType, _event: str, _arg: object) -> None:
        nonlocal count
        if _CODE not in frame.f_code.co_filename:
            return
        count += 1
        if count < step:
            return
        above: FrameType | None = None if anywhere else frame
        while above is not None:
            # The ledger's lock waits for its holder, who cannot go on here; a finaliser swallows exceptions.
            if above.f_code.co_name in ("fold", "__del__"):
                return
            above = above.f_back
        count = -(1 << 60)
        hook()

    sys.setprofile(trace)
    try:
        yield
    finally:
        sys.setprofile(None)


def _sound(base: Path) -> set[int]:
    """Return the events in sound frames under `base`, found without the spool's own reader."""
    found: set[int] = set()
    for path in base.glob("*/*/*.seg"):
        data, salt = path.read_bytes(), salt_of(bytes.fromhex(path.parent.name), int(path.stem))
        at = 0
        while (at := resync(data, at, salt)) >= 0:
            frame = parse(data, at, salt)
            assert frame is not None
            found.update(int(n) for n in _NUMBER.findall(data[frame.start : frame.stop]))
            at = frame.stop
    return found
