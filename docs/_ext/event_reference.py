"""The page `event.md`, the fields of an event, from the schema itself: run this > docs/event.md."""

from __future__ import annotations

import sys

from logferry.handlers.schema import FIELDS

__all__ = ["page"]

INTRODUCTION = """\
# The event

One JSON object on one line. The first six fields are always there; the rest when they have a value. Fields
of your own, bound or given with a log call, stand beside these under their own names; one that would replace
a field of the schema is kept in the object `extra` instead, and counted.

| field | type | always | where it goes | what it is |
|---|---|---|---|---|
"""


def page() -> str:
    """Return the page."""
    rows = []
    for field in FIELDS:
        places = [name for name, yes in (("label", field.label), ("metadata", field.metadata)) if yes]
        ecs = [f"ECS `{field.ecs}`"] if field.ecs and field.ecs != field.name else []
        always = "yes" if field.required else ""
        rows.append(f"| `{field.name}` | {field.type} | {always} | {', '.join(places + ecs)} | {field.doc} |")
    return INTRODUCTION + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
