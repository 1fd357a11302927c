"""What all sources that others send to have in common.

`listener` what they all are · `options` what a user may say of them · `address` where they listen, and with
which certificate · `loop` one event loop in the source's thread · `streams` connections, bounded and
back-pressed · `lines` connections that bring lines · `datagrams` what has no connections · `store` events
into the spool without standing still · `identity` ids that events bring with them · `intake` lines and syslog
messages as events.

Rules

- A source listens on loopback unless it is said otherwise, and beyond loopback only with TLS or a token, or
  where `insecure: true` says that it is meant.
- One thread and one event loop for each source; a source that nobody sends to costs nothing.
- Nothing that has arrived is dropped because the spool is full: a connection is not read from until there is
  room, and a request is refused before anything of it is said to be stored.
- A sender hears that something is stored when it has been appended to the spool, never before.
- Everything is bounded: connections, the bytes of a line and of a request, and the time for a handshake.
"""

from __future__ import annotations

__all__: list[str] = []
