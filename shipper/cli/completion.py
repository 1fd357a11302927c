# ruff: noqa: D301 - click reads the character \b, not its name
"""`logferry completion`: the script that teaches a shell the commands and options."""

from __future__ import annotations

import click

__all__ = ["completion"]


@click.command(short_help="Print the shell's completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash: logferry completion bash > ~/.local/share/bash-completion/completions/logferry
    zsh:  logferry completion zsh  > "${fpath[1]}/_logferry"
    fish: logferry completion fish > ~/.config/fish/completions/logferry.fish
    """
    from click.shell_completion import get_completion_class

    from .main import cli

    kind = get_completion_class(shell)
    assert kind is not None  # the three above are click's own
    source = kind(cli, {}, "logferry", "_LOGFERRY_COMPLETE").source()
    # fish: a comma within a help text would end it
    click.echo(source.replace('string split "," $', 'string split --max 1 "," $'))
