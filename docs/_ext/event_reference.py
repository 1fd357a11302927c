"""Writes `event.md`: the fields of an event, from the schema itself."""

from __future__ import annotations

from pathlib import Path

from logferry.handlers.schema import FIELDS

__all__ = ["write"]

INTRODUCTION = """\
# The event

One JSON object on one line. The first six fields are always there; the rest when they have a value. Fields of
of the schema is kept in the object `extra`, and counted.
of the schema is kept in the object `extra` instead, and counted.

| field | type | always | where it goes | what it is |
|---|---|---|---|---|
"""


def write(target: Path) -> None:
    """Write the page."""
    rows = []
    for field in FIELDS:
        places = [name for name, yes in (("label", field.label), ("metadata", field.metadata)) if yes]
        ecs = [f"ECS `{field.ecs}`"] if field.ecs and field.ecs != field.name else []
        always = "yes" if field.required else ""
        rows.append(f"| `{field.name}` | {field.type} | {always} | {', '.join(places + ecs)} | {field.doc} |")
    target.write_text(INTRODUCTION + "\n".join(rows) + "\n")
