"""Text lines, many at once: decoded, looked through and encoded in a few calls for all of them.

It gives for each line the event that `foreign.compose` gives, or leaves the line to it; a property test
compares the two. What may be JSON or hold it, ids, tracebacks, and lines in which the redactor's detector
hits are left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import repeat
from typing import Any, Final

import msgspec
import orjson

from ...handlers.clock import stamp
from ...handlers.pattern import FAILS, error_pattern
from ...handlers.record import EventBuilder
from ...handlers.typed import Prover
from ..core.ids import block_may_hold_ids, has_ids
from ..core.parse import HEAD_BYTES, ISO, LEVEL_NAMES, PREFIXED, TRACEBACK, WORD, second_of
from .suspects import suspects

__all__ = ["TextShape"]

_TRACEBACK: Final = TRACEBACK.encode()
_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_GOES_ON: Final = frozenset("0123456789.,")
_ZONES: Final = frozenset("Z+-")
_NEAR: Final = 14  # characters behind the time
_MANY: Final = 4096


# `service` is what every event has: its name, and behind it the rest of it, as JSON.
class _Text(msgspec.Struct, gc=False):
    service: msgspec.Raw
    timestamp: str
    level: str
    message: str


class _Failed(msgspec.Struct, gc=False):
    service: msgspec.Raw
    timestamp: str
    level: str
    message: str
    error_pattern: str


class TextShape:
    """Takes blocks of text lines. `extra` are texts that every event gets.

    Raises ValueError when the redactor cannot vouch for what every event gets.
    """

    def __init__(self, builder: EventBuilder, redactor: Prover | None, extra: Mapping[str, str]) -> None:
        schema = builder.schema
        constants: dict[str, Any] = {"service": schema.service, "trace_id": "", "span_id": "", "logger": ""}
        constants |= {"environment": schema.environment, "version": schema.version, "host": schema.host}
        constants = {name: value for name, value in constants.items() if value is not None} | dict(extra)
        self._redactor = redactor
        if redactor is not None:
            names = frozenset((*constants, "timestamp", "level", "message"))
            watched = redactor.examined(names, tuple(extra))
            if watched is None or not redactor.are_clean((*extra.values(),)):
                raise ValueError("a name is sensitive, or what every event gets")
        self._front = msgspec.Raw(orjson.dumps(constants)[len(b'{"service":') : -1])
        self._known: dict[str, str] = {}
        self._encode = msgspec.json.Encoder().encode_lines

    def take(self, lines: Sequence[bytes], block: bytes) -> tuple[bytes, list[int]]:
        """Return the events of `lines`, a line break behind each, and the places of lines that are left out.

        None of the lines is blank, ends with white space or holds a line break; `block` is them, joined.
        """
        texts = block.decode("utf-8", "replace").split("\n")
        odd: set[int] = set()
        if b"{" in block:
            odd.update(place for place, line in enumerate(lines) if line.lstrip()[:1] == b"{")
            if b"}" in block and PREFIXED in block:
                odd.update(
                    place for place, line in enumerate(lines) if line[-1:] == b"}" and PREFIXED in line
                )
        if block_may_hold_ids(block):
            odd.update(place for place, text in enumerate(texts) if has_ids(text))
        if _TRACEBACK in block:
            odd.update(place for place, text in enumerate(texts) if text.startswith(TRACEBACK))
        if self._redactor is not None:
            odd.update(suspects(self._redactor, texts))
        left = sorted(odd)
        if left:
            texts = [text for place, text in enumerate(texts) if place not in odd]
            if not texts:
                return b"", left
        times, begin = _times(texts)
        levels = self._levels(texts, begin)
        front = self._front
        rows: list[Any] = list(map(_Text, repeat(front), times, levels, texts))
        for place, level in enumerate(levels):
            if level in FAILS:
                text = texts[place]
                rows[place] = _Failed(front, times[place], level, text, error_pattern(text, None))
        return self._encode(rows), left

    def _levels(self, texts: Sequence[str], begin: int) -> list[str]:
        """Return the levels. Up to `begin` (unless 0) every text is a time and nothing else.

        A level that stands right behind it is remembered with what is around it.
        """
        if not begin:
            return [_level(text) for text in texts]
        known = self._known
        if len(known) > _MANY:
            known.clear()
        end = begin + _NEAR
        found = []
        for text in texts:
            near = text[begin:end]
            level = known.get(near)
            if level is None:
                level = _level(text)
                word = WORD.search(text, 0, HEAD_BYTES)
                if word is not None and word.end() < end:
                    known[near] = level
            found.append(level)
        return found


def _times(texts: Sequence[str]) -> tuple[list[str], int]:
    """Return the times, and how long they are in the texts when all have the same form (else 0)."""
    match = ISO.match(texts[0])
    if match is not None and match[4] is None and match.start(1) == 0:
        end = match.end(2 if match[3] is None else 3)
        found = _times_alike(texts, end)
        if found is not None:
            return found, end
    now = stamp(None)
    return [_time(text) or now for text in texts], 0


def _times_alike(texts: Sequence[str], end: int) -> list[str] | None:
    """Return the times of texts whose first `end` characters are one, without a zone; None: some are not."""
    form = texts[0][:end].encode().translate(_DIGITS)
    begun = "".join([text[:end] for text in texts]).encode("utf-8", "replace")
    if begun.translate(_DIGITS) != form * len(texts):
        return None
    for behind in {text[end : end + 2] for text in texts}:  # what would be part of the time
        if behind[:1] in _GOES_ON or behind.lstrip()[:1] in _ZONES:
            return None
    seconds: dict[str, str] = {}
    for text in {text[:19] for text in texts}:
        second = _second(text[:10], text[11:], None)
        if second is None:
            return None
        seconds[text] = second
    if end == 19:
        return [seconds[text[:19]] + "000000Z" for text in texts]
    zeros, stop = "0" * (26 - end) + "Z", min(end, 26)
    return [seconds[text[:19]] + text[20:stop] + zeros for text in texts]


def _time(text: str) -> str | None:
    match = ISO.match(text)
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    second = _second(day, clock, zone)
    return second and f"{second}{(fraction or '')[:6]:0<6}Z"


def _level(text: str) -> str:
    word = WORD.search(text, 0, HEAD_BYTES)
    return "INFO" if word is None else LEVEL_NAMES[word[0]]


@lru_cache(maxsize=256)  # the lines of a file share their seconds
def _second(day: str, clock: str, zone: str | None) -> str | None:
    """Return the beginning of the time stamps of a second; None: it is no time."""
    second = second_of(day, clock, zone, datetime.timestamp)
    return None if second is None else f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}."
