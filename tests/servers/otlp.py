"""An OTLP receiver for tests: decodes with OpenTelemetry's generated classes, stricter than a collector.

It answers as OTLP says (200 with an ExportLogsServiceResponse, 400 with a google.rpc.Status) and keeps
records by `log.record.uid`. `refuse` decides which records it refuses, as a partial success does;
`complaints` holds what a record had that the protocol does not allow.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as service
from opentelemetry.proto.common.v1 import common_pb2 as common
from opentelemetry.proto.logs.v1 import logs_pb2 as logs

from .faults import Connection, Request, answer

__all__ = ["OtlpReceiver", "plain"]

_PROTOBUF = {"Content-Type": "application/x-protobuf"}


def plain(value: common.AnyValue) -> Any:
    """Return a value as JSON knows it."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: plain(pair.value) for pair in value.kvlist_value.values}
    return None if kind is None else getattr(value, kind)


class OtlpReceiver:
    """A behaviour for `FaultServer(rest=OtlpReceiver())`."""

    def __init__(self, refuse: Callable[[logs.LogRecord], bool] = lambda _record: False) -> None:
        self.refuse = refuse
        self.records: dict[str, tuple[dict[str, Any], logs.LogRecord]] = {}
        self.arrivals: Counter[str] = Counter()
        self.complaints: list[str] = []

    def __call__(self, connection: Connection, request: Request) -> bool:
        body = request.body
        if request.path != "/v1/logs" or request.headers.get("content-type") != "application/x-protobuf":
            return answer(404, b"no such thing")(connection, request)
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        message = service.ExportLogsServiceRequest()
        try:
            message.ParseFromString(body)
        except DecodeError as error:
            self.complaints.append(str(error))
            return answer(400, b"\x08\x03\x12\x0bundecodable", _PROTOBUF)(connection, request)
        refused = 0
        for resource in message.resource_logs:
            attributes = {pair.key: plain(pair.value) for pair in resource.resource.attributes}
            for scope in resource.scope_logs:
                refused += sum(self._take(attributes, record) for record in scope.log_records)
        reply = service.ExportLogsServiceResponse()
        if refused:
            reply.partial_success.rejected_log_records = refused
            reply.partial_success.error_message = "refused by the test"
        return answer(200, reply.SerializeToString(), _PROTOBUF)(connection, request)

    def _take(self, resource: dict[str, Any], record: logs.LogRecord) -> bool:
        """Keep a record; True: it is refused."""
        if len(record.trace_id) not in {0, 16} or len(record.span_id) not in {0, 8}:
            self.complaints.append(f"ids of a wrong length: {record}")
        if any(record.trace_id) != bool(record.trace_id) or not record.observed_time_unix_nano:
            self.complaints.append(f"an id of zeros, or no time: {record}")
        if "service.name" not in resource or not 0 <= record.severity_number <= 24:
            self.complaints.append(f"no service, or no severity: {record}")
        if self.refuse(record):
            return True
        uid = next(pair.value.string_value for pair in record.attributes if pair.key == "log.record.uid")
        self.records[uid] = resource, record
        self.arrivals[uid] += 1
        return False
