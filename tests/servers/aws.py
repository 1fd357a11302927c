"""CloudWatch Logs, S3 and STS: a real moto server, and in front of it a gate that is as strict as AWS.

    with AwsServer(directory) as aws:
        aws.url            # what sinks talk to: the gate
        aws.events("/shop/prod")

moto stores, but it does not check what AWS documents for PutLogEvents, its indexes of rejected events are off
by one, and it takes any signature. So the gate

- checks the signature (Signature Version 4) of every request, with the keys that it knows;
- refuses a PutLogEvents call as a whole that has no event or more than 10,000, more than 1,048,576 bytes
  (UTF-8, and 26 for each event), an event of more than 1,000,000 bytes or none, times out of order, or
  24 hours between two of them (kept in `complaints`: a sink must never bring that about);
- takes out what is too old (14 days, the group's retention) or too new (2 hours), tells it by AWS's indexes,
  and lets moto store the rest;
- keeps saved queries, which moto does not know;
- refuses as told: `expired` keys, and `refuse`.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import json
import re
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from .loki import free_port
from .process import Process

__all__ = ["KEY", "SECRET", "AwsServer", "Refusal"]

KEY, SECRET = "AKIALOGFERRYTESTKEY0", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
REGION = "eu-west-1"
DAY = 86_400_000
Refusal = tuple[int, str, str]
"""Status, code and message."""


class AwsServer(Process):
    """Starts one moto with its gate. `expired` holds key ids; `refuse` gets each operation's name.

    `keys` maps key ids to secrets; those of assumed roles are learned. `stored` counts events.
    """

    name = "moto"
    log = "moto.log"
    pause = 0.05

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.keys = {KEY: SECRET}
        self.expired: set[str] = set()
        self.refuse: Callable[[str], Refusal | None] | None = None
        self.after_storing: Callable[[], object] | None = None  # called before a put is answered
        self.complaints: list[str] = []
        self.calls: list[str] = []
        self.stored = 0
        self._retention: dict[str, int] = {}
        self._queries: dict[str, dict[str, Any]] = {}
        self.moto = f"http://127.0.0.1:{free_port()}"
        self._gate = self._make_gate()
        self.url = f"http://127.0.0.1:{self._gate.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._gate.shutdown()
        self._gate.server_close()

    def command(self) -> list[str]:
        """Return what starts moto."""
        port = urlsplit(self.moto).port
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]

    def answers(self) -> bool:
        """Say whether moto does."""
        urllib.request.urlopen(f"{self.moto}/moto-api/data.json", timeout=5).read()
        return True

    def start(self, seconds: float = 60) -> Self:
        """Start both, and wait until moto answers."""
        threading.Thread(target=self._gate.serve_forever, daemon=True).start()
        return super().start(seconds)

    def open_gate(self) -> ThreadingHTTPServer:
        """Open a further gate, for who wants to close one (`close_gate`): moto forgets when killed."""
        gate = self._make_gate()
        threading.Thread(target=gate.serve_forever, args=(0.02,), daemon=True).start()
        return gate

    @staticmethod
    def close_gate(gate: ThreadingHTTPServer) -> None:
        """End a gate; nobody listens there any more."""
        gate.shutdown()
        gate.server_close()

    def _make_gate(self) -> ThreadingHTTPServer:
        aws = self

        class Handler(_Handler):
            server_of = aws

        gate = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        gate.daemon_threads = True
        return gate

    # ── what it holds, read past the gate ──

    def client(self, service: str, region: str = REGION) -> Any:
        """Return a botocore client of moto's own, for looking and for meddling."""
        from botocore.session import Session

        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET}
        return Session().create_client(service, region_name=region, endpoint_url=self.moto, **keys)

    def events(self, group: str) -> list[tuple[str, int, str]]:
        """Return what a group holds: stream, time in milliseconds, message."""
        return list(self.walk(group))

    def walk(self, group: str) -> Iterator[tuple[str, int, str]]:
        """Yield the same, a page in memory at a time."""
        logs = self.client("logs")
        try:
            streams = [
                stream["logStreamName"]
                for page in logs.get_paginator("describe_log_streams").paginate(logGroupName=group)
                for stream in page["logStreams"]
            ]
        except logs.exceptions.ResourceNotFoundException:
            return
        for stream in streams:
            where: dict[str, Any] = {"logGroupName": group, "logStreamName": stream, "startFromHead": True}
            read = 0
            while page := logs.get_log_events(**where)["events"]:
                yield from ((stream, event["timestamp"], event["message"]) for event in page)
                read += len(page)
                where["nextToken"] = f"f/{read - 1:056d}"

    def ids(self, group: str) -> list[str]:
        """Return the ids of all events in a group."""
        return [json.loads(message)["event_id"] for _, _, message in self.walk(group)]

    def objects(self, bucket: str) -> Iterator[tuple[str, bytes]]:
        """Yield key and bytes of each object of a bucket."""
        s3 = self.client("s3")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for entry in page.get("Contents", ()):
                yield entry["Key"], s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()

    # ── the gate ──

    def answer(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Any, bytes]:
        """Check a request, let moto answer what is its, and return status, headers and body."""
        target = headers.get("x-amz-target", "")
        operation = target.rpartition(".")[2] or f"{method} {path.partition('?')[0]}"
        self.calls.append(operation)
        refusal = self._authenticate(method, path, headers, body)
        if refusal is None and self.refuse is not None:
            refusal = self.refuse(operation)
        if refusal is not None:
            return _refused(refusal, json_=bool(target))
        if target == "Logs_20140328.PutLogEvents":
            return self._put(path, headers, body)
        if operation in {"PutQueryDefinition", "DescribeQueryDefinitions"}:
            return self._query(operation, json.loads(body))
        answer = self.forward(method, path, headers, body)
        if answer[0] == 200:
            self._learn(operation, body, answer[2])
        return answer

    def forward(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Any, bytes]:
        parts = urlsplit(self.moto)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        try:
            passed = {k: v for k, v in headers.items() if k not in {"connection", "content-length", "expect"}}
            connection.request(method, path, body, passed)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _authenticate(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Refusal | None:
        given = _AUTHORIZATION.match(headers.get("authorization", ""))
        if given is None:
            return 403, "MissingAuthenticationTokenException", "Missing Authentication Token"
        key, scope, signed, signature = given.groups()
        if key in self.expired:
            return 400, "ExpiredTokenException", "The security token included in the request is expired"
        if key not in self.keys:
            return (
                400,
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            )
        claimed = headers.get("x-amz-content-sha256", "")
        digest = hashlib.sha256(body).hexdigest()
        if claimed and claimed != digest:
            return 400, "XAmzContentSHA256Mismatch", "The provided header does not match what was computed."
        bare, _, query = path.partition("?")
        lines = [f"{name}:{' '.join(headers.get(name, '').split())}" for name in signed.split(";")]
        canonical = [
            method,
            bare,
            "&".join(sorted(filter(None, query.split("&")))),
            *lines,
            "",
            signed,
            digest,
        ]
        text = "\n".join(canonical).encode()
        todo = ["AWS4-HMAC-SHA256", headers.get("x-amz-date", ""), scope, hashlib.sha256(text).hexdigest()]
        secret = f"AWS4{self.keys[key]}".encode()
        for part in (*scope.split("/"), "\n".join(todo)):
            secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
        if secret.hex() != signature:
            return 400, "InvalidSignatureException", f"The signature does not match: {text.decode()}"
        return None

    def _put(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any, bytes]:
        request = json.loads(body)
        events = request["logEvents"]
        if wrong := _wrong(events, request["logStreamName"]):
            self.complaints.append(wrong)
            return _refused((400, "InvalidParameterException", wrong), json_=True)
        now = int(time.time() * 1000)
        days = self._retention.get(request["logGroupName"])
        times = [event["timestamp"] for event in events]
        expired = 0 if days is None else sum(at < now - days * DAY for at in times)
        old = sum(at < now - 14 * DAY for at in times)
        new = sum(at > now + 2 * 3_600_000 for at in times)
        taken = events[max(old, expired) : len(events) - new]
        request["logEvents"] = taken
        status, answered, content = self.forward("POST", path, headers, json.dumps(request).encode())
        if status == 200:
            self.stored += len(taken)
            info = {"expiredLogEventEndIndex": expired, "tooOldLogEventEndIndex": old}
            info = {name: end for name, end in info.items() if end}
            if new:
                info["tooNewLogEventStartIndex"] = len(events) - new
            content = json.dumps({"rejectedLogEventsInfo": info} if info else {}).encode()
            if self.after_storing is not None:
                self.after_storing()
        return status, answered, content

    def _query(self, operation: str, request: Mapping[str, Any]) -> tuple[int, Any, bytes]:
        if operation == "PutQueryDefinition":
            own = request.get("queryDefinitionId") or f"id-{len(self._queries)}"
            self._queries[own] = {**request, "queryDefinitionId": own}
            return 200, _JSON, json.dumps({"queryDefinitionId": own}).encode()
        prefix = request.get("queryDefinitionNamePrefix", "")
        rows = [query for query in self._queries.values() if query["name"].startswith(prefix)]
        return 200, _JSON, json.dumps({"queryDefinitions": rows}).encode()

    def _learn(self, operation: str, body: bytes, answer: bytes) -> None:
        if operation == "PutRetentionPolicy":
            request = json.loads(body)
            self._retention[request["logGroupName"]] = request["retentionInDays"]
        if b"<AssumeRoleResponse" in answer:
            found = {node.tag.rpartition("}")[2]: node.text or "" for node in ET.fromstring(answer).iter()}
            self.keys[found["AccessKeyId"]] = found["SecretAccessKey"]


_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/([^,]+), SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$"
)
_JSON = [("Content-Type", "application/x-amz-json-1.1"), ("x-amzn-RequestId", "gate")]


def _wrong(events: list[dict[str, Any]], stream: str) -> str:
    """Say why AWS would refuse the whole call."""
    if not 1 <= len(stream) <= 512 or re.search(r"[:*]", stream):
        return f"logStreamName {stream[:100]!r} is no name"
    if not 1 <= len(events) <= 10_000:
        return f"{len(events)} log events: 1 to 10000"
    sizes = [len(event["message"].encode()) for event in events]
    times = [event["timestamp"] for event in events]
    whole = sum(sizes) + 26 * len(sizes)
    found = {
        f"a log event of {min(sizes)} or {max(sizes)} bytes": min(sizes) < 1 or max(sizes) > 1_000_000,
        f"Upload too large: {whole} bytes exceeds limit of 1048576": whole > 1_048_576,
        "Log events in a single PutLogEvents request must be in chronological order.": times != sorted(times),
        "The batch of log events cannot span more than 24 hours.": max(times) - min(times) >= DAY,
    }
    return next((text for text, wrong in found.items() if wrong), "")


def _refused(refusal: Refusal, *, json_: bool) -> tuple[int, Any, bytes]:
    status, code, message = refusal
    if json_:
        return status, _JSON, json.dumps({"__type": code, "message": message}).encode()
    text = f"<Error><Code>{code}</Code><Message>{message.partition(':')[0]}</Message></Error>"
    return status, [("Content-Type", "application/xml"), ("x-amz-request-id", "gate")], text.encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: AwsServer

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client has gone
            super().handle()

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            status, answered, content = self.server_of.answer(self.command, self.path, headers, body)
        except (OSError, http.client.HTTPException):  # moto is not there
            status, answered, content = 503, [], b""
        self.send_response_only(status)
        for name, value in answered:
            if name.lower() not in {"connection", "content-length", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


for _method in ("GET", "POST", "PUT", "HEAD", "DELETE"):
    setattr(_Handler, f"do_{_method}", _Handler._do)
