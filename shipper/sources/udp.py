"""UDP: syslog messages, and lines of JSON or text, one datagram each.

UDP loses without a trace: what the system had no room for is counted where it tells (Linux) and said, and
that is all that can be done. Where nothing may be lost, TCP.
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Final

from ..config.fields import Size, setting
from ..config.sections import listen_address
from ..ports import SourceContext, SourceKind
from .listen.address import wrong_address, wrong_listen
from .listen.datagrams import Datagrams
from .listen.intake import Format, Intake
from .listen.loop import Ending, bound
from .listen.store import Store
from .parsers import ParserConfig, ParserName, checked

__all__ = ["SOURCE", "UdpConfig", "UdpSource"]


@dataclass(frozen=True, slots=True)
class UdpConfig:
    """Where to listen, and what comes."""

    listen: str = setting(
        help="host:port; a port alone means loopback", check=wrong_listen, example="127.0.0.1:5140"
    )
    format: Format = setting(
        "auto", help="auto: syslog messages, JSON field by field, the rest as text; each as it begins"
    )
    parser: ParserName | ParserConfig = setting(
        "auto", help="what lines are that are neither syslog nor JSON: a format or a program; auto: text"
    )
    insecure: bool = setting(False, help="listen beyond loopback: whoever reaches it may write")
    max_line_bytes: Size = setting(
        Size(64 << 10), help="longer messages are cut and marked", minimum=64, maximum=16 << 20
    )
    receive_buffer: Size = setting(
        Size(4 << 20),
        help="what the system is asked to hold until it is read; it may grant less",
        minimum=4096,
    )

    def __post_init__(self) -> None:
        checked(self.parser)
        guards = "UDP knows neither certificates nor tokens; write "
        problem = wrong_address(self.listen, guarded=False, insecure=self.insecure, guards=guards)
        if problem:
            raise ValueError(problem)


@dataclass(slots=True)
class UdpSource:
    """Listens. `run` in one thread, `stop` from any."""

    config: UdpConfig
    context: SourceContext
    address: tuple[str, int] | None = None  # where it listens, while it does
    _ending: Ending = field(default_factory=Ending)

    def run(self, *, once: bool) -> None:
        """Take what comes until `stop()`; with `once` nothing: what others may send has no end."""
        if not once:
            self._ending.run(self._main)

    async def _main(self) -> None:
        config = self.config
        with bound(*listen_address(config.listen), socket.SOCK_DGRAM, self._ending) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, config.receive_buffer)
            self.address = sock.getsockname()[:2]
            intake, store = (
                Intake(self.context.builder, config.format, config.parser),
                Store(self.context.appender),
            )
            await Datagrams(self.context.name, sock, intake, store, config.max_line_bytes).run(self._ending)

    def stop(self) -> None:
        """Ask `run` to return soon."""
        self._ending.tell()


def _build(config: UdpConfig, context: SourceContext, /) -> UdpSource:
    return UdpSource(config, context)


SOURCE: Final = SourceKind("udp", UdpConfig, _build)
