"""What the tasks of a loop do: for people who ask a running program why it does not go on. Pure looking.

Rules
- A task's chain of awaits is followed from its coroutine inwards: the three innermost frames are shown, and
  what the innermost waits for decides its kind: `wait_for`, `gather`, `sleep`, `queue`, `lock`, `socket`,
  `task`, `other`.
- Age and place of creation are known of tasks made after `install`, or by `background`.
- Nothing is kept of a task beside it; looking changes nothing and never raises.
"""

from __future__ import annotations

import asyncio
import fnmatch
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePath
from time import monotonic
from types import FrameType
from typing import Any, Final, Literal, TypeAlias
from weakref import WeakKeyDictionary

from ..plain import safe_repr

__all__ = ["TaskInfo", "Waiting", "note", "noted", "tasks_snapshot", "waiting_counts"]

Waiting: TypeAlias = Literal[
    "wait_for", "gather", "sleep", "queue", "lock", "socket", "task", "other", "running", "done"
]

FRAMES: Final = 3
_DEPTH: Final = 200
_ASYNCIO: Final = PurePath(asyncio.__file__).parent
# Modules of asyncio whose frames say what is waited for.
_BY_FILE: Final[Mapping[str, Waiting]] = {
    "queues.py": "queue",
    "locks.py": "lock",
    "streams.py": "socket",
    "sslproto.py": "socket",
    "selector_events.py": "socket",
    "proactor_events.py": "socket",
}
_BY_FUNCTION: Final[Mapping[str, Waiting]] = {
    "wait_for": "wait_for",
    "timeout": "wait_for",
    "sleep": "sleep",
    "gather": "gather",
    "wait": "gather",
    "_wait": "gather",
    "sock_recv": "socket",
    "sock_recv_into": "socket",
    "sock_sendall": "socket",
    "sock_accept": "socket",
    "sock_connect": "socket",
}


@dataclass(frozen=True, slots=True)
class Noted:
    """What is known of a task since it was made. `born` is of the monotonic clock, seconds."""

    where: str
    born: float
    fields: Mapping[str, object]
    daemon: bool = False


_noted: Final[WeakKeyDictionary[Any, Noted]] = WeakKeyDictionary()


def note(task: Any, where: str, born: float, fields: Mapping[str, object], *, daemon: bool = False) -> None:
    """Note where and when a task was made; the last note counts."""
    _noted[task] = Noted(where, born, fields, daemon)


def noted(task: Any) -> Noted | None:
    """Return what is known of a task."""
    return _noted.get(task)


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """One task. `age_s`: None where its birth was not seen; `frames`: the innermost three, innermost last."""

    name: str
    coroutine: str
    waiting: Waiting
    waits_for: str
    age_s: float | None
    created_at: str
    frames: tuple[str, ...]
    trace_id: str
    request_id: str
    daemon: bool

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        return {**asdict(self), "frames": list(self.frames)}


def tasks_snapshot(
    loop: asyncio.AbstractEventLoop | None = None, *, daemons: bool = True, hide: Iterable[str] = ()
) -> list[TaskInfo]:
    """Return what the tasks of a loop (by default the running one) do, the oldest first.

    Without `daemons`, tasks that were begun as such are left out; `hide` are patterns (`*`) of names that
    are left out, too. Raises RuntimeError without a loop.
    """
    now = monotonic()
    hidden = tuple(hide)
    found = []
    for task in asyncio.all_tasks(loop):
        info = _describe(task, now)
        if (daemons or not info.daemon) and not any(fnmatch.fnmatchcase(info.name, one) for one in hidden):
            found.append(info)
    return sorted(found, key=lambda info: -(info.age_s or 0.0))


def waiting_counts(tasks: Iterable[TaskInfo]) -> dict[str, int]:
    """Return how many tasks wait for what."""
    return dict(Counter(task.waiting for task in tasks).most_common())


def _describe(task: asyncio.Task[Any], now: float) -> TaskInfo:
    known = _noted.get(task)
    coroutine: Any = task.get_coro()
    frames, last = _chain(coroutine)
    fields: Mapping[str, object] = {} if known is None else known.fields
    return TaskInfo(
        name=task.get_name(),
        coroutine=str(getattr(coroutine, "__qualname__", None) or safe_repr(coroutine)),
        waiting=_waiting(task, frames),
        waits_for="" if last is None else safe_repr(last)[:200],
        age_s=None if known is None else round(now - known.born, 3),
        created_at="" if known is None else known.where,
        frames=tuple(_place(frame) for frame in frames[-FRAMES:]),
        trace_id=str(fields.get("trace_id", "")),
        request_id=str(fields.get("request_id", "")),
        daemon=known is not None and known.daemon,
    )


def _chain(coroutine: Any) -> tuple[list[FrameType], Any]:
    """Return the frames from a coroutine inwards, and what the innermost waits for."""
    frames: list[FrameType] = []
    inner = coroutine
    for _ in range(_DEPTH):
        frame = next(
            (
                found
                for name in ("cr_frame", "gi_frame", "ag_frame")
                if (found := getattr(inner, name, None)) is not None
            ),
            None,
        )
        if frame is None:
            break
        frames.append(frame)
        inner = next(
            (
                found
                for name in ("cr_await", "gi_yieldfrom", "ag_await")
                if (found := getattr(inner, name, None)) is not None
            ),
            None,
        )
        if inner is None:
            break
    return frames, inner


def _waiting(task: asyncio.Task[Any], frames: list[FrameType]) -> Waiting:
    if task.done():
        return "done"
    future = getattr(task, "_fut_waiter", None)
    if future is None:
        return "running"
    kinds: list[Waiting] = []
    for frame in reversed(frames):
        path = PurePath(frame.f_code.co_filename)
        if path.parent != _ASYNCIO:
            break
        kind = _BY_FUNCTION.get(frame.f_code.co_name) or _BY_FILE.get(path.name)
        if kind is not None:
            kinds.append(kind)
    if kinds:  # since Python 3.12 `wait_for` waits in the same task for what it was given
        return "wait_for" if "wait_for" in kinds else kinds[0]
    if type(future).__name__ == "_GatheringFuture":
        return "gather"
    if isinstance(future, asyncio.Task):
        return "task"
    return "other"


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}"
