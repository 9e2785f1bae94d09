"""Timing one version against another on one stratum: calibrated blocks A B B A on inputs new to the process."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from perforch_core.languages.interface import Block, Case, DriverDied
from perforch_core.measure.statistics import median, quad
from perforch_core.measure.workload import Stratum

T = TypeVar("T")

TARGET = 0.005
"""Seconds that a block should take: long against the cost of starting it, short against the drift of the machine."""

MOST_CALLS = 50_000
AFFORDABLE = 2_000
"""Items that a set of inputs may hold together: handing more over would take longer than timing them."""

PREPARE_SECONDS = 0.04
"""Copying the arguments of one block beforehand may take about this long."""

PATIENCE = 20.0
"""An AFTER that takes this many times as long as BEFORE, and more than 2 s, is given up as slower."""


ALIKE = 3.0
"""Versions whose times differ by less than this factor are timed in blocks of the same number of calls."""


class TooSlow(Exception):
    """AFTER did not finish within PATIENCE times what BEFORE takes; the message says so."""


class Timeable(Protocol):
    """The part of a Driver that measuring needs."""

    async def load(self, cases: Sequence[Case]) -> int: ...

    async def block(self, calls: int, *, timeout: float, empty: bool = False) -> Block: ...

    async def digest(self, *, timeout: float) -> tuple[str, ...]: ...

    async def peak(self, index: int, *, timeout: float) -> int: ...


def patience(seconds: float) -> float:
    """How long to wait for one call of AFTER, in seconds, where one of BEFORE takes `seconds`."""
    return max(2.0, PATIENCE * seconds)


@contextmanager
def too_slow(stratum: Stratum, *, limit: float, before: float) -> Iterator[None]:
    """Turn DriverDied into TooSlow where the whole time `limit` passed before it."""
    started = time.monotonic()
    try:
        yield
    except DriverDied as died:
        if time.monotonic() - started < limit:
            raise
        text = f"one call takes more than {limit:.1f} s at n = {stratum.n:,}; before: {before:.3g} s"
        raise TooSlow(text) from died


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of CPU and wall time."""

    cpu: float
    wall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """How one version is timed on one stratum: calls in a block, and what the same block costs around nothing."""

    calls: int
    fixed: Cost
    per_call: Cost

    def net(self, block: Block) -> Cost:
        """Seconds per call without the cost of the block itself.

        Never less than a fifth of the whole: what is left of a call that does next to nothing is mostly noise.
        """
        return Cost(
            max(block.cpu - self.fixed.cpu - self.per_call.cpu * block.calls, block.cpu / 5, 1e-9) / block.calls,
            max(block.wall - self.fixed.wall - self.per_call.wall * block.calls, block.wall / 5, 1e-9) / block.calls,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a stratum is timed: so many different inputs in a block, and each side in whole passes over them."""

    inputs: int
    before: Side
    after: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One block: seconds per call over all its calls, over the first pass and over the later ones (None: no later)."""

    all: Cost
    first: Cost
    rest: Cost | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round on one stratum. `cpu` and `wall` are log ratios before / after; `first_*` those of the first pass.

    `repeat_before` and `repeat_after` are log ratios first pass / later passes: well above 0 when repeated inputs are
    cheaper than new ones (a cache). None where every input of a block was new. `spared_*` is the same as seconds per
    block.
    """

    cpu: float
    wall: float
    first_cpu: float
    first_wall: float
    before: Cost
    after: Cost
    repeat_before: float | None = None
    repeat_after: float | None = None
    spared_before: float = 0.0
    spared_after: float = 0.0


async def calibrate(
    before: Timeable, after: Timeable, stratum: Stratum, cases: Sequence[Case], *, target: float = TARGET
) -> Plan:
    """Find the calls per block of each side on `cases`, which no timed block uses. Raises DriverDied, TooSlow."""
    slow, copying = await _per_call(before, cases, target=target, timeout=60.0)
    with too_slow(stratum, limit=patience(slow), before=slow):
        quick, _ = await _per_call(after, cases, target=target, timeout=patience(slow))
    inputs = distinct_inputs(stratum.n, slow, target=target)
    if stratum.fixed:
        inputs = min(inputs, max(1, (len(stratum.fixed) - 1) // 2))
    most = int(min(MOST_CALLS, max(inputs, PREPARE_SECONDS / copying)))
    if max(slow, quick) < ALIKE * min(slow, quick):
        # More copies of the arguments mean more cache misses per call, so alike versions get blocks of one length.
        slow = quick = math.sqrt(slow * quick)
    fixed, per_call = await _overhead(before, after, cases, _whole_passes(target / slow, inputs, most))
    return Plan(
        inputs=inputs,
        before=Side(calls=_whole_passes(target / slow, inputs, most), fixed=fixed, per_call=per_call),
        after=Side(calls=_whole_passes(target / quick, inputs, most), fixed=fixed, per_call=per_call),
    )


def distinct_inputs(n: int, seconds: float, *, target: float = TARGET) -> int:
    """How many new inputs a block gets: one per call if that is affordable, at least three unless a call is long."""
    least = 3 if seconds < target else 2 if seconds < 2 * target else 1
    return max(least, min(affordable_inputs(n), round(target / seconds)))


def affordable_inputs(n: int) -> int:
    """The most inputs of size `n` that a block gets."""
    return max(3, min(128, AFFORDABLE // (n + 1)))


def _whole_passes(wanted: float, inputs: int, most: int) -> int:
    return inputs * max(1, min(round(wanted / inputs), most // inputs))


async def _per_call(driver: Timeable, cases: Sequence[Case], *, target: float, timeout: float) -> tuple[float, float]:
    """(seconds per call, seconds to copy the arguments of a call), roughly."""
    await driver.load(cases)
    await driver.block(1, timeout=timeout)
    calls = 1
    while True:
        seconds, copying = await _block_seconds(driver, calls, timeout=timeout)
        if seconds >= target / 2 or calls >= MOST_CALLS or copying > PREPARE_SECONDS:
            return seconds / calls, max(copying / calls, 1e-8)
        calls = min(MOST_CALLS, math.ceil(calls * max(2.0, min(30.0, target / seconds))))


async def _block_seconds(driver: Timeable, calls: int, *, timeout: float) -> tuple[float, float]:
    """(seconds of one block, seconds to copy its arguments). The lesser of two: this machine does other things too.

    A call that sleeps or waits has little CPU time: a quarter of the wall time keeps its blocks short.
    """
    loop = asyncio.get_running_loop()
    found, copying = math.inf, math.inf
    for _ in range(2):
        started = loop.time()
        block = await driver.block(calls, timeout=timeout)
        copying = min(copying, loop.time() - started - block.wall)
        found = min(found, max(block.cpu, block.wall / 4, 1e-7))
        if block.cpu >= found:
            break
    return found, copying


async def _overhead(before: Timeable, after: Timeable, cases: Sequence[Case], calls: int) -> tuple[Cost, Cost]:
    """What a block costs around nothing: (once, per call). The same for both sides, or its error would favour one."""
    ones: list[Block] = []
    many: list[Block] = []
    for driver in (before, after):
        await driver.load(cases)
        ones += [await driver.block(1, timeout=30.0, empty=True) for _ in range(4)]
        many += [await driver.block(max(calls, 50), timeout=30.0, empty=True) for _ in range(2)]
    once = Cost(median([b.cpu for b in ones]), median([b.wall for b in ones]))
    full = Cost(median([b.cpu for b in many]), median([b.wall for b in many]))
    count = many[0].calls
    return once, Cost(max(0.0, (full.cpu - once.cpu) / count), max(0.0, (full.wall - once.wall) / count))


async def warm_up(driver: Timeable, side: Side, cases: Sequence[Case]) -> None:
    """Let the interpreter specialise and lazy imports happen, on inputs that no timed block uses.

    Long calls need none: what it would change is a small part of them.
    """
    if side.calls == 1:
        return
    await driver.load(cases)
    await driver.block(max(len(cases), side.calls // 8), timeout=60.0)


async def time_pair(
    before: Timeable, after: Timeable, plan: Plan, one: Sequence[Case], two: Sequence[Case], *, swap: bool
) -> Sample:
    """The blocks A B B A (B A A B with `swap`) on the inputs `one` and then `two`. Raises DriverDied."""
    order = [(after, plan.after), (before, plan.before)] if swap else [(before, plan.before), (after, plan.after)]
    (a, side_a), (b, side_b) = order
    await both(a.load(one), b.load(one))
    a1, b1 = await _time(a, side_a, one), await _time(b, side_b, one)
    await both(b.load(two), a.load(two))
    b2, a2 = await _time(b, side_b, two), await _time(a, side_a, two)
    olds, news = ((b1, b2), (a1, a2)) if swap else ((a1, a2), (b1, b2))
    return _sample(olds, news, inputs=plan.inputs)


async def both(one: Awaitable[T], two: Awaitable[T]) -> tuple[T, T]:
    """What two drivers answer, asked side by side; nothing that is timed. The first error is raised when both ended."""
    first, second = await asyncio.gather(one, two, return_exceptions=True)
    if isinstance(first, BaseException):
        raise first
    if isinstance(second, BaseException):
        raise second
    return first, second


async def _time(driver: Timeable, side: Side, held: Sequence[Case]) -> Timed:
    passes = len(held)
    first = side.net(await driver.block(passes, timeout=120.0))
    if side.calls <= passes:
        return Timed(all=first, first=first, rest=None)
    rest = side.net(await driver.block(side.calls - passes, timeout=120.0))
    share = passes / side.calls
    both = Cost(first.cpu * share + rest.cpu * (1 - share), first.wall * share + rest.wall * (1 - share))
    return Timed(all=both, first=first, rest=rest)


def _sample(olds: tuple[Timed, Timed], news: tuple[Timed, Timed], *, inputs: int) -> Sample:
    (o1, o2), (n1, n2) = olds, news
    return Sample(
        cpu=quad(o1.all.cpu, n1.all.cpu, n2.all.cpu, o2.all.cpu),
        wall=quad(o1.all.wall, n1.all.wall, n2.all.wall, o2.all.wall),
        first_cpu=quad(o1.first.cpu, n1.first.cpu, n2.first.cpu, o2.first.cpu),
        first_wall=quad(o1.first.wall, n1.first.wall, n2.first.wall, o2.first.wall),
        before=Cost((o1.all.cpu + o2.all.cpu) / 2, (o1.all.wall + o2.all.wall) / 2),
        after=Cost((n1.all.cpu + n2.all.cpu) / 2, (n1.all.wall + n2.all.wall) / 2),
        repeat_before=_repeat(olds),
        repeat_after=_repeat(news),
        spared_before=_spared(olds, inputs),
        spared_after=_spared(news, inputs),
    )


def _repeat(pair: tuple[Timed, Timed]) -> float | None:
    one, two = pair
    if one.rest is None or two.rest is None:
        return None
    return math.log((one.first.cpu + two.first.cpu) / (one.rest.cpu + two.rest.cpu))


def _spared(pair: tuple[Timed, Timed], inputs: int) -> float:
    one, two = pair
    if one.rest is None or two.rest is None:
        return 0.0
    return inputs * (one.first.cpu + two.first.cpu - one.rest.cpu - two.rest.cpu) / 2
