"""What every sink honours, whoever wrote it. What the suite must know of each stands in tests/contracts.py.

The servers here are scripted: what real ones do is in tests/integration. Everything is asked of a sink that
was built from a configuration, as the pipeline builds it.
"""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from certificates import make_certificates, server_context
from contracts import CONTRACTS, SECRET, USUAL, Contract, Http, Place, Word
from servers import faults
from servers.faults import Behaviour, Connection, FaultServer, Request

from logferry.handlers.schema import Schema
from logferry.shipper.config import ConfigError, load
from logferry.shipper.core.delivery import Delivery
from logferry.shipper.model import Batch, Delivered, Limits, Partial, Rejected, Retry, Split, Verdict
from logferry.shipper.ports import Sink, SinkContext
from logferry.shipper.registry import BUILT_IN_SINKS, sink_kind

ROOT = Path(__file__).parents[3]
SPOOL = "0123456789abcdef" * 2
KNOWN = [name for name in BUILT_IN_SINKS if name in CONTRACTS]
WIRE = [name for name in KNOWN if CONTRACTS[name].wire]
HTTP = [name for name in KNOWN if CONTRACTS[name].http]
SLOW = 20.0  # seconds, on a busy machine: a time-out of half a second or one is obeyed, not one of thirty


def line(number: int, **more: Any) -> bytes:
    event = {
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime()),
        "level": "INFO",
        "service": "shop",
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "message": f"order {number}",
        "environment": "test",
        "host": "machine",
        "process": 1,
        "kind": "span",  # for sinks that take nothing else
        "duration_ms": 1.0,
    }
    return orjson.dumps(event | more)


def batch(count: int = 3, **more: Any) -> Batch:
    return Batch(SPOOL, range(1, count + 1), [line(n, **more) for n in range(1, count + 1)])


def words(verdict: Verdict) -> set[Word]:
    """Say what a verdict amounts to; a part counts by what became of it."""
    match verdict:
        case Delivered():
            return {"delivered"}
        case Split():
            return {"split"}
        case Rejected():
            return {"rejected"}
        case Retry():
            return {"pause" if verdict.pause else "retry"}
        case Partial():
            return set().union(*(words(refusal) for refusal in verdict.refused.values()))
    raise AssertionError(f"no verdict: {verdict!r}")


def reasons(verdict: Verdict) -> str:
    refused = verdict.refused.values() if isinstance(verdict, Partial) else [verdict]
    return " ".join(getattr(one, "reason", "") for one in refused)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Sink]]:
    """Build sinks from YAML's options, as the pipeline does; all are closed at the end."""
    made: list[Sink] = []

    def build(name: str, place: Place, **more: Any) -> Sink:
        # What is missing on this machine is another test's matter: here the options count.
        options = {**CONTRACTS[name].options(place), **more, "type": name}
        config = load({"service": "shop", "environment": "test", "sinks": {"it": options}}, environ={})
        sink = config.sinks["it"]
        made.append(
            sink.kind.build(sink.options, SinkContext("it", Schema("shop", environment="test"), tmp_path))
        )
        return made[-1]

    yield build
    for sink in made:
        sink.close()


def at(server: FaultServer, tmp_path: Path, ca: Path | None = None) -> Place:
    return Place("127.0.0.1", server.port, tmp_path, ca)


def nowhere(tmp_path: Path) -> Place:
    """A place at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return Place("127.0.0.1", int(taken.getsockname()[1]), tmp_path)


def beside(http: Http, struck: Behaviour) -> Behaviour:
    """What carries events is met by `struck`; everything else finds a healthy server."""

    def act(connection: Connection, request: Request) -> bool:
        return (struck if http.delivers(request) else http.healthy)(connection, request)

    return act


def http_of(name: str) -> Http:
    http = CONTRACTS[name].http
    assert http is not None
    return http


def test_every_sink_is_under_contract() -> None:
    """A sink that is registered has an entry in tests/contracts.py, and every entry is a sink."""
    assert set(CONTRACTS) == set(BUILT_IN_SINKS)


@pytest.mark.parametrize("name", KNOWN)
def test_every_option_has_a_heading(name: str) -> None:
    """Each option of the sink has a heading of its own on the sink's page, and the page is in the index."""
    page = ROOT / CONTRACTS[name].page
    assert page.exists(), f"{page} is missing"
    headings = re.findall(r"^#{2,5} (.*)$", page.read_text(), re.MULTILINE)
    named = {word for heading in headings for word in re.findall(r"`([^`]+)`", heading)}
    options = {option.metadata.get("key", option.name) for option in fields(sink_kind(name).config)}
    assert options <= named, f"{page.name} has no heading for {sorted(options - named)}"
    assert page.stem in (ROOT / "docs" / "index.md").read_text().split()


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_missing_and_what_is_unknown_is_said(name: str) -> None:
    """Without any option the error names each that is required, at its sink; an unknown key is named too."""
    required = [
        option.metadata.get("key", option.name)
        for option in fields(sink_kind(name).config)
        if option.default is MISSING and option.default_factory is MISSING
    ]
    with pytest.raises(ConfigError) as caught:
        load({"service": "shop", "sinks": {"it": {"type": name, "no_such_option": 1}}}, environ={})
    texts = [f"{problem.path}: {problem.message}" for problem in caught.value.problems]
    assert any("no_such_option" in text for text in texts)
    for key in required:
        assert any(key in text for text in texts), f"{key} is required, and {texts} does not say so"
    assert all(text.startswith("sinks.it") for text in texts)


@pytest.mark.parametrize("name", KNOWN)
def test_building_does_nothing_and_closing_twice_is_fine(make: Any, name: str, tmp_path: Path) -> None:
    """A sink whose server is away is built at once, and closed at once, as often as one likes."""
    begun = time.monotonic()
    sink = make(name, nowhere(tmp_path))
    limits: Limits = sink.limits
    for _ in range(3):
        sink.close()
    assert time.monotonic() - begun < 2
    assert min(limits.max_events, limits.max_bytes, limits.max_event_bytes) > 0
    assert limits.max_age > 0
    assert limits.overhead >= 0


@pytest.mark.parametrize("name", KNOWN)
def test_limits_follow_the_options(make: Any, name: str, tmp_path: Path) -> None:
    """What a user allows of one batch is what the worker gets to know."""
    known = {option.name for option in fields(sink_kind(name).config)}
    if not {"max_batch_events", "max_batch_bytes"} <= known:
        pytest.skip(f"{name} has no such options")
    limits = make(name, nowhere(tmp_path), max_batch_events=7, max_batch_bytes="400KiB").limits
    assert limits.max_events == 7
    # A batch has room for the largest event that the sink takes.
    assert limits.max_bytes in {400 << 10, limits.max_event_bytes}


@pytest.mark.parametrize("name", HTTP)
@pytest.mark.parametrize("size", [0, 3_000])
def test_no_request_is_larger_than_the_server_takes(make: Any, name: str, size: int, tmp_path: Path) -> None:
    """A batch as full as the limits allow, of short events or long ones, fits the server's own bound."""
    http = http_of(name)
    with FaultServer(rest=http.healthy) as server:
        sink = make(name, at(server, tmp_path), timeout="20s")
        limits: Limits = sink.limits
        one = line(1, body="x" * size)
        count = min(limits.max_events, limits.max_bytes // (len(one) + limits.overhead), 8_000)
        lines = [one] * count
        Delivery().begin(Batch(SPOOL, range(1, count + 1), lines), limits, {})
        sink.send(Batch(SPOOL, range(1, count + 1), lines))
        sink.close()  # an archive sends its last object here
        sent = [len(http.unpack(request)) for request in server.requests if http.delivers(request)]
    assert sent
    assert max(sent) <= http.largest


@pytest.mark.parametrize("name", HTTP)
def test_each_class_of_statuses_has_its_verdict(make: Any, name: str, tmp_path: Path) -> None:
    """Busy is a retry, a mistake of the configuration a pause, a refusal no loss of the others."""
    http = http_of(name)
    current = 0

    def struck(connection: Connection, request: Request) -> bool:
        headers = {"Retry-After": "7", "Content-Type": "text/plain"}
        return faults.answer(current, b"words of the server", headers)(connection, request)

    wrong = []
    with FaultServer(rest=beside(http, struck)) as server:
        sink = make(name, at(server, tmp_path))
        for current, expected in {**USUAL, **http.verdicts}.items():
            verdict = sink.send(batch())
            if not words(verdict) <= expected:
                wrong.append((current, verdict))
            if current == 429 and http.honours_retry_after:
                refused = verdict.refused.values() if isinstance(verdict, Partial) else [verdict]
                assert {getattr(one, "after", None) for one in refused} == {7.0}
    assert not wrong


@pytest.mark.parametrize("name", HTTP)
def test_a_healthy_server_is_a_delivery(make: Any, name: str, tmp_path: Path) -> None:
    """The contract's own server takes what is sent: without this the verdicts above would prove nothing."""
    http = http_of(name)
    with FaultServer(rest=http.healthy) as server:
        sink = make(name, at(server, tmp_path))
        assert sink.send(batch()) == Delivered()
        assert any(http.delivers(request) for request in server.requests)
        assert sink.check() == []


@pytest.mark.parametrize("name", KNOWN)
def test_nothing_to_send_is_delivered(make: Any, name: str, tmp_path: Path) -> None:
    """An empty batch asks nobody."""
    assert make(name, nowhere(tmp_path)).send(Batch(SPOOL, [], [])) == Delivered()


STRANGE = (
    b"",
    b"{}",
    b"null",
    b"[1]",
    b"nonsense",
    b'{"message":"\xff"}',
    b'{"timestamp":[],"level":{},"service":7,"trace_id":0,"message":null,"host":{"a":1},"process":{}}',
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"message":"\\ud800","error":"text","timestamp":"9999-99-99T99:99:99Z"}',
    b'{"service":null,"error":{"type":{},"stack":[]},"timestamp":"0001-01-01T00:00:00.000000Z"}',
)


@pytest.mark.parametrize("name", KNOWN)
def test_no_line_makes_send_raise(make: Any, name: str, tmp_path: Path) -> None:
    """Lines that no application of ours would log get a verdict, alone and beside others."""
    http = CONTRACTS[name].http
    with FaultServer(rest=http.healthy if http else faults.silence()) as server:
        sink = make(name, at(server, tmp_path))
        for odd in STRANGE:
            for lines in ([odd], [line(1), odd, line(3)]):
                begun = time.monotonic()
                assert words(sink.send(Batch(SPOOL, range(1, len(lines) + 1), lines))) is not None
                if time.monotonic() - begun > 0.4:  # no server of its kind: each would wait for its time-out
                    sink.close()
                    return
        sink.close()


TROUBLE: dict[str, Callable[[], Behaviour]] = {
    "reset": faults.reset,
    "silence": faults.silence,
    "garbage": faults.garbage,
    "huge": lambda: faults.huge(503, 30_000_000),
    "drip": lambda: faults.drip(b"HTTP/1.1 204 No Content\r\n\r\n", every=0.1),
    "hang": faults.hang,
}


@pytest.mark.parametrize("name", WIRE)
@pytest.mark.parametrize("trouble", TROUBLE)
def test_no_server_makes_send_raise_or_hang(make: Any, name: str, trouble: str, tmp_path: Path) -> None:
    """Whatever the other side does, there is a verdict in time, and without an answer it is a retry."""
    with FaultServer(rest=TROUBLE[trouble]()) as server:
        sink = make(name, at(server, tmp_path), timeout="200ms")
        begun = time.monotonic()
        verdict = sink.send(batch())
        assert time.monotonic() - begun < SLOW
        if CONTRACTS[name].http:
            assert words(verdict) <= {"retry", "pause"}, verdict
        else:
            words(verdict)


@pytest.mark.parametrize("name", [name for name in KNOWN if CONTRACTS[name].secrets])
def test_secrets_are_never_shown(
    make: Any, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither lines of the log nor reasons, complaints, representations or errors hold a secret.

    The server sends back what it got, as a proxy's error page does.
    """
    caplog.set_level(logging.DEBUG)
    contract = CONTRACTS[name]

    def echo(connection: Connection, request: Request) -> bool:
        shown = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
        status = 500 if len(shown) % 2 else 401
        return faults.answer(status, shown.encode(), {"Content-Type": "text/plain"})(connection, request)

    with FaultServer(rest=echo) as server:
        sink = make(name, at(server, tmp_path), **contract.secrets)
        shown = [reasons(sink.send(batch())), *sink.check(), repr(sink), str(sink)]
        config = load(
            {
                "service": "shop",
                "sinks": {"it": {**contract.options(at(server, tmp_path)), **contract.secrets, "type": name}},
            },
            environ={},
        )
        shown += [repr(config), str(config.sinks["it"].options)]
    shown += [record.getMessage() + repr(record.args) for record in caplog.records if _ours(record)]
    assert any(shown)
    assert not [text for text in shown if SECRET in text]


def _ours(record: logging.LogRecord) -> bool:
    """What the clients' own loggers say never enters the pipeline (`handlers/forward.py:suppressed`)."""
    return record.name.startswith("logferry")


def complaint(sink: Sink) -> str:
    """What `check` says: one sentence at least, which names the sink."""
    begun = time.monotonic()
    said = list(sink.check())
    assert time.monotonic() - begun < SLOW
    assert said
    assert all(text.startswith("it: ") for text in said)
    return " ".join(said)


@pytest.mark.parametrize("name", WIRE)
def test_check_names_a_refused_connection(make: Any, name: str, tmp_path: Path) -> None:
    """Nothing listens there."""
    assert "refused" in complaint(make(name, nowhere(tmp_path)))


@pytest.mark.parametrize("name", WIRE)
def test_check_names_a_name_that_is_none(make: Any, name: str, tmp_path: Path) -> None:
    """The name cannot be resolved; `.invalid` never is."""
    assert "resolve" in complaint(make(name, replace(nowhere(tmp_path), host="no-such-host.invalid")))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("name", WIRE)
@pytest.mark.parametrize("shown", ["good", "other"])
def test_check_names_a_certificate_that_is_not_accepted(
    make: Any, name: str, shown: str, certificates: Path, tmp_path: Path
) -> None:
    """An authority that is not trusted, and a certificate of another name."""
    trusted = certificates / ("other.pem" if shown == "good" else f"{shown}.pem")
    with FaultServer(rest=_healthy(CONTRACTS[name]), tls=server_context(certificates, shown)) as server:
        # Kafka's client tries until its time is up; elsewhere a slow handshake must not be the complaint.
        more = {} if name == "kafka" else {"timeout": "5s"}
        sink = make(name, at(server, tmp_path, ca=trusted), **more)
        assert "certificate" in complaint(sink)
        with suppress(Exception):  # a test of `send` stands above; here nothing may get through
            assert words(sink.send(batch())) <= {"retry", "pause"}
        assert not [request for request in server.requests if request.body]


@pytest.mark.parametrize("name", [name for name in WIRE if name != "kafka"])
def test_check_is_content_with_the_right_certificate(
    make: Any, name: str, certificates: Path, tmp_path: Path
) -> None:
    """TLS with a certificate that is trusted and has the right name (a real broker shows it for Kafka)."""
    with FaultServer(rest=_healthy(CONTRACTS[name]), tls=server_context(certificates, "good")) as server:
        assert make(name, at(server, tmp_path, ca=certificates / "good.pem"), timeout="5s").check() == []


def _healthy(contract: Contract) -> Behaviour:
    return contract.http.healthy if contract.http else faults.hang()


APART: dict[str, tuple[Behaviour, str]] = {
    "credentials": (faults.answer(401, b"no"), r"credentials"),
    "permission": (faults.answer(403, b"no"), r"may not|privilege|permission"),
    "elsewhere": (faults.answer(301, b""), r"redirect"),
    "another server": (faults.answer(404, b"no"), r"nothing|there is no|answered 404"),
    "not well": (faults.answer(503, b"no"), r"answered 503"),
}


@pytest.mark.parametrize("name", HTTP)
def test_check_tells_apart_what_is_to_be_mended(
    make: Any, name: str, certificates: Path, tmp_path: Path
) -> None:
    """Name, port, certificate, credentials, permission, redirect, another server: a sentence for each."""
    away = nowhere(tmp_path)
    said = {
        "name": complaint(make(name, replace(away, host="no-such-host.invalid"))),
        "port": complaint(make(name, away)),
    }
    with FaultServer(rest=_healthy(CONTRACTS[name]), tls=server_context(certificates, "good")) as server:
        said["certificate"] = complaint(make(name, at(server, tmp_path, ca=certificates / "other.pem")))
    for what, (behaviour, words_) in APART.items():
        with FaultServer(rest=behaviour) as server:
            said[what] = complaint(make(name, at(server, tmp_path)))
        assert re.search(words_, said[what]), said[what]
    # What stands in brackets is the server's, and so are ports and statuses: the sentences themselves differ.
    ours = [text for what, text in said.items() if what not in {"another server", "not well"}]
    assert len({re.sub(r"\(.*?\)|\d+", "", text) for text in ours}) == len(ours), ours
    assert len(set(said.values())) == len(said), said


@pytest.mark.parametrize("name", HTTP)
@pytest.mark.parametrize("status", [401, 403])
def test_check_names_credentials(make: Any, name: str, status: int, tmp_path: Path) -> None:
    """The server wants others, or they may not do this."""
    with FaultServer(rest=faults.answer(status, b"no")) as server:
        said = complaint(make(name, at(server, tmp_path)))
    assert "credentials" in said or "permission" in said
    assert str(status) in said
