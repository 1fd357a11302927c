"""Writes `api.md`: every public name with its signature and docstring, from the code itself."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

__all__ = ["MODULES", "write"]

MODULES = (
    "logferry",
    "logferry.handlers",
    "logferry.handlers.outlet",
    "logferry.handlers.testing",
    "logferry.handlers.propagation",
    "logferry.handlers.request.policy",
    "logferry.handlers.integrations.asgi",
    "logferry.handlers.integrations.wsgi",
    "logferry.handlers.integrations.structlog",
    "logferry.handlers.integrations.loguru",
    "logferry.shipper.model",
    "logferry.shipper.ports",
    "logferry.shipper.pipeline",
    "logferry.shipper.spool",
    "logferry.shipper.store",
)


_WHERE = re.compile(
    r"<[^<>]*(?:<[^<>]*>)?[^<>]* at 0x[0-9a-f]+>"
)  # an object that has no other words for itself


def signature(value: object) -> str:
    """Return the call signature, empty where there is none."""
    if not callable(value):
        return ""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    given = list(found.parameters.values())
    if any(one.kind is one.POSITIONAL_ONLY for one in given):
        # What follows them is bound for speed, as in `EventBuilder.build`, and nobody's to give.
        given = [one for one in given if one.kind is not one.POSITIONAL_OR_KEYWORD]
    return _WHERE.sub("...", str(found.replace(parameters=given)))


def entries(module_name: str) -> list[str]:
    """Return the Markdown of one module."""
    module = importlib.import_module(module_name)
    summary = (inspect.getdoc(module) or "").split("\n\n", maxsplit=1)[0]
    lines = [f"## {module_name}", "", summary, ""]
    for name in sorted(getattr(module, "__all__", [])):
        value = getattr(module, name)
        if not (inspect.isclass(value) or inspect.isroutine(value)):
            continue
        lines += [f"### {name}", "", "```python", f"{name}{signature(value)}", "```", ""]
        lines += ["```text", inspect.getdoc(value) or "", "```", ""]
        if inspect.isclass(value):
            for member, function in vars(value).items():
                if inspect.isfunction(function) and not member.startswith("_"):
                    first = (inspect.getdoc(function) or "").split("\n", maxsplit=1)[0]
                    lines += ["```python", f"{name}.{member}{signature(function)}", f"# {first}", "```", ""]
    return lines


def write(target: Path) -> None:
    """Write the page."""
    lines = ["# Python API", "", "Made from the code by `make docs`.", ""]
    for name in MODULES:
        lines += entries(name)
    target.write_text("\n".join(lines))
