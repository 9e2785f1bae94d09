"""Is AFTER faster than BEFORE, and by how much? Interleaved rounds in fresh processes, looked at as planned.

Each round starts both versions anew under one hash seed, the order alternating, and times blocks A B B A per stratum.
What may be claimed from the rounds is decided in statistics.py, what it means in verdict.py.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from perforch_core.evidence import Comparison, Memory, Verdict
from perforch_core.languages.interface import Block, BuildFailed, Case, Driver, DriverDied
from perforch_core.measure import machine
from perforch_core.measure.blocks import (
    TARGET,
    Timeable,
    TooSlow,
    both,
    calibrate,
    patience,
    time_pair,
    too_slow,
    warm_up,
)
from perforch_core.measure.lock import measuring
from perforch_core.measure.statistics import FEWEST_ROUNDS, LOOKS, Decision, decide, median
from perforch_core.measure.verdict import Record, claim_of, judge, read
from perforch_core.measure.workload import Stratum, Workload
from perforch_core.task import Event, Reporter, silent

T = TypeVar("T")

Starter = Callable[[int], Awaitable[Driver]]
"""Starts a fresh process with one version loaded, under the given hash seed."""

HASH_SEEDS = (11, 12, 13, 14, 15)
"""These hash seeds are taken in turn: enough to vary the layout, few enough for warm parents to be kept. They are not
those under which candidates are judged and selected, so that nobody is confirmed by the luck that chose it."""

POOL = 4
"""So many sets of inputs are made per stratum. Processes are fresh each round, so a set is new to each of them."""

DIGESTED = 32
"""So many results per stratum are compared in a round in which they are."""

DIGESTED_VALUES = 40_000
"""Of large inputs fewer: about so many values in all, or comparing takes longer than timing."""

MOVED_SECONDS = 0.020
"""Loading or a first call that takes this much longer is said."""


class _Died(DriverDied):
    """DriverDied, and whose process it was."""

    def __init__(self, side: str, why: str) -> None:
        super().__init__(why)
        self.side = side


class _Different(Exception):
    """The results of timed inputs differ."""


@dataclass(frozen=True, slots=True)
class _Sided:
    """A driver that says which version it holds when it dies."""

    driver: Driver
    side: str

    async def load(self, cases: Sequence[Case]) -> int:
        return await self._ask(self.driver.load(cases))

    async def block(self, calls: int, *, timeout: float, empty: bool = False) -> Block:
        return await self._ask(self.driver.block(calls, timeout=timeout, empty=empty))

    async def digest(self, *, timeout: float) -> tuple[str, ...]:
        return await self._ask(self.driver.digest(timeout=timeout))

    async def peak(self, index: int, *, timeout: float) -> int:
        return await self._ask(self.driver.peak(index, timeout=timeout))

    async def _ask(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except DriverDied as died:
            raise _Died(self.side, str(died)) from died


@dataclass(slots=True)
class _State:
    """What one comparison has gathered so far."""

    before: Starter
    after: Starter
    workload: Workload
    rng: random.Random
    hash_seeds: list[int]
    records: dict[str, Record] = field(default_factory=dict)
    pools: dict[str, list[list[Case]]] = field(default_factory=dict)
    starts: dict[str, list[float]] = field(default_factory=lambda: {"before": [], "after": []})
    first_calls: dict[str, list[float]] = field(default_factory=lambda: {"before": [], "after": []})
    notes: list[str] = field(default_factory=list)
    rounds: int = 0

    @property
    def claim(self) -> Record:
        return claim_of(list(self.records.values()))


async def compare(
    before: Starter,
    after: Starter,
    workload: Workload,
    *,
    budget: float,
    threshold: float = 1.05,
    report: Reporter = silent,
    seed: int = 0,
) -> Comparison:
    """Compare two versions on a workload within about `budget` seconds of measuring (waiting for the lock not counted).

    Never raises for what a version does: one that dies gives the verdict "failed", other results "not-equivalent".
    Raises ValueError for an empty workload.
    """
    if not workload:
        raise ValueError("a comparison needs at least one stratum of inputs")
    rng = random.Random(f"compare {seed}")
    state = _State(before, after, tuple(sorted(workload, key=lambda s: s.n)), rng, [])
    state.hash_seeds = rng.sample(HASH_SEEDS, len(HASH_SEEDS))
    async with measuring(report):
        at_first = machine.conditions()
        try:
            await _rounds(state, budget=budget, threshold=threshold, report=report)
            memory = await _peaks(state)
        except _Died as died:
            return Comparison(verdict=Verdict.FAILED, rounds=state.rounds, notes=(f"the version {died.side}: {died}",))
        except TooSlow as slow:
            return Comparison(verdict=Verdict.SLOWER, rounds=state.rounds, notes=(str(slow),))
        except _Different as different:
            return Comparison(verdict=Verdict.NOT_EQUIVALENT, rounds=state.rounds, notes=(str(different),))
        repeats = _only_repeats_are_faster(state)
        told = [*state.notes, *_moved_work(state), *machine.notes(at_first, machine.conditions())]
    records = list(state.records.values())
    return judge(records, threshold=threshold, memory=memory, only_repeats=repeats, notes=told)


async def _rounds(state: _State, *, budget: float, threshold: float, report: Reporter) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    while state.rounds < LOOKS[-1]:
        await _round(state)
        state.rounds += 1
        spent = loop.time() - started
        out_of_time = spent + spent / state.rounds > budget
        if out_of_time and (state.rounds >= FEWEST_ROUNDS or spent > 2 * budget):
            return
        if state.rounds in LOOKS and _settled(state, threshold=threshold, report=report):
            return


def _settled(state: _State, *, threshold: float, report: Reporter) -> bool:
    reading = read(state.claim)
    decision = decide(reading.seen if reading else None, threshold=threshold)
    if reading is not None:
        ratio = reading.ratio
        text = f"{ratio.estimate:.2f}x ({ratio.low:.2f}-{ratio.high:.2f}) after {state.rounds} rounds"
        report(Event(kind="note", text=text, data={"rounds": state.rounds, "estimate": ratio.estimate}))
    if decision is not Decision.FASTER:
        return decision is not Decision.MORE
    return state.rounds > LOOKS[0] or not any(map(_open_question, state.records.values()))


def _open_question(record: Record) -> bool:
    """Whether a stratum may still be a good deal slower."""
    reading = read(record)
    return reading is not None and reading.seen.low < math.log(0.8) and reading.seen.high > -math.log(1.05)


async def _round(state: _State) -> None:
    number = state.rounds
    hash_seed = state.hash_seeds[number % len(HASH_SEEDS)]
    swap = number % 2 == 1
    async with _pair(state, hash_seed, swap=swap) as (old, new):
        await _first_calls(state, old, new)
        for stratum in state.workload:
            if _left_out(state, stratum):
                continue
            await _measure(state, stratum, old, new, hash_seed=hash_seed, swap=swap)


def _left_out(state: _State, stratum: Stratum) -> bool:
    """Whether a stratum is not timed this round: after the first look only the one that a claim rests on always is."""
    number = state.rounds
    if stratum.rounds is not None and number >= stratum.rounds:
        return True
    return number >= LOOKS[0] and number % 3 != 0 and stratum is not state.workload[-1]


async def _measure(
    state: _State, stratum: Stratum, old: Timeable, new: Timeable, *, hash_seed: int, swap: bool
) -> None:
    warm = _inputs(state, stratum, 0, count=4)
    record = state.records.get(stratum.name)
    if record is None:
        target = TARGET if stratum is state.workload[-1] else TARGET / 2
        plan = await calibrate(old, new, stratum, warm, target=target)
        record = state.records[stratum.name] = Record(stratum, plan)
    else:
        await both(warm_up(old, record.plan.before, warm[:1]), warm_up(new, record.plan.after, warm[:1]))
    number = len(record.samples)
    one = _inputs(state, stratum, 1 + 2 * number, count=record.plan.inputs)
    two = _inputs(state, stratum, 2 + 2 * number, count=record.plan.inputs)
    record.samples.append(await time_pair(old, new, record.plan, one, two, swap=swap))
    if number in (0, 5, 11, 23):
        await _same_results(state, stratum, two, old, new, hash_seed=hash_seed)


async def _same_results(
    state: _State, stratum: Stratum, cases: Sequence[Case], old: Timeable, new: Timeable, *, hash_seed: int
) -> None:
    """Compare the results on the inputs `cases`, which both hold. Raises _Different where AFTER is the reason."""
    size = max(1, max((len(case.arguments["nodes"]) for case in cases), default=1))
    most = min(DIGESTED, max(2, DIGESTED_VALUES // size))
    if len(cases) > most:
        cases = cases[:most]
        await both(old.load(cases), new.load(cases))
    wanted, got = await both(old.digest(timeout=60.0), new.digest(timeout=60.0))
    differing = [i for i, pair in enumerate(zip(wanted, got, strict=True)) if pair[0] != pair[1]]
    if not differing:
        return
    # A function that gives other results in another process or on a later call is not to be compared this way.
    async with _one(state.before, hash_seed, "before") as again:
        await again.load(cases)
        repeated = await again.digest(timeout=60.0)
    if any(repeated[i] == wanted[i] for i in differing):
        raise _Different(
            f"other results than before on {len(differing)} of {len(cases)} {stratum.name} inputs "
            f"(n = {stratum.n:,}, hash seed {hash_seed})"
        )
    state.notes.append("the results vary from call to call, so those of the timed inputs were not compared")


def _inputs(state: _State, stratum: Stratum, index: int, *, count: int) -> list[Case]:
    """Set `index` of the stratum's inputs; set 0 is for warming up, the others take turns.

    Sets 2k - 1 and 2k go to the same process. Of fixed inputs they are cut so that no input is in both or in set 0,
    as long as there are three.
    """
    if stratum.fixed:
        first, *others = stratum.fixed
        if index == 0 or not others:
            return [first]
        shuffled = random.Random((index + 1) // 2).sample(others, len(others))
        return shuffled[:count] if index % 2 else shuffled[-count:]
    pool = state.pools.setdefault(stratum.name, [])
    place = index if index <= POOL else 1 + (index - 1) % POOL
    while len(pool) <= place:
        made = stratum.make(state.rng.getrandbits(32), count)
        if not made:
            raise ValueError(f"the workload gives no inputs for {stratum.name!r}")
        pool.append(made)
    return pool[place]


@asynccontextmanager
async def _pair(state: _State, hash_seed: int, *, swap: bool) -> AsyncIterator[tuple[Timeable, Timeable]]:
    """Both versions in fresh processes; which starts first alternates."""
    first, second = ("after", "before") if swap else ("before", "after")
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with _one(_starter(state, first), hash_seed, first) as one:
        middle = loop.time()
        async with _one(_starter(state, second), hash_seed, second) as two:
            state.starts[second].append(loop.time() - middle)
            # The first start under a hash seed may have to start a parent process as well: no fair comparison.
            if state.rounds >= len(HASH_SEEDS):
                state.starts[first].append(middle - begun)
            yield (two, one) if swap else (one, two)


def _starter(state: _State, side: str) -> Starter:
    return state.after if side == "after" else state.before


@asynccontextmanager
async def _one(starter: Starter, hash_seed: int, side: str) -> AsyncIterator[Timeable]:
    """One version in a fresh process. Raises _Died when it cannot be started."""
    try:
        driver = await starter(hash_seed)
    except (BuildFailed, DriverDied) as problem:
        raise _Died(side, str(problem)) from problem
    try:
        yield _Sided(driver, side)
    finally:
        await driver.close()


async def _first_calls(state: _State, old: Timeable, new: Timeable) -> None:
    """What the very first call of each process costs, on the smallest inputs. Raises TooSlow."""
    stratum = state.workload[0]
    case = _inputs(state, stratum, 0, count=4)[:1]
    await old.load(case)
    first = await old.block(1, timeout=60.0)
    await new.load(case)
    with too_slow(stratum, limit=patience(first.wall), before=first.wall):
        second = await new.block(1, timeout=patience(first.wall))
    state.first_calls["before"].append(first.cpu)
    state.first_calls["after"].append(second.cpu)


def _only_repeats_are_faster(state: _State) -> bool:
    """Whether AFTER may be faster only because it has seen the input before, where there are too few to tell otherwise.

    Its first call in a process then costs much more than later ones, and much more so than that of BEFORE.
    """
    record = state.claim
    if not record.stratum.fixed or len(record.stratum.fixed) >= 3 or not record.samples:
        return False
    old = median(state.first_calls["before"]) - median([s.before.cpu for s in record.samples])
    later = median([s.after.cpu for s in record.samples])
    new = median(state.first_calls["after"]) - later
    return new > 2 * max(0.0, old) + 50e-6 and new > 2 * later


def _moved_work(state: _State) -> list[str]:
    """Notes on work that AFTER does when it is loaded or first called."""
    told = []
    for what, seconds in (("loading the module", state.starts), ("the first call", state.first_calls)):
        if not seconds["before"] or not seconds["after"]:
            continue
        old, new = min(seconds["before"]), min(seconds["after"])
        if new > old + MOVED_SECONDS and new > 1.5 * old:
            told.append(f"{what} takes {(new - old) * 1000:.0f} ms more than before, once per process")
    return told


async def _peaks(state: _State) -> Memory | None:
    """Peak memory of one call of each at the largest size, in fresh processes, the lower of two."""
    case = _inputs(state, state.workload[-1], 1, count=1)[:1]
    peaks: dict[str, list[int]] = {"before": [], "after": []}
    for number in range(2):
        for side in peaks:
            async with _one(_starter(state, side), state.hash_seeds[number], side) as driver:
                await driver.load(case)
                peaks[side].append(await driver.peak(0, timeout=60.0))
    return Memory(peak_before=min(peaks["before"]), peak_after=min(peaks["after"]))
