"""Lines that are unusual in every way we know, and random ones: for tests of ways that must agree."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from logferry.handlers.record import EventBuilder
from logferry.handlers.redaction import Redactor
from logferry.handlers.schema import Schema
from logferry.shipper.core.lines import CutLine

__all__ = [
    "BUILDER",
    "CARD",
    "ENTRIES",
    "NAMES",
    "NESTED",
    "ODD",
    "RANDOM_LINES",
    "SCALARS",
    "SECRET",
    "TEXTS",
    "entry",
    "make",
    "value",
]

SECRET = "Authorization: Bearer abcdefgh12345678"
CARD = "4111 1111 1111 1111"


def make(**options: Any) -> EventBuilder:
    schema = Schema("edge", host="h", fields={"order_id": "integer", "amount": "number"}, **options)
    return EventBuilder(schema, Redactor(("loyalty",), schema=schema))


BUILDER = make()


def value(line: bytes) -> Any:
    """Return an event's value with the types of everything in it, names in any order."""
    return typed(json.loads(line))


def typed(held: Any) -> Any:
    if isinstance(held, dict):
        return {name: typed(item) for name, item in held.items()}
    if isinstance(held, list):
        return [typed(item) for item in held]
    return type(held).__name__, held


def entry(number: int, **more: Any) -> dict[str, Any]:
    return {
        "timestamp": f"2026-11-21T17:00:{number % 60:02}.{number:06}Z",
        "level": "INFO",
        "message": f"GET /api/v1/products/{number} 200",
        "method": "GET",
        "status_code": 200,
        "duration_ms": number + 0.25,
        "trace_id": f"{number + 1:032x}",
        "order_id": number,
        "note": "x" * 20,
        **more,
    }


ODD: dict[str, bytes] = {
    "secret in the message": json.dumps(entry(1, message=SECRET)).encode(),
    "card": json.dumps(entry(1, note=f"card {CARD}")).encode(),
    "sensitive name": json.dumps(entry(1, password="hunter2")).encode(),
    "user's name": json.dumps(entry(1, loyalty="L-1")).encode(),
    "nested": json.dumps(entry(1, cart={"password": "hunter2", "n": [1, 2]})).encode(),
    "nested secret": json.dumps(entry(1, cart={"said": [{"to": SECRET}]})).encode(),
    "nested card": json.dumps(entry(1, cart=["x", CARD])).encode(),
    "couple": json.dumps(entry(1, cart=["password", "hunter2"])).encode(),
    "label": json.dumps(entry(1, cart={"name": "password", "value": "hunter2"})).encode(),
    "nested integer": b'{"message":"a","cart":{"n":123456789012345678901234567890,"m":18446744073709551615}}',
    "nested float": b'{"message":"a","cart":[1e400,1E5,-0.0]}',
    "nested twice": b'{"message":"a","cart":{"a":"1","a":"2"}}',
    "nested surrogate": b'{"message":"a","cart":["\\ud800"]}',
    "many items": json.dumps(entry(1, cart=list(range(500)))).encode(),
    "rather deep": b'{"message":"a","cart":' + b"[" * 40 + b"]" * 40 + b"}",
    "collision": json.dumps(entry(1, event_id="x", extra={"a": 1}, truncated=True, error_code=5)).encode(),
    "error": json.dumps(entry(1, error={"type": "E", "message": "m"}, exc_info="Traceback")).encode(),
    "wrong type": json.dumps(entry(1, status_code="many", order_id="x")).encode(),
    "castable": json.dumps(entry(1, status_code="200", order_id="17", amount=3)).encode(),
    "bad time": json.dumps(entry(1, timestamp="2026-02-30T00:00:00.000000Z")).encode(),
    "bad second": json.dumps(entry(1, timestamp="2026-02-20T00:00:60.000000Z")).encode(),
    "bad trace": json.dumps(entry(1, trace_id="xyz")).encode(),
    "zero trace": json.dumps(entry(1, trace_id="0" * 32)).encode(),
    "bad service": json.dumps(entry(1, service="not a name")).encode(),
    "bad level": json.dumps(entry(1, level="LOUD")).encode(),
    "huge integer": b'{"message":"a","n":123456789012345678901234567890}',
    "float": b'{"message":"a","n":1e400,"m":1E5,"duration_ms":1e300}',
    "twice": b'{"message":"a","message":"b","note":"1","note":2,"level":"INFO","level":"ERROR"}',
    "twice, the same": json.dumps(entry(1)).encode()[:-1] + b',"note":"y"}',
    "escaped name": b'{"\\u006dessage":"a","pass\\u0077ord":"hunter2"}',
    "surrogate": b'{"message":"\\ud800"}',
    "not UTF-8": b'{"message":"a\xff"}',
    "control": b'{"message":"a\x01"}',
    "array": b"[1,2]",
    "empty": b"{}",
    "space": b'  {"message" : "a" }\t \r',
    "no JSON": b'{"message": "a"',
    "deep": b'{"a":' * 500 + b"1" + b"}" * 500,
    "blank": b" \t\r",
    "text": b"2026-11-21 17:00:00,123 WARNING shop: low stock",
    "zone": b"[2026-11-21T17:00:00.5 +0100] ERROR x",
    "secret text": SECRET.encode(),
    "traceback": b"Traceback (most recent call last):",
    "bytes": bytes(range(256)).replace(b"\n", b""),
    "joined": b"2026-11-21 17:00:00 ERROR x\nTraceback (most recent call last):\n  File\nE: m",
    "cut": CutLine(b'{"message": "a"}', 17),
    "cut text": CutLine(b"abc", 17),
    "nul": b"a\0password=x\0b",
    "error name": b'{"message":"a","error.code":1,"err":"x","traceId":"","otelSpanID":"0"}',
    "two times": b'{"message":"a","timestamp":"then","time":1795252730,"@timestamp":"2026-01-02T03:04:05Z"}',
    "null roles": b'{"message":null,"msg":"m","level":null,"logger":null,"name":"n","trace_id":null}',
}


NAMES = st.sampled_from(
    (
        *("timestamp", "time", "ts", "level", "severity", "message", "msg", "event", "logger", "name"),
        *("service", "trace_id", "traceId", "span_id", "host", "line", "kind", "duration_ms", "duration_le"),
        *("status_code", "order_id", "amount", "note", "cart", "user_id", "error", "exc_info", "password"),
        *("extra", "value", "parent_id", "truncated", "path", "failed", "a", "b", "c", "log_file"),
    )
)
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        (
            *("", "access", "INFO", "error", "2026-11-21T17:00:00.123456Z", "2026-11-21 17:00", "5", '"'),
            *("0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7", SECRET, CARD, "a\\nb"),
        )
    ),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS
)
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=5,
)
ENTRIES = st.dictionaries(NAMES, st.one_of(SCALARS, NESTED), max_size=8)
WORDS = st.sampled_from(
    (
        *("INFO ", "xERROR", "WARN", "2026-11-21 17:00:00", ",123", "+01:00", "Z", " ", "\t", "\r", SECRET),
        *("Traceback (most recent call last):", "{", "}", '{"a":1}', "é", "\u2028"),
    )
)
RANDOM_LINES = st.one_of(
    ENTRIES.map(lambda one: json.dumps(one).encode()),
    ENTRIES.map(lambda one: json.dumps(one, ensure_ascii=False, separators=(",", ":")).encode()),
    st.lists(WORDS, max_size=6).map(lambda words: "".join(words).encode()),
    st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b" ")),
)
