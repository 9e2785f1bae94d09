"""Timing the original and its candidates: a workload for the target, what was seen of the original, the fastest."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from perforch_core.evidence import Comparison
from perforch_core.languages.interface import BuildFailed, Case, Driver, DriverDied, Version
from perforch_core.measure.compare import HASH_SEEDS, Starter, compare
from perforch_core.measure.select import halve
from perforch_core.measure.workload import NoWorkload, Stratum, Workload, given, grow, maker
from perforch_core.stages.prompt import cut
from perforch_core.stages.refine import Measured
from perforch_core.task import Event, Reporter
from perforch_core.understanding import Understanding
from perforch_core.values import source_text

GROW_SECONDS = 8.0
SELECT_SHARE = 0.3
"""The share of the time left that goes to choosing among several."""

SELECT_SECONDS = 4.0

CONFIRM_SHARE = 0.4
"""The share of the time left that may go to confirming one; tests, held-back cases and mutants come after it."""

CONFIRMED_AT_MOST = 3
FEWEST_SECONDS = 4.0
SHOWN = 160
NOTED = 100
REAL = ("docs", "user", "captured")
"""Where calls come from that somebody meant; made-up ones are no guide to what large inputs look like."""

SAMPLES = 40
HEAVY_SECONDS = 0.0005
HEAVIER = 3.0
"""Known calls are timed in place of made-up ones when they take so much longer, and at least so many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The workload of one target and what it showed of the original, for prompts and rules."""

    found: Understanding
    workload: Workload
    measured: Measured = field(default_factory=Measured)

    @property
    def hot_lines(self) -> Mapping[int, float]:
        """Share of the time by 1-based line of the file."""
        return self.measured.hot_lines or {}

    def starter(self, version: Version) -> Starter:
        """Starts fresh processes with this version."""

        async def start(seed: int) -> Driver:
            return await self.found.harness.start(version, seed=seed)

        return start

    async def compare(self, version: Version, *, budget: float, report: Reporter, seed: int = 0) -> Comparison:
        """The original against a version, within about `budget` seconds."""
        return await compare(
            self.starter(self.found.original),
            self.starter(version),
            self.workload,
            budget=max(FEWEST_SECONDS, budget),
            report=report,
            seed=seed,
        )


async def prepare_timing(found: Understanding, report: Reporter) -> Timing:
    """Find inputs on which the original takes long enough to time, and see where its time goes."""
    samples = _returning(found)
    timing = Timing(found=found, workload=())
    start = timing.starter(found.original)
    seconds = min(GROW_SECONDS, found.task.budget.seconds / 5)
    try:
        workload = await grow(start, maker(found.signature, samples), seconds=seconds, report=report)
    except NoWorkload as why:
        note = f"timed on the inputs of its tests and examples only ({why})"
        report(Event(kind="note", text=note))
        found.notes.append(note)
        workload = given(_costliest(found, samples), name="known calls")
    measured = await _look(found, start, workload)
    heavy = await _heavier(found, start, samples, measured)
    if heavy:
        report(
            Event(kind="note", text=f"its tests make heavier calls than any made up: {len(heavy)} of them are timed")
        )
        small = [s for s in workload if s.n < max(case.size for case in heavy)][:1]
        workload = (*small, *given(heavy, name="known calls"))
        measured = await _look(found, start, workload)
    elif measured.slowest and not workload[-1].fixed:
        found.notes.append(f"timed on made-up calls such as {cut(found.task.target.symbol + measured.slowest, NOTED)}")
    found.harness.warm_up(HASH_SEEDS)
    return replace(timing, workload=workload, measured=measured)


async def _heavier(found: Understanding, start: Starter, samples: Sequence[Case], measured: Measured) -> Sequence[Case]:
    """The known calls that cost the original clearly more than what was made up, which may miss the slow part."""
    real = [case for case in samples if case.origin in REAL]
    if not real or not measured.by_size:
        return ()
    known = _costliest(found, real)
    driver = await start(0)
    try:
        await driver.load(known)
        block = await driver.block(len(known), timeout=30.0)
    except (DriverDied, BuildFailed):
        return ()
    finally:
        await driver.close()
    made_up = max(seconds for _, seconds in measured.by_size)
    per_call = block.cpu / block.calls
    return known if per_call > max(HEAVY_SECONDS, HEAVIER * made_up) else ()


def _returning(found: Understanding) -> list[Case]:
    """Calls on which the original returns: those that tests and documentation make, else generated ones."""
    baseline = found.baseline
    assert baseline is not None
    pairs = zip(baseline.cases, baseline.observations, strict=True)
    returning = [case for case, seen in pairs if seen.raised is None]
    real = [case for case in returning if case.origin in REAL]
    return real or returning[:SAMPLES]


def _costliest(found: Understanding, samples: Sequence[Case]) -> list[Case]:
    """Of the known calls those that take long: a doc example of a microsecond says nothing beside a real call."""
    assert found.baseline is not None
    seconds = {
        id(case): seen.seconds for case, seen in zip(found.baseline.cases, found.baseline.observations, strict=True)
    }
    longest = max(seconds.get(id(case), 0.0) for case in samples)
    return [case for case in samples if seconds.get(id(case), 0.0) >= longest / 4]


async def _look(found: Understanding, start: Starter, workload: Sequence[Stratum]) -> Measured:
    """A quick look at the original by size: times, growth, hot lines. Guides prompts; claims nothing."""
    sized = sorted((s for s in workload if s.sized), key=lambda s: s.n) or list(workload)
    times: list[tuple[int, float]] = []
    slowest, hot = "", {}
    driver = await start(0)
    try:
        for stratum in sized:
            await driver.load(stratum.make(11, 3))
            await driver.block(1, timeout=30.0)
            block = await driver.block(3, timeout=30.0)
            times.append((stratum.n, block.cpu / block.calls))
        longest = max(range(len(times)), key=lambda place: times[place][1])
        slow = sized[longest].make(12, 1)
        slowest = "(" + ", ".join(_short(slow[0], root) for root in slow[0].arguments["roots"]) + ")"
        await driver.load(slow)
        hot = dict(await driver.profile(timeout=60.0))
    except (DriverDied, BuildFailed, IndexError):
        pass  # a look that fails leaves the prompt with less to tell
    finally:
        await driver.close()
    return Measured(by_size=tuple(times), exponent=_exponent(times), hot_lines=hot, slowest=slowest)


def _short(case: Case, root: int) -> str:
    return source_text(case.arguments, root, limit=SHOWN)


def _exponent(times: Sequence[tuple[int, float]]) -> float | None:
    """The slope of log time over log size between the two largest sizes that are far enough apart."""
    points = [(n, t) for n, t in times if n > 0 and t > 0]
    if len(points) < 2 or points[-1][0] < 2 * points[0][0]:
        return None
    (n1, t1), (n2, t2) = points[max(0, len(points) - 3)], points[-1]
    return math.log(t2 / t1) / math.log(n2 / n1) if n2 > n1 else None


async def fastest(
    timing: Timing, versions: Sequence[Version], *, left: Callable[[], float], report: Reporter
) -> AsyncIterator[tuple[Version, Comparison]]:
    """The candidates, most promising first, each with its confirming comparison on inputs that chose nothing.

    `left` tells the seconds of the budget that are left; when they are spent no further one is confirmed.
    """
    order = list(versions)
    planned = left()  # waiting for another measurement on this machine is not held against the budget
    if len(order) > 1:
        starters = [(str(i), timing.starter(v)) for i, v in enumerate(order)]
        original = timing.starter(timing.found.original)
        share = min(planned * SELECT_SHARE, SELECT_SECONDS)
        labels = await halve(original, starters, timing.workload, budget=share, report=report)
        order = [versions[int(label)] for label in labels]
    for number, version in enumerate(order[:CONFIRMED_AT_MOST]):
        if number and left() < FEWEST_SECONDS:
            report(Event(kind="note", text="the budget is spent"))
            return
        report(Event(kind="progress", text="confirming the fastest on fresh inputs"))
        yield (
            version,
            await timing.compare(
                version, budget=planned * CONFIRM_SHARE / (number + 1), report=report, seed=1000 + number
            ),
        )
