"""From a tree to typed dataclasses, collecting every mistake on the way.

Rules:
- Nothing is guessed: a value fits its field's type or is a problem at its key, with what to write instead.
- A section with a problem inside yields None, and its siblings are still bound: all mistakes come in one go.
- Relative paths are relative to `base` (the directory of the file); `~` is the user's home.
- A secret's text never enters a message.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .expand import ExpandError, expand
from .fields import Duration, Secret, Size, format_duration, format_size, parse_duration, parse_size
from .problems import closest
from .shape import Anything, Choice, Either, ListOf, MapOf, Scalar, Section, Setting, Shape, section_of
from .tree import Items, Leaf, Mark, Node, Table

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["INVALID", "Binder", "expected"]

INVALID: Final = object()
"""Stands for a value that had a problem (None is a value)."""

_TRUE: Final = frozenset({"true", "yes", "on"})
_FALSE: Final = frozenset({"false", "no", "off"})
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})  # as YAML reads an unquoted scalar
_SECRET_FILE: Final = "file:"  # noqa: S105 - a scheme, not a password
_MAX_SECRET: Final = 64 * 1024
_PLAIN_NUMBER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?\Z")
_LONGEST_NUMBER: Final = 40  # digits; beyond that int() is slow on purpose-made input


class _MisfitError(ValueError):
    """A value that does not fit; `hint` is what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Binder:
    """Binds trees to dataclasses.

    `report(mark, path, message, suggestion, hide)` takes a problem; `hide` says that the value in the source
    line may be a secret.
    """

    report: Callable[[Mark, str, str, str, bool], None]
    environ: Mapping[str, str]
    base: Path
    home: Callable[[], Path] = Path.home
    read: Callable[[Path], bytes] = Path.read_bytes

    def section(
        self,
        kind: type[Any],
        table: Table,
        mark: Mark,
        path: str,
        *,
        ignore: frozenset[str] = frozenset(),
    ) -> Any:
        """Return a `kind` made of `table`, whose key stands at `mark`; `INVALID` after a problem.

        The keys in `ignore` belong to somebody else.
        """
        settings = section_of(kind)
        values: dict[str, Any] = {}
        sound = True
        for key, entry in table.entries.items():
            inner = f"{path}.{key}" if path else key
            if key in ignore:
                continue
            setting = settings.get(key)
            if setting is None:
                self.report(entry.mark, inner, "unknown key", closest(key, {*settings, *ignore}), True)
                sound = False
                continue
            value = self.setting(setting, entry.node, entry.mark, inner)
            if value is INVALID:
                sound = False
            else:
                values[setting.attribute] = value
        for setting in settings.values():
            if setting.required and setting.key not in table.entries:
                example = f"write {setting.key}: {setting.example}" if setting.example else ""
                about = f"{setting.key} is missing" + (f" ({setting.help})" if setting.help else "")
                self.report(mark, path, about, example, not path)  # at the root the place is no key's
                sound = False
        if not sound:
            return INVALID
        try:
            return kind(**values)
        except ValueError as error:
            self.report(mark, path, str(error), "", False)
            return INVALID

    def setting(self, setting: Setting, node: Node, mark: Mark, path: str) -> Any:
        """Return the value of one key, checked against its bounds; `INVALID` after a problem."""
        value = self.value(setting.shape, node, mark, path)
        if value is INVALID or value is None:
            return value
        low, high = setting.minimum, setting.maximum
        wrong = ""
        if low is not None and value < low:
            wrong = f"must be at least {_bound(setting.shape, low)}"
        elif high is not None and value > high:
            wrong = f"must be at most {_bound(setting.shape, high)}"
        elif setting.check is not None:
            wrong = setting.check(value)
        if wrong:
            self.report(mark, path, wrong, "", _is_secret(setting.shape))
            return INVALID
        if setting.each is not None and not self._each(setting.each, value, node, path):
            return INVALID
        return value

    def _each(
        self, check: Callable[[str, Any], str], value: Mapping[str, Any], node: Node, path: str
    ) -> bool:
        """Check every entry of a mapping at its own place; whether all of them are good."""
        places = _table(node).entries
        good = True
        for key, item in value.items():
            wrong = check(key, item)
            if wrong:
                self.report(places[key].mark, f"{path}.{key}", wrong, "", False)
                good = False
        return good

    def value(self, shape: Shape, node: Node, mark: Mark, path: str) -> Any:
        """Return what `node` means as `shape`; `INVALID` after a problem."""
        if isinstance(node, Leaf):
            try:
                node = self._expanded(node)
            except ExpandError as error:
                self.report(mark, path, str(error), "", False)
                return INVALID
        try:
            return self._fit(shape, node, mark, path)
        except _MisfitError as error:
            message = str(error)
            if _is_secret(shape) and isinstance(node, Leaf) and node.text:
                message = message.replace(_short(node.text), "what stands here")
            self.report(mark, path, message, error.hint, _is_secret(shape))
            return INVALID

    def _expanded(self, leaf: Leaf) -> Leaf:
        if leaf.text is None or (leaf.value is not None and not isinstance(leaf.value, str)):
            return leaf
        text = expand(leaf.text, self.environ)
        if text == leaf.text:
            return leaf
        null = not leaf.quoted and text in _NULLS
        return replace(leaf, text=None if null else text, value=None)

    def _fit(self, shape: Shape, node: Node, mark: Mark, path: str) -> Any:
        if isinstance(shape, Anything):
            return self._anything(node, path)
        if isinstance(shape, Either):
            return self._either(shape, node, mark, path)
        if isinstance(shape, Section):
            return self.section(shape.type, _table(node), mark, path)
        if isinstance(shape, MapOf):
            return self._map(shape, node, path)
        if isinstance(shape, ListOf):
            return self._list(shape, node, path)
        if not isinstance(node, Leaf):
            raise _MisfitError(f"expected {expected(shape)}, not {_kind(node)}")
        return _chosen(shape, node) if isinstance(shape, Choice) else self._scalar(shape.type, node)

    def _anything(self, node: Node, path: str) -> Any:
        """Return what is written, by YAML's own rules for unquoted words."""
        if isinstance(node, Table):
            return self._map(MapOf(Anything()), node, path)
        if isinstance(node, Items):
            found = self._list(ListOf(Anything()), node, path)
            return found if found is INVALID else list(found)
        return _plain(node)

    def _map(self, shape: MapOf, node: Node, path: str) -> Any:
        entries = {
            key: self.value(shape.item, entry.node, entry.mark, f"{path}.{key}")
            for key, entry in _table(node).entries.items()
        }
        return INVALID if any(value is INVALID for value in entries.values()) else entries

    def _list(self, shape: ListOf, node: Node, path: str) -> Any:
        if not isinstance(node, Items):
            hint = f"write [{node.text}]" if isinstance(node, Leaf) and node.text else ""
            raise _MisfitError(f"expected a list, not {_kind(node)}", "" if _is_secret(shape) else hint)
        items = tuple(
            self.value(shape.item, item, item.mark, f"{path}[{i}]") for i, item in enumerate(node.items)
        )
        return INVALID if any(item is INVALID for item in items) else items

    def _either(self, shape: Either, node: Node, mark: Mark, path: str) -> Any:
        empty = isinstance(node, Leaf) and node.text is None
        if empty and shape.null:
            return None
        fitting: list[Shape]
        if isinstance(node, Table) or empty:
            fitting = [o for o in shape.options if isinstance(o, Section | MapOf)]
        elif isinstance(node, Items):
            fitting = [o for o in shape.options if isinstance(o, ListOf)]
        else:
            fitting = [o for o in shape.options if isinstance(o, Choice | Scalar)]
        if len(fitting) == 1:
            return self._fit(fitting[0], node, mark, path)
        for option in fitting:  # only scalars are left: the first that takes the text
            try:
                return self._fit(option, node, mark, path)
            except _MisfitError:
                continue
        wanted = " or ".join(expected(option) for option in shape.options)
        raise _MisfitError(f"expected {wanted}, not {_kind(node)}")

    def _scalar(self, kind: Any, leaf: Leaf) -> Any:  # noqa: PLR0911 - one line for each type
        if kind is Secret and isinstance(leaf.value, Secret):
            return leaf.value
        if leaf.text == "" and leaf.value is not None and not isinstance(leaf.value, str):
            raise _MisfitError(f"expected {expected(Scalar(kind))}, not a {type(leaf.value).__name__}")
        text = leaf.text
        if text is None:
            raise _MisfitError(f"is empty; expected {expected(Scalar(kind))}")
        if kind is str:
            return text
        if kind is Secret:
            return self._secret(text)
        if kind is Path:
            return self._path(text)
        if kind is Size or kind is Duration:
            try:
                return parse_size(text) if kind is Size else parse_duration(text)
            except ValueError as error:
                message, _, hint = str(error).partition("; ")
                raise _MisfitError(message, hint) from None
        if kind is bool:
            return _boolean(text)
        return _number(kind, text)

    def _path(self, text: str) -> Path:
        if not text or "\0" in text:
            raise _MisfitError("expected a path")
        if text == "~" or text.startswith("~/"):
            return self.home() / text[2:]
        return self.base / text

    def _secret(self, text: str) -> Secret:
        if not text.startswith(_SECRET_FILE):
            return Secret(text)
        path = self._path(text.removeprefix(_SECRET_FILE).removeprefix("//"))
        try:
            content = self.read(path)
            if len(content) > _MAX_SECRET:
                raise _MisfitError(f"the secret's file {path} is larger than 64 KiB")
            return Secret(content.decode().rstrip("\r\n"))
        except OSError as error:
            raise _MisfitError(f"cannot read the secret's file {path}: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise _MisfitError(f"the secret's file {path} is not UTF-8") from None


def _chosen(shape: Choice, leaf: Leaf) -> str | int | bool:
    text = leaf.text if leaf.text is not None else ""
    for value in shape.values:
        if isinstance(value, bool):
            if text.casefold() in (_TRUE if value else _FALSE):
                return value
        elif text == str(value) or (leaf.value is False and value == "off"):
            return value  # YAML 1.1 readers make False of a bare `off`
    words = [_written(value) for value in shape.values]
    same = [word for word in words if word.casefold() == text.casefold()]
    hint = f"write {same[0]}" if same else closest(text, words)
    shown = _kind(leaf)
    raise _MisfitError(
        f"expected {' or '.join(words)}, not {shown}", hint if hint.startswith(("did", "write")) else ""
    )


def _boolean(text: str) -> bool:
    if text.casefold() in _TRUE:
        return True
    if text.casefold() in _FALSE:
        return False
    raise _MisfitError(f"expected true or false, not {_short(text)}")


def _number(kind: type[int | float], text: str) -> int | float:
    try:
        number = kind(text) if len(text) <= _LONGEST_NUMBER else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _MisfitError(f"expected {_EXPECTED[kind]}, not {_short(text)}")
    return number


def _table(node: Node) -> Table:
    if isinstance(node, Leaf) and node.text is None:
        return Table(node.mark, {})  # a key whose every line is commented out
    if not isinstance(node, Table):
        raise _MisfitError(f"expected a mapping, not {_kind(node)}")
    return node


def _plain(leaf: Leaf) -> str | int | float | bool | None:
    if isinstance(leaf.value, bool | int | float):
        return leaf.value
    text = leaf.text
    if text is None or leaf.quoted:
        return text
    if text in {"true", "True", "TRUE", "false", "False", "FALSE"}:
        return text.lower() == "true"
    for kind in (int, float):
        if _PLAIN_NUMBER.match(text) and len(text) <= _LONGEST_NUMBER:
            with suppress(ValueError):
                return kind(text)
    return text


def _written(value: str | int | bool) -> str:  # noqa: FBT001 - a value, not a switch
    return str(value).lower() if isinstance(value, bool) else str(value)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")


def _kind(node: Node) -> str:
    if isinstance(node, Leaf):
        return "nothing" if node.text is None else _short(node.text)
    return "a list" if isinstance(node, Items) else "a mapping"


_EXPECTED: Final = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
    Size: "a size such as 64KiB or 1GiB",
    Duration: "a duration such as 30s or 15m",
    Secret: "a secret (text, ${VAR} or file:/path)",
}


def expected(shape: Shape) -> str:
    """Return in words what may stand where `shape` is wanted."""
    if isinstance(shape, Scalar):
        return _EXPECTED[shape.type]
    if isinstance(shape, Choice):
        return " or ".join(_written(value) for value in shape.values)
    if isinstance(shape, Either):
        return " or ".join(expected(option) for option in shape.options)
    if isinstance(shape, Anything):
        return "any value"
    return "a list" if isinstance(shape, ListOf) else "a mapping"


def _bound(shape: Shape, bound: float) -> str:
    """Return a bound as one writes it for a value of this shape."""
    kinds = {option.type for option in _scalars(shape)}
    if Size in kinds:
        return format_size(int(bound))
    return format_duration(bound) if Duration in kinds else f"{bound:g}"


def _scalars(shape: Shape) -> list[Scalar]:
    if isinstance(shape, Either):
        return [scalar for option in shape.options for scalar in _scalars(option)]
    return [shape] if isinstance(shape, Scalar) else []


def _is_secret(shape: Shape) -> bool:
    if isinstance(shape, Scalar):
        return shape.type is Secret
    if isinstance(shape, Either):
        return any(_is_secret(option) for option in shape.options)
    return isinstance(shape, ListOf | MapOf) and _is_secret(shape.item)
