"""examples/shop over real servers: a thousand orders at once, each with ids of its own, in every log.

nginx, FastAPI (uvicorn), Flask (gunicorn), a Celery worker over Redis, a Kafka consumer and PostgreSQL. What
is counted is every line of every one of them: it carries its order's trace and request, names no other order,
and each order has exactly the lines that it must have.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import subprocess
import sys
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from servers.debian import required
from servers.kafka import KafkaServer
from servers.shop import ShopServers

from logferry.handlers.redaction.values import FAILED
from logferry.shipper.core.waterfall import waterfall
from logferry.shipper.spool import audit
from logferry.shipper.store import Store, StoreError

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ORDERS = 1_000
PATIENCE = 300.0
QUIET = 60.0
CALLER = "00f067aa0ba902b7"
COMMENT = re.compile(
    r" /\*request_id='(?P<request>[^']*)'(,route='[^']*')?,"
    r"traceparent='00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-01'\*/$"
)


@dataclass(frozen=True)
class Order:
    """One order, and the ids that its customer sends along, in one of three forms."""

    number: int

    @property
    def name(self) -> str:
        return f"A{self.number:06}"

    @property
    def trace(self) -> str:
        return uuid.uuid5(uuid.NAMESPACE_URL, self.name).hex

    @property
    def request(self) -> str:
        """As it comes in: a UUID (which is the trace as well), or an id of the customer's own."""
        return str(uuid.UUID(self.trace)) if self.number % 3 == 1 else f"customer:{self.name}"

    @property
    def headers(self) -> dict[str, str]:
        ids = {"X-Request-ID": self.request}
        if self.number % 3 == 0:
            ids["traceparent"] = f"00-{self.trace}-{CALLER}-01"
        elif self.number % 3 == 2:
            ids["X-Trace-ID"] = self.trace
        return ids

    @property
    def waits(self) -> bool:
        """Whether its confirmation takes a second attempt."""
        return self.number % 10 == 7


STATEMENTS: Final = (
    "INSERT INTO orders (id, state) VALUES ($1, 'new')",
    "SELECT $1 AS goods",
    "UPDATE orders SET state = 'confirmed' WHERE id = $1",
    "INSERT INTO bills VALUES ($1) ON CONFLICT DO NOTHING",
)
PHASES: Final = ("parse", "bind", "execute")
TASK: Final = (
    "span_start celery mailer.{0}",
    "Task mailer.{0}[T] succeeded in S: None",
    "span celery mailer.{0}",
)
LINES: Final = {
    "edge": ["access POST /orders/N 200"],
    "shop": [
        *("order N came in", "order N is placed", "access POST /orders/N 200"),
        *("span_start POST /orders/N", "span_start POST 127.0.0.1", "span POST 127.0.0.1"),
    ],
    "stock": ["goods of N weighed", "goods of N reserved", "access POST /reserve/N 200"],
    "mailer": [
        *("Task mailer.confirm[T] received", "confirmation of N sent"),
        *(line.format("confirm") for line in TASK),
        *("Task mailer.receipt[T] received", "receipt of N sent"),
        *(line.format("receipt") for line in TASK),
    ],
    "billing": ["span_start receive TOPIC", "bill of N written", "span receive TOPIC"],
    "postgresql": [f"{phase} <unnamed>: {statement}" for statement in STATEMENTS for phase in PHASES],
}
AGAIN: Final = [
    *("Task mailer.confirm[T] received", "span_start celery mailer.confirm"),
    *(
        "confirmation of N has to wait",
        "Task mailer.confirm[T] retry: Retry in S",
        "span celery mailer.confirm",
    ),
]


def expected(order: Order) -> Counter[tuple[str, str]]:
    lines = Counter((service, line) for service, known in LINES.items() for line in known)
    if order.waits:
        lines.update(("mailer", line) for line in AGAIN)
    return lines


def shape(event: dict[str, Any]) -> tuple[str, str]:
    """Return whose line it is and what it says, without what differs from order to order."""
    text = re.sub(r"A\d{6}", "N", event["message"])
    text = re.sub(r"\[[0-9a-f-]{36}\]", "[T]", text)
    text = re.sub(r"receive orders-\d+", "receive TOPIC", text)
    text = re.sub(r"in [\d.e-]+s", "in S", text)
    if event["service"] == "postgresql":
        text = COMMENT.sub("", re.sub(r"^duration: \S+ ms  ", "", text))
    kind = event.get("kind")
    return event["service"], f"{kind} {text}" if kind else text


async def place(port: int, order: Order) -> None:
    """Order over a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = [
            f"POST /orders/{order.name} HTTP/1.1",
            "Host: shop",
            "Connection: close",
            "Content-Length: 0",
        ]
        lines += [f"{name}: {value}" for name, value in order.headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        await writer.drain()
        head, _, _ = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    status, *rest = head.decode().split("\r\n")
    answer = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
    assert " 200 " in status, head
    assert answer["x-request-id"] == order.request
    assert answer["traceparent"].split("-")[1] == order.trace


async def place_all(port: int, orders: list[Order]) -> None:
    await asyncio.gather(*(place(port, order) for order in orders))


def is_of_an_order(event: dict[str, Any]) -> bool:
    """Tell it from the health checks of the start, and from what a busy machine makes slow."""
    health = {event.get("endpoint"), event.get("path")} & {"/health"} or "SELECT 'well'" in event["message"]
    return not health and event["logger"] != "logferry.sql"


def count(store: Path) -> int:
    """Return how many lines there are of orders."""
    ours = (
        "endpoint IS DISTINCT FROM '/health' AND path IS DISTINCT FROM '/health' AND logger <> 'logferry.sql'"
    )
    question = (
        f"SELECT count(*) FROM events WHERE trace_id <> '' AND {ours} AND message NOT LIKE '%''well''%'"
    )
    try:
        return int(Store(store).sql(question).rows[0][0])
    except StoreError:
        return 0


def wait_for(store: Path, wanted: int) -> None:
    """Wait until so many lines are there, or nothing more comes. What is missing the tests will tell."""
    deadline, size, changed = time.monotonic() + PATIENCE, 0, time.monotonic()
    while (now := time.monotonic()) < deadline and now < changed + QUIET:
        time.sleep(0.5)
        before, size = size, sum(file.stat().st_size for file in store.rglob("*.ndjson"))
        if size != before:
            changed = now
        elif count(store) >= wanted:  # counting costs more than looking
            return


@dataclass(frozen=True)
class Done:
    """What is there when all is done."""

    orders: list[Order]
    store: Path
    spool: Path
    access: Path
    statements: list[dict[str, Any]]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, kafka: KafkaServer) -> Iterator[Done]:
    """Place the orders, and wait until everybody has done and told their part of it."""
    for name in ("nginx", "redis", "postgresql"):
        required(name)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # each customer is a connection
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * ORDERS)), hard))
    orders = [Order(number) for number in range(ORDERS)]
    wanted = sum(expected(order).total() for order in orders)
    with ShopServers(tmp_path_factory.mktemp("shop"), kafka) as servers:
        store = servers.state / "logs"
        with servers.shop():
            begun = len(servers.postgres.lines())
            try:
                asyncio.run(place_all(servers.port, orders))
            except AssertionError as error:
                said = list(Store(store).query("level>=ERROR", limit=3))
                raise AssertionError(f"{error}: {json.dumps(said, indent=1)}") from error
            wait_for(store, wanted)
        statements = servers.postgres.lines()[begun:]
        access = servers.state / "nginx/access.json.log"
        yield Done(orders, store, servers.state / "spool", access, statements)


def test_every_line_of_every_service(done: Done) -> None:
    """Each is of its order's trace and request and names no other; none is missing, too many or redacted."""
    by_trace = {order.trace: order for order in done.orders}
    found: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for event in Store(done.store).query("", limit=None):
        text = json.dumps(event)
        if not event["trace_id"]:
            assert re.search(r"A\d{6}", text) is None, event  # a program's own beginning and end
            continue
        if event["service"] == "postgresql":
            assert event.pop("session_id", "[REDACTED]") == "[REDACTED]"  # a web session's is a secret
            text = json.dumps(event)
        assert "[REDACTED" not in text, event  # there is none in an order
        assert FAILED not in text, event
        if event["trace_id"] not in by_trace:
            assert not is_of_an_order(event), event
            continue
        order = by_trace[event["trace_id"]]
        assert event["request_id"] == order.request, event
        assert set(re.findall(r"A\d{6}", text)) <= {order.name}, event
        found[order.trace].update([shape(event)] if is_of_an_order(event) else ())
    for order in done.orders:
        assert found[order.trace] == expected(order), order


def test_every_line_of_nginx(done: Done) -> None:
    """Its own file, as nginx has written it."""
    seen = Counter[str]()
    for line in done.access.read_text().splitlines():
        event = json.loads(line)
        if event["path"] == "/health":
            continue
        (name,) = re.findall(r"A\d{6}", event["path"])
        order = done.orders[int(name[1:])]
        assert (event["trace_id"], event["request_id"]) == (order.trace, order.request)
        assert event["parent_id"] == (CALLER if order.number % 3 == 0 else "")
        seen[name] += 1
    assert seen == {order.name: 1 for order in done.orders}


def test_every_line_of_postgresql(done: Done) -> None:
    """Its own file: every statement since the first order, in each of its phases."""
    by_trace = {order.trace: order for order in done.orders}
    seen = Counter[tuple[str, str, str]]()
    for line in done.statements:
        said = re.fullmatch(
            r"duration: \S+ ms  (parse|bind|execute) <unnamed>: (.*)", line["message"], re.DOTALL
        )
        if "'well'" in line["message"]:
            continue  # a health check of the start, written late
        if said is None or COMMENT.search(said[2]) is None:
            # a pool's first look at the server on a new connection
            assert "A0" not in json.dumps(line), line
            assert not re.search(r"orders|bills|goods", line["message"]), line
            continue
        ids = COMMENT.search(said[2])
        assert ids is not None
        order = by_trace[ids["trace"]]
        assert ids["request"].replace("%3A", ":") == order.request
        if said[1] != "parse":
            assert line["detail"] == f"parameters: $1 = '{order.name}'", line
        seen[order.name, said[1], said[2][: ids.start()]] += 1
    assert seen == {
        (order.name, phase, statement): 1
        for order in done.orders
        for phase in PHASES
        for statement in STATEMENTS
    }


def logferry(*arguments: str) -> str:
    command = [sys.executable, "-m", "logferry", *arguments]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def test_a_trace_is_one_waterfall(done: Done) -> None:
    """From nginx to the bill, one tree over all services, also with a task that was tried twice."""
    for order in (done.orders[7], done.orders[10], done.orders[12]):
        events = Store(done.store).trace(order.trace)
        assert sum(map(is_of_an_order, events)) == expected(order).total()
        rows = waterfall(events).rows
        path = [(row.depth, row.span.service, row.span.name.replace(order.name, "N")) for row in rows]
        again = [(2, "mailer", "celery mailer.confirm")] if order.waits else []
        one = len(again)
        assert path[:4] == [
            (0, "edge", "POST /orders/N"),
            (1, "shop", "POST /orders/{order}"),
            (2, "shop", "POST 127.0.0.1"),
            (3, "stock", "POST /reserve/<order>"),
        ]
        assert sorted((*rest, re.sub(r"-\d+$", "", name)) for *rest, name in path[4:]) == sorted(
            [
                *again,
                (2 + one, "mailer", "celery mailer.confirm"),
                (3 + one, "mailer", "celery mailer.receipt"),
                (2, "billing", "receive orders"),
            ]
        )
        assert [row.orphan for row in rows] == [order.number % 3 == 0, *[False] * (len(rows) - 1)]
    told = logferry("trace", order.trace, "--store", str(done.store))  # on a pipe: its events
    assert [json.loads(line) for line in told.splitlines()] == events
    drawn = logferry("trace", order.trace, "--store", str(done.store), "--format", "waterfall")
    head = drawn.splitlines()[0]
    assert all(service in head for service in LINES), head
    assert f"{len(rows)} spans" in head
    assert f"bill of {order.name} written" in drawn


def test_the_topology(done: Done) -> None:
    """Who calls whom, counted from the same lines."""
    drawn = json.loads(logferry("topology", "--store", str(done.store), "--format", "json"))
    calls = {(edge["caller"], edge["callee"]): edge["calls"] for edge in drawn["edges"]}
    wanted = dict.fromkeys((("edge", "shop"), *(("shop", name) for name in ("stock", "billing"))), ORDERS)
    wanted["shop", "mailer"] = ORDERS  # and what the mailer calls is its own
    assert {pair: number for pair, number in calls.items() if pair[0] != pair[1]} == wanted
    assert not any(edge["failed"] for edge in drawn["edges"])


def test_every_record_is_accounted_for(done: Done) -> None:
    """The books of all programs add up."""
    audited = audit(done.spool)
    for (service, _), account in audited.accounts.items():
        assert account.balance == 0, service
        assert account.pending == 0, service
        assert account.delivered == account.accepted, service
