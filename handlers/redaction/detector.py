r"""Whether a text may hold a secret at all: one pass of RE2 over many texts, each between two NULs.

The detector may hit too often, never too rarely. That holds because its expressions are the finders' own,
weakened: no anchors and no look-around, so that what matches in one text matches wherever that text stands.
A user's pattern keeps `\b` and `\B` (NUL is no word character, like a text's edge); one that holds an anchor
is asked text by text. Users' patterns are asked through RE2's own Match, which falls back to an NFA where the
automaton's memory does not suffice; a Set would say "no". Without RE2 the answer is always "maybe": slower,
not weaker.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from .errors import RedactionError

__all__ = ["Finder", "detector", "has_re2", "user_finder"]

Finder = Callable[[str], Iterable[tuple[int, int]]]

# What means the edge of a text. Conservative: an escaped or bracketed one counts too.
_ANCHOR: Final = re.compile(r"[\^$]|\\[AzZC]|\\Q")


def _re2() -> Any | None:
    try:
        import re2
    except ImportError:
        return None
    return re2


def has_re2() -> bool:
    """Tell whether RE2 can be imported here."""
    return _re2() is not None


def _options(re2: Any) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = 64 << 20  # the automaton of all finders together; filled only as far as texts drive it
    return options


def detector(sources: Iterable[str], patterns: Sequence[str]) -> Callable[[Sequence[str]], bool]:
    """Return a function that tells whether any of some texts may hold a secret.

    `sources` are RE2 expressions without anchors; `patterns` are the user's, and may hold them.
    """
    re2 = _re2()
    if re2 is None:
        return lambda _texts: True
    joint = "|".join(f"(?:{p})" for p in patterns if not _ANCHOR.search(p))
    users = re2.compile(joint, _options(re2)) if joint else None
    alone = [re2.compile(p, _options(re2)) for p in patterns if _ANCHOR.search(p)]
    # A set of one: its Match costs less per call than a compiled expression's search, which builds spans.
    whole = re2.Set.SearchSet(_options(re2))
    try:
        whole.Add("|".join(f"(?:{s})" for s in sources))
        whole.Compile()
    except re2.error:
        return lambda _texts: True
    match = whole.Match

    def may_hold(texts: Sequence[str]) -> bool:
        text = "\0".join(("", *texts, ""))
        try:
            joined = text.encode()
        except UnicodeEncodeError:  # lone surrogates, which RE2 cannot take
            joined = text.encode("utf-8", "replace")
        return match(joined) is not None

    def may_hold_more(texts: Sequence[str]) -> bool:
        if may_hold(texts):
            return True
        if users is not None and users.search("\0".join(texts).encode("utf-8", "replace")) is not None:
            return True
        return any(one.search(t.encode("utf-8", "replace")) is not None for one in alone for t in texts)

    return may_hold if users is None and not alone else may_hold_more


def user_finder(name: str, pattern: str, *, allow_backtracking: bool) -> Finder:
    """Return what finds a user's `pattern`. Raises RedactionError when it cannot be used."""
    where = f"redact.patterns.{name}"
    re2 = _re2()
    compiled: Any
    if re2 is not None:
        try:
            compiled = re2.compile(pattern, _options(re2))
        except re2.error as error:
            text = error.args[0]
            reason = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
            raise RedactionError(
                f"{where}: RE2 cannot use {pattern!r}: {reason} (no look-around, no back-references)"
            ) from None
    elif allow_backtracking:
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise RedactionError(f"{where}: {pattern!r} is no regular expression: {error}") from None
    else:
        raise RedactionError(
            f'{where}: patterns of your own need RE2: pip install "logferry[re2]"; or set '
            "redact.allow_backtracking: true, which lets one bad pattern stop the application"
        )
    if compiled.search("") is not None:
        raise RedactionError(
            f"{where}: {pattern!r} matches the empty text; make it match what it should hide"
        )
    return lambda text: (m for m in _spans(compiled, text))


def _spans(compiled: Any, text: str) -> Iterable[tuple[int, int]]:
    for match in compiled.finditer(text):
        start, end = match.start(), match.end()
        if end > start:
            yield start, end
