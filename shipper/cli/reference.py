"""docs/cli.md, made from the commands: `python -m logferry.shipper.cli.reference > docs/cli.md`.

A test compares the committed page with what comes out here.
"""

from __future__ import annotations

import sys
from typing import Final

import click

from .codes import CODES
from .main import cli

__all__ = ["reference"]

_HEAD: Final = """\
# The command line

<!-- Made from the code: python -m logferry.shipper.cli.reference > docs/cli.md -->

Output is for people on a terminal and JSON lines on a pipe, so that every command can stand in a script.
`NO_COLOR` takes the colours away. Results go to standard output, all else to standard error. What a log
line holds never steers the terminal: its control characters are shown, not sent. `logferry completion bash`
(`zsh`, `fish`) prints the shell's completion.

## Exit codes

| code | meaning |
|---|---|
"""
_WIDTH: Final = 100


def reference() -> str:
    """Return the page."""
    parts = [_HEAD + "\n".join(f"| {code} | {text} |" for code, text in CODES.items())]
    root = click.Context(cli, info_name="logferry", **cli.context_settings)
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        assert command is not None  # it is in the list
        parts += _command(command, click.Context(command, root, info_name=name), 2)
    return "\n\n".join(parts) + "\n"


def _command(command: click.Command, context: click.Context, depth: int) -> list[str]:
    context.terminal_width = context.max_content_width = _WIDTH
    parts = [f"{'#' * depth} {context.command_path}", f"```text\n{command.get_help(context)}\n```"]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None  # it is in the list
            parts += _command(inner, click.Context(inner, context, info_name=name), depth + 1)
    return parts


if __name__ == "__main__":
    sys.stdout.write(reference())
