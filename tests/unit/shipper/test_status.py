"""What a pipeline says of itself in a file, and what becomes of it when it ends or is killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from logferry.shipper.cli.top import Meter
from logferry.shipper.cli.top_screen import lines
from logferry.shipper.model import Account
from logferry.shipper.notify import notify
from logferry.shipper.overview import ProcessView, ServiceView, SinkView, SourceView
from logferry.shipper.spool.ledger import known_positions
from logferry.shipper.status import SinkTold, StatusFile, Told, read_told


def test_it_is_there_while_the_pipeline_runs(tmp_path: Path) -> None:
    """Read as it was last told; gone when closed."""
    service = tmp_path / "shop"
    status = StatusFile(service, create=True)
    status.tell(Told(pid=1, sinks={"a": SinkTold("paused", "x" * 5000)}))
    status.tell(Told(pid=2, sinks={"a": SinkTold()}))
    assert read_told(service) == [Told(pid=2, sinks={"a": SinkTold()})]
    status.close()
    assert read_told(service) == []
    assert list((service / "running").iterdir()) == []
    status.tell(Told(pid=3))  # by a thread that was late
    assert list((service / "running").iterdir()) == []


def test_an_application_makes_no_directory(tmp_path: Path) -> None:
    """Before its first record a service has none; it is told when there is one."""
    service = tmp_path / "shop"
    status = StatusFile(service, create=False)
    status.tell(Told(pid=1))
    assert not service.exists()
    service.mkdir()
    status.tell(Told(pid=1))
    assert read_told(service) == [Told(pid=1)]
    status.close()


def test_what_a_killed_one_left_says_nothing(tmp_path: Path) -> None:
    """Nobody holds it: it is not read, and the next pipeline removes it."""
    service = tmp_path / "shop"
    dead = StatusFile(service, create=True)
    dead.tell(Told(pid=1))
    dead.release()  # as the system does
    assert read_told(service) == []
    alive = StatusFile(service, create=True)
    alive.tell(Told(pid=2))
    assert len(list((service / "running").iterdir())) == 1
    (service / "running" / "garbage").write_text("x")
    assert read_told(service) == [Told(pid=2)]
    alive.close()


def test_a_forked_child_does_not_keep_it_alive(tmp_path: Path) -> None:
    """The child lets go of its copy; then the parent's death is seen although the child lives."""
    status = StatusFile(tmp_path, create=True)
    status.tell(Told(pid=1))
    assert status._path is not None
    path, copy = status._path, os.dup(status._fd)
    status.release()
    assert read_told(tmp_path) == [Told(pid=1)], "a copy that is kept holds the lock"
    os.close(copy)
    assert read_told(tmp_path) == []
    assert path.exists()


def test_positions_of_a_spool_that_is_folded_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that starts just when the old spool goes into the ledger finds its position all the same."""
    from logferry.shipper.ports import Outcome
    from logferry.shipper.spool import Spool, SpoolSet, SpoolSettings, ledger

    settings = SpoolSettings(tmp_path, "shop")
    spool = Spool(settings)
    spool.appender("app").append([b"{}"], b"here", "f")
    cursor = spool.own_cursor("out")
    cursor.read(10, 1 << 20)
    cursor.commit(1, Outcome(delivered=1))
    spool.close()
    real = ledger.spool_directories

    def listed(path: Path) -> list[Path]:
        found = real(path)
        monkeypatch.undo()
        cursor.close()
        spool.home.close()
        spools = SpoolSet(settings)
        spools.adopt()
        spools.reclaim(["out"])
        assert real(path) == [], "it is not folded: the test shows nothing"
        spools.close()
        return found

    monkeypatch.setattr(ledger, "spool_directories", listed)
    assert known_positions(tmp_path / "shop") == {"app/f": b"here"}


def test_no_service_manager_is_no_trouble(tmp_path: Path) -> None:
    """Without a socket, with a wrong one and with one where nobody listens nothing happens."""
    assert not notify("READY=1", environ={})
    assert not notify("READY=1", environ={"NOTIFY_SOCKET": "vsock:2:1"})
    assert not notify("READY=1", environ={"NOTIFY_SOCKET": str(tmp_path / "nobody")})


def test_nothing_to_see() -> None:
    """An empty machine is said in words."""
    assert lines([], width=80, colour=False, now=0.0) == [
        "no pipelines here yet: nothing has been logged or read"
    ]


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_screen_fits(width: int) -> None:
    """No line is wider than the terminal but the head of a service; what steers a terminal is shown."""
    view = ServiceView("shop", Path("/var/lib/logferry/shop"), accepted=12_345_678, spools=3, living=2)
    account = Account(accepted=12_345_678, delivered=12_000_000, pending=345_678)
    view.sinks["search"] = SinkView("search", account, 90.0, 0, "retrying", "no answer\x1b[2J " * 20)
    view.sources["nginx"] = SourceView("nginx", 2, 0, 5_000_000)
    view.processes.append(ProcessView(1, "delivery process"))
    view.last_error, view.last_error_at = "search: " + "no answer " * 40, 100.0
    meter = Meter()
    meter.take([view], 0.0)
    view.accepted += 100
    account.delivered += 3
    rows = meter.take([view], 2.0)
    shown = lines(rows, width=width, colour=False, now=160.0)
    assert max(map(len, shown[1:])) <= width
    assert not any("\x1b" in line for line in shown)
    text = "\n".join(shown)
    for word in ("12,345,778, 50/s", "1 delivery process", "retrying", "345,678", "90 s", "4.8 MiB", "1.5"):
        assert word in text
    assert "last error, 60 s ago" in text
