"""Which fields lines of JSON have that are taken many at once: decided from what was learned of some of them.

Rules
- A name that has taken few values takes no others: the decoder then gives the same objects again, which were
  checked when the shape was made. Another value is refused, and learned.
- Which of several names is the time, the level, ... (`parse.ROLES`) must be the same in all lines: the first
  that there is must be in every line, or no other one in any.
- A name of an id that hardly ever holds one (`traceId`) is like any other; lines in which it does go the line
  way.
- Names that the schema would not take as they are (collisions), names of errors and sensitive names have no
  place in a shape: lines that have them are none of it. Where all have a sensitive name there is no shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias, cast

from msgspec import UNSET, Meta, UnsetType

from ...handlers.pattern import FAILS
from ...handlers.schema import FieldType, Schema
from ...handlers.shape import make_shape
from ...handlers.typed import Prover
from ..core.dialects import DIALECTS
from ..core.parse import ROLES
from .foreign import NUMBERS, TEXTS
from .learned import EXACT, MAX_NAMES, Learned
from .role_checks import CHECKS, IDS, Check, check_of_ids, check_of_no_ids

__all__ = ["DERIVED", "Field", "Fields", "Scale"]

_WHOLE: Final = 2**63
_I64: Final = Annotated[int, Meta(ge=-_WHOLE + 1, le=_WHOLE - 1)]
_FLOAT: Final = Annotated[float, Meta(ge=-1.7e308, le=1.7e308)]
# The decoder makes floats of integers, here of those that lose nothing: 2**53 is also what 2**53 + 1 becomes.
_NUMBER: Final = Annotated[float, Meta(ge=-EXACT, le=EXACT)]
_LARGE_NUMBER: Final = Annotated[int, Meta(ge=-EXACT, le=EXACT)] | _FLOAT
_NONE: Final = type(None)
# A number without a point is an integer also where all others have one.
_TYPES: Final[Mapping[type, Any]] = {
    str: str,
    int: _I64,
    float: _I64 | _FLOAT,
    bool: bool,
    dict: dict,
    list: list,
    _NONE: None,
}
_CONTAINERS: Final = frozenset({dict, list})
_OWN: Final[Mapping[FieldType, Any]] = {
    "string": str,
    "integer": _I64,
    "boolean": bool,
    "number": _NUMBER,
}
_KINDS: Final[Mapping[Any, type]] = {str: str, bool: bool, _I64: int, _NUMBER: float}
# What `parse_error` and `dialects` may take apart.
_ERRORS: Final = DIALECTS | {
    *("error", "err", "error_code", "exc_info", "exception", "traceback", "stack_trace", "stack"),
}
DERIVED: Final = frozenset({"duration_le", "error_pattern"})
"""Fields that follow from others."""
Scale: TypeAlias = Literal["", "node", "python", "time"]
"""Whose levels by number are; empty: levels are no numbers."""
_ONLY_NULL: Final = frozenset({"exc_info", "exception", "traceback", "stack_trace"})
# Objects that may hold what an event always has, `log.level` for one: no part of a shape.
_OUTER: Final = {name.partition(".")[0] for names in ROLES.values() for name in names if "." in name}


@dataclass(slots=True)
class Field:
    """One name of the lines: as it is in the struct (`attribute`), in the lines, and in events."""

    attribute: str
    wire: str
    name: str
    type: Any
    required: bool
    default: Any
    number: bool = False  # whether it may hold integers that are to be floats
    texts: bool = False  # whether it may hold text
    varies: bool = False  # whether it may hold something else, too
    few: tuple[Any, ...] = ()  # its only values, when the type names them
    nested: bool = False  # whether it may hold an object or a list

    @property
    def kind(self) -> type | None:
        """The type of all its values, if there is but one."""
        return _KINDS.get(self.type) if self.required and not self.few else None

    def name_values(self, values: tuple[Any, ...]) -> None:
        """Take these values only: a decoder then gives the same objects again and again."""
        kind = str if self.type is str else int if self.type is _I64 else None
        if not values or {kind} != set(map(type, values)):
            return
        if kind is int and not all(-_WHOLE < value < _WHOLE for value in values):
            return  # no values of this type
        self.few, self.type = values, cast("Any", Literal)[values]

    def entry(self) -> tuple[str, Any] | tuple[str, Any, Any]:
        """Return it as `defstruct` takes it."""
        if self.required:
            return self.attribute, self.type
        if self.default is UNSET:
            return self.attribute, self.type | UnsetType, UNSET
        return self.attribute, self.type, self.default


class Fields:
    """The fields of lines like those learned, of which events get `constants` where a line has none.

    Raises ValueError when such lines have no shape.
    """

    def __init__(
        self, schema: Schema, redactor: Prover | None, learned: Learned, constants: Mapping[str, str]
    ) -> None:
        self.all: list[Field] = []
        self.roles: dict[str, Field] = {}
        self._checks: list[tuple[Field, Check]] = []
        self.scale: Scale = ""
        self._schema = schema
        self._redactor = redactor
        self._constants = constants
        self._extras: tuple[str, ...] = ()
        self._nobodys: set[str] = set()
        self._others: dict[str, str] = {}  # names of ids that hold none, and of which
        self._take_roles(learned)
        self._take_names(learned)
        if not 0 < len(self.all) <= MAX_NAMES or not any(one.required for one in self.all):
            raise ValueError("no shape")

    @property
    def checks(self) -> list[tuple[Field, Check]]:
        """What is to be checked, once it is known what is watched: values that are named are right."""
        return [(one, check) for one, check in self._checks if not one.few]

    def watched(self, redactor: Prover, extra: Mapping[str, str]) -> list[Field]:
        """Return those whose texts may hold secrets; `extra` are texts that every event gets.

        Raises ValueError when lines may hold secrets elsewhere.
        """
        names = frozenset((*self._constants, *(one.name for one in self.all)))
        watched = redactor.examined(names, tuple(dict.fromkeys((*self._extras, *extra))))
        if watched is None or not redactor.are_clean((*extra.values(),)):
            raise ValueError("a name is sensitive, or what every event gets")
        if not all(one.name in watched for one in self.all if one.nested):
            raise ValueError("an object or a list stands where nobody looks at it")
        found = []
        for one in self.all:
            if one.name in watched and one.texts:
                if one.few and not redactor.are_clean(one.few):
                    one.few, one.type = (), str
                if not one.few:
                    found.append(one)
        return found

    def _take_roles(self, learned: Learned) -> None:
        for role, names in ROLES.items():
            there = [name for name in names if name in learned.names]
            if role in IDS:
                there = self._without_others(role, there, learned)
            if not there:
                continue
            first = there[0]
            if not learned.always(first):
                self._nobodys.update(there[1:])  # lines that have them are no lines of this shape
            types = learned.types(first)
            if str in types:
                kind: Any = str
            elif types and role in {"timestamp", "level"} and types <= {int, float}:
                if role == "level":
                    self.scale = self._scale_of(learned)
                kind = _I64 | _FLOAT
            else:
                self._nobodys.update(there)  # a line without the first may have another that counts
                continue
            # A line without a time has the present moment: it is none of this shape.
            required = role == "timestamp" or learned.always(first)
            default = self._constants.get(role, UNSET)
            one = Field(role, first, role, kind, required, default, texts=kind is str)
            one.varies = not required
            self.roles[role] = one
            self.all.append(one)
            # An empty id that the line way would leave where it is, or look past, is not taken for none.
            empty = first == role and not (learned.always(first) and len(there) > 1)
            self._take_check(one, learned.few(first), empty=empty)

    def _without_others(self, role: str, names: Sequence[str], learned: Learned) -> list[str]:
        """Return names of an id but for those that hold something else, which stay under their own names."""
        others = [name for name in names if name != role and not learned.identifies(name)]
        self._others.update(dict.fromkeys(others, role))
        return [name for name in names if name not in others]

    def _scale_of(self, learned: Learned) -> Scale:
        """Return whose numbers the levels are, or that each line's time says it (`parse.is_node`)."""
        if {"pid", "hostname"} <= learned.names.keys():
            if not (learned.always("pid") and learned.always("hostname")):
                raise ValueError("levels by number are Node's in some lines, and Python's in others")
            return "node"
        if "time" not in learned.names or learned.types("time") == {str}:
            return "python"
        time = self.roles.get("timestamp")
        if time is None or time.wire != "time" or not time.required or time.type is str:
            raise ValueError("levels by number beside a time that is none")
        return "time"

    def _take_check(self, one: Field, few: tuple[Any, ...], *, empty: bool) -> None:
        """Decide what is to be checked of a role's values: nothing when they are few and all right."""
        check = CHECKS.get(one.name)
        if one.name in IDS:
            check = check_of_ids(one.name, empty=empty)
        odd: set[int] = set()
        if check is None or (
            few and one.required and not isinstance(check(list(few), odd), list) and not odd
        ):
            one.name_values(few)
        if check is not None:
            self._checks.append((one, check))

    def _take_names(self, learned: Learned) -> None:
        roles = {one.wire for one in self.roles.values()}
        names = [name for name in learned.names if name not in roles and name not in self._nobodys]
        names = [n for n in names if n not in _OUTER or dict not in learned.names[n] or self._is_settled(n)]
        plain = []
        for name in names:
            if name in TEXTS or name in NUMBERS:
                kind: Any = str if name in TEXTS else _I64
                default = self._constants.get(name, UNSET)
                self._add(learned, name, kind, default)
            elif name not in _ERRORS and not name.startswith("error.") and name not in DERIVED:
                plain.append(name)
            elif name in _ONLY_NULL and learned.types(name) == {_NONE}:
                self._add(learned, name, None, UNSET)
        shape = make_shape(self._schema, (), plain)
        entries = (*(entry for _, entry in shape.ids), *shape.fields)
        sensitive = self._sensitive(shape.extras, learned)
        for key, _, name, declared in entries:
            if type(key) is str and key == name and name not in sensitive:
                self._take_plain(learned, name, declared)
        extras = [one.name for one in self.all if one.name in shape.extras]
        self._extras = tuple(dict.fromkeys((*extras, *(n for n in learned.names if n in _ONLY_NULL))))
        level = self.roles.get("level")
        if shape.timed:
            self._derive(learned, "duration_le")
        if level is not None and (not level.few or not FAILS.isdisjoint(level.few)):
            self._derive(learned, "error_pattern")
        # In the order of the lines: a decoder finds the next name first where it expects it.
        order = {name: place for place, name in enumerate(learned.names)}
        self.all.sort(key=lambda one: order.get(one.wire, len(order)))

    def _sensitive(self, names: Sequence[str], learned: Learned) -> set[str]:
        """Return those of the names that are sensitive. Raises ValueError when every line has one."""
        ask = self._redactor
        if ask is None:
            return set()
        held = [name for name in names if name in learned.names]
        found = {name for name in held if ask.examined(frozenset((name,)), (name,)) is None}
        if any(map(learned.always, found)):
            raise ValueError("a name that all lines have is sensitive")
        return found

    def _is_settled(self, outer: str) -> bool:
        """Whether no line is asked for what an object holds: all have a name that comes before it."""
        for role, names in ROLES.items():
            inner = [at for at, name in enumerate(names) if name.startswith(f"{outer}.")]
            if not inner:
                continue
            first = self.roles.get(role)
            # An empty id is looked past.
            if role in IDS or first is None or not first.required or first.wire not in names[: inner[0]]:
                return False
        return True

    def _derive(self, learned: Learned, name: str) -> None:
        """Have a field that follows from others; a line may hold it already."""
        if name in learned.names and learned.types(name) == {str}:
            self._add(learned, name, str, UNSET)
        else:  # lines that hold something else there are none of this shape, others have it nevertheless
            one = Field(f"x{len(self.all)}", name, name, str, False, UNSET, texts=True, varies=True)
            self.all.append(one)

    def _take_plain(self, learned: Learned, name: str, declared: FieldType | None) -> None:
        seen = learned.types(name)
        if declared is None:
            usual = [_TYPES[kind] for kind in _TYPES if kind in seen]
            if not usual:
                return
            kind = usual[0]
            for other in usual[1:]:
                kind = kind | other
            self._add(learned, name, kind, self._constants.get(name, UNSET))
        elif declared in _OWN:
            kind = _OWN[declared]
            large = declared == "number" and name in learned.large
            if large:
                kind = _LARGE_NUMBER
            self._add(learned, name, kind | None if _NONE in seen else kind, UNSET, number=large)

    def _add(self, learned: Learned, name: str, kind: Any, default: Any, *, number: bool = False) -> None:
        kinds = (kind, *getattr(kind, "__args__", ()))
        texts = str in kinds
        attribute = f"x{len(self.all)}"
        one = Field(attribute, name, name, kind, learned.always(name), default, number=number, texts=texts)
        one.nested = not _CONTAINERS.isdisjoint(kinds)
        one.varies = not one.required or (texts and kind is not str) or one.nested
        self.all.append(one)
        if name not in self._others:
            one.name_values(learned.few(name))
        elif texts:  # not named: a decoder that refuses ids would have their lines learned from
            self._checks.append((one, check_of_no_ids(self._others[name])))
