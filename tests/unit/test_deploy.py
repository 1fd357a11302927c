"""What `deploy/` holds is what the panels say, parses where it will be parsed, and keeps its own rules."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from logferry.handlers.schema import FIELDS
from logferry.shipper.config import load
from logferry.shipper.config.plan import plan
from logferry.shipper.panels.grafana import alert_rules, dashboards, datasources

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SOURCES = {"loki", "elasticsearch", "prometheus", "zipkin", "__expr__"}
PANEL_TYPES = {
    *("timeseries", "heatmap", "bargauge", "logs", "traces", "nodeGraph", "table"),
    "volkovlabs-echarts-panel",
}


def load_script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stack() -> ModuleType:
    return load_script(DEPLOY / "stack.py")


def values(stack: ModuleType) -> dict[str, str]:
    given: dict[str, str] = stack.read_env(stack.with_passwords((ROOT / ".env.example").read_text()))
    return given


def walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from walk(item)
    elif isinstance(value, list):
        for item in value:
            yield from walk(item)


def test_what_is_made_from_the_panels_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, DEPLOY / "grafana" / "generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_dashboards_are_whole() -> None:
    uids = [board["uid"] for board in dashboards().values()]
    assert len({*uids}) == len(uids)
    for path, board in dashboards().items():
        names = {variable["name"] for variable in board["templating"]["list"]}
        ids = [panel["id"] for panel in board["panels"]]
        assert len({*ids}) == len(ids), path
        for panel in board["panels"]:
            assert panel["type"] in PANEL_TYPES, (path, panel["title"])
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            assert panel["targets"]
        for one in walk(board):
            if "uid" in one and "type" in one and set(one) == {"uid", "type"}:
                assert one["uid"] in SOURCES, (path, one)
        used = {*re.findall(r"\$([a-z_]+)", json.dumps(board))} - {"labels"}
        assert used <= names | {"__all", "__auto", "__range", "__rate_interval"}, (path, used - names)


# What data sources read beside the schema: the words of Loki's annotations, Elasticsearch's query for them.
BESIDE_THE_SCHEMA = {"titleFormat", "tagKeys", "textField", "tagsField", "refId", "query"}


def lost(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Yield what is not as it was after Grafana's classes have read and written it."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name, value in ours.items():
            if name in theirs:
                yield from lost(value, theirs[name], f"{path}.{name}")
            elif ".annotations." not in path or name not in BESIDE_THE_SCHEMA:
                yield f"{path}.{name}"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from lost(one, other, f"{path}[{place}]")
    elif ours != theirs:
        yield f"{path}: {ours!r} became {theirs!r}"


def through_grafana(board: dict[str, Any]) -> Any:
    from grafana_foundation_sdk.cog import plugins
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    plugins.register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(json.loads(json.dumps(board)))))


@pytest.mark.parametrize("path", dashboards())
def test_grafana_s_own_classes_know_every_field(path: str) -> None:
    """Its published schema drops what it does not know: options of panels and fields of queries alike."""
    board: dict[str, Any] = dashboards()[path]
    assert not [*lost(board, through_grafana(board))]


def test_a_field_that_grafana_does_not_have_is_found() -> None:
    """In the dashboard, in a panel's options and in a query."""
    board: dict[str, Any] = json.loads(json.dumps(dashboards()["loki/overview.json"]))
    board["timeZone"] = "utc"
    board["panels"][0]["options"]["legends"] = {}
    board["panels"][1]["options"]["rowsFrame"]["layuot"] = "le"
    board["panels"][0]["targets"][0]["expression"] = "x"
    assert [*lost(board, through_grafana(board))] == [
        ".panels[0].targets[0].expression",
        ".panels[0].options.legends",
        ".panels[1].options.rowsFrame.layuot",
        ".timeZone",
    ]


def test_panels_do_not_overlap() -> None:
    for path, board in dashboards().items():
        cells: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            p = panel["gridPos"]
            own = {(x, y) for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])}
            assert not cells & own, (path, panel["title"])
            cells |= own


def test_what_was_seen_in_a_real_grafana(stack: ModuleType) -> None:
    """Nothing complains of these: the panels are there, and show too little."""
    for path, board in dashboards().items():
        for panel in board["panels"]:
            if panel["type"] == "bargauge":
                # An instant query's answer is one table: reduced, it is one bar.
                assert panel["options"]["reduceOptions"]["values"], (path, panel["title"])
            if panel["type"] == "nodeGraph":
                # A column that is renamed keeps its name, and the graph goes by that.
                steps = json.dumps(panel["transformations"])
                assert {"source", "target"} <= {*re.findall(r"\(\?<(\w+)>", steps)}, path
                assert {"mainstat", "id"} <= {*re.findall(r'"alias": "(\w+)"', steps)}, path
    # A plugin that cannot be fetched before the start ends Grafana.
    assert (
        "GF_PLUGINS_PREINSTALL_SYNC" not in stack.compose(values(stack))["services"]["grafana"]["environment"]
    )


def test_data_sources_keep_grafana_s_rules() -> None:
    given = datasources()["datasources"]
    assert [one["uid"] for one in given if one.get("isDefault")] == ["loki"]
    text = yaml.safe_dump(datasources())
    # A dollar that stands alone is filled in from the environment: only the password is meant to be.
    assert {*re.findall(r"(?<!\$)\$(?!\$)\{?(\w+)", text)} == {"ELASTIC_PASSWORD"}


def test_alerts_keep_grafana_s_rules() -> None:
    (group,) = alert_rules()["groups"]
    assert group["folder"] != "logferry"  # the dashboards' folder
    uids = [rule["uid"] for rule in group["rules"]]
    assert len({*uids}) == len(uids) == 5
    receivers = {point["name"] for point in alert_rules()["contactPoints"]}
    assert {policy["receiver"] for policy in alert_rules()["policies"]} <= receivers
    for rule in group["rules"]:
        queries = {data["refId"]: data for data in rule["data"]}
        assert rule["condition"] in queries
        assert {data["datasourceUid"] for data in rule["data"]} <= SOURCES
        assert queries["C"]["model"]["expression"] in queries
        # Unlike everywhere else in provisioning, Grafana takes an annotation as it stands: `$$labels` would
        # stay that, and its template could not be read.
        assert "{{ $" in rule["annotations"]["summary"]
        assert "$$" not in rule["annotations"]["summary"]


def test_the_stack_keeps_its_own_rules(stack: ModuleType) -> None:
    assert stack.problems(stack.compose(values(stack))) == []


def test_the_stack_s_mistakes_are_found(stack: ModuleType) -> None:
    def wrong(**service: Any) -> list[str]:
        found: list[str] = stack.problems({"services": {"x": {"image": "a:1", "mem_limit": "1m", **service}}})
        return found

    assert wrong() == []
    assert wrong(image="a:latest") == ["x: the image 'a:latest' is not pinned by a tag"]
    assert wrong(ports=["8080:80"]) == ["x: the port 8080:80 is not on the loopback"]
    assert wrong(volumes=["./nowhere:/x"]) == ["x: ./nowhere is not there"]
    assert wrong(volumes=["data:/x"]) == ["x: no volume data"]
    assert wrong(depends_on=["y"]) == ["x: depends on y, which is no service"]
    with pytest.raises(ValueError, match="ELASTIC_PASSWORD is not set"):
        stack.compose({})


def test_passwords_are_made_once_each_and_kept_private(
    stack: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "ROOT", tmp_path)
    (tmp_path / ".env.example").write_text((ROOT / ".env.example").read_text())
    first = stack.make_env()
    made = [value for name, value in first.items() if name.endswith("_PASSWORD")]
    assert len({*made}) == len(made) == 4
    assert all(len(value) >= 20 for value in made)
    assert stack.make_env() == first
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_a_parser_of_the_specification_takes_the_compose_file(stack: ModuleType, tmp_path: Path) -> None:
    """podman-compose reads it; it asks for podman's version only, which this says."""
    pytest.importorskip("podman_compose")
    (tmp_path / "podman").write_text("#!/bin/sh\necho podman version 5.0.0\n")
    (tmp_path / "podman").chmod(0o755)
    (tmp_path / "env").write_text("".join(f"{k}={v}\n" for k, v in values(stack).items()))
    every = [part for name in stack.PROFILES for part in ("--profile", name)]
    done = subprocess.run(
        [sys.executable, "-m", "podman_compose", "--env-file", tmp_path / "env", *every, "config"],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)
    ours = stack.services(stack.compose(values(stack)), stack.PROFILES)
    assert set(read["services"]) == set(ours)
    assert read["services"]["loki"]["image"] == ours["loki"]["image"]


@pytest.mark.parametrize("path", sorted(DEPLOY.glob("a*/*.yaml")), ids=lambda path: path.name)
def test_the_stack_s_configurations_are_right(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELASTIC_PASSWORD", "x")
    plan(load(path))


@pytest.mark.parametrize(
    "path",
    [*DEPLOY.glob("*/*.yaml"), *DEPLOY.glob("*/*.yml")],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_every_yaml_file_is_yaml(path: Path) -> None:
    assert list(yaml.safe_load_all(path.read_text()))


def test_the_agents_in_kubernetes_are_configured_right(tmp_path: Path) -> None:
    found = 0
    for path in (DEPLOY / "kubernetes").glob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            for name, text in (document.get("data") or {}).items():
                (tmp_path / name).write_text(text)
                plan(load(tmp_path / name))
                found += 1
    assert found == 3


# ── Logstash and Filebeat: no server of theirs is to be had, so their own grammar is held here ──

LOGSTASH = re.compile(
    r"\s*(?:#[^\n]*\s*)*(\"(?:[^\"\\]|\\.)*\"|'[^']*'|=>|==|!=|=~|!~|<=|>=|[{}\[\],()<>!]|-?\d+|[A-Za-z_][\w.-]*)"
)
PLUGINS = {
    "input": {"beats": {"port", "ecs_compatibility", "host", "ssl_enabled", "enrich"}},
    "filter": {
        "date": {"match", "target", "tag_on_failure"},
        "mutate": {"copy", "add_field", "remove_field", "rename", "convert"},
        "fingerprint": {"source", "concatenate_sources", "method", "target"},
    },
    "output": {
        "elasticsearch": {
            *("hosts", "user", "password", "data_stream", "data_stream_sync_fields", "document_id", "action"),
            "data_stream_auto_routing",
        }
    },
}


class LogstashText:
    """Logstash's grammar (its `grammar.treetop`), as far as pipelines go: plugins, values, conditions."""

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        self.fields: set[str] = set()
        place = 0
        text = text.rstrip()
        while place < len(text):
            found = LOGSTASH.match(text, place)
            assert found, f"no token: {text[place : place + 40]!r}"
            self.tokens.append(found[1])
            place = found.end()

    def take(self, wanted: str = "") -> str:
        assert self.tokens, "ends too soon"
        assert not wanted or self.tokens[0] == wanted, f"{wanted} expected: {self.tokens[:4]}"
        return self.tokens.pop(0)

    def pipeline(self) -> None:
        while self.tokens:
            section = self.take()
            assert section in PLUGINS, section
            self.take("{")
            self.body(section)

    def body(self, section: str) -> None:
        """Plugins and branches, up to the bracket that closes them."""
        while self.tokens[0] != "}":
            if self.tokens[0] in {"if", "else"}:
                if self.take() == "if" or self.tokens[0] == "if":
                    if self.tokens[0] == "if":
                        self.take()
                    self.condition()
                self.take("{")
                self.body(section)
                continue
            plugin = self.take()
            known = PLUGINS[section]
            assert plugin in known, f"{section} has no {plugin}"
            self.take("{")
            while self.tokens[0] != "}":
                name = self.take()
                assert name in known[plugin], f"{plugin} has no {name}"
                self.take("=>")
                self.value()
            self.take("}")
        self.take("}")

    def condition(self) -> None:
        while self.tokens[0] != "{":
            if self.tokens[0] == "[":
                self.selector()
            else:
                word = self.take()
                assert word in {"and", "or", "in", "not", "(", ")", "!", "==", "!=", "=~"} or word[0] in "\"'"

    def selector(self) -> None:
        while self.tokens[0] == "[":
            self.take("[")
            self.fields.add(self.take())
            self.take("]")

    def value(self) -> None:
        token = self.take()
        if token == "{":
            while self.tokens[0] != "}":
                self.value()
                self.take("=>")
                self.value()
            self.take("}")
        elif token == "[":
            while self.tokens[0] != "]":
                self.value()
                if self.tokens[0] != "]":
                    self.take(",")
            self.take("]")
        else:
            assert token[0] in "\"'" or token.isdigit() or re.fullmatch(r"[a-z_]+", token), token


def test_logstash_s_pipeline_is_of_its_grammar_and_knows_the_schema() -> None:
    """Sections, plugins and their options; what it reads of an event is in the schema."""
    text = (DEPLOY / "logstash" / "logferry.conf").read_text()
    parsed = LogstashText(text)
    parsed.pipeline()
    known = {field.name for field in FIELDS} | {"event_id"}
    assert parsed.fields <= known
    sources = re.search(r"source => \[([^\]]+)\]", text)
    assert sources is not None
    assert {*re.findall(r'"(\w+)"', sources[1])} <= known
    assert "${ELASTIC_PASSWORD}" in text


def test_logstash_takes_nothing_that_an_application_may_have() -> None:
    """What Logstash would add by itself is not added, so that nothing but its `@version` need go."""
    text = (DEPLOY / "logstash" / "logferry.conf").read_text()
    beats, date = (re.search(rf"{plugin} \{{(.*?)\n *\}}", text, re.DOTALL) for plugin in ("beats", "date"))
    assert beats is not None
    assert date is not None
    assert "enrich => none" in beats[1]  # neither `event.original` nor a tag of the codec
    assert "tag_on_failure => []" in date[1]
    assert re.findall(r"(?:remove_field|remove_tag|rename|update|replace|prune) => (.*)", text) == [
        '["@version"]'
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [("beats {", "beats"), ("date {", "dates {"), ("target =>", "target ="), ("method =>", "methods =>")],
)
def test_a_slip_in_the_pipeline_is_found(old: str, new: str) -> None:
    """A bracket, a plugin, an arrow, an option."""
    text = (DEPLOY / "logstash" / "logferry.conf").read_text()
    assert old in text
    with pytest.raises(AssertionError):
        LogstashText(text.replace(old, new, 1)).pipeline()


def test_filebeat_reads_what_the_agent_writes_and_keeps_its_names(stack: ModuleType) -> None:
    """Path and volume are the file sink's, the time is the event's own, no name of the schema is dropped."""
    beat = yaml.safe_load((DEPLOY / "filebeat" / "filebeat.yml").read_text())
    (reader,) = beat["filebeat.inputs"]
    assert reader["type"] == "filestream"
    agent = yaml.safe_load((DEPLOY / "agent" / "agent-elk.yaml").read_text())
    written = Path(agent["sinks"]["lines"]["path"])
    assert any(written.match(pattern) for pattern in reader["paths"])
    services = stack.services(stack.compose(values(stack)), stack.PROFILES)
    for name in ("agent", "filebeat"):
        mounts = {str(one).split(":")[1]: str(one).split(":")[0] for one in services[name]["volumes"]}
        assert mounts[str(written.parent)] == "applogs"
    assert reader["publisher_pipeline.disable_host"]  # else `host` is an object, with Filebeat's own host
    processors = {name: body for one in beat["processors"] for name, body in one.items()}
    # What Filebeat adds goes before the line is decoded: it may have fields of these names itself.
    assert list(processors) == ["drop_fields", "decode_json_fields", "timestamp"]
    assert processors["decode_json_fields"]["target"] == ""  # the schema's names, not names below another
    assert processors["timestamp"]["field"] == "timestamp"
    (host,) = beat["output.logstash"]["hosts"]
    service, _, port = host.partition(":")
    assert service in services
    assert f"port => {port}" in (DEPLOY / "logstash" / "logferry.conf").read_text()
