"""`logferry check`: every mistake of the configuration, its tests, a sample, and sinks and sources."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import click

from .codes import PROBLEMS, USAGE
from .common import config_option, report_config
from .examples import UnknownSourceError, run_tests, show_sample, spec_of
from .output import Output, harmless, stdout, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..config import ConfigError
    from ..plan import Plan, SinkSpec, SourceSpec

__all__ = ["check"]


@click.command(short_help="Find every mistake in the configuration.")
@config_option
@click.option("--connect", is_flag=True, help="Try sinks and sources: address, credentials, permissions.")
@click.option(
    "--input", "sample", metavar="FILE", help="Show what each line of a file becomes ('-': standard input)."
)
@click.option("--source", help="Whose lines those of --input are; not needed where there is one source.")
def check(config_path: str | None, connect: bool, sample: str | None, source: str | None) -> None:  # noqa: FBT001 - click's signature
    """Find every mistake in the configuration, and try its tests; with --connect sinks and sources as well.

    With --input it shows what the lines of a sample become instead: read, parsed, transformed, checked and
    redacted as `run` does it, but kept and sent nowhere.

    Exits with 2 when the configuration has a mistake, with 1 when a test fails or a sink or a source cannot
    be used.
    """
    from ..config import ConfigError, load
    from ..config.plan import plan

    out = stdout()
    try:
        config = load(config_path)
        made = plan(config)
    except ConfigError as error:
        _show(out, error)
        raise SystemExit(USAGE) from None
    if sample is not None or source is not None:
        _sample(out, made, sample, source)
        return
    if out.people:
        out.line("the configuration is good", "green")
    good = run_tests(out, made, config.tests)
    if (connect and not _connect(out, made)) or not good:
        raise SystemExit(PROBLEMS)


def _sample(out: Output, made: Plan, sample: str | None, source: str | None) -> None:
    """Show what the lines of a sample become."""
    from ..preview import CannotTryError

    if sample is None:
        warn("--source says whose lines the sample has; name a file with --input")
        raise SystemExit(USAGE)
    try:
        show_sample(out, spec_of(made, source), sample)
    except UnknownSourceError as error:
        warn(str(error))
        raise SystemExit(USAGE) from None
    except CannotTryError as error:
        warn(str(error))
        raise SystemExit(PROBLEMS) from None


def _show(out: Output, error: ConfigError) -> None:
    if out.people:
        report_config(error)
        return
    for problem in error.problems:
        place = {"file": problem.file, "line": problem.line, "column": problem.column, "path": problem.path}
        out.json({**place, "message": problem.message, "suggestion": problem.suggestion})


class _Found(NamedTuple):
    """What is wrong with a sink or a source, and what is none the less to be known."""

    problems: Sequence[str]
    notes: Sequence[str] = ()


def _connect(out: Output, made: Plan) -> bool:
    good = True
    asked: list[tuple[str, str, str, Callable[[], _Found | None]]]
    asked = [("sink", s.name, s.kind.type, partial(_try_sink, s, made)) for s in made.sinks]
    asked += [("source", s.name, s.kind.type, partial(_try_source, s, made)) for s in made.sources]
    for what, name, kind, ask in asked:
        try:
            found = ask()
        except Exception as error:  # noqa: BLE001 - a sink of somebody else's must not hide the others
            found = _Found([f"{type(error).__name__}: {error}"])
        if found is None:
            continue
        good = good and not found.problems
        if not out.people:
            notes = {"notes": list(found.notes)} if found.notes else {}
            ok = not found.problems
            out.json({what: name, "type": kind, "ok": ok, "problems": list(found.problems), **notes})
            continue
        for problem in found.problems:
            said = problem.removeprefix(f"{name}: ")  # most say themselves whose it is
            out.line(f"✗ {name}: {harmless(said)}", "red")
        if not found.problems:
            out.line(f"✓ {name}", "green")
        for note in found.notes:
            out.line(f"  {name}: {harmless(note)}", "yellow")
    return good


def _try_sink(spec: SinkSpec, made: Plan) -> _Found:
    """Return what is wrong with a sink."""
    from ..ports import SinkContext

    sink = spec.kind.build(spec.options, SinkContext(spec.name, made.schema, made.spool.path))
    try:
        return _Found(sink.check())
    finally:
        sink.close()


def _try_source(spec: SourceSpec, made: Plan) -> _Found | None:
    """Return what is wrong with a source; None: it has nothing to ask."""
    from ..ports import SourceContext
    from ..spool import Spool

    appender = Spool(made.spool).appender(spec.name)  # nothing is made on the disk before a record
    source = spec.kind.build(spec.options, SourceContext(spec.name, spec.builder, appender, made.spool.path))
    ask, absent = getattr(source, "check", None), getattr(source, "absent", None)
    return None if ask is None else _Found(ask(), () if absent is None else absent())
