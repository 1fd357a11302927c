"""A lane for each sink: its real server (or receiver) behind a proxy, and what its contract allows.

A lane meets many faults one after the other; `fresh` gives each its own spool, store and place at the server,
so that `tally` compares, id by id, what this one fault has left there.
"""

from __future__ import annotations

import gzip
import json
import ssl
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from certificates import server_context

from logferry.shipper.deadletter import DeadLetter, DeadLetters
from logferry.shipper.spool import audit

from .aws import KEY, SECRET
from .lane import Lane
from .namespace import own_disks
from .otlp import OtlpReceiver, plain
from .proxy import FaultProxy
from .receivers import HttpReceiver, ZipkinReceiver
from .stream import StreamProxy

__all__ = [
    "LANES",
    "CloudWatchLane",
    "ElasticsearchLane",
    "FileLane",
    "HttpLane",
    "KafkaLane",
    "LocalLane",
    "LokiLane",
    "OtlpLane",
    "S3Lane",
    "SinkLane",
    "SyslogLane",
    "Tally",
    "ZipkinLane",
]

LONG = 40_000
"""Bytes of a note that the server minds, or the sink on its behalf."""

HOUR = 3600

PATIENT = 15.0
"""The usual time-out: a server on a busy machine that stores too late would hold events twice. Faults that
are met by waiting set a shorter one.
"""


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of one fault's events: lost is what is neither at the server nor a dead letter."""

    events: int
    lost: int
    twice: int
    letters: Sequence[DeadLetter]


class SinkLane(Lane):
    """What all have in common. `http`: the proxy speaks it. `server` can be killed and started again.

    `may_repeat`: where the server had stored what it could not acknowledge, it may hold that twice.
    `forgets`: so may it when the program ends in the middle, for the next start does not know what was on its
    way.
    """

    timeout = PATIENT
    http: ClassVar[bool] = True
    may_repeat: ClassVar[bool] = False
    forgets: ClassVar[bool] = False
    trust: Path | None = None

    def fresh(self, directory: Path, certificates: Path | None = None) -> None:
        """Begin anew in `directory`; with `certificates` the proxy speaks TLS, the sink trusts them all."""
        self.proxy.__exit__()
        self.directory, self.store = directory, directory / "store"
        self.service = f"lane-{uuid.uuid4().hex[:8]}"
        self.since, self.timeout = time.time(), type(self).timeout
        self.options, self.refused, self.app.numbers = {}, 0, 0
        self.trust = None if certificates is None else certificates / "all.pem"
        self.proxy = self.open_proxy(None if certificates is None else server_context(certificates, "good"))
        if certificates is not None:
            self.options = {"tls": {"ca_file": str(self.trust)}}
        self.prepare()

    def prepare(self) -> None:
        """Make the place at the server that this fault's events go to."""

    @property
    def sinks(self) -> Sequence[str]:
        return (self.sink, "here", "mem")

    def known(self) -> dict[int, str]:
        """Return the ids of records by their numbers, as the local store has them."""
        events = (
            json.loads(line)
            for file in (self.store / "fresh").glob("*.ndjson")
            for line in file.read_bytes().splitlines()
        )
        return {event["n"]: event["event_id"] for event in events}

    def words(self, status: int) -> bytes:
        """Return an answer's body as this server words it."""
        return b"refused with %d" % status

    def letters(self) -> list[DeadLetter]:
        """Return what is kept because it could not be delivered."""
        return list(
            DeadLetters(self.directory / "spool" / self.service / "dead-letters", self.sink, 0).read()
        )

    def tally(self) -> Tally:
        """Compare what the server holds with the local store beside it; assert the identity in the files."""
        here = self.stored_here()
        held = (len(here), len(set(here)))
        assert held == (self.app.numbers,) * 2, f"the local store holds {held} of {self.app.numbers}"
        letters = self.letters()
        dead = {letter.id for letter in letters}
        there = Counter(self.stored_there(len(set(here) - dead)))
        assert not there.keys() - set(here), "the server holds what was not logged"
        report = audit(self.directory / "spool")
        assert not report.problems
        for (_, sink), account in report.accounts.items():
            buried = len(dead) if sink == self.sink else 0
            assert account.balance == 0, (sink, account)
            assert (account.delivered, account.dead_lettered) == (len(here) - buried, buried), (sink, account)
            assert (account.pending, account.dropped) == (0, {}), (sink, account)
        lost = len(set(here) - there.keys() - dead)
        return Tally(len(here), lost, there.total() - len(there), letters)

    # ── what only some can ──

    def log_some_bad(self) -> int:
        """Log 300 records of which the server minds a part; return how many become dead letters.

        `prepare_bad` comes before.
        """
        first = self.app.numbers
        self.app.log(300, long=LONG)
        return sum(number % 50 == 7 for number in range(first, first + 300))

    def prepare_bad(self) -> None:
        """Make the server one that minds what `log_some_bad` logs."""

    def prepare_small(self) -> bool:
        """Make the server one that takes little at once; False: the proxy does it."""
        return False

    def kill(self) -> None:
        """Kill the server."""
        self.server.kill()

    def start(self) -> None:
        """Start the server again."""
        self.server.start(240)

    def unname(self) -> None:
        """Have the server's name unknown."""
        self.app.ask("resolver", mode="fails")

    def name(self) -> None:
        """Have it known again."""
        self.app.ask("resolver", mode="works")


class LokiLane(SinkLane):
    """Loki with `max_line_size` below `LONG`."""

    sink = "loki"

    def stored_there(self, at_least: int) -> list[str]:
        query, ids = f'{{service="{self.service}"}}', list[str]()
        deadline = time.monotonic() + 20
        while True:
            now = time.time()
            found = self.server.entries(query, int((self.since - 3 * HOUR) * 1e9), int((now + HOUR) * 1e9))
            ids = [labels["event_id"] for *_, labels in found]
            if len(ids) >= at_least or time.monotonic() > deadline:
                return ids
            time.sleep(0.1)


class ElasticsearchLane(SinkLane):
    """A data stream for each fault."""

    sink = "elasticsearch"

    def sink_config(self) -> dict[str, Any]:
        return {
            "type": "elasticsearch",
            "hosts": [self.proxy.url],
            "data_stream": self.service,
            "index_settings": {"number_of_replicas": "0"},
        }

    def stored_there(self, at_least: int) -> list[str]:
        return list(self.server.ids(self.service))  # after a refresh: what is there is seen

    def prepare_bad(self) -> None:
        """Somebody else's template, in which a long note is refused with 400, item by item."""
        fields = {
            "note": {"type": "keyword"},
            "event_id": {"type": "keyword"},
            "@timestamp": {"type": "date"},
        }
        template = {"mappings": {"properties": fields}, "settings": {"number_of_replicas": 0}}
        body = {"index_patterns": [self.service], "data_stream": {}, "priority": 600, "template": template}
        self.server.ask("PUT", f"/_index_template/{self.service}", body)

    def log_some_bad(self) -> int:
        """What the mapping minds is stored all the same, with the rest of the line in one field."""
        super().log_some_bad()
        return 0


class AwsLane(SinkLane):
    """What both services have in common. Each lane has a gate of its own: moto forgets when it is killed."""

    _gate: Any = None

    def open_proxy(self, tls: ssl.SSLContext | None = None) -> FaultProxy:
        if self._gate is None:
            self._gate = self.server.open_gate()
        return FaultProxy(f"http://127.0.0.1:{self._gate.server_address[1]}", tls)

    @property
    def access(self) -> dict[str, Any]:
        """Options for reaching the proxy."""
        keys = {"access_key_id": KEY, "secret_access_key": SECRET}
        return {"region": "eu-west-1", "endpoint_url": self.proxy.url, "max_batch_age": "100ms", **keys}

    def kill(self) -> None:
        self.server.close_gate(self._gate)

    def start(self) -> None:
        self._gate = self.server.open_gate()
        self.proxy.upstream = f"http://127.0.0.1:{self._gate.server_address[1]}"

    def close(self) -> None:
        super().close()
        self.server.close_gate(self._gate)


_LOGS_ERRORS: Mapping[int, str] = {
    400: "InvalidParameterException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    429: "ThrottlingException",
    500: "InternalFailure",
    503: "ServiceUnavailableException",
}
_S3_ERRORS: Mapping[int, str] = {
    400: "InvalidRequest",
    401: "InvalidAccessKeyId",
    403: "AccessDenied",
    429: "SlowDown",
    500: "InternalError",
    503: "SlowDown",
}


class CloudWatchLane(AwsLane):
    """A log group for each fault. CloudWatch Logs knows no repetition."""

    sink = "cloudwatch"
    may_repeat = True

    def sink_config(self) -> dict[str, Any]:
        return {"type": "cloudwatch", "log_group": self.service, **self.access}

    def stored_there(self, at_least: int) -> list[str]:
        return list(self.server.ids(self.service))

    def words(self, status: int) -> bytes:
        return json.dumps({"__type": _LOGS_ERRORS.get(status, ""), "message": "said"}).encode()

    def log_some_bad(self) -> int:
        """What is more than 14 days old is named in `rejectedLogEventsInfo`, the rest is stored."""
        self.app.clock(-14 * 86400 - 30)
        self.app.log(50)
        self.app.clock(-14 * 86400 + 300)
        self.app.log(150)
        self.app.clock(0)
        self.app.log(100)
        return 50


class S3Lane(AwsLane):
    """A bucket for each fault."""

    sink = "s3"

    def sink_config(self) -> dict[str, Any]:
        return {"type": "s3", "bucket": self.service, "path_style": True, **self.access}

    def prepare(self) -> None:
        place = {"LocationConstraint": "eu-west-1"}
        self.server.client("s3").create_bucket(Bucket=self.service, CreateBucketConfiguration=place)

    def stored_there(self, at_least: int) -> list[str]:
        lines = [
            line
            for _, content in self.server.objects(self.service)
            for line in gzip.decompress(content).splitlines()
        ]
        return [json.loads(line)["event_id"] for line in lines]

    def words(self, status: int) -> bytes:
        code = _S3_ERRORS.get(status, "")
        return f"<Error><Code>{code}</Code><Message>said</Message></Error>".encode()


class ReceiverLane(SinkLane):
    """A receiver in the test's process; `taken` is its behaviour for the present fault."""

    may_repeat = True
    taken: Any

    def behave(self, *, mind: bool) -> None:
        """Make the behaviour that keeps this fault's events; with `mind` it refuses long ones."""
        raise NotImplementedError

    def prepare(self) -> None:
        self.behave(mind=False)

    def prepare_bad(self) -> None:
        self.behave(mind=True)

    def start(self) -> None:
        self.server.start()
        self.proxy.upstream = self.server.url


class OtlpLane(ReceiverLane):
    """OpenTelemetry's protocol. The program's records are jobs: each is a log record and a span."""

    sink = "otlp"

    def prepare(self) -> None:
        super().prepare()
        self.app.trace, self.app.kind = uuid.uuid4().hex, "job"

    def behave(self, *, mind: bool) -> None:
        def long(record: Any) -> bool:
            notes = [plain(pair.value) for pair in record.attributes if pair.key == "note"]
            return mind and any(len(note) >= LONG for note in notes)

        self.taken = OtlpReceiver(long)
        self.server.become(self.taken)

    def prepare_bad(self) -> None:
        """The receiver says how many it minded, and not which: they are searched for."""
        super().prepare_bad()
        self.options["on_partial"] = "isolate"

    def sink_config(self) -> dict[str, Any]:
        return {"type": "otlp", "url": self.proxy.url}

    def stored_there(self, at_least: int) -> list[str]:
        assert self.taken.complaints == []
        known, spans = self.known(), {int(span, 16) - 1 for _, span in self.taken.spans}
        assert {known[number] for number in spans} >= set(self.taken.arrivals), "a record without its span"
        return list(self.taken.arrivals.elements())


class HttpLane(ReceiverLane):
    """NDJSON to any URL."""

    sink = "http"

    def behave(self, *, mind: bool) -> None:
        self.taken = HttpReceiver(lambda event: mind and len(event.get("note", "")) >= LONG)
        self.server.become(self.taken)

    def sink_config(self) -> dict[str, Any]:
        return {"type": "http", "url": f"{self.proxy.url}/in"}

    def stored_there(self, at_least: int) -> list[str]:
        return list(self.taken.ids.elements())


class ZipkinLane(ReceiverLane):
    """The program's records are spans of one trace; Zipkin knows a span that it gets twice."""

    sink = "zipkin"
    may_repeat = False

    def prepare(self) -> None:
        super().prepare()
        self.app.trace = uuid.uuid4().hex

    def behave(self, *, mind: bool) -> None:
        # What a tag holds is cut at 4,096 characters.
        self.taken = ZipkinReceiver(lambda span: mind and len(span.get("tags", {}).get("note", "")) >= 4_096)
        self.server.become(self.taken)

    def sink_config(self) -> dict[str, Any]:
        return {"type": "zipkin", "url": self.proxy.url}

    def stored_there(self, at_least: int) -> list[str]:
        assert {trace for trace, _ in self.taken.spans} == {self.app.trace}
        known = self.known()
        return [known[int(span, 16) - 1] for _, span in self.taken.spans]


class KafkaLane(SinkLane):
    """A topic for each fault. The broker's doors are this lane's: by address, and by a name of its own."""

    sink = "kafka"
    http = False
    forgets = True
    timeout = 2.0  # what is on its way then is waited for, and not sent again

    def __init__(self, directory: Path, server: Any) -> None:
        self.at = 0
        super().__init__(directory, server, under=own_disks())
        self._hosts = directory / "hosts"
        name = urlsplit(f"//{server.doors[1]}").hostname
        self._hosts.write_text(f"127.0.0.1 localhost {name}\n")

    def open_proxy(self, tls: ssl.SSLContext | None = None) -> FaultProxy:
        port = int(self.server.doors[self.at].rpartition(":")[2])
        return StreamProxy(self.server.behind[self.at], tls, port)

    def sink_config(self) -> dict[str, Any]:
        return {"type": "kafka", "brokers": [self.server.doors[self.at]], "topic": self.service}

    def prepare(self) -> None:
        self.server.create(self.service)

    def prepare_bad(self) -> None:
        """A topic that takes at once what is shorter than the long ones."""
        self.options["compression"] = "none"
        self.service += "-small"
        self.server.create(self.service, max_message_bytes="20000")

    def prepare_small(self) -> bool:
        self.prepare_bad()
        return True

    def stored_there(self, at_least: int) -> list[str]:
        return [dict(message.headers())["event_id"].decode() for message in self.server.read(self.service)]

    def prepare_name(self) -> None:
        """Go by the broker's name, which only this program's hosts file knows: librdkafka asks the system."""
        self.proxy.__exit__()
        self.at = 1
        self.proxy = self.open_proxy()
        self.name()

    def unname(self) -> None:
        self.app.ask("shell", command=["umount", "/etc/hosts"])

    def name(self) -> None:
        self.app.ask("shell", command=["mount", "--bind", str(self._hosts), "/etc/hosts"])


class SyslogLane(SinkLane):
    """RFC 5424 over TCP and TLS, confirmed by the receiver's end of each connection."""

    sink = "syslog"
    http = False
    may_repeat = True

    def open_proxy(self, tls: ssl.SSLContext | None = None) -> FaultProxy:
        return StreamProxy(f"127.0.0.1:{self.server.port}", tls)

    def sink_config(self) -> dict[str, Any]:
        protocol = "tcp" if self.trust is None else "tls"
        there = {"host": "127.0.0.1", "port": self.proxy.port}
        return {"type": "syslog", "protocol": protocol, "confirm": "close", **there}

    def start(self) -> None:
        self.server.start()

    def stored_there(self, at_least: int) -> list[str]:
        """Whole messages: one that was cut within is sent again."""
        service = self.service.encode()
        parts = [line.split(b"\t") for line in self.server.lines() if line.endswith(b"}")]
        return [
            sd.partition(b'event_id="')[2].partition(b'"')[0].decode()
            for sd, app, *_ in (part for part in parts if len(part) == 4)
            if app == service
        ]


class DiskLane(SinkLane):
    """Sinks without a server. A file where their directory should be is their outage."""

    waits = False
    http = False

    def __init__(self, directory: Path, _server: Any = None) -> None:
        super().__init__(directory, None)

    def open_proxy(self, tls: ssl.SSLContext | None = None) -> FaultProxy:
        return FaultProxy("", tls)

    @property
    def place(self) -> Path:
        return self.directory / "struck"

    def kill(self) -> None:
        self.place.rename(self.directory / "aside")
        self.place.touch()

    def start(self) -> None:
        self.place.unlink()
        (self.directory / "aside").rename(self.place)


class LocalLane(DiskLane):
    """A second local store."""

    sink = "local"

    def sink_config(self) -> dict[str, Any]:
        return {"type": "local", "path": str(self.place), "compact": "off"}

    def stored_there(self, at_least: int) -> list[str]:
        files = (self.place / "fresh").glob("*.ndjson")
        return [json.loads(line)["event_id"] for file in files for line in file.read_bytes().splitlines()]


class FileLane(DiskLane):
    """A file holds the lines as they are; the store beside it tells their ids."""

    sink = "file"

    def sink_config(self) -> dict[str, Any]:
        return {"type": "file", "path": str(self.place / "app.ndjson")}

    def stored_there(self, at_least: int) -> list[str]:
        known = self.known()
        lines = [line for file in self.place.glob("app*.ndjson") for line in file.read_bytes().splitlines()]
        return [known[json.loads(line)["n"]] for line in lines]


LANES: Mapping[str, Callable[..., SinkLane]] = {
    lane.sink: lane
    for lane in (
        LokiLane,
        ElasticsearchLane,
        CloudWatchLane,
        S3Lane,
        KafkaLane,
        OtlpLane,
        HttpLane,
        ZipkinLane,
        SyslogLane,
        LocalLane,
        FileLane,
    )
}
"""The columns of the table."""
