"""The rule for claims, tried on simulated machines: false claims, and the power to see true speedups."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from perforch_core.measure import statistics as st

Noise = Callable[[random.Random], "Machine"]


class Machine:
    """Gives the log time of one block of a version, under some kind of noise."""

    def __init__(self, rng: random.Random, *, tails: bool = False, drift: float = 0.0, layout: float = 0.0) -> None:
        self.rng, self.tails, self.drift, self.layout = rng, tails, drift, layout
        self.load = 0.0

    def round(self, truth: float) -> float:
        """One round: a layout for each side, then A B B A while the load of the machine wanders."""
        place = [self.rng.gauss(0, self.layout) for _ in range(2)]
        a1, b1, b2, a2 = (math.exp(place[side] + self.block()) for side in (0, 1, 1, 0))
        return truth + st.quad(a1, b1, b2, a2)

    def block(self) -> float:
        self.load = 0.95 * self.load + self.rng.gauss(0, self.drift)
        spread = self.rng.gauss(0, 0.02)
        if self.tails and self.rng.random() < 0.1:
            spread += self.rng.expovariate(1 / 0.3)
        return self.load + spread


def settle(machine: Machine, truth: float, threshold: float = 1.05) -> tuple[st.Decision, int]:
    values: list[float] = []
    for look in st.LOOKS:
        values += [machine.round(truth) for _ in range(look - len(values))]
        decision = st.decide(st.interval(values), threshold=threshold)
        if decision is not st.Decision.MORE:
            return decision, look
    raise AssertionError("the last look always decides")


MACHINES = {
    "quiet": {},
    "heavy tails": {"tails": True},
    "wandering load": {"drift": 0.05},
    "layout bias by seed": {"layout": 0.04},
    "all at once": {"tails": True, "drift": 0.03, "layout": 0.03},
}


def share(kind: str, truth: float, wanted: st.Decision, runs: int) -> float:
    hits = 0
    for run in range(runs):
        machine = Machine(random.Random(f"{kind} {truth} {run}"), **MACHINES[kind])
        hits += settle(machine, math.log(truth))[0] is wanted
    return hits / runs


@pytest.mark.parametrize("kind", MACHINES)
def test_identical_code_is_not_called_faster(kind: str) -> None:
    assert share(kind, 1.0, st.Decision.FASTER, 400) == 0
    assert share(kind, 1.0, st.Decision.SLOWER, 400) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", MACHINES)
def test_a_speedup_of_just_the_threshold_is_claimed_in_less_than_one_percent(kind: str) -> None:
    assert share(kind, 1.05, st.Decision.FASTER, 3000) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("kind", MACHINES)
def test_any_difference_at_all_is_seen_in_less_than_one_percent_of_identical_pairs(kind: str) -> None:
    """The interval itself: with no margin to hide behind, all looks together exclude 1 in less than 1 %."""
    wrong = 0
    for run in range(3000):
        machine = Machine(random.Random(f"{kind} {run}"), **MACHINES[kind])
        values: list[float] = []
        excluded = False
        for look in st.LOOKS:
            values += [machine.round(0.0) for _ in range(look - len(values))]
            seen = st.interval(values)
            assert seen is not None
            excluded = excluded or seen.low > 0 or seen.high < 0
        wrong += excluded
    assert wrong / 3000 < 0.01


def test_peeking_after_every_round_would_claim_too_much() -> None:
    """Why looks are planned: the same data looked at after each round excludes 1 several times as often."""
    wrong = 0
    for run in range(300):
        machine = Machine(random.Random(run))
        values: list[float] = []
        for _ in range(40):
            values.append(machine.round(0.0))
            seen = st.interval(values, confidence=0.99)
            if seen and (seen.low > 0 or seen.high < 0):
                wrong += 1
                break
    assert wrong / 300 > 0.03


@pytest.mark.parametrize(("truth", "kind", "least"), [
    (1.15, "quiet", 0.99),
    (1.15, "wandering load", 0.9),
    (1.15, "layout bias by seed", 0.9),
    (1.5, "all at once", 0.95),
    (2.0, "all at once", 0.99),
    (2.0, "heavy tails", 0.99),
])  # fmt: skip
def test_power(truth: float, kind: str, least: float) -> None:
    assert share(kind, truth, st.Decision.FASTER, 200) >= least


def test_a_large_speedup_is_settled_at_the_first_look_and_no_difference_early() -> None:
    first = [settle(Machine(random.Random(run)), math.log(2.0))[1] for run in range(100)]
    assert sum(look == st.LOOKS[0] for look in first) > 95
    same = [settle(Machine(random.Random(run)), 0.0)[1] for run in range(100)]
    assert sum(same) / len(same) < 24


def test_slower_is_seen_as_well_as_faster() -> None:
    assert share("quiet", 1 / 1.5, st.Decision.SLOWER, 100) == 1


@pytest.mark.parametrize(("probability", "freedom", "expected"), [
    (0.975, 1, 12.7062), (0.975, 5, 2.5706), (0.995, 10, 3.1693), (0.999, 5, 5.8934), (0.975, 1000, 1.9623),
])  # fmt: skip
def test_student_quantiles_agree_with_published_tables(probability: float, freedom: int, expected: float) -> None:
    assert st.student_quantile(probability, freedom) == pytest.approx(expected, abs=2e-3)


def test_the_interval_shrugs_off_one_outlier_in_twelve() -> None:
    rng = random.Random(1)
    values = [0.4 + rng.gauss(0, 0.01) for _ in range(11)]
    seen = st.interval([*values, 5.0])
    assert seen is not None
    assert seen.estimate == pytest.approx(0.4, abs=0.02)
    assert seen.high < 0.5


def test_too_few_rounds_give_no_interval_and_no_decision() -> None:
    assert st.interval([1.0] * (st.FEWEST_ROUNDS - 1)) is None
    assert st.decide(None) is st.Decision.MORE
