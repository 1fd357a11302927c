"""Events without secrets. `clean` never raises and never lets a text through that it could not examine.

Rules:

- `slow` decides: keys by name, texts by `pairs` and `patterns`, all found on the original text, merged,
  replaced once. The fast way only proves that there is nothing to decide: no sensitive name in the shape, no
  container, and every text either known to be clean or missed by the detector, which hits whenever `slow`
  would.
- `_known` remembers short texts that were found clean (regions, routes, constant messages: most of what is
  logged): each eighth that is new, because what never comes again would cost more to keep than to look at,
  and what keeps coming soon has its turn. It is bounded and forgets all at once. It never holds a secret.
- Names are texts too: a shape whose names hold a secret, or one of which may say what another holds
  (`named.py`), has no fast way.
- Only the schema's free text is looked at among built-in fields: a UUID can pass Luhn.
- Nested values are never changed in place: what changes is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Final

from ..schema import FIELDS, Schema
from .detector import Finder, detector, user_finder
from .keys import Keys
from .named import labelled, named, pair_of_names
from .named import source as named_source
from .pairs import couples, pairs
from .patterns import EMAIL, RULES
from .values import FAILED, Marker, Mode, is_mark

__all__ = ["Redactor"]

_SCALARS: Final = frozenset({int, float, bool, type(None)})
_CONTAINERS: Final = frozenset({dict, list, tuple})
_KNOWN: Final = 8192  # texts of at most _SHORT characters: a megabyte or two
_SHORT: Final = 160
_MANY: Final = 64  # texts at once: more than an event has
_TIMES: Final = 4  # that each of many has to come, on average
_SHAPES: Final = 2048
_DEEPEST: Final = 64
_LISTS: Final = 1024  # combinations of names in containers

Getter = Callable[[Mapping[str, object]], tuple[object, ...]]


def _nothing(_event: Mapping[str, object]) -> tuple[object, ...]:
    return ()


def _getter(names: tuple[str, ...]) -> Getter:
    if not names:
        return _nothing
    get = itemgetter(*names)
    return get if len(names) > 1 else lambda event: (event[names[0]],)


class _Shape:
    """What is known of events with the same names: which are sensitive, which held text when first seen."""

    __slots__ = ("free", "odd", "others", "renamed", "sensitive", "texts")

    def __init__(
        self,
        event: Mapping[str, object],
        names: tuple[str, ...],
        sensitive: tuple[str, ...],
        renamed: Mapping[str, str],
    ) -> None:
        self.free = tuple(name for name in names if name not in sensitive)
        self.sensitive = sensitive
        self.renamed = renamed
        self.odd = bool(renamed) or pair_of_names(self.free)
        self.texts = _getter(tuple(name for name in self.free if type(event.get(name)) is str))
        self.others = _getter(tuple(name for name in self.free if type(event.get(name)) is not str))


class Redactor:
    """Removes secrets from events and texts.

    `keys` are added to the built-in sensitive names; `patterns` (name → regular expression in RE2's
    syntax) to the built-in kinds. `mode`: `mask`, `hash` (needs `hash_key`) or `drop`. `emails` redacts
    e-mail addresses too. `allow_backtracking` lets `patterns` run on Python's `re` where RE2 is missing.
    Raises RedactionError for settings that cannot work. `counts` (kind → how many) is for metrics: increments
    may be lost when threads race.
    """

    __slots__ = (
        *("_finders", "_harmless", "_keys", "_known", "_marker", "_may_hold", "_optional", "_shapes"),
        *("_turn", "counts", "is_sensitive_key"),
    )

    def __init__(
        self,
        keys: Iterable[str] = (),
        patterns: Mapping[str, str] = MappingProxyType({}),
        mode: Mode = "mask",
        *,
        hash_key: bytes | None = None,
        emails: bool = False,
        allow_backtracking: bool = False,
        schema: Schema | None = None,
    ) -> None:
        self.counts: dict[str, int] = {}
        self._marker = Marker(mode, hash_key)
        self._keys = Keys(keys)
        self.is_sensitive_key: Callable[[str], bool] = self._keys.is_sensitive
        rules = (*RULES, EMAIL) if emails else RULES
        self._finders: list[tuple[str, Finder, bool]] = [
            ("key", lambda text: pairs(text, self._keys), False),
            ("key", lambda text: couples(text, self._keys), False),
            ("key", lambda text: named(text, self._keys), False),
            *((rule.kind, rule.spans, rule.keep_last_four) for rule in rules),
            *(
                (name, user_finder(name, pattern, allow_backtracking=allow_backtracking), False)
                for name, pattern in patterns.items()
            ),
        ]
        by_name = f"(?i:{named_source(self._keys.words)})"
        sources = (self._keys.source, by_name, *(rule.detect for rule in rules))
        self._may_hold = detector(sources, tuple(patterns.values()))
        built_in = FIELDS if schema is None else schema.fields[: len(FIELDS)]
        optional = {field.name for field in built_in if field.free_text} | {"error_pattern"}
        self._optional = frozenset(optional - {"message"})
        self._known: set[object] = {""}
        self._turn = 0
        self._harmless: set[tuple[str, ...]] = set()  # names in containers, found clean
        self._shapes: dict[tuple[Any, ...], _Shape] = {}

    def clean(self, event: dict[str, Any], extras: tuple[str, ...]) -> dict[str, Any]:
        """Return `event`, or a copy without its secrets. `extras` are its keys outside the schema.

        Never raises: what could not be examined is replaced by "[redaction failed]" and counted as `failed`.
        """
        try:
            shape = self._shapes.get((extras, *event))
            if (
                shape is not None
                and not shape.odd
                and (shape.others is _nothing or _SCALARS.issuperset(map(type, shape.others(event))))
                and (self._known.issuperset(texts := shape.texts(event)) or self._is_clean(texts))
            ):
                return self._without(event, shape.sensitive) if shape.sensitive else event
        except (
            TypeError,
            KeyError,
        ):  # something else where a text was, a name that is not there: look properly
            pass
        except Exception:  # noqa: BLE001 (whatever went wrong, nothing may pass unexamined)
            return self._fail(event, extras)
        try:
            return self._examine(event, extras)
        except Exception:  # noqa: BLE001 (whatever went wrong, nothing may pass unexamined)
            return self._fail(event, extras)

    def examined(self, names: frozenset[str], extras: tuple[str, ...]) -> frozenset[str] | None:
        """Return which of an event's `names` hold what `clean` looks at.

        None when the names themselves matter: sensitive ones, ones that hold a secret or say what another
        holds. Otherwise `clean` leaves an event of these names as it is when `are_clean` says so of the
        texts under the names returned, or `is_clean` of these with the lists and dicts.
        """
        free = ("message", *extras, *sorted((names & self._optional).difference(extras)))
        if any(map(self.is_sensitive_key, extras)) or pair_of_names(free) or not self._is_clean(extras):
            return None
        return frozenset(free)

    def is_clean(self, texts: tuple[str, ...], nested: tuple[Any, ...]) -> bool:
        """Tell whether neither `texts` nor lists and dicts in plain JSON types can hold a secret."""
        found = list(texts)
        for value in nested:
            if not self._is_harmless(value, found):
                return False
        return self.are_clean(found)

    def clean_text(self, text: str) -> str:
        """Return `text` without its secrets; never raises."""
        try:
            return text if self._is_clean([text]) else self._slow(text)
        except Exception:  # noqa: BLE001 (as in `clean`)
            self._count("failed")
            return FAILED

    def clean_url(self, url: str) -> str:
        """Return `url` without password, sensitive query parameters, and whatever else is secret in it."""
        return self.clean_text(url)

    def clean_mapping(self, mapping: Mapping[str, Any]) -> dict[str, Any]:
        """Return headers, a form or the like as a dict without its secrets; never raises."""
        try:
            return dict(self._mapping(mapping, 0))
        except Exception:  # noqa: BLE001 (as in `clean`)
            self._count("failed")
            return {"redaction": FAILED}

    def _count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def _shape(self, event: Mapping[str, Any], extras: tuple[str, ...]) -> _Shape:
        key = (extras, *event)
        shape = self._shapes.get(key)
        if shape is None:
            present = event.keys() & self._optional
            sensitive = tuple(name for name in extras if self.is_sensitive_key(name))
            names = ("message", *extras, *sorted(present.difference(extras)))
            shape = _Shape(event, names, sensitive, self._renamed(event, extras))
            if len(self._shapes) >= _SHAPES:
                self._shapes.clear()
            self._shapes[key] = shape
        return shape

    def _renamed(self, event: Mapping[str, object], extras: tuple[str, ...]) -> dict[str, str]:
        """Return new names for those extras whose own names hold a secret."""
        if self._is_clean(extras):
            return {}
        taken = set(event)
        renamed: dict[str, str] = {}
        for name in extras:
            cleaned = self._slow(name)
            if cleaned != name:
                while cleaned in taken:
                    cleaned += "'"
                taken.add(cleaned)
                renamed[name] = cleaned
        return renamed

    def _without(self, event: dict[str, Any], sensitive: tuple[str, ...]) -> dict[str, Any]:
        """Return `event`, or a copy in which marks stand for the values of `sensitive` keys."""
        if all(event.get(name) is None for name in sensitive):
            return event
        cleaned = dict(event)
        for name in sensitive:
            if name in event:
                self._put(cleaned, name, event[name])
        return cleaned

    def _examine(self, event: dict[str, Any], extras: tuple[str, ...]) -> dict[str, Any]:
        shape = self._shape(event, extras)
        if shape.odd:
            return self._examine_odd(event, shape, extras)
        names = [name for name in shape.free if name in event]
        texts: list[str] = []
        for name in names:
            _collect(event[name], texts)
        dubious = any(self._sensitive_inside(event[n]) for n in names if type(event[n]) in _CONTAINERS)
        if not dubious and self._is_clean(texts):
            return self._without(event, shape.sensitive)
        cleaned = dict(event)
        for name in names:
            cleaned[name] = self._value(event[name], 0)
        return self._without(event if cleaned == event else cleaned, shape.sensitive)

    def _examine_odd(self, event: dict[str, Any], shape: _Shape, extras: tuple[str, ...]) -> dict[str, Any]:
        """Clean an event whose names hold secrets, or say what others hold."""
        beside = labelled({name: event[name] for name in extras if name in event}, self._keys)
        searched = frozenset(shape.free)
        cleaned: dict[str, Any] = {}
        for name, value in event.items():
            shown = shape.renamed.get(name, name)
            if name in shape.sensitive or name in beside:
                self._put(cleaned, shown, value)
            else:
                cleaned[shown] = self._value(value, 0) if name in searched else value
        return event if cleaned == event else cleaned

    def _put(self, into: dict[str, Any], name: str, value: Any) -> None:
        """Store what stands for the `value` of a sensitive key."""
        if value is None or (type(value) is str and (not value or is_mark(value))):
            into[name] = value
            return
        self._count("key")
        if self._marker.mode == "drop":
            into.pop(name, None)
        else:
            into[name] = self._marker.mark(value if type(value) is str else repr(value))

    def are_clean(self, texts: Sequence[Any]) -> bool:
        """Tell whether it is certain that none of the `texts` holds a secret, and remember the short ones.

        Raises TypeError when one is not a text.
        """
        if self._known.issuperset(texts):
            return True
        if self._may_hold(texts):  # known ones too: to look at them costs less than to sort them out
            return False
        self._turn += 1  # a race loses a turn at worst
        if not self._turn & 7:
            self._remember(texts)
        return True

    _is_clean = are_clean

    @property
    def knows(self) -> Callable[[Iterable[object]], bool]:
        """What tells whether some texts are all remembered as clean; it stays the same one."""
        return self._known.issuperset

    def _remember(self, texts: Collection[str]) -> None:
        if len(texts) > _MANY:
            distinct = set(texts)
            if _TIMES * len(distinct) > len(texts):
                return
            texts = distinct
        if len(self._known) >= _KNOWN:
            self._known.clear()
            self._known.add("")
        self._known.update([text for text in texts if len(text) <= _SHORT])

    def _is_harmless(self, value: Any, found: list[str]) -> bool:
        """Add every text in a list or dict to `found`; False when a name is sensitive.

        What `_collect` and `_sensitive_inside` say, in one walk.
        """
        if type(value) is dict:
            names = tuple(value)
            if names not in self._harmless and not self._are_harmless(names, value, found):
                return False
            items: Iterable[Any] = value.values()
        else:
            if len(value) == 2 and self._is_couple(value):
                return False
            items = value
        for item in items:
            kind = type(item)
            if kind is str:
                found.append(item)
            elif kind in _CONTAINERS and not self._is_harmless(item, found):
                return False
        return True

    def _are_harmless(self, names: tuple[str, ...], value: dict[str, Any], found: list[str]) -> bool:
        """Say of a dict's names what `_is_harmless` says, and remember those that are so in every dict."""
        if any(map(self.is_sensitive_key, names)):
            return False
        if pair_of_names(names):
            if labelled(value, self._keys):
                return False
        elif sum(map(len, names)) <= _SHORT and self._is_clean(names):
            if len(self._harmless) >= _LISTS:
                self._harmless = set()
            self._harmless.add(names)
        found.extend(names)
        return True

    def _sensitive_inside(self, value: Any) -> bool:
        if type(value) is dict:
            return bool(labelled(value, self._keys)) or any(
                self.is_sensitive_key(str(k)) or self._sensitive_inside(v) for k, v in value.items()
            )
        if type(value) not in {list, tuple}:
            return False
        return self._is_couple(value) or any(self._sensitive_inside(item) for item in value)

    def _is_couple(self, value: Any) -> bool:
        """Tell whether a list of two texts is a sensitive name with its value."""
        if len(value) != 2 or type(value[0]) is not str or type(value[1]) is not str:
            return False
        return self.is_sensitive_key(value[0])

    def _value(self, value: Any, depth: int) -> Any:
        if type(value) in _SCALARS:
            return value
        if depth > _DEEPEST:
            self._count("failed")
            return FAILED
        if isinstance(value, str):
            return self._slow(value)
        if isinstance(value, dict):
            return dict(self._mapping(value, depth))
        if isinstance(value, (list, tuple)):
            return self._items(value, depth)
        return self._slow(str(value))

    def _items(self, items: Sequence[Any], depth: int) -> list[Any]:
        if self._is_couple(items):  # headers, as ASGI and http.client list them
            kept: dict[str, Any] = {}
            self._put(kept, items[0], items[1])
            return [self._slow(items[0]), *kept.values()]
        return [self._value(item, depth + 1) for item in items]

    def _mapping(self, mapping: Mapping[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
        taken: set[str] = set()
        beside = labelled(mapping, self._keys)
        for key, value in mapping.items():
            name = self._slow(key)
            while name in taken:
                name = f"{name}'"  # two keys that were different secrets
            taken.add(name)
            if self.is_sensitive_key(str(key)) or key in beside:
                kept: dict[str, Any] = {}
                self._put(kept, name, value)
                yield from kept.items()
            else:
                yield name, self._value(value, depth + 1)

    def _slow(self, text: str) -> str:
        """Return `text` with every secret replaced, whatever the detector thinks of it."""
        if text in self._known:
            return text
        whole = text
        try:
            text.encode()
        except UnicodeEncodeError:  # lone surrogates, which RE2 cannot take
            text = text.encode("utf-8", "replace").decode()
        found = [
            (start, -end, kind, keep)
            for kind, find, keep in self._finders
            for start, end in find(text)
            if not is_mark(text[start:end])
        ]
        if not found:
            self._remember((whole,))
            return whole
        pieces: list[str] = []
        done = 0
        for start, end, kind, keep in _merged(found):
            pieces += (text[done:start], self._marker.mark(text[start:end], keep_last_four=keep))
            self._count(kind)
            done = end
        return "".join((*pieces, text[done:]))

    def _fail(self, event: dict[str, Any], extras: tuple[str, ...]) -> dict[str, Any]:
        """Return the event with everything replaced that might hold a secret."""
        self._count("failed")
        suspicious = {"message", *extras, *self._optional}
        return {
            name: FAILED if name in suspicious and type(value) not in _SCALARS else value
            for name, value in event.items()
        }


def _collect(value: Any, texts: list[str]) -> None:
    """Add every text in `value`, keys included, to `texts`."""
    kind = type(value)
    if kind is str:
        texts.append(value)
    elif kind is dict:
        for key, item in value.items():
            texts.append(key if type(key) is str else str(key))
            _collect(item, texts)
    elif kind is list or kind is tuple:
        for item in value:
            _collect(item, texts)
    elif kind not in _SCALARS:
        texts.append(str(value))


def _merged(found: list[tuple[int, int, str, bool]]) -> Iterator[tuple[int, int, str, bool]]:
    """Yield overlapping finds as one, named after the first and longest, left to right."""
    found.sort()
    start, end, kind, keep = found[0][0], -found[0][1], found[0][2], found[0][3]
    for s, e, k, p in found[1:]:
        if s < end:
            if -e > end:
                end, keep = -e, False
            continue
        yield start, end, kind, keep
        start, end, kind, keep = s, -e, k, p
    yield start, end, kind, keep
