"""What Loki's answer means: status and body in, a verdict out. No I/O, no state.

| answer | verdict |
|---|---|
| 204 | delivered |
| other 2xx, 260 above all (ingestion blocked), 3xx | pause: nothing was stored, or nobody can know |
| 400 | some may be stored: halve until the bad one is alone, reject it; Loki drops the duplicates |
| 400 that names the configuration (metadata not allowed, labels required) | pause |
| 401, 403, 404, other 4xx | pause: a human must mend it, nothing is dropped |
| 408, 5xx | retry; 500 for a message that is too large: halve |
| 413, 422 | halve |
| 429 | retry; halve when the push is above the rate or keeps being refused; too many streams: pause |

A ruling on the stream says nothing about the batch's other streams; any other does.
"""

from __future__ import annotations

from dataclasses import dataclass
from re import compile as pattern
from typing import Final

from ...core.answers import excerpt
from ...model import Delivered, Rejected, Retry, Split

__all__ = ["PATIENCE", "Ruling", "excerpt", "judge"]

PATIENCE: Final = 4
"""Attempts after which a rate-limited push is halved: it may be above a burst that no answer names."""

_CONFIGURATION: Final = (
    ("ingestion blocked", "ingestion is blocked for this tenant"),
    (
        "feature is disallowed",
        "Loki does not allow structured metadata: set limits_config.allow_structured_metadata",
    ),
    (
        "missing required labels",
        "Loki requires labels that are not sent: add them to labels or static_labels",
    ),
    ("no org id", "no tenant: set tenant"),
)
_TOO_LARGE: Final = ("larger than max", "ResourceExhausted", "message too large", "request body too large")
_TOTALING: Final = pattern(r"limit: (\d{1,18}) bytes/sec\).*? totaling '(\d{1,18})' bytes")


@dataclass(frozen=True, slots=True)
class Ruling:
    """A verdict on one push. `stream`: it concerns this stream only, the batch's other pushes may go on."""

    verdict: Delivered | Retry | Rejected | Split
    stream: bool = False


def judge(status: int, body: str, *, events: int, attempt: int = 1, after: float | None = None) -> Ruling:
    """Return what `status` and `body` mean for a push of `events` entries in its `attempt`th attempt.

    `after`: seconds from a Retry-After header.
    """
    if status == 204:
        return Ruling(Delivered())
    said = f"Loki answered {status}" + (f": {excerpt(body)}" if body.strip() else "")
    for words, hint in _CONFIGURATION:
        if words in body:
            return Ruling(_pause(f"{hint} ({said})", after))
    halve = Ruling(Split(said) if events > 1 else Rejected(said), stream=True)
    if status in {400, 413, 422} or (status >= 500 and any(words in body for words in _TOO_LARGE)):
        return halve
    if status == 429:
        return _limited(said, body, halve, attempt, after)
    if status == 408 or status >= 500:
        return Ruling(Retry(said, after))
    return Ruling(_pause(f"{_hint(status)} ({said})", after))


def _pause(reason: str, after: float | None) -> Retry:
    return Retry(reason, after, pause=True)


def _limited(said: str, body: str, halve: Ruling, attempt: int, after: float | None) -> Ruling:
    if "maximum active stream limit" in body:
        hint = "Loki has as many streams as it takes: fewer labels, or a higher max_global_streams_per_user"
        return Ruling(_pause(f"{hint} ({said})", after), stream=True)
    stream = "Per stream rate limit" in body
    if isinstance(halve.verdict, Split):
        rates = _TOTALING.search(body)
        if attempt >= PATIENCE or (rates and int(rates[2]) > int(rates[1])):
            return halve
    return Ruling(Retry(said, after), stream=stream)


def _hint(status: int) -> str:
    if status in _HINTS:
        return _HINTS[status]
    if status < 300:
        return "not Loki's answer, which is 204: something else listens at this url"
    if status < 400:
        return "a redirect, which is not followed: set url to where it points"
    return "not an answer that Loki is known to give"


_NOWHERE: Final = "there is no Loki push interface at this url"
_HINTS: Final = {
    260: "ingestion is blocked",
    401: "Loki refuses the credentials: see username, password, bearer_token, tenant",
    403: "the credentials are known, but may not push: see tenant, and what stands before Loki",
    404: _NOWHERE,
    405: _NOWHERE,
}
