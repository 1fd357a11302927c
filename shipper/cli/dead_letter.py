"""`logferry dead-letter`: what sinks refused for good, with the reasons, and how to send it again."""

from __future__ import annotations

import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import click
import orjson

from .codes import OK, PROBLEMS, USAGE
from .common import config_option, fail, load_config
from .output import stdout, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..config import Config
    from ..deadletter import DeadLetter, DeadLetters
    from ..plan import Plan, SinkSpec
    from ..ports import Sink

__all__ = ["dead_letter", "replay_id"]

_TRIES: Final = 5


def _plan(config_path: str | None) -> tuple[Config, Plan]:
    from ..config.plan import plan

    config = load_config(config_path)
    return config, plan(config)


def _boxes(made: Plan, sink: str | None) -> Iterator[tuple[SinkSpec, DeadLetters]]:
    from ..deadletter import DeadLetters
    from ..pipeline import dead_letter_directory

    if sink is not None and sink not in {spec.name for spec in made.sinks}:
        fail(f"there is no sink {sink!r}; there are: {', '.join(spec.name for spec in made.sinks)}", USAGE)
    for spec in made.sinks:
        if sink in {None, spec.name}:
            box = DeadLetters(dead_letter_directory(made.spool), spec.name, made.dead_letters_max_bytes)
            yield spec, box


sink_option = click.option("--sink", help="Of this sink only.")


@click.group("dead-letter", short_help="List, show and replay what sinks refused.")
def dead_letter() -> None:
    """Look at what sinks refused for good, and send it again."""


@dead_letter.command("ls")
@config_option
@sink_option
def ls(config_path: str | None, sink: str | None) -> None:
    """List the dead letters."""
    _, made = _plan(config_path)
    out = stdout()
    rows: Iterator[dict[str, Any]] = (
        {
            "id": letter.id,
            "sink": letter.sink,
            "at": letter.at,
            "reason": letter.reason,
            "message": _message(letter),
        }
        for _, box in _boxes(made, sink)
        for letter in box.read()
    )
    if not out.rows(rows) and out.people:
        warn("no dead letters")


@dead_letter.command("show")
@click.argument("letter_id", metavar="ID")
@config_option
@sink_option
def show(letter_id: str, config_path: str | None, sink: str | None) -> None:
    """Show one dead letter, its event included."""
    _, made = _plan(config_path)
    out = stdout()
    found = [letter for _, box in _boxes(made, sink) if (letter := box.get(letter_id))]
    for letter in found:
        if not out.people:
            out.json(letter.encode().rstrip())
            continue
        out.line(f"{letter.sink}: {letter.reason}", "red")
        out.line(f"at {letter.at}")
        try:
            out.line(orjson.dumps(orjson.loads(letter.event), option=orjson.OPT_INDENT_2).decode())
        except orjson.JSONDecodeError:
            out.line(repr(letter.event))
    if not found:
        fail(f"no dead letter has the id {letter_id}", PROBLEMS)


@dead_letter.command("replay")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@config_option
@sink_option
@click.option("--all", "everything", is_flag=True, help="All of them.")
def replay(ids: tuple[str, ...], config_path: str | None, sink: str | None, everything: bool) -> None:  # noqa: FBT001 - click's signature
    """Send dead letters again to the sinks that refused them; what is taken is removed.

    Exits with 1 when a letter was refused again, or could not be sent. In the books the record stays
    dead-lettered, and is counted as replayed beside it: `logferry audit` shows both.
    """
    if bool(ids) == everything:
        fail("name the ids, or --all", USAGE)
    from ..spool.ledger import note_replayed

    _, made = _plan(config_path)
    out = stdout()
    left = 0
    seen: set[str] = set()
    for spec, box in _boxes(made, sink):
        letters = [letter for letter in box.read() if everything or letter.id in ids]
        seen |= {letter.id for letter in letters}
        if not letters:
            continue
        taken, refused = _replay(made, spec, letters)
        box.remove(taken)
        if taken and box.path is not None:
            note_replayed(box.path.parent.parent, spec.name, len(taken))
        left += len(letters) - len(taken)
        row = {"sink": spec.name, "replayed": len(taken), "left": len(letters) - len(taken)}
        if out.people:
            out.line(f"{spec.name}: {len(taken):,} delivered, {row['left']:,} left")
            for letter_id, reason in refused.items():
                warn(f"{letter_id}: {reason}")
        else:
            out.json({**row, "refused": refused})
    missing = [letter_id for letter_id in ids if letter_id not in seen]
    for letter_id in missing:
        warn(f"no dead letter has the id {letter_id}")
    raise SystemExit(PROBLEMS if left or missing else OK)


def _replay(made: Plan, spec: SinkSpec, letters: list[DeadLetter]) -> tuple[set[str], dict[str, str]]:
    """Send letters one by one; return the ids that were taken, and the reasons of the others."""
    from ..ports import SinkContext

    sink = spec.kind.build(spec.options, SinkContext(spec.name, made.schema, made.spool.path))
    taken: set[str] = set()
    refused: dict[str, str] = {}
    try:
        for letter in letters:
            reason = _send(sink, letter)
            if reason:
                refused[letter.id] = reason
            else:
                taken.add(letter.id)
    finally:
        sink.close()
    return taken, refused


def _send(sink: Sink, letter: DeadLetter) -> str:
    """Send one letter; return the reason when it was not taken.

    It goes out under an id of its own, made from the old one: a store that knows how far it has come in a
    spool would take the old id for a repetition. Replayed twice, it still has one id.
    """
    from ..model import Batch, Delivered, Partial, Rejected, Retry, Split

    spool = replay_id(letter.id).partition("-")[0]
    for attempt in range(1, _TRIES + 1):
        verdict: object = sink.send(Batch(spool, (1,), (letter.event,), attempt))
        if isinstance(verdict, Partial):
            verdict = verdict.refused.get(0, Delivered())
        if isinstance(verdict, Delivered):
            return ""
        if isinstance(verdict, Rejected | Split):
            return verdict.reason
        if isinstance(verdict, Retry):
            if verdict.pause or attempt == _TRIES:
                return verdict.reason
            time.sleep(min(verdict.after or 0.2 * 2**attempt, 10.0))
    return "it was not taken"


def replay_id(letter_id: str) -> str:
    """Return the id under which a replayed letter is delivered."""
    return f"{sha256(f'replay of {letter_id}'.encode()).digest()[:16].hex()}-1"


def _message(letter: DeadLetter) -> str:
    try:
        return str(orjson.loads(letter.event).get("message", ""))
    except (orjson.JSONDecodeError, AttributeError):
        return ""
