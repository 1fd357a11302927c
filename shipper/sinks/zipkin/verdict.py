"""What Zipkin's answer means.

| answer | verdict |
|---|---|
| 202, 200, 204 | delivered |
| 400 | rejected: several are halved until the bad one is alone |
| 413, and a 500 that speaks of 413 (what Zipkin 3 does with a body over its limit) | halve |
| 408, 429, 5xx | retry, as late as Retry-After says |
| anything else | pause: a human must mend it, nothing is dropped |
"""

from __future__ import annotations

from typing import Final

from ...core.answers import advice, answered
from ...model import Delivered, Rejected, Retry, Split

__all__ = ["hint", "judge"]

_TAKEN: Final = frozenset({200, 202, 204})


def judge(status: int, body: str, after: float | None = None) -> Delivered | Retry | Rejected | Split:
    """Return what `status` means; `after`: seconds from a Retry-After header."""
    if status in _TAKEN:
        return Delivered()
    said = answered("Zipkin", status, body)
    if status == 400:
        return Rejected(said)
    if status == 413 or (status == 500 and "413" in body and "Too Large" in body):
        return Split(said)
    if status in {408, 429} or status >= 500:
        return Retry(said, after)
    return Retry(f"{hint(status)} ({said})", after, pause=True)


def hint(status: int) -> str:
    """Say what to mend for a status that no span can help."""
    if status in {404, 405, 410}:
        return "there is no Zipkin at this url"
    return advice("the server", status) or "not an answer that Zipkin gives"
