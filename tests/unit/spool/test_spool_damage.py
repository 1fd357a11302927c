"""Whatever happens to a spool's bytes, reading never raises and never loses a sound frame."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logferry.handlers.outlet import Violation
from logferry.shipper.core.block import Block
from logferry.shipper.core.framing import EVENT, HEADER_SIZE, encode, parse, resync, salt_of
from logferry.shipper.core.segments import Evicted
from logferry.shipper.ports import Outcome
from logferry.shipper.spool import Spool, SpoolSet, SpoolSettings, audit, repair, verify
from logferry.shipper.spool.reader import Reader
from logferry.shipper.spool.scan import frames


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of small spools: what is on the disk after a power cut is not the question here."""
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda _fd: None)


@pytest.fixture
def tmp_path(in_memory: Path) -> Path:
    """Return a place for thousands of small spools."""
    return in_memory


EVENTS = [b'{"n":%d,"x":"%s"}' % (n, b"x" * (n * 7)) for n in range(4)]


def small_spool(tmp_path: Path, *, clean: bool = False) -> tuple[Path, list[tuple[int, int]]]:
    """Make a dead owner's small spool; return its segment and each frame's extent in the file."""
    spool = Spool(SpoolSettings(tmp_path / "spool", "shop", max_bytes=1 << 20))
    for line in EVENTS:
        spool.offer(line)
    spool.close(clean=clean)
    spool.home.close()
    (segment,) = (tmp_path / "spool" / "shop").glob("*/*.seg")
    home_spool = SpoolSet(spool.settings)
    (adopted,) = home_spool.adopt()
    extents = [
        (found.base + found.frame.start - HEADER_SIZE, found.base + found.frame.stop)
        for found in frames(adopted.home, 1)
        if found.frame.events
    ]
    home_spool.close()
    return segment, extents


def drain(base: Path) -> list[bytes]:
    """Adopt and deliver everything; check the books; return the lines."""
    spools = SpoolSet(SpoolSettings(base, "shop"))
    lines: list[bytes] = []
    for adopted in spools.adopt():
        cursor = adopted.cursor("a")
        while not cursor.drained:
            batch = cursor.read(3, 1 << 20)
            if batch is None:
                continue
            lines += batch.lines
            cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
        assert cursor.account().balance == 0
        assert cursor.account().pending == 0
        assert cursor.account().delivered == len(lines)
        _ = adopted.death
    assert audit(base, "shop").problems == []
    spools.reclaim(["a"])
    total = spools.accounts(["a"])["a"]
    assert total.balance == 0
    assert total.delivered == len(lines)
    spools.close()
    return lines


def test_every_truncation(tmp_path: Path) -> None:
    """Cut at any byte, all frames that are whole come out."""
    segment, extents = small_spool(tmp_path)
    whole = segment.read_bytes()
    base = tmp_path / "spool"
    shutil.rmtree(base / "shop" / segment.parent.name / "cursors", ignore_errors=True)
    keep = tmp_path / "keep"
    shutil.copytree(base, keep)
    for cut in [*range(extents[-1][1] + 2)]:
        shutil.rmtree(base)
        shutil.copytree(keep, base)
        segment.write_bytes(whole[:cut])
        expected = [line for line, (_, stop) in zip(EVENTS, extents, strict=True) if stop <= cut]
        assert drain(base) == expected, cut


@pytest.mark.parametrize("clean", [True, False])
def test_every_changed_byte(tmp_path: Path, clean: bool) -> None:
    """With any one byte changed, all frames but the one it belongs to come out."""
    segment, extents = small_spool(tmp_path, clean=clean)
    whole = segment.read_bytes()
    base = tmp_path / "spool"
    keep = tmp_path / "keep"
    shutil.copytree(base, keep)
    randomness = random.Random(7)
    for at in range(extents[-1][1] + 30):
        shutil.rmtree(base)
        shutil.copytree(keep, base)
        changed = bytearray(whole)
        changed[at] ^= randomness.choice([0x1E, 0xFF, 1, 128, 0x1E ^ changed[at] or 1])
        segment.write_bytes(changed)
        hit = [extent for extent in extents if extent[0] <= at < extent[1]]
        assert drain(base) == [
            line for line, extent in zip(EVENTS, extents, strict=True) if extent not in hit
        ]
        # That there was a last frame only the one behind it says.
        counted = hit if clean or hit != extents[-1:] else []
        dropped = SpoolSet(SpoolSettings(base, "shop")).accounts(["a"])["a"].dropped
        assert dropped == dict.fromkeys(["damaged"] * len(counted), 1), at
        kept = b"".join(copy.read_bytes() for copy in base.glob("shop/salvage/*.bin"))
        assert all(bytes(changed[start:stop]) in kept for start, stop in hit), at


class Copy:
    """A dead owner's spool with other bytes."""

    def __init__(self, spool: str, segments: dict[int, bytes]) -> None:
        self.id, self.segments = spool, segments

    def numbers(self) -> list[int]:
        return sorted(self.segments)

    def open(self, number: int) -> Held:
        return Held(self.segments[number])

    def alive(self) -> bool:
        return False

    def evicted(self) -> list[Evicted]:
        return []


class Held:
    """A segment's bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, at: int, length: int) -> bytes:
        return self.data[at : at + length]

    def size(self) -> int:
        return len(self.data)

    def close(self) -> None:
        pass


def agents_spool(tmp_path: Path) -> tuple[Copy, dict[tuple[int, int, int], tuple[list[bytes], int, bytes]]]:
    """Make two segments as an agent does; return what stands where: lines, number of events, position."""
    spool = Spool(SpoolSettings(tmp_path / "spool", "edge"))
    a, b, c, d, e, f = (b'{"n":%d,"x":"\x1e"}' % n for n in range(6))
    spool.append([a, b], b"p1", "app")
    spool.append(Block(c, 1, columns=b"columns"), b"p2", "app")
    spool.append(Block(d, 1, left_out=2, violations={0: "no such field"}), b"p3", "app")
    spool.look_again()  # what comes next goes into a new segment, behind the positions
    spool.offer(Violation(e, "no such field"))
    spool.append([f], b"p4", "app")
    spool.close()
    segments = {int(path.stem): path.read_bytes() for path in spool.home.path.glob("*.seg")}
    held = iter([([a, b], b"p1"), ([c], b"p2"), ([d], b"p3"), ([e], b""), ([f], b"p4")])
    copy, told = Copy(spool.id, segments), {}
    for number, data in sorted(segments.items()):
        at, salt = 0, salt_of(bytes.fromhex(spool.id), number)
        while (at := resync(data, at, salt)) >= 0:
            frame = parse(data, at, salt)
            assert frame is not None
            if frame.events:
                lines, position = next(held)
                told[number, at, frame.stop] = lines, frame.events, position
            at = frame.stop
        segments[number] = data.rstrip(b"\0")
    assert next(held, None) is None
    return copy, told


@pytest.mark.parametrize("how", ["cut", "changed"])
def test_every_byte_of_an_agents_frames(tmp_path: Path, how: str) -> None:
    """Blocks with positions, columns, marks and lines left out: lost is what was hit, counted and kept."""
    copy, told = agents_spool(tmp_path)
    whole, randomness = dict(copy.segments), random.Random(5)
    assert len(whole) == 2
    for number, at in [(number, at) for number, data in whole.items() for at in range(len(data))]:
        data = bytearray(whole[number])
        data[at] ^= randomness.randrange(1, 256)
        copy.segments = {**whole, number: whole[number][:at] if how == "cut" else bytes(data)}
        salvaged: list[bytes] = []
        reader = Reader(copy, salvage=lambda *found, kept=salvaged: kept.append(found[2]))
        lines: list[bytes] = []
        for _ in range(20):
            lines += reader.read(100, 1 << 20)[1]
        assert reader.ended
        gone = {
            extent: told[extent]
            for extent in told
            if extent[0] == number and at < extent[2] and (how == "cut" or extent[1] <= at)
        }
        sound = [what for extent, what in told.items() if extent not in gone]
        assert [line.rstrip(b"\n") for line in lines] == [line for what in sound for line in what[0]]
        assert reader.positions.get("app", b"") == next((p for *_, p in sound[::-1] if p), b""), (number, at)
        reasons = [gap.reasons for gap in reader.gaps]
        assert sum(each.get("transforms", 0) for each in reasons) == 2 * any(w[1] == 3 for w in sound)
        if how == "changed":
            assert sum(each.get("damaged", 0) for each in reasons) == sum(what[1] for what in gone.values())
            assert all(bytes(data[start:stop]) in b"".join(salvaged) for _, start, stop in gone)


def test_any_subset_of_pages_may_be_lost(tmp_path: Path) -> None:
    """After a power cut any pages may be zeros: every frame that touches none of them comes out."""
    base = tmp_path / "spool"
    spool = Spool(SpoolSettings(base, "shop"))
    sent = [b'{"n":%d,"x":"%s"}' % (n, b"x" * (n % 900)) for n in range(400)]
    for line in sent:
        spool.offer(line)
    spool.close(clean=False)
    spool.home.close()
    spools = SpoolSet(spool.settings)
    (adopted,) = spools.adopt()
    where: dict[int, list[tuple[int, int]]] = {
        number: [
            (f.base + f.frame.start - HEADER_SIZE, f.base + f.frame.stop)
            for f in frames(adopted.home, number)
            if f.frame.events
        ]
        for number in adopted.home.numbers()
    }
    spools.close()
    keep = tmp_path / "keep"
    shutil.copytree(base, keep)
    for seed in range(20):
        randomness = random.Random(seed)
        shutil.rmtree(base)
        shutil.copytree(keep, base)
        expected: list[bytes] = []
        at = 0
        for number, extents in where.items():
            (path,) = base.glob(f"shop/*/{number:08d}.seg")
            data = bytearray(path.read_bytes())
            lost = {page for page in range(len(data) // 4096) if randomness.random() < 0.2}
            for page in lost:
                data[page * 4096 : page * 4096 + 4096] = bytes(4096)
            path.write_bytes(data)
            for start, stop in extents:
                if not lost & set(range(start // 4096, (stop - 1) // 4096 + 1)):
                    expected.append(sent[at])
                at += 1
        assert drain(base) == expected, seed


def test_damage_is_counted_and_kept(tmp_path: Path) -> None:
    """A damaged frame is counted as dropped for that reason, and its bytes are kept aside."""
    segment, extents = small_spool(tmp_path)
    data = bytearray(segment.read_bytes())
    data[extents[2][0] + HEADER_SIZE + 2] ^= 0xFF
    segment.write_bytes(data)
    base = tmp_path / "spool"
    (found,) = verify(base)
    assert (found.damaged, found.missing) == (1, {"damaged": 1})
    (mended,) = repair(base)
    (copy,) = mended.salvaged
    assert copy.read_bytes() == bytes(data[extents[2][0] : extents[2][1]])
    drain(base)
    assert SpoolSet(SpoolSettings(base, "shop")).accounts(["a"])["a"].dropped == {"damaged": 1}


def test_a_bad_frame_of_a_living_owner_is_waited_for_and_then_passed(tmp_path: Path) -> None:
    """At the tail it may be unfinished; with sound frames behind it for `patience` seconds it is damaged."""
    spool = Spool(SpoolSettings(tmp_path / "spool", "shop"))
    for line in EVENTS:
        spool.offer(line)
    spool._segment.buffer[96 + HEADER_SIZE] ^= 0xFF
    now = [0.0]
    from logferry.shipper.spool.cursor import SpoolCursor

    cursor = SpoolCursor(
        spool, "a", home=lambda: spool.home, last=lambda: spool.accepted, clock=lambda: now[0]
    )
    assert cursor.read(10, 10_000) is None
    now[0] = 4.9
    assert cursor.read(10, 10_000) is None
    now[0] = 5.1
    batch = cursor.read(10, 10_000)
    assert list(batch.lines) == EVENTS[1:]
    cursor.commit(len(EVENTS), Outcome(delivered=len(EVENTS) - 1))
    assert cursor.account().dropped == {"damaged": 1}
    assert cursor.account().balance == 0


def test_a_lost_page_of_a_living_owner_costs_what_was_on_it(tmp_path: Path) -> None:
    """A segment that begins with zeros has not been made in vain where sound frames lie behind them."""
    spool = Spool(SpoolSettings(tmp_path, "shop"))
    lines = [b'{"n":%d,"x":"%s"}' % (n, b"x" * 1000) for n in range(200)]
    for line in lines:
        spool.offer(line)
    assert len(spool.numbers()) > 1
    with (spool.home.path / "00000001.seg").open("r+b") as file:
        file.write(bytes(4096))
    reader = Reader(spool, patience=0.0)
    found: list[bytes] = []
    for _ in range(20):
        found += reader.read(1000, 1 << 20)[1]
    assert found == lines[4:]
    spool.close()


def changes(whole: bytes) -> Iterator[tuple[int, bytes]]:
    """Give `whole` cut at each byte and with each byte changed; of long stretches of zeros their ends."""
    randomness = random.Random(3)
    for at in range(len(whole.rstrip(b"\0"))):
        if not whole[max(0, at - 8) : at + 8].strip(b"\0"):
            continue
        yield at, whole[:at]
        other = (whole[at] + randomness.randrange(1, 256)) % 256
        yield at, whole[:at] + bytes([other]) + whole[at + 1 :]


@pytest.mark.parametrize("name", ["cursors/a", "evicted.json", "lock"])
def test_every_byte_of_what_stands_beside_the_segments(tmp_path: Path, name: str) -> None:
    """Cut or changed anywhere: no exception, no frame lost, and nothing counted that is not so."""
    segment, _ = small_spool(tmp_path)
    base = tmp_path / "spool"
    spools = SpoolSet(SpoolSettings(base, "shop"))
    (adopted,) = spools.adopt()
    cursor = adopted.cursor("a")
    cursor.read(2, 10_000)
    cursor.commit(1, Outcome(delivered=1))
    cursor.commit(2, Outcome(delivered=1))
    adopted.home.write_evicted([Evicted(1, 9, "full")])
    spools.close()
    damaged = segment.parent / name
    whole = damaged.read_bytes()
    keep = tmp_path / "keep"
    shutil.copytree(base, keep)
    for at, data in changes(whole):
        shutil.rmtree(base)
        shutil.copytree(keep, base)
        damaged.write_bytes(data)
        spools = SpoolSet(SpoolSettings(base, "shop"))
        (adopted,) = spools.adopt()
        cursor = adopted.cursor("a")
        lines = []
        while not cursor.drained:
            if (batch := cursor.read(10, 10_000)) is not None:
                lines += batch.lines
                cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
        assert lines[-2:] == EVENTS[2:], at
        account = cursor.account()
        assert account.balance == account.pending == 0
        assert account.delivered in ({4} if name != "cursors/a" else {3, 4}), at
        if name == "evicted.json":
            assert account.dropped == {}, (at, data)
        spools.close()


def test_every_byte_of_a_ledger(tmp_path: Path) -> None:
    """A ledger that is cut or changed anywhere counts nothing, says so, and is kept aside."""
    small_spool(tmp_path)
    base = tmp_path / "spool"
    drain(base)
    ledger = base / "shop" / "ledger.json"
    whole = ledger.read_bytes()
    for at, data in changes(whole):
        ledger.write_bytes(data)
        accounts = SpoolSet(SpoolSettings(base, "shop")).accounts(["a"])
        assert accounts["a"].accepted == 0, at
        assert len(audit(base).problems) == 1, at
    spool = Spool(SpoolSettings(base, "shop"))
    spool.offer(b"{}")
    cursor = spool.cursor("a")
    assert cursor.read(1, 10) is not None
    cursor.commit(1, Outcome(delivered=1))
    spool.close()
    SpoolSet(spool.settings, spool).reclaim(["a"])
    assert (base / "shop" / "ledger.json.damaged").read_bytes() == data
    assert len(audit(base).problems) == 1


def test_garbage_in_place_of_cursor_and_lists(tmp_path: Path) -> None:
    """Damaged cursor files and lists cost repetition, never an exception."""
    segment, _ = small_spool(tmp_path)
    spools = SpoolSet(SpoolSettings(tmp_path / "spool", "shop"))
    (adopted,) = spools.adopt()
    cursor = adopted.cursor("a")
    cursor.read(3, 10_000)
    cursor.commit(3, Outcome(delivered=3))
    spools.close()
    (segment.parent / "cursors" / "a").write_bytes(b"\xff" * 16384)
    (segment.parent / "evicted.json").write_bytes(b"[{")
    assert drain(tmp_path / "spool") == EVENTS


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=12), st.binary(max_size=40), st.integers(0, 1 << 40))
def test_resync_finds_every_frame_behind_any_rubbish(
    payloads: list[bytes], rubbish: bytes, first: int
) -> None:
    """Rubbish before frames, markers included, hides none of them."""
    salt = salt_of(bytes(16), 3)
    block = rubbish + b"".join(encode(salt, EVENT, 0, p, first + i, 1) for i, p in enumerate(payloads))
    found, at = [], 0
    while (at := resync(block, at, salt)) >= 0:
        frame = parse(block, at, salt)
        assert frame is not None
        found.append(block[frame.start : frame.stop])
        at = frame.stop
    assert found == payloads
    if payloads:
        assert resync(block, 0, salt_of(bytes(16), 4)) < 0  # another segment's frames are none here


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.integers(0, (1 << 64) - 1), st.data())
def test_no_single_bit_goes_unnoticed(payload: bytes, sequence: int, data: st.DataObject) -> None:
    """A frame with one bit changed is no frame, or not where it was."""
    frame = bytearray(encode(123, EVENT, 0, payload, sequence, 1))
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << bit % 8
    assert parse(bytes(frame), 0, 123) is None
