"""When may "faster" be said? Log ratios of paired rounds, a robust interval, and a few planned looks at it.

Looking at an interval after every round and stopping when it pleases claims too much: a 99 % interval looked at after
each of 40 rounds is wrong in 8-9 % of runs on identical code. Here it is looked at after a few planned rounds only,
each time at a confidence raised so that all looks together are wrong in at most 1 % (Bonferroni).

Everything is on the scale of natural logarithms of time before / time after: 0 means equal, above 0 means faster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

LOOKS = (6, 12, 24, 40)
"""The numbers of rounds after which the interval is looked at."""

CONFIDENCE = 0.99
"""What all looks together promise."""

LOOK_CONFIDENCE = 1 - 0.6 * (1 - CONFIDENCE) / len(LOOKS)
"""The confidence of the interval at one look: 99.85 %, not 99.75 %. The factor 0.6 makes up for what simulation shows
the winsorised interval of twelve values (99.7 % where 99.75 % is meant) and drifting load to cost."""

FEWEST_ROUNDS = 4
"""With fewer rounds than this no interval is given."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate on the log scale with its bounds, from `rounds` values."""

    estimate: float
    low: float
    high: float
    rounds: int


class Decision(StrEnum):
    """What a look at the interval says."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    """The interval lies wholly between the two thresholds."""
    FUTILE = "futile"
    """More rounds would hardly change that neither can be claimed."""
    MORE = "more"


def quad(a1: float, b1: float, b2: float, a2: float) -> float:
    """The log ratio A / B of four blocks run in the order A B B A, in which a steady drift of the machine cancels."""
    return (math.log(a1) + math.log(a2) - math.log(b1) - math.log(b2)) / 2


def interval(values: Sequence[float], *, confidence: float = LOOK_CONFIDENCE) -> Interval | None:
    """A winsorised t-interval for the centre of `values`, or None for fewer than FEWEST_ROUNDS.

    Tukey and McLaughlin (1963): the g lowest and highest values are replaced by their neighbours, the trimmed mean is
    the estimate, and Student's t with n - 2g - 1 degrees of freedom gives the width. A tenth is cut at each end; with
    less than ten values nothing is, because the loss of degrees of freedom would cost more than an outlier does.
    """
    n = len(values)
    if n < FEWEST_ROUNDS:
        return None
    ordered = sorted(values)
    cut = n // 10
    kept = ordered[cut : n - cut]
    centre = math.fsum(kept) / len(kept)
    pulled = [kept[0]] * cut + kept + [kept[-1]] * cut
    mean = math.fsum(pulled) / n
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in pulled) / (n - 1))
    error = deviation / ((1 - 2 * cut / n) * math.sqrt(n))
    half = student_quantile(1 - (1 - confidence) / 2, n - 2 * cut - 1) * error
    return Interval(centre, centre - half, centre + half, n)


def decide(seen: Interval | None, *, threshold: float = 1.05, last: int = LOOKS[-1]) -> Decision:
    """What one planned look says about a claim of `threshold` (a ratio, above 1)."""
    if seen is None:
        return Decision.MORE
    margin = math.log(threshold)
    if seen.low > margin:
        return Decision.FASTER
    if seen.high < -margin:
        return Decision.SLOWER
    if -margin < seen.low and seen.high < margin:
        return Decision.SAME
    if seen.rounds >= last or _futile(seen, margin=margin, last=last):
        return Decision.FUTILE
    return Decision.MORE


def _futile(seen: Interval, *, margin: float, last: int) -> bool:
    """Whether the claim stays out of reach even if the truth is 2 standard errors better than the estimate."""
    if seen.rounds < LOOKS[1]:
        return False
    error = (seen.high - seen.low) / 2 / student_quantile(1 - (1 - LOOK_CONFIDENCE) / 2, seen.rounds - 1)
    final_error = error * math.sqrt(seen.rounds / last)
    final_half = student_quantile(1 - (1 - LOOK_CONFIDENCE) / 2, last - 1) * final_error
    best = abs(seen.estimate) + 2 * error
    return best - final_half < margin


def median(values: Sequence[float]) -> float:
    """The middle value. Raises ValueError for none."""
    if not values:
        raise ValueError("median of nothing")
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


@lru_cache(maxsize=256)
def student_quantile(probability: float, freedom: int) -> float:
    """The quantile of Student's t, for probability > 0.5, by bisection on its distribution function."""
    low, high = 0.0, 2.0
    while student_cdf(high, freedom) < probability:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if student_cdf(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def student_cdf(t: float, freedom: int) -> float:
    """The distribution function of Student's t for t >= 0 (Abramowitz and Stegun, 26.7.1)."""
    return 1 - _incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    # The fraction 1/(1+ d1/(1+ d2/(1+ ...))), from the inside out: 200 terms are far more than t needs here.
    value = 1.0
    for term in range(200, 0, -1):
        m = term // 2
        if term % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        value = 1 + d / value
    return front / value
