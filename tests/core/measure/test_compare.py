"""compare() on real programs in real processes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from small_driver import case, starter

from perforch_core.evidence import Comparison, Verdict
from perforch_core.languages.interface import Case
from perforch_core.measure import lock
from perforch_core.measure.compare import compare
from perforch_core.measure.workload import Stratum, Workload, given
from perforch_core.task import Event

pytestmark = pytest.mark.slow

QUADRATIC = """
def f(items):
    out = []
    for item in items:
        if item not in out:
            out.append(item)
    return out
"""
LINEAR = "def f(items):\n    return list(dict.fromkeys(items))\n"
HEAVY = "def f(items):\n    for _ in range(2000): pass\n    return list(dict.fromkeys(items))\n"
SUM = "def f(items):\n    total = 0\n    for item in items:\n        total += item\n    return total\n"
SUM_RENAMED = "def f(values):\n    result = 0\n    for value in values:\n        result += value\n    return result\n"


@pytest.fixture(autouse=True)
def _own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "lock_path", lambda: tmp_path / "measuring.lock")


def numbers(n: int, *, name: str = "", top: int = 1 << 30, rounds: int | None = None) -> Stratum:
    def make(seed: int, count: int) -> list[Case]:
        rng = random.Random(f"{n} {seed}")
        return [case([rng.randrange(top) for _ in range(n)]) for _ in range(count)]

    return Stratum(name=name or f"n{n}", n=n, make=make, rounds=rounds)


SIZES: Workload = (numbers(4, name="tiny"), numbers(60, name="typical"), numbers(600, name="large"))


async def run(before: str, after: str, workload: Workload = SIZES, **more: Any) -> Comparison:
    return await compare(starter(before), starter(after), workload, budget=more.pop("budget", 20.0), **more)


async def test_a_better_algorithm_is_faster_at_the_stated_size() -> None:
    said: list[Event] = []
    result = await run(QUADRATIC, LINEAR, report=said.append)
    assert result.verdict is Verdict.FASTER, result
    assert result.speedup and result.speedup.n == 600 and result.speedup.low > 5
    assert [r.n for r in result.by_size] == [4, 60, 600]
    assert result.by_size[0].estimate < result.by_size[1].estimate < result.by_size[2].estimate
    assert result.seconds_before and result.seconds_after and result.seconds_before > 5 * result.seconds_after
    assert any("rounds" in event.text for event in said)


async def test_the_other_way_round_it_is_slower() -> None:
    result = await run(HEAVY, QUADRATIC, (numbers(20, name="typical"), numbers(600, name="large")))
    assert result.verdict is Verdict.SLOWER, result
    assert result.speedup and result.speedup.high < 0.5
    assert any(note.startswith("slower above n = ") for note in result.notes), result.notes


async def test_the_same_program_under_other_names_is_indistinguishable() -> None:
    result = await run(SUM, SUM_RENAMED, (numbers(300, name="large"),))
    assert result.verdict is Verdict.INDISTINGUISHABLE, result
    assert result.speedup and result.speedup.low < 1.05


async def test_a_cache_is_not_a_speedup_on_new_inputs() -> None:
    cached = """
cache = {}
def f(n):
    if n not in cache:
        total = 0
        for i in range(n % 1000 + 1000):
            total += i * n
        cache[n] = total
    return cache[n]
"""
    plain = cached.replace("if n not in cache:", "if True:")

    def make(seed: int, count: int) -> list[Case]:
        rng = random.Random(seed)
        return [case(rng.randrange(1 << 40)) for _ in range(count)]

    result = await run(plain, cached, (Stratum(name="value", n=20_000, make=make),))
    assert result.verdict is Verdict.INDISTINGUISHABLE, result
    assert any("cache" in note for note in result.notes)


FIBONACCI = "def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\n"
REMEMBERED = """
known = {}
def f(n):
    if n not in known:
        known[n] = slow(n)
    return known[n]
def slow(n):
    return n if n < 2 else slow(n - 1) + slow(n - 2)
"""
BETTER = "def f(n):\n    a, b = 0, 1\n    for _ in range(n): a, b = b, a + b\n    return a\n"


@pytest.mark.parametrize("values", [[16], [15, 16], [12, 13, 14, 15, 16, 17]])
async def test_where_no_new_inputs_can_be_made_a_cache_is_not_a_speedup_either(values: list[int]) -> None:
    workload = given([case(value) for value in values], n=1)
    result = await run(FIBONACCI, REMEMBERED, workload, budget=6.0)
    assert result.verdict is Verdict.INDISTINGUISHABLE, result
    result = await run(FIBONACCI, BETTER, workload)
    assert result.verdict is Verdict.FASTER, result


async def test_other_results_on_timed_inputs_are_not_equivalent() -> None:
    wrong = LINEAR.replace("return list", "return items if len(items) > 500 else list")
    result = await run(QUADRATIC, wrong, (numbers(4), numbers(600, top=100)))
    assert result.verdict is Verdict.NOT_EQUIVALENT, result
    assert "n = 600" in result.notes[0]


async def test_results_that_vary_by_themselves_are_not_called_different() -> None:
    varying = "def f(items):\n    return sum(items), id(object()), id(items), __import__('time').time()\n"
    result = await run(varying, varying, (numbers(100),), budget=4.0)
    assert result.verdict is Verdict.INDISTINGUISHABLE, result
    assert any("vary" in note for note in result.notes)


async def test_faster_when_large_but_slower_when_small_is_a_trade_off_with_its_crossover() -> None:
    result = await run(QUADRATIC, HEAVY, (numbers(20, name="typical"), numbers(600, name="large")))
    assert result.verdict is Verdict.TRADE_OFF, result
    assert any(note.startswith("slower below n = ") for note in result.notes), result.notes
    assert any("typical" in note for note in result.notes)


async def test_less_time_for_much_more_memory_is_a_trade_off() -> None:
    slim = "def f(items):\n    return sum(i * i for i in range(300_000)) + len(items)\n"
    fat = "def f(items):\n    a = [0] * 3_000_000\n    return 8999955000050000 + len(items)\n"
    fat = fat.replace("8999955000050000", str(sum(i * i for i in range(300_000))))
    result = await run(slim, fat, (numbers(10, name="only"),))
    assert result.verdict is Verdict.TRADE_OFF, result
    assert result.memory and result.memory.peak_after > result.memory.peak_before + (10 << 20)


async def test_sleeping_is_seen_on_the_wall_clock() -> None:
    sleepy = "import time\ndef f(items):\n    time.sleep(0.004)\n    return sum(items)\n"
    less = sleepy.replace("0.004", "0.001")
    result = await run(sleepy, less, (numbers(50),))
    assert result.verdict is Verdict.FASTER, result
    assert result.speedup and 2 < result.speedup.estimate < 5
    assert any("wall time" in note for note in result.notes)


async def test_growth_is_told_when_it_changes() -> None:
    sizes = (200, 400, 800, 1600)
    workload = tuple(numbers(n) for n in sizes)
    result = await run(QUADRATIC, LINEAR, workload, budget=30.0)
    assert result.growth
    assert 1.7 < result.growth.before < 2.3
    assert 0.7 < result.growth.after < 1.35
    assert any("grows differently" in note for note in result.notes), result.notes


async def test_work_moved_to_the_first_call_or_the_import_is_said() -> None:
    table = "def f(items):\n    return sum(items)\n"
    at_import = "big = [i * i for i in range(600_000)]\n" + table
    result = await run(table, at_import, (numbers(100),), budget=3.0)
    assert any("loading the module takes" in note for note in result.notes), result
    lazily = (
        "big = []\ndef f(items):\n    if not big: big.extend(i * i for i in range(600_000))\n    return sum(items)\n"
    )
    result = await run(table, lazily, (numbers(100),), budget=3.0)
    assert any("the first call takes" in note for note in result.notes), result


async def test_what_dies_or_does_not_load_is_failed_and_says_which() -> None:
    dies = "import os\ndef f(items):\n    if len(items) > 500: os._exit(3)\n    return list(dict.fromkeys(items))\n"
    result = await run(QUADRATIC, dies)
    assert result.verdict is Verdict.FAILED and "the version after" in result.notes[0], result
    result = await run("def f(:\n", LINEAR)
    assert result.verdict is Verdict.FAILED and "the version before" in result.notes[0], result


async def test_a_version_that_never_ends_is_given_up_as_slower() -> None:
    result = await run(LINEAR, "def f(items):\n    while True: pass\n", (numbers(20),))
    assert result.verdict is Verdict.SLOWER, result
    assert "takes more than" in result.notes[0]


async def test_too_little_time_says_so_or_stays_within_bounds() -> None:
    result = await run(QUADRATIC, LINEAR, budget=0.01)
    assert result.rounds <= 6
    with pytest.raises(ValueError):
        await run(QUADRATIC, LINEAR, ())
