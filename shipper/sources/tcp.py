"""TCP: lines of JSON or text and syslog messages, from any number of senders.

Nothing is acknowledged in this protocol: what a sender has sent, and a killed agent had not read, is lost
with the connection. What was read is in the spool before the next read. While the spool is full nothing is
read, and the sender's own buffers fill. When the sender ends its side everything it sent is appended before
we end ours (logferry's syslog sink waits for that with `confirm: close`).
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..config.fields import Duration, Size
from ..ports import SourceKind
from .listen.address import ServerTls
from .listen.intake import Format
from .listen.lines import line_server
from .listen.listener import StreamListener
from .listen.options import (
    check_guards,
    connections_option,
    format_option,
    idle_option,
    insecure_option,
    line_option,
    listen_option,
    mixed_parser_option,
    tls_option,
)
from .listen.streams import Serve
from .parsers import ParserConfig, ParserName, checked

__all__ = ["SOURCE", "TcpConfig", "TcpSource"]


@dataclass(frozen=True, slots=True)
class TcpConfig:
    """Where to listen, and what comes."""

    listen: str = listen_option("127.0.0.1:5140")
    format: Format = format_option()
    parser: ParserName | ParserConfig = mixed_parser_option()
    tls: ServerTls | None = tls_option()
    insecure: bool = insecure_option()
    max_line_bytes: Size = line_option(256 << 10)
    max_connections: int = connections_option()
    idle_timeout: Duration = idle_option(3600.0)

    def __post_init__(self) -> None:
        checked(self.parser)
        check_guards(self.listen, tls=self.tls, insecure=self.insecure)


class TcpSource(StreamListener[TcpConfig]):
    """Listens. `run` in one thread, `stop` from any."""

    __slots__ = ()

    def handler(self) -> Serve:
        """Return what serves one connection."""
        return line_server(self.config, self.context)


SOURCE: Final = SourceKind("tcp", TcpConfig, TcpSource)
