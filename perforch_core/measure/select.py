"""Which of several candidates is worth confirming? Successive halving by time, so that ten cost little more than three.

The order is for choosing only: the best of several looks better than it is (winner's curse), so nothing is claimed
from these samples. The winner is compared anew, with another seed, by compare.py.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from perforch_core.languages.interface import BuildFailed, Case, Driver, DriverDied
from perforch_core.measure.blocks import TARGET, Plan, TooSlow, affordable_inputs, calibrate, time_pair
from perforch_core.measure.compare import Starter
from perforch_core.measure.lock import measuring
from perforch_core.measure.statistics import median
from perforch_core.measure.verdict import TINY
from perforch_core.measure.workload import Stratum, Workload
from perforch_core.task import Event, Reporter, silent

SELECTING_SEEDS = 3
"""Hash seeds 0, 1, 2 are taken in turn: parents with these are warm from judging, and confirming uses others."""

HEATS = 4
LEAD = math.log(1.15)
WORSE = math.log(1.15)
"""A candidate slower than this on some stratum comes after those that are not: it would end as a trade-off."""


@dataclass(slots=True)
class _Runner:
    """A candidate in the race: log ratios original / candidate by stratum."""

    label: str
    start: Starter
    plans: dict[str, Plan] = field(default_factory=dict)
    ratios: dict[str, list[float]] = field(default_factory=dict)
    out: bool = False

    def rank(self, claim: Stratum, workload: Workload) -> tuple[bool, float]:
        """Sorts the best first: faster at the claim's size, and nowhere much slower."""
        gain = median(self.ratios[claim.name]) if self.ratios.get(claim.name) else -math.inf
        spoiled = any(median(self.ratios[s.name]) < -WORSE for s in workload if s.n > TINY and self.ratios.get(s.name))
        return spoiled and gain > 0, -gain


async def halve(
    original: Starter,
    candidates: Sequence[tuple[str, Starter]],
    workload: Workload,
    *,
    budget: float,
    report: Reporter = silent,
    seed: int = 0,
) -> list[str]:
    """The labels of the candidates, best first; those that die or never end are left out.

    The first heat times all at the largest size, each further one the better half on every stratum. Takes about
    `budget` seconds at most. An original that dies on the inputs leaves no candidate. Raises DriverDied or BuildFailed
    when the original cannot be started, ValueError for an empty workload.
    """
    if not workload:
        raise ValueError("halving needs at least one stratum of inputs")
    rng = random.Random(f"halve {seed}")
    race = [_Runner(label, start) for label, start in candidates]
    if len(race) < 2:
        return [runner.label for runner in race]
    strata = tuple(sorted((s for s in workload if s.rounds is None), key=lambda s: s.n)) or workload
    claim = max(strata, key=lambda s: s.n)
    loop = asyncio.get_running_loop()
    inputs = {s.name: [s.make(rng.getrandbits(32), affordable_inputs(s.n)) for _ in range(3)] for s in strata}
    async with measuring(report):
        deadline = loop.time() + budget
        beaten: list[_Runner] = []
        for heat in range(HEATS):
            await _heat(original, race, strata if heat else (claim,), inputs, rng, number=heat)
            race = sorted((r for r in race if not r.out), key=lambda r: r.rank(claim, strata))
            keep = max(2, math.ceil(len(race) / 2))
            beaten = race[keep:] + beaten
            race = race[:keep]
            report(Event(kind="note", text=f"{len(race)} of {len(candidates)} candidates left after heat {heat + 1}"))
            if len(race) < 2 or loop.time() > deadline or (heat and _leads(race, claim, strata)):
                break
    return [runner.label for runner in race + beaten]


def _leads(race: Sequence[_Runner], claim: Stratum, strata: Workload) -> bool:
    """Whether the first was clearly ahead of the second each time, so that more heats would not change the order."""
    first, second = race[:2]
    if first.rank(claim, strata)[0]:
        return False
    return min(first.ratios[claim.name]) > max(second.ratios[claim.name]) + LEAD


async def _heat(
    original: Starter,
    race: Sequence[_Runner],
    strata: Sequence[Stratum],
    inputs: Mapping[str, Sequence[Sequence[Case]]],
    rng: random.Random,
    *,
    number: int,
) -> None:
    """Time every runner once, in a fresh process next to one of the original, in random order."""
    hash_seed = number % SELECTING_SEEDS
    for runner in rng.sample(list(race), len(race)):
        old = await original(hash_seed)
        new: Driver | None = None
        try:
            new = await runner.start(hash_seed)
            for stratum in strata:
                await _time(runner, stratum, inputs[stratum.name], old, new, swap=bool(rng.getrandbits(1)))
        except (DriverDied, BuildFailed, TooSlow):
            runner.out = True
        finally:
            await old.close()
            if new is not None:
                await new.close()


async def _time(
    runner: _Runner, stratum: Stratum, inputs: Sequence[Sequence[Case]], old: Driver, new: Driver, *, swap: bool
) -> None:
    plan = runner.plans.get(stratum.name)
    if plan is None:
        plan = runner.plans[stratum.name] = await calibrate(old, new, stratum, inputs[2][:2], target=TARGET / 2)
    one, two = inputs[0][: plan.inputs], inputs[1][: plan.inputs]
    sample = await time_pair(old, new, plan, one, two, swap=swap)
    # Whoever answers repeated inputs from a cache is judged by its first answers; else all calls say more.
    cached = (sample.repeat_after or 0.0) > math.log(4)
    runner.ratios.setdefault(stratum.name, []).append(sample.first_cpu if cached else sample.cpu)
