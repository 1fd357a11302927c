"""Names made from an event's fields: `{service}/{host}/{process}`. Pure: text and values in, text out.

- A placeholder is a field's name in braces; `{{` and `}}` are braces themselves.
- A field that an event does not have, or has as anything but text, number or truth value, is `-`.
- What a value may not hold where the name is used (a slash, a colon) is for the user of the template to
  replace: `clean` is called with each value's text. So a value never changes the shape of the name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["NOTHING", "Template"]

NOTHING: Final = "-"
_TOKEN: Final = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_.-]*)\}|[{}]")
_WORDS: Final = {True: "true", False: "false"}


@dataclass(frozen=True, slots=True)
class Template:
    """Text around fields: `texts[0]`, the value of `fields[0]`, `texts[1]` and so on."""

    texts: tuple[str, ...]
    fields: tuple[str, ...]

    @classmethod
    def parse(cls, source: str) -> Template:
        """Return the template written as `source`; ValueError that says what is wrong."""
        texts, fields, text, at = list[str](), list[str](), "", 0
        for token in _TOKEN.finditer(source):
            text += source[at : token.start()]
            at = token.end()
            if token[1] is not None:
                texts.append(text)
                fields.append(token[1])
                text = ""
            elif len(token[0]) == 2:
                text += token[0][0]
            else:
                raise ValueError(f"{token[0]} at character {token.start() + 1}: write {{field}}, or it twice")
        return cls((*texts, text + source[at:]), tuple(fields))

    @property
    def literal(self) -> str:
        """All text that is no field's."""
        return "".join(self.texts)

    def render(self, values: Sequence[object], clean: Callable[[str], str] = str) -> str:
        """Return the name for these values of `fields`."""
        parts = [self.texts[0]]
        for value, text in zip(values, self.texts[1:], strict=True):
            parts += [clean(_text(value)) or NOTHING, text]
        return "".join(parts)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return _WORDS[value]
    return str(value) if isinstance(value, (int, float)) else NOTHING
