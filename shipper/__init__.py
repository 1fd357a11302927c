"""Everything behind the outlet: spool, delivery, sinks, sources, the local store and the command line."""

from __future__ import annotations

__all__: list[str] = []
