r"""Values that only their neighbour names: `{"name": "password", "value": "x"}`, multipart bodies, XML.

Found where a *label* (`name`, `key`, `headerName` ...) has a sensitive name as its value, and

- a *value* (`value`, `content`, `headerValue` ...) stands beside it, behind or in front, in the same braces
  or tag and within `_NEAR` characters: JSON (also escaped), `repr`, YAML, `key=a value=b`, attributes;
- or it is the attribute of an element: the element's text;
- or it names a part of a multipart body: all of that part.

So is the text of an element with attributes whose own name is sensitive (`pairs.py` reads those without).

`labelled` says the same of a dict. `source` is the RE2 expression that hits whenever one of these is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from .keys import Keys
from .values import is_mark

__all__ = ["labelled", "named", "pair_of_names", "source"]

_LABELS: Final = (
    "name|key|field|header|param|parameter|variable|attribute|attr|label|setting|property|option|env|column"
)
_VALUES: Final = "value|val|content|contents|text|data|default|secret"
_NEAR: Final = 256
_SEPARATOR: Final = r"""(?:\\{0,31}["'])?\s{0,4}(?:=>|[:=])\s{0,4}"""
_LABEL: Final = re.compile(
    rf"(?<![A-Za-z])(?i:[a-z]{{0,16}}[_-]?(?:{_LABELS})){_SEPARATOR}[bBuU]?"
    r"""(?:(?P<open>\\{0,31}["'])(?P<quoted>[^"'\\<>{}\r\n=,;&]{1,96})(?P=open)"""
    r"""|(?P<bare>[^\s"'\\<>{}=,;&]{1,96}+))"""
)
_VALUE: Final = re.compile(rf"(?<![A-Za-z])(?i:[a-z]{{0,16}}[_-]?(?:{_VALUES})){_SEPARATOR}")
_FENCE: Final = re.compile(r"[{}<>]")
_LINE_BREAK: Final = r"(?:\r?\n|(?:\\{1,31}r)?\\{1,31}n)"
_PART: Final = re.compile(
    rf"(?P<head>[^\r\n\\]{{0,256}}+(?P<nl>{_LINE_BREAK})(?:[^\r\n\\]{{1,256}}+(?P=nl)){{0,4}}+(?P=nl))"
)
_OPEN: Final = re.compile(r"""[bBuU]?(?P<open>\\{0,31}["'])""")
_BARE: Final = re.compile(r"""[^\s"'<>{},;&\\]++""")
_TAG: Final = re.compile(r"<(?:[\w.\-]{1,64}:)?(?P<name>[\w.\-]{1,64}+)\s[^<>]{0,256}+>")
_IS_LABEL: Final = re.compile(rf"(?i:(?:[a-z]{{0,16}}[_-]?)(?:{_LABELS}))")
_IS_VALUE: Final = re.compile(rf"(?i:(?:[a-z]{{0,16}}[_-]?)(?:{_VALUES}))")
_HARMLESS: Final = frozenset({"none", "null", "true", "false", "undefined"})


def source(words: str) -> str:
    """Return the detector for labels whose values hold one of the sensitive `words`."""
    separator = _SEPARATOR.replace("{0,31}", "*")
    label = rf"""(?:{_LABELS}){separator}[bu]?\\*["']?[^"'\\<>{{}}\r\n=,;&]*(?:{words})"""
    return rf"{label}|<[^<>\s]*(?:{words})(?-i:[^A-Za-z<>]){{0,4}}\s[^<>]*>"


def named(text: str, keys: Keys) -> Iterator[tuple[int, int]]:
    """Yield where values stand that a label beside them makes sensitive."""
    labels = list(_LABEL.finditer(text))
    for place, label in enumerate(labels):
        name = label["quoted"] or label["bare"]
        if not keys.is_sensitive(name):
            continue
        before = labels[place - 1].end() if place else 0
        after = labels[place + 1].start() if place + 1 < len(labels) else len(text)
        span = _part(text, label) or _beside(text, label, before, after) or _element(text, label)
        if span is not None and span[1] > span[0] and not is_mark(text[span[0] : span[1]]):
            yield span
    for tag in _TAG.finditer(text):
        if keys.is_sensitive(tag["name"]) and text[tag.end() - 2] != "/":
            closing = text.find("<", tag.end())
            yield tag.end(), len(text) if closing < 0 else closing


def _part(text: str, label: re.Match[str]) -> tuple[int, int] | None:
    """Return the body of the multipart part that the label names."""
    if "form-data" not in text[max(0, label.start() - 48) : label.start()].lower():
        return None
    head = _PART.match(text, label.end())
    if head is None:
        return None
    start = head.end()
    end = text.find(f"{head['nl']}--", start)
    return start, len(text) if end < 0 else end


def _beside(text: str, label: re.Match[str], before: int, after: int) -> tuple[int, int] | None:
    """Return the value nearest to the label: behind it, else in front."""
    end = min(after, label.end() + _NEAR)
    fence = _FENCE.search(text, label.end(), end)
    found = _VALUE.search(text, label.end(), fence.start() if fence else end)
    if found is not None:
        return _read(text, found.end())
    start = max(before, label.start() - _NEAR)
    inside = max((fence.end() for fence in _FENCE.finditer(text, start, label.start())), default=start)
    values = [value.end() for value in _VALUE.finditer(text, inside, label.start())]
    return _read(text, values[-1]) if values else None


def _element(text: str, label: re.Match[str]) -> tuple[int, int] | None:
    """Return the text of the element whose attribute the label is."""
    near = text[max(0, label.start() - _NEAR) : label.start()]
    if near.rfind("<") <= near.rfind(">"):
        return None
    end = text.find(">", label.end(), label.end() + _NEAR)
    if end < 0 or text[end - 1] == "/":
        return None
    closing = text.find("<", end)
    return end + 1, len(text) if closing < 0 else closing


def _read(text: str, start: int) -> tuple[int, int] | None:
    """Return the value that begins at `start`: to its closing quote, or to the end of the word."""
    opened = _OPEN.match(text, start)
    if opened is None:
        bare = _BARE.match(text, start)
        return None if bare is None or bare[0].lower() in _HARMLESS else bare.span()
    quote = opened["open"]
    if len(quote) == 1:
        body = re.compile(rf"(?:[^{quote}\\]|\\.)*+", re.DOTALL).match(text, opened.end())
        return opened.end(), body.end() if body else len(text)
    closing = re.compile(rf"(?<!\\)\\{{{len(quote) - 1}}}{quote[-1]}").search(text, opened.end())
    return opened.end(), closing.start() if closing else len(text)


@lru_cache(maxsize=4096)
def _is_label(name: str) -> bool:
    return len(name) <= 64 and _IS_LABEL.fullmatch(name) is not None


@lru_cache(maxsize=4096)
def _is_value(name: str) -> bool:
    return len(name) <= 64 and _IS_VALUE.fullmatch(name) is not None


def pair_of_names(names: tuple[str, ...]) -> bool:
    """Tell whether a label and a value are among some names."""
    return any(map(_is_label, names)) and any(map(_is_value, names))


def labelled(mapping: Mapping[Any, Any], keys: Keys) -> frozenset[str]:
    """Return the names in a dict whose values a label in the same dict makes sensitive."""
    texts = [name for name in mapping if type(name) is str]
    for name in texts:
        value = mapping[name]
        if type(value) is str and len(value) <= 96 and _is_label(name) and keys.is_sensitive(value):
            return frozenset(other for other in texts if _is_value(other))
    return frozenset()
