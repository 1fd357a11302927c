"""UDP: syslog messages, and lines of JSON or text, one datagram each.

UDP loses without a trace: what the system had no room for is counted where it tells (Linux) and said, and
that is all that can be done. Where nothing may be lost, TCP.
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Final

from ..config.fields import Size, setting
from ..ports import SourceKind
from .listen import options
from .listen.datagrams import Datagrams
from .listen.intake import Format, Intake
from .listen.listener import Listener
from .listen.store import Store
from .parsers import ParserConfig, ParserName, checked

__all__ = ["SOURCE", "UdpConfig", "UdpSource"]


@dataclass(frozen=True, slots=True)
class UdpConfig:
    """Where to listen, and what comes."""

    listen: str = options.listen("127.0.0.1:5140")
    format: Format = options.line_format()
    parser: ParserName | ParserConfig = options.mixed_parser()
    insecure: bool = options.insecure("")
    max_line_bytes: Size = options.longest(64 << 10, "messages")
    receive_buffer: Size = setting(
        Size(4 << 20),
        help="what the system is asked to hold until it is read; it may grant less",
        minimum=4096,
    )

    def __post_init__(self) -> None:
        checked(self.parser)
        guards = "UDP knows neither certificates nor tokens; write "
        options.check_guards(self.listen, insecure=self.insecure, guards=guards)


class UdpSource(Listener[UdpConfig]):
    """Listens. `run` in one thread, `stop` from any."""

    __slots__ = ()

    async def listen(self) -> None:
        """Take datagrams, until it is to end."""
        config, context = self.config, self.context
        with self.bound(config.listen, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, config.receive_buffer)
            intake = Intake(context.builder, config.format, config.parser)
            store, limit = Store(context.appender), config.max_line_bytes
            await Datagrams(context.name, sock, intake, store, limit).run(self._ending)


SOURCE: Final = SourceKind("udp", UdpConfig, UdpSource)
