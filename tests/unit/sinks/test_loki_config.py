"""Every setting that could never work is refused before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from logferry.shipper.config.fields import Secret
from logferry.shipper.config.tls import TlsConfig
from logferry.shipper.sinks.loki import SINK, LokiConfig

URL = "http://localhost:3100"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "localhost:3100"}, "scheme"),
        ({"url": "http://ann:pw@localhost"}, "username and password"),
        ({"url": "http://localhost:port"}, "not an address"),
        ({"url": "http://localhost/?a=b"}, "query"),
        ({"username": "ann"}, "belong together"),
        ({"username": "ann", "password": Secret("x"), "bearer_token": Secret("y")}, "exclude"),
        ({"bearer_token": Secret("line\nbreak")}, "control"),
        ({"headers": {"Authorization": "x"}}, "itself"),
        ({"headers": {"X-A": "a\r\nB: c"}}, "control"),
        ({"headers": {"bad name": "x"}}, "name"),
        ({"labels": ("backfill",)}, "own"),
        ({"labels": ("a.b", "a_b")}, "same name"),
        ({"labels": tuple(f"l{n}" for n in range(14))}, "15"),
        ({"labels": ("__x",)}, "takes no label"),
        ({"static_labels": {"a": ""}}, "2048"),
        ({"structured_metadata": tuple(f"m{n}" for n in range(101))}, "100"),
        ({"structured_metadata": ("a.b", "a-b")}, "same name"),
    ],
)
def test_what_cannot_work_is_said(options: dict[str, Any], words: str) -> None:
    """One sentence names the setting; no secret is in it."""
    with pytest.raises(ValueError, match=words) as error:
        LokiConfig(**({"url": URL} | options))
    assert "line\nbreak" not in str(error.value)


def test_the_push_path_may_be_written_or_not() -> None:
    """Both forms of the address, and one below a path, mean the same place."""
    for url in ("http://h:1", "http://h:1/", "http://h:1/loki/api/v1/push"):
        assert LokiConfig(url=url).base == "http://h:1"
    assert LokiConfig(url="https://h/team/").base == "https://h/team"


def test_a_key_needs_its_certificate() -> None:
    """tls.key_file alone is a mistake."""
    with pytest.raises(ValueError, match="cert_file"):
        TlsConfig(key_file=__file__)  # type: ignore[arg-type]


def test_the_registry_finds_the_sink() -> None:
    """The entry point's object names its type and its configuration."""
    assert (SINK.type, SINK.config) == ("loki", LokiConfig)
