"""An OTLP receiver for tests: decodes with OpenTelemetry's generated classes, stricter than a collector.

It answers as OTLP says (200 with an ExportLogsServiceResponse or ExportTraceServiceResponse, 400 with a
google.rpc.Status) and keeps records by `log.record.uid`, spans by their ids. `refuse` decides which records
it refuses, as a partial success does, `refuse_span` which spans; `traces` False: it takes none, as Loki.
`complaints` holds what a record or span had that the protocol does not allow.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_service
from opentelemetry.proto.common.v1 import common_pb2 as common
from opentelemetry.proto.logs.v1 import logs_pb2 as logs
from opentelemetry.proto.trace.v1 import trace_pb2 as traces

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

    def __init__(
        self,
        refuse: Callable[[logs.LogRecord], bool] = lambda _record: False,
        refuse_span: Callable[[traces.Span], bool] = lambda _span: False,
        *,
        traces: bool = True,
    ) -> None:
        self.refuse, self.refuse_span, self.traces = refuse, refuse_span, traces
        self.records: dict[str, tuple[dict[str, Any], logs.LogRecord]] = {}
        self.spans: dict[tuple[str, str], tuple[dict[str, Any], traces.Span]] = {}
        self.arrivals: Counter[str] = Counter()
        self.complaints: list[str] = []

    def __call__(self, connection: Connection, request: Request) -> bool:
        body = request.body
        known = {"/v1/logs": self._logs, **({"/v1/traces": self._spans} if self.traces else {})}
        if request.path not in known or request.headers.get("content-type") != "application/x-protobuf":
            return answer(404, b"no such thing")(connection, request)
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        try:
            reply = known[request.path](body)
        except DecodeError as error:
            self.complaints.append(str(error))
            return answer(400, b"\x08\x03\x12\x0bundecodable", _PROTOBUF)(connection, request)
        return answer(200, reply, _PROTOBUF)(connection, request)

    def _logs(self, body: bytes) -> bytes:
        message = service.ExportLogsServiceRequest()
        message.ParseFromString(body)
        refused = 0
        for resource in message.resource_logs:
            attributes = {pair.key: plain(pair.value) for pair in resource.resource.attributes}
            for scope in resource.scope_logs:
                refused += sum(self._take(attributes, record) for record in scope.log_records)
        reply = service.ExportLogsServiceResponse()
        if refused:
            reply.partial_success.rejected_log_records = refused
            reply.partial_success.error_message = "refused by the test"
        return reply.SerializeToString()

    def _spans(self, body: bytes) -> bytes:
        message = trace_service.ExportTraceServiceRequest()
        message.ParseFromString(body)
        refused = 0
        for resource in message.resource_spans:
            attributes = {pair.key: plain(pair.value) for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                refused += sum(self._take_span(attributes, span) for span in scope.spans)
        reply = trace_service.ExportTraceServiceResponse()
        if refused:
            reply.partial_success.rejected_spans = refused
            reply.partial_success.error_message = "refused by the test"
        return reply.SerializeToString()

    def _take_span(self, resource: dict[str, Any], span: traces.Span) -> bool:
        """Keep a span; True: it is refused."""
        if len(span.trace_id) != 16 or len(span.span_id) != 8 or len(span.parent_span_id) not in {0, 8}:
            self.complaints.append(f"ids of a wrong length: {span}")
        if (
            not any(span.trace_id)
            or not any(span.span_id)
            or any(span.parent_span_id) != bool(span.parent_span_id)
        ):
            self.complaints.append(f"an id of zeros: {span}")
        if not 0 < span.start_time_unix_nano <= span.end_time_unix_nano or not 1 <= span.kind <= 5:
            self.complaints.append(f"no time, or no kind: {span}")
        if "service.name" not in resource or message_unknown(span):
            self.complaints.append(f"no service, or unknown fields: {span}")
        if self.refuse_span(span):
            return True
        self.spans[span.trace_id.hex(), span.span_id.hex()] = resource, span
        return False

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


def message_unknown(message: Message) -> bool:
    """Tell whether a message has fields that its type does not know."""
    return len(UnknownFieldSet(message)) > 0
