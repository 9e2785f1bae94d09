from __future__ import annotations

import random
from pathlib import Path

import pytest
from small_driver import case, starter

from perforch_core.languages.interface import BuildFailed, Case
from perforch_core.measure import lock
from perforch_core.measure.select import halve
from perforch_core.measure.workload import Stratum

pytestmark = pytest.mark.slow

ORIGINAL = """
def f(items):
    out = []
    for x in items:
        if x not in out:
            out.append(x)
    return out
"""
DICT = "def f(items):\n    return list(dict.fromkeys(items))\n"
LOOP = "def f(items):\n    seen = set()\n    return [x for x in items if not (x in seen or seen.add(x))]\n"
SORTED = "def f(items):\n    return sorted(set(items), key=items.index)\n"
HANGS = "def f(items):\n    while True: pass\n"
DIES = "import os\ndef f(items):\n    os._exit(1)\n"
SLOWER = (
    "def f(items):\n    return sorted(set(items), key=[*items, *items].index) and sorted(set(items), key=items.index)\n"
)


@pytest.fixture(autouse=True)
def _own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "lock_path", lambda: tmp_path / "measuring.lock")


def numbers(n: int, name: str) -> Stratum:
    def make(seed: int, count: int) -> list[Case]:
        rng = random.Random(f"{n} {seed}")
        return [case([rng.randrange(1 << 30) for _ in range(n)]) for _ in range(count)]

    return Stratum(name=name, n=n, make=make)


WORKLOAD = (numbers(30, "typical"), numbers(400, "large"))


async def test_the_best_come_first_and_the_dead_are_left_out() -> None:
    candidates = [
        ("same", ORIGINAL),
        ("dies", DIES),
        ("loop", LOOP),
        ("sorted", SORTED),
        ("hangs", HANGS),
        ("dict", DICT),
    ]
    candidates += [("bad", "def f(:\n"), ("slower", SLOWER)]
    order = await halve(starter(ORIGINAL), [(k, starter(t)) for k, t in candidates], WORKLOAD, budget=20.0)
    assert order[:2] == ["dict", "loop"], order
    assert set(order) == {"same", "loop", "sorted", "dict", "slower"}


async def test_one_that_is_much_slower_on_usual_inputs_comes_after_one_that_is_not() -> None:
    heavy = DICT.replace("    return", "    for _ in range(3000 * (len(items) < 100)): pass\n    return")
    order = await halve(starter(ORIGINAL), [("heavy", starter(heavy)), ("loop", starter(LOOP))], WORKLOAD, budget=20.0)
    assert order == ["loop", "heavy"]


async def test_one_candidate_needs_no_race_and_a_dead_original_is_an_error() -> None:
    assert await halve(starter(DIES), [("only", starter(DICT))], WORKLOAD, budget=5.0) == ["only"]
    both = [("a", starter(DICT)), ("b", starter(LOOP))]
    assert await halve(starter(DIES), both, WORKLOAD, budget=5.0) == []
    with pytest.raises(BuildFailed):
        await halve(starter("def f(:"), both, WORKLOAD, budget=5.0)
