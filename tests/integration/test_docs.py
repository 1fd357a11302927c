"""What the documentation shows is true: its programs, settings, commands and queries run as they stand.

Each page is worked through in a directory of its own, in order. A snippet whose first line is a comment with
a file name is written to that file first, as a reader would.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
import yaml

from logferry.shipper.core.filter import parse

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "docs/tutorial.md",
    "docs/agent.md",
    "docs/alerts.md",
    "docs/asyncio.md",
    "docs/dashboards.md",
    "docs/delivery.md",
    "docs/from-filebeat.md",
    "docs/from-filehandler.md",
    "docs/from-loki-logger-handler.md",
    "docs/from-python-logging-loki.md",
    "docs/from-python-logstash-async.md",
    "docs/from-watchtower.md",
    "docs/howto-frameworks.md",
    "docs/local-store.md",
    "docs/operations.md",
    "docs/parsers.md",
    "docs/propagation.md",
    "docs/redaction.md",
    "docs/requests.md",
    "docs/sinks-cloudwatch.md",
    "docs/sinks-elasticsearch.md",
    "docs/sinks-files.md",
    "docs/sinks-http.md",
    "docs/sinks-kafka.md",
    "docs/sinks-loki.md",
    "docs/sinks-otlp.md",
    "docs/sinks-s3.md",
    "docs/sinks-syslog.md",
    "docs/sources.md",
    "docs/tracing.md",
    "docs/transforms.md",
)
TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\.\d+Z?")
NOT_RUN = {"", "text"}  # no language: output, LogQL, layouts on the disk
NOBODY_LISTENS = "http://localhost:9"
HERE = {"console", "file", "local"}  # sinks that need nobody: at the end all is delivered, if there is time

# What the queries on the page about the store are to find, in both halves of it.
SEED = """
import logging, logferry
logferry.configure("logferry.yaml")
logging.getLogger("shop").error("time-out at the till", extra={"duration_ms": 900.0, "order_id": 42})
"""


@dataclass(frozen=True, slots=True)
class Snippet:
    """One fenced block: `language` is empty when none was named."""

    page: str
    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that its first line names, as in `# app.py`."""
        found = re.match(r"# ([\w.]+\.(?:py|yaml))\n", self.text)
        return found[1] if found else None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}\n{self.text}"


def snippets(page: str) -> Iterator[Snippet]:
    language, first, body = None, 0, ""
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        if language is None and line.startswith("```"):
            language, first, body = line[3:].strip(), number + 1, ""
        elif line == "```" and language is not None:
            yield Snippet(page, first, language, body)
            language = None
        elif language is not None:
            body += line + "\n"
    assert language is None, f"{page}:{first}: the block is not closed"


class Reader:
    """Somebody who does what a page says, in a directory of his own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LOGFERRY_")},
            "HOME": str(place),
            "XDG_STATE_HOME": str(place / "state"),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }

    def run(self, command: list[str], about: object) -> str:
        done = subprocess.run(
            command,
            cwd=self.place,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, f"{about}\n→ {done.returncode}\n{done.stdout}\n{done.stderr}"
        # what a program logs as an exception is also on its console; any other one is ours
        logged = sum(str(about).count(text) for text in ("log.exception(", "run.item("))
        assert done.stderr.count("Traceback") <= logged, f"{about}\n{done.stderr}"
        return done.stdout

    def do(self, snippet: Snippet) -> None:
        if snippet.language not in NOT_RUN:
            getattr(self, snippet.language)(snippet)

    def yaml(self, snippet: Snippet) -> None:
        """A part of a configuration is made whole with the least that one needs."""
        settings = yaml.safe_load(snippet.text)
        missing = {"service": "checkout", "sinks": {"out": {"type": "console"}}}
        here = all(sink["type"] in HERE for sink in settings.get("sinks", missing["sinks"]).values())
        missing["shutdown_timeout"] = "60s" if here else "2s"
        rest = {name: value for name, value in missing.items() if name not in settings}
        text = re.sub(r"http://localhost:\d+", NOBODY_LISTENS, snippet.text)
        (self.place / (snippet.file or "logferry.yaml")).write_text(text + (yaml.dump(rest) if rest else ""))
        self.run(["logferry", "check"], snippet)

    def python(self, snippet: Snippet) -> None:
        is_test = "def test_" in snippet.text
        name = snippet.file or f"{'test_' * is_test}snippet_{snippet.line}.py"
        (self.place / name).write_text(snippet.text)
        command = [sys.executable, "-W", "error"]
        command += ["-m", "pytest", "-q", "-p", "no:cacheprovider", name] if is_test else [name]
        self.run(command, snippet)

    def sh(self, snippet: Snippet) -> None:
        for command in snippet.text.splitlines():
            if command.startswith("logferry tail"):
                self.follow(command)
            elif command.startswith("logferry "):
                assert self.run(["sh", "-c", command], f"{snippet}\n{command}").strip()
            else:
                assert command.startswith("pip install "), f"{snippet}: nobody runs {command!r}"

    def console(self, snippet: Snippet) -> None:
        """What follows a command up to the next one is its output on a terminal; … stands for anything."""
        for part in re.split(r"^\$ ", snippet.text, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            output = TIME.sub("TIME", self.on_terminal(command, f"{snippet}\n{command}"))
            pattern = ".*".join(map(re.escape, TIME.sub("TIME", expected).strip().split("…")))
            assert not expected or re.fullmatch(pattern, output.strip()), f"{snippet}\n→ {output}"

    def on_terminal(self, command: str, about: object) -> str:
        """Run a command as people see it, without colours."""
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        environ = {**self.environ, "NO_COLOR": "1"}
        for name in ("COLUMNS", "LINES"):  # set by who runs tests in parallel; the terminal has its own size
            environ.pop(name, None)
        shown = b""
        with subprocess.Popen(
            ["sh", "-c", command], cwd=self.place, env=environ, stdout=its, stderr=subprocess.PIPE, text=True
        ) as running:
            os.close(its)
            with suppress(OSError):  # Linux says that the other end is gone with an error
                while block := os.read(ours, 65536):
                    shown += block
            os.close(ours)
            _, errors = running.communicate(timeout=100)
        assert running.returncode == 0, f"{about}\n→ {running.returncode}\n{shown!r}\n{errors}"
        return shown.decode().replace("\r\n", "\n")

    def sql(self, snippet: Snippet) -> None:
        for query in filter(str.strip, snippet.text.split(";")):
            inside = query.replace("'logs/", f"'{self.place}/logs/")
            with duckdb.connect() as connection:
                found = connection.execute(f"SELECT count(*) FROM ({inside})").fetchone()
            assert found is not None
            assert found[0] > 0, f"{snippet}\n{query} finds nothing"

    def follow(self, command: str) -> None:
        """Log until the follower shows a line; it ends with Ctrl-C."""
        with subprocess.Popen(
            shlex.split(command), cwd=self.place, env=self.environ, stdout=subprocess.PIPE, text=True
        ) as follower:
            try:
                deadline = time.monotonic() + 60
                assert follower.stdout is not None
                while not select.select([follower.stdout], [], [], 0)[0]:
                    assert time.monotonic() < deadline, f"{command} shows nothing"
                    assert follower.poll() is None, f"{command} ended"
                    self.seed()
                assert json.loads(follower.stdout.readline())["level"] == "ERROR"
                follower.send_signal(signal.SIGINT)
                assert follower.wait(30) == 130
            finally:
                follower.kill()

    def seed(self) -> None:
        self.run([sys.executable, "-c", SEED], "seed")


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_works(page: str, tmp_path: Path) -> None:
    """Every program, configuration, command and query of the page does what the page says."""
    reader = Reader(tmp_path)
    seen = 0
    for snippet in snippets(page):
        reader.do(snippet)
        if page == "docs/local-store.md" and not seen:  # its first snippet configures the store
            reader.seed()
            compact = [sys.executable, "-m", "logferry.shipper.store.compact", "logs", "--now"]
            reader.run(compact, "compaction")
            reader.seed()
        seen += snippet.language not in NOT_RUN
    assert seen


def test_the_tutorial_keeps_its_promises(tmp_path: Path) -> None:
    """The password is not there, the traceback is, as one event, and the books balance."""
    reader = Reader(tmp_path)
    for snippet in snippets("docs/tutorial.md"):
        reader.do(snippet)
    events = [json.loads(line) for line in reader.run(["logferry", "query"], "query").splitlines()]
    assert "correct horse" not in json.dumps(events)
    (failed,) = (event for event in events if event["level"] == "ERROR")
    assert failed["error"]["type"] == "ZeroDivisionError"
    (account,) = map(json.loads, reader.run(["logferry", "audit"], "audit").splitlines())
    assert account["accepted"] == account["delivered"] == len(events)


def rows(page: str, heading: str) -> list[str]:
    """The first cells of the table whose first row begins with `heading`."""
    text = (ROOT / page).read_text()
    table = text[text.index(f"\n| {heading} |") :].split("\n\n")[0].strip().splitlines()
    return [line.split(" | ")[0].removeprefix("| ") for line in table[2:]]


def test_the_filters_of_the_table_are_filters() -> None:
    """Everything that the page about the store says can be written is understood."""
    written = [
        text for cell in rows("docs/local-store.md", "write") for text in re.findall(r"`([^`]+)`", cell)
    ]
    assert len(written) > 20
    for text in written:
        if "…" not in text:
            parse(text)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_targets_that_are_named_exist(page: str) -> None:
    """`make x` stands in the documentation only where the Makefile knows x."""
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / page).read_text()
    named = re.findall(r"(?:`|^ +)make ([a-z-]+)", text, re.MULTILINE)
    assert set(named) <= known


@pytest.mark.parametrize("page", [*PAGES, "docs/architecture.md", "docs/event.md", "docs/configuration.md"])
def test_links_between_pages_lead_somewhere(page: str) -> None:
    """Every relative link names a file or directory that is there."""
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"
