"""Other loggers and frameworks. Each module needs its library; none is imported before it is used."""

from __future__ import annotations

__all__: list[str] = []
