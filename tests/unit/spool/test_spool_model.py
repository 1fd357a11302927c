"""The spool against a model of three lists: random histories of appends, reads, crashes and full disks."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from logferry.shipper.ports import Cursor, Outcome
from logferry.shipper.spool import Spool, SpoolSet, SpoolSettings, audit


class SpoolMachine(RuleBasedStateMachine):
    """`sent` holds each line by spool and sequence; a sink gets each once per commit, in order."""

    max_bytes = 1 << 30

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp())
        self.settings = SpoolSettings(self.base / "spool", "shop", max_bytes=self.max_bytes)
        self.sent: dict[str, list[bytes]] = {}
        self.given_up: dict[str, int] = {"a": 0, "b": 0}
        self.got: dict[str, list[tuple[str, int]]] = {"a": [], "b": []}
        self.count = 0
        self._start()

    def _start(self) -> None:
        self.spool = Spool(self.settings)
        self.spools = SpoolSet(self.settings, self.spool)
        self.cursors: dict[tuple[str, str], Cursor] = {}
        self._adopt()

    def _adopt(self) -> None:
        for adopted in self.spools.adopt():
            for sink in ("a", "b"):
                self.cursors[sink, adopted.id] = adopted.cursor(sink)

    def _line(self, size: int) -> bytes:
        self.count += 1
        return b"%d:" % self.count + b"x" * size

    def _own(self, sink: str) -> None:
        self.cursors.setdefault((sink, self.spool.id), self.spool.cursor(sink))

    @rule(sizes=st.lists(st.sampled_from([0, 10, 400, 5_000, 70_000]), min_size=1, max_size=30))
    def offer(self, sizes: list[int]) -> None:
        for size in sizes:
            line = self._line(size)
            assert self.spool.offer(line)
            self.sent.setdefault(self.spool.id, []).append(line)

    @rule(sizes=st.lists(st.sampled_from([1, 300, 9_000]), min_size=1, max_size=20))
    def append(self, sizes: list[int]) -> None:
        if self.max_bytes < 1 << 30:
            return  # an append waits for room
        lines = [self._line(size) for size in sizes]
        first = self.spool.append(lines, b"%d" % self.count, "source")
        held = self.sent.setdefault(self.spool.id, [])
        assert first == len(held) + 1
        held += lines

    @rule(
        sink=st.sampled_from("ab"),
        events=st.integers(1, 40),
        size=st.integers(1, 100_000),
        fate=st.sampled_from(["commit", "rewind", "part", "leave"]),
    )
    def read(self, sink: str, events: int, size: int, fate: str) -> None:
        self._own(sink)
        for (name, spool), cursor in list(self.cursors.items()):
            if name != sink:
                continue
            if fate != "leave":
                cursor.rewind()
            batch = cursor.read(events, size)
            if batch is None:
                continue
            assert len(batch) <= events
            assert len(batch) == 1 or sum(map(len, batch.lines)) <= size
            for sequence, line in zip(batch.sequences, batch.lines, strict=True):
                assert self.sent[spool][sequence - 1] == line
            if fate in ("commit", "part"):
                part = len(batch) if fate == "commit" else (len(batch) + 1) // 2
                if part:
                    cursor.commit(batch.sequences[part - 1], Outcome(delivered=part))
                    self.got[sink] += [(spool, sequence) for sequence in batch.sequences[:part]]
            cursor.rewind()

    @rule()
    def reclaim(self) -> None:
        self._own("a")
        self._own("b")
        self.spools.reclaim(["a", "b"])

    @rule(clean=st.booleans())
    def restart(self, clean: bool) -> None:
        self.spool.close(clean=clean)
        for cursor in self.cursors.values():
            cursor.close()
        self.spools.close()
        self.spool.home.close()
        self._start()

    @invariant()
    def books_balance(self) -> None:
        for cursor in self.cursors.values():
            assert cursor.account().balance == 0

    def teardown(self) -> None:
        try:
            self.restart(clean=True)
            for sink in ("a", "b"):
                for (name, spool), cursor in self.cursors.items():
                    while name == sink and (batch := cursor.read(100, 1 << 20)) is not None:
                        cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
                        self.got[sink] += [(spool, sequence) for sequence in batch.sequences]
            self.spools.reclaim(["a", "b"])
            assert audit(self.base / "spool").problems == []
            accounts = self.spools.accounts(["a", "b"])
            for sink, account in accounts.items():
                got = self.got[sink]
                assert len(got) == len(set(got)) == account.delivered
                assert account.balance == account.pending == 0
                assert account.accepted == sum(map(len, self.sent.values()))
                assert sum(account.dropped.values()) == account.accepted - len(got) - sum(
                    account.filtered.values()
                )
                self.lost(account.dropped, account.filtered)
            self.spools.close()
        finally:
            shutil.rmtree(self.base)

    def lost(self, dropped: dict[str, int], filtered: dict[str, int]) -> None:
        """Nothing may be missing where there is room."""
        assert not dropped
        assert not filtered


class FullSpoolMachine(SpoolMachine):
    """The same with little room: only what is given up for `full` may be missing."""

    max_bytes = 600_000

    def lost(self, dropped: dict[str, int], filtered: dict[str, int]) -> None:
        assert set(dropped) <= {"full"}
        assert not filtered


_settings: Any = settings(max_examples=20, stateful_step_count=25, deadline=None)
TestSpool = SpoolMachine.TestCase
TestSpool.settings = _settings
TestFullSpool = FullSpoolMachine.TestCase
TestFullSpool.settings = _settings
