"""Tracebacks and stacks in the text of a joined record: where the message ends, and what the error is.

Understood are Python's (also groups, `+ Exception Group Traceback`), Java's (`at …`, `Caused by: …`), Go's
panics (`goroutine 1 [running]:`) and Node's (`at …`). The whole stack is kept as it stands.
"""

from __future__ import annotations

import re
from collections import deque
from itertools import islice
from typing import Any, Final

__all__ = ["TRACEBACK", "split_stack"]

TRACEBACK: Final = "Traceback (most recent call last):"
_PYTHON: Final = re.compile(r"(?:\A|\n)(?=(?:  \+ Exception Group |)Traceback \(most recent call last\):)")
_PYTHON_END: Final = re.compile(r"\n(?:  \| )?([A-Za-z_][\w.]{0,255})(?:: ([^\n]*))?(?=\n|\Z)", re.ASCII)
_GO: Final = re.compile(r"(?:\A|\n)(panic|fatal error): ([^\n]*)")
_GO_DUMP: Final = re.compile(r"(?:\A|\n)(?=goroutine \d{1,19} \[)")
_SERVED: Final = re.compile(r"panic serving [^\s]{1,255}: ([^\n]*)")
# What was thrown, in Java's words, on a line of its own.
_JAVA_THROWN: Final = re.compile(
    r"(?:\A|\n)(?=(?:Exception in thread \"[^\"\n]{0,255}\" )?"
    r"(?:[a-z_][\w$]{0,127}\.){1,16}[A-Z][\w$]{0,127}(?::[^\n]*)?\n)",
    re.ASCII,
)
_FRAME: Final = re.compile(r"\n(?:\t| {2,12})at (?:async |new )?[^\s(]")
_THROWN: Final = re.compile(
    r"(?:Exception in thread \"[^\"\n]{0,255}\" |Uncaught |Unhandled \S{1,64} )?"
    r"((?:[A-Za-z_$][\w$]{0,127}\.){0,16}[A-Za-z_$][\w$]{0,127})(?:: ([^\n]*))?\Z",
    re.ASCII,
)
_TAIL: Final = re.compile(
    r"[ \[(]((?:[A-Za-z_$][\w$]{0,127}\.){0,16}[A-Z][\w$]{0,120}(?:Error|Exception))(?:: ([^\n]*))?\Z",
    re.ASCII,
)
_CAUSED: Final = re.compile(r"\n\s{0,8}(?:Caused by|\[cause\]): ([\w$.]{1,255})(?:: ([^\n]*))?", re.ASCII)
# Node's report of what nobody caught: a place, the line of the source, and a mark below it.
_REPORT: Final = re.compile(
    r"(?:file://|node:)?[^\s:]{1,512}:\d{1,9}\r?\n[^\n]*\n[ \t]*\^+\r?(?:\n|\Z)", re.ASCII
)
_REPORTS: Final = frozenset("fn/")
_NODE_END: Final = re.compile(r"\n(?:\(Use `node |\n?Node\.js v)")
_ERROR: Final = re.compile(
    r"(?:Uncaught )?([A-Za-z_$][\w$.]{0,127})(?: \[[A-Z0-9_]{1,64}\])?(?:: (.*))?\Z", re.DOTALL
)
_MAX_CAUSES: Final = 20


def split_stack(text: str) -> tuple[str, dict[str, Any]]:
    """Return the message of a text of several lines, and its error; `{}` when there is none."""
    if "Traceback (most" in text:
        found = _PYTHON.search(text)
        if found is not None:
            return _python(text, found.end())
    if "\npanic: " in text or text.startswith("panic: ") or "fatal error: " in text or "goroutine " in text:
        found = _GO.search(text)
        if found is not None:
            stack = text[found.start() :].lstrip("\n").rstrip()
            return _message(text[: found.start()], found[2]), {
                "type": found[1],
                "message": found[2],
                "stack": stack,
            }
        found = _GO_DUMP.search(text)
        if found is not None:
            stack = text[found.end() :].rstrip()
            first, before = stack.partition("\n")[0], text[: found.start()]
            served = _SERVED.search(before)
            return _message(before, first), {
                "type": "goroutine" if served is None else "panic",
                "message": first if served is None else served[1],
                "stack": stack,
            }
    found = _FRAME.search(text)
    report = _REPORT.match(text) if text[:1] in _REPORTS else None
    if report is not None:
        return _reported(text, report, found)
    return (text, {}) if found is None else _framed(text, found.start())


def _message(before: str, instead: str) -> str:
    return before.rstrip() or instead


def _python(text: str, at: int) -> tuple[str, dict[str, Any]]:
    stack = text[at:].rstrip()
    error: dict[str, Any] = {"stack": stack}
    # Behind the last heading the first line that is not indented; notes of the exception may follow it.
    heading = 0 if stack.startswith("  +") else stack.rfind("\n" + TRACEBACK) + 1
    found = _PYTHON_END.search(stack, stack.find("\n", heading))
    if found is not None:
        error["type"], error["message"] = found[1], found[2] or ""
    return _message(text[:at], found[0].strip("\n |") if found else stack.rpartition("\n")[2].strip()), error


def _reported(text: str, report: re.Match[str], frame: re.Match[str] | None) -> tuple[str, dict[str, Any]]:
    """Take what Node says of an error that nobody caught: the place, its source, and what was thrown."""
    thrown = text[report.end() :].lstrip("\n")
    if frame is not None and frame.start() >= report.end():
        head = text[report.end() : frame.start()].strip("\n")
    else:
        head = _NODE_END.split(thrown, maxsplit=1)[0].rstrip()
    found = _ERROR.match(head)
    error: dict[str, Any] = {"type": "Uncaught", "message": head, "stack": text.rstrip()}
    if found is not None:
        error["type"], error["message"] = found[1], found[2] or ""
    if frame is not None and (causes := _causes(text, frame.start())):
        error["causes"] = causes
    return head, error


def _causes(text: str, at: int) -> list[dict[str, str]]:
    return [
        {"type": one[1], "message": one[2] or "", "relation": "cause"}
        for one in islice(_CAUSED.finditer(text, at), _MAX_CAUSES)
    ]


def _framed(text: str, at: int) -> tuple[str, dict[str, Any]]:
    """Split before the line that says what was thrown: the last one before the first frame."""
    begin = text.rfind("\n", 0, at) + 1
    head = text[begin:at]
    found = _THROWN.match(head)
    if found is None and (said := deque(_JAVA_THROWN.finditer(text, 0, at), 1)):
        begin = said[0].end()  # its message has several lines
        head = text[begin:at].partition("\n")[0]
        found = _THROWN.match(head)
    if found is None and begin and head[:1] in {" ", "}"}:
        # Node shows parts of a cause before its frames; the line that names the error stands further up
        return text, {"stack": text[begin:].strip("\n").rstrip()}
    error: dict[str, Any] = {"stack": text[begin:].rstrip()}
    message = _message(text[:begin], head) if found is not None else text[:at].rstrip()
    if found is None:
        found = _TAIL.search(head)
    if found is not None:
        error["type"], error["message"] = found[1], found[2] or ""
    else:
        error["message"] = head  # a message of several lines, of which this is the last
    causes = _causes(text, at)
    if causes:
        error["causes"] = causes
    return message, error
