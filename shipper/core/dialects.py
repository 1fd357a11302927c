"""JSON lines in words of their own, in the usual ones: GELF, Log4j's `JsonLayout`, ids of a thread's context.

`usual_words` changes a line as decoded before anything is looked for in it. `DIALECTS` are the names by which
such lines are known; a line with none of them is left as it is. What `journalctl -o json` writes is one of
them, too, but `parse` sees to that: what stands in its message is a line of its own.
"""

from __future__ import annotations

from typing import Any, Final

from .journal import STAMP
from .stacks import split_stack

__all__ = ["DIALECTS", "usual_words"]

DIALECTS: Final = frozenset({"short_message", "instant", "thrown", "contextMap", "mdc", STAMP})
_SYSLOG: Final = ("CRITICAL", "CRITICAL", "CRITICAL", "ERROR", "WARNING", "INFO", "INFO", "DEBUG")
_IDS: Final = ("trace_id", "traceId", "trace.id", "span_id", "spanId", "span.id", "request_id", "requestId")
_GELF_NAMES: Final = {"log_logger": "logger", "process_thread_name": "thread", "process_pid": "process"}
_CAUSES: Final = 20
_FRAMES: Final = 1024


def usual_words(content: dict[str, Any]) -> None:
    """Give what a line says the names that it has elsewhere; what is not understood stays."""
    if isinstance(content.get("short_message"), str) and "message" not in content:
        _gelf(content)
    instant = content.get("instant")
    if isinstance(instant, dict) and "timestamp" not in content:
        second, fraction = instant.get("epochSecond"), instant.get("nanoOfSecond", 0)
        if isinstance(second, int) and isinstance(fraction, int) and 0 <= fraction < 10**9:
            content["timestamp"] = second + fraction / 10**9
            del content["instant"]
    thrown = content.get("thrown")
    if isinstance(thrown, dict) and isinstance(thrown.get("name"), str) and "error" not in content:
        content["error"] = _thrown(thrown)
        del content["thrown"]
    for name in ("contextMap", "mdc"):
        held = content.get(name)
        if isinstance(held, dict):
            for own in _IDS:
                if isinstance(held.get(own), str):
                    content.setdefault("request_id" if own == "requestId" else own, held[own])


def _gelf(content: dict[str, Any]) -> None:
    """Levels are syslog's, own fields begin with a line, a stack stands in the long message."""
    message = content["message"] = content.pop("short_message")
    level = content.get("level")
    if type(level) is int and 0 <= level < len(_SYSLOG):
        content["level"] = _SYSLOG[level]
    for name in [name for name in content if name[:1] == "_"]:
        plain = _GELF_NAMES.get(name[1:], name[1:])
        if plain and plain not in content:
            content[plain] = content.pop(name)
    if content.get("version") == "1.1":
        del content["version"]
    full = content.get("full_message")
    if isinstance(full, str):
        _, error = split_stack(full)
        if error and "error" not in content:
            content["error"] = error
            del content["full_message"]
        elif full == message:
            del content["full_message"]


def _thrown(thrown: dict[str, Any]) -> dict[str, Any]:
    """Return what Log4j tells of an exception as parts of an event's `error`."""
    lines: list[str] = []
    causes: list[dict[str, str]] = []
    one: Any = thrown
    for depth in range(_CAUSES):
        kind, said = str(one.get("name", "")), one.get("message")
        text = f"{kind}: {said}" if isinstance(said, str) else kind
        stack = one.get("extendedStackTrace", one.get("stackTrace"))
        if isinstance(stack, str):  # the whole of it, causes too
            lines.append(stack.rstrip())
        else:
            lines.append(f"Caused by: {text}" if depth else text)
            frames = stack if isinstance(stack, list) else []
            lines += [f"\tat {_place(frame)}" for frame in frames[:_FRAMES] if isinstance(frame, dict)]
        if depth:
            said = said if isinstance(said, str) else ""
            causes.append({"type": kind, "message": said, "relation": "cause"})
        one = one.get("cause")
        if not isinstance(one, dict) or isinstance(stack, str):
            break
    said = thrown.get("message")
    error: dict[str, Any] = {"type": thrown["name"], "message": said if isinstance(said, str) else ""}
    return error | {"stack": "\n".join(lines)} | ({"causes": causes} if causes else {})


def _place(frame: dict[str, Any]) -> str:
    return f"{frame.get('class')}.{frame.get('method')}({frame.get('file')}:{frame.get('line')})"
