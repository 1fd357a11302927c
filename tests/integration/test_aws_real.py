"""CloudWatch Logs and S3 (moto behind a gate as strict as AWS): complete by id, whatever happens to whom.

tests/servers/aws.py says what stands in for AWS and what it checks. An effort of 10 (`make prove`) makes the
kills with a million events.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from effort import effort, factor
from evidence import Evidence
from programs.fate import until
from servers.application import Application
from servers.aws import KEY, SECRET, AwsServer

from logferry.shipper.deadletter import DeadLetters
from logferry.shipper.spool import audit

pytestmark = [pytest.mark.integration, pytest.mark.server("aws"), pytest.mark.timeout(3600)]

EVENTS = effort(40_000) if factor() < 5 else effort(100_000)
DAY = 86_400


class Agent:
    """`logferry run` on a file of lines, to a group, a bucket and the local store."""

    def __init__(self, directory: Path, aws: AwsServer) -> None:
        self.directory, self.aws = directory, aws
        self.name = f"t-{uuid4().hex[:10]}"
        self.group = f"/{self.name}"
        self.config: dict[str, Any] = {
            "service": "shop",
            "environment": "test",
            "spool": {"path": str(directory / "spool")},
            "shutdown_timeout": "120s",
            "sources": {"file": {"type": "file", "include": [str(directory / "*.ndjson")]}},
            "sinks": {
                "cw": {"type": "cloudwatch", "log_group": self.group, **self.access},
                "here": {"type": "file", "path": str(directory / "here.log"), "max_bytes": "8GiB"},
            },
        }

    @property
    def access(self) -> dict[str, Any]:
        keys = {"access_key_id": KEY, "secret_access_key": SECRET}
        return {"region": "eu-west-1", "endpoint_url": self.aws.url, **keys}

    def archive(self, **options: Any) -> None:
        """Have a sink `s3` too, and its bucket."""
        self.config["sinks"]["s3"] = {"type": "s3", "bucket": self.name, **self.access, **options}

    def application(self) -> dict[str, Any]:
        """Return the same for a program that logs."""
        config = {
            key: value for key, value in self.config.items() if key not in {"sources", "shutdown_timeout"}
        }
        return {**config, "logging": {"level": "INFO", "console": "off"}}

    def write(self, rows: Iterator[dict[str, Any]] | list[dict[str, Any]], name: str = "in") -> None:
        with (self.directory / f"{name}.ndjson").open("wb") as file:
            file.writelines(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        path = self.directory / "agent.yaml"
        path.write_text(json.dumps(self.config))
        with (self.directory / "agent.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "logferry", *command, "-c", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                # Who is killed leaves the scratch files of an object.
                env={**os.environ, "TMPDIR": str(self.directory), **environment},
            )

    def run(self, *command: str, code: int | None = 0, **environment: str) -> str:
        """Run a command to its end and return what it printed."""
        process = self.start(*command, **environment)
        out, _ = process.communicate(timeout=400 + EVENTS / 1_000)
        assert code is None or process.returncode == code, (out.decode(), self.log())
        return out.decode()

    def log(self) -> str:
        return (self.directory / "agent.log").read_text()[-3000:]

    def letters(self) -> list[Any]:
        return list(DeadLetters(self.directory / "spool" / "shop" / "dead-letters", "cw", 0).read())

    def accounts(self) -> dict[str, Any]:
        """Return the books by sink; they must agree with themselves."""
        report = audit(self.directory / "spool")
        assert not report.problems
        found = {sink: account for (_, sink), account in report.accounts.items()}
        assert all(account.balance == 0 for account in found.values())
        return found

    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(message) for *_, message in self.aws.events(self.group)]

    def archived(self) -> list[str]:
        """Return the ids in the bucket's objects, and check that each lies where its key says."""
        ids = []
        for key, content in self.aws.objects(self.name):
            if key == "logferry-check":
                continue
            events = [json.loads(line) for line in gzip.decompress(content).splitlines()]
            service, date, hour, _ = key.split("/")
            places = {(e["service"], e["timestamp"][:10], e["timestamp"][11:13]) for e in events}
            assert places == {(service, date, hour)}
            ids += [event["event_id"] for event in events]
        return ids


@pytest.fixture
def agent(tmp_path: Path, aws: AwsServer) -> Iterator[Agent]:
    begun = len(aws.complaints)
    yield Agent(tmp_path, aws)
    aws.refuse = aws.after_storing = None
    aws.expired.clear()
    assert aws.complaints[begun:] == [], "CloudWatch Logs would have refused whole calls"


@pytest.fixture
def app() -> Iterator[Application]:
    with Application() as application:
        yield application


def row(number: int, at: float, **more: Any) -> dict[str, Any]:
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
    return {
        "timestamp": moment,
        "level": "INFO",
        "message": f"order {number}",
        "n": number,
        "host": "h",
        **more,
    }


def check_numbers(agent: Agent, count: int) -> None:
    """Each number is in the group, once."""
    found = Counter(message["n"] for message in agent.messages())
    assert found == Counter(range(count))


# ── the whole way ──


def test_killed_in_the_middle_everything_arrives(agent: Agent, aws: AwsServer, evidence: Evidence) -> None:
    """SIGKILL at a random moment, and between storing and answering: complete by id, S3 without a duplicate.

    CloudWatch Logs knows no repetition: it holds twice what was in the one put whose answer was lost,
    and what the first kill may have caught in the same way.
    """
    agent.archive(max_batch_age="200ms", max_batch_bytes="1MiB")
    agent.run("setup", "s3")
    now = time.time()
    agent.write(row(n, now - 3 * 3600 + n / EVENTS * 2 * 3600, note="é" * (n % 40)) for n in range(EVENTS))
    stored = aws.stored
    first = agent.start("run")
    until(lambda: aws.stored - stored > EVENTS * 0.2, 300 + EVENTS / 1_000, "nothing is delivered")
    time.sleep(random.random() * 0.2)
    first.kill()
    first.wait()
    held = threading.Event()
    release = threading.Event()

    def hold() -> None:
        if aws.stored - stored > EVENTS * 0.5:
            held.set()
            release.wait(60)

    aws.after_storing = hold
    second = agent.start("run")
    assert held.wait(300 + EVENTS / 1_000), agent.log()
    second.kill()
    second.wait()
    aws.after_storing = None
    release.set()
    agent.run("run", "--once")
    with (agent.directory / "here.log").open("rb") as file:
        here = [json.loads(line).get("n") for line in file]
    numbers = {number for number in here if number is not None}
    events = len(here)  # with the notices of the deaths
    found = [json.loads(message) for *_, message in aws.walk(agent.group)]
    there, archived = [event["event_id"] for event in found], agent.archived()
    lost = len(set(range(EVENTS)) - {event.get("n") for event in found})
    row_ = f"shipper killed (SIGKILL) while CloudWatch Logs and S3 take {EVENTS:,} events"
    evidence(row_, tried=2, lost=lost)
    assert numbers == set(range(EVENTS))
    assert lost == 0
    assert len(set(there)) == events
    assert set(there) == set(archived)
    assert len(archived) == events, "S3 holds events twice"
    twice = len(there) - events
    assert 0 < twice <= 2 * 10_000, "what is stored twice is what one put held, for each kill"
    for process in (first, second):
        process.communicate()
    accounts = agent.accounts()
    assert {name: account.delivered for name, account in accounts.items()} == dict.fromkeys(accounts, events)


# ── limits ──


def test_all_limits_at_once(agent: Agent) -> None:
    """Any order, twenty days, large and tiny, more bytes than letters: the gate refuses no whole call.

    What is too old, past the retention or too far ahead is a dead letter with its reason; all else is there.
    """
    agent.config["sinks"]["cw"] |= {"retention_days": 7, "stream": "{service}/{host}"}
    now, chance = time.time(), random.Random(7)
    old = [row(n, now - chance.uniform(7.01, 20) * DAY) for n in range(300)]
    older = [row(n, now - chance.uniform(14.01, 30) * DAY) for n in range(300, 400)]
    new = [row(n, now + chance.uniform(2.1, 50) * 3600) for n in range(400, 500)]
    sound = [
        row(
            n,
            now - chance.uniform(0, 6.9) * DAY,
            note="漢é" * chance.choice((0, 5, 9, 50, 500, 500, 500, 500, 500, 9_000)),
            host=f"h:{n % 3}",
        )
        for n in range(500, 1000)
    ]
    rows = [*old, *older, *new, *sound]
    chance.shuffle(rows)
    agent.write(rows)
    agent.run("run", "--once", code=1)  # there are dead letters
    events = agent.aws.events(agent.group)
    assert sorted(json.loads(message)["n"] for *_, message in events) == list(range(500, 1000))
    assert {stream for stream, *_ in events} == {"shop/h_0", "shop/h_1", "shop/h_2"}
    for _, at, message in events:
        assert int(datetime.fromisoformat(json.loads(message)["timestamp"]).timestamp() * 1000) == at
    reasons = {json.loads(letter.event)["n"]: letter.reason for letter in agent.letters()}
    assert sorted(reasons) == list(range(500))
    assert all("14 days" in reasons[n] for n in range(300, 400))
    assert all("in the future" in reasons[n] for n in range(400, 500))
    assert all("retention" in reasons[n] or "14 days" in reasons[n] for n in range(300))
    account = agent.accounts()["cw"]
    assert (account.delivered, account.dead_lettered) == (500, 500)


@pytest.mark.parametrize("oversize", ["cut", "dead_letter"])
def test_an_event_that_is_too_large(agent: Agent, oversize: str) -> None:
    """It is stored cut and marked, or a dead letter that says how large it was."""
    agent.config["sinks"]["cw"] |= {"max_event_bytes": "64KiB", "oversize": oversize}
    agent.write([row(n, time.time(), note="é" * (60_000 if n == 3 else 10)) for n in range(6)])
    agent.run("run", "--once", code=int(oversize == "dead_letter"))
    found = {message["n"]: message for message in agent.messages()}
    if oversize == "cut":
        assert sorted(found) == list(range(6))
        assert found[3]["truncated"] is True
        assert len(json.dumps(found[3], ensure_ascii=False).encode()) <= 64 * 1024 + 100
        assert agent.letters() == []
    else:
        assert sorted(found) == [0, 1, 2, 4, 5]
        assert "larger than the sink takes" in agent.letters()[0].reason


# ── group and streams ──


def once_seen_late(times: int) -> Callable[[str], Any]:
    """Nobody sees the first stream for a while after it was made: so many puts find none."""
    left = 0

    def refuse(operation: str) -> Any:
        nonlocal left
        if operation == "CreateLogStream" and not left:
            left = times
        elif operation == "PutLogEvents" and left > 1:
            left -= 1
            return 400, "ResourceNotFoundException", "The specified log stream does not exist."
        return None

    return refuse


def test_nothing_is_lost_while_group_and_stream_are_made(agent: Agent, app: Application) -> None:
    """A stream that is seen late: the batch waits, with retention and tags made beside it."""
    agent.config["sinks"]["cw"] |= {"retention_days": 30, "tags": {"team": "shop"}, "stream": "{service}/{n}"}
    agent.aws.refuse = once_seen_late(5)
    app.configure(agent.application())
    app.log(40)
    assert app.flush(60), app.states()
    check_numbers(agent, 40)
    logs = agent.aws.client("logs")
    (group,) = logs.describe_log_groups(logGroupNamePrefix=agent.group)["logGroups"]
    assert group["retentionInDays"] == 30
    assert logs.list_tags_log_group(logGroupName=agent.group)["tags"] == {"team": "shop"}


def test_without_create_it_waits_for_somebody_to_make_them(agent: Agent, app: Application) -> None:
    """`create: false` makes nothing; the events are pending until the stream is there."""
    agent.config["sinks"]["cw"] |= {"create": False, "stream": "fixed"}
    app.configure(agent.application())
    app.log(10)
    until(lambda: "create is false" in app.states()["cw"][1], 30)
    assert app.states()["cw"][0] == "paused"
    assert app.accounts()["cw"]["pending"] == 10
    logs = agent.aws.client("logs")
    assert logs.describe_log_groups(logGroupNamePrefix=agent.group)["logGroups"] == []
    logs.create_log_group(logGroupName=agent.group)
    logs.create_log_stream(logGroupName=agent.group, logStreamName="fixed")
    assert app.flush(60), app.states()
    check_numbers(agent, 10)


def test_streams_and_groups_deleted_under_load(agent: Agent, aws: AwsServer, evidence: Evidence) -> None:
    """They are made again; what was acknowledged and not deleted with them is all there is to be had."""
    logs, acknowledged, rounds = aws.client("logs"), set[int](), 6
    agent.config["sinks"]["cw"] |= {"max_batch_age": "50ms", "stream": "{service}"}
    process = agent.start("run")
    try:
        for number in range(rounds):
            part = range(number * 500, (number + 1) * 500)
            agent.write([row(n, time.time()) for n in part], f"in{number}")
            until(lambda wanted=set(part): wanted <= {m["n"] for m in agent.messages()}, 60, agent.log())
            acknowledged |= {message["n"] for message in agent.messages()}
            if number % 2:
                logs.delete_log_group(logGroupName=agent.group)
            else:
                logs.delete_log_stream(logGroupName=agent.group, logStreamName="shop")
    finally:
        process.terminate()
        process.communicate(timeout=60)
    lost = rounds * 500 - len(acknowledged)
    evidence("log stream or group deleted under load", tried=rounds, lost=lost)
    assert lost == 0
    assert agent.accounts()["cw"].delivered == rounds * 500


# ── AWS refuses ──

REFUSALS = {
    "throttled": (400, "ThrottlingException", "Rate exceeded"),
    "unavailable": (503, "ServiceUnavailableException", "try again"),
    "failed": (500, "InternalFailure", ""),
    "expired": (400, "ExpiredTokenException", "The security token included in the request is expired"),
    "denied": (400, "AccessDeniedException", "not authorized to perform: logs:PutLogEvents"),
    "unknown": (400, "UnrecognizedClientException", "The security token included in the request is invalid."),
    "skewed": (403, "RequestTimeTooSkewed", "The difference is too large."),
}
PAUSED = {"expired", "denied", "unknown", "skewed"}


@pytest.mark.parametrize("service", ["cw", "s3"])
def test_refusals_are_retried_or_paused(
    agent: Agent, app: Application, aws: AwsServer, service: str, evidence: Evidence
) -> None:
    """Each of them, then health: pending and told meanwhile, everything afterwards, and nothing twice."""
    agent.archive(max_batch_age="100ms")
    aws.client("s3").create_bucket(
        Bucket=agent.name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    agent.config["sinks"]["cw"]["max_batch_age"] = "100ms"
    other = {"cw": "s3", "s3": "cw"}[service]
    call = "PutLogEvents" if service == "cw" else "PUT /"
    app.configure(agent.application())
    for name, refusal in REFUSALS.items():
        aws.refuse = lambda operation, refusal=refusal: refusal if operation.startswith(call) else None
        app.log(50)
        until(lambda code=refusal[1]: code in app.states()[service][1], 30, name)
        assert app.states()[service][0] == ("paused" if name in PAUSED else "retrying")
        assert app.settle([other], 30) < 30, name
        assert app.accounts()[service]["pending"] == 50, name
        aws.refuse = None
        assert app.flush(60), (name, app.states())
    assert app.shutdown(10)[0]
    ids = aws.ids(agent.group)
    evidence(
        f"{service}: throttled, failing, credentials refused",
        tried=len(REFUSALS),
        lost=app.numbers - len(ids),
    )
    check_numbers(agent, app.numbers)
    assert sorted(agent.archived()) == sorted(ids)
    assert {account.delivered for account in agent.accounts().values()} == {app.numbers}


# ── who one is ──


def test_credentials_that_were_rotated_are_picked_up(agent: Agent, aws: AwsServer, tmp_path: Path) -> None:
    """Expired ones pause; the new ones of the same file are used without a restart."""
    keys = {name: f"AKIAROTATED{uuid4().hex[:8].upper()}" for name in ("old", "new")}
    aws.keys |= {keys["old"]: "first", keys["new"]: "second"}
    aws.expired.add(keys["old"])
    file = tmp_path / "credentials"

    def rotate(name: str) -> None:
        secret = aws.keys[keys[name]]
        text = f"[shop]\naws_access_key_id = {keys[name]}\naws_secret_access_key = {secret}\n"
        file.with_suffix(".new").write_text(text)
        file.with_suffix(".new").replace(file)

    rotate("old")
    sink = agent.config["sinks"]["cw"]
    del sink["access_key_id"], sink["secret_access_key"]
    sink["profile"] = "shop"
    agent.write([row(n, time.time()) for n in range(20)])
    process = agent.start(
        "run", AWS_SHARED_CREDENTIALS_FILE=str(file), AWS_CONFIG_FILE=str(tmp_path / "none")
    )
    try:
        until(lambda: "sink cw is paused" in agent.log(), 60, agent.log())
        assert "ExpiredTokenException" in agent.log()
        rotate("new")
        # A pause lasts up to a minute; an end asks once more at once.
        process.terminate()
        process.communicate(timeout=150)
    finally:
        process.kill()
        process.wait()
    check_numbers(agent, 20)
    assert "second" not in agent.log()


def test_a_role_is_assumed(agent: Agent, aws: AwsServer) -> None:
    """The gate takes the signature of the role's credentials, which it saw STS hand out, and no other's."""
    known = set(aws.keys)
    agent.config["sinks"]["cw"] |= {"role": "arn:aws:iam::123456789012:role/logs", "external_id": "shop"}
    agent.write([row(n, time.time()) for n in range(20)])
    agent.run("run", "--once", AWS_ENDPOINT_URL_STS=aws.url)
    check_numbers(agent, 20)
    assert len(set(aws.keys) - known) == 1


def test_several_regions_and_roles_side_by_side(agent: Agent, aws: AwsServer) -> None:
    """Each sink signs for its own region, with the credentials of its own role; all have everything."""
    known = set(aws.keys)
    first = agent.config["sinks"]["cw"]
    first["role"] = "arn:aws:iam::123456789012:role/logs"
    agent.config["sinks"]["far"] = {
        **first,
        "region": "us-east-1",
        "role": "arn:aws:iam::123456789012:role/far",
    }
    agent.write([row(n, time.time()) for n in range(20)])
    agent.run("run", "--once", AWS_ENDPOINT_URL_STS=aws.url)
    check_numbers(agent, 20)
    assert len(set(aws.keys) - known) == 2
    client = aws.client("logs", "us-east-1")
    pages = client.get_paginator("filter_log_events").paginate(logGroupName=agent.group)
    far = {json.loads(event["message"])["event_id"] for page in pages for event in page["events"]}
    assert far == {message["event_id"] for message in agent.messages()}
    assert len(far) == 20
    assert agent.accounts()["far"].delivered == 20


# ── commands ──


def test_check_says_exactly_what_is_wrong(agent: Agent, aws: AwsServer) -> None:
    """Port, name, credentials, permission, group, bucket, region: each in one sentence."""
    agent.archive()
    sinks = agent.config["sinks"]

    def complaints(**changes: Any) -> list[str]:
        before = {name: dict(options) for name, options in sinks.items()}
        for name in ("cw", "s3"):
            sinks[name] |= changes
        told = agent.run("check", "--connect", code=None)
        sinks.update(before)
        return [problem for line in told.splitlines() for problem in json.loads(line)["problems"]]

    (bucket,) = complaints()
    assert "no such bucket" in bucket
    agent.run("setup", "s3")
    assert complaints() == []
    assert ["refused" in text for text in complaints(endpoint_url="http://127.0.0.1:1")] == [True, True]
    named = complaints(endpoint_url="http://no-such-host.invalid:4566")
    assert ["cannot be resolved" in text for text in named] == [True, True]
    assert ["credentials" in text for text in complaints(access_key_id="AKIANOBODYKNOWS00")] == [True, True]
    wrong = complaints(secret_access_key="wrong")
    assert ["credentials" in text for text in wrong] == [True, True]
    aws.refuse = lambda operation: (403, "AccessDeniedException", "no") if "Desc" not in operation else None
    assert ["permission" in text for text in complaints()] == [True, True]
    aws.refuse = None
    sinks["cw"]["create"] = False
    assert "no log group" in complaints()[0]


def test_setup_is_idempotent_and_a_dry_run_touches_nothing(agent: Agent, aws: AwsServer) -> None:
    """What is printed is what is made; the second time there is nothing to do; a change is a change."""
    agent.archive()
    sink = agent.config["sinks"]["cw"]
    sink |= {"retention_days": 30, "tags": {"team": "shop"}, "metrics_namespace": "shop"}
    agent.config["schema"] = {"fields": {"amount": "number"}}

    def steps(*flags: str) -> dict[str, str]:
        rows = [json.loads(line) for line in agent.run("setup", *flags).splitlines()]
        assert all(row["ok"] for row in rows), rows
        return {row["what"]: row["action"] for row in rows}

    would = steps("--dry-run")
    logs = aws.client("logs")
    assert logs.describe_log_groups(logGroupNamePrefix=agent.group)["logGroups"] == []
    assert would == steps()
    assert set(would.values()) == {"create"}
    assert {f"query logferry{agent.group}/p95 amount", "metric filter logferry-duration"} <= set(would)
    assert set(steps().values()) == {"none"}
    found = logs.describe_metric_filters(logGroupName=agent.group)["metricFilters"]
    assert {row["metricTransformations"][0]["metricName"] for row in found} == {
        *("requests", "failed_requests", "duration", "errors"),
    }
    sink |= {"retention_days": 60, "tags": {"team": "payments"}, "metrics_namespace": "other"}
    changed = {what for what, action in steps().items() if action == "change"}
    assert changed >= {"retention of 60 days", "tags team", "metric filter logferry-requests"}
    assert set(steps().values()) == {"none"}


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_objects_are_encrypted_as_asked_and_readable(agent: Agent, aws: AwsServer, compression: str) -> None:
    """Compression, server-side encryption and storage class are what the bucket says of the object."""
    agent.archive(compression=compression, server_side_encryption="AES256", storage_class="STANDARD_IA")
    agent.run("setup", "s3")
    agent.write([row(n, time.time()) for n in range(500)])
    agent.run("run", "--once")
    numbers = []
    for key, content in aws.objects(agent.name):
        facts = aws.client("s3").head_object(Bucket=agent.name, Key=key)
        assert (facts["ServerSideEncryption"], facts["StorageClass"]) == ("AES256", "STANDARD_IA")
        if compression == "gzip":
            text = gzip.decompress(content)
        elif compression == "zstd":
            from cramjam import zstd

            text = bytes(zstd.decompress(content))
        else:
            text = content
        lines = text.splitlines()
        assert facts["Metadata"]["events"] == str(len(lines))
        numbers += [json.loads(line)["n"] for line in lines]
    assert sorted(numbers) == list(range(500))


def test_an_archive_of_parquet(agent: Agent) -> None:
    """By service and hour, columns as in the local store; every event is in it once, what is none as well.

    The shipper is killed when the first objects are there, and begins again: it overwrites them.
    """
    import pyarrow.parquet as pq

    agent.config["schema"] = {"fields": {"n": "integer"}}
    del agent.config["sinks"]["cw"]
    agent.archive(format="parquet", max_batch_events=500, max_batch_age="200ms")
    agent.run("setup", "s3")
    begin = datetime(2026, 3, 1, 14, 59, tzinfo=UTC).timestamp()
    count = 5_000
    agent.write(row(n, begin + n * 120 / count, tags=["é", {"a": n}]) for n in range(count))
    shipper = agent.start("run")
    until(lambda: any(True for _ in agent.aws.objects(agent.name)), 60, "no object is there")
    shipper.kill()
    shipper.communicate()
    agent.run("run", "--once")
    found: list[dict[str, Any]] = []
    for key, content in agent.aws.objects(agent.name):
        table = pq.read_table(io.BytesIO(content))
        rows = table.to_pylist()
        if "notice" in str(rows[0]["message"]) or rows[0]["n"] is None:
            continue  # of the death
        assert re.fullmatch(r"shop/2026-03-01/1[45]/h-[0-9a-f]{32}-\d+\.parquet", key)
        assert {f"{one['timestamp']:%Y-%m-%d/%H}" for one in rows} == {key[5:18]}
        assert {one["service"] for one in rows} == {"shop"}
        found += rows
    assert sorted(one["n"] for one in found) == list(range(count)), "an event is missing, or there twice"
    assert len({one["event_id"] for one in found}) == count
    assert all(json.loads(one["fields"])["tags"] == ["é", {"a": one["n"]}] for one in found)
    assert agent.accounts()["s3"].pending == 0
