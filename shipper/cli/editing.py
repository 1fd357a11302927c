"""Dead letters edited: in an editor, by `--set`, or from a file; what comes out is valid or told why not.

In the editor each letter is a block, a comment that names it and its event as JSON. Lines that begin with
`#` are comments. A letter whose block was taken out, or left as it was, is not changed; an empty file changes
none.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..mending import MendError, mend, parse_event, pretty, with_value
from ..scratch import Scratch
from .codes import UNAVAILABLE, USAGE
from .common import fail
from .output import harmless, warn

if TYPE_CHECKING:
    from ...handlers.record import EventBuilder
    from ..deadletter import DeadLetter

__all__ = ["Changed", "Mistakes", "from_file", "from_options", "in_editor"]

Key: TypeAlias = tuple[str, str]
Changed: TypeAlias = dict[Key, bytes]
Mistakes: TypeAlias = dict[str, list[str]]
"""By what the user calls the letter."""

_HEAD: Final = """\
# Change the events, save, and leave the editor: what was changed is checked and sent again.
# A block that is taken out, or left as it is, leaves its letter alone. An empty file changes nothing.
"""
_MARK: Final = "# ✗ "
_BLOCK: Final = re.compile(r"# ([0-9a-f]{32}-[0-9]+) (.+?): .*")


def from_options(
    values: Sequence[str],
    gone: Sequence[str],
    letters: Sequence[DeadLetter],
    builder: EventBuilder,
    mistakes: Mistakes,
) -> Changed:
    """Return the letters with fields set and taken out. Raises MendError for a `--set` without `=`."""
    pairs = [value.partition("=") for value in values]
    for name, sign, _ in pairs:
        if not name or not sign:
            raise MendError([f"--set {name}: write field=value"])

    def change(letter: DeadLetter) -> dict[str, Any]:
        event = parse_event(letter.event)
        for name in gone:
            event = _without(event, name)
        for name, _, text in pairs:
            event = with_value(builder.schema, event, name, text)
        return event

    return _mended({_key(one): one for one in letters}, change, builder, mistakes)


def from_file(
    data: bytes, letters: Sequence[DeadLetter], builder: EventBuilder, mistakes: Mistakes
) -> Changed:
    """Return the letters with the events of a file: lines as `show` prints them, or one event alone."""
    events: dict[Key, dict[str, Any]] = {}
    known = {_key(letter): letter for letter in letters}
    if len(letters) == 1 and (alone := _event_alone(data)) is not None:
        events[_key(letters[0])] = alone
    else:
        for number, line in enumerate(data.splitlines(), 1):
            if not line.strip():
                continue
            try:
                key, event = _named_event(line, known)
            except MendError as error:
                mistakes[f"line {number}"] = error.problems
            else:
                events[key] = event
    chosen = {key: known[key] for key in events}
    return _mended(chosen, lambda letter: events[_key(letter)], builder, mistakes)


def _named_event(line: bytes, known: Mapping[Key, DeadLetter]) -> tuple[Key, dict[str, Any]]:
    row = parse_event(line)
    key, event = (str(row.get("sink")), str(row.get("id"))), row.get("event")
    if key not in known or not isinstance(event, dict):
        raise MendError(["it names none of the letters by id, sink and event"])
    return key, event


def _event_alone(data: bytes) -> dict[str, Any] | None:
    try:
        event = parse_event(data)
    except MendError:
        if len(data.split(b"\n}")) > 1 and not data.lstrip().startswith(b'{"id"'):
            raise  # one event on several lines, with a mistake in it
        return None
    return None if {"id", "sink", "event"} <= event.keys() else event


def in_editor(letters: Sequence[DeadLetter], builder: EventBuilder) -> Changed:
    """Let the user edit until all is right, or nothing more is changed; return what was changed."""
    known = {_key(letter): letter for letter in letters}
    shown = {key: pretty(letter.event) for key, letter in known.items()}
    text = _HEAD + "".join(_block(letter, shown[key]) for key, letter in known.items())
    with Scratch("edit") as scratch:  # 0700, as what holds the letters
        path = scratch.path / "letters.json"
        while True:
            path.write_text(text, encoding="utf-8")
            _call_editor(path)
            written = path.read_text(encoding="utf-8", errors="replace")
            mistakes: Mistakes = {}
            blocks = _blocks(written, known, mistakes)
            new = {key: block for key, block in blocks.items() if block != shown[key]}
            changed = _mended(
                {key: known[key] for key in new},
                lambda letter, new=new: parse_event(new[_key(letter)]),  # type: ignore[misc]
                builder,
                mistakes,
            )
            if not mistakes:
                return changed
            if _unmarked(written) == _unmarked(text):  # left as it was, with its mistakes
                for name, problems in mistakes.items():
                    warn("\n".join(f"{name}: {problem}" for problem in problems))
                fail("nothing was changed: the letters are as they were", USAGE)
            text = _with_mistakes(written, mistakes)


def _call_editor(path: Path) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        done = subprocess.run([*shlex.split(editor), str(path)], check=False)  # noqa: S603 - the user's own editor
    except (OSError, ValueError) as error:
        fail(f"the editor {editor!r} cannot be started ({error}); set EDITOR, or use --set", UNAVAILABLE)
    if done.returncode:
        fail(f"the editor ended with status {done.returncode}: nothing was changed", UNAVAILABLE)


def _key(letter: DeadLetter) -> Key:
    return letter.sink, letter.id


def _block(letter: DeadLetter, shown: str) -> str:
    reason = harmless(" ".join(letter.reason.split()))
    return f"\n# {letter.id} {letter.sink}: {reason}\n{shown}\n"


def _blocks(text: str, known: Mapping[Key, object], mistakes: Mistakes) -> dict[Key, str]:
    """Return the text of each letter; a head that names none is a mistake."""
    found: dict[Key, list[str]] = {}
    lines: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if head := _BLOCK.fullmatch(line):
            key = head[2], head[1]
            if key not in known:
                mistakes[f"line {number}"] = [f"{head[1]} of {head[2]} is none of the letters here"]
            lines = found.setdefault(key, [])
        elif line.startswith("#"):
            continue
        elif lines is not None:
            lines.append(line)
        elif line.strip():
            mistakes[f"line {number}"] = ["this belongs to no letter: its comment with the id is gone"]
    blocks = {key: "\n".join(lines).strip() for key, lines in found.items() if key in known}
    return {key: block for key, block in blocks.items() if block}


def _with_mistakes(text: str, mistakes: Mistakes) -> str:
    """Return the text with the mistakes under the comments of their letters; older ones are taken out."""
    lines = []
    rest = dict(mistakes)
    for line in _unmarked(text):
        lines.append(line)
        if head := _BLOCK.fullmatch(line):
            lines += [f"{_MARK}{harmless(problem)}" for problem in rest.pop(f"{head[1]} ({head[2]})", [])]
    above = [f"{_MARK}{name}: {problem}" for name, problems in rest.items() for problem in problems]
    return "\n".join([*above, *lines]) + "\n"


def _unmarked(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith(_MARK)]


def _mended(
    letters: Mapping[Key, DeadLetter],
    change: Callable[[DeadLetter], dict[str, Any]],
    builder: EventBuilder,
    mistakes: Mistakes,
) -> Changed:
    """Return what of the letters is changed; what cannot be is in `mistakes`."""
    changed: Changed = {}
    for key, letter in letters.items():
        name = f"{letter.id} ({letter.sink})"
        try:
            event, notes = mend(change(letter), builder)
        except MendError as error:
            mistakes[name] = error.problems
            continue
        for note in notes:
            warn(f"{name}: {note}")
        if event != letter.event:
            changed[key] = event
    return changed


def _without(event: dict[str, Any], name: str) -> dict[str, Any]:
    head, _, rest = name.partition(".")
    inner = event.get(head)
    if rest and name not in event and isinstance(inner, dict):
        return {**event, head: _without(inner, rest)}
    return {key: value for key, value in event.items() if key != name}
