"""From the samples of all rounds to a verdict with its reasons."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from perforch_core.evidence import Comparison, Growth, Memory, Ratio, Verdict
from perforch_core.measure.blocks import Plan, Sample
from perforch_core.measure.growth import exponent, growth_name
from perforch_core.measure.statistics import CONFIDENCE, Interval, interval, median
from perforch_core.measure.workload import Stratum

CACHE_RATIO, SURE_CACHE = math.log(1.5), math.log(4)
CACHE_SECONDS = 50e-6
"""Repeated inputs count as cached when the later passes are cheaper than the first by so many seconds per block, and by
the first ratio more than those of the other version are, or by the second in any case."""

DISAGREE = math.log(1.05)
"""CPU and wall time disagree when their ratios differ by more than this, beyond noise."""

WAITS = math.log(1.2)
"""A version that waits, or uses several threads, has a wall time this far from its CPU time; a busy machine's noise,
which the harness takes out as far as it can, stays below."""

TINY, TINY_LOSS = 10, 5e-6
"""A loss of less than five microseconds per call on inputs of up to ten items is said, but is no trade-off."""

MORE_MEMORY, MORE_BYTES = 1.5, 1 << 20


@dataclass(slots=True)
class Record:
    """All that was measured on one stratum."""

    stratum: Stratum
    plan: Plan
    samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One stratum summed up: the interval on the clock that counts, and why that clock."""

    stratum: Stratum
    seen: Interval
    clock: str
    seconds_before: float
    seconds_after: float
    cpu: Interval
    repeated: Interval
    cached: str = ""

    @property
    def ratio(self) -> Ratio:
        """The interval as a ratio before / after."""
        return Ratio(
            estimate=math.exp(self.seen.estimate),
            low=math.exp(self.seen.low),
            high=math.exp(self.seen.high),
            confidence=CONFIDENCE,
            n=self.stratum.n,
            name=self.stratum.name,
        )


def read(record: Record) -> Reading | None:
    """Sum up one stratum, or None while there are too few rounds."""
    samples = record.samples
    cached = _cached(samples)
    cpu = interval([s.first_cpu if cached else s.cpu for s in samples])
    wall = interval([s.first_wall if cached else s.wall for s in samples])
    gap = interval([s.wall - s.cpu for s in samples])
    repeated = interval([s.cpu for s in samples])
    if cpu is None or wall is None or gap is None or repeated is None:
        return None
    # A program that sleeps, waits or uses several threads: what the user waits for is the wall time.
    on_wall = (gap.low > 0 or gap.high < 0) and abs(gap.estimate) > DISAGREE and _waits(samples)
    return Reading(
        stratum=record.stratum,
        seen=wall if on_wall else cpu,
        clock="wall" if on_wall else "cpu",
        seconds_before=median([s.before.wall if on_wall else s.before.cpu for s in samples]),
        seconds_after=median([s.after.wall if on_wall else s.after.cpu for s in samples]),
        cpu=cpu,
        repeated=repeated,
        cached=cached,
    )


def _waits(samples: Sequence[Sample]) -> bool:
    """Whether the wall time of a version is another than its CPU time at all: else only noise makes them disagree."""
    costs = ([s.before for s in samples], [s.after for s in samples])
    return any(abs(median([math.log(max(c.wall, 1e-9) / max(c.cpu, 1e-9)) for c in cost])) > WAITS for cost in costs)


def _cached(samples: Sequence[Sample]) -> str:
    """Which version answers repeated inputs cheaper than new ones: "", "before", "after" or "both"."""
    if not samples:
        return ""
    old = median([s.repeat_before or 0.0 for s in samples])
    new = median([s.repeat_after or 0.0 for s in samples])
    spared_old, spared_new = median([s.spared_before for s in samples]), median([s.spared_after for s in samples])
    # Freshly loaded inputs are slow the first time for every version, being in no processor cache yet.
    before = old > min(CACHE_RATIO + max(0.0, new), SURE_CACHE) and spared_old > CACHE_SECONDS
    after = new > min(CACHE_RATIO + max(0.0, old), SURE_CACHE) and spared_new > CACHE_SECONDS
    return "both" if before and after else "before" if before else "after" if after else ""


def claim_of(records: Sequence[Record]) -> Record:
    """The record a claim is made on: the largest size, the first of several."""
    return max(records, key=lambda r: r.stratum.n)


def judge(
    records: Sequence[Record],
    *,
    threshold: float,
    memory: Memory | None = None,
    only_repeats: bool = False,
    notes: Sequence[str] = (),
) -> Comparison:
    """The verdict over all strata. With `only_repeats` a gain may come from inputs seen before and is not claimed."""
    readings = [reading for record in records if (reading := read(record)) is not None]
    claim = next((r for r in readings if r.stratum is claim_of(records).stratum), None)
    rounds = max((len(r.samples) for r in records), default=0)
    if claim is None:
        counted = "1 round" if rounds == 1 else f"{rounds} rounds"
        text = f"only {counted} fitted into the time: too few to say anything; give more time"
        return Comparison(verdict=Verdict.INDISTINGUISHABLE, memory=memory, rounds=rounds, notes=(text, *notes))
    margin = math.log(threshold)
    worse = [r for r in readings if r.seen.high < -margin]
    better = [r for r in readings if r.seen.low > margin]
    verdict, reasons = _verdict(claim, better=better, worse=worse, margin=margin)
    if only_repeats and verdict in (Verdict.FASTER, Verdict.TRADE_OFF):
        verdict = Verdict.INDISTINGUISHABLE
        reasons.append("only later calls on the same input are faster (a cache?); give a workload of at least 3 calls")
    verdict, more = _with_memory(verdict, memory)
    growth = growth_of(records)
    told = [*reasons, *more, *_crossover(readings), *_clock_notes(readings), *_growth_notes(growth), *notes]
    return Comparison(
        verdict=verdict,
        speedup=claim.ratio,
        by_size=tuple(r.ratio for r in sorted(readings, key=lambda r: r.stratum.n)),
        memory=memory,
        growth=growth,
        seconds_before=claim.seconds_before,
        seconds_after=claim.seconds_after,
        rounds=rounds,
        notes=tuple(dict.fromkeys(told)),
    )


def _verdict(
    claim: Reading, *, better: Sequence[Reading], worse: Sequence[Reading], margin: float
) -> tuple[Verdict, list[str]]:
    material = [r for r in worse if not _is_small_loss(r)]
    if claim in better:
        reasons = [f"slower on {_said(r)}" for r in material]
        if claim.clock == "wall" and claim.cpu.high < -margin:
            reasons.append(f"less waiting but {math.exp(-claim.cpu.estimate):.1f}x the CPU time")
        if claim.cached in ("before", "both") and claim.repeated.high < -margin:
            reasons.append("slower on repeated inputs, for which the version before has a cache")
        return (Verdict.TRADE_OFF if reasons else Verdict.FASTER), reasons
    if claim in worse:
        return Verdict.SLOWER, [f"faster on {_said(r)}" for r in better]
    if material:
        verdict = Verdict.TRADE_OFF if better else Verdict.SLOWER
        return verdict, [f"slower on {_said(r)}" for r in material] + [f"faster on {_said(r)}" for r in better]
    return Verdict.INDISTINGUISHABLE, [f"faster on {_said(r)}, which is not the largest size" for r in better]


def _is_small_loss(reading: Reading) -> bool:
    return reading.stratum.n <= TINY and reading.seconds_after - reading.seconds_before < TINY_LOSS


def _said(reading: Reading) -> str:
    factor = math.exp(abs(reading.seen.estimate))
    return f"{reading.stratum.name} inputs (n = {reading.stratum.n:,}): {factor:.2g}x"


def _with_memory(verdict: Verdict, memory: Memory | None) -> tuple[Verdict, list[str]]:
    if memory is None or not needs_more_memory(memory):
        return verdict, []
    text = (
        f"needs more memory at its peak: {memory.peak_after / 1e6:.1f} MB instead of {memory.peak_before / 1e6:.1f} MB"
    )
    return (Verdict.TRADE_OFF if verdict is Verdict.FASTER else verdict), [text]


def needs_more_memory(memory: Memory) -> bool:
    """At least half as much again and at least 1 MiB more."""
    more = memory.peak_after - memory.peak_before
    return more >= MORE_BYTES and memory.peak_after >= MORE_MEMORY * memory.peak_before


def _crossover(readings: Sequence[Reading]) -> list[str]:
    """ "slower below n = 50", from the sizes at which the sign changes for sure."""
    sized = sorted((r for r in readings if r.stratum.sized), key=lambda r: r.stratum.n)
    for low, high in itertools.pairwise(sized):
        if low.seen.high < 0 < high.seen.low:
            return [f"slower below n = {_crossing(low, high):,}"]
        if high.seen.high < 0 < low.seen.low:
            return [f"slower above n = {_crossing(low, high):,}"]
    return []


def _crossing(low: Reading, high: Reading) -> int:
    x1, x2 = math.log(max(1, low.stratum.n)), math.log(max(2, high.stratum.n))
    y1, y2 = low.seen.estimate, high.seen.estimate
    n = math.exp(x1 - y1 * (x2 - x1) / (y2 - y1))
    digits = 10 ** max(0, math.floor(math.log10(max(n, 1))) - 1)
    return max(1, round(n / digits) * digits)


def _clock_notes(readings: Sequence[Reading]) -> list[str]:
    told = []
    if any(r.clock == "wall" for r in readings):
        told.append("wall time counts here: CPU time tells another story (waiting, or several threads)")
    if any(r.cached for r in readings):
        told.append(
            "repeated inputs cost less than new ones (a cache of results or hashes): only first calls are compared"
        )
    return told


def growth_of(records: Sequence[Record]) -> Growth | None:
    """The exponents of both versions over the sized strata, or None where the sizes do not allow it."""
    sized = [r for r in records if r.stratum.sized]
    before = exponent(_times(sized, after=False))
    after = exponent(_times(sized, after=True))
    if before is None or after is None:
        return None
    return Growth(
        before=before.estimate,
        after=after.estimate,
        before_interval=(before.low, before.high),
        after_interval=(after.low, after.high),
    )


def _times(records: Sequence[Record], *, after: bool) -> list[Mapping[int, float]]:
    shared = min((len(r.samples) for r in records), default=0)
    return [
        {r.stratum.n: (r.samples[i].after if after else r.samples[i].before).cpu for r in records}
        for i in range(shared)
    ]


def _growth_notes(growth: Growth | None) -> list[str]:
    if growth is None:
        return []
    (b_low, b_high), (a_low, a_high) = growth.before_interval, growth.after_interval
    if (a_low <= b_high and b_low <= a_high) or abs(growth.before - growth.after) < 0.2:
        return []
    old = growth_name(Interval(growth.before, b_low, b_high, 0)) or f"n^{growth.before:.1f}"
    new = growth_name(Interval(growth.after, a_low, a_high, 0)) or f"n^{growth.after:.1f}"
    return [f"grows differently with the size of the input: {old} before, {new} after"] if old != new else []


def with_notes(comparison: Comparison, notes: Sequence[str]) -> Comparison:
    """The same comparison with more notes."""
    return replace(comparison, notes=(*comparison.notes, *notes))
