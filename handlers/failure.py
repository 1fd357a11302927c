"""An exception → the event's `error` object: `type`, `message`, `stack`, `code`, `causes`.

- `stack` is what `traceback.format_exception` would say, without its last line break. Formatting costs the
  standard library about 15 µs a frame, most of it to find the source line and to mark the part of it that
  failed; both follow from (code object, instruction), so each place is formatted once and kept. Only
  "Did you mean" suggestions are left out: they walk through the application's objects.
- Syntax errors, groups and exceptions with notes take `traceback`'s own way.
- `causes` are the exceptions behind it: `relation` is `cause` (raise ... from), `context` (raised while
  handling), or `member` (of a group). At most `MAX_CAUSES`.
- `code` is the exception's `code`, else its `errno`, when that is a string or an integer; as text.
- A stack is at most `MAX_STACK` characters, the middle cut out. Nothing here raises.
- Most exceptions are alone, have no attributes, and are of a type that was met before: `_usual` describes
  these, in one stretch. A log call finds its code cold, where each function that it goes through costs
  microseconds.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping
from types import CodeType, TracebackType
from typing import Any, Final, TypeAlias

from .plain import clean_text, cut_text, safe_repr, type_name

__all__ = ["MAX_CAUSES", "MAX_STACK", "Described", "describe", "describe_foreign", "describe_text"]

MAX_CAUSES: Final = 20
MAX_STACK: Final = 64 * 1024
MAX_MESSAGE: Final = 16 * 1024
_MAX_PLACES: Final = 4_096
_REPEATS: Final = 3  # as the standard library: a line that recurs is shown three times, then counted

_CAUSE: Final = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT: Final = "\nDuring handling of the above exception, another exception occurred:\n\n"
_HEADER: Final = "Traceback (most recent call last):\n"

# (id of code object, instruction) → (its text, what tells whether the line is the same, code object). Holding
# the code keeps the id its own.
_Line: TypeAlias = tuple[str, int, str]
_places: dict[tuple[int, int], tuple[str, _Line, CodeType]] = {}

_MAX_KINDS: Final = 512
_ASKED: Final = ("code", "errno", "__getattr__")
# Types whose exceptions have no `code` and no words of their own way → their names.
_kinds: dict[type[BaseException], str] = {}


class Described(dict[str, Any]):
    """An `error` object made already, given where an exception would stand."""


def describe(exc_info: object) -> dict[str, Any] | None:
    """Return the `error` object of what a logging call may be given as `exc_info`; None when there is none.

    `exc_info` is an exception, a tuple (type, exception, traceback), or anything true for the one in hand.
    """
    if type(exc_info) is Described:
        return dict(exc_info)
    error: Any
    trace: TracebackType | None
    if type(exc_info) is tuple and len(exc_info) == 3 and type(exc_info[2]) is TracebackType:
        error, trace = exc_info[1], exc_info[2]  # what a logging call makes of anything else
        if (kind := _kinds.get(type(error))) is not None and (usual := _usual(error, exc_info[2], kind)):
            return usual
    else:
        error, trace = _at_hand(exc_info)
    if not isinstance(error, BaseException):
        return None
    name, text = _name(error), _text(error)
    group = isinstance(error, BaseExceptionGroup)
    alone = error.__cause__ is None and error.__context__ is None and not group
    _learn(type(error), name)
    described: dict[str, Any] = {
        "type": name,
        "message": text if len(text) <= MAX_MESSAGE else cut_text(text, MAX_MESSAGE),
        "stack": _stack(error, trace, (name, text), alone=alone),
    }
    code = _code(error)
    if code is not None:
        described["code"] = code
    if not alone:
        causes = [
            {"type": _name(behind), "message": _said(behind), "relation": relation}
            for behind, relation in _behind(error)
        ]
        if causes:
            described["causes"] = causes
    return described


def _usual(error: BaseException, trace: TracebackType, name: str) -> dict[str, Any] | None:
    """Describe an exception of a known type; None when there is more to say of it."""
    try:
        if error.__cause__ is not None or error.__context__ is not None or error.__dict__:
            return None
        text = str(error)
        if type(text) is not str or not text.isascii() or len(text) > MAX_MESSAGE:
            return None
        stack = f"{_HEADER}{_frames(trace)}{name}: {text}" if text else f"{_HEADER}{_frames(trace)}{name}"
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - a __str__ may raise anything
        return None
    if len(stack) > MAX_STACK or stack[-1] == "\n":
        return None
    return {"type": name, "message": text, "stack": stack}


def _learn(kind: type[BaseException], name: str) -> None:
    """Keep the name of a type about whose exceptions there is nothing else to ask."""
    if (
        type(kind) is type
        and not issubclass(kind, (SyntaxError, BaseExceptionGroup))
        and kind.__getattribute__ is BaseException.__getattribute__
        and not any(name in base.__dict__ for base in kind.__mro__ for name in _ASKED)
    ):
        if len(_kinds) >= _MAX_KINDS:
            _kinds.clear()
        _kinds[kind] = name


def _at_hand(exc_info: object) -> tuple[Any, TracebackType | None]:
    trace: Any = None
    error: Any = None
    if type(exc_info) is tuple:
        if len(exc_info) == 3:
            _, error, trace = exc_info
    elif isinstance(exc_info, BaseException):
        error, trace = exc_info, exc_info.__traceback__
    elif exc_info:
        error = sys.exc_info()[1]
        trace = error.__traceback__ if error is not None else None
    return error, trace if type(trace) is TracebackType else None


def describe_text(text: str) -> dict[str, Any]:
    """Return the `error` object of a traceback that exists only as text (a record from another process)."""
    text = _middle_cut(clean_text(text))
    last = text.rstrip().rpartition("\n")[2]
    name, colon, message = last.partition(": ")
    if not all(part.isidentifier() for part in name.split(".")):
        name, message = "", last
    return {"type": name, "message": message if colon or not name else "", "stack": text}


def describe_foreign(parts: Mapping[str, Any]) -> Described:
    """Return the `error` object of what a foreign log says: type, message, stack, code (text), causes."""
    stack = parts.get("stack")
    read = describe_text(stack) if stack else {}
    described = Described()
    for name in ("type", "message"):
        text = parts.get(name) or read.get(name, "")
        described[name] = cut_text(clean_text(text), MAX_MESSAGE)
    if read:
        described["stack"] = read["stack"]
    if "code" in parts:
        described["code"] = cut_text(clean_text(parts["code"]), MAX_MESSAGE)
    if parts.get("causes"):
        described["causes"] = [
            {clean_text(name): cut_text(clean_text(text), MAX_MESSAGE) for name, text in cause.items()}
            for cause in parts["causes"][:MAX_CAUSES]
        ]
    return described


def _name(error: BaseException) -> str:
    """Return the type's name as a traceback shows it."""
    kind = type(error)
    try:
        name, module = kind.__qualname__, kind.__module__
        return name if module in {"builtins", "__main__"} else clean_text(f"{module}.{name}")
    except Exception:  # noqa: BLE001 - a metaclass may do anything
        return type_name(error)


def _said(error: BaseException) -> str:
    return cut_text(_text(error), MAX_MESSAGE)


def _text(error: BaseException) -> str:
    try:
        return clean_text(str(error))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - a __str__ may raise anything
        return "<exception str() failed>"  # the words of `traceback`


def _code(error: BaseException) -> str | None:
    try:
        for attribute in ("code", "errno"):
            value = getattr(error, attribute, None)
            if type(value) is str or type(value) is int:
                return cut_text(clean_text(str(value)), 256)
    except Exception:  # noqa: BLE001, S110 - a property of a foreign exception: no code then
        pass
    return None


def _next(error: BaseException, seen: set[int]) -> tuple[BaseException, str] | None:
    """Return the exception behind `error` that a traceback would show, and how they are related."""
    cause, context = error.__cause__, error.__context__
    if cause is not None and id(cause) not in seen:
        return cause, "cause"
    if context is not None and not error.__suppress_context__ and id(context) not in seen:
        return context, "context"
    return None


def _behind(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    """Yield what is behind `error`: causes first, then the members of groups, each once."""
    seen = {id(error)}
    waiting: list[BaseException] = [error]
    for _ in range(MAX_CAUSES):
        while waiting:
            found = _next(waiting[0], seen)
            if found is None and isinstance(waiting[0], BaseExceptionGroup):
                members = (member for member in waiting[0].exceptions if id(member) not in seen)
                member = next(members, None)
                found = None if member is None else (member, "member")
            if found is not None:
                break
            waiting.pop(0)
        else:
            return
        seen.add(id(found[0]))
        waiting.append(found[0])
        yield found


def _stack(error: BaseException, trace: TracebackType | None, said: tuple[str, str], *, alone: bool) -> str:
    """Return the traceback as text, chained exceptions first. `said`: the name of `error`, and its text."""
    try:
        if alone and _is_plain(error):
            return _middle_cut(_one(said, trace))  # the ordinary case
        chain: list[tuple[BaseException, str]] = [(error, "")]
        seen = {id(error)}
        plain = _is_plain(error)
        while len(chain) <= MAX_CAUSES:
            found = _next(chain[-1][0], seen)
            if found is None:
                break
            seen.add(id(found[0]))
            chain.append(found)
            plain = plain and _is_plain(found[0])
        if not plain and len(chain) <= MAX_CAUSES:
            return _middle_cut(clean_text("".join(traceback.format_exception(type(error), error, trace))))
        return _middle_cut("".join(_chained(chain, trace)))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as failed:  # noqa: BLE001 - the record is worth more than its traceback
        return f"{_name(error)}: {_said(error)}\n<traceback not formatted: {safe_repr(failed)}>"


def _is_plain(error: BaseException) -> bool:
    if isinstance(error, (SyntaxError, BaseExceptionGroup)):
        return False
    return "__notes__" not in error.__dict__


def _chained(chain: list[tuple[BaseException, str]], trace: TracebackType | None) -> Iterator[str]:
    if len(chain) > MAX_CAUSES:
        yield "[earlier exceptions left out]\n\n"
    for place in range(len(chain) - 1, 0, -1):
        behind, relation = chain[place]
        yield _one((_name(behind), _text(behind)), behind.__traceback__) + "\n"
        yield _CAUSE if relation == "cause" else _CONTEXT
    yield _one((_name(chain[0][0]), _text(chain[0][0])), trace)


def _one(said: tuple[str, str], trace: TracebackType | None) -> str:
    """Return one exception, by its name and text, with its frames; without a last line break."""
    last = f"{said[0]}: {said[1]}" if said[1] else said[0]
    return _HEADER + _frames(trace) + last if trace is not None else last


def _frames(trace: TracebackType | None) -> str:
    parts: list[str] = []
    before: _Line | None = None
    repeats = 0
    while trace is not None:
        code = trace.tb_frame.f_code
        place = _places.get((id(code), trace.tb_lasti)) or _place(code, trace)
        here = place[1]
        if here == before:
            repeats += 1
        else:
            if repeats > _REPEATS:
                parts.append(_repeated(repeats - _REPEATS))
            before, repeats = here, 1
        if repeats <= _REPEATS:
            parts.append(place[0])
        trace = trace.tb_next
    if repeats > _REPEATS:
        parts.append(_repeated(repeats - _REPEATS))
    return "".join(parts)


def _repeated(count: int) -> str:
    return f"  [Previous line repeated {count} more time{'s' if count > 1 else ''}]\n"


def _place(code: CodeType, trace: TracebackType) -> tuple[str, _Line, CodeType]:
    """Let the standard library format one frame, and keep it."""
    text = clean_text("".join(traceback.format_tb(trace, 1)))
    if len(_places) >= _MAX_PLACES:
        _places.clear()
    place = (text, (code.co_filename, trace.tb_lineno, code.co_name), code)
    _places[id(code), trace.tb_lasti] = place
    return place


def _middle_cut(text: str) -> str:
    text = text.removesuffix("\n")
    if len(text) <= MAX_STACK:
        return text
    # Whole lines: redaction comes later, and half a secret is none that it knows.
    half = MAX_STACK // 2
    head = text[:half].rpartition("\n")[0] or text[:half]
    tail = text[-half:].partition("\n")[2] or text[-half:]
    return f"{head}\n…[{len(text) - len(head) - len(tail)} characters left out]\n{tail}"
