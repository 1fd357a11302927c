"""Does a series of samples rise? A robust answer: single bursts, saw teeth and steps down do not count.

The first quarter is warming up and left out. The rest becomes at most 60 medians; their slope is Theil's and
Sen's (the median of all pairs' slopes), its significance Mann's and Kendall's. A series rises when its slope
adds up to more than `allowed` over the time observed, and is not chance (z > 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

__all__ = ["Trend", "trend"]

_BLOCKS = 60
_CHANCE = 3.0


@dataclass(frozen=True, slots=True)
class Trend:
    """`growth` is the slope times the time observed, in the unit of the samples; `z` is how sure it is."""

    level: float
    growth: float
    z: float
    allowed: float

    @property
    def rises(self) -> bool:
        return self.growth > self.allowed and self.z > _CHANCE


def trend(samples: Sequence[tuple[float, float]], allowed: float) -> Trend:
    """Return the trend of (seconds, value) samples, in order of time."""
    kept = samples[len(samples) // 4 :]
    if len(kept) < 8:
        raise ValueError(f"{len(samples)} samples are too few to see a trend")
    size = math.ceil(len(kept) / _BLOCKS)
    blocks = [kept[at : at + size] for at in range(0, len(kept), size)]
    points = [(median(t for t, _ in block), median(v for _, v in block)) for block in blocks]
    pairs = [(b[0] - a[0], b[1] - a[1]) for a, b in combinations(points, 2)]
    slope = median(rise / run for run, rise in pairs)
    score = sum((rise > 0) - (rise < 0) for _, rise in pairs)
    count = len(points)
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    z = (score - math.copysign(1, score)) / deviation if score else 0.0
    return Trend(median(v for _, v in points), slope * (points[-1][0] - points[0][0]), z, allowed)
