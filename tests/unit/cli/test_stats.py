"""`logferry stats`: the panels as charts for people, as JSON lines on a pipe."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from logferry.shipper.cli import output
from logferry.shipper.cli.charts import Range, beside, chart, spark
from logferry.shipper.cli.main import cli
from logferry.shipper.cli.stats import _narrowed
from logferry.shipper.cli.table import width_of
from logferry.shipper.core.filter import parse
from logferry.shipper.panels import CATALOGUE

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
OVER = Range(BEGIN, BEGIN + timedelta(minutes=10), 60)


def at(minute: int) -> datetime:
    """Return a time as the store has it: UTC, without a zone."""
    return (BEGIN + timedelta(minutes=minute)).replace(tzinfo=None)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    """A store with six requests (two of them failed), an error and a call, and the command line over it."""
    now = datetime.now(UTC) - timedelta(minutes=10)
    events: list[dict[str, Any]] = []
    for number in range(6):
        stamp = f"{now + timedelta(seconds=number):%Y-%m-%dT%H:%M:%S.%fZ}"
        event = {"timestamp": stamp, "level": "INFO", "service": "shop", "trace_id": "", "span_id": ""}
        event |= {
            "message": "GET",
            "kind": "access",
            "endpoint": "/o",
            "status_code": 200,
            "duration_le": "50",
        }
        events.append({**event, "duration_ms": 30.0 + number, "failed": number < 2})
    events.append({**events[0], "kind": None, "level": "ERROR", "message": "no \x1b[31mroom for 7"})
    events.append({**events[2], "kind": "span", "peer": "bank.example", "message": "GET bank.example"})
    (tmp_path / "app.log").write_text("".join(json.dumps(event) + "\n" for event in events))
    config = tmp_path / "logferry.yaml"
    config.write_text(
        "service: shop\nspool: {path: spool}\nsources: {app: {type: file, include: [app.log]}}\n"
        "sinks: {here: {type: local, path: logs, compact: 'off'}}\n"
    )

    def call(*args: object) -> Result:
        return CliRunner().invoke(cli, [str(arg) for arg in args])

    assert call("run", "--once", "-c", config).exit_code == 0
    return lambda *args: call("stats", "-c", config, *args)


def test_a_pipe_gets_one_json_line_for_each_row(run: Callable[..., Result]) -> None:
    """Every panel is there, with the numbers of the store."""
    result = run()
    assert result.exit_code == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert {row["panel"] for row in rows} == {*CATALOGUE}
    (top,) = [row for row in rows if row["panel"] == "top_errors"]
    assert (top["requests"], top["failed"]) == (6, 2)
    assert all(row["time"].endswith("Z") for row in rows if "time" in row)
    assert sum(row["count"] for row in rows if row["panel"] == "volume") == 8
    (call,) = [row for row in rows if row["panel"] == "calls"]
    assert (call["service"], call["peer"], call["calls"], call["rate"]) == ("shop", "bank.example", 1, 0.0)


def test_the_store_is_closed_with_the_command(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when somebody lets go of what the command has left: its exit keeps the store."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = run()
    assert result.exit_code == 0
    assert not list(tmp_path.glob("logferry-query-*"))


def test_panels_and_filters_narrow(run: Callable[..., Result]) -> None:
    """WORDS filter as in `query`; what finds nothing exits with 1, what is no time with 2."""
    rows = [json.loads(one) for one in run("--panel", "volume", "level=ERROR").stdout.splitlines()]
    assert [(row["panel"], row["level"], row["count"]) for row in rows] == [("volume", "ERROR", 1)]
    assert run("service=nobody").exit_code == 1
    assert run("--since", "whenever").exit_code == 2
    assert run("--since", "1h", "--until", "2h").exit_code == 2


def test_people_get_charts(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each panel's title, a figure beside each bar, and how complete it is; nothing steers the terminal."""

    def stdout() -> output.Output:
        return output.Output(people=True, colour=False, stream=sys.stdout, width=100)

    monkeypatch.setattr("logferry.shipper.cli.stats.stdout", stdout)
    result = run()
    assert result.exit_code == 0, result.output
    for panel in CATALOGUE.values():
        assert panel.title in result.stdout
    assert "33.3% of 6" in result.stdout
    assert "shop → bank.example" in result.stdout
    assert "1, 0.00% failed, P95 32 ms" in result.stdout
    assert "waiting in the spool 0 · dropped ever 0" in result.stdout
    assert "\x1b" not in result.stdout
    assert max(map(width_of, result.stdout.splitlines())) <= 100


def test_a_step_without_data_is_a_gap_and_the_worst_step_is_shown() -> None:
    """A share of nothing is nothing, and a column of several steps shows the highest."""
    assert spark([None, 0.0, 1.0], 1.0) == " ▁█"
    rows = [{"time": at(minute), "service": "shop", "value": share} for minute, share in ((0, 0.5), (9, 0.0))]
    _, line, axis = chart("error_rate", rows, OVER, 100, colour=False)
    assert line.split("shop")[1].strip(" ") == "█        ▁ 50.0%, max 50.0%"
    assert axis.split() == ["12:00:00", "12:10:00"]
    narrow = chart("error_rate", rows, Range(BEGIN, BEGIN + timedelta(minutes=100), 60), 54, colour=False)
    assert "█" in narrow[1]


def test_rates_fill_their_gaps_with_noughts() -> None:
    """No requests in a minute are 0 requests; the last step, which has only begun, is not the rate now."""
    rows = [{"time": at(minute), "service": "shop", "value": 4.0} for minute in range(9)]
    _, line, _ = chart("qps", [*rows, {**rows[0], "time": at(9), "value": 0.1}], OVER, 100, colour=False)
    assert line.endswith("4.0/s, max 4.0/s")
    _, line, _ = chart("qps", rows[:2], OVER, 100, colour=False)
    assert "██▁▁▁▁▁▁▁▁ 0.0/s" in line


def test_the_heatmap_has_the_longest_above_and_counts_each_row() -> None:
    """Buckets are ordered as numbers, with the open one on top."""
    rows = [
        {"time": at(minute), "duration_le": bucket, "count": count}
        for minute, bucket, count in ((0, "5", 9), (1, "50", 1), (1, "+Inf", 1), (2, "5", 16))
    ]
    _, *lines, _ = chart("heatmap", rows, OVER, 80, colour=False)
    assert [line.split()[0] for line in lines] == ["longer", "≤", "≤"]
    assert [line.split()[-1] for line in lines] == ["1", "1", "25"]
    assert "▓ █" in lines[2]


def test_two_blocks_stand_side_by_side_whatever_their_height() -> None:
    """Colours take no room."""
    coloured = click.style("ab", fg="red")
    assert beside([coloured, "c"], ["x"], 4) == [f"{coloured}    x", "c"]
    assert chart("slowest", [], OVER, 80, colour=False)[1] == "  nothing in this range"


def test_errors_of_requests_count_where_they_have_an_exception() -> None:
    """What failed without one is told by the error rate; the words of the filter stay."""
    wanted = "(NOT kind=access OR error_type=*)"
    assert _narrowed("errors", ["service=shop"]) == f"(service=shop) {wanted}"
    assert _narrowed("errors", []) == wanted
    assert _narrowed("qps", ["service=shop"]) == "service=shop"
    exception = {"kind": "access", "error": {"type": "PoolEmpty"}}
    assert [parse(wanted).matches(one) for one in (exception, {"kind": "access"}, {})] == [True, False, True]
