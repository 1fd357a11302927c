"""The commands, in process: what they print to people and to pipes, and their exit codes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from logferry.shipper.cli import output
from logferry.shipper.cli.main import COMMANDS, cli
from logferry.shipper.cli.query import as_filter
from logferry.shipper.cli.reference import reference
from logferry.shipper.cli.trace import trace_id_of
from logferry.shipper.deadletter import DeadLetters
from logferry.shipper.spool import Spool, SpoolSettings

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run() -> Callable[..., Result]:
    """Call the command line; output is a pipe."""

    def call(*args: object) -> Result:
        return CliRunner().invoke(cli, [str(arg) for arg in args])

    return call


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make standard output a terminal."""

    def terminal() -> output.Output:
        return output.Output(people=True, colour=True, stream=sys.stdout)

    for name in COMMANDS:
        module = COMMANDS[name][0].partition(":")[0]
        monkeypatch.setattr(f"logferry.shipper.cli.{module}.stdout", terminal, raising=False)
    monkeypatch.setattr("logferry.shipper.cli.common.stdout", terminal)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with a source of three lines and a local store."""
    (tmp_path / "app.log").write_text("one\n2026-01-02 03:04:05 ERROR two\nthree\n")
    path = tmp_path / "logferry.yaml"
    path.write_text(
        "service: shop\n"
        "spool: {path: spool}\n"
        "sinks: {here: {type: local, path: logs, compact: 'off'}}\n"
        "sources: {app: {type: file, include: [app.log]}}\n"
    )
    return path


@pytest.fixture
def shipped(config: Path, run: Callable[..., Result]) -> Path:
    """The configuration after `run --once`."""
    result = run("run", "--once", "-c", config)
    assert result.exit_code == 0, result.output
    return config


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_table_of_commands_is_true() -> None:
    """What `--help` says without importing the commands is what they say of themselves."""
    context = click.Context(cli)
    for name, (_, text) in COMMANDS.items():
        command = cli.get_command(context, name)
        assert command is not None
        assert (command.name, command.short_help) == (name, text)


def test_help_is_there_at_once() -> None:
    """`logferry --help` imports none of YAML, DuckDB, orjson and the pipeline."""
    code = (
        "import sys; from logferry.shipper.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit:\n"
        "    print(sorted({'yaml', 'duckdb', 'orjson', 'logferry.shipper.pipeline'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.rstrip().endswith("[]")
    assert "Exit codes:" in done.stdout


def test_the_committed_reference_is_the_generated_one() -> None:
    """docs/cli.md is what the commands say (mend: python -m logferry.shipper.cli.reference > docs/cli.md)."""
    assert (ROOT / "docs" / "cli.md").read_text() == reference()


def test_a_misspelt_command_is_guessed(run: Callable[..., Result]) -> None:
    """A wrong command exits with 2 and says which was meant."""
    result = run("querry")
    assert result.exit_code == 2
    assert "did you mean query?" in result.output


def test_init_writes_a_file_that_checks(tmp_path: Path, run: Callable[..., Result]) -> None:
    """`init` writes a good file with the editors' line, and never replaces one unasked."""
    path = tmp_path / "logferry.yaml"
    assert run("init", path, "--service", "shop").exit_code == 0
    first = path.read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=file:///")
    assert Path(first.partition("file://")[2]).is_file()
    assert run("check", "-c", path).exit_code == 0
    assert run("init", path).exit_code == 2
    assert run("init", path, "--force").exit_code == 0


def test_check_tells_every_mistake(tmp_path: Path, run: Callable[..., Result]) -> None:
    """On a pipe each mistake is a JSON line with its place; the exit code is 2."""
    path = tmp_path / "logferry.yaml"
    path.write_text("servce: x\nsinks: {here: {type: loki}}\n")
    result = run("check", "-c", path)
    assert result.exit_code == 2
    assert [(row["line"], row["path"]) for row in rows(result)] == [(1, ""), (1, "servce"), (2, "sinks.here")]


@pytest.mark.usefixtures("people")
def test_check_shows_people_the_caret(tmp_path: Path, run: Callable[..., Result]) -> None:
    """On a terminal the source line stands under the message, with a caret under the key."""
    path = tmp_path / "logferry.yaml"
    path.write_text("service: x\nspol: memory\nsinks: {here: {type: memory}}\n")
    result = run("check", "-c", path)
    assert result.exit_code == 2
    assert "spol: unknown key; did you mean spool?\n  2 | spol: ***\n      ^\n" in result.stderr
    assert "1 mistake\n" in result.stderr


def test_check_connects(tmp_path: Path, run: Callable[..., Result]) -> None:
    """`--connect` asks each sink; one that cannot be used makes the exit code 1."""
    path = tmp_path / "logferry.yaml"
    path.write_text(
        "service: x\nspool: memory\nsinks: {a: {type: memory}, b: {type: loki, url: 'http://127.0.0.1:1'}}\n"
    )
    result = run("check", "--connect", "-c", path)
    assert result.exit_code == 1
    assert [(row["sink"], row["ok"]) for row in rows(result)] == [("a", True), ("b", False)]


def test_run_once_prints_the_account(shipped: Path, run: Callable[..., Result]) -> None:
    """After a run everything is delivered; a second run finds nothing new; the audit agrees."""
    again = run("run", "--once", "-c", shipped)
    assert [(row["accepted"], row["pending"]) for row in rows(again)] == [(0, 0)]
    audit = run("audit", "-c", shipped)
    assert audit.exit_code == 0
    assert [(row["sink"], row["accepted"], row["delivered"], row["unaccounted"]) for row in rows(audit)] == [
        ("here", 3, 3, 0)
    ]


def test_run_once_without_its_files_fails(config: Path, run: Callable[..., Result]) -> None:
    """A source that found nothing to read is said, and the exit code is 1."""
    (config.parent / "app.log").unlink()
    result = run("run", "--once", "-c", config)
    assert result.exit_code == 1
    assert "no such file" in result.stderr.lower()


def test_query_trace_and_where(shipped: Path, run: Callable[..., Result]) -> None:
    """Words, limits, formats and SQL find what was shipped; `where` tells one event's fate."""
    found = rows(run("query", "level=ERROR", "-c", shipped))
    assert [row["message"] for row in found] == ["two"]
    assert run("query", "nothing-like-it", "-c", shipped).exit_code == 1
    assert run("query", "(level=ERROR", "-c", shipped).exit_code == 2
    assert run("query", "--since", "never", "-c", shipped).exit_code == 2
    assert len(rows(run("query", "--limit", 2, "-c", shipped))) == 2
    sql = "SELECT level, count(*) AS n FROM events GROUP BY 1 ORDER BY 1"
    assert rows(run("query", "--sql", sql, "-c", shipped)) == [
        {"level": "ERROR", "n": 1},
        {"level": "INFO", "n": 2},
    ]
    assert run("query", "--sql", "DROP TABLE x", "-c", shipped).exit_code == 2
    csv = run("query", "level=ERROR", "--format", "csv", "-c", shipped).stdout.splitlines()
    assert "message" in csv[0].split(",")
    assert len(csv) == 2
    where = run("where", found[0]["event_id"], "-c", shipped)
    assert (where.exit_code, rows(where)[0]["state"]) == (0, "delivered")
    assert rows(run("where", "0" * 32 + "-1", "-c", shipped))[0]["state"] == "unknown"
    assert run("where", "nonsense", "-c", shipped).exit_code == 2
    assert run("trace", "f" * 32, "-c", shipped).exit_code == 1


@pytest.mark.usefixtures("people")
def test_people_get_lines_and_tables(shipped: Path, run: Callable[..., Result]) -> None:
    """On a terminal events are lines with the newest last, and books are aligned tables."""
    lines = run("query", "-c", shipped).stdout.splitlines()
    assert len(lines) == 3
    assert "ERROR" in lines[0]
    assert " two " in lines[0]
    audit = run("audit", "-c", shipped).stdout
    assert "every record is accounted for" in audit
    assert "service  sink" in click.unstyle(audit)


def test_no_store_yet(config: Path, run: Callable[..., Result]) -> None:
    """Before anything was delivered the commands say so, with exit code 3."""
    result = run("query", "-c", config)
    assert result.exit_code == 3
    assert "nothing has been delivered" in result.stderr


def test_whoever_waits_may_come_first(config: Path, run: Callable[..., Result], tmp_path: Path) -> None:
    """`tail` (and `ui`) make the configuration's store, and wait; a store that is named must be there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "logferry", "tail", "-c", str(config)], stdout=subprocess.PIPE, text=True
    )
    try:
        store = tmp_path / "logs" / "fresh"
        deadline = time.monotonic() + 60
        while not store.is_dir():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.kill()
        process.communicate()
    assert run("tail", "--store", tmp_path / "nowhere").exit_code == 3


def test_nothing_found_says_why(shipped: Path, run: Callable[..., Result]) -> None:
    """A field that is called otherwise is named; a time that ends before it begins is a mistake."""
    result = run("query", "-c", shipped, "status=500")
    assert result.exit_code == 1
    assert "`status` is no field of the schema; `status_code` is" in result.stderr
    assert "the time stands beside the filter" in run("query", "-c", shipped, "since=1h").stderr
    assert "`severity`" in run("stats", "-c", shipped, "severity=ERROR").stderr
    result = run("query", "-c", shipped, "--since", "1h", "--until", "2h")
    assert result.exit_code == 2
    assert "ends before it begins" in result.stderr


def test_spool_commands(config: Path, run: Callable[..., Result]) -> None:
    """A spool with records that nobody took is listed, verified and audited, and `where` says pending."""
    spool = Spool(SpoolSettings(config.parent / "spool", "shop"))
    spool.cursor("here").account()
    for number in range(3):
        assert spool.offer(json.dumps({"message": str(number), "level": "INFO"}).encode())
    spool.cursor("here").commit(1, _delivered(1))
    listed = rows(run("spool", "ls", "-c", config))
    assert [(row["service"], row["state"], row["events"], row["pending"]) for row in listed] == [
        ("shop", "alive", 3, {"here": 2})
    ]
    verified = run("spool", "verify", "-c", config)
    assert (verified.exit_code, rows(verified)[0]["events"]) == (0, 3)
    where = run("where", f"{spool.id}-3", "-c", config)
    assert (where.exit_code, rows(where)[0]) == (
        1,
        {"sink": "here", "state": "pending", "detail": "1 events before it"},
    )
    assert rows(run("where", f"{spool.id}-1", "-c", config))[0]["state"] == "delivered"
    assert rows(run("audit", "-c", config))[0]["pending"] == 2
    spool.close()


def test_where_says_what_was_filtered(config: Path, run: Callable[..., Result]) -> None:
    """A record below a sink's own level was filtered there, not passed somehow."""
    text = config.read_text().replace(
        "sinks: {", "sinks: {loud: {type: file, path: l.ndjson, min_level: ERROR}, "
    )
    config.write_text(text)
    run("run", "--once", "-c", config)
    events = {row["level"]: row["event_id"] for row in rows(run("query", "-c", config))}
    quiet = run("where", events["INFO"], "-c", config)
    assert quiet.exit_code == 1
    assert {row["sink"]: (row["state"], row["detail"]) for row in rows(quiet)} == {
        "here": ("delivered", "it is in the store"),
        "loud": ("filtered", "INFO is below this sink's min_level ERROR"),
    }
    told = rows(run("where", events["ERROR"], "-c", config))
    assert [row["sink"] for row in told if row["state"] in {"delivered", "passed"}] == ["loud", "here"]


def test_where_says_what_was_dropped(config: Path, run: Callable[..., Result]) -> None:
    """What a full spool gave up is dropped with the reason, before and after the sink has passed it."""
    spool = Spool(SpoolSettings(config.parent / "spool", "shop", max_bytes=1 << 20))
    cursor = spool.cursor("here")
    cursor.account()
    line = json.dumps({"message": "x" * 900, "level": "INFO"}).encode()
    for _ in range(3000):
        assert spool.offer(line)
    expected = ("dropped", "full: the spool had no room and gave up its oldest records")
    first = rows(run("where", f"{spool.id}-1", "-c", config))[0]
    assert (first["state"], first["detail"]) == expected
    assert rows(run("where", f"{spool.id}-3000", "-c", config))[0]["state"] == "pending"
    batch = cursor.read(10_000, 10 << 20)
    assert batch is not None
    cursor.commit(batch.sequences[-1], _delivered(len(batch.sequences)))
    first = rows(run("where", f"{spool.id}-1", "-c", config))[0]
    assert (first["state"], first["detail"]) == expected
    last = rows(run("where", f"{spool.id}-{batch.sequences[-1]}", "-c", config))[0]
    assert last["state"] == "delivered"
    spool.close()


def _delivered(count: int) -> Any:
    from logferry.shipper.ports import Outcome

    return Outcome(delivered=count)


def test_dead_letters_are_listed_shown_and_replayed(config: Path, run: Callable[..., Result]) -> None:
    """A dead letter is seen with its reason, sent again as a new event, and gone when it was taken."""
    spool = "ab" * 16
    box = DeadLetters(config.parent / "spool" / "shop" / "dead-letters", "here", 1 << 20)
    lines = [
        json.dumps(
            {"timestamp": "2026-01-02T03:04:05.000000Z", "level": "INFO", "service": "shop", "message": m}
        )
        for m in ("a", "b")
    ]
    box.add([(f"{spool}-{i}", "too odd", line.encode()) for i, line in enumerate(lines, 1)], time.time())
    listed = rows(run("dead-letter", "ls", "-c", config))
    assert [(row["id"], row["reason"], row["message"]) for row in listed] == [
        (f"{spool}-1", "too odd", "a"),
        (f"{spool}-2", "too odd", "b"),
    ]
    assert rows(run("dead-letter", "show", f"{spool}-1", "-c", config))[0]["event"]["message"] == "a"
    assert rows(run("where", f"{spool}-1", "-c", config))[0]["detail"] == "too odd"
    assert run("dead-letter", "show", "nope", "-c", config).exit_code == 1
    assert run("dead-letter", "replay", "-c", config).exit_code == 2
    assert run("dead-letter", "replay", "nope", "-c", config).exit_code == 1
    assert run("dead-letter", "replay", f"{spool}-1", "-c", config).exit_code == 0
    assert [letter.id for letter in box.read()] == [f"{spool}-2"]
    assert run("dead-letter", "replay", "--all", "-c", config).exit_code == 0
    assert list(box.read()) == []
    stored = rows(run("query", "-c", config))
    assert {row["message"] for row in stored} == {"a", "b"}
    told = rows(run("where", f"{spool}-1", "-c", config))[0]
    assert (told["state"], told["detail"]) == ("delivered", "it is in the store")


def test_a_replay_is_counted_beside_the_identity(config: Path, run: Callable[..., Result]) -> None:
    """The record stays dead-lettered in the books, its later delivery is said beside, and all balances."""
    from logferry.shipper.ports import Outcome

    spool = Spool(SpoolSettings(config.parent / "spool", "shop"))
    cursor = spool.cursor("here")
    cursor.account()
    lines = [
        json.dumps({"timestamp": "2026-01-02T03:04:05.0Z", "level": "INFO", "message": m}).encode()
        for m in ("a", "b", "c")
    ]
    for line in lines:
        assert spool.offer(line)
    cursor.read(10, 1 << 20)
    box = DeadLetters(config.parent / "spool" / "shop" / "dead-letters", "here", 1 << 20)
    box.add([(f"{spool.id}-{i}", "too odd", lines[i - 1]) for i in (1, 2)], time.time())
    cursor.commit(3, Outcome(delivered=1, dead_lettered=2))
    for replayed in (1, 2):
        assert run("dead-letter", "replay", f"{spool.id}-{replayed}", "-c", config).exit_code == 0
        audit = run("audit", "-c", config)
        [account] = rows(audit)
        assert audit.exit_code == 0
        assert (account["accepted"], account["delivered"], account["dead_lettered"]) == (3, 1, 2)
        assert (account["replayed"], account["unaccounted"]) == (replayed, 0)
    spool.close()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, run: Callable[..., Result]) -> None:
    """Each shell's script is printed."""
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_LOGFERRY_COMPLETE" in result.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["level=ERROR", "service=x"], "level=ERROR service=x"),
        (["time out"], '"time out"'),
        (["message=it broke"], 'message="it broke"'),
        (["level=ERROR service=x"], "level=ERROR service=x"),
        (['"a b"', "c"], '"a b" c'),
        (["a OR b"], "a OR b"),
        (["level=ERROR OR refused"], "level=ERROR OR refused"),
        ([], ""),
    ],
)
def test_what_the_shell_unquoted_is_quoted_again(words: list[str], expected: str) -> None:
    """Arguments with spaces are phrases, unless they are a filter of their own."""
    assert as_filter(words) == expected


def test_what_is_pasted_becomes_a_trace_id() -> None:
    """A traceparent header gives its trace id."""
    assert trace_id_of(f"00-{'a' * 32}-{'b' * 16}-01") == "a" * 32
    assert trace_id_of(" abc ") == "abc"


def test_what_is_shown_can_be_copied_into_a_query() -> None:
    """Fields stand as the filter takes them, numbers without separators."""
    assert "order_id=1042 ok=true" in output.event_line(
        {"message": "m", "order_id": 1042, "ok": True}, colour=False
    )


def test_log_lines_do_not_steer_the_terminal() -> None:
    """Escape sequences and direction marks in an event are shown, not sent."""
    line = output.event_line({"message": "\x1b[2Jx\u202e\nnext", "level": "\x1b]0;t\x07"}, colour=False)
    assert not {"\x1b", "\u202e", "\n", "\x07"} & set(line)
    assert "\\x1b[2Jx" in line


def test_fish_shows_whole_help_texts(run: Callable[..., Result]) -> None:
    """click splits its answer at every comma, and our texts have some."""
    assert 'string split --max 1 "," $completion' in run("completion", "fish").stdout


@pytest.mark.parametrize(("rows", "pager", "wanted"), [(10, "", True), (60, "", False), (10, "cat", False)])
def test_what_is_longer_than_the_terminal_goes_through_the_pager(
    tmp_path: Path, *, rows: int, pager: str, wanted: bool
) -> None:
    """Only then, only on a terminal, and never into a pager that is none; what is written is the same."""
    shown = tmp_path / "shown"
    program = tmp_path / "pager.py"
    program.write_text(f"import sys, pathlib; pathlib.Path({str(shown)!r}).write_text(sys.stdin.read())")
    text = "".join(f"line {number}\n" for number in range(30))
    code = f"import sys; from logferry.shipper.cli.pager import paged; sys.exit(3 if paged({text!r}) else 4)"
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
        asked = {"LOGFERRY_PAGER": pager or f"{sys.executable} {program}"}
        environ = {name: value for name, value in os.environ.items() if name not in {"LINES", "COLUMNS"}}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, stdin=theirs, stdout=theirs, env=environ | asked, check=False)
        piped = subprocess.run(command, stdout=subprocess.PIPE, env=environ | asked, check=False)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == (3 if wanted else 4)
    assert (shown.read_text() if wanted else shown.exists()) == (text if wanted else False)
    assert piped.returncode == 4
