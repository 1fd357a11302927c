"""`logferry dead-letter`: what sinks refused for good, with the reasons, and how to send it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from .codes import OK, PROBLEMS, USAGE
from .common import fail
from .editing import Changed, Mistakes, from_file, from_options, in_editor
from .letters import Chosen, choosing, event_of, find
from .output import stdout, warn
from .resend import missing, send_again

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...handlers.record import EventBuilder
    from ..deadletter import DeadLetter

__all__ = ["dead_letter"]


@click.group("dead-letter", short_help="List, show, edit and replay what sinks refused.")
def dead_letter() -> None:
    """Look at what sinks refused for good, mend it, and send it again.

    Letters are named by their ids, by filters, or both. A letter that was on its way when a replay was killed
    is `in doubt`: it is still here, and the sink may have it already.
    """


@dead_letter.command("ls")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@choosing
def ls(config_path: str | None, **said: Any) -> None:
    """List the dead letters, all of them or those that are meant."""
    _, boxes = find(config_path, Chosen(**said))
    out = stdout()
    rows: Iterator[dict[str, Any]] = (
        {
            "id": letter.id,
            "sink": box.name,
            "at": letter.at,
            "state": box.state(letter),
            "reason": letter.reason,
            "message": str(event_of(letter).get("message", "")),
        }
        for box in boxes
        for letter in box.chosen
    )
    if not out.rows(rows) and out.people:
        warn("no dead letters")


@dead_letter.command("show")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@choosing
def show(config_path: str | None, everything: bool, **said: Any) -> None:  # noqa: FBT001 - click's signature
    """Show dead letters, their events included.

    On a pipe each is one JSON line, as `edit --file` takes it.
    """
    from ..mending import pretty

    chosen = _meant(Chosen(**said), everything=everything)
    _, boxes = find(config_path, chosen)
    out = stdout()
    for box in boxes:
        for letter in box.chosen:
            if not out.people:
                out.json(letter.encode().rstrip())
                continue
            out.line(f"{letter.id} {letter.sink}: {letter.reason}", "red")
            out.line(f"at {letter.at}{', in doubt: the sink may have it' if box.state(letter) else ''}")
            out.line(pretty(letter.event))
    if missing(boxes, chosen) or not any(box.chosen for box in boxes):
        raise SystemExit(PROBLEMS)


@dead_letter.command("replay")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option(
    "--one-by-one",
    is_flag=True,
    help="In place of batches: after a kill only one letter can be in doubt. Slow: two syncs a letter.",
)
@choosing
def replay(
    config_path: str | None,
    everything: bool,  # noqa: FBT001 - click's signature
    one_by_one: bool,  # noqa: FBT001 - as well
    **said: Any,
) -> None:
    """Send dead letters again to the sinks that refused them; what is taken is removed.

    Exits with 1 when a letter was refused again, or could not be sent. Killed at any moment, it loses and
    hides none; the batch that was on its way is then `in doubt`, and is sent again by the next replay. In the
    books the record stays dead-lettered, and is counted as replayed beside it: `logferry audit` shows both.
    """
    chosen = _meant(Chosen(**said), everything=everything)
    made, boxes = find(config_path, chosen)
    left = send_again(made, boxes, most=1 if one_by_one else 0)
    raise SystemExit(PROBLEMS if missing(boxes, chosen) or left else OK)


def _meant(chosen: Chosen, *, everything: bool) -> Chosen:
    if not chosen.named and not everything:
        fail("name the ids, or say which with --sink, --reason, --since or --match, or --all", USAGE)
    if chosen.ids and everything:
        fail("either ids or --all", USAGE)
    return chosen


@dead_letter.command("edit")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@choosing
@click.option(
    "--set", "values", multiple=True, metavar="FIELD=VALUE", help="Set a field; may be repeated. No editor."
)
@click.option("--unset", "gone", multiple=True, metavar="FIELD", help="Take a field out; may be repeated.")
@click.option(
    "--file",
    "source",
    type=click.File("rb"),
    help="Take the events from a file, `-` is the standard input: lines as `show` prints them on a pipe, or "
    "for one letter its event alone.",
)
@click.option("--keep", is_flag=True, help="Keep the edited letters; `replay` sends them later.")
def edit(
    config_path: str | None,
    everything: bool,  # noqa: FBT001 - click's signature
    values: tuple[str, ...],
    gone: tuple[str, ...],
    source: BinaryIO | None,
    keep: bool,  # noqa: FBT001 - click's signature
    **said: Any,
) -> None:
    """Change dead letters in $VISUAL or $EDITOR, or with --set and --unset, and replay what was changed.

    What was written is held to the schema, and secrets in it are redacted, before anything is kept: a mistake
    in one letter changes none. In an editor the mistakes are shown where they are, until they are mended or
    the file is left as it is. The edited event takes the place of the letter's: a refusal loses no work.
    """
    if source is None or said["sinks"] or said["ids"]:
        chosen = _meant(Chosen(**said), everything=everything)
    else:
        chosen = Chosen(**said)  # the file names them
    if source is not None and (values or gone):
        fail("either --file, or --set and --unset", USAGE)
    made, boxes = find(config_path, chosen)
    letters = [letter for box in boxes for letter in box.chosen]
    if missing(boxes, chosen) or not letters:
        raise SystemExit(PROBLEMS)
    changed = _changed(letters, made.builder, source, values, gone)
    for box in boxes:
        box.letters.rewrite(lambda one: _edited(one, changed))
        box.chosen = [letter for letter in box.chosen if (letter.sink, letter.id) in changed]
    if keep:
        warn(f"{len(changed):,} changed and kept")
        raise SystemExit(OK)
    raise SystemExit(PROBLEMS if send_again(made, boxes) else OK)


def _edited(letter: DeadLetter, changed: Mapping[tuple[str, str], bytes]) -> DeadLetter:
    event = changed.get((letter.sink, letter.id))
    return letter if event is None else replace(letter, event=event)


def _changed(
    letters: Sequence[DeadLetter],
    builder: EventBuilder,
    source: BinaryIO | None,
    values: Sequence[str],
    gone: Sequence[str],
) -> Changed:
    """Have the letters changed in the way that was asked for; mistakes end the command."""
    from ..mending import MendError

    mistakes: Mistakes = {}
    try:
        if source is not None:
            changed = from_file(source.read(), letters, builder, mistakes)
        elif values or gone:
            changed = from_options(values, gone, letters, builder, mistakes)
        else:
            changed = in_editor(letters, builder)
    except MendError as error:
        fail(str(error), USAGE)
    for name, problems in mistakes.items():
        warn("\n".join(f"{name}: {problem}" for problem in problems))
    if mistakes:
        raise SystemExit(USAGE)
    if not changed:
        fail("nothing was changed", PROBLEMS)
    return changed
