"""`logferry`: finds the command, imports it only then, and turns what goes wrong into exit codes.

`--help` must be there at once: the table below holds each command's place and its one line of help, and a
test compares it with what the commands say of themselves.
"""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import import_module
from typing import Any, Final, NoReturn

import click

from .codes import CODES, INTERRUPTED, OK, PIPE, UNAVAILABLE, USAGE
from .output import warn

__all__ = ["COMMANDS", "cli", "main"]

COMMANDS: Final = {
    "init": ("init:init", "Write a commented starter configuration."),
    "check": ("check:check", "Find every mistake in the configuration."),
    "setup": ("setup:setup", "Make what the sinks need at their servers."),
    "run": ("run:run", "Read the sources and deliver, until told to stop."),
    "install-service": ("install_service:install_service", "Write systemd's unit for the agent."),
    "demo": ("demo:demo", "Run a real shop under load, ship its logs and watch."),
    "tail": ("tail:tail", "Show events as they arrive in the local store."),
    "query": ("query:query", "Search the local store."),
    "stats": ("stats:stats", "Show the panels as small charts."),
    "topology": ("topology:topology", "Show which service calls which, with rates and latencies."),
    "trace": ("trace:trace", "Show one trace: a waterfall of its spans, and its lines."),
    "ui": ("ui:ui", "Show the local store in a browser."),
    "where": ("where:where", "Show what became of one event at each sink."),
    "top": ("top:top", "Watch the pipelines of this machine."),
    "alerts": ("alerts:alerts", "Show which alerts fire; try the receivers."),
    "audit": ("audit:audit", "Prove that every record is accounted for."),
    "spool": ("spool:spool", "List, verify and repair spools."),
    "dead-letter": ("dead_letter:dead_letter", "List, show, edit and replay what sinks refused."),
    "level": ("level:level", "Change loggers' levels in running programs, for a while."),
    "completion": ("completion:completion", "Print the shell's completion script."),
}

_EPILOG: Final = "\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {text}" for code, text in CODES.items())


class _Lazy(click.Group):
    """A group whose commands are imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f".{module}", __package__), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # click would exit with 1, which means something else here
            raise SystemExit(PIPE) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from ..config.problems import closest

            raise click.UsageError(f"{error.message} {closest(args[0], COMMANDS)}", ctx) from None


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:  # noqa: ARG001, FBT001 - click's signature
    if value:
        from importlib.metadata import version

        click.echo(f"logferry {version('logferry')}")
        ctx.exit()


@click.group(cls=_Lazy, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, callback=_version, expose_value=False, is_eager=True, help="Print the version."
)
def cli() -> None:
    """Ship logs, and account for every record.

    Output is for people on a terminal and JSON lines on a pipe. NO_COLOR is honoured.
    """


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    try:
        code = _run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        code = PIPE
    if code == PIPE:
        # What is still buffered would raise again when the interpreter flushes it at its end.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _run(args: list[str] | None) -> int:
    try:
        code = cli.main(args, prog_name="logferry", standalone_mode=False)
    except SystemExit as error:
        code = error.code
    except (click.exceptions.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return USAGE
    except ImportError as error:
        if "pip install" not in str(error):  # an extra that is not installed says what to install
            raise
        warn(f"logferry: {error}")
        return UNAVAILABLE
    except PermissionError as error:
        warn(f"logferry: {error.filename}: {error.strerror}")
        return UNAVAILABLE
    return code if isinstance(code, int) else OK
