"""python-json-logger's options on top of our event."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter as Theirs

from logferry.handlers.formatter import JsonFormatter, make_builder

BUILDER = make_builder("s", "test")


def record(message: Any = "hi %s", *args: Any, exc: bool = False, **extra: Any) -> logging.LogRecord:
    error = None
    if exc:
        try:
            raise ValueError("broken")
        except ValueError:
            error = sys.exc_info()
    made = logging.LogRecord("app.x", 20, "/srv/app/x.py", 7, message, args, error, "run")
    made.__dict__.update(extra)
    return made


def out(rec: logging.LogRecord, *args: Any, **options: Any) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(JsonFormatter(*args, builder=BUILDER, **options).format(rec))
    return decoded


def test_without_options_it_is_our_event() -> None:
    """Exactly the builder's bytes."""
    rec = record("hi %s", "you", order_id=1)
    assert JsonFormatter(builder=BUILDER).format(rec).encode() == BUILDER.build(rec)


@pytest.mark.parametrize(
    ("fmt", "style"),
    [
        ("%(asctime)s %(levelname)s %(name)s %(message)s", "%"),
        ("{asctime} {levelname} {name} {message}", "{"),
        ("$asctime ${levelname} $name $message", "$"),
        ("asctime,levelname, name,message", ","),
        (["asctime", "levelname", "name", "message"], "%"),
    ],
)
def test_a_format_selects_and_agrees_with_theirs(fmt: Any, style: str) -> None:
    """Every style names the same fields, in order, with the values that theirs gives."""
    rec = record("hi %s", "you", order_id=1)
    got = out(rec, fmt, style=style)
    assert list(got) == ["asctime", "levelname", "name", "message", "order_id"]
    assert got == json.loads(Theirs(fmt, style=style).format(rec))


def test_options_agree_with_theirs() -> None:
    """Renames, static fields, defaults and missing ones: same keys and values as theirs."""
    rec = record("hi", order_id=1)
    options: dict[str, Any] = {
        "rename_fields": {"levelname": "severity", "nothing": "none", "order_id": "order"},
        "rename_fields_keep_missing": True,
        "static_fields": {"team": "core"},
        "defaults": {"region": "eu", "order_id": 0},
        "prefix": "",
    }
    fmt = "%(levelname)s %(message)s %(lineno)d %(pathname)s %(nothere)s"
    assert out(rec, fmt, **options) == json.loads(Theirs(fmt, **options).format(rec))


def test_renames_by_either_name_without_a_format() -> None:
    """`levelname` and `level` are the same field; the rest of the event stays."""
    for name in ("levelname", "level"):
        got = out(record("hi"), rename_fields={name: "severity"})
        assert got["severity"] == "INFO"
        assert "level" not in got
        assert got["service"] == "s"


def test_timestamp_names_the_time() -> None:
    """As a string it renames, as True it includes."""
    assert out(record("hi"), timestamp="@timestamp")["@timestamp"].endswith("Z")
    assert "timestamp" in out(record("hi"), "%(message)s", timestamp=True)
    assert "timestamp" not in out(record("hi"), "%(message)s")


def test_reserved_attributes() -> None:
    """Named extras are left out; a record's attribute that is no longer reserved is added."""
    assert "colour" not in out(record("hi", colour=1), reserved_attrs=[*RESERVED_ATTRS, "colour"])
    fewer = [name for name in RESERVED_ATTRS if name != "pathname"]
    assert out(record("hi"), "%(message)s", reserved_attrs=fewer)["pathname"] == "/srv/app/x.py"


def test_exceptions() -> None:
    """`error` as our object, as text under `exc_info` when named, as lines when asked for."""
    assert out(record("hi", exc=True), "%(message)s")["error"]["type"] == "ValueError"
    assert "ValueError: broken" in out(record("hi", exc=True), "%(message)s %(exc_info)s")["exc_info"]
    lines = out(record("hi", exc=True), exc_info_as_array=True)["error"]["stack"]
    assert isinstance(lines, list)


def test_a_dict_message_becomes_fields_and_stays_as_it_was() -> None:
    """The caller's dict and the record are not changed; names of the record's own are kept apart."""
    given = {"message": "hello", "order_id": 1, "password": "hunter2", "name": "Ann"}
    rec = record(given)
    before = dict(rec.__dict__), dict(given)
    got = out(rec)
    assert (got["message"], got["order_id"]) == ("hello", 1)
    assert got["logger"] == "app.x"
    assert "hunter2" not in json.dumps(got)
    assert "Ann" in json.dumps(got)
    assert (dict(rec.__dict__), given) == before


def test_redaction_is_always_on() -> None:
    """Whatever is selected or added by a subclass, values are the redacted ones."""

    class Own(JsonFormatter):
        def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: Any) -> None:
            super().add_fields(log_data, record, message_dict)
            log_data["password"] = "hunter2"
            log_data["own"] = 1

    rec = record("log-in with password=%s", "hunter2", token="abc123secret")
    for options in ({}, {"fmt": "%(message)s %(msg)s %(args)s %(token)s"}, {"json_indent": 2}):
        text = JsonFormatter(builder=BUILDER, **options).format(rec)
        assert "hunter2" not in text
        assert "abc123secret" not in text
    text = Own(builder=BUILDER).format(rec)
    assert json.loads(text)["own"] == 1
    assert "hunter2" not in text


def test_writing_options() -> None:
    """Prefix, indent, ASCII and a serialiser of one's own."""
    rec = record("grüß")
    assert JsonFormatter(builder=BUILDER, prefix="@cee: ").format(rec).startswith('@cee: {"')
    assert "\\u00fc" in JsonFormatter(builder=BUILDER, json_ensure_ascii=True).format(rec)
    assert "\n  " in JsonFormatter(builder=BUILDER, json_indent=2).format(rec)
    assert JsonFormatter(builder=BUILDER, json_serializer=lambda data, **_: "x").format(rec) == "x"
