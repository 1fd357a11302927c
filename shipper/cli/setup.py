"""`logferry setup`: make what the sinks need at their servers, or with `--dry-run` say what that would be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from .codes import PROBLEMS, USAGE
from .common import config_option, fail, load_config
from .output import Output, harmless, stdout

if TYPE_CHECKING:
    from ..plan import Plan, SinkSpec
    from ..ports import SetupStep

__all__ = ["setup"]


@click.command(short_help="Make what the sinks need at their servers.")
@config_option
@click.option("--dry-run", is_flag=True, help="Only print what would be made.")
@click.argument("sinks", nargs=-1)
def setup(config_path: str | None, dry_run: bool, sinks: tuple[str, ...]) -> None:  # noqa: FBT001 - click's signature
    """Make what SINKS need at their servers: templates, streams, groups, topics (default: all sinks).

    What is there already is left as it is, so it can be run again at any time. Exits with 1 when something
    could not be made.
    """
    from ..config.plan import plan

    made = plan(load_config(config_path))
    unknown = set(sinks) - {spec.name for spec in made.sinks}
    if unknown:
        fail(f"no sink is called {', '.join(sorted(unknown))}", USAGE)
    out = stdout()
    good = True
    for spec in made.sinks:
        if sinks and spec.name not in sinks:
            continue
        steps = _steps(spec, made, dry_run=dry_run)
        if steps is None and out.people:
            out.line(f"- {spec.name}: needs nothing")
        for step in steps or ():
            _tell(out, spec, step, dry_run=dry_run)
            good = good and not step.problem
    if not good:
        raise SystemExit(PROBLEMS)


def _steps(spec: SinkSpec, made: Plan, *, dry_run: bool) -> Sequence[SetupStep] | None:
    """Return what was done for one sink; None: its kind needs nothing."""
    from ..ports import SetsUp, SetupStep, SinkContext

    try:
        sink = spec.kind.build(spec.options, SinkContext(spec.name, made.schema, made.spool.path))
        try:
            return sink.setup(dry_run=dry_run) if isinstance(sink, SetsUp) else None
        finally:
            sink.close()
    except Exception as error:  # noqa: BLE001 - a sink of somebody else's must not hide the others
        return [SetupStep("setup", "none", problem=f"{type(error).__name__}: {error}")]


def _tell(out: Output, spec: SinkSpec, step: SetupStep, *, dry_run: bool) -> None:
    if not out.people:
        row = {"sink": spec.name, "type": spec.kind.type, "what": step.what, "action": step.action}
        told = {"dry_run": dry_run, "ok": not step.problem, "problem": step.problem, "body": step.body}
        out.json({**row, **told})
        return
    if step.problem:
        out.line(f"✗ {spec.name}: {harmless(step.what)}: {harmless(step.problem)}", "red")
        return
    done = _WOULD if dry_run else _DONE
    out.line(f"✓ {spec.name}: {harmless(step.what)}: {done[step.action]}", "green")
    if dry_run and step.body is not None and step.action != "none":
        import orjson

        out.line(harmless(orjson.dumps(step.body, option=orjson.OPT_INDENT_2).decode()))


_DONE: Final = {"create": "created", "change": "changed", "none": "as it should be"}
_WOULD: Final = {"create": "would be created", "change": "would be changed", "none": "as it should be"}
