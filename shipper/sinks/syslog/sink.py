"""The driver: frames a batch, writes it to a watched connection, sends again what a broken one may have lost.

What counts as delivered, for there is no acknowledgement in syslog:

- `confirm: tcp`: every byte is acknowledged by the receiver's *system*, and the connection stands. A receiver
  that dies without having read its socket loses it; so what was sent in the last `resend_age` seconds, at
  most `resend_window` bytes, is kept in memory and sent again, before anything else, on the connection that
  follows one that broke. It may then be there twice, with the same `event_id`. Lost is what was in the
  receiver beyond that, and the window itself when this process is killed before it has noticed the break.
- `confirm: close`: the receiver has read all of it and ended the connection. Lost is only what the receiver
  loses after reading. A connection that ends otherwise is a retry of the whole batch.
- UDP: handed to the system. What is lost on the way is lost.

A connection is looked at before each write; a closed one is replaced. `close` waits, bounded, for the
receiver to read to the end, and makes one more attempt at the window where it does not.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from ...model import Batch, Delivered, Limits, Partial, Refusal, Rejected, Retry, Verdict
from ...ports import SinkContext
from ...transport import tls_context
from ...trouble import reach, why
from ...turns import Turns
from .config import SyslogConfig
from .connection import Connection
from .message import Composer, frame
from .window import Window

__all__ = ["SyslogSink"]

_LOG: Final = logging.getLogger("logferry.sinks.syslog")
_OVERHEAD: Final = 400
"""Bytes that header, structured data and frame usually add to a line."""

_GREETING: Final = 0.3
"""Seconds in which a receiver that does not want us closes a new connection, for `check`."""


class SyslogSink:
    """Sends messages to a syslog receiver."""

    def __init__(
        self, config: SyslogConfig, context: SinkContext, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._name = context.name
        self._clock = clock
        self._turns = Turns()
        self._window = Window(config.resend_window, config.resend_age)
        self._connection: Connection | None = None
        self._datagrams: socket.socket | None = None
        self._broken = False
        self._composer = Composer(
            facility=config.facility,
            app_name=config.app_name,
            msgid=config.msgid,
            sd_id=config.sd_id,
            structured_data=config.structured_data,
            whole=config.message == "line",
            bom=config.bom,
            host=context.schema.host,
        )

    @property
    def limits(self) -> Limits:
        """What one batch may hold."""
        config = self._config
        return Limits(
            config.max_batch_events, config.max_batch_bytes, config.max_batch_bytes, overhead=_OVERHEAD
        )

    def send(self, batch: Batch) -> Verdict:
        """Send one batch."""
        refused: dict[int, Refusal] = {}
        messages: list[tuple[int, bytes]] = []
        for index, line in enumerate(batch.lines):
            if index % 64 == 63:
                self._turns.rest()
            message = self._composer.message(line, batch.event_id(index))
            if message is None:
                refused[index] = Rejected("not a JSON object")
            elif len(message) > self._config.max_message_bytes:
                most = self._config.max_message_bytes
                refused[index] = Rejected(
                    f"a message of {len(message)} bytes, at most {most} (max_message_bytes)"
                )
            else:
                messages.append((index, message))
        failed = self._transmit(messages) if messages else {}
        refused |= failed
        if not refused:
            return Delivered()
        retries = [refusal for refusal in refused.values() if isinstance(refusal, Retry)]
        return retries[0] if len(retries) == len(batch) else Partial(refused)

    def check(self) -> Sequence[str]:
        """Connect, with TLS where it is asked for, and see whether the receiver stays."""
        config = self._config
        host, port = config.address
        try:
            if config.protocol == "udp":
                socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
                return []
            context = tls_context(config.tls.tls()) if config.protocol == "tls" else None
            if problem := reach(host, port, config.timeout, context):
                return [f"{self._name}: {problem}"]
            connection = Connection((host, port), config.timeout, context)
            try:
                stays = connection.alive(_GREETING)
            finally:
                connection.close()
        except (OSError, ValueError) as error:
            return [f"{self._name}: {host}:{port}: {why(error, config.timeout)}"]
        if stays:
            return []
        wish = "a certificate of ours (tls.cert_file)" if config.protocol == "tls" else "protocol: tls"
        text = f"closes the connection at once: it may want {wish}, or not take our address"
        return [f"{self._name}: {host}:{port}: {text}"]

    def close(self) -> None:
        """End the connection once the receiver has read what was sent, or has had its time."""
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = None
        connection, self._connection = self._connection, None
        if connection is None and not (self._broken and self._window.pending(self._clock())):
            return
        try:
            (connection or self._opened()).finish()
        except (OSError, ValueError) as first:
            if connection is not None:
                connection.reset()
            self._broken = True
            self._last_attempt(first)
        self._window.clear()
        self._broken = False

    def _last_attempt(self, first: Exception) -> None:
        """Send the window once more, because the receiver has not read to the end."""
        if not self._window.pending(self._clock()):
            return
        try:
            self._opened().finish()
        except (OSError, ValueError):
            _LOG.warning(
                "sink %s: the last messages may not have been read: %s", self._name, self._said(first)
            )

    def _said(self, error: Exception) -> str:
        host, port = self._config.address
        return f"{host}:{port}: {why(error, self._config.timeout)}"

    def _transmit(self, messages: Sequence[tuple[int, bytes]]) -> dict[int, Refusal]:
        """Send messages; return what was not sent, by index."""
        if self._config.protocol == "udp":
            return self._scatter(messages)
        frames = [frame(message, self._config.framing) for _, message in messages]
        try:
            self._stream(frames)
        except (OSError, ValueError) as error:
            self._cut()
            return dict.fromkeys((index for index, _ in messages), Retry(self._said(error)))
        return {}

    def _stream(self, frames: Sequence[bytes]) -> None:
        if self._connection is not None and not self._connection.alive():
            self._cut()
        if self._connection is None:
            self._connection = self._opened()
        self._connection.send(b"".join(frames))
        if self._config.confirm == "close":
            connection, self._connection = self._connection, None
            try:
                connection.finish()
            except OSError:
                connection.reset()
                raise
            return
        self._connection.taken()
        self._window.sent(frames, self._clock())

    def _opened(self) -> Connection:
        """Return a new connection on which what the last one may have lost has been sent again."""
        config = self._config
        context = tls_context(config.tls.tls()) if config.protocol == "tls" else None
        connection = Connection(config.address, config.timeout, context)
        again = self._window.pending(self._clock()) if self._broken else []
        if again:
            try:
                connection.send(b"".join(again))
                connection.taken()
            except BaseException:
                connection.reset()
                raise
            self._window.renew(self._clock())
            _LOG.info(
                "sink %s: the connection broke; the last %d messages are sent again", self._name, len(again)
            )
        self._broken = False
        return connection

    def _cut(self) -> None:
        self._broken = True
        if self._connection is not None:
            self._connection.reset()
            self._connection = None

    def _scatter(self, messages: Sequence[tuple[int, bytes]]) -> dict[int, Refusal]:
        """Send datagrams; that nobody listens is known from the second on, when the first came back."""
        for place, (_, message) in enumerate(messages):
            try:
                if self._datagrams is None:
                    self._datagrams = self._datagram_socket()
                self._datagrams.send(message)
            except OSError as error:
                if self._datagrams is not None:
                    with suppress(OSError):
                        self._datagrams.close()
                    self._datagrams = None
                return dict.fromkeys((index for index, _ in messages[place:]), Retry(self._said(error)))
        return {}

    def _datagram_socket(self) -> socket.socket:
        host, port = self._config.address
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(self._config.timeout)
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return sock
