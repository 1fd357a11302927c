"""The types that stand in configuration dataclasses beside Python's own, and how their text is read.

A configuration dataclass is frozen and slotted; its fields are the YAML keys. Allowed annotations: `str`,
`int`, `float`, `bool`, `Path`, `Literal[...]`, `tuple[T, ...]`, `Mapping[str, T]`, `X | None`, another such
dataclass, and the three types here:

- `Size`: bytes, written `1GiB`, `64KiB`, `10MB` or a plain number of bytes;
- `Duration`: seconds, written `1s`, `250ms`, `15m`, `1h30m`, `7d` or a plain number of seconds;
- `Secret`: text that is masked wherever it is printed, written as text, `${VAR}` or `file:/path`.

`setting(default, help=..., minimum=..., maximum=..., key=...)` makes a field with documentation and bounds; a
plain `dataclasses.field(metadata={"help": ...})` does as well. A dataclass may check what no type can say
in `__post_init__` by raising `ValueError`: it is reported at the section's place.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, field
from typing import TYPE_CHECKING, Any, Final, NewType, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Duration",
    "Secret",
    "Size",
    "format_duration",
    "format_size",
    "parse_duration",
    "parse_size",
    "setting",
]

Size = NewType("Size", int)
Duration = NewType("Duration", float)

_SIZE_UNITS: Final = {
    "": 1,
    "B": 1,
    "KIB": 1 << 10,
    "MIB": 1 << 20,
    "GIB": 1 << 30,
    "TIB": 1 << 40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
_DURATION_UNITS: Final = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\Z")
_DURATION: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?\s*(?:ms|[wdhms])\s*)+\Z")
_DURATION_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|[wdhms])")
_PLAIN_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?\Z")
_LONGEST: Final = 64  # more characters are no size and no duration, and integers of any length cost time


class Secret:
    """Text that must not be printed: `repr`, `str` and f-strings show a mask, pickling and JSON refuse it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself. Call it where it is sent, and nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not serialised; send what .reveal() returns, where it is meant to go")


def parse_size(text: str | float) -> Size:
    """Return the bytes that `text` means (`64KiB`, `1.5GiB`, `10MB`, `4096`); `ValueError` otherwise."""
    if isinstance(text, bool):
        raise ValueError("expected a size such as 64KiB or 1GiB")  # noqa: TRY004 - one error type for all input
    if not isinstance(text, str):
        if not 0 <= text < float("inf") or text != int(text):
            raise ValueError(f"expected a size such as 64KiB or 1GiB, not {text}")
        return Size(int(text))
    match = _SIZE.match(text.strip()) if len(text) <= _LONGEST else None
    unit = match[2].upper() if match else ""
    if match is None or unit not in _SIZE_UNITS:
        hint = f"; write {match[1]}{unit}iB" if match and unit in {"K", "M", "G", "T"} else ""
        raise ValueError(f"expected a size such as 64KiB or 1GiB, not {text[:_LONGEST]!r}{hint}")
    number = float(match[1]) if "." in match[1] else int(match[1])
    return Size(int(number * _SIZE_UNITS[unit]))


def parse_duration(text: str | float) -> Duration:
    """Return the seconds that `text` means (`250ms`, `15m`, `1h30m`, `7d`, `5`); `ValueError` otherwise."""
    if isinstance(text, bool):
        raise ValueError("expected a duration such as 30s or 15m")  # noqa: TRY004 - one error type for all input
    if not isinstance(text, str):
        if not 0 <= text < float("inf"):
            raise ValueError(f"expected a duration such as 30s or 15m, not {text}")
        return Duration(float(text))
    stripped = text.strip() if len(text) <= _LONGEST else ""
    if _PLAIN_NUMBER.match(stripped):
        return Duration(float(stripped))
    if not _DURATION.match(stripped):
        raise ValueError(f"expected a duration such as 30s or 15m, not {text[:_LONGEST]!r}")
    return Duration(sum(float(n) * _DURATION_UNITS[unit] for n, unit in _DURATION_PART.findall(stripped)))


def format_size(size: int) -> str:
    """Return `size` bytes as `parse_size` reads it back exactly (`1GiB`, `64KiB`, `1000B`)."""
    for unit, power in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size and size % (1 << power) == 0:
            return f"{size >> power}{unit}"
    return f"{size}B"


def format_duration(seconds: float) -> str:
    """Return `seconds` as `parse_duration` reads it back (`7d`, `15m`, `1.5s`, `250ms`)."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g}ms"
    for unit in ("d", "h", "m"):
        if seconds and seconds % _DURATION_UNITS[unit] == 0:
            return f"{int(seconds // _DURATION_UNITS[unit])}{unit}"
    return f"{seconds:g}s"


def setting(  # noqa: PLR0913 - each is a fact about a key, given by name
    default: Any = MISSING,
    *,
    help: str,  # noqa: A002 - the word that every option parser uses
    factory: Callable[[], Any] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    key: str | None = None,
    check: Callable[[Any], str] | None = None,
    each: Callable[[str, Any], str] | None = None,
    example: str | None = None,
) -> Any:
    """Make a dataclass field: `default` (or `factory`; neither: required), its documentation and its bounds.

    `key` is the YAML key when it cannot be the field's name (`class`, `from`). `check` returns what is wrong
    with a value (`""`: nothing), reported at the key's place; `each` does so for every key and value of a
    mapping, reported at theirs. `example` is YAML for the reference.
    """
    facts = {
        "help": help,
        "minimum": minimum,
        "maximum": maximum,
        "key": key,
        "check": check,
        "each": each,
        "example": example,
    }
    metadata = {name: fact for name, fact in facts.items() if fact is not None}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)
