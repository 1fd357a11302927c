"""What `logferry check` shows of lines: what a source makes of a sample, and whether tests hold."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..scratch import Scratch
from .output import Output, event_line, harmless

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..config.transforms import Case
    from ..plan import Plan, SourceSpec
    from ..preview import Became

__all__ = ["UnknownSourceError", "run_tests", "show_sample", "spec_of"]


class UnknownSourceError(Exception):
    """No source of that name, or none was named and there are several."""


def spec_of(made: Plan, name: str | None) -> SourceSpec:
    """Return the source that is meant; the only one where none is named."""
    names = [spec.name for spec in made.sources]
    if name is None and len(names) == 1:
        return made.sources[0]
    if name is None:
        told = f"name one with --source: {', '.join(names)}" if names else "the configuration has none"
        raise UnknownSourceError(f"which source reads the lines? {told}")
    for spec in made.sources:
        if spec.name == name:
            return spec
    raise UnknownSourceError(f"there is no source {name}; there is {', '.join(names) or 'none'}")


def show_sample(out: Output, spec: SourceSpec, path: str) -> None:
    """Show what each line of a file becomes; `-` is the standard input. Raises `CannotTryError`."""
    from ..preview import become

    if path != "-":
        _show(out, become(spec, Path(path).absolute()))
        return
    with Scratch("check") as scratch:
        held = scratch.path / "stdin"
        with held.open("wb") as stream:
            shutil.copyfileobj(sys.stdin.buffer, stream)
        _show(out, become(spec, held))


def _show(out: Output, found: Sequence[Became]) -> None:
    for one in found:
        if not out.people:
            row: dict[str, Any] = {"line": one.line, "event": one.event}
            if one.left_out:
                row["left_out"] = one.left_out
            if one.rejected:
                row["rejected"] = one.rejected
            out.json(row)
            continue
        out.line(harmless(one.line.replace("\n", "⏎")), "bright_black")
        if one.event is not None:
            out.line(f"  → {event_line(one.event, colour=out.colour)}")
        if one.left_out:
            out.line(f"  ✗ left out by {harmless(one.left_out)}", "yellow")
        if one.rejected:
            out.line(f"  ✗ a dead letter: {harmless(one.rejected)}", "red")
    if out.people:
        kept = sum(one.event is not None for one in found)
        left_out = sum(bool(one.left_out) for one in found)
        lines = sum(one.line.count("\n") + 1 for one in found)
        said = f"{lines} line{'s' * (lines != 1)}: {kept} event{'s' * (kept != 1)}"
        out.line(said + f", {left_out} left out by transforms" * bool(left_out), bold=True)


def run_tests(out: Output, made: Plan, cases: Sequence[Case]) -> bool:
    """Try the tests of the configuration; show how events differ from what they expect. True: all hold."""
    from ..preview import CannotTryError, compare

    good = True
    for place, case in enumerate(cases):
        called = case.name or f"tests[{place}]"
        trouble, differences = "", []
        try:
            differences = compare(case, spec_of(made, case.source))
        except CannotTryError as error:
            trouble = str(error)
        holds = not trouble and not differences
        good = good and holds
        if not out.people:
            row = {"test": called, "ok": holds}
            told = [{"event": one.event, "diff": list(one.lines)} for one in differences]
            out.json(
                row if holds else {**row, "differences": told, **({"problem": trouble} if trouble else {})}
            )
            continue
        out.line(f"{'✓' if holds else '✗'} {harmless(called)}", "green" if holds else "red")
        if trouble:
            out.line(f"    {harmless(trouble)}", "red")
        for one in differences:
            out.line(f"    event {one.event}:")
            for line in one.lines:
                out.line(f"      {harmless(line)}", "red" if line.startswith("-") else "green")
    return good
