"""`/debug/tasks` for a running asyncio program: which tasks there are, what each does, what it waits for.

    app = debug_app(token=os.environ["DEBUG_TOKEN"])      # mount it: app.mount("/debug", debug_app())

Rules
- Only the loopback is served, unless a token was given: then whoever sends `Authorization: Bearer <token>`,
  and nobody else, the loopback neither. Anything else is 404: who may not look need not know it is there.
- Behind a proxy on the same machine every request comes from the loopback: a request that was forwarded
  (`X-Forwarded-For`, `Forwarded`, `X-Real-IP`) is not the loopback's.
- Answers are JSON, or text for people (`?format=text`); never cached. Nothing is
  changed by asking: only GET and HEAD.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs

import orjson

from .asyncio_tasks import TaskInfo, tasks_snapshot, waiting_counts

__all__ = ["debug_app"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_FORWARDED: Final = frozenset({b"x-forwarded-for", b"forwarded", b"x-real-ip"})
_MISSING: Final = b'{"detail":"Not Found"}'


def debug_app(*, token: str = "", hide: tuple[str, ...] = ()) -> App:
    """Return an ASGI application that answers `…/tasks`. `hide`: patterns of task names that are left out.

    `?daemons=0` leaves out tasks that are meant to run for as long as the process.
    """

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = str(scope.get("path", "")).rstrip("/")
        if (
            not _may_look(scope, token)
            or not path.endswith("/tasks")
            or scope["method"] not in {"GET", "HEAD"}
        ):
            await _answer(send, 404, b"application/json", _MISSING)
            return
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        tasks = tasks_snapshot(daemons=query.get("daemons") != ["0"], hide=hide)
        if query.get("format") == ["text"]:
            kind, body = b"text/plain; charset=utf-8", _text(tasks).encode("utf-8", "replace")
        else:
            told = {"counts": waiting_counts(tasks), "tasks": [task.as_dict() for task in tasks]}
            kind, body = b"application/json", orjson.dumps(told, default=str)
        await _answer(send, 200, kind, b"" if scope["method"] == "HEAD" else body)

    return app


def _may_look(scope: Scope, token: str) -> bool:
    headers: Mapping[bytes, bytes] = dict(scope.get("headers") or ())
    if token:
        given = headers.get(b"authorization", b"")
        return hmac.compare_digest(given, b"Bearer " + token.encode())
    if _FORWARDED & headers.keys():
        return False
    client = scope.get("client")
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


async def _answer(send: Send, status: int, kind: bytes, body: bytes) -> None:
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _text(tasks: list[TaskInfo]) -> str:
    counts = ", ".join(f"{number} {what}" for what, number in waiting_counts(tasks).items())
    lines = [f"{len(tasks)} tasks: {counts}"]
    for task in tasks:
        age = "" if task.age_s is None else f" · {task.age_s:.1f} s"
        ids = f" · trace {task.trace_id}" if task.trace_id else ""
        lines += ["", f"{task.name} · {task.coroutine} · waits for {task.waiting}{age}{ids}"]
        lines += [f"    {frame}" for frame in task.frames]
        if task.created_at:
            lines.append(f"    created at {task.created_at}")
    return "\n".join(lines) + "\n"
