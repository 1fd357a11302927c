"""The sink and its transport against servers that misbehave: always a verdict, in time, without a secret."""

from __future__ import annotations

import gzip
import re
import shutil
import socket
import ssl
import subprocess
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from cramjam import snappy
from servers import faults
from servers.faults import FaultServer, answer

from logferry.handlers.schema import Schema
from logferry.shipper.config.fields import Duration, Secret
from logferry.shipper.config.tls import TlsConfig
from logferry.shipper.model import Batch, Delivered, Partial, Rejected, Retry, Split
from logferry.shipper.ports import SinkContext
from logferry.shipper.sinks.loki import LokiConfig, LokiSink
from logferry.shipper.transport import retry_after

SPOOL = "cd" * 16
TOKEN = "s3cr3t-t0k3n"


def sink(url: str, **options: Any) -> LokiSink:
    options = {"timeout": Duration(0.4), "bearer_token": Secret(TOKEN)} | options
    return LokiSink(LokiConfig(url=url, **options), SinkContext("loki", Schema("x")))


def batch(*levels: str, **options: Any) -> Batch:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
    lines = [orjson.dumps({"timestamp": stamp, "service": "s", "level": level}) for level in levels]
    return Batch(SPOOL, range(1, len(lines) + 1), lines, **options)


def one_verdict(server_url: str, **options: Any) -> tuple[Any, float]:
    """Send one event and return the verdict and the seconds it took."""
    used = sink(server_url, **options)
    begun = time.monotonic()
    verdict = used.send(batch("INFO"))
    took = time.monotonic() - begun
    used.close()
    assert TOKEN not in repr(verdict)
    return verdict, took


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (faults.hang(), "within 0.4 s"),
        (faults.reset(), "cut"),
        (faults.silence(), "cut"),
        (faults.garbage(), "HTTP"),
        (faults.garbage(b"HTTP/1.1 20"), "HTTP"),
        (faults.drip(b"HTTP/1.1 204 No Content\r\n\r\n", every=0.1), "within 0.4 s"),
        (
            faults.drip(b"HTTP/1.1 500 x\r\nContent-Length: 90\r\n\r\n" + b"x" * 90, every=0.02),
            "within 0.4 s",
        ),
    ],
    ids=["hang", "reset", "silence", "garbage", "half a line", "dripping head", "dripping body"],
)
def test_no_answer_is_a_retry_in_time(behaviour: faults.Behaviour, words: str) -> None:
    """However the server fails, the verdict is a retry that says how, in time; then all is well."""
    with FaultServer(behaviour) as server:
        used = sink(server.url)
        begun = time.monotonic()
        verdict = used.send(batch("INFO"))
        assert time.monotonic() - begun < 2
        assert isinstance(verdict, Retry)
        assert words in verdict.reason
        assert TOKEN not in verdict.reason
        assert used.send(batch("INFO")) == Delivered()
        used.close()


def test_nobody_listens() -> None:
    """Refused at once, and said so, by `check` too."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        verdict, _ = one_verdict(url)
        assert "refused" in verdict.reason
        assert "refused" in sink(url).check()[0]


def test_a_name_that_does_not_exist() -> None:
    """The reason is the name, not the network."""
    verdict, _ = one_verdict("http://no-such-host.invalid:3100", timeout=Duration(5.0))
    assert isinstance(verdict, Retry)
    assert "cannot be resolved" in verdict.reason


def test_a_huge_answer_is_not_read() -> None:
    """Two hundred megabytes of an error page cost neither memory nor time, and the next request works."""
    with FaultServer(faults.huge(503, 200_000_000)) as server:
        used = sink(server.url, timeout=Duration(5.0))
        tracemalloc.start()
        verdict = used.send(batch("INFO"))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert isinstance(verdict, Retry)
        assert peak < 8_000_000
        assert len(verdict.reason) < 500
        assert used.send(batch("INFO")) == Delivered()
        used.close()


def test_connections_are_kept_and_redirects_are_not_followed() -> None:
    """The credentials never go to where a redirect points."""
    with (
        FaultServer() as other,
        FaultServer(answer(307, b"", {"Location": other.url}), answer(204)) as server,
    ):
        used = sink(server.url)
        verdict = used.send(batch("INFO"))
        assert isinstance(verdict, Retry)
        assert verdict.pause
        assert "redirect" in verdict.reason
        assert used.send(batch("INFO")) == Delivered()
        assert not other.requests
        used.close()


def test_an_answer_that_repeats_our_credentials_is_masked() -> None:
    """A proxy that shows the request's headers in its error page does not bring the token into a reason."""
    with FaultServer(answer(502, f"Authorization: Bearer {TOKEN}".encode())) as server:
        verdict, _ = one_verdict(server.url)
        assert "Bearer ***" in verdict.reason


def test_an_outage_ends_the_batch_and_a_streams_refusal_does_not() -> None:
    """After a 503 the other streams are not tried; after a stream's 429 they are."""
    three = batch("INFO", "ERROR", "DEBUG")
    with FaultServer(answer(204), answer(503, b"", {"Retry-After": "9"})) as server:
        verdict = sink(server.url).send(three)
        assert isinstance(verdict, Partial)
        assert verdict.refused.keys() == {1, 2}
        assert {refusal.after for refusal in verdict.refused.values() if isinstance(refusal, Retry)} == {9.0}
        assert len(server.requests) == 2
    with FaultServer(answer(429, b"Per stream rate limit exceeded")) as server:
        verdict = sink(server.url).send(three)
        assert isinstance(verdict, Partial)
        assert verdict.refused.keys() == {0}
        assert len(server.requests) == 3


def test_a_split_stream_comes_back_alone_and_is_then_halved() -> None:
    """Beside delivered streams a bad one is a retry; alone it is a split; a single event is rejected."""
    bad = answer(400, b"max entry size exceeded")
    with FaultServer(bad, answer(204), bad, bad) as server:
        used = sink(server.url)
        verdict = used.send(batch("INFO", "INFO", "ERROR"))
        assert isinstance(verdict, Partial)
        assert {type(refusal) for refusal in verdict.refused.values()} == {Retry}
        assert isinstance(used.send(batch("INFO", "INFO")), Split)
        assert isinstance(used.send(batch("INFO")), Rejected)
        used.close()


def test_a_repeated_attempt_keeps_its_clock() -> None:
    """An event does not move to the backfill stream between two attempts at it."""
    clock = [time.time()]
    with FaultServer(answer(503), rest=answer(204)) as server:
        used = LokiSink(
            LokiConfig(url=server.url, encoding="json"), SinkContext("l", Schema("x")), clock=lambda: clock[0]
        )
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(clock[0] - 29 * 60))
        late = Batch(SPOOL, [1, 2], [orjson.dumps({"timestamp": stamp, "level": "INFO"})] * 2)
        used.send(late)
        clock[0] += 300
        assert used.send(late) == Delivered()
        assert server.requests[0].body == server.requests[1].body
        used.close()


@pytest.mark.parametrize("first", [1, 1000], ids=["plain way", "in one pass"])
def test_old_events_go_where_loki_takes_them(first: int) -> None:
    """What was acknowledged decides which backfill streams are open for the next."""
    with FaultServer(answer(204)) as server:
        used = sink(server.url)
        for age in (10_000, 15_000, 9_000):
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() - age))
            old = Batch(SPOOL, [first, first + 1], [orjson.dumps({"timestamp": stamp, "service": "s"})] * 2)
            assert used.send(old) == Delivered()
        bodies = [bytes(snappy.decompress_raw(request.body)) for request in server.requests]
        assert [re.findall(rb'backfill="cdcdcdcd-(.)"', body) for body in bodies] == [[b"0"], [b"1"], [b"0"]]
        used.close()


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (answer(401, b"no org id"), "tenant"),
        (answer(401), "credentials"),
        (answer(403), "credentials"),
        (answer(404, b"nothing here"), "no Loki push interface"),
        (answer(200, b"<html>"), "something else"),
        (answer(302), "redirect"),
        (faults.garbage(), "HTTP"),
        (faults.hang(), "within"),
    ],
)
def test_check_says_what_is_wrong(behaviour: faults.Behaviour, words: str) -> None:
    """One sentence that names the sink and what to mend."""
    with FaultServer(behaviour) as server:
        problems = sink(server.url).check()
        assert len(problems) == 1
        assert problems[0].startswith("loki: ")
        assert words in problems[0]
        assert TOKEN not in problems[0]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An own authority, a certificate for 127.0.0.1 and one for another name."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: it makes the test's certificates")
    path = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=path, check=True, capture_output=True)

    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")  # Python 3.13 asks for it
    openssl(*new, *usage, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority")
    for name, subject in (
        ("good", "IP:127.0.0.1"),
        ("other", "DNS:elsewhere.example"),
        ("client", "DNS:client"),
    ):
        openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"),
        )
        (path / "ext").write_text(f"subjectAltName={subject}\nauthorityKeyIdentifier=keyid\n")
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", "2", "-out", f"{name}.pem", "-extfile", "ext"),
        )
    return path


def serving(certificates: Path, name: str, *, ask: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    if ask:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates / "ca.pem")
    return context


def test_tls(certificates: Path) -> None:
    """Trusted, unknown, misnamed, missing, unchecked and own certificates each have their verdict."""
    ca = TlsConfig(ca_file=certificates / "ca.pem")
    long = Duration(5.0)
    with FaultServer(tls=serving(certificates, "good")) as server:
        assert one_verdict(server.url, tls=ca, timeout=long)[0] == Delivered()
        assert "certificate was not accepted" in one_verdict(server.url, timeout=long)[0].reason
        assert one_verdict(server.url, tls=TlsConfig(verify=False), timeout=long)[0] == Delivered()
        missing = TlsConfig(ca_file=certificates / "none.pem")
        assert "none.pem" in one_verdict(server.url, tls=missing)[0].reason
    with FaultServer(tls=serving(certificates, "other")) as server:
        assert "IP address mismatch" in one_verdict(server.url, tls=ca, timeout=long)[0].reason
    with FaultServer() as server:
        verdict, _ = one_verdict(server.url.replace("http:", "https:"), tls=ca)
        assert isinstance(verdict, Retry)
    with FaultServer(tls=serving(certificates, "good", ask=True)) as server:
        own = TlsConfig(
            ca_file=certificates / "ca.pem",
            cert_file=certificates / "client.pem",
            key_file=certificates / "client.key",
        )
        assert one_verdict(server.url, tls=own, timeout=long)[0] == Delivered()
        assert isinstance(one_verdict(server.url, tls=ca, timeout=long)[0], Retry)


def test_a_dripping_tls_server_is_bounded_too(certificates: Path) -> None:
    """The deadline holds under TLS as well."""
    drip = faults.drip(b"HTTP/1.1 204 No Content\r\n\r\n", every=0.1)
    with FaultServer(drip, tls=serving(certificates, "good")) as server:
        verdict, took = one_verdict(server.url, tls=TlsConfig(ca_file=certificates / "ca.pem"))
        assert isinstance(verdict, Retry)
        assert took < 2


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        ("99999999", 3600.0),
        ("-3", None),
        ("soon", None),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 60.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("9" * 5000, None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """Seconds and dates are read, bounded to an hour; anything else says nothing."""
    assert retry_after(value, now=40.0) == seconds


def test_each_writer_has_streams_of_its_own_and_a_demoted_label_is_so_for_all() -> None:
    with FaultServer(answer(204)) as server:
        used = sink(server.url, label_budget=2, encoding="json")
        for number, spool in enumerate(("00" * 16, "0f" * 16, "00" * 16)):
            assert used.send(replace(batch("INFO"), spool=spool)) == Delivered(), number
        bodies = [orjson.loads(gzip.decompress(request.body)) for request in server.requests]
        assert [body["streams"][0]["stream"]["writer"] for body in bodies] == ["0", "15", "0"]
        for level in ("DEBUG", "WARNING"):
            assert used.send(replace(batch(level), spool="00" * 16)) == Delivered()
        assert list(used.demoted) == ["level"]
        assert used.send(replace(batch("INFO"), spool="0f" * 16)) == Delivered()
        last = orjson.loads(gzip.decompress(server.requests[-1].body))["streams"][0]
        assert last["stream"] == {"service": "s", "writer": "15"}
        assert last["values"][0][2]["level"] == "INFO"
        used.close()
