"""What a source makes of given lines: read by the real source from a file, with nothing kept or sent.

The file source reads for all kinds that read lines: how they are split, joined and parsed is taken from the
options that a kind shares with it. `Case`s of the configuration are tried in the same way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from ..handlers.outlet import Violation
from .builder import SourceBuilder
from .core.filter_nodes import lookup
from .ports import SourceContext
from .registry import source_kind
from .scratch import Scratch

if TYPE_CHECKING:
    from .config.transforms import Case
    from .plan import SourceSpec

__all__ = ["Became", "CannotTryError", "Difference", "become", "compare", "try_lines"]

# What says where lines come from, not how they are understood.
_WHERE: Final = frozenset(
    {"include", "exclude", "start_at", "from_end", "ignore_older", "poll_interval", "scan_interval", "watch"}
)


class CannotTryError(Exception):
    """A source that reads no lines, or a file that cannot be read."""


@dataclass(frozen=True, slots=True)
class Became:
    """A line (or joined record) and its event.

    `left_out` names the transform that left it out, `rejected` says what broke the schema. Both are empty,
    and there is no event, where the line is blank.
    """

    line: str
    event: Mapping[str, Any] | None
    left_out: str = ""
    rejected: str = ""


def become(spec: SourceSpec, path: Path) -> list[Became]:
    """Return what the source makes of each line of a file; raises `CannotTryError`."""
    found: list[Became] = []

    def see(line: bytes, event: bytes | None, left_out: str) -> None:
        rejected = event.reason if isinstance(event, Violation) else ""
        made = None if event is None else orjson.loads(event)
        found.append(Became(line.decode("utf-8", "replace").rstrip("\r\n"), made, left_out, rejected))

    held = spec.builder
    if not isinstance(held, SourceBuilder) or not hasattr(spec.options, "parser"):
        raise CannotTryError(f"a source of type {spec.kind.type} reads no lines that could be tried")
    builder = SourceBuilder(held.schema, held.redactor, transforms=held.transforms, observer=see)
    file = source_kind("file")
    options = {
        setting.name: getattr(spec.options, setting.name)
        for setting in dataclasses.fields(file.config)
        if setting.init and setting.name not in _WHERE and hasattr(spec.options, setting.name)
    }
    source = file.build(
        file.config(include=(path,), **options), SourceContext(spec.name, builder, _Nowhere())
    )
    try:
        source.run(once=True)
    except Exception as error:
        raise CannotTryError(str(error)) from error
    return found


def try_lines(spec: SourceSpec, text: str) -> list[Became]:
    """Return what the source makes of each line of a text."""
    with Scratch("check") as scratch:
        path = scratch.path / "input.log"
        path.write_text(text if text.endswith("\n") else f"{text}\n", encoding="utf-8")
        return become(spec, path) if text.strip() else []


@dataclass(frozen=True, slots=True)
class Difference:
    """Where an event is not as it was expected: `-` lines were expected, `+` lines are there."""

    event: int
    lines: tuple[str, ...]


def compare(case: Case, spec: SourceSpec) -> list[Difference]:
    """Return how the events of a case's lines differ from what it expects; nothing: they do not."""
    text = case.input if isinstance(case.input, str) else "\n".join(case.input)
    events = [one.event for one in try_lines(spec, text) if one.event is not None]
    expected: Sequence[Mapping[str, Any]] = (
        (case.expect,) if isinstance(case.expect, Mapping) else case.expect
    )
    found = []
    for place in range(max(len(events), len(expected))):
        if place >= len(events):
            wrong = [f"- {shown}" for shown in map(_field, expected[place].items())] or ["- an event"]
        elif place >= len(expected):
            wrong = [f"+ {_shown(events[place])}"]
        else:
            wrong = _wrong(events[place], expected[place])
        if wrong:
            found.append(Difference(place + 1, tuple(wrong)))
    return found


def _wrong(event: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    wrong = []
    for name, wanted in expected.items():
        there = lookup(event, name)
        if not _same(there, wanted):
            wrong.append(f"- {_field((name, wanted))}")
            wrong.append(f"+ {_field((name, there))}")
    return wrong


def _same(there: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        return there.keys() == wanted.keys() and all(_same(there[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list) and isinstance(there, list):
        return len(there) == len(wanted) and all(map(_same, there, wanted))
    if isinstance(wanted, bool) or isinstance(there, bool):
        return there is wanted
    return bool(there == wanted)


def _field(item: tuple[str, Any]) -> str:
    name, value = item
    return f"{name}: {'(none)' if value is None else _shown(value)}"


def _shown(value: Any) -> str:
    return orjson.dumps(value).decode()


class _Nowhere:
    """An appender that keeps nothing."""

    def append(
        self,
        lines: Sequence[bytes],  # noqa: ARG002 - what an appender takes
        position: bytes = b"",  # noqa: ARG002
        part: str = "",  # noqa: ARG002
        *,
        waiting: Callable[[], object] | None = None,  # noqa: ARG002
    ) -> int:
        """Keep nothing."""
        return 1

    def last_position(self, source: str) -> bytes:  # noqa: ARG002
        """Know of nothing."""
        return b""

    def positions(self) -> Mapping[str, bytes]:
        """Know of nothing."""
        return {}
