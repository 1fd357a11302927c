"""`logferry topology`: which service calls which, how often, how slowly, and what of it fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from .codes import PROBLEMS, UNAVAILABLE, USAGE
from .common import config_option, fail, open_store, store_option
from .output import stdout, warn

__all__ = ["topology"]


@click.command(short_help="Show which service calls which, with rates and latencies.")
@config_option
@store_option
@click.option("--since", default="1h", show_default=True, help="From this time on: 15m (ago), today, 08:30.")
@click.option("--until", help="Before this time.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "dot"]),
    help="Default: table on a terminal, json on a pipe; dot is for Graphviz.",
)
def topology(
    config_path: str | None, store_path: str | None, since: str, until: str | None, form: str | None
) -> None:
    """Show which service calls which: from spans and access events of the local store.

    What is called and logs nothing here (a database, a queue, a stranger's host) stands in brackets, by the
    name that the calling span gives it. Exits with 1 when nothing called anything.
    """
    from ..store import StoreError

    out = stdout()
    try:
        found = open_store(store_path, config_path).topology(since, until)
    except ValueError as error:
        fail(str(error), USAGE)
    except StoreError as error:
        fail(str(error), UNAVAILABLE)
    form = form or ("table" if out.people else "json")
    if form == "json":
        out.json(found)
    elif form == "dot":
        for line in _dot(found["edges"]):
            out.line(line)
    else:
        out.rows([_row(edge) for edge in found["edges"]])
    if not found["edges"]:
        warn(f"no service has called another since {since}")
        raise SystemExit(PROBLEMS)


def _row(edge: Mapping[str, Any]) -> dict[str, Any]:
    callee = f"[{edge['callee']}]" if edge["external"] else edge["callee"]
    return {
        "caller": edge["caller"],
        "": "→",
        "callee": callee,
        "calls": edge["calls"],
        "failed": edge["failed"],
        "rate": f"{edge['rate']:.1%}",
        "p50 ms": _number(edge["p50"]),
        "p95 ms": _number(edge["p95"]),
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _dot(edges: list[dict[str, Any]]) -> list[str]:
    lines = ["digraph services {", "  rankdir=LR; node [shape=box];"]
    for edge in edges:
        text = f"{edge['calls']} calls\\n{edge['rate']:.1%} failed\\np95 {_number(edge['p95'])} ms"
        colour = ' color="red"' if edge["failed"] else ""
        style = ' style="dashed"' if edge["external"] else ""
        lines.append(
            f'  {_quoted(edge["caller"])} -> {_quoted(edge["callee"])} [label="{text}"{colour}{style}];'
        )
    return [*lines, "}"]


def _quoted(text: object) -> str:
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'
