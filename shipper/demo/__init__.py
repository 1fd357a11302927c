"""The demo: a small shop of three real processes under load, its logs shipped and followed live.

`main` plays the part of the operations team, `services` the programs they run, `load` the customers. All
of it talks to the loopback only and ends by itself.
"""

from __future__ import annotations

__all__: list[str] = []
