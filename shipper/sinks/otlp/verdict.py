"""What a receiver's answer means: OTLP's specification, and what it leaves open.

| answer | verdict |
|---|---|
| 200, 202, 204 | delivered; with `rejected_log_records` or `rejected_spans` see below |
| other 2xx, 3xx, an answer that is not OTLP's | pause: nobody can know what became of the records |
| 400 | rejected: several events are halved until the bad one is alone |
| 413 | halve |
| 408, 429, 5xx | retry, as late as Retry-After says (OTLP would drop after 500; we don't) |
| 401, 403, 404, other 4xx | pause: a human must mend it, nothing is dropped |

`partial_success` says how many records were refused, and why, but not which. If it is all of them, all are
dead letters. If it is a part, OTLP forbids to send the request again, so by default all of its events are
dead letters with the receiver's words (most of them are stored as well); with `isolate` they are halved
instead until the bad one is alone, which stores good ones twice.
"""

from __future__ import annotations

from typing import Final, Literal

import orjson

from ...core.answers import advice, excerpt
from ...model import Delivered, Partial, Rejected, Retry, Split, Verdict
from .protobuf import partial_success, status_message

__all__ = ["judge"]

_TAKEN: Final = frozenset({200, 202, 204})


def judge(
    status: int,
    content: bytes,
    content_type: str,
    *,
    events: int,
    on_partial: Literal["dead_letter", "isolate"] = "dead_letter",
    after: float | None = None,
) -> tuple[Verdict, str]:
    """Return what an answer to `events` records means, and what it warns of (`""`: nothing)."""
    if status in _TAKEN:
        return _taken(status, content, content_type, events, on_partial)
    words = excerpt(_words(content, content_type))
    said = f"the receiver answered {status}" + (f": {words}" if words else "")
    if status == 400:
        return Rejected(said), ""
    if status == 413:
        return Split(said), ""
    if status in {408, 429} or status >= 500:
        return Retry(said, after), ""
    return Retry(f"{_hint(status)} ({said})", after, pause=True), ""


def _taken(
    status: int, content: bytes, content_type: str, events: int, on_partial: Literal["dead_letter", "isolate"]
) -> tuple[Verdict, str]:
    try:
        refused, message = _refused(content, content_type)
    except (ValueError, TypeError):
        text = excerpt(content.decode("utf-8", "replace"), 100)
        said = f"the receiver answered {status} with what is not OTLP: {text}"
        return Retry(f"something else listens at this url ({said})", pause=True), ""
    message = excerpt(message)
    if refused <= 0:
        return Delivered(), message
    if refused < events and on_partial == "isolate":
        return Split(f"the receiver refused {refused} of {events} records: {message}"), ""
    if refused >= events:
        reason = f"the receiver refused it: {message}"
    else:
        which = f"{refused} of the {events} records sent together, without saying which"
        reason = f"the receiver refused {which}: {message}"
    return Partial(dict.fromkeys(range(events), Rejected(reason))), ""


def _refused(content: bytes, content_type: str) -> tuple[int, str]:
    if not content:
        return 0, ""
    if "json" in content_type:
        answer = orjson.loads(content)
        partial = answer.get("partialSuccess") or {} if isinstance(answer, dict) else None
        if not isinstance(partial, dict):
            raise TypeError("not OTLP's answer")
        refused = partial.get("rejectedLogRecords") or partial.get("rejectedSpans")
        return int(refused or 0), str(partial.get("errorMessage") or "")
    if "protobuf" not in content_type and "octet-stream" not in content_type and content_type:
        raise ValueError("not OTLP's answer")
    return partial_success(content)


def _words(content: bytes, content_type: str) -> str:
    """Return what an error's body says: a google.rpc.Status, or text."""
    if "protobuf" in content_type:
        try:
            return status_message(content)
        except ValueError:
            pass
    return content.decode("utf-8", "replace")


def _hint(status: int) -> str:
    if status in {404, 405, 410}:
        return "there is no OTLP receiver at this url"
    if status == 415:
        return "the receiver does not take protobuf over HTTP, or not with this compression"
    return advice("the receiver", status) or "not an answer that OTLP knows"
