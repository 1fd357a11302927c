"""What is shown of a message that cannot be formatted with its arguments.

Each argument stands where it belongs, as far as there are places; the others follow. They do not all follow:
in `password=%s` the name says what the argument is, and redaction has to see that.
"""

from __future__ import annotations

import re
from typing import Final

from .plain import safe_repr

__all__ = ["unformatted"]

_PLACE: Final = re.compile(r"%%|%(?:\(\w{1,64}\))?[-#0 +]{0,5}[0-9*]{0,9}(?:\.[0-9*]{0,9})?[hlL]?[a-zA-Z]")


def unformatted(message: object, arguments: object, failed: BaseException) -> str:
    """Return a message with its arguments, and why they do not fit."""
    text = message if type(message) is str else safe_repr(message, str)
    return f"{_filled(text, arguments)} (logging format error: {safe_repr(failed)})"


def _filled(message: str, arguments: object) -> str:
    if arguments is None:
        return message
    if type(arguments) is not tuple:
        return f"{message} {safe_repr(arguments)}"
    left = list(arguments)

    def fill(place: re.Match[str]) -> str:
        if place[0] == "%%" or not left:
            return place[0]
        return safe_repr(left.pop(0), str)

    filled = _PLACE.sub(fill, message)
    if not left:
        return filled
    return f"{filled.rstrip(' :')}: ({', '.join(safe_repr(value) for value in left)})"
