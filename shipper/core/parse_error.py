"""What a JSON line says of an error, in the shapes that loggers write, as parts of an event's `error`.

Understood are an object (`error`, `err`: ours, ECS's, pino's; `exception`: Log4j's), a text (`error`: zap's,
logrus'), ECS's dotted names, the text of a traceback or stack (`exc_info`: python-json-logger's; `exception`:
structlog's; `stack_trace`: Logback's), and a stack beside the message (`stack`: winston's). What is not
understood stays where it was.
"""

from __future__ import annotations

from typing import Any, Final

from .stacks import split_stack

__all__ = ["take_error"]

_OBJECTS: Final = ("error", "err")
_TRACEBACKS: Final = ("exc_info", "exception", "traceback", "stack_trace")
# Name of a part of `error` → the names it is given.
_PARTS: Final = {
    "type": ("type", "class", "kind", "name", "exception_class"),
    "message": ("message", "msg", "exception_message"),
    "stack": ("stack", "stack_trace", "stacktrace", "traceback"),
}
_CODE: Final = ("code", "errno")
_HEAD: Final = "Traceback (most recent call last):"
_FRAME: Final = "\n    at "
_JAVA_FRAME: Final = "\n\tat "
_MAX_CAUSES: Final = 20


def take_error(content: dict[str, Any]) -> dict[str, Any]:
    """Remove what `content` says of an error and return it: type, message, stack, code, causes; or `{}`."""
    error: dict[str, Any] = {}
    for name in _OBJECTS:
        held = content.get(name)
        if isinstance(held, dict):
            rest = dict(held)
            error = _read(rest, "")
            if error:
                _keep(content, name, rest)
                break
        elif isinstance(held, str) and held:
            error = {"message": held}
            del content[name]
            break
    if not error:
        error = _read(content, "error.")
    if "stack" not in error:
        error = _stacked(content, error)
    if not error:
        error = _beside(content)
    return error


def _stacked(content: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of an error with its traceback, or with what another language's stack says."""
    for name in _TRACEBACKS:
        held = content.get(name)
        if isinstance(held, str) and _HEAD in held:
            error["stack"] = content.pop(name)
            break
        if not error and isinstance(held, str) and _JAVA_FRAME in held:
            return split_stack(content.pop(name))[1]
        if not error and isinstance(held, dict):
            rest = dict(held)
            found = _read(rest, "")
            if found:
                _keep(content, name, rest)
                return found
    return error


def _beside(content: dict[str, Any]) -> dict[str, Any]:
    """Take the stack of a Node program that lies beside its message, with the error's name and code."""
    stack = content.get("stack")
    if not isinstance(stack, str) or _FRAME not in stack:
        return {}
    error = {"stack": content.pop("stack")}
    head = stack.partition(_FRAME)[0]
    error["type"], _, error["message"] = head.partition(": ")
    if content.get("name") == error["type"]:
        del content["name"]
    if isinstance(content.get("code"), str):
        error["code"] = content.pop("code")
    return error


def _read(held: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Remove the parts of an error from `held`, whose names begin with `prefix`, and return them."""
    error: dict[str, Any] = {}
    for part, names in _PARTS.items():
        for name in names:
            if isinstance(held.get(prefix + name), str):
                error[part] = held.pop(prefix + name)
                break
    for name in _CODE:
        code = held.get(prefix + name)
        if error and isinstance(code, str | int) and not isinstance(code, bool):
            error["code"] = str(held.pop(prefix + name))
            break
    causes = held.get(prefix + "causes")
    if error and isinstance(causes, list) and all(_is_cause(cause) for cause in causes[:_MAX_CAUSES]):
        error["causes"] = held.pop(prefix + "causes")[:_MAX_CAUSES]
    return error


def _is_cause(cause: object) -> bool:
    return isinstance(cause, dict) and cause != {} and all(isinstance(text, str) for text in cause.values())


def _keep(content: dict[str, Any], name: str, rest: dict[str, Any]) -> None:
    """Leave what was not understood under its name."""
    if rest:
        content[name] = rest
    else:
        del content[name]
