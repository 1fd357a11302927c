"""Which path is whose, and what each protocol wants to hear.

POST /loki/api/v1/push, /api/prom/push      Loki                  204
POST /v1/logs                               OTLP                  200, and an empty response
POST /_bulk, /INDEX/_bulk                   Elasticsearch         200, and an answer for each item
POST /INDEX/_doc, PUT /INDEX/_create/ID …   Elasticsearch         201
GET  /, /_license, /_cluster/health …       what Elasticsearch's clients ask before
GET  /ready                                 what Loki's clients ask before
POST /                                      lines of JSON or text, or one JSON array   204
"""

from __future__ import annotations

import hmac
import re
import time
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import orjson

from ...core.parse import Parsed, parse, parse_object
from ...core.varint import varint
from ...diagnostics import say
from ..blocks import LineBlocks
from ..ecs import from_ecs
from ..listen.identity import blocks_with_ids
from ..listen.loop import Ending
from ..listen.store import Store
from ..parsed_blocks import ParsedBlocks, Taken, Told
from . import bulk, loki, otlp
from .bodies import BodyError, unpack, unpack_snappy
from .exchange import Answer, Request, refusal
from .labels import Fronts
from .records import told_of_record

if TYPE_CHECKING:
    from ....handlers.record import EventBuilder

__all__ = ["Routes"]

_LOKI: Final = frozenset({"/loki/api/v1/push", "/api/prom/push", "/api/v1/push"})
_INDEX: Final = re.compile(r"/(?:(?P<index>[^/_][^/]{0,255})/)?_bulk")
_DOC: Final = re.compile(r"/(?P<index>[^/_][^/]{0,255})/(?:_doc|_create)(?:/(?P<id>[^/]{1,512}))?")
_LOGS: Final = "/v1/logs"
_JSON: Final = "application/json"
_PROTOBUF: Final = "application/x-protobuf"
_AFTER: Final = 1  # seconds until a sender should come again
_FULL: Final = "the spool is full at present; send it again"
_ECS: Final = b'"@timestamp"'
# What clients of Elasticsearch ask before they send, or want to be made: there is nothing to make here.
_ASKED: Final[Mapping[str, Any]] = {
    "/": bulk.HELLO,
    "/_license": {"license": {"status": "active", "type": "basic", "mode": "basic", "uid": "logferry"}},
    "/_xpack": {"license": {"status": "active", "type": "basic", "mode": "basic"}, "features": {}},
    "/_cluster/health": {"cluster_name": "logferry", "status": "green", "number_of_nodes": 1},
    "/_nodes": {"nodes": {}},
    "/_nodes/http": {"nodes": {}},
}
_PREPARED: Final = ("/_index_template/", "/_component_template/", "/_template/", "/_ilm/", "/_data_stream/")


@dataclass(slots=True)
class Routes:
    """Answers requests. One event loop uses it."""

    name: str
    builder: EventBuilder
    store: Store
    ending: Ending
    token: str
    max_bytes: int
    wait: float
    _lines: LineBlocks = field(init=False)
    _documents: LineBlocks = field(init=False)
    _parsed: ParsedBlocks = field(init=False)
    _fronts: Fronts = field(default_factory=Fronts)

    def __post_init__(self) -> None:
        self._lines = LineBlocks(self.builder, guess=False)
        self._documents = LineBlocks(self.builder, "json")
        self._parsed = ParsedBlocks(self.builder)

    def admit(self, request: Request) -> Answer | None:
        """Refuse who has no token, and what nobody answers."""
        if self.token and not _has_token(request.headers.get("authorization", ""), self.token):
            text = f"source {self.name}: a request without the token, or with a wrong one, was refused"
            say("WARNING", text, f"{self.name} token")
            challenge = {"WWW-Authenticate": 'Basic realm="logferry"', **bulk.PRODUCT}
            return Answer(401, b"a token is needed\n", headers=challenge)
        if self.ending.told and request.method not in {"GET", "HEAD"}:
            return refusal(503, "logferry is stopping; send it again", _AFTER)
        return None

    async def answer(self, request: Request) -> Answer:
        """Answer one request."""
        path = unquote(request.path).rstrip("/") or "/"
        if request.method in {"GET", "HEAD"}:
            return _asked(path)
        if request.method == "OPTIONS":
            return Answer(204, headers={"Allow": "POST, PUT, GET, HEAD, OPTIONS"})
        if request.method not in {"POST", "PUT"}:
            return Answer(405, b"POST it\n", headers={"Allow": "POST, PUT, GET, HEAD, OPTIONS"})
        try:
            return await self._take(request, path)
        except (BodyError, ValueError, RecursionError) as error:
            status = error.status if isinstance(error, BodyError) else 400
            if _INDEX.fullmatch(path) or _DOC.fullmatch(path):
                return _json(status, bulk.error_of(status, str(error)), bulk.PRODUCT)
            return (
                _status(status, str(error), _kind(request)) if path == _LOGS else refusal(status, str(error))
            )

    async def _take(self, request: Request, path: str) -> Answer:
        """Answer what brings events."""
        if path.startswith(_PREPARED):
            return _json(200, {"acknowledged": True}, bulk.PRODUCT)
        body = unpack(request.body, request.headers.get("content-encoding", ""), self.max_bytes)
        if (elastic := _INDEX.fullmatch(path)) is not None:
            return await self._bulk(body, elastic["index"] or "")
        if (document := _DOC.fullmatch(path)) is not None:
            return await self._document(body, document["index"], document["id"] or "")
        if path in _LOKI:
            return await self._push(body, _kind(request))
        if path == _LOGS:
            return await self._logs(body, _kind(request))
        return await self._plain(body) if path == "/" else refusal(404, f"nothing is taken at {path[:200]}")

    async def _put(self, groups: Iterable[Taken]) -> bool:
        """Append all; False: there was no room for all of it."""
        deadline = time.monotonic() + self.wait
        for events, _ in groups:
            left = 0.0 if self.ending.told else deadline - time.monotonic()
            if not await self.store.put(events, max(left, 0.0)):
                return False
        return True

    async def _push(self, body: bytes, kind: str) -> Answer:
        if kind == _JSON:
            entries = loki.read_json(body)
        else:
            entries = loki.read_protobuf(unpack_snappy(body, self.max_bytes))
        if await self._put(self._parsed.blocks(self._fronts.told(entries))):
            return Answer(204)
        return refusal(503, _FULL, _AFTER)

    async def _logs(self, body: bytes, kind: str) -> Answer:
        records = otlp.read_json(body) if kind == _JSON else otlp.read_protobuf(body)
        if not await self._put(self._parsed.blocks([told_of_record(record) for record in records])):
            return _status(503, _FULL, kind, _AFTER)
        return Answer(200, b"{}" if kind == _JSON else b"", kind)

    async def _plain(self, body: bytes) -> Answer:
        if body.lstrip()[:1] == b"[" and (content := _array(body)) is not None:
            lines = content
        else:
            lines = [line for line in body.split(b"\n") if line]
        if await self._put((events, 0) for events in blocks_with_ids(lines, self._lines)):
            return Answer(204)
        return refusal(503, _FULL, _AFTER)

    async def _bulk(self, body: bytes, index: str) -> Answer:
        began = time.monotonic()
        items = bulk.read_bulk(body, index)
        wanted = [item for item in items if item.line]
        at = 0

        def stored() -> Iterator[Taken]:
            nonlocal at
            for events, taken in self._bulk_groups(wanted):
                yield events, taken
                for item in wanted[at : at + taken]:
                    item.status = 201
                at += taken

        await self._put(stored())
        took = int((time.monotonic() - began) * 1000)
        return _json(200, bulk.answer_of(items, took), bulk.PRODUCT)

    def _bulk_groups(self, items: Sequence[bulk.Item]) -> Iterator[Taken]:
        """Yield events with the number of items that they are of."""
        for is_ecs, group in groupby(items, lambda item: _ECS in item.line):
            some = list(group)
            if is_ecs or any(item.own for item in some):
                yield from self._parsed.blocks(list(map(_told, some)))
            else:
                yield from self._documents.blocks([item.line for item in some])

    async def _document(self, body: bytes, index: str, name: str) -> Answer:
        line = body.replace(b"\n", b" ").strip()
        if line[:1] != b"{" or line[-1:] != b"}":
            raise ValueError("the document is no JSON object")
        item = bulk.Item("create", index, name, line)
        if not await self._put(self._parsed.blocks([_told(item)])):
            return _json(429, bulk.error_of(429, _FULL), {"Retry-After": str(_AFTER), **bulk.PRODUCT})
        told = {"_index": index, "_id": name or "logferry-0", "_version": 1, "result": "created"}
        return _json(201, told, bulk.PRODUCT)


def _told(item: bulk.Item) -> Told:
    """Return what a document says, by ECS or not."""
    try:
        content = orjson.loads(item.line)
        if content.get("event_id") == item.own:
            content.pop("event_id", None)
        from_ecs(content)
    except (orjson.JSONDecodeError, AttributeError):
        return parse(item.line, "json") or Parsed(""), ""
    return parse_object(content), item.own


def _asked(path: str) -> Answer:
    if path == "/ready":
        return Answer(200, b"ready\n")
    found = _ASKED.get(path)
    if found is not None:
        return _json(200, found, bulk.PRODUCT)
    if path.startswith(_PREPARED) or (path.count("/") == 1 and not path.startswith("/_")):
        return _json(200, {}, bulk.PRODUCT)
    return _json(404, bulk.error_of(404, f"nothing is here at {path[:200]}"), bulk.PRODUCT)


def _array(body: bytes) -> list[bytes] | None:
    """Return the elements of a JSON array, each as a line; None: it is none, but may be lines."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return [orjson.dumps(one) for one in content]


def _kind(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return _JSON if kind == _JSON else _PROTOBUF


def _json(status: int, content: Any, headers: Mapping[str, str]) -> Answer:
    return Answer(status, orjson.dumps(content), _JSON, headers)


def _status(status: int, text: str, kind: str, after: int = 0) -> Answer:
    """Return a refusal as google.rpc.Status."""
    code = {400: 3, 413: 3, 415: 3}.get(status, 14)
    if kind == _JSON:
        body = orjson.dumps({"code": code, "message": text})
    else:
        said = text.encode()
        body = b"\x08" + varint(code) + b"\x12" + varint(len(said)) + said
    return Answer(status, body, kind, {"Retry-After": str(after)} if after else {})


def _has_token(sent: str, token: str) -> bool:
    """Say whether a header Authorization holds the token: bearer, API key, or anybody's password."""
    scheme, _, value = sent.partition(" ")
    value = value.strip()
    found = [value]
    if scheme.lower() in {"basic", "apikey"}:
        with suppress(ValueError):
            found.append(b64decode(value, validate=True).decode("utf-8", "replace").partition(":")[2])
    elif scheme.lower() != "bearer":
        return False
    same = partial(hmac.compare_digest, token.encode())
    return any([same(one.encode("utf-8", "replace")) for one in found])  # noqa: C419 - each is compared
