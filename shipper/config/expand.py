"""`${VAR}` in configuration values. Pure: the environment comes in as a mapping.

- `${VAR}`: the variable's value; it must be set.
- `${VAR:-default}`: `default` when the variable is unset or empty; `default` may hold references itself.
- `${VAR:?message}`: a problem with `message` when it is unset or empty.
- `$${` is a literal `${`. A `$` before anything else is a `$`: regular expressions need no escape.
- What a variable holds is not expanded again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ExpandError", "expand"]

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ExpandError(ValueError):
    """A reference that cannot be replaced; the text says which, and what to write."""


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Return `text` with its references replaced; `ExpandError` for one that cannot be."""
    if "${" not in text:
        return text
    result, end = _until(text, 0, environ, nested=False)
    assert end == len(text)  # only a nested scan stops before the end
    return result


def _until(text: str, at: int, environ: Mapping[str, str], *, nested: bool) -> tuple[str, int]:
    """Expand from `at` to the end, or to the `}` that closes the reference around."""
    parts = []
    while at < len(text):
        if text.startswith("$${", at):
            parts.append("${")
            at += 3
        elif text.startswith("${", at):
            part, at = _reference(text, at, environ)
            parts.append(part)
        elif nested and text[at] == "}":
            return "".join(parts), at
        else:
            parts.append(text[at])
            at += 1
    if nested:
        raise ExpandError("${ is not closed; write $${ for a literal ${")
    return "".join(parts), at


def _reference(text: str, start: int, environ: Mapping[str, str]) -> tuple[str, int]:
    match = _NAME.match(text, start + 2)
    if match is None:
        raise ExpandError("${ must be followed by a variable's name; write $${ for a literal ${")
    name, at = match[0], match.end()
    value = environ.get(name)
    if text.startswith("}", at):
        if value is None:
            raise ExpandError(
                f"the environment variable {name} is not set; set it or write ${{{name}:-default}}"
            )
        return value, at + 1
    operator = text[at : at + 2]
    if operator not in {":-", ":?"}:
        raise ExpandError(f"${{{name} must be followed by }}, :- or :?")
    if value:  # the other branch is skipped, not expanded: its variables need not be set
        return value, _close(text, at + 2) + 1
    rest, end = _until(text, at + 2, environ, nested=True)
    if operator == ":?":
        raise ExpandError(f"the environment variable {name} is not set: {rest or 'it is needed'}")
    return rest, end + 1


def _close(text: str, at: int) -> int:
    depth = 1
    while at < len(text):
        if text.startswith("$${", at):
            at += 3
            continue
        if text.startswith("${", at):
            depth += 1
            at += 2
            continue
        if text[at] == "}":
            depth -= 1
            if not depth:
                return at
        at += 1
    raise ExpandError("${ is not closed; write $${ for a literal ${")
