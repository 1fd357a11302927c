"""`configure`, `flush`, `shutdown` and `logferry.Handler` in one process."""

from __future__ import annotations

import logging
import logging.config
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import logferry
from logferry.handlers.context import bound
from logferry.shipper import lifecycle
from logferry.shipper.config import ConfigError
from logferry.shipper.ports import SinkKind
from logferry.shipper.sinks.memory import SINK, memory_sink

ROOT = logging.getLogger()
log = logging.getLogger("shop.orders")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    handlers, level, term = ROOT.handlers[:], ROOT.level, signal.getsignal(signal.SIGTERM)
    yield
    logferry.shutdown(2.0)
    assert ROOT.handlers == handlers
    assert ROOT.level == level
    signal.signal(signal.SIGTERM, term)


def settings(path: Path, name: str = "mem", **more: Any) -> dict[str, Any]:
    return {
        "service": "checkout",
        "spool": {"path": str(path)},
        "logging": {"level": "INFO", "console": "off"},
        "sinks": {name: {"type": "memory"}},
        **more,
    }


def messages(name: str = "mem") -> list[str]:
    return [event["message"] for event in memory_sink(name).events()]


def test_a_record_goes_from_the_log_call_to_the_sink(tmp_path: Path) -> None:
    """The quick start: configure, log, flush; the account of every record balances."""
    pipeline = logferry.configure(settings(tmp_path))
    log.info("order created", extra={"order_id": 42})
    log.debug("below the level")
    assert logferry.flush(10)
    (event,) = memory_sink("mem").events()
    assert (event["message"], event["order_id"], event["service"]) == ("order created", 42, "checkout")
    assert logferry.shutdown(5)
    account = pipeline.accounts()["mem"]
    assert (account.accepted, account.delivered, account.balance) == (1, 1, 0)
    assert lifecycle.current() is None
    assert logferry.flush()
    assert logferry.shutdown()


def test_the_same_configuration_changes_nothing_another_replaces(tmp_path: Path) -> None:
    """Configured twice a record arrives once; another configuration takes over and loses nothing."""
    first = logferry.configure(settings(tmp_path))
    assert logferry.configure(settings(tmp_path)) is first
    log.info("a")
    second = logferry.configure(settings(tmp_path, "other", logging={"level": "DEBUG", "console": "off"}))
    assert second is not first
    assert not first.running
    log.debug("b")
    assert logferry.flush(10)
    assert messages() == ["a"]
    assert messages("other") == ["b"]


def test_a_mistake_touches_nothing(tmp_path: Path) -> None:
    """A configuration with mistakes raises, and what ran before goes on."""
    before = logferry.configure(settings(tmp_path))
    with pytest.raises(ConfigError):
        logferry.configure({"service": "checkout", "sinks": {"x": {"type": "no such"}}})
    assert lifecycle.current() is before
    log.info("still there")
    assert logferry.flush(10)
    assert messages() == ["still there"]


def test_handlers_from_dict_config_share_the_pipeline(tmp_path: Path) -> None:
    """`class: logferry.Handler` twice, and `configure` with the same file: one pipeline, each record once."""
    config = tmp_path / "logferry.yaml"
    config.write_text(
        f"service: checkout\nspool: {{path: {tmp_path}/spool}}\nlogging: {{console: off, level: INFO}}\n"
        "sinks: {mem: {type: memory}}\n"
    )
    handler = {"class": "logferry.Handler", "config": str(config)}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"ship": handler, "again": handler},
            "loggers": {"only.here": {"handlers": ["ship"], "level": "INFO", "propagate": False}},
        }
    )
    pipeline = lifecycle.current()
    assert pipeline is not None
    logging.getLogger("only.here").info("a")
    log.warning("not ours yet")
    assert logferry.configure(config) is pipeline
    log.warning("b")
    assert logferry.flush(10)
    assert messages() == ["a", "b"]
    logging.getLogger("only.here").handlers.clear()


def test_an_own_console_handler_is_respected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A terminal handler is added where there is none, and not beside the application's own."""
    own = logging.StreamHandler()
    ROOT.addHandler(own)
    logferry.configure(settings(tmp_path, logging={"console": "pretty", "level": "INFO"}))
    assert sum(type(h) is logging.StreamHandler for h in ROOT.handlers) == 1
    logferry.shutdown(5)
    ROOT.removeHandler(own)
    for console in ("pretty", "json"):
        logferry.configure(settings(tmp_path, logging={"console": console, "level": "INFO"}))
        log.info("on the terminal")
        logferry.shutdown(5)
    first, second = capsys.readouterr().err.splitlines()
    assert "on the terminal" in first
    assert not first.startswith("{")
    assert second.startswith("{")


def test_a_foreign_sigterm_handler_is_left_alone(tmp_path: Path) -> None:
    """Only where nobody handles SIGTERM does logferry."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logferry.configure(settings(tmp_path))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    logferry.shutdown(5)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logferry.configure(settings(tmp_path))
    assert callable(signal.getsignal(signal.SIGTERM))


def test_importing_logferry_loads_nothing() -> None:
    """`import logferry` is free; names come when they are used, unknown ones raise."""
    code = (
        "import sys, logferry; assert not any(m.startswith('logferry.') for m in sys.modules); logferry.bind"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
    assert set(logferry.__all__) <= set(dir(logferry))
    assert all(getattr(logferry, name) for name in logferry.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = logferry.nothing


def test_the_flight_recorder_is_configured_with_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Below the level nothing is shipped or shown, unless its request fails; afterwards all is as before."""
    quiet = {"level": "WARNING", "flight_recorder": "DEBUG", "console": "pretty"}
    logferry.configure(settings(tmp_path, logging=quiet))
    assert log.isEnabledFor(logging.DEBUG)
    for name in ("good", "bad"):
        with bound(request_id=name):
            log.debug("detail of %s", name)
            if name == "bad":
                log.error("broken")
    assert logferry.flush(10)
    assert messages() == ["detail of bad", "broken"]
    shown = capfd.readouterr().err
    assert "broken" in shown
    assert "detail" not in shown
    logferry.configure(settings(tmp_path, logging={"level": "WARNING", "console": "off"}))
    assert not log.isEnabledFor(logging.INFO)


@pytest.mark.parametrize("console", ["pretty", "json"])
def test_the_console_does_not_show_what_our_own_clients_log(
    tmp_path: Path, console: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At DEBUG a worker's HTTP client logs each connection: not on the console that `configure` installs."""
    monkeypatch.setattr(ROOT, "handlers", [])  # pytest's own
    pool = logging.getLogger("urllib3.connectionpool")

    class Chatty:
        """A sink whose client logs, as urllib3 does."""

        def __init__(self) -> None:
            self.inner = memory_sink("mem")
            self.limits = self.inner.limits

        def send(self, batch: Any) -> Any:
            pool.debug("Starting new HTTP connection")
            return self.inner.send(batch)

        def check(self) -> list[str]:
            return []

        def close(self) -> None:
            pass

    monkeypatch.setattr(
        "logferry.shipper.config.loading.sink_kind",
        lambda _name: SinkKind("memory", SINK.config, lambda *_: Chatty()),
    )
    logferry.configure(
        settings(tmp_path, environment="dev", logging={"console": console, "loggers": {"urllib3": "DEBUG"}})
    )
    pool.debug("a client of the application's own")
    log.debug("seen")
    assert logferry.flush(10)
    logferry.shutdown(5)
    shown = capfd.readouterr().err
    assert "seen" in shown
    assert "a client of the application's own" in shown
    assert "Starting new HTTP connection" not in shown
