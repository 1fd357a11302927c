"""A full spool, a full disk, old events: what is given up is bounded, counted, and has a reason."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from logferry.shipper.core.segments import LARGEST, SMALLEST, Evicted, attribute, deletable, grown, merged
from logferry.shipper.ports import Cursor, Outcome
from logferry.shipper.spool import Spool, SpoolSet, audit, list_spools
from logferry.shipper.spool.segment import allocate, segment_name
from logferry.shipper.spool.share import usage
from logferry.shipper.spool.spoolset import most_held


def deliver(cursor: Cursor) -> list[bytes]:
    lines: list[bytes] = []
    while (batch := cursor.read(50, 1 << 20)) is not None:
        lines += batch.lines
        cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
    return lines


def offer_many(spool: Spool, count: int, size: int = 400) -> int:
    return sum(spool.offer(b"%06d" % n + b"x" * size) for n in range(count))


class Disk:
    """A disk that has no room while it is `full`."""

    full = False

    def allocate(self, fd: int, size: int) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.posix_fallocate(fd, 0, size) if hasattr(os, "posix_fallocate") else os.ftruncate(fd, size)


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
def test_a_full_spool_keeps_its_bound(make_spool: Callable[..., Spool], tmp_path: Path, policy: str) -> None:
    """The path never takes more than `max_bytes`; what had to go is counted as `full`."""
    spool = make_spool(max_bytes=400_000, when_full=policy)
    cursor = spool.cursor("a")
    taken = offer_many(spool, 3000)
    assert usage(tmp_path / "spool") <= 400_000
    assert (taken == 3000) == (policy == "drop_oldest")
    lines = deliver(cursor)
    account = cursor.account()
    assert account.balance == account.pending == 0
    assert account.accepted == 3000
    assert account.dropped == {"full": 3000 - len(lines)}
    assert spool.stats()["dropped"] == account.dropped
    numbers = [int(line[:6]) for line in lines]
    assert numbers == sorted(numbers)
    assert numbers[-1 if policy == "drop_oldest" else 0] == (2999 if policy == "drop_oldest" else 0)
    assert audit(tmp_path / "spool", None).problems == []


def test_refused_events_are_known_to_other_processes(
    make_spool: Callable[..., Spool], tmp_path: Path
) -> None:
    """A killed writer's refusals are in its segment: whoever adopts it counts them."""
    spool = make_spool(max_bytes=200_000, when_full="drop_newest")
    taken = offer_many(spool, 1000)
    spool.close(clean=False)
    spool.home.close()
    spools = SpoolSet(spool.settings)
    (adopted,) = spools.adopt()
    cursor = adopted.cursor("a")
    assert len(deliver(cursor)) == taken
    assert cursor.account().accepted == 1000
    assert cursor.account().dropped == {"full": 1000 - taken}


def test_room_again_after_a_refusal(make_spool: Callable[..., Spool]) -> None:
    """When segments were delivered and deleted, events are taken again; the hole between is `full`."""
    now = [0.0]
    spool = make_spool(max_bytes=200_000, when_full="drop_newest", options={"monotonic": lambda: now[0]})
    cursor = spool.cursor("a")
    spools = SpoolSet(spool.settings, spool)
    taken = offer_many(spool, 1000)
    assert len(deliver(cursor)) == taken
    assert spools.reclaim(["a"]) > 0
    now[0] += 1
    assert spool.offer(b"again")
    assert deliver(cursor) == [b"again"]
    assert cursor.account().dropped == {"full": 1000 - taken}
    assert cursor.account().balance == 0


def test_block_waits_and_then_refuses(make_spool: Callable[..., Spool]) -> None:
    """`block` sleeps at most `block_timeout`, then the event is refused and counted."""
    slept: list[float] = []
    spool = make_spool(
        max_bytes=100_000, when_full="block", block_timeout=0.05, options={"sleep": slept.append}
    )
    while not slept:
        spool.offer(b"x" * 1000)
    assert spool.stats()["dropped"] == {"full": 1}


def test_sources_wait_and_evict_nothing(make_spool: Callable[..., Spool]) -> None:
    """An append on a full spool waits until there is room; nothing that was accepted goes."""
    waited = []

    def deliver_a_little(_seconds: float) -> None:
        waited.append(1)
        deliver(cursor)
        spools.reclaim(["a"])
        now[0] += 1

    now = [0.0]
    spool = make_spool(max_bytes=200_000, options={"sleep": deliver_a_little, "monotonic": lambda: now[0]})
    spools = SpoolSet(spool.settings, spool)
    cursor = spool.cursor("a")
    for _ in range(300):
        spool.append([b"x" * 500] * 5)
    deliver(cursor)
    assert waited
    assert cursor.account().delivered == 1500
    assert not cursor.account().dropped


def test_what_can_be_told_later_takes_nobodys_room(make_spool: Callable[..., Spool]) -> None:
    """Neither what a source has read nor anything else goes for it; it is not counted as refused."""

    now = [0.0]

    def full() -> None:
        now[0] += 1
        raise TimeoutError

    spool = make_spool(max_bytes=200_000, options={"monotonic": lambda: now[0]})
    cursor, spools = spool.cursor("a"), SpoolSet(spool.settings, spool)
    for line in (b"x" * 500, b"x"):
        with pytest.raises(TimeoutError):  # noqa: PT012 - which append finds no room is not known
            while True:
                spool.append([line], b"here", "app", full)
    accepted = spool.accepted
    assert not spool.tell(b"notice")
    assert spool.accepted == accepted
    assert len(deliver(cursor)) == accepted
    spools.reclaim(["a"])
    now[0] += 1
    assert spool.tell(b"notice")
    assert deliver(cursor) == [b"notice"]
    assert not cursor.account().dropped


def test_old_segments_expire(make_spool: Callable[..., Spool]) -> None:
    """What is older than `max_age` is given up for that reason, the segment in use included."""
    now = [1000.0]
    spool = make_spool(max_age=60.0, options={"clock": lambda: now[0]})
    cursor = spool.cursor("a")
    offer_many(spool, 500)
    now[0] += 61
    spool.sync()
    now[0] += 61
    spool.sync()
    spool.offer(b"young")
    assert deliver(cursor) == [b"young"]
    assert cursor.account().dropped == {"max_age": 500}
    assert cursor.account().balance == 0


def test_no_space_means_memory_and_back(
    make_spool: Callable[..., Spool], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without space events go to memory, bounded and counted, with one warning; later to the disk again."""
    now = [0.0]
    disk = Disk()
    spool = make_spool(memory_bytes=300_000, options={"allocate": disk.allocate, "monotonic": lambda: now[0]})
    cursor = spool.cursor("a")
    offer_many(spool, 100)
    disk.full = True
    assert offer_many(spool, 2000) == 2000
    assert spool.state == "degraded"
    disk.full = False
    now[0] += 10
    spool.sync()
    assert spool.state == "disk"
    offer_many(spool, 100)
    lines = deliver(cursor)
    account = cursor.account()
    assert account.balance == account.pending == 0
    assert set(account.dropped) == {"memory_full"}
    assert account.dropped["memory_full"] == 2200 - len(lines)
    assert capsys.readouterr().err.count("No space") <= 1


def test_what_can_be_read_again_waits_for_a_full_disk(make_spool: Callable[..., Spool]) -> None:
    """It is not kept in memory, also where other events are: that ends sooner than its position."""
    now = [0.0]
    disk = Disk()

    def full() -> None:
        now[0] += 1
        raise TimeoutError

    spool = make_spool(options={"allocate": disk.allocate, "monotonic": lambda: now[0]})
    cursor = spool.cursor("a")
    disk.full = True
    with pytest.raises(TimeoutError):
        spool.append([b"line"], b"here", "app", full)
    assert spool.state == "disk"
    assert spool.offer(b"event")
    assert spool.state == "degraded"
    for _ in range(9):
        with pytest.raises(TimeoutError):
            spool.append([b"line"], b"here", "app", full)
    assert spool.append([b"unrepeatable"]) == 2
    assert deliver(cursor) == [b"event", b"unrepeatable"]
    assert not spool.last_position("app")
    disk.full = False
    now[0] += 10
    assert spool.append([b"line"], b"here", "app", full) == 3
    assert spool.state == "disk"
    assert deliver(cursor) == [b"line"]
    assert not cursor.account().dropped


def test_what_was_in_a_dead_process_memory_is_known_to_be_lost(
    make_spool: Callable[..., Spool], tmp_path: Path
) -> None:
    """Another process finds the hole that memory segments left and counts it as `memory_lost`."""
    now = [0.0]
    broken = [False]

    def allocate(fd: int, size: int) -> None:
        if broken[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.truncate(fd, size)

    spool = make_spool(options={"allocate": allocate, "monotonic": lambda: now[0]})
    offer_many(spool, 200)
    broken[0] = True
    offer_many(spool, 300)
    broken[0] = False
    now[0] += 10
    spool.sync()
    offer_many(spool, 10)
    spool.close(clean=False)
    spool.home.close()
    spools = SpoolSet(spool.settings)
    (adopted,) = spools.adopt()
    cursor = adopted.cursor("a")
    lines = deliver(cursor)
    assert cursor.account().accepted == 510
    assert cursor.account().dropped == {"memory_lost": 510 - len(lines)}
    assert cursor.account().balance == 0


@pytest.mark.parametrize("room", ["none", "little", "all"])
@pytest.mark.parametrize("reads_itself", [True, False])
def test_what_is_in_memory_at_the_end_goes_to_the_disk_or_is_counted(
    make_spool: Callable[..., Spool], capsys: pytest.CaptureFixture[str], room: str, reads_itself: bool
) -> None:
    """A disk with room again gets it; else the next process knows how many are gone, and no death is told."""
    left = [1 << 30]

    def allocate(fd: int, size: int) -> None:
        if size > left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= size
        os.truncate(fd, size)

    spool = make_spool(options={"allocate": allocate})
    offer_many(spool, 200)
    left[0] = 0
    offer_many(spool, 1000)
    assert spool.state == "degraded"
    early = 0
    if reads_itself:  # its own worker has come into the memory already
        cursor = spool.cursor("a")
        batch = cursor.read(300, 1 << 20)
        while batch is not None and early < 300:
            early += len(batch)
            cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
            batch = cursor.read(300 - early, 1 << 20)
    left[0] = {"none": 0, "little": 70_000, "all": 1 << 30}[room]
    spool.close()
    spool.home.close()
    spools = SpoolSet(spool.settings)
    (adopted,) = spools.adopt()
    assert adopted.death is None
    lines = deliver(adopted.cursor("a"))
    account = adopted.cursor("a").account()
    assert account.accepted == 1200
    assert account.delivered == early + len(lines)
    assert account.dropped == ({"memory_lost": 1200 - account.delivered} if room != "all" else {})
    assert account.pending == account.balance == 0
    assert (account.delivered == 1200) == (room == "all")
    assert adopted.cursor("a").drained
    told = [
        line for line in capsys.readouterr().err.splitlines() if "were only in memory and are lost" in line
    ]
    assert len(told) == (room != "all")
    assert not told or f" {1200 - account.delivered} events" in told[0]
    report = audit(spool.settings.path or Path())
    assert report.problems == []
    assert report.accounts["shop", "a"].dropped == account.dropped


def test_a_spool_that_was_never_on_the_disk_goes_there_at_its_end(make_spool: Callable[..., Spool]) -> None:
    """The disk was full from the beginning, and has room when the process ends."""
    full = [True]

    def allocate(fd: int, size: int) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.truncate(fd, size)

    spool = make_spool(options={"allocate": allocate})
    offer_many(spool, 100)
    full[0] = False
    spool.close()
    spool.home.close()
    (adopted,) = SpoolSet(spool.settings).adopt()
    assert len(deliver(adopted.cursor("a"))) == 100
    assert adopted.death is None


def test_a_dead_spool_is_evicted_before_ones_own(make_spool: Callable[..., Spool], tmp_path: Path) -> None:
    """Room for a living process comes from what dead ones left, and is counted in their books."""
    first = make_spool(max_bytes=600_000)
    offer_many(first, 700)
    first.close()
    first.home.close()
    second = make_spool(max_bytes=600_000)
    offer_many(second, 700)
    assert not second.stats()["dropped"]
    spools = SpoolSet(second.settings, second)
    (adopted,) = spools.adopt()
    lines = deliver(adopted.cursor("a"))
    account = adopted.cursor("a").account()
    assert account.dropped == {"full": 700 - len(lines)}
    assert account.dropped["full"] > 0
    assert account.balance == 0


def test_memory_only_is_bounded(make_spool: Callable[..., Spool]) -> None:
    """A spool in memory keeps to its bound; delivered segments are given back."""
    spool = make_spool(memory=True, memory_bytes=200_000)
    cursor = spool.cursor("a")
    offer_many(spool, 2000)
    assert spool.stats()["bytes"] <= 200_000
    lines = deliver(cursor)
    assert cursor.account().dropped == {"memory_full": 2000 - len(lines)}
    assert cursor.account().balance == 0
    SpoolSet(spool.settings, spool).reclaim(["a"])
    assert spool.stats()["segments"] == 1


OUT_OF_MEMORY = """
import resource, sys
from pathlib import Path
from typing import Any
from logferry.shipper.spool import Spool, SpoolSettings
spool = Spool(SpoolSettings(Path(sys.argv[1]), "shop", max_bytes=64 << 20))
for _ in range(16):  # a segment as large as they get, with room for what comes
    spool.offer(b"-" * 500_000)
event = b"x" * (4 << 20)
most = resource.getrlimit(resource.RLIMIT_AS)[1]
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 20), most))
print(spool.offer(event))
resource.setrlimit(resource.RLIMIT_AS, (most, most))
spool.offer(b"after")
spool.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what a process may map is bounded on Linux")
def test_an_event_is_taken_when_there_is_no_memory_for_a_copy_of_it(
    make_spool: Callable[..., Spool], tmp_path: Path
) -> None:
    """A log call needs no second event's worth of memory, and leaves no hole, which readers would wait at."""
    command = [sys.executable, "-c", OUT_OF_MEMORY, str(tmp_path / "spool")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    (dead,) = SpoolSet(make_spool().settings).adopt()
    cursor = dead.cursor("a")
    sizes = []
    while (batch := cursor.read(50, 1 << 20)) is not None:
        sizes += [len(line) for line in batch.lines]
        cursor.commit(batch.sequences[-1], Outcome(delivered=len(batch)))
    assert sizes == [500_000] * 16 + [4 << 20, 5]
    assert cursor.account().dropped == {}


def test_very_many_dead_spools_do_not_take_all_descriptors(
    make_spool: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of what the process may open is for them; the others follow when these are drained."""
    real = resource.getrlimit
    few = {resource.RLIMIT_NOFILE: (16 * 6 * 4, 4096)}
    monkeypatch.setattr(resource, "getrlimit", lambda which: few.get(which) or real(which))
    assert most_held() == 16
    for _ in range(40):
        dead = make_spool(sync="never")
        dead.offer(b"{}")
        dead.close()
        assert dead.home.dir_fd < 0
    spools = SpoolSet(dead.settings)
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208 - names only
    delivered, rounds = 0, 0
    while found := spools.adopt():
        rounds += 1
        assert spools.more == (rounds < 3)
        assert len(spools.adopted) <= 16
        for spool in found:
            for sink in ("a", "b"):
                delivered += len(deliver(spool.cursor(sink)))
        assert len(os.listdir("/dev/fd")) <= before + 16 * 6  # noqa: PTH208
        for spool in found:
            for sink in ("a", "b"):
                spool.own_cursor(sink).close()  # as a worker does with what it has drained
        spools.reclaim(["a", "b"])
    assert (delivered, rounds) == (80, 3)
    assert list_spools(dead.settings.path or Path()) == []


def test_a_removed_sink_does_not_keep_a_dead_spool(make_spool: Callable[..., Spool]) -> None:
    """A sink that is not configured any more: what it did not get is `removed` in the ledger."""
    first = make_spool()
    offer_many(first, 10)
    first.cursor("old").read(3, 10_000)
    first.cursor("old").commit(3, Outcome(delivered=3))
    first.close()
    first.home.close()
    second = make_spool()
    spools = SpoolSet(second.settings, second)
    (adopted,) = spools.adopt()
    deliver(adopted.cursor("new"))
    spools.reclaim(["new"])
    accounts = spools.accounts(["old", "new"])
    assert accounts["old"].dropped == {"removed": 7}
    assert accounts["old"].balance == accounts["new"].balance == 0


def test_the_next_segment_is_made_ahead(make_spool: Callable[..., Spool], tmp_path: Path) -> None:
    """Prepared in time, no log call makes a segment; what was made ahead and not used goes at the end."""
    by_log_calls = [0]
    made = allocate

    def counted(fd: int, size: int) -> None:
        by_log_calls[0] += not preparing
        made(fd, size)

    preparing = False
    spool = make_spool(options={"allocate": counted})
    for n in range(4000):
        assert spool.offer(b"%06d" % n + b"x" * 400)
        if n % 50 == 0:
            preparing = True
            spool.prepare()
            preparing = False
    assert by_log_calls[0] == 1
    assert spool.stats()["segments"] > 4
    files = len(list((tmp_path / "spool").rglob("*.seg")))
    assert files == spool.stats()["segments"] + 1
    assert len(deliver(spool.cursor("a"))) == 4000
    assert not spool.cursor("a").account().dropped
    spool.close()
    assert len(list((tmp_path / "spool").rglob("*.seg"))) == files - 1


def test_what_was_made_ahead_never_comes_behind_a_later_one(make_spool: Callable[..., Spool]) -> None:
    """An interrupted change-over used a higher number: the one made ahead is taken back, or order is lost."""
    spool = make_spool()
    offer_many(spool, 100)
    spool.prepare()
    ahead = spool.numbers()[-1]
    fresh = spool._supply.make(10, 101, after=ahead + 1, at_bound="refuse")
    assert fresh.number > ahead
    assert ahead not in spool.numbers()
    spool._supply.discard(fresh)


def test_nothing_is_made_ahead_where_room_is_short(make_spool: Callable[..., Spool]) -> None:
    """Idle processes do not hoard: beyond half of the bound segments are made when they are needed."""
    spool = make_spool(max_bytes=600_000)
    for n in range(2000):
        assert spool.offer(b"%06d" % n + b"x" * 400)
        spool.prepare()
    assert spool.stats()["dropped"]["full"] < 1000


def test_growth_is_bounded() -> None:
    """Segments double up to the largest size, shrink to the room there is, and fit the event at hand."""
    assert grown(0, 100, 1 << 30, 1 << 30) == SMALLEST
    assert grown(SMALLEST, 100, 1 << 30, 1 << 30) == 2 * SMALLEST
    assert grown(LARGEST, 100, 1 << 30, 1 << 30) == LARGEST
    assert grown(LARGEST, 20 << 20, 1 << 30, 1 << 30) == 20 << 20
    assert grown(LARGEST, 100, 1 << 30, 10_000) == 8192
    assert grown(0, 100, 1 << 30, 4095) == 0
    assert grown(0, 20_000, 1 << 30, 10_000) == 0


def test_only_passed_segments_may_go() -> None:
    """The slowest cursor decides, the newest segment stays."""
    assert deletable([1, 2, 3], [3, 3]) == [1, 2]
    assert deletable([1, 2, 3], [9]) == [1, 2]
    assert deletable([1, 2, 3], [2, 3]) == [1]
    assert deletable([1, 2, 3], [0]) == []
    assert deletable([1, 2], []) == []


def test_a_hole_is_split_by_reason() -> None:
    """Every missing sequence gets exactly one reason."""
    evicted = merged([Evicted(5, 9, "full"), Evicted(1, 4, "full"), Evicted(20, 30, "max_age")])
    assert evicted == [Evicted(1, 9, "full"), Evicted(20, 30, "max_age")]
    assert attribute(3, 25, evicted, "damaged") == {"full": 7, "damaged": 10, "max_age": 6}
    assert attribute(40, 41, evicted, "damaged") == {"damaged": 2}


def test_threads_that_list_at_once_see_all_segments(make_spool: Callable[..., Spool]) -> None:
    """Each sink's thread looks for the next segment, and the upkeep for those that may go."""
    spool = make_spool()
    assert spool.offer(b"{}")
    for number in range(100, 300):
        (spool.home.path / segment_name(number)).touch()
    wrong: list[int] = []

    def look() -> None:
        for _ in range(300):
            found = len(spool.home.numbers())
            if found != 201:
                wrong.append(found)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("closed", [".", segment_name(1)])
def test_without_descriptors_a_dead_spool_waits(
    make_spool: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    """What cannot be opened now is not gone: nothing is given up for it."""
    spool = make_spool()
    for _ in range(200):
        spool.offer(b"x" * 1000)
    spool.close(clean=False)
    spool.home.close()
    (adopted,) = SpoolSet(spool.settings).adopt()
    cursor, opening, none = adopted.cursor("a"), os.open, [True]

    def open_file(path: Any, *more: Any, **named: Any) -> int:
        if none[0] and (path == closed or (closed == "." and str(path).endswith(".seg"))):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return opening(path, *more, **named)

    monkeypatch.setattr(os, "open", open_file)
    assert cursor.read(1000, 1 << 20) is None
    assert not cursor.account().dropped
    none[0] = False
    assert len(deliver(cursor)) == 200
    assert not cursor.account().dropped
