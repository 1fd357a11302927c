"""A plan for framing many events alike: a decoder, and a loop made for the fields that must be looked at.

The loop is written as source, as in `metadata`: attributes and positions only, nothing that a user wrote. An
entry is some pieces, and the pieces of all entries are joined at once:

    tag and size · tag and length · line · second · nanoseconds · event_id · its last digits · metadata · more

The metadata before the first wide field is a piece of the combination. Wide fields that follow one another,
and what is between them, are one string; numbers are pieces of their own, made for all events at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from types import CodeType
from typing import Any, Final, TypeAlias

import orjson

from .heads import Head
from .metadata import BOOLEANS, openings, text_of
from .protobuf import field_two

__all__ = ["Combination", "Plan", "column"]

Combination: TypeAlias = tuple[Any, ...]
"""The stream's `parts.extend`, the size of the pieces of metadata, the one before the first wide field, and
the one behind each wide field: characters, or bytes behind a number."""

_NUMBERS: Final = frozenset(("integer", "number"))


class Plan:
    """How events are framed of which some fields are known.

    `keys` are the attributes that make a combination, `constants` those that have one value, `wide` those
    (with their fields) that are written one by one; `types` are the schema's types by attribute, as far as
    `decode` makes sure of them. `meet` returns a combination that is new, `odd` frames an event that does not
    fit.
    """

    def __init__(
        self,
        decode: Callable[[bytes], Sequence[Head]],
        keys: Sequence[str],
        constants: Mapping[str, Any],
        wide: Mapping[str, str],
        types: Mapping[str, str],
        meet: Callable[[Plan, tuple[Any, ...]], Combination],
        odd: Callable[..., None],
    ) -> None:
        self.decode, self.keys, self.constants, self.wide = decode, keys, constants, wide
        self.numbers = [name for name in wide if types[name] in _NUMBERS]
        code, self.pieces = _code(tuple(keys), tuple((name, types[name]) for name in wide))
        self._columns = [attrgetter(name) for name in self.numbers]
        self._table: dict[Any, Combination] = {}
        scope: dict[str, Any] = {"get": self._table.get, "plain": BOOLEANS, "dumps": orjson.dumps}
        scope |= {"meet": lambda key: meet(self, (key,) if len(keys) == 1 else key)}
        scope |= {"odd": lambda *event: odd(self, *event), "opening": field_two()}
        for i, (attribute, name) in enumerate(wide.items()):
            before = openings(name)
            scope[f"h{i}"] = [text.encode() for text in before] if attribute in self.numbers else before
            scope[f"n{i}"] = len(before[0])
        exec(code, scope)  # noqa: S102 - attributes and positions only, see above
        self._loop: Callable[..., None] = scope["loop"]

    def run(self, heads: Sequence[Head], *given: Any) -> None:
        """Frame some events; see `_code` for what the loop is given of them."""
        self._loop(heads, *given, *(column([get(head) for head in heads]) for get in self._columns))

    def combine(self, extend: Callable[[Iterable[bytes]], None], pieces: Sequence[bytes]) -> Combination:
        """Return a combination: `pieces` are the framed metadata before and behind each wide field."""
        # A piece beyond ASCII cannot be encoded by the loop: such events go the odd way.
        behind = [
            piece if attribute in self.numbers else piece.decode("latin-1")
            for attribute, piece in zip(self.wide, pieces[1:], strict=True)
        ]
        size = len(pieces[0]) + sum(len(piece) for piece in behind if type(piece) is bytes)
        return extend, size, pieces[0], *behind

    def keep(self, key: tuple[Any, ...], found: Combination, most: int) -> bool:
        """Put a combination into the table; False: it has `most` already."""
        if len(self._table) >= most:
            return False
        self._table[key[0] if len(key) == 1 else key] = found
        return True

    def counts(self) -> Mapping[str, int]:
        """Return how many different values each key has in the table."""
        keys = [key if len(self.keys) != 1 else (key,) for key in self._table]
        return {name: len({key[place] for key in keys}) for place, name in enumerate(self.keys)}


def column(values: Sequence[Any]) -> list[bytes]:
    """Return numbers, or None, as `text_of` writes them; anything else as well."""
    try:
        text = orjson.dumps(values)
    except TypeError:  # a whole number of more than 64 bits
        return [text_of(value).encode() for value in values]
    # JSON's text is Python's, but for exponents and what is less than 0.0001.
    if b"e" in text or b'"' in text or b"0.0000" in text:  # true and false have an e
        return [text_of(value).encode() for value in values]
    found = text[1:-1].split(b",")
    return [b"" if number == b"null" else number for number in found] if b"n" in text else found


@lru_cache(64)
def _code(keys: tuple[str, ...], wide: tuple[tuple[str, str], ...]) -> tuple[CodeType, int]:
    """Return the loop's code, and how many pieces an entry has."""
    values = [f"head.{key}" for key in keys]
    key = values[0] if len(values) == 1 else f"({''.join(f'{value},' for value in values)})"
    columns = "".join(f", v{i}" for i, (_, type_) in enumerate(wide) if type_ in _NUMBERS)
    events = f"tail, nano, stamp{columns}"
    source = [f"def loop(heads, lines, tails, nanos, stamps, own, opens, first{columns}):"]
    source += [f" for head, line, {events} in zip(heads, lines, tails, nanos, stamps{columns}):", "  try:"]
    source += [f"   key = {key}", "   found = get(key)", "   if found is None: found = meet(key)"]
    source += [f"   {', '.join(['add', 'size', 'meta', *(f'p{i}' for i in range(len(wide)))])} = found"]
    # A line shorter than 128 bytes has a shorter opening; one that is too long is not in the table.
    source += ["   length = len(line)", "   if length < 128: raise ValueError", "   size += length"]
    pieces, text = ["opens[size]", "opening[length]", "line", "stamp", "nano", "own", "tail", "meta"], ""
    for i, (attribute, type_) in enumerate(wide):
        source += _written(i, attribute, type_)
        if type_ not in _NUMBERS:
            text += f"{{s{i}}}{{v{i}}}{{p{i}}}"
        if text and (type_ in _NUMBERS or i == len(wide) - 1):
            # ASCII only: a length of characters is then a length of bytes.
            source += [f"   t{i} = f'{text}'.encode('ascii')", f"   size += len(t{i})"]
            pieces.append(f"t{i}")
            text = ""
        if type_ in _NUMBERS:
            pieces += [f"s{i}", f"v{i}", f"p{i}"]
    source += [f"   add(({', '.join(pieces)}))", "  except (IndexError, ValueError, TypeError):"]
    source += ["   odd(head, line, first // 1000 * 1000 + int(tail), stamp, nano)"]
    return compile("\n".join(source), "<a plan for Loki>", "exec"), len(pieces)


def _written(i: int, attribute: str, type_: str) -> list[str]:
    """Return the statements that set `v` to the text of a field's value, and `s` to what stands before it."""
    short, absent = f"s{i} = h{i}[len(v{i})]", f"s{i} = v{i} = ''"
    if type_ in _NUMBERS:
        return [f"   if v{i}: n = len(v{i}); s{i} = h{i}[n]; size += n + n{i}", f"   else: s{i} = v{i}"]
    if type_ == "string":
        return [f"   if v{i} := head.{attribute}: {short}", f"   else: {absent}"]
    # `f'{1.5}'` is a number's own text, as `repr` gives it. JSON's is the same where neither has an exponent,
    # and made in half the time.
    return [
        f"   v{i} = head.{attribute}",
        f"   if v{i}.__class__ is float and 0.0001 <= v{i} < 1e16: v{i} = dumps(v{i}).decode(); {short}",
        f"   elif v{i}.__class__ is float or v{i}.__class__ is int: v{i} = f'{{v{i}}}'; {short}",
        f"   elif v{i} is None or v{i} == '': {absent}",
        f"   elif v{i}.__class__ is str: {short}",
        f"   elif v{i}.__class__ is bool: v{i} = plain[v{i}]; {short}",
        "   else: raise TypeError",
    ]
