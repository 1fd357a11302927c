"""What a user may write under `sinks: {…: {type: syslog, …}}`, and what of it cannot work."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from ...config.fields import Duration, Size, setting
from ...config.tls import TlsConfig
from ...core.facilities import Facility
from .message import sd_name, wrong_template

__all__ = ["SyslogConfig"]

_SD_ID: Final = re.compile(r"[!#-<>-\\^-~]{1,32}")
_DATAGRAM: Final = 65_507


@dataclass(frozen=True, slots=True)
class SyslogConfig:
    """Where the receiver is, and what a message holds."""

    host: str = setting(help="the receiver's name or address", example="logs.example.com")
    port: int | None = setting(None, help="empty: 6514 with tls, else 514", minimum=1, maximum=65535)
    protocol: Literal["tls", "tcp", "udp"] = setting("tcp", help="udp loses without a trace: see below")
    framing: Literal["octet_counting", "newline"] = setting(
        "octet_counting", help="how messages are told apart on a connection; newline only for old receivers"
    )
    confirm: Literal["tcp", "close"] = setting(
        "tcp",
        help="tcp: sent when the receiver's system has it; close: when the receiver has read all of it and "
        "closed the connection, one connection a batch",
    )
    resend_window: Size = setting(
        Size(1 << 20), help="of what was sent last, sent again when the connection breaks", maximum=64 << 20
    )
    resend_age: Duration = setting(Duration(10.0), help="what was sent longer ago is not sent again")
    facility: Facility = setting("local0", help="the messages' facility")
    app_name: str = setting("{service}", help="APP-NAME; fields of the event in braces")
    msgid: str = setting("{kind}", help="MSGID; fields of the event in braces")
    message: Literal["line", "message"] = setting("line", help="MSG: the whole event, or its text alone")
    bom: bool = setting(False, help="begin MSG with the byte order mark that RFC 5424 wants before UTF-8")
    structured_data: tuple[str, ...] = setting(
        ("trace_id", "span_id", "request_id", "user_id"),
        help="fields that become structured data; event_id always is",
    )
    sd_id: str = setting("logferry@32473", help="SD-ID: a name and your enterprise number")
    max_message_bytes: Size = setting(
        Size(8192),
        help="a longer message is a dead letter: receivers would cut it",
        minimum=480,
        maximum=4 << 20,
    )
    tls: TlsConfig = setting(factory=TlsConfig, help="certificates")
    timeout: Duration = setting(
        Duration(10.0), help="for connecting, and for a batch to be taken", minimum=0.05, maximum=300
    )
    max_batch_events: int = setting(2_000, help="messages of one batch", minimum=1, maximum=50_000)
    max_batch_bytes: Size = setting(
        Size(1 << 20), help="bytes of one batch", minimum=16_384, maximum=64 << 20
    )

    def __post_init__(self) -> None:
        for problem in (
            "" if self.host.strip() and self.host.isprintable() and " " not in self.host else "host: no name",
            ""
            if _SD_ID.fullmatch(self.sd_id)
            else 'sd_id: at most 32 printable characters without = ] " and space',
            "sd_id: a name of your own has an @ and your enterprise number" * ("@" not in self.sd_id),
            wrong_template("app_name", self.app_name),
            wrong_template("msgid", self.msgid),
            self._structured_data(),
            self._udp(),
        ):
            if problem:
                raise ValueError(problem)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port or (6514 if self.protocol == "tls" else 514)

    def _structured_data(self) -> str:
        names = [sd_name(name) for name in (*self.structured_data, "event_id")]
        if "" in names:
            return "structured_data: an empty name"
        return "structured_data: two of them have the same name" if len(set(names)) != len(names) else ""

    def _udp(self) -> str:
        if self.protocol != "udp":
            return ""
        if self.confirm != "tcp":
            return "confirm: udp has no connection that could be closed"
        return "" if self.max_message_bytes <= _DATAGRAM else f"max_message_bytes: a datagram has {_DATAGRAM}"
