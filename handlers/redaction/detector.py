r"""Whether a text may hold a secret at all: one pass of RE2 over many texts, each between two NULs.

The detector may hit too often, never too rarely. That holds because its expressions are the finders' own,
weakened: no anchors and no look-around, so that what matches in one text matches wherever that text stands.
A user's pattern keeps `\b` and `\B` (NUL is no word character, like a text's edge); one that holds an anchor
is asked text by text. Users' patterns are asked through RE2's own Match, which falls back to an NFA where the
automaton's memory does not suffice; a Set would say "no". Without RE2 the answer is always "maybe": slower,
not weaker.

Most texts differ from earlier ones in their numbers only. So texts in which every digit is blurred to one and
the same are remembered, when a *blurred* detector has found them clean: its expressions take any digit where
the detector's take some, so that it hits whenever the detector would hit for any digits in these places. What
is remembered costs a look into a set, not a call of RE2, which beside its time hands the interpreter's lock
to whoever waits for it. They are remembered in their turn, each eighth that is new: what never comes again
would cost more to keep than to look at.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from .errors import RedactionError
from .forks import apart_from_forks

__all__ = ["Finder", "detector", "has_re2", "user_finder"]

Finder = Callable[[str], Iterable[tuple[int, int]]]

# What means the edge of a text. Conservative: an escaped or bracketed one counts too.
_ANCHOR: Final = re.compile(r"[\^$]|\\[AzZC]|\\Q")


# A part of an expression: an escape, a repetition, a class, or any character.
_PARTS: Final = re.compile(
    r"\\x\{[0-9A-Fa-f]+\}|\\x[0-9A-Fa-f]{2}|\\.|\{[0-9,]+\}|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL
)
_CODE: Final = re.compile(r"\\x\{[0-9A-Fa-f]+\}|\\x[0-9A-Fa-f]{2}")
_DIGITS: Final = frozenset("0123456789")
_BLUR: Final = bytes.maketrans(b"123456789", b"000000000")
_LONGEST: Final = 4096  # bytes of joined texts that are remembered
_ROOM: Final = 512 * 1024  # bytes of all of them


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


# Redactors of one process mostly ask for the same: one automaton does for all, and none is compiled twice.
@functools.lru_cache(maxsize=4)
def _matcher(re2: Any, sources: tuple[str, ...]) -> Callable[[bytes], list[int] | None]:
    """Return what tells whether any of the `sources` matches: None when not. Raises re2.error."""
    # A set of one: its Match costs less per call than a compiled expression's search, which builds spans.
    whole = re2.Set.SearchSet(_options(re2))
    whole.Add("|".join(f"(?:{s})" for s in sources))
    whole.Compile()
    match: Callable[[bytes], list[int] | None] = whole.Match
    return apart_from_forks(match)


@functools.lru_cache(maxsize=64)
def blurred(source: str) -> str:
    """Return an RE2 expression that hits a text of zeros for digits when `source` hits it with any digits."""
    return "".join(map(_blurred, _PARTS.findall(source)))


def _blurred(part: str) -> str:
    if part[0] != "[":
        return "[0-9]" if part in _DIGITS else part
    bare = _CODE.sub("", part)
    if "0-9" in bare or _DIGITS.isdisjoint(bare):
        return part  # it takes all digits or none
    if part[1] == "^":
        raise ValueError(f"{part}: which digits does it take?")
    return f"[0-9{part[1:]}"


class _Blurred:
    """Joined texts without their numbers that are known to be clean, whatever their numbers."""

    __slots__ = ("_match", "_size", "clean", "turn")

    def __init__(self, match: Callable[[bytes], list[int] | None]) -> None:
        self._match = match
        self._size = 0
        self.clean: set[bytes] = set()
        self.turn = 0

    def remember(self, numberless: bytes) -> None:
        """Keep what is clean for any numbers."""
        if self._match(numberless) is not None:
            return
        self._size += len(numberless)
        if self._size > _ROOM:
            self.clean, self._size = set(), len(numberless)
        self.clean.add(numberless)


def detector(sources: Iterable[str], patterns: Sequence[str]) -> Callable[[Sequence[str]], bool]:
    """Return a function that tells whether any of some texts may hold a secret.

    `sources` are RE2 expressions without anchors; `patterns` are the user's, and may hold them.
    """
    re2 = _re2()
    if re2 is None:
        return lambda _texts: True
    joint = "|".join(f"(?:{p})" for p in patterns if not _ANCHOR.search(p))
    users = apart_from_forks(re2.compile(joint, _options(re2)).search) if joint else None
    alone = [apart_from_forks(re2.compile(p, _options(re2)).search) for p in patterns if _ANCHOR.search(p)]
    sources = tuple(sources)
    try:
        match = _matcher(re2, sources)
        seen = _Blurred(_matcher(re2, tuple(blurred(source) for source in sources)))
    except re2.error:
        return lambda _texts: True

    may_hold = _remembering(match, seen)

    def may_hold_more(texts: Sequence[str]) -> bool:
        if may_hold(texts):
            return True
        if users is not None and users("\0".join(texts).encode("utf-8", "replace")) is not None:
            return True
        return any(one(t.encode("utf-8", "replace")) is not None for one in alone for t in texts)

    return may_hold if users is None and not alone else may_hold_more


def _remembering(
    match: Callable[[bytes], list[int] | None], seen: _Blurred
) -> Callable[[Sequence[str]], bool]:
    """Return a function that tells whether any of some texts matches, and remembers some that do not."""

    def may_hold(texts: Sequence[str]) -> bool:
        # Lone surrogates cannot be encoded, and RE2 cannot take them.
        joined = "\0".join(("", *texts, "")).encode("utf-8", "replace")
        if len(joined) > _LONGEST:
            return match(joined) is not None  # what is so long is not remembered
        numberless = joined.translate(_BLUR)
        if numberless in seen.clean:
            return False
        if match(joined) is not None:
            return True
        seen.turn += 1  # a race loses a turn at worst
        if not seen.turn & 7:
            seen.remember(numberless)
        return False

    return may_hold


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
    # All at once: what is asked for one by one would be within RE2 between two of them.
    return apart_from_forks(lambda text: list(_spans(compiled, text)))


def _spans(compiled: Any, text: str) -> Iterable[tuple[int, int]]:
    for match in compiled.finditer(text):
        start, end = match.start(), match.end()
        if end > start:
            yield start, end
