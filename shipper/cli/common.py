"""What several commands share: the configuration option, the store, and errors as exit codes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from .codes import UNAVAILABLE, USAGE
from .output import stdout, warn

if TYPE_CHECKING:
    from ..config import Config, ConfigError
    from ..store import Store

__all__ = [
    "config_option",
    "duration",
    "fail",
    "load_config",
    "of_trace",
    "open_store",
    "report_config",
    "spool_option",
    "spool_root",
    "store_option",
    "trace_id_of",
]

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(dir_okay=False),
    help="The configuration file (default: $LOGFERRY_CONFIG, else ./logferry.yaml).",
)
store_option = click.option(
    "--store",
    "store_path",
    type=click.Path(file_okay=False),
    help="The local store's directory (default: that of the configuration's local sink).",
)
spool_option = click.option(
    "--spool",
    "spool_path",
    type=click.Path(file_okay=False, path_type=Path),
    help="The directory of the spools (default: that of the configuration).",
)


def fail(text: str, code: int) -> NoReturn:
    """End the command with a message and an exit code."""
    warn(f"logferry: {text}")
    raise SystemExit(code)


def report_config(error: ConfigError) -> None:
    """Print every mistake: with source lines and carets for people, as JSON lines on a pipe."""
    out = stdout()
    if out.people:
        warn("\n".join(problem.pretty() for problem in error.problems))
        count = len(error.problems)
        warn(f"{count} mistake{'s' if count > 1 else ''}")
        return
    for problem in error.problems:
        warn(str(problem))


def load_config(path: str | None) -> Config:
    """Return the checked configuration; its mistakes end the command with exit code 2."""
    from ..config import ConfigError, load

    try:
        return load(path)
    except ConfigError as error:
        report_config(error)
        raise SystemExit(USAGE) from None


def spool_root(config: Config) -> Path:
    """Return the directory of the spools; a spool in memory ends the command."""
    from ..config.plan import spool_path

    path = spool_path(config)
    if path is None:
        fail("this configuration keeps its spool in memory: there is nothing on disk to look at", UNAVAILABLE)
    return path


def open_store(store_path: str | None, config_path: str | None, *, awaited: bool = False) -> Store:
    """Return the local store that is named, or the one of the configuration's local sink.

    `awaited`: who waits for events may come before the first one. The configuration's store is made then; one
    that is named must be there, for its name may be mistyped. It is closed when the command ends.
    """
    if store_path is None:
        config = load_config(config_path)
        paths = [s.options.path for s in config.sinks.values() if s.common.type == "local"]
        if not paths:
            fail("no sink of the configuration has the type local; name a store with --store", USAGE)
        path = Path(paths[0])
        if awaited and not path.exists():
            _make(path)
    else:
        path = Path(store_path)
    if not path.is_dir():
        fail(f"there is no store at {path}: nothing has been delivered to it yet", UNAVAILABLE)
    from ..store import Store

    store = Store(path)
    click.get_current_context().call_on_close(store.close)
    return store


def _make(path: Path) -> None:
    from ..store.layout import Layout

    try:
        Layout(path).create()
    except OSError as error:
        fail(f"{path}: {error.strerror}", UNAVAILABLE)


def trace_id_of(text: str) -> str:
    """Return the trace id in what was pasted: a trace id, a UUID or a `traceparent`."""
    match = _TRACEPARENT.fullmatch(text.strip().lower())
    return match[1] if match else text.strip()


def of_trace(words: str, trace_id: str | None) -> str:
    """Return a filter narrowed to a trace, if one is named."""
    if trace_id is None:
        return words
    traced = f'trace_id="{trace_id_of(trace_id)}"'
    return f"({words}) {traced}" if words else traced


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from ..config.fields import parse_duration

        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


duration = _Duration()
