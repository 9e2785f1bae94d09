"""Mutants: the choice of them, and the strength that comes of it, with real drivers in the sandbox."""

from __future__ import annotations

import ast
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from perforch_core.languages.interface import Case, Project
from perforch_core.languages.python import find_functions
from perforch_core.languages.python_harness import PythonHarness
from perforch_core.oracle.mutants import Mutant, choose, measure_strength, with_canary
from perforch_core.sandbox import choose as choose_sandbox
from perforch_core.task import Target
from perforch_core.values import encode

CODE = '''\
def price(amount, rate, limit=100):
    """Less than: 1 < 2."""
    total = 0
    for number in range(amount):
        if number < limit and rate > 0:
            total += rate * (number + 1)
        elif number == limit:
            break
    print("priced", total)
    if total > 10000:
        total = total // 2
    return total
'''
FUNCTION = find_functions(CODE)[0]


def test_the_choice_is_spread_out_and_repeats() -> None:
    mutants = choose(CODE, FUNCTION, count=20, seed=3)
    assert len(mutants) == 20
    assert mutants == choose(CODE, FUNCTION, count=20, seed=3)
    assert mutants != choose(CODE, FUNCTION, count=20, seed=4)
    assert len({ast.dump(ast.parse(m.text)) for m in mutants}) == 20
    assert max(Counter(m.operator for m in mutants).values()) <= 5
    assert len({m.line for m in mutants}) >= 6
    for mutant in mutants:
        assert "1 < 2" in mutant.text and '"priced"' in mutant.text
        assert mutant.description.startswith(f"line {mutant.line}: ")


def test_lines_that_ran_come_first() -> None:
    mutants = choose(CODE, FUNCTION, count=8, seed=1, lines=frozenset({3, 4, 5, 6}))
    assert {m.line for m in mutants} <= {3, 4, 5, 6}
    assert {m.line for m in choose(CODE, FUNCTION, count=500, seed=1, lines=frozenset({3}))} > {3}


def test_no_mutants_of_what_does_not_parse_or_says_nothing() -> None:
    assert choose("def f(:\n", FUNCTION, seed=1) == []
    text = 'def f():\n    """Only words."""\n'
    assert choose(text, find_functions(text)[0], seed=1) == []


def test_every_mutant_compiles() -> None:
    text = (
        "def f():\n    n = 0\n    def g():\n        nonlocal n\n        n += 1\n        return n\n    return g() + 1\n"
    )
    mutants = choose(text, find_functions(text)[0], count=200, seed=1)
    assert mutants
    for mutant in mutants:
        compile(mutant.text, "mutant", "exec")


def named(number: int) -> Mutant:
    return Mutant(label=f"mutant {number}", text="", description=f"line {number}", operator="number", line=number)


async def test_the_same_in_meaning_is_set_aside_and_survivors_are_named() -> None:
    asked: list[str] = []

    async def kills(mutant: Mutant) -> bool | None:
        return {1: True, 2: False, 3: False, 4: None}.get(mutant.line, True)

    async def agrees(mutant: Mutant) -> bool:
        asked.append(mutant.label)
        return mutant.line == 3

    strength = await measure_strength(kills, [named(n) for n in range(1, 7)], agrees=agrees)
    assert (strength.mutants, strength.killed, strength.survivors) == (4, 3, ("line 2",))
    assert asked == ["mutant 2", "mutant 3"]
    assert with_canary(strength, True).canary is True


async def test_without_a_second_opinion_survivors_count_against() -> None:
    async def never(mutant: Mutant) -> bool:
        return False

    strength = await measure_strength(never, [named(1)])
    assert strength.share == 0.0


async def test_it_stops_when_the_time_is_spent() -> None:
    times = iter([0.0, 1.0, 4.0, 5.5])

    async def kills(mutant: Mutant) -> bool:
        return True

    strength = await measure_strength(kills, [named(n) for n in range(9)], seconds=5.0, clock=lambda: next(times))
    assert strength.mutants == 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap")
async def test_many_inputs_kill_what_few_inputs_do_not(tmp_path: Path) -> None:
    path = tmp_path / "prices.py"
    path.write_text(CODE)
    target = Target(
        path=path, symbol="price", language="python", root=tmp_path, text=CODE, start=FUNCTION.start, end=FUNCTION.end
    )
    project = Project(root=tmp_path, interpreter=Path(sys.executable), path_entries=(tmp_path,))
    weak = [Case(arguments=encode([0, 1]))]
    strong = [Case(arguments=encode([n, r, 5])) for n in (0, 1, 4, 5, 6, 7, 9) for r in (-1, 0, 1, 3, 900)]
    many = [
        Case(arguments=encode([n, r, m])) for n in (0, 2, 3, 5, 8, 12) for r in (-2, 0, 1, 2, 700) for m in (1, 7, 8)
    ]
    sandbox = await choose_sandbox()
    harness = PythonHarness(project, target, sandbox)
    mutants = choose(CODE, FUNCTION, count=20, seed=7)

    async def outcomes(mutant: Mutant | None, cases: list[Case]) -> list[object]:
        from perforch_core.languages.interface import Version

        driver = await harness.start(mutant.version if mutant else Version(label="original", text=CODE))
        try:
            seen = [await driver.call(case, timeout=2.0) for case in cases]
        finally:
            await driver.close()
        return [(o.graph, o.raised and o.raised[0], o.dead != "") for o in seen]

    try:
        originals = {id(cases): await outcomes(None, cases) for cases in (weak, strong, many)}

        def compared(cases: list[Case], *, differs: bool):  # type: ignore[no-untyped-def]
            async def answer(mutant: Mutant) -> bool:
                return (await outcomes(mutant, cases) != originals[id(cases)]) is differs

            return answer

        few = await measure_strength(compared(weak, differs=True), mutants, seconds=60)
        good = await measure_strength(
            compared(strong, differs=True), mutants, agrees=compared(many, differs=False), seconds=60
        )
    finally:
        await harness.aclose()
        await sandbox.aclose()
    assert few.share is not None and few.share < 0.5
    assert good.share is not None and good.share >= 0.9 and good.mutants >= 10, good
