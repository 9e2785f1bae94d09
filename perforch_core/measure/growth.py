"""How the time of a version grows with the size of its input: a log-log fit over the top decade of sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from perforch_core.measure.statistics import CONFIDENCE, Interval, interval

NAMES = ((0.0, "constant"), (1.0, "linear"), (2.0, "quadratic"), (3.0, "cubic"))
TOLERANCE = 0.3
"""Within this distance of an exponent the whole interval must lie to be called by its name. n log n has about 1.1 at
these sizes and is not to be told from n: both are called linear."""


def exponent(rounds: Sequence[Mapping[int, float]]) -> Interval | None:
    """The exponent b of time ~ n^b with its interval, or None with fewer than three sizes in the top decade.

    Each round maps sizes to seconds per call and gives one least-squares slope; the interval is over the rounds, so it
    holds the noise of the machine and the choice of inputs, not the misfit of the model.
    """
    slopes = [slope for times in rounds if (slope := _slope(times)) is not None]
    return interval(slopes, confidence=CONFIDENCE)


def _slope(times: Mapping[int, float]) -> float | None:
    largest = max(times, default=0)
    points = [(math.log(n), math.log(t)) for n, t in times.items() if n > 0 and t > 0 and n * 10 >= largest]
    if len(points) < 3:
        return None
    mean_x = math.fsum(x for x, _ in points) / len(points)
    mean_y = math.fsum(y for _, y in points) / len(points)
    spread = math.fsum((x - mean_x) ** 2 for x, _ in points)
    return math.fsum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def growth_name(seen: Interval) -> str | None:
    """ "linear", "quadratic" and so on where the interval leaves no doubt, else None."""
    for value, name in NAMES:
        if value - TOLERANCE < seen.low and seen.high < value + TOLERANCE:
            return name
    return None
