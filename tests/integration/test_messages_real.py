"""One trace through real brokers: Redis (streams, Celery, Dramatiq, RQ), RabbitMQ, Kafka."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from servers.debian import Rabbitmq, Redis, required
from servers.kafka import KafkaServer

from logferry.handlers import context

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the clients' own
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]

ROOT = Path(__file__).parents[2]
SPAN = "b7ad6b7169203331"


def trace() -> str:
    return uuid.uuid4().hex


def bound_trace(trace_id: str) -> Any:
    return context.isolated(trace_id=trace_id, span_id=SPAN, request_id=f"r-{trace_id[:8]}")


def check(seen: dict[str, Any], trace_id: str) -> None:
    """What a handler saw: the caller's trace and request, a span of its own, its caller's as the parent."""
    assert seen["trace_id"] == trace_id
    assert seen["request_id"] == f"r-{trace_id[:8]}"
    assert seen["span_id"] != SPAN
    assert seen.get("parent_id")


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    required("redis")
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbitmq]:
    required("rabbitmq")
    with Rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.mark.parametrize("text", [False, True])
def test_redis_streams(redis_server: Redis, text: bool) -> None:
    """An entry carries the trace, through clients and pipelines; each is handled in its own."""
    import redis

    from logferry.handlers.integrations import redis as traced

    stream = f"orders-{text}"
    traced.install()
    try:
        with redis.Redis.from_url(redis_server.url, decode_responses=text) as client:
            traces = [trace(), trace(), trace()]
            for number, trace_id in enumerate(traces):
                with bound_trace(trace_id):
                    if number == 2:
                        pipeline = client.pipeline()
                        pipeline.xadd(stream, {"order": number})
                        pipeline.execute()
                    else:
                        client.xadd(stream, {"order": number})
            entries = client.xrange(stream)
            assert len(entries) == 3
            for (_, fields), trace_id in zip(entries, traces, strict=True):
                with traced.received(fields, queue=stream):
                    check(dict(context.current()), trace_id)
                    context.bind(left="behind")
                own = traced.without_trace(fields)
                assert {str(k): str(v) for k, v in own.items()} in (
                    {"order": str(traces.index(trace_id))},
                    {"b'order'": f"b'{traces.index(trace_id)}'"},
                )
            assert not context.current()
    finally:
        traced.uninstall()


def test_redis_streams_async(redis_server: Redis) -> None:
    """The same with the asynchronous client."""
    import redis.asyncio

    from logferry.handlers.integrations import redis as traced

    async def main() -> None:
        async with redis.asyncio.Redis.from_url(redis_server.url) as client:
            trace_id = trace()
            with bound_trace(trace_id):
                await client.xadd("async", {"order": 1})
            ((_, fields),) = await client.xrange("async")
            with traced.received(fields):
                check(dict(context.current()), trace_id)

    traced.install()
    try:
        asyncio.run(main())
    finally:
        traced.uninstall()


def environ(server: Redis) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT / "tests/programs"), str(ROOT)])
    return {**os.environ, "TRACE_REDIS": server.url, "PYTHONPATH": path}


@pytest.mark.parametrize("way", ["job class", "install"])
def test_rq(redis_server: Redis, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job runs in the trace of whoever enqueued it, again after a failure.

    The next one keeps nothing of it.
    """
    import redis
    import rq

    from logferry.handlers.integrations import rq as traced

    monkeypatch.syspath_prepend(ROOT / "tests/programs")
    name = f"q-{uuid.uuid4().hex[:8]}"
    job_class: Any = traced.TraceJob if way == "job class" else rq.job.Job
    if way == "install":
        traced.install()
    try:
        with redis.Redis.from_url(redis_server.url) as client:
            queue = rq.Queue(name, connection=client, job_class=job_class)
            first, second, mark = trace(), trace(), tmp_path / "failed"
            with bound_trace(first):
                retried = queue.enqueue("trace_jobs.tell", str(mark), retry=rq.Retry(max=1))
            with bound_trace(second):
                plain = queue.enqueue("trace_jobs.tell")
            alone = queue.enqueue("trace_jobs.tell")
            if way == "install":
                rq.SimpleWorker([queue], connection=client, job_class=job_class).work(burst=True)
            else:  # as it is started in production: a process that forks one for each job
                command = [sys.executable, "-m", "rq.cli", "worker", "--burst", "--url", redis_server.url]
                command += ["--job-class", "logferry.handlers.integrations.rq.TraceJob", name]
                done = subprocess.run(
                    command,
                    env=environ(redis_server),
                    capture_output=True,
                    text=True,
                    timeout=90,
                    check=False,
                )
                assert done.returncode == 0, done.stderr
            check(retried.return_value(), first)
            assert mark.read_text() == first
            check(plain.return_value(), second)
            seen = alone.return_value()
            assert seen["trace_id"] not in {first, second}
            assert "left" not in seen
    finally:
        traced.uninstall()


def test_dramatiq(redis_server: Redis) -> None:
    """Retries, delays and pipelines keep the trace; threads of the worker keep nothing."""
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    from logferry.handlers.integrations.dramatiq import TraceMiddleware

    seen: list[tuple[str, dict[str, Any]]] = []
    broker = RedisBroker(url=redis_server.url, namespace=uuid.uuid4().hex)
    broker.add_middleware(TraceMiddleware())

    def told(name: str) -> None:
        seen.append((name, dict(context.current())))
        context.bind(left="behind")

    @dramatiq.actor(broker=broker, max_retries=3, min_backoff=1, max_backoff=10)
    def flaky() -> None:
        told("flaky")
        if sum(name == "flaky" for name, _ in seen) < 3:
            raise RuntimeError("again")

    @dramatiq.actor(broker=broker)
    def plain(number: int) -> int:
        told(f"plain-{number}")
        return number + 1

    @dramatiq.actor(broker=broker)
    def calls() -> None:
        told("calls")
        plain.send(30)

    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=2)
    worker.start()
    try:
        traces = [trace() for _ in range(4)]
        with bound_trace(traces[0]):
            flaky.send()
        with bound_trace(traces[1]):
            plain.send_with_options(args=(10,), delay=100)
        with bound_trace(traces[2]):
            dramatiq.pipeline([plain.message(20), plain.message()], broker=broker).run()
        with bound_trace(traces[3]):
            calls.send()
        plain.send(40)
        deadline = time.monotonic() + 60
        while len(seen) < 9:
            assert time.monotonic() < deadline, seen
            time.sleep(0.02)
    finally:
        worker.stop()
        broker.close()
    expected = {"flaky": traces[0], "plain-10": traces[1], "plain-20": traces[2], "plain-21": traces[2]}
    expected |= {"calls": traces[3], "plain-30": traces[3]}
    for name, fields in seen:
        assert "left" not in fields
        if name == "plain-40":
            assert fields["trace_id"] not in traces
        else:
            check(fields, expected[name])
    assert sum(name == "flaky" for name, _ in seen) == 3


@pytest.fixture(scope="module")
def celery(redis_server: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a worker with two processes; return the application's module."""
    log = tmp_path_factory.mktemp("celery") / "log"
    command = [sys.executable, "-m", "celery", "-A", "trace_tasks", "worker", "-c", "2", "-l", "INFO"]
    os.environ["TRACE_REDIS"] = redis_server.url
    sys.path.insert(0, str(ROOT / "tests/programs"))
    lines = log.with_name("lines.jsonl")
    environment = {**environ(redis_server), "TRACE_LINES": str(lines)}
    with log.open("wb") as output:
        worker = subprocess.Popen(command, env=environment, cwd=log.parent, stdout=output, stderr=output)
    try:
        import trace_tasks

        trace_tasks.lines = lines
        deadline = time.monotonic() + 60
        while not lines.exists() or b"ready." not in lines.read_bytes():
            assert time.monotonic() < deadline, log.read_text()
            assert worker.poll() is None, log.read_text()
            time.sleep(0.05)
        yield trace_tasks
    finally:
        worker.terminate()
        worker.wait(30)
        sys.path.remove(str(ROOT / "tests/programs"))
        from logferry.handlers.integrations import celery as traced

        traced.uninstall()


def test_celery_carries_and_forgets(celery: Any) -> None:
    """Twenty traces at once through two processes, then tasks of nobody's: each its own, nothing is left."""
    traces = [trace() for _ in range(20)]
    asked = []
    for trace_id in traces:
        with bound_trace(trace_id):
            asked.append(celery.tell.delay())
    for result, trace_id in zip(asked, traces, strict=True):
        (seen,) = result.get(timeout=60)
        check(seen, trace_id)
        assert seen["parent_id"] == SPAN
        assert (seen["task_name"], seen["task_id"]) == ("trace_tasks.tell", result.id)
    alone = [celery.tell.delay().get(timeout=60)[0] for _ in range(4)]
    assert len({seen["trace_id"] for seen in alone}) == 4
    for seen in alone:
        assert seen["trace_id"] not in traces
        assert "left" not in seen
        assert "parent_id" in seen  # the trace began where it was sent


def test_celery_retries_and_eta(celery: Any) -> None:
    """Each attempt is in the trace, caused by the one before; so is a task that waits."""
    trace_id = trace()
    with bound_trace(trace_id):
        retried = celery.stubborn.delay([])
        late = celery.tell.apply_async(eta=datetime.now(UTC) + timedelta(seconds=0.5))
    attempts = retried.get(timeout=60)
    assert len(attempts) == 3
    for seen in attempts:
        check(seen, trace_id)
    assert [one["parent_id"] for one in attempts] == [SPAN, attempts[0]["span_id"], attempts[1]["span_id"]]
    check(late.get(timeout=60)[0], trace_id)


def test_celery_chains_groups_and_chords(celery: Any) -> None:
    """Whatever a canvas publishes, and wherever, is in its trace."""
    from celery import chain, chord, group

    trace_id = trace()
    with bound_trace(trace_id):
        chained = chain(celery.tell.s(), celery.tell.s(), celery.tell.s()).delay()
        grouped = group(celery.tell.s() for _ in range(3)).delay()
        chorded = chord([celery.tell.s() for _ in range(3)], celery.tell.s()).delay()
        nested = celery.parent.delay()
    links = chained.get(timeout=60)
    assert len(links) == 3
    assert [one["parent_id"] for one in links] == [SPAN, links[0]["span_id"], links[1]["span_id"]]
    *parts, body = chorded.get(timeout=60)
    in_chord = [body, *(one for part in parts for one in part)]
    assert len(in_chord) == 4
    outer, inner_id = nested.get(timeout=60)
    (inner,) = celery.app.AsyncResult(inner_id).get(timeout=60)
    assert inner["parent_id"] == outer["span_id"]
    for seen in (*links, *in_chord, outer, inner, *(one for part in grouped.get(timeout=60) for one in part)):
        check(seen, trace_id)


def worker_lines(celery: Any, of: str, task_id: str, words: str) -> list[dict[str, Any]]:
    """Wait for what the worker's process `of` says with `words`; return all that it has said of the task."""
    deadline = time.monotonic() + 60
    while True:
        written = celery.lines.read_text().split("\n")[:-1]
        events = [json.loads(line) for line in written if task_id in line]
        found = [event for event in events if event["logger"].startswith(of)]
        if any(words in json.dumps(event) for event in found):
            return found
        assert time.monotonic() < deadline, events
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("task", "words"), [("tell", "received"), ("killed", "WorkerLostError"), ("slow", "Hard time limit")]
)
def test_celery_main_process_tells_in_the_trace(celery: Any, task: str, words: str) -> None:
    """What only the main process can say of a task (its process is gone) is in the task's trace."""
    trace_id = trace()
    with bound_trace(trace_id):
        asked = getattr(celery, task).delay()
    for event in worker_lines(celery, "celery.worker", asked.id, words):
        assert (event["trace_id"], event["span_id"]) == (trace_id, SPAN), event
        assert event["request_id"] == f"r-{trace_id[:8]}"
        assert (event["task_name"], event["task_id"]) == (f"trace_tasks.{task}", asked.id)
    with bound_trace(trace_id):
        assert celery.tell.delay().get(timeout=60)
    last = [json.loads(line) for line in celery.lines.read_text().split("\n")[:-1]]
    assert all(event["trace_id"] == "" for event in last if "task_id" not in event), last


def test_rabbitmq_with_pika(rabbit: Rabbitmq) -> None:
    """A message carries the trace in its headers; its handler runs in it, and what is set by hand stays."""
    import pika

    from logferry.handlers.integrations import pika as traced

    seen: list[dict[str, Any]] = []

    def on_message(channel: Any, _method: Any, _properties: Any, _body: bytes) -> None:
        seen.append(dict(context.current()))
        context.bind(left="behind")
        if len(seen) == 3:
            channel.stop_consuming()

    traced.install()
    try:
        connection = pika.BlockingConnection(pika.URLParameters(rabbit.url))
        channel = connection.channel()
        channel.queue_declare("orders", exclusive=True)
        first, second = trace(), trace()
        with bound_trace(first):
            channel.basic_publish("", "orders", b"1")
        properties = pika.BasicProperties(headers={"x-request-id": "mine"}, content_type="text/plain")
        with bound_trace(second):
            channel.basic_publish("", "orders", b"2", properties)
        assert properties.headers == {"x-request-id": "mine"}
        channel.basic_publish("", "orders", b"3")
        channel.basic_consume("orders", traced.consumer(on_message), auto_ack=True)
        connection.call_later(30, channel.stop_consuming)
        channel.start_consuming()
        connection.close()
    finally:
        traced.uninstall()
    assert len(seen) == 3
    check(seen[0], first)
    assert (seen[1]["trace_id"], seen[1]["request_id"]) == (second, "mine")
    assert seen[2]["trace_id"] not in {first, second}
    assert not any("left" in fields for fields in seen)


def test_rabbitmq_with_aio_pika(rabbit: Rabbitmq) -> None:
    """The same with aio-pika."""
    import aio_pika

    from logferry.handlers.integrations import aio_pika as traced

    async def main() -> None:
        async with await aio_pika.connect_robust(rabbit.url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(f"aio-{uuid.uuid4().hex}", auto_delete=True)
            traces = [trace(), trace()]
            for trace_id in traces:
                with bound_trace(trace_id):
                    await channel.default_exchange.publish(aio_pika.Message(b"1"), queue.name)
            for trace_id in traces:
                message = await queue.get(timeout=30)
                async with message.process():
                    with traced.received(message, queue="orders"):
                        check(dict(context.current()), trace_id)
                        assert context.current()["queue"] == "orders"
                assert not context.current()

    traced.install()
    try:
        asyncio.run(main())
    finally:
        traced.uninstall()


def test_kafka(kafka: KafkaServer) -> None:
    """From confluent-kafka to aiokafka and back."""
    from confluent_kafka import Consumer

    from logferry.handlers.integrations import aiokafka as theirs
    from logferry.handlers.integrations import confluent_kafka as ours

    topic = kafka.create(f"trace-{uuid.uuid4().hex[:8]}", partitions=1)
    first, second = trace(), trace()
    producer = ours.TraceProducer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    with bound_trace(first):
        producer.produce(topic, b"1", headers={"own": "kept"})
        producer.produce(topic, b"2", None, 0)
    assert producer.flush(30) == 0

    async def there_and_on() -> None:
        from aiokafka import AIOKafkaConsumer

        consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
        sender = theirs.TraceProducer(bootstrap_servers=kafka.bootstrap)
        async with consumer, sender:
            for _ in range(2):
                message = await asyncio.wait_for(consumer.getone(), 30)
                with theirs.received(message):
                    check(dict(context.current()), first)
                assert not context.current()
            with bound_trace(second):
                await sender.send_and_wait(topic, b"3", headers=[("own", b"kept")])

    asyncio.run(there_and_on())
    settings = {
        "bootstrap.servers": kafka.bootstrap,
        "group.id": topic,
        "auto.offset.reset": "earliest",
        "log_level": 0,
    }
    consumer = Consumer(settings)
    consumer.subscribe([topic])
    found: list[Any] = []
    deadline = time.monotonic() + 60
    while len(found) < 3:
        assert time.monotonic() < deadline
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            found.append(message)
    consumer.close()
    for message, trace_id in zip(found, (first, first, second), strict=True):
        with ours.received(message):
            check(dict(context.current()), trace_id)
    assert ("own", b"kept") in found[0].headers()
    assert ("own", b"kept") in found[2].headers()
