"""The file source: every line once, through growth, rotation, truncation and kills."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from programs.followed import Kept, KilledError, source, until

from logferry.handlers.record import EventBuilder
from logferry.handlers.redaction import Redactor
from logferry.handlers.schema import Schema
from logferry.shipper.config.fields import Size
from logferry.shipper.ports import SourceContext
from logferry.shipper.sources.errors import SourceError
from logferry.shipper.sources.file import FileConfig, FileSource
from logferry.shipper.spool import Spool, SpoolSettings


@pytest.fixture
def following(request: pytest.FixtureRequest) -> Callable[[FileSource], None]:
    """Run a source in a thread until the end of the test."""

    def start(running: FileSource) -> None:
        thread = threading.Thread(target=running.run, kwargs={"once": False})
        thread.start()

        def end() -> None:
            running.stop()
            thread.join(10)
            assert not thread.is_alive()

        request.addfinalizer(end)

    return start


def test_once_reads_everything_and_a_second_run_nothing(tmp_path: Path) -> None:
    """`once` takes all lines, the last without its end too, and a second run repeats none."""
    (tmp_path / "a.log").write_text("one\ntwo\n\nthree")
    kept = Kept()
    source(kept, tmp_path / "*.log").run(once=True)
    assert kept.messages == ["one", "two", "three"]
    source(kept, tmp_path / "*.log").run(once=True)
    assert kept.messages == ["one", "two", "three"]
    with (tmp_path / "a.log").open("a") as file:
        file.write("\nfour\n")
    source(kept, tmp_path / "*.log").run(once=True)
    assert kept.messages == ["one", "two", "three", "four"]


def test_a_kill_between_appends_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """Position and lines are one append: after any number of kills each line is there once."""
    written = [f"line {i}" for i in range(5000)]
    (tmp_path / "a.log").write_text("\n".join(written) + "\n")
    kept = Kept()
    for _ in range(20):
        kept.fail_after = 1
        try:
            source(kept, tmp_path / "a.log").run(once=True)
            break
        except KilledError:
            continue
    assert kept.messages == written


def test_a_source_that_failed_goes_on_at_once(
    tmp_path: Path, following: Callable[[FileSource], None]
) -> None:
    """Started again, as a source is that raised, it looks for files without waiting."""
    written = [f"line {i}" for i in range(2000)]
    (tmp_path / "a.log").write_text("\n".join(written) + "\n")
    kept = Kept()
    kept.fail_after = 1
    running = source(kept, tmp_path / "a.log")
    with pytest.raises(KilledError):
        running.run(once=False)
    kept.fail_after = None
    began = time.monotonic()
    following(running)
    until(lambda: kept.messages == written, lambda: len(kept.messages))
    assert time.monotonic() - began < 30  # the next look of one that is told of new files comes after 60


def test_it_says_what_keeps_it_from_reading(tmp_path: Path) -> None:
    """`check --connect`: what cannot be opened. What is not there yet is no mistake, but said."""
    (tmp_path / "a.log").touch()
    (tmp_path / "loop.log").symlink_to("loop.log")
    (tmp_path / "nothing.log").symlink_to("nowhere")
    gone, named, none = tmp_path / "gone/*/*.log", tmp_path / "named.log", tmp_path / "none*.log"
    assert source(Kept(), tmp_path / "a*.log", none).check() == []
    made = source(Kept(), tmp_path / "*.log", none, gone, named, exclude=("b*",))
    assert made.check() == [f"cannot read {tmp_path / 'loop.log'}: Too many levels of symbolic links"]
    assert made.absent() == [f"{tmp_path / 'gone'} is not there yet", f"{named} is not there yet"]


def test_a_rotated_series_is_read_oldest_first(tmp_path: Path) -> None:
    """`once` reads files in the order of their times."""
    for age, name in enumerate(["app.log", "app.log.1", "app.log.2"]):
        (tmp_path / name).write_text(f"{name}\n")
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    kept = Kept()
    source(kept, tmp_path / "app.log*").run(once=True)
    assert kept.messages == ["app.log.2", "app.log.1", "app.log"]


def test_a_renamed_file_is_not_read_again(tmp_path: Path) -> None:
    """After a rotation by rename between two runs only what is new is read."""
    (tmp_path / "app.log").write_text("old\n")
    kept = Kept()
    source(kept, tmp_path / "app.log*").run(once=True)
    (tmp_path / "app.log").rename(tmp_path / "app.log.1")
    (tmp_path / "app.log").write_text("new\n")
    source(kept, tmp_path / "app.log*").run(once=True)
    assert kept.messages == ["old", "new"]


def test_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    """Such a file is read like any, a copy of it is known as one, and it keeps no other from being read."""
    odd = Path(os.fsdecode(b"b\xff.log"))
    try:
        (tmp_path / odd).write_text("odd\n")
    except OSError:
        pytest.skip("a file system whose names are all UTF-8")
    (tmp_path / "c.log").write_text("usual\n")
    kept = Kept()
    source(kept, tmp_path / "*.log*").run(once=True)
    assert sorted(kept.messages) == ["odd", "usual"]
    files = {json.loads(line)["log_file"] for line in kept.lines}
    assert files == {rf"{tmp_path}/b\udcff.log", f"{tmp_path}/c.log"}
    (tmp_path / f"{odd}.1").write_text("odd\n")  # as logrotate's copytruncate does it
    (tmp_path / odd).write_text("more\n")
    source(kept, tmp_path / "*.log*").run(once=True)
    assert sorted(kept.messages) == ["more", "odd", "usual"]


def test_excluded_and_binary_files_are_passed_over(tmp_path: Path) -> None:
    """Globs leave out what they name, and bytes that are no text are never shipped as text."""
    (tmp_path / "a.log").write_text("yes\n")
    (tmp_path / "b.log").write_text("no\n")
    (tmp_path / "c.log").write_bytes(b"BZh9\x00garbage")
    kept = Kept()
    source(kept, tmp_path / "*.log", exclude=("b.*",)).run(once=True)
    assert kept.messages == ["yes"]


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    """`once` without any file is an error that names the pattern, not a silent success."""
    with pytest.raises(SourceError, match=r"no file matches .*\*\.log"):
        source(Kept(), tmp_path / "*.log").run(once=True)


def test_following_through_growth_rotation_and_truncation(
    tmp_path: Path, following: Callable[[FileSource], None]
) -> None:
    """Growth, a partial line, a rename, a new file and a truncation: every line arrives once, in order."""
    path = tmp_path / "app.log"
    path.write_text("1\n")
    kept = Kept()
    following(source(kept, tmp_path / "app.log"))
    until(lambda: kept.messages == ["1"], lambda: kept.messages)
    old = path.open("a")
    old.write("2\nhal")
    old.flush()
    until(lambda: kept.messages == ["1", "2"], lambda: kept.messages)
    path.rename(tmp_path / "app.log.1")
    old.write("f\n3\n")
    old.close()
    path.write_text("4\n")
    until(lambda: sorted(kept.messages) == ["1", "2", "3", "4", "half"], lambda: kept.messages)
    path.write_text("")  # copytruncate
    path_grown = path.open("a")
    time.sleep(0.1)  # what a truncation hides before it is seen is lost at the file: give it a look
    path_grown.write("5\n")
    path_grown.close()
    until(lambda: kept.messages[-1] == "5", lambda: kept.messages)
    assert sorted(kept.messages) == ["1", "2", "3", "4", "5", "half"]


def test_tracebacks_are_joined_and_become_errors(tmp_path: Path) -> None:
    """`multiline: python` makes one ERROR event of a message and its traceback."""
    (tmp_path / "a.log").write_text(
        "order failed\nTraceback (most recent call last):\n  File x\nValueError: no stock\nfine\n"
    )
    kept = Kept()
    source(kept, tmp_path / "a.log", multiline="python").run(once=True)
    first = json.loads(kept.lines[0])
    assert kept.messages == ["order failed", "fine"]
    assert first["level"] == "ERROR"
    assert first["error"]["type"] == "ValueError"
    assert first["error"]["message"] == "no stock"


def test_json_lines_are_taken_over(tmp_path: Path) -> None:
    """Time, level, service, ids, source and own fields of a JSON line arrive under their names."""
    line = {
        "timestamp": "2026-01-02T03:04:05.678901Z",
        "level": "warning",
        "service": "billing",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": "b7ad6b7169203331",
        "msg": "late",
        "logger": "app.db",
        "module": "db",
        "order_id": 42,
    }
    (tmp_path / "a.log").write_text(json.dumps(line) + "\n")
    kept = Kept()
    source(kept, tmp_path / "a.log").run(once=True)
    event = json.loads(kept.lines[0])
    expected = {**line, "level": "WARNING", "message": "late"}
    del expected["msg"]
    assert {name: event.get(name) for name in expected} == expected


def test_a_line_that_is_too_long_is_cut(tmp_path: Path) -> None:
    """A long line keeps its beginning, says that it was cut, and the next line is whole."""
    (tmp_path / "a.log").write_text("x" * 1000 + "\nnext\n")
    kept = Kept()
    source(kept, tmp_path / "a.log", max_line_bytes=Size(100)).run(once=True)
    assert kept.messages == ["x" * 100, "next"]
    assert json.loads(kept.lines[0])["line_cut_bytes"] == 900


def test_a_link_to_nothing_is_passed_over(tmp_path: Path) -> None:
    """A dangling link that a pattern finds is no failure; a named file that is gone is one."""
    (tmp_path / "a.log").write_text("yes\n")
    (tmp_path / "b.log").symlink_to(tmp_path / "nowhere")
    kept = Kept()
    source(kept, tmp_path / "*.log").run(once=True)
    assert kept.messages == ["yes"]
    with pytest.raises(SourceError, match=r"cannot read .*b\.log"):
        source(Kept(), tmp_path / "a.log", tmp_path / "b.log").run(once=True)
    (tmp_path / "nowhere").write_text("now\n")
    source(kept, tmp_path / "*.log").run(once=True)
    assert kept.messages == ["yes", "now"]


def test_many_files_are_read_into_a_real_spool(tmp_path: Path) -> None:
    """The position of each file is its own: a thousand do not make a frame that no spool holds."""
    logs = tmp_path / "logs"
    logs.mkdir()
    for i in range(1000):
        (logs / f"a-rather-long-name-of-a-file-of-logs-{i:04}.log").write_text(f"line of {i}\n")
    settings = SpoolSettings(tmp_path / "spool", "files")
    spool = Spool(settings)
    builder = EventBuilder(Schema("files", host="h"))
    config = FileConfig((logs / "*.log",))
    FileSource(config, SourceContext("app", builder, spool.appender("app"))).run(once=True)
    assert spool.accepted == 1000
    FileSource(config, SourceContext("app", builder, spool.appender("app"))).run(once=True)
    assert spool.accepted == 1000
    spool.close()
    later = Spool(settings)
    FileSource(config, SourceContext("app", builder, later.appender("app"))).run(once=True)
    assert later.accepted == 0
    assert len(later.appender("app").positions()) == 1000
    later.close()


def test_a_position_that_no_frame_holds_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """It costs the caller an exception, and the books nothing."""
    spool = Spool(SpoolSettings(tmp_path / "spool", "files"))
    with pytest.raises(ValueError, match="too long"):
        spool.appender("app").append([b'{"a":1}'], b"x" * 70_000)
    assert spool.accepted == 0
    assert spool.appender("app").append([b'{"a":1}'], b"x" * 60_000, "part") == 1
    assert spool.appender("app").positions() == {"part": b"x" * 60_000}
    spool.appender("app").append([], b"", "part")
    assert spool.appender("app").positions() == {}
    spool.close()


def test_followed_files_share_few_descriptors(
    tmp_path: Path, following: Callable[[FileSource], None]
) -> None:
    """More files than may be open: every line of each arrives once, in order."""
    names = [f"{i:02}.log" for i in range(30)]
    for name in names:
        (tmp_path / name).write_text(f"{name} 1\n{name} un")
    kept = Kept()
    running = source(kept, tmp_path / "*.log", max_open_files=4)
    following(running)
    until(lambda: len(kept.lines) == 30, lambda: kept.messages)
    for part, ending in ((1, "finished\n"), (2, "3\n")):
        for name in names:
            with (tmp_path / name).open("a") as file:
                file.write(ending if part == 1 else f"{name} {ending}")
        until(lambda part=part: len(kept.lines) == 30 * (part + 1), lambda: kept.messages)  # type: ignore[misc]
        assert len(running._opened) <= 4
    expected = {f"{name} {end}" for name in names for end in ("1", "unfinished", "3")}
    assert set(kept.messages) == expected
    assert [m for m in kept.messages if m.startswith("07")] == ["07.log 1", "07.log unfinished", "07.log 3"]


def test_start_at_the_end_survives_a_restart(tmp_path: Path, following: Callable[[FileSource], None]) -> None:
    """A file that was begun at its end, and got no line, is not read from its start by the next process."""
    (tmp_path / "quiet.log").write_text("old\n")
    (tmp_path / "busy.log").write_text("old\n")
    kept = Kept()
    first = source(kept, tmp_path / "*.log", start_at="end")
    following(first)
    until(lambda: len(kept.places) == 2, lambda: kept.places)
    with (tmp_path / "busy.log").open("a") as file:
        file.write("new\n")
    until(lambda: kept.messages == ["new"], lambda: kept.messages)
    first.stop()
    second = source(kept, tmp_path / "*.log", start_at="end")
    following(second)
    with (tmp_path / "quiet.log").open("a") as file:
        file.write("newer\n")
    until(lambda: len(kept.messages) == 2, lambda: kept.messages)
    assert kept.messages == ["new", "newer"]


def test_an_error_of_a_json_line_is_the_events_error(tmp_path: Path) -> None:
    """Type, message and stack of a foreign line stand where an exception's would, secrets removed."""
    stack = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\nshop.StockError: no tea'
    lines = [
        {"msg": "a", "error": {"type": "E", "message": "password=hunter2", "code": "x7", "seen": 3}},
        {"msg": "b", "exc_info": stack, "level": "error"},
        {"msg": "c", "error": "refused"},
    ]
    (tmp_path / "a.log").write_text("".join(json.dumps(line) + "\n" for line in lines))
    kept = Kept()
    builder = EventBuilder(Schema("files", host="h"), Redactor())
    config = FileConfig((tmp_path / "a.log",))
    FileSource(config, SourceContext("app", builder, kept)).run(once=True)
    first, second, third = (json.loads(line) for line in kept.lines)
    assert first["error"] == {"type": "E", "message": "password=[REDACTED]", "code": "x7"}
    assert first["extra"] == {"error": {"seen": 3}}
    assert second["error"] == {"type": "shop.StockError", "message": "no tea", "stack": stack}
    assert second["level"] == "ERROR"
    assert third["error"] == {"type": "", "message": "refused"}
