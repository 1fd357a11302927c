"""What an answer to a bulk request means. Pure.

The whole request:

| status | verdict |
|---|---|
| 200 with one item for each event | each item has its own |
| 200 with anything else, other 2xx, 3xx | pause: something else answers there |
| 400 | halve until the event that it is about is alone, reject that |
| 401, 403, 404, 405, 406, 415 | pause: a human must mend it, nothing is dropped |
| 413 | halve |
| 429 | retry; halve when it keeps being refused: the request alone may be too large |
| 408, 5xx | retry |

An item:

| status | verdict |
|---|---|
| 2xx | stored |
| 409 | stored before: the id is ours |
| 429, 408, 5xx | retry this one |
| 401, 403 | pause: a block (full disk, read-only) or a missing privilege, which a human takes away |
| 404 | pause: the data stream's template is not there |
| 400 | once more in the contained form, then a dead letter |
| other 4xx | a dead letter with the reason |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from ...model import Delivered, Partial, Refusal, Rejected, Retry, Split, Verdict

__all__ = [
    "PATIENCE",
    "Fold",
    "Item",
    "all_stored",
    "excerpt",
    "hint",
    "judge_items",
    "judge_request",
    "read_items",
]

PATIENCE: Final = 4
"""Attempts after which a batch that the server is too busy for is halved: it may be above its limit alone."""

_REASON: Final = 600


class _Cause(msgspec.Struct):
    reason: str | None = ""


class _Error(msgspec.Struct):
    type: str = ""
    reason: str | None = ""
    caused_by: _Cause | None = None


class _Result(msgspec.Struct):
    status: int
    error: _Error | None = None
    failure_store: str | None = None


class _Answer(msgspec.Struct):
    items: list[dict[str, _Result]]


_DECODER: Final = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class Item:
    """What became of one event. `diverted`: it is in the failure store."""

    status: int
    reason: str = ""
    diverted: bool = False


def all_stored(body: str, events: int) -> bool:
    """Say whether an answer is the usual one, that each event was stored: that need not be read further."""
    usual = body.startswith('{"errors":false,') and body.endswith("}]}") and '"failure_store"' not in body
    # An item is told by its status alone, and there is one for each.
    return usual and body.count('"status":2') == events


def read_items(body: str, events: int) -> Sequence[Item] | None:
    """Return the items of an answer, in the order of the request; None: no answer to `events` events."""
    try:
        found = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
    if len(found.items) != events:
        return None
    return [_item(next(iter(entry.values()), None)) for entry in found.items]


def _item(result: _Result | None) -> Item:
    if result is None:
        return Item(500, "an item without a status")
    error = result.error
    return Item(result.status, "" if error is None else _told(error), result.failure_store == "used")


def _told(error: _Error) -> str:
    """Return what an error says; OpenSearch's `failed to parse` tells why only in its cause."""
    reason, cause = error.reason or "", (error.caused_by and error.caused_by.reason) or ""
    return excerpt(f"{error.type}: {reason}" + (f": {cause}" if cause and cause not in reason else ""))


@dataclass(slots=True)
class Fold:
    """What became of the events of one batch so far, by index."""

    refused: dict[int, Refusal] = field(default_factory=dict)
    unfit: dict[int, str] = field(default_factory=dict)
    duplicates: int = 0
    diverted: int = 0
    missing: bool = False

    def verdict(self, events: int, attempt: int) -> Verdict:
        """Return the verdict on a batch of `events`."""
        if not self.refused:
            return Delivered(self.duplicates)
        if events == 1:
            return next(iter(self.refused.values()))
        retries = [refusal for refusal in self.refused.values() if isinstance(refusal, Retry)]
        if len(retries) < events:
            return Partial(self.refused, self.duplicates)
        if attempt >= PATIENCE and all("answered 429" in retry.reason for retry in retries):
            return Split(retries[0].reason)
        return max(retries, key=lambda retry: retry.pause)


def judge_items(items: Sequence[Item], indexes: Sequence[int], fold: Fold) -> None:
    """Note in `fold` what became of the events at `indexes`."""
    for index, item in zip(indexes, items, strict=True):
        status = item.status
        said = f"Elasticsearch answered {status} for the event: {item.reason}"
        if 200 <= status < 300:
            fold.diverted += item.diverted
        elif status == 409:
            fold.duplicates += 1
        elif status == 400:
            fold.unfit[index] = said
        elif status in {401, 403, 404}:
            fold.refused[index] = Retry(f"{_item_hint(status, item.reason)} ({said})", pause=True)
            fold.missing = fold.missing or status == 404
        elif status in {408, 429} or not 400 <= status < 500:
            fold.refused[index] = Retry(said)
        else:
            fold.refused[index] = Rejected(said)


def judge_request(status: int, body: str, *, events: int, attempt: int, after: float | None) -> Verdict:
    """Return what an answer means that is not one with an item for each event."""
    said = f"Elasticsearch answered {status}" + (f": {excerpt(body)}" if body.strip() else "")
    if status == 400 and "media_type" not in body:
        return Rejected(said)
    if status == 413:
        return Split(said)
    if status == 429:
        return Split(said) if attempt >= PATIENCE and events > 1 else Retry(said, after)
    if status == 408 or status >= 500:
        return Retry(said, after)
    return Retry(f"{hint(status, body)} ({said})", after, pause=True)


def hint(status: int, body: str = "") -> str:
    """Return what a human has to mend."""
    if "media_type" in body or status in {406, 415}:
        return "the server does not take requests of Elasticsearch 8: versions 8 and 9 do"
    if status == 401:
        return "Elasticsearch refuses the credentials: see api_key, username, password"
    if status == 403:
        return "the credentials lack a privilege: create_doc and auto_configure on the data stream"
    if status in {404, 405}:
        return "there is no bulk interface at this address"
    if 300 <= status < 400:
        return "a redirect, which is not followed: set hosts to where it points"
    return "not Elasticsearch's answer: something else listens at this address"


def _item_hint(status: int, reason: str) -> str:
    if status == 404:
        return "there is no data stream and no template for it: run logferry setup"
    if "block" in reason:
        return "the index is blocked for writing (a full disk, or a setting)"
    return hint(status)


def excerpt(body: str, limit: int = _REASON) -> str:
    """Return the beginning of a text on one line, without control characters."""
    text = " ".join(body[: limit * 4].split())
    text = "".join(character if character.isprintable() else "�" for character in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
