"""Candidates judged by real drivers in the real sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from perforch_core.languages import find_target
from perforch_core.languages.interface import BuildFailed, Case, Version
from perforch_core.languages.python_harness import PythonHarness
from perforch_core.languages.python_project import find_project
from perforch_core.oracle.equivalence import EXACT, Tolerance
from perforch_core.oracle.judge import (
    Baseline,
    Judgement,
    estimate_tolerance,
    find_cases,
    hold_back,
    judge,
    minimal_counterexample,
    observe,
    split,
    stable_cases,
)
from perforch_core.sandbox import Sandbox
from perforch_core.values import encode, source_text


class Bench:
    """One original in a project, with a harness."""

    def __init__(self, root: Path, sandbox: Sandbox) -> None:
        path = root / "app.py"
        text = path.read_text()
        symbol = text.split("def f", 1)[1].split("(")[0]
        self.symbol = "f" + symbol
        self.target = find_target(path, text, symbol=self.symbol)
        self.original = Version(label="original", text=text)
        self.harness = PythonHarness(find_project(path), self.target, sandbox)

    async def find(self, **options: Any) -> Baseline:
        options.setdefault("count", 40)
        signature = await self.harness.signature()
        return await find_cases(self.harness, self.original, signature, source=self.target.code, **options)

    async def judge(self, text: str, baseline: Baseline, **options: Any) -> Judgement:
        return await judge(self.harness, Version(label="candidate", text=text), baseline, symbol=self.symbol, **options)


@pytest.fixture
async def bench(project: Callable[..., Path], sandbox: Sandbox) -> AsyncIterator[Callable[[str], Awaitable[Bench]]]:
    made: list[Bench] = []

    async def make(text: str) -> Bench:
        made.append(Bench(project({"app.py": text}), sandbox))
        return made[-1]

    yield make
    for each in made:
        await each.harness.aclose()


DEDUPE = """
def f(items: list[int]):
    out = []
    for item in items:
        if item not in out:
            out.append(item)
    return out
"""
CANDIDATES: list[tuple[str, str, str]] = [
    ("the same", "def f(items: list[int]):\n    return list(dict.fromkeys(items))\n", ""),
    (
        "a cache of its own that gives fresh lists",
        "seen = {}\ndef f(items: list[int]):\n    return list(dict.fromkeys(items))\n",
        "",
    ),
    ("another order", "def f(items: list[int]):\n    return list(set(items))\n", "different"),
    ("another type", "def f(items: list[int]):\n    return tuple(dict.fromkeys(items))\n", "different"),
    (
        "changes its argument",
        "def f(items: list[int]):\n    out = list(dict.fromkeys(items))\n    items.sort()\n    return out\n",
        "different",
    ),
    (
        "returns its argument",
        "def f(items: list[int]):\n    items[:] = list(dict.fromkeys(items))\n    return items\n",
        "different",
    ),
    ("prints", "def f(items: list[int]):\n    print(len(items))\n    return list(dict.fromkeys(items))\n", "different"),
    (
        "raises",
        "def f(items: list[int]):\n    return list(dict.fromkeys(items)) if len(items) < 3 else 1 / 0\n",
        "different",
    ),
    (
        "exits",
        "import os\ndef f(items: list[int]):\n"
        "    return os._exit(0) if len(items) > 4 else list(dict.fromkeys(items))\n",
        "died",
    ),
    (
        "shares a cached list",
        "c = {}\ndef f(items: list[int]):\n    return c.setdefault(tuple(items), list(dict.fromkeys(items)))\n",
        "shares results",
    ),
    (
        "counts its calls",
        "n = 0\ndef f(items: list[int]):\n    global n\n    n += 1\n"
        "    return list(dict.fromkeys(items)) if n < 12 else []\n",
        "keeps state",
    ),
]


async def test_what_a_call_makes_of_the_modules_variables_counts(bench: Callable[[str], Awaitable[Bench]]) -> None:
    text = """
LOG: list[int] = []
COUNT = 0
_memo = {}
def f(items: list[int]):
    global COUNT
    COUNT += 1
    _memo[len(items)] = 1
    LOG.extend(items)
    return any([item > 3 for item in items])
"""
    table = await bench(text)
    baseline = await table.find()
    same = text.replace("LOG.extend(items)", "LOG[len(LOG):] = items").replace("_memo[len(items)] = 1", "pass")
    assert (await table.judge(same, baseline, seeds=(0, 1))).reason == ""
    for old, new, words in (
        ("LOG.extend(items)", "LOG.extend(items[:3])", "in the module's LOG where"),
        ("COUNT += 1", "COUNT = 1 if items else 0", "leaves the module's COUNT as it was"),
        ("global COUNT", "global COUNT, LOG; LOG = [*LOG]", ""),
    ):
        found = await table.judge(text.replace(old, new), baseline, seeds=(0, 1))
        assert found.reason == ("different" if words else ""), found
        assert words in found.words


async def test_undeclared_types_may_be_what_breaks_a_candidate(bench: Callable[[str], Awaitable[Bench]]) -> None:
    table = await bench("def f(items, known):\n    return [item for item in items if item in known]\n")
    baseline = await table.find()
    faster = "def f(items, known):\n    there = {}\n    return [item for item in items if item in there]\n"
    found = await table.judge(faster.replace("{}", "set(known)"), baseline, seeds=(0, 1))
    assert found.reason == "different"
    careful = "def f(items, known):\n    return [*filter(known.__contains__, items)]\n"
    assert (await table.judge(careful, baseline, seeds=(0, 1))).reason == ""


async def test_candidates_of_one_original(bench: Callable[[str], Awaitable[Bench]]) -> None:
    table = await bench(DEDUPE)
    baseline = await table.find()
    assert baseline.normal_returns > 20 and not baseline.notes
    for name, text, reason in CANDIDATES:
        found = await table.judge(text, baseline, seeds=(0, 1))
        assert found.reason == reason, (name, found)
        assert found.same == (not reason)
        if reason:
            assert found.counterexample is not None and found.counterexample.call.startswith("f("), name
        else:
            assert found.compared == len(baseline.cases) and found.normal_returns == baseline.normal_returns


@pytest.mark.slow
async def test_too_slow_is_told_from_wrong(bench: Callable[[str], Awaitable[Bench]]) -> None:
    table = await bench(DEDUPE)
    baseline = await table.find(count=12)
    text = "def f(items):\n    while len(items) > 1:\n        pass\n    return list(items)\n"
    found = await table.judge(text, baseline)
    assert found.reason == "too slow"
    assert "where the original takes" in found.words


async def test_a_candidate_that_does_not_load(bench: Callable[[str], Awaitable[Bench]]) -> None:
    table = await bench(DEDUPE)
    baseline = await table.find(count=5)
    with pytest.raises(BuildFailed, match="NameError"):
        await table.judge("spam\n" + DEDUPE, baseline)


async def test_a_small_counterexample(bench: Callable[[str], Awaitable[Bench]]) -> None:
    table = await bench("def f(items: list[int], k: int) -> list[int]:\n    return items[:k]\n")
    baseline = await table.find(count=60)
    text = table.original.text.replace("items[:k]", "items[: k + (k > 2)]")
    found = await table.judge(text, baseline)
    example = await minimal_counterexample(
        table.harness,
        table.original,
        Version(label="candidate", text=text),
        found,
        symbol="f",
        signature=baseline.signature,
        seconds=20,
    )
    assert example is not None
    assert (example.call, example.expected, example.actual) == ("f([0, 0, 0, 0], 3)", "[0, 0, 0]", "[0, 0, 0, 0]")


async def test_what_varies_is_set_aside_and_said(bench: Callable[[str], Awaitable[Bench]]) -> None:
    table = await bench("import random\ndef f(n: int) -> float:\n    return random.random() if n % 2 else n / 2\n")
    baseline = await table.find()
    assert baseline.cases and all(int(c.arguments["nodes"][0][1]) % 2 == 0 for c in baseline.cases)
    assert any("varies" in note for note in baseline.notes)
    assert len(baseline.dropped) > 5


async def test_state_of_the_original_is_noticed(bench: Callable[[str], Awaitable[Bench]]) -> None:
    table = await bench("class C:\n    n = 0\ndef f(x: int) -> int:\n    C.n += 1\n    return C.n\n")
    baseline = await table.find(count=20)
    assert len(baseline.cases) <= 1, "only a case in the middle of both orders can agree"


async def test_order_that_hangs_on_the_hash_seed_does_not_count(bench: Callable[[str], Awaitable[Bench]]) -> None:
    table = await bench("def f(words: list[str]) -> list[str]:\n    return list(set(words))\n")
    baseline = await table.find()
    assert any("any order" in note for note in baseline.notes)
    same = "def f(words: list[str]) -> list[str]:\n    return sorted(set(words), reverse=True)\n"
    loose = [c for c, t in zip(baseline.cases, baseline.tolerances, strict=True) if t.unordered]
    assert loose
    part = await stable_cases(table.harness, table.original, loose)
    assert (await table.judge(same, part)).same
    wrong = "def f(words: list[str]) -> list[str]:\n    return sorted(words)\n"
    assert (await table.judge(wrong, baseline)).reason == "different"


async def test_inputs_that_raise_give_way_to_those_that_return(bench: Callable[[str], Awaitable[Bench]]) -> None:
    original = """
    def f(text: str) -> int:
        if not text.startswith("id="):
            raise ValueError(text)
        return int(text[3:])
    """
    table = await bench(original)
    samples = [Case(arguments=encode(["id=12"]), origin="docs"), Case(arguments=encode(["id=7"]), origin="docs")]
    baseline = await table.find(samples=samples)
    assert baseline.normal_returns >= len(baseline.cases) * 0.6
    assert len(baseline.cases) - baseline.normal_returns > 0
    assert baseline.cases[0].origin == "docs"


async def test_undeclared_types_are_found_by_trying(bench: Callable[[str], Awaitable[Bench]]) -> None:
    table = await bench("def f(q):\n    return {k: v + 1 for k, v in q.items()}\n")
    baseline = await table.find()
    assert baseline.signature.parameters[0].type.kind == "dict"
    assert baseline.normal_returns > 20


async def test_an_original_that_hangs_on_some_inputs(bench: Callable[[str], Awaitable[Bench]]) -> None:
    table = await bench("def f(n: int) -> int:\n    while n > 20:\n        pass\n    return n\n")
    cases = [Case(arguments=encode([n])) for n in (1, 30, 2)]

    async def start() -> Any:
        return await table.harness.start(table.original)

    seen = await observe(start, cases, timeout=0.3)
    assert [bool(o.dead) for o in seen] == [False, True, False]
    baseline = await stable_cases(table.harness, table.original, cases, timeout=0.3)
    assert len(baseline.cases) == 2
    assert "no answer" in baseline.dropped[0][1]


async def test_tolerance_is_the_original_own_reaction(bench: Callable[[str], Awaitable[Bench]]) -> None:
    table = await bench(
        "def f(xs: list[float]) -> float:\n    total = 0.0\n    for x in xs:\n        total += x\n    return total\n"
    )
    cases = [Case(arguments=encode([[0.1 * n for n in range(k)]])) for k in (3, 10, 50)]
    baseline = await stable_cases(table.harness, table.original, cases)
    candidate = "import math\ndef f(xs):\n    return math.fsum(xs)\n"
    assert (await table.judge(candidate, baseline)).reason == "different"
    tolerance = await estimate_tolerance(table.harness, table.original, baseline)
    assert 1 <= tolerance.ulps < 1000
    loose = await stable_cases(table.harness, table.original, cases, tolerance=tolerance)
    assert (await table.judge(candidate, loose)).same
    whole = await stable_cases(table.harness, table.original, [Case(arguments=encode([[]]))])
    assert await estimate_tolerance(table.harness, table.original, whole) == EXACT
    assert Tolerance(ulps=0) == EXACT


def test_held_back_cases() -> None:
    cases = [Case(arguments=encode([n]), origin="docs" if n < 5 else "generated") for n in range(25)]
    shown, held = hold_back(cases, share=0.3, seed=1)
    assert len(held) == 6 and len(shown) == 19
    assert all(case.origin == "generated" for case in held)
    assert (shown, held) == hold_back(cases, share=0.3, seed=1) != hold_back(cases, share=0.3, seed=2)
    assert hold_back(cases[:5]) == (cases[:5], [])
    assert [len(part) for part in hold_back(cases[5:7])] == [1, 1]


async def test_a_baseline_in_two(bench: Callable[[str], Awaitable[Bench]]) -> None:
    table = await bench(DEDUPE)
    baseline = await table.find(count=20)
    shown, held = split(baseline, share=0.3, seed=0)
    assert len(shown.cases) + len(held.cases) == len(baseline.cases) and held.cases
    for part in (shown, held):
        for case, seen in zip(part.cases, part.observations, strict=True):
            assert seen.graph is not None
            wanted = source_text(case.arguments, case.arguments["roots"][0], limit=100_000)
            assert source_text(seen.graph, seen.graph["roots"][1], limit=100_000) == wanted
    assert (await table.judge(DEDUPE, held)).compared == len(held.cases)


async def test_limits_of_this_machine_are_no_oracle(bench: Callable[[str], Awaitable[Bench]]) -> None:
    table = await bench("def f(n: int) -> int:\n    return 0 if n <= 0 else 1 + f(n - 1)\n")
    baseline = await table.find()
    assert any("out of stack" in note for note in baseline.notes)
    assert (await table.judge("def f(n: int) -> int:\n    return max(0, n)\n", baseline)).same
    worse = "def f(n: int) -> int:\n    return 0 if n <= 0 else 1 + f(n - 1) if n < 5 else f(n)\n"
    found = await table.judge(worse, baseline)
    assert found.reason == "different" and "RecursionError" in found.words


async def test_errors_of_a_wrong_guess_are_no_oracle(bench: Callable[[str], Awaitable[Bench]]) -> None:
    original = "def f(q):\n    return [x.upper() if x else x.nothing for x in q.copy()]\n"
    table = await bench(original)
    baseline = await table.find()
    assert baseline.signature.parameters[0].type.args[0].kind == "str"
    assert len(baseline.cases) == baseline.normal_returns
    declared = await bench(original.replace("(q)", "(q: list[str])"))
    assert any(o.raised and o.raised[0] == "AttributeError" for o in (await declared.find()).observations)


@pytest.mark.slow
async def test_an_original_that_grows_exponentially(bench: Callable[[str], Awaitable[Bench]]) -> None:
    table = await bench("def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\n")
    baseline = await table.find(count=60)
    assert len(baseline.cases) > 15
    assert sum(o.seconds for o in baseline.observations) < 3
    fast = (
        "def f(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a if n >= 0 else n\n"
    )
    assert (await table.judge(fast, baseline)).same


async def test_documented_conditions_are_kept_and_told(bench: Callable[[str], Awaitable[Bench]]) -> None:
    original = """
    def f(items: list[int], x: int) -> bool:
        low, high = 0, len(items)
        while low < high:
            middle = (low + high) // 2
            if items[middle] < x:
                low = middle + 1
            else:
                high = middle
        return low < len(items) and items[low] == x
    """
    linear = "def f(items: list[int], x: int) -> bool:\n    return x in items\n"
    table = await bench(original)
    assert (await table.judge(linear, await table.find())).reason == "different"
    stated = await table.find(specification="Search a sorted list.")
    assert "items sorted" in stated.notes[0]
    assert (await table.judge(linear, stated)).same
