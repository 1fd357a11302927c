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
from .listen import options
from .listen.address import ServerTls
from .listen.intake import Format, Intake
from .listen.lines import line_server
from .listen.listener import StreamListener
from .listen.store import Store
from .listen.streams import Serve
from .parsers import ParserConfig, ParserName, checked

__all__ = ["SOURCE", "TcpConfig", "TcpSource"]


@dataclass(frozen=True, slots=True)
class TcpConfig:
    """Where to listen, and what comes."""

    listen: str = options.listen("127.0.0.1:5140")
    format: Format = options.line_format()
    parser: ParserName | ParserConfig = options.mixed_parser()
    tls: ServerTls | None = options.tls()
    insecure: bool = options.insecure()
    max_line_bytes: Size = options.longest(256 << 10)
    max_connections: int = options.connections()
    idle_timeout: Duration = options.idle(3600.0)

    def __post_init__(self) -> None:
        checked(self.parser)
        options.check_guards(self.listen, tls=self.tls, insecure=self.insecure)


class TcpSource(StreamListener[TcpConfig]):
    """Listens. `run` in one thread, `stop` from any."""

    __slots__ = ()

    def handler(self) -> Serve:
        """Return what serves one connection."""
        config, context = self.config, self.context
        intake, store = Intake(context.builder, config.format, config.parser), Store(context.appender)
        return line_server(intake, store, config.max_line_bytes, config.idle_timeout)


SOURCE: Final = SourceKind("tcp", TcpConfig, TcpSource)
