"""How much a test tries: a tenth in CI, all of it under `make prove`.

    for round in range(effort(20)): ...        # 20 in CI, 200 with LOGFERRY_EFFORT=10

LOGFERRY_EFFORT is a factor (a float, 1 when not set). It changes how often something is tried, never what is
asserted.
"""

from __future__ import annotations

import os

__all__ = ["effort", "factor"]


def factor() -> float:
    """Return the factor that this run was asked for."""
    return float(os.environ.get("LOGFERRY_EFFORT") or 1)


def effort(times: int) -> int:
    """Return how often to try what CI tries `times` times: at least once."""
    return max(1, round(times * factor()))
