"""Inputs for timing: strata of several sizes and shapes, grown until a call takes long enough to be measured well."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from perforch_core.languages.interface import BuildFailed, Case, Driver, DriverDied, Signature
from perforch_core.measure.sizes import SHAPES, STYLES, Unsuitable, sized_cases
from perforch_core.measure.statistics import FEWEST_ROUNDS
from perforch_core.task import Event, Reporter, silent

Make = Callable[[int, int], list[Case]]
"""make(seed, count): so many inputs, others for another seed."""

MakeSized = Callable[[int, int, int, str, int], list[Case]]
"""make(n, seed, count, shape, style): inputs of a size; see sizes.py for shapes and styles."""

ENOUGH = 0.003
"""A size is large enough when one call takes this many seconds."""

TOO_LONG = 4 * ENOUGH
"""The largest size should not take longer than this per call, or few rounds fit into the budget."""

LONG_LOAD = 0.04
"""Seconds to hand one input over: beyond this a larger input would cost more than it shows."""

SHORT = 0.0005
"""Seconds that stand out of the noise of one message to a driver."""

BUSIER = 2.0
"""A less free style of inputs is taken when it keeps the original busy so many times longer."""

TELLING, QUICK = 512, 0.0005
"""Styles are compared at this size where calls are quick at a smaller one: even cubic growth stays below a second."""

LARGEST = 100_000
SMALLEST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """One kind of input. `make(seed, count)` gives different inputs for different seeds.

    `n` is the size it states. `sized` strata differ in nothing but size and are used for growth and crossover.
    `rounds` limits a stratum to the first so many rounds: enough for growth, where no claim is made. `fixed` are all
    the inputs there are, where no new ones can be made: then care is taken that no process is timed on one it has seen.
    """

    name: str
    n: int
    make: Make
    sized: bool = True
    rounds: int | None = None
    fixed: tuple[Case, ...] = ()


Workload = tuple[Stratum, ...]


class NoWorkload(Exception):
    """No inputs for timing could be found; the message says why and what to do."""


def maker(signature: Signature, samples: Sequence[Case] = ()) -> MakeSized:
    """Inputs of any size for a signature; `samples` are calls on which the original returned normally."""

    def make(n: int, seed: int, count: int, shape: str, style: int) -> list[Case]:
        return sized_cases(signature, n=n, count=count, seed=seed, samples=samples, shape=shape, style=style)

    return make


def given(cases: Sequence[Case], *, name: str = "given", n: int | None = None) -> Workload:
    """A workload of fixed cases (the user's, captured, or of a benchmark). Raises NoWorkload for none.

    There are no others to be had, so each set of inputs is a choice of these.
    """
    if not cases:
        raise NoWorkload("the workload holds no calls; make it yield at least one")
    fixed = tuple(cases)

    def make(seed: int, count: int) -> list[Case]:
        return random.Random(seed).sample(fixed, min(count, len(fixed)))

    size = n if n is not None else max(c.size for c in fixed)
    return (Stratum(name=name, n=size, make=make, sized=False, fixed=fixed),)


@dataclass(frozen=True, slots=True)
class _Tried:
    """One size on which the original returned normally: seconds per call and to hand one input over."""

    n: int
    style: int
    seconds: float
    loading: float


async def grow(
    starter: Callable[[int], Awaitable[Driver]],
    make: MakeSized,
    *,
    seed: int = 0,
    cap: int = LARGEST,
    seconds: float = 8.0,
    report: Reporter = silent,
) -> Workload:
    """Find sizes for the original by doubling, until one call takes ENOUGH, and return the strata to time.

    Sizes on which the original raises are left out. Stops at a time-out, at `cap` items, or after about `seconds`.
    Raises NoWorkload when the original returns normally on no size.
    """
    probe = _Probe(starter, make, seed, deadline=asyncio.get_running_loop().time() + seconds)
    try:
        style = await probe.best_style()
        tried = await probe.sizes(style, cap)
        shapes = await probe.shapes(style, tried)
    finally:
        await probe.close()
    workload = _strata(make, [t.n for t in tried], style, shapes)
    sizes = ", ".join(f"{s.n:,}" for s in workload if s.sized)
    report(Event(kind="note", text=f"timing on inputs of size {sizes}", data={"sizes": [s.n for s in workload]}))
    return workload


class _Probe:
    """Asks the original how long calls of a size take, in a process that is started anew after a time-out."""

    def __init__(
        self, starter: Callable[[int], Awaitable[Driver]], make: MakeSized, seed: int, *, deadline: float
    ) -> None:
        self.starter, self.make, self.seed, self.deadline = starter, make, seed, deadline
        self.driver: Driver | None = None
        self.why = "it raised on all of them"
        self.died = False

    async def close(self) -> None:
        if self.driver is not None:
            await self.driver.close()
        self.driver = None

    @property
    def out_of_time(self) -> bool:
        return asyncio.get_running_loop().time() > self.deadline

    async def best_style(self) -> int:
        """The style on which the original returns normally; of several, one that keeps it busy clearly longer.

        A parser leaves random text at the first character: time on such inputs says nothing.
        """
        for n in (64, 16, SMALLEST, 1024, 1):
            found: list[_Tried] = []
            for style in range(STYLES):
                one = await self.time(n, "plain", style)
                if one is not None:
                    found.append(one)
                elif self.died:
                    break
            if found:
                return await self._busiest(n, found)
        raise NoWorkload(f"no inputs were found on which the original returns normally: {self.why}; "
                         "give calls of your own with --workload FILE::function")  # fmt: skip

    async def _busiest(self, n: int, found: list[_Tried]) -> int:
        """Of the styles that work at size `n` the first, or another one that is clearly busier."""
        # What grows faster shows at a larger size only.
        if n < TELLING and all(t.seconds < QUICK for t in found):
            larger = [one for t in found if (one := await self.time(TELLING, "plain", t.style)) is not None]
            n, found = (TELLING, larger) if larger else (n, found)
        longest = max(found, key=lambda t: t.seconds)
        if longest.seconds <= BUSIER * found[0].seconds:
            return found[0].style
        # These are short calls on a machine that may be busy: believe it only twice.
        free, busy = await self.time(n, "plain", found[0].style), await self.time(n, "plain", longest.style)
        busier = free is not None and busy is not None and busy.seconds > BUSIER * free.seconds
        return longest.style if busier else found[0].style

    async def sizes(self, style: int, cap: int) -> list[_Tried]:
        """The sizes that work, ascending."""
        tried: list[_Tried] = []
        n, failures = SMALLEST, 0
        while n <= cap and failures < 3 and not self.out_of_time:
            one = await self.time(n, "plain", style)
            if one is None:
                failures += 1
                if self.died:
                    break
            else:
                tried.append(one)
                if one.seconds >= ENOUGH or one.loading > LONG_LOAD:
                    break
            n = min(2 * n, cap) if n < cap else cap + 1
        if not tried:
            one = await self.time(1, "plain", style) or await self.time(64, "plain", style)
            tried = [one] if one else []
        if not tried:
            raise NoWorkload(f"the original returned normally on no size that was tried: {self.why}")
        return await self._refined(tried, style, failures)

    async def _refined(self, tried: list[_Tried], style: int, failures: int) -> list[_Tried]:
        """Where doubling jumped from far too short to far too long (2^n), look in between."""
        for _ in range(4):
            last = tried[-1]
            jumped = len(tried) > 1 and last.seconds > TOO_LONG
            below = tried[-2] if jumped else last
            if self.out_of_time or not (jumped or (failures and last.seconds < ENOUGH)):
                break
            n = (below.n + (last.n if jumped else 2 * last.n)) // 2
            if jumped:
                tried.pop()
            if n <= below.n:
                break
            one = await self.time(n, "plain", style)
            if one is None:
                break
            tried.append(one)
        return [t for t in tried if t.seconds <= TOO_LONG] or tried[:1]

    async def shapes(self, style: int, tried: Sequence[_Tried]) -> list[tuple[str, int]]:
        """The other shapes that work, each at a quarter of the largest size; not those that differ in nothing."""
        n = max(SMALLEST, tried[-1].n // 4)
        plain = self.make(n, self.seed, 3, "plain", style)
        lines: list[tuple[str, int]] = []
        for shape in SHAPES[1:]:
            same = [c.arguments for c in self.make(n, self.seed, 3, shape, style)] == [c.arguments for c in plain]
            if not same and not self.out_of_time and await self.time(n, shape, style) is not None:
                lines.append((shape, n))
        return lines

    async def time(self, n: int, shape: str, style: int) -> _Tried | None:
        """Seconds per call on inputs of a size, or None where the original raises, or dies or takes over a second."""
        self.died = False
        try:
            cases = self.make(n, self.seed, 3, shape, style)
        except (Unsuitable, ValueError, TypeError) as problem:
            self.why = str(problem)
            return None
        try:
            if self.driver is None:
                self.driver = await self.starter(self.seed)
            return await self._time(self.driver, cases, n, style)
        except BuildFailed as problem:
            raise NoWorkload(f"the original does not load: {problem}") from problem
        except DriverDied as died:
            self.why, self.died = str(died), True
            await self.close()
            return None

    async def _time(self, driver: Driver, cases: Sequence[Case], n: int, style: int) -> _Tried | None:
        loop = asyncio.get_running_loop()
        for case in cases[:2]:
            seen = await driver.call(case, timeout=1.0)
            if seen.dead:
                self.why, self.died = seen.dead, True
                await self.close()
                return None
            if seen.raised is not None:
                self.why = f"{seen.raised[0]}: {seen.raised[1]}"[:200]
                return None
        started = loop.time()
        await driver.load(cases)
        loading = (loop.time() - started) / len(cases)
        # The least of three: the machine may be busy, and this is only to find a size. Where a single call is lost in
        # what one message costs, several are made.
        calls, spent = 1, 0.0
        for calls in (1, 32):
            blocks = [await driver.block(calls, timeout=10.0) for _ in range(len(cases))]
            empty = await driver.block(calls, timeout=10.0, empty=True)
            spent = min(max(b.cpu, b.wall / 4) for b in blocks) - empty.cpu
            if spent > SHORT:
                break
        return _Tried(n, style, max(spent / calls, 1e-7), loading)


def _strata(make: MakeSized, sizes: Sequence[int], style: int, shapes: Sequence[tuple[str, int]]) -> Workload:
    """Tiny, typical and large; two sizes in the top decade for growth; the other shapes."""
    largest, smallest = sizes[-1], sizes[0]

    def stratum(name: str, n: int, *, shape: str = "plain", rounds: int | None = None) -> Stratum:
        bound: Make = partial(_made, make, n, shape, style)
        return Stratum(name=name, n=n, make=bound, sized=shape == "plain", rounds=rounds)

    if len(sizes) == 1:
        strata = [stratum("only", largest)]
    else:
        strata = [stratum("tiny", smallest), stratum("large", largest)]
        middle = _nearest(sizes, math.sqrt(smallest * largest))
        if smallest < middle < largest:
            strata.append(stratum("typical", middle))
        used = {s.n for s in strata}
        for name, share in (("growth 1/8", 8), ("growth 1/3", 3)):
            n = largest // share
            if n > smallest and n not in used and largest >= 64:
                used.add(n)
                strata.append(stratum(name, n, rounds=FEWEST_ROUNDS))
    strata += [stratum(shape, n, shape=shape) for shape, n in shapes]
    return tuple(sorted(strata, key=lambda s: s.n))


def _made(make: MakeSized, n: int, shape: str, style: int, seed: int, count: int) -> list[Case]:
    return make(n, seed, count, shape, style)


def _nearest(sizes: Sequence[int], wanted: float) -> int:
    return min(sizes, key=lambda n: abs(math.log(n) - math.log(wanted)))
