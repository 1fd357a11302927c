"""What an answer of an unknown server means.

| answer | verdict |
|---|---|
| a status of `success` | delivered |
| a status of `reject` | rejected: several events are halved until the bad one is alone |
| 413 | halve |
| 408, 425, 429, 5xx | retry, as late as Retry-After says |
| anything else (3xx, 401, 403, 404, other 2xx and 4xx) | pause: a human must mend it, nothing is dropped |

What the user says of a status wins over the rest of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...core.answers import advice, answered
from ...model import Delivered, Rejected, Retry, Split

__all__ = ["SERVER", "hint", "judge", "says"]

SERVER: Final = "the server"

_BUSY: Final = frozenset({408, 425, 429})


def says(statuses: Sequence[str], status: int) -> bool:
    """Whether `status` is one of `statuses` (`200`, `2xx`)."""
    text = str(status)
    return text in statuses or f"{text[:1]}xx" in statuses


def judge(
    status: int, body: str, success: Sequence[str], reject: Sequence[str], after: float | None = None
) -> Delivered | Retry | Rejected | Split:
    """Return what `status` means; `after`: seconds from a Retry-After header."""
    said = answered(SERVER, status, body)
    text, kind = str(status), f"{status // 100}xx"
    # A status that is named wins over its class.
    for name in (text, kind):
        if name in success:
            return Delivered()
        if name in reject:
            return Rejected(said)
    if status == 413:
        return Split(said)
    if status in _BUSY or status >= 500:
        return Retry(said, after)
    return Retry(f"{hint(status)} ({said})", after, pause=True)


def hint(status: int) -> str:
    """Say what to mend for a status that no event can help."""
    if status in {404, 410}:
        return "nothing is there at this url"
    if status == 405:
        return "this url does not take the method: see method"
    if status == 415:
        return "the server does not take this body: see body, content_type, compression"
    return advice(SERVER, status) or "neither in success nor in reject"
