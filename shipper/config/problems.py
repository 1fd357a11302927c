"""What is wrong with a configuration, told all at once, each mistake with its place and a way out.

Rules:
- A problem prints as `logferry.yaml:12:5: sinks.loki.url: …`, then the source line and a caret under the key.
  From a mapping there is no file, and the path alone stands in front.
- Problems are sorted by their place, so that they are mended from the top to the bottom.
- No secret is printed: in a source line the values of keys that sound like secrets, of unknown keys (they may
  be misspelt secrets) and the passwords of URLs are masked.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["ConfigError", "Problem", "closest", "masked_line"]

_VALUE_OF_SECRET: Final = re.compile(
    r"(?i)([\w.-]*(?:pas|secret|token|key|auth|cred|cookie)[\w.-]*[\"']?\s*[:=]\s*)(?![\s\[{|>])(?:\"[^\"]*\"|'[^']*'|[^,}\]#]+)"
)
_URL_USER: Final = re.compile(r"://[^/\s@]+@")
_LONGEST_LINE: Final = 160
_MASK: Final = "***"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake. `line` and `column` count from 1; 0 means that the place is not known (a mapping).

    `suggestion` is what to write instead; `source` is the line of the file, already masked.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    suggestion: str = ""
    source: str = field(default="", compare=False)

    def __str__(self) -> str:
        place = (
            f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: " if self.file else ""
        )
        subject = f"{self.path}: " if self.path else ""
        text = f"{place}{subject}{self.message}"
        return f"{text}; {self.suggestion}" if self.suggestion else text

    def pretty(self) -> str:
        """Return the problem with its source line and a caret under the key."""
        if not self.source:
            return str(self)
        prefix = f"  {self.line} | "
        before = self.source[: self.column - 1]
        indent = "".join("\t" if c == "\t" else " " for c in before)
        return f"{self}\n{prefix}{self.source}\n{' ' * len(prefix)}{indent}^"


class ConfigError(ValueError):
    """The configuration cannot be used; `problems` are all its mistakes, sorted by their place."""

    problems: Sequence[Problem]

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(problem.pretty() for problem in self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[Sequence[Problem]]]:
        return ConfigError, (self.problems,)


def closest(word: str, known: Iterable[str]) -> str:
    """Return `did you mean …?` for the nearest of `known`, or their list when none is near."""
    names = sorted(known)
    folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    if near:
        return f"did you mean {folded[near[0]]}?"
    return f"known: {', '.join(names)}" if names else ""


def masked_line(line: str, hidden: int) -> str:
    """Return a source line fit to be printed: secrets masked, and all behind the key at column `hidden`."""
    if hidden <= len(line):
        head, colon, rest = line[hidden - 1 :].partition(":")
        if rest.strip() or not colon:
            line = f"{line[: hidden - 1]}{head if colon else ''}: {_MASK}"
    line = _URL_USER.sub(f"://{_MASK}@", _VALUE_OF_SECRET.sub(rf"\1{_MASK}", line))
    return line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + "…"
