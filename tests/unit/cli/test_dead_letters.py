"""`logferry dead-letter`: which letters are meant, and edited ones from an editor, options and files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from logferry.shipper.cli.main import cli
from logferry.shipper.deadletter import DeadLetters
from logferry.shipper.replay import Journal
from logferry.shipper.spool.ledger import read_ledger

SPOOL = "ab" * 16
A, B = f"{SPOOL}-1", f"{SPOOL}-2"


def event(message: str, **fields: Any) -> bytes:
    head = {"timestamp": "2026-01-02T03:04:05.000000Z", "level": "INFO", "service": "shop"}
    return json.dumps({**head, "trace_id": "", "span_id": "", "message": message, **fields}).encode()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two sinks, two letters at the first, one at the second, one at a sink that is gone."""
    (tmp_path / "logferry.yaml").write_text(
        "service: shop\n"
        "spool: {path: spool}\n"
        "schema: {fields: {order_id: integer}}\n"
        "sinks: {one: {type: file, path: one.ndjson}, two: {type: file, path: two.ndjson}}\n"
    )
    letters = tmp_path / "spool" / "shop" / "dead-letters"
    DeadLetters(letters, "one", 1 << 20).add([(A, "too old", event("a"))], 0.0)
    DeadLetters(letters, "one", 1 << 20).add([(B, "mapping: no integer", event("b", order_id="x"))], 9e8)
    DeadLetters(letters, "two", 1 << 20).add([(A, "too long", event("a"))], 0.0)
    DeadLetters(letters, "gone", 1 << 20).add([(A, "no", event("a"))], 0.0)
    return tmp_path


@pytest.fixture
def run(place: Path) -> Callable[..., Result]:
    def call(*args: object, **options: Any) -> Result:
        words = ["dead-letter", *(str(arg) for arg in args), "-c", str(place / "logferry.yaml")]
        return CliRunner().invoke(cli, words, **options)

    return call


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def delivered(place: Path, sink: str) -> list[dict[str, Any]]:
    path = place / f"{sink}.ndjson"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), [("one", A), ("one", B), ("two", A), ("gone", A)]),
        (("--sink", "two"), [("two", A)]),
        (("--sink", "two", "--sink", "gone"), [("two", A), ("gone", A)]),
        (("--reason", "TOO"), [("one", A), ("two", A)]),
        (("--since", "1990-01-01"), [("one", B)]),
        (("--match", "message=b"), [("one", B)]),
        ((A, "--reason", "long"), [("two", A)]),
        ((B,), [("one", B)]),
    ],
)
def test_which_letters_are_meant(
    run: Callable[..., Result], words: tuple[str, ...], expected: list[tuple[str, str]]
) -> None:
    """Ids and filters, each narrower than the last; sinks that are gone are looked at too."""
    assert [(row["sink"], row["id"]) for row in rows(run("ls", *words))] == expected


@pytest.mark.parametrize("words", [(), (A, "--all"), ("--sink", "x"), ("--match", "("), ("--since", "x")])
def test_a_replay_is_never_of_all_by_mistake(run: Callable[..., Result], words: tuple[str, ...]) -> None:
    """Without a word nothing is sent; what makes no sense is a mistake of the command line."""
    assert run("replay", *words).exit_code == 2


def test_replay_by_filter(place: Path, run: Callable[..., Result]) -> None:
    """What is meant goes to its sinks, and nothing else; of a sink that is gone it is said."""
    result = run("replay", "--reason", "too")
    assert result.exit_code == 0, result.output
    assert [(row["sink"], row["replayed"]) for row in rows(result)] == [("one", 1), ("two", 1)]
    assert [e["message"] for e in delivered(place, "two")] == ["a"]
    result = run("replay", "--all")
    assert result.exit_code == 1
    assert "gone is not among the sinks" in result.stderr
    assert [e["message"] for e in delivered(place, "one")] == ["a", "b"]


def test_what_a_killed_replay_left_to_count_is_counted(place: Path, run: Callable[..., Result]) -> None:
    """Its letters were taken, the last of them, and perhaps removed: no letter is left to be sent again."""
    box = DeadLetters(place / "spool" / "shop" / "dead-letters", "one", 1 << 20)
    journal = Journal(box)
    journal.taken([A, B])
    journal._let_go()
    assert [row["sink"] for row in rows(run("ls", "--sink", "one"))] == []
    assert run("replay", "--sink", "one").exit_code == 0
    assert read_ledger(place / "spool" / "shop").sinks["one"].replayed == 2
    assert not list(box.read())
    assert not delivered(place, "one")


def test_set_and_unset(place: Path, run: Callable[..., Result]) -> None:
    """The edited event is delivered, with the types of the schema and without the secret that was typed."""
    words = ["--set", "order_id=42", "--set", "password=hunter2", "--unset", "span_id"]
    result = run("edit", B, *words)
    assert result.exit_code == 0, result.output
    [found] = delivered(place, "one")
    assert (found["order_id"], found["span_id"]) == (42, "")
    assert "hunter2" not in json.dumps(found)
    assert "redacted: password" in result.stderr
    assert [row["id"] for row in rows(run("ls", "--sink", "one"))] == [A]


def test_what_is_wrong_changes_nothing(place: Path, run: Callable[..., Result]) -> None:
    """One mistake in one letter, and none is kept or sent; the exit code is 2."""
    before = run("show", "--all").stdout
    result = run("edit", "--sink", "one", "--set", "message=c")  # b has an order id that is no integer
    assert result.exit_code == 2
    assert f'{B} (one): order_id: "x" is no integer' in result.stderr
    assert run("edit", B, "--set", "order_id").exit_code == 2
    assert run("show", "--all").stdout == before
    assert delivered(place, "one") == []


def test_lines_of_show_come_back_through_a_file(place: Path, run: Callable[..., Result]) -> None:
    """`show | … | edit --file -` is the way for scripts."""
    lines = run("show", "--sink", "one").stdout.replace('"order_id": "x"', '"order_id": 1')
    result = run("edit", "--file", "-", "--keep", input=lines)
    assert result.exit_code == 0, result.output
    assert delivered(place, "one") == []
    assert rows(run("show", B))[0]["event"]["order_id"] == 1
    assert run("edit", "--file", "-", input=lines.replace(B, f"{SPOOL}-9")).exit_code == 2
    alone = json.dumps({**json.loads(event("alone")), "order_id": 2}, indent=1)
    assert run("edit", B, "--file", "-", input=alone).exit_code == 0
    assert [(e["message"], e["order_id"]) for e in delivered(place, "one")] == [("alone", 2)]


EDITOR = """
import re, sys
path = sys.argv[-1]
text = open(path).read()
calls = open({calls!r}, "a")
calls.write(text + "=====\\n")
{action}
open(path, "w").write(text)
"""


@pytest.fixture
def editor(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Make a program the editor: `action` changes `text`; returns what it was shown."""

    def make(action: str) -> Path:
        calls, script = place / "calls", place / "editor.py"
        script.write_text(EDITOR.format(calls=str(calls), action=action))
        monkeypatch.delenv("VISUAL", raising=False)
        monkeypatch.setenv("EDITOR", f"{sys.executable} {script}")
        return calls

    return make


def test_an_editor_with_a_mistake_that_is_mended(
    place: Path, run: Callable[..., Result], editor: Callable[[str], Path]
) -> None:
    """The mistake is shown in its block; what is untouched in the editor is not sent."""
    shown = editor("text = text.replace('\"x\"', '7') if '# ✗' in text else text.replace('\"b\"', '\"B\"')")
    result = run("edit", "--all", "--sink", "one")
    assert result.exit_code == 0, result.output
    second = shown.read_text().split("=====\n")[1]
    assert f'# {B} one: mapping: no integer\n# ✗ order_id: "x" is no integer\n' in second
    assert [(e["message"], e["order_id"]) for e in delivered(place, "one")] == [("B", 7)]
    assert [row["id"] for row in rows(run("ls", "--sink", "one"))] == [A]


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("", 1),
        ("text = ''", 1),
        ("text = text.replace('\"b\"', '')", 2),
        ("text = 'x'", 2),
        ("sys.exit(1)", 3),
    ],
)
def test_an_editor_that_changes_nothing_good(
    place: Path, run: Callable[..., Result], editor: Callable[[str], Path], action: str, code: int
) -> None:
    """Left as it is, emptied, wrong to the end, or ended by a failure: nothing is changed or sent."""
    editor(action)
    before = run("show", "--all").stdout
    assert run("edit", "--sink", "one").exit_code == code
    assert run("show", "--all").stdout == before
    assert delivered(place, "one") == []
