"""A configuration file: every mistake in one go, at its place, with what to write instead."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from logferry.handlers.schema import Schema
from logferry.shipper import registry
from logferry.shipper.config import ConfigError, load
from logferry.shipper.config.fields import Duration, Secret, Size, setting
from logferry.shipper.config.plan import plan
from logferry.shipper.config.sections import Redact, Spool
from logferry.shipper.core.sift import Routes
from logferry.shipper.ports import SinkKind


@dataclass(frozen=True, slots=True)
class Options:
    """A sink's keys, of every type."""

    url: str = setting(help="where", example="http://x")
    token: Secret | None = None
    timeout: Duration = Duration(5.0)
    buffer: Size = setting(Size(1024), help="how much", minimum=10, maximum=10_000)
    labels: tuple[str, ...] = ()
    retries: int = 3
    ratio: float = 1.0
    verify: bool = True
    ca: Path | None = None


def build(config: object, context: object, /) -> Any:
    raise AssertionError


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = SinkKind("fake", Options, build)
    real = registry.sink_kind
    monkeypatch.setattr(
        "logferry.shipper.config.loading.sink_kind", lambda name: kind if name == "fake" else real(name)
    )


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "logferry.yaml"
    path.write_text(text)
    return path


SINK = "sinks: {here: {type: fake, url: http://x}}\n"


def problems(path: Path, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ=environ)
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


def test_every_mistake_in_one_go(tmp_path: Path) -> None:
    """All problems of a file come together, sorted, each with line, column, path and a way out."""
    path = write(
        tmp_path,
        "servce: checkout\n"
        "environment: ${MISSING}\n"
        "logging:\n"
        "  level: info\n"
        "spool: {max_bytes: 1G, when_full: drop_oldst}\n"
        "delivery: proces\n"
        "sinks:\n"
        "  loki: {type: fake, uri: http://x, retries: many}\n"
        "  other: {type: fak}\n"
        "version: 1\n"
        "version: 2\n",
    )
    assert problems(path) == [
        "1:1: service is missing (the name that your events carry); write service: checkout",
        "1:1: servce: unknown key; did you mean service?",
        "2:1: environment: the environment variable MISSING is not set; set it or write ${MISSING:-default}",
        "4:3: logging.level: expected DEBUG or INFO or WARNING or ERROR or CRITICAL, not 'info'; write INFO",
        "5:9: spool.max_bytes: expected a size such as 64KiB or 1GiB, not '1G'; write 1GiB",
        (
            "5:24: spool.when_full: expected drop_oldest or drop_newest or block, not 'drop_oldst';"
            " did you mean drop_oldest?"
        ),
        "6:1: delivery: expected thread or process or agent, not 'proces'; did you mean process?",
        "8:3: sinks.loki: url is missing (where); write url: http://x",
        "8:22: sinks.loki.uri: unknown key; did you mean url?",
        "8:37: sinks.loki.retries: expected a whole number, not 'many'",
        f"9:11: sinks.other.type: no sink has the type 'fak'; known: {', '.join(registry.sink_types())}",
        "11:1: version: stands here a second time (first in line 10)",
    ]


def test_the_caret_stands_under_the_key(tmp_path: Path) -> None:
    """The printed error shows the source line and points at the key."""
    path = write(tmp_path, f"service: x\nlogging: {{console: loud}}\n{SINK}")
    with pytest.raises(ConfigError) as caught:
        load(path)
    first, line, caret = str(caught.value).split("\n")
    assert first.startswith(f"{path}:2:11: logging.console: expected pretty or json or off")
    assert line[caret.index("^") :].startswith("console: loud")


@pytest.mark.parametrize(
    "line",
    [
        "sinks: {here: {type: fake, url: 'http://u:hunter2@x', retries: a}}",
        "sinks: {here: {type: fake, url: x, token: hunter2, retries: a}}",
        "sinks: {here: {type: fake, url: x, tokn: hunter2}}",
        "sinks: {here: {type: fake, url: x, token: [hunter2]}}",
        "sinks: {here: {type: fake, url: x, password: 'hunter2'}}",
        "redact: {mode: hash, hash_key: hunter2, keys: 5}",
        "pasword: hunter2",
        "zzz: hunter2",
    ],
)
def test_no_secret_in_an_error(tmp_path: Path, line: str) -> None:
    """Whatever is wrong around a secret, its text is not printed."""
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, f"service: x\n{line}\n"))
    assert "hunter2" not in str(caught.value) + repr(caught.value)


def test_all_types_are_bound(tmp_path: Path) -> None:
    """Each type is read from its text; paths are relative to the file; secrets come from files too."""
    (tmp_path / "token").write_text("s3cret\n")
    path = write(
        tmp_path,
        "service: x\n"
        "version: 1.10\n"
        "logging: {console: off, loggers: {a.b: WARNING}}\n"
        "redact: off\n"
        "spool: memory\n"
        "shutdown_timeout: 1m30s\n"
        "sinks:\n"
        "  here:\n"
        "    type: fake\n"
        "    min_level: WARNING\n"
        "    url: ${URL:-http://${HOST:-localhost}:1}\n"
        "    token: file:token\n"
        "    timeout: 250ms\n"
        "    buffer: 1KB\n"
        "    labels: [service, level]\n"
        "    retries: ${N}\n"
        "    ratio: 1\n"
        "    verify: no\n"
        "    ca: certs/ca.pem\n",
    )
    config = load(path, environ={"N": "7", "HOST": "h"})
    assert (config.version, config.redact, config.spool) == ("1.10", False, "memory")
    assert (config.shutdown_timeout, config.logging.console) == (90.0, "off")
    assert config.sinks["here"].common.min_level == "WARNING"
    assert config.sinks["here"].options == Options(
        url="http://h:1",
        token=Secret("s3cret"),
        timeout=Duration(0.25),
        buffer=Size(1000),
        labels=("service", "level"),
        retries=7,
        verify=False,
        ca=tmp_path / "certs/ca.pem",
    )


def test_a_mapping_is_read_like_a_file() -> None:
    """From a dict the same problems come with their paths only, and values may be Python's own."""
    with pytest.raises(ConfigError) as caught:
        load({"service": "x", "spol": {}, "sinks": {"here": {"type": "fake", "url": "u", "retries": 1.5}}})
    assert [str(problem) for problem in caught.value.problems] == [
        "sinks.here.retries: expected a whole number, not '1.5'",
        "spol: unknown key; did you mean spool?",
    ]
    sink = {
        "type": "fake",
        "url": "u",
        "ca": Path("/x"),
        "token": Secret("t"),
        "labels": ["a"],
        "verify": False,
    }
    config = load({"service": "x", "logging": {"console": False}, "sinks": {"here": sink}})
    assert config.logging.console == "off"
    assert config.sinks["here"].options.token.reveal() == "t"


def test_which_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LOGFERRY_CONFIG wins over ./logferry.yaml, and a missing file says what to do."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"logferry.yaml: no such file; write one with `logferry init`"):
        load(environ={})
    write(tmp_path, f"service: here\n{SINK}")
    assert load(environ={}).service == "here"
    other = tmp_path / "other.yaml"
    other.write_text(f"service: there\n{SINK}")
    assert load(environ={"LOGFERRY_CONFIG": str(other)}).service == "there"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not YAML"),
        ("- a\n", "expected a mapping of settings"),
        ("? [a]\n: b\n", "a key must be text"),
        ("service: !!python/object:os.system x\nsinks: 5\n", "expected a mapping of names"),
        ("a: &a [*a]\n", "repeats itself"),
        ("", "service is missing"),
        ("service: x\n", "sinks: name at least one"),
        ("service: ../x\n", "a name has 1 to 64"),
        ("service: x\nmetrics: {listen: nowhere}\n", "expected host:port"),
        ("service: x\nredact: {mode: hash}\n", "needs a hash_key"),
        ("service: x\nredact: {patterns: {a: '('}}\n", "pattern"),
        ("service: x\nschema: {fields: {level: integer}}\n", "built-in"),
        ("service: x\nsinks: {../a: {type: fake, url: x}}\n", "a name has 1 to 64"),
        ("service: x\nsinks: {a: {type: fake, url: x, buffer: 1}}\n", "must be at least 10"),
        (f"service: x\n{SINK}spool: {{max_bytes: 1}}\n", "must be at least 1MiB"),
        (f"service: x\n{SINK}spool: {{block_timeout: 2h}}\n", "must be at most 1m"),
        (
            "service: x\nsinks: {a: {type: fake, url: x, token: file:/nowhere/at/all}}\n",
            "cannot read the secret",
        ),
        ("service: x\nsinks: {a: {type: fake, url: x, labels: service}}\n", "write [service]"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Broken files, and values that no type can refuse, end as problems and as nothing else."""
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    assert message in str(caught.value)


def test_a_laughing_file_is_refused(tmp_path: Path) -> None:
    """Aliases that multiply into millions of nodes end as a problem, quickly."""
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 10))
    assert any("repeats itself" in text for text in problems(write(tmp_path, f"l0: &l0 [x]\n{levels}")))


def test_a_merge_key_fills_in(tmp_path: Path) -> None:
    """`<<` shares settings, and own keys win."""
    path = write(
        tmp_path,
        "service: x\nsinks:\n  a: &a {type: fake, url: http://a, retries: 1}\n  b: {<<: *a, url: http://b}\n",
    )
    sinks = load(path).sinks
    assert (sinks["b"].options.url, sinks["b"].options.retries) == ("http://b", 1)


def test_the_plan_of_a_configuration(tmp_path: Path) -> None:
    """Schema, redaction, levels, spool and sinks of the plan are what the file says."""
    path = write(
        tmp_path,
        "service: shop\n"
        "environment: prod\n"
        "logging: {level: INFO, access: INFO}\n"
        "schema: {fields: {order_id: integer}}\n"
        "redact: {keys: [loyalty]}\n"
        "spool: {path: spool, max_bytes: 2GiB, sync: always}\n"
        "dead_letters: {max_bytes: 1MiB}\n"
        "metrics: {listen: 9108}\n"
        "sinks: {a: {type: fake, url: x, min_level: ERROR, max_age: 7d}}\n",
    )
    made = plan(load(path))
    assert isinstance(made.schema, Schema)
    assert (made.schema.service, made.schema.environment) == ("shop", "prod")
    assert dict(made.schema.declared) == {"order_id": "integer"}
    assert (made.spool.path, made.spool.max_bytes, made.spool.sync) == (tmp_path / "spool", 2 << 30, "always")
    assert (made.sinks[0].name, made.sinks[0].routes) == ("a", Routes("ERROR", 604800.0))
    assert made.metrics_listen == ("127.0.0.1", 9108)
    assert made.dead_letters_max_bytes == 1 << 20
    assert b"gold" not in made.builder.compose(level="INFO", message="m", fields={"loyalty": "gold"})


def test_the_default_spool_is_in_the_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a path the spool lies in the user's state directory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    made = plan(load({"service": "x", "sinks": {"a": {"type": "fake", "url": "x"}}}))
    assert made.spool.path is not None
    assert made.spool.path.name == "logferry"
    assert (
        Redact()
        == load({"service": "x", "redact": None, "sinks": {"a": {"type": "fake", "url": "x"}}}).redact
    )
    assert Spool() == Spool(max_bytes=Size(1 << 30))


def test_a_mistake_in_a_mapping_stands_at_its_own_line(tmp_path: Path) -> None:
    """Of many patterns and fields, each wrong one is named where it stands, all in one go."""
    text = (
        "service: shop\nschema:\n  fields:\n    order_id: integer\n    level: string\n    message: string\n"
        "redact:\n  patterns:\n    good: 'E-[0-9]{6}'\n    open: 'x('\n" + SINK
    )
    found = problems(write(tmp_path, text))
    assert [line.partition(": ")[0] for line in found] == [
        "5:5",
        "6:5",
        "10:5",
    ]
    assert "schema.fields.level: a built-in field" in found[0]
    assert "redact.patterns.open: " in found[2]
    assert found[2].count("redact.patterns.open") == 1


@pytest.mark.parametrize(
    "text",
    [
        "service: a\nsinks:\n\there: {type: fake}\n",
        "service: a\nsinks:\n  here:\n\t  type: fake\n",
        "service:\ta\nsinks: {}\n",
    ],
)
def test_a_tab_is_called_a_tab(tmp_path: Path, text: str) -> None:
    """The commonest mistake in YAML is said in words, not as a scanner's token."""
    [problem] = problems(write(tmp_path, text))
    assert "a tab stands where YAML takes spaces only; indent with spaces" in problem


@pytest.mark.parametrize(
    ("first", "second", "place"),
    [
        ("{type: local, path: ./logs}", "{type: local, path: ./x/../logs}", "4:24"),
        ("{type: file, path: /tmp/a}", "{type: file, path: /tmp/a}", "4:23"),
        ("{type: local, path: ./logs}", "{type: file, path: logs}", "4:23"),
    ],
)
def test_two_sinks_do_not_write_to_one_place(tmp_path: Path, first: str, second: str, place: str) -> None:
    """Two names for one file or store are a mistake, reported at the second path."""
    [problem] = problems(write(tmp_path, f"service: a\nsinks:\n  here: {first}\n  there: {second}\n"))
    assert f"{place}: sinks.there.path: the sink here writes there already" in problem


def test_sinks_of_their_own_places_are_good(tmp_path: Path) -> None:
    """Neighbours are not the same place."""
    sinks = "{a: {type: local, path: ./a}, b: {type: local, path: ./b}, c: {type: file, path: ./a.ndjson}}"
    assert len(load(write(tmp_path, f"service: a\nsinks: {sinks}\n")).sinks) == 3


@pytest.mark.parametrize("source", [5, b"logferry.yaml", ["logferry.yaml"]])
def test_what_is_no_configuration_is_said(source: Any) -> None:
    """`configure(5)` says what a configuration is."""
    with pytest.raises(TypeError, match="a configuration is a path, a mapping, or None"):
        load(source)


def test_the_level_of_own_lines_is_configured(tmp_path: Path) -> None:
    """`logging.diagnostics` reaches the plan."""
    quiet = plan(load(write(tmp_path, "service: a\nlogging: {diagnostics: ERROR}\n" + SINK)))
    assert quiet.diagnostics_level == "ERROR"
    assert plan(load(write(tmp_path, "service: a\n" + SINK))).diagnostics_level == "WARNING"


def test_a_missing_extra_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sink whose library is not installed is a mistake at its type, with the command that mends it."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "logferry.shipper.config.loading.find_spec", lambda name: None if name == "cramjam" else real(name)
    )
    sinks = "sinks:\n  loki: {type: loki, url: http://x}\n"
    [problem] = problems(write(tmp_path, "service: a\n" + sinks))
    assert (
        '3:10: sinks.loki.type: needs cramjam, which this Python does not have; pip install "logferry[loki]"'
        in (problem)
    )
    assert load(write(tmp_path, "service: a\ndelivery: agent\n" + sinks)).delivery == "agent"
    sources = "sources:\n  in: {type: http, listen: 3100}\n"
    [problem] = problems(write(tmp_path, "service: a\n" + SINK + sources))
    assert "sources.in.type: needs cramjam" in problem
    assert 'pip install "logferry[receive]"' in problem
