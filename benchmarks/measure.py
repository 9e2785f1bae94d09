"""How often does a method call identical code faster, and how often does it see a true speedup?

Runs compare() with the real driver in the real sandbox next to three simple methods on the same functions and inputs,
and prints one table. Pairs of the same meaning (identical, renamed, statements reordered) give the false claims; pairs
in which AFTER does a known share of the work give the power.

    python benchmarks/measure.py --pairs 40 --power 10 --budget 4
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perforch_core.evidence import Verdict
from perforch_core.languages import find_target
from perforch_core.languages.interface import Case, Driver, Version
from perforch_core.languages.python_harness import PythonHarness
from perforch_core.languages.python_project import find_project
from perforch_core.measure.compare import Starter, compare
from perforch_core.measure.machine import conditions
from perforch_core.measure.workload import Stratum, Workload
from perforch_core.sandbox import choose
from perforch_core.values import encode

THRESHOLD = 1.05
SIZE = 400

COUNT = """
def f(items: list[int]) -> int:
    total = 0
    worst = 0
    for _ in range(ROUNDS):
        for item in items:
            total += item & 7
            if item > worst:
                worst = item
    return total + worst
"""
WORDS = """
def f(items: list[int]) -> int:
    counts = {}
    best = 0
    for _ in range(ROUNDS):
        for item in items:
            key = item % 97
            counts[key] = counts.get(key, 0) + 1
            best = max(best, item)
    return best
"""


def same_meaning(text: str, kind: int) -> str:
    """The same function: as it is, with other names, or with two independent statements swapped."""
    if kind == 1:
        return (
            text.replace("item", "value").replace("total", "result").replace("counts", "table").replace("best", "top")
        )
    if kind == 2:
        lines = text.splitlines(keepends=True)
        lines[2], lines[3] = lines[3], lines[2]
        return "".join(lines)
    return text


def work(text: str, rounds: int) -> str:
    """The function doing `rounds` times the work of one pass (the result of WORDS does not depend on it)."""
    return text.replace("ROUNDS", str(rounds))


def workload() -> Workload:
    """One size: what is asked is how sure the ratio is, not how it depends on size."""

    def make(seed: int, count: int) -> list[Case]:
        rng = random.Random(seed)
        return [
            Case(arguments=encode([[rng.randrange(1 << 20) for _ in range(SIZE)]]), size=SIZE) for _ in range(count)
        ]

    return (Stratum(name="large", n=SIZE, make=make),)


@dataclass(frozen=True)
class Answer:
    """What a method says of one pair: the ratio, whether it claims a speedup, and what that took."""

    ratio: float
    claims: bool
    seconds: float = 0.0


Method = Callable[[Starter, Starter, int, float], Awaitable[Answer]]


async def block_seconds(driver: Driver, seed: int, calls: int = 60) -> float:
    """Wall time of one block of calls on inputs made from `seed`."""
    await driver.load(workload()[0].make(seed, 3))
    return (await driver.block(calls, timeout=60.0)).wall


async def single(before: Starter, after: Starter, seed: int, budget: float) -> Answer:
    """One process and one run of each."""
    return await best_of(before, after, seed, budget, processes=1, loops=1)


async def best_of_five(before: Starter, after: Starter, seed: int, budget: float) -> Answer:
    """Five processes of each, one run in each, the best against the best."""
    return await best_of(before, after, seed, budget, processes=5, loops=1)


async def minimum_of_loops(before: Starter, after: Starter, seed: int, budget: float) -> Answer:
    """All loops of BEFORE in one process, then all of AFTER in another, the minimum against the minimum."""
    return await best_of(before, after, seed, budget, processes=1, loops=20)


async def best_of(before: Starter, after: Starter, seed: int, budget: float, *, processes: int, loops: int) -> Answer:
    """The least of several runs of BEFORE, then of AFTER, and a claim when their ratio exceeds the threshold."""
    least = []
    for start in (before, after):
        times = []
        for number in range(processes):
            driver = await start(1 + number)
            try:
                times += [await block_seconds(driver, seed) for _ in range(loops)]
            finally:
                await driver.close()
        least.append(min(times))
    return Answer(least[0] / least[1], least[0] / least[1] > THRESHOLD)


async def perforch(before: Starter, after: Starter, seed: int, budget: float) -> Answer:
    """compare()."""
    result = await compare(before, after, workload(), budget=budget, threshold=THRESHOLD, seed=seed)
    ratio = result.speedup.estimate if result.speedup else math.nan
    return Answer(ratio, result.verdict in (Verdict.FASTER, Verdict.TRADE_OFF))


METHODS: dict[str, Method] = {
    "single run": single,
    "best of 5": best_of_five,
    "minimum of 20 loops, one after the other": minimum_of_loops,
    "perforch compare": perforch,
}
FACTORS = {1.08: (27, 25), 1.15: (23, 20), 1.5: (15, 10), 2.0: (20, 10)}


@dataclass
class Row:
    """What one method did over all pairs."""

    name: str
    same: list[Answer] = field(default_factory=list)
    faster: dict[float, list[Answer]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """One row of the table."""
        ratios = [a.ratio for a in self.same if not math.isnan(a.ratio)] or [math.nan]
        everything = self.same + [a for answers in self.faster.values() for a in answers]
        return {
            "method": self.name,
            "false claims": f"{sum(a.claims for a in self.same)}/{len(self.same)}",
            "range on the same": f"{min(ratios):.2f}-{max(ratios):.2f}",
            **{f"{f}x claimed": f"{sum(a.claims for a in got)}/{len(got)}" for f, got in self.faster.items()},
            "s per pair": f"{sum(a.seconds for a in everything) / max(1, len(everything)):.1f}",
        }


async def run(arguments: argparse.Namespace) -> list[Row]:
    """All methods on all pairs, the methods taking turns so that the machine's moods hit them alike."""
    sandbox = await choose()
    rows = [Row(name) for name in METHODS if not arguments.only or arguments.only in name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "app.py"
        path.write_text(work(COUNT, 1))
        (Path(folder) / "pyproject.toml").touch()
        target = find_target(path, path.read_text(), symbol="f")
        harness = PythonHarness(find_project(path), target, sandbox)

        def starter(label: str, text: str) -> Starter:
            return lambda seed: harness.start(Version(label=label, text=text), seed=seed)

        async def ask(row: Row, before: str, after: str, seed: int) -> Answer:
            started = time.monotonic()
            method = METHODS[row.name]
            answer = await method(starter("before", before), starter("after", after), seed, arguments.budget)
            return Answer(answer.ratio, answer.claims, time.monotonic() - started)

        try:
            for number in range(arguments.pairs):
                base = work((COUNT, WORDS)[number % 2], 1)
                after = same_meaning(base, number % 3)
                for row in rows:
                    row.same.append(await ask(row, base, after, number))
                await asyncio.sleep(0.2)  # lets others who wait for the measuring lock have their turn
                show(f"same {number + 1}/{arguments.pairs}")
            for factor, (more, less) in FACTORS.items():
                for number in range(arguments.power):
                    for row in rows:
                        answer = await ask(row, work(WORDS, more), work(WORDS, less), 10_000 + number)
                        row.faster.setdefault(factor, []).append(answer)
                    show(f"{factor}x {number + 1}/{arguments.power}")
        finally:
            await harness.aclose()
            await sandbox.aclose()
    return rows


def show(text: str) -> None:
    """Progress, on the error stream."""
    print(f"\r{text:<30}", end="", file=sys.stderr, flush=True)


def table(rows: Sequence[dict[str, object]]) -> str:
    """A Markdown table."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(str(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40, help="pairs of the same meaning")
    parser.add_argument("--power", type=int, default=10, help="pairs per true speedup")
    parser.add_argument("--budget", type=float, default=4.0, help="seconds per comparison of perforch")
    parser.add_argument("--only", default="", help="only methods whose name contains this")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    started, before = time.monotonic(), conditions()
    rows = [row.as_dict() for row in asyncio.run(run(arguments))]
    show("")
    print(json.dumps(rows, indent=2) if arguments.json else "\n" + table(rows))
    load = f"{before.load:.1f}" if before.load is not None else "unknown"
    print(f"\n{before.cores} cores, load {load} at the start, {time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
