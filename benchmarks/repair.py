"""How many one-fault Python programs the built-in repairer mends, each within ten seconds and without any model.

    python benchmarks/repair.py --data python.jsonl            HumanEvalPack's rows (github bigcode-project/octopack)

For each problem the program is the prompt with the buggy solution. The *guide* (the problem's example test and the
examples in its docstring) says what is wrong and when to stop; the problem's full test, which the search never sees,
then says whether it was *repaired* or only made to pass the guide (*overfitted*). Where the buggy program passes its
guide, nothing tells that it is wrong: *out of reach*. Candidates run in the sandbox only.

The priors of the repairer were counted on the even-numbered problems; --numbers odd is the honest figure.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import contextlib
import itertools
import json
import struct
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perforch_core.languages.python import find_functions
from perforch_core.models.interface import Hints, Rewrite
from perforch_core.models.repairer import Repairer, suspicion
from perforch_core.sandbox import Command, Limits, Policy, Process, Sandbox, choose
from perforch_core.task import Target

WORKER = Path(__file__).with_name("repair_worker.py")
PREFIXES = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent.parent} - {Path("/usr")}
SECONDS = 10.0
_QUICK_SECONDS = 0.004
"""Wall time of one check, at the least; else twenty times what the buggy program's slowest passing check takes."""
_PATIENT_SECONDS = 0.05
"""CPU time of one check when a candidate that was late gets its second chance."""
_LOOK_SECONDS = 0.1
"""CPU time of one traced check of the buggy program."""
_WALL = 0.5
_SECOND_CHANCES = 15
"""How many of the late ones get it, after each hundred candidates."""

Check = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One row: the buggy program, the checks that guide the search and those that decide."""

    number: int
    program: str
    entry: str
    guide: tuple[Check, ...]
    full: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one problem ended: "repaired", "overfitted", "not found" or "out of reach"."""

    number: int
    outcome: str
    seconds: float
    tried: int = 0
    rule: str = ""
    title: str = ""


def read_problems(path: Path, *, numbers: str) -> Iterator[Problem]:
    """The rows whose number is even or odd, or all."""
    wanted = {"even": (0,), "odd": (1,), "all": (0, 1)}[numbers]
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        number = int(row["task_id"].rsplit("/", 1)[1])
        if number % 2 in wanted:
            program = row["prompt"] + row["buggy_solution"]
            yield Problem(
                number=number,
                program=program,
                entry=row["entry_point"],
                guide=(*checks(row["example_test"]), *doc_checks(program, row["entry_point"])),
                full=tuple(checks(row["test"])),
            )


def checks(test: str) -> tuple[Check, ...]:
    """The statements of `check(candidate)`, each a check of its own; other statements come before each of them."""
    tree = _parsed(test)
    before = [s for s in tree.body if not isinstance(s, ast.FunctionDef | ast.Expr)]
    helpers = [s for s in tree.body if isinstance(s, ast.FunctionDef) and s.name != "check"]
    found: list[Check] = []
    for function in tree.body:
        if not isinstance(function, ast.FunctionDef) or function.name != "check":
            continue
        calls = [s.value for s in tree.body if isinstance(s, ast.Expr) and isinstance(s.value, ast.Call)]
        given = next((ast.unparse(c.args[0]) for c in calls if c.args), "candidate")
        name = function.args.args[0].arg
        setup = [*map(ast.unparse, (*before, *helpers)), *([f"{name} = {given}"] if name != given else [])]
        for statement in function.body:
            code = ast.unparse(statement)
            if isinstance(statement, ast.Assert | ast.For | ast.Try | ast.If):
                found.append((code[:60], "\n".join([*setup, code])))
            else:
                setup.append(code)
    return tuple(found)


def _parsed(test: str) -> ast.Module:
    """The test's tree; one that stands indented as a whole, or starts so, is moved to the margin first."""
    for text in (test, textwrap.dedent(test), test.strip() + "\n"):
        with contextlib.suppress(SyntaxError):
            return ast.parse(text)
    return ast.Module(body=[], type_ignores=[])


def doc_checks(program: str, entry: str) -> tuple[Check, ...]:
    """The `>>> call` examples of the docstring whose result is a literal; its type counts (1 is not 1.0)."""
    function = next(f for f in find_functions(program) if f.symbol == entry)
    lines = [line.strip() for line in function.docstring.splitlines()]
    found: list[Check] = []
    for line, result in itertools.pairwise(lines):
        call = line.removeprefix(">>>").strip()
        if not line.startswith(">>>") or not call.startswith(f"{entry}("):
            continue
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(result)
            code = f"_result = {call}\nassert _result == {value!r} and type(_result) is {type(value).__name__}"
            found.append((call[:60], code if value is not None else f"assert ({call}) is None"))
    return tuple(found)


@dataclass(slots=True)
class Worker:
    """A sandboxed process that judges candidates by a set of checks; started anew when a candidate ends it."""

    sandbox: Sandbox
    checks: Sequence[Check]
    process: Process | None = None
    restarts: int = 0

    async def judge(self, text: str, *, seconds: float, wall: float, **options: Any) -> dict[str, Any]:
        """What the worker answers; all checks failed when it dies or hangs. `seconds` of CPU time for each check."""
        try:
            if self.process is None:
                await self._start()
            return await self._ask({"text": text, "seconds": seconds, **options}, wall)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            await self.close()
            self.restarts += 1
            failed: list[bool] = [False] * len(self.checks)
            return {"results": failed, "lines": [[]] * len(self.checks), "seconds": 0.0}

    async def close(self) -> None:
        """End the process."""
        if self.process is not None:
            process, self.process = self.process, None
            await process.close()

    async def _start(self) -> None:
        command = Command(
            argv=(sys.executable, "-I", "-B", str(WORKER)),
            policy=Policy.RUN,
            cwd=WORKER.parent,
            limits=Limits(wall=60.0, cpu=60.0, memory=512 << 20),
            readable=(WORKER.parent, *PREFIXES),
        )
        self.process = await self.sandbox.open(command)
        self.process.channel.setblocking(False)
        await self._ask({"checks": list(self.checks)}, 10.0)

    async def _ask(self, message: Mapping[str, Any], wall: float) -> dict[str, Any]:
        assert self.process is not None
        data = json.dumps(message).encode()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(wall):
            await loop.sock_sendall(self.process.channel, struct.pack(">I", len(data)) + data)
            head = await self._exactly(4)
            answer: dict[str, Any] = json.loads(await self._exactly(struct.unpack(">I", head)[0]))
        return answer

    async def _exactly(self, count: int) -> bytes:
        assert self.process is not None
        data = b""
        while len(data) < count:
            piece = await asyncio.get_running_loop().sock_recv(self.process.channel, count - len(data))
            if not piece:
                raise asyncio.IncompleteReadError(data, count)
            data += piece
        return data


@dataclass(slots=True)
class Search:
    """The search for one problem's repair, bounded by `deadline` (monotonic seconds)."""

    problem: Problem
    worker: Worker
    deadline: float
    tried: int = 0

    async def find(self) -> Rewrite | None:
        """The first rewrite in the repairer's order that passes the guide; None when time is up or nothing passes.

        Raises NothingWrong.
        """
        answer = await self.worker.judge(self.problem.program, seconds=_LOOK_SECONDS, wall=6.0, all=True, trace=True)
        results = answer["results"]
        if all(results):  # also where there are none
            raise NothingWrong
        order = sorted(range(len(results)), key=lambda i: results[i])
        hints = Hints(suspicion=suspicion(results, answer["lines"]))
        limit = max(_QUICK_SECONDS, 20 * answer["seconds"])
        late: list[Rewrite] = []
        for rewrite in Repairer().propose(target_of(self.problem.program, self.problem.entry), hints):
            if time.monotonic() > self.deadline:
                return None
            self.tried += 1
            if await self._passes(rewrite, order, late, seconds=limit, quick=True):
                return rewrite
            if self.tried % 100 == 0 and (found := await self._again(late, order, limit)):
                return found
        return await self._again(late, order, limit)

    async def _again(self, late: list[Rewrite], order: Sequence[int], limit: float) -> Rewrite | None:
        """The machine is noisy: a candidate cut off may only have waited for its turn. The first few, with patience."""
        for rewrite in late[:_SECOND_CHANCES]:
            if time.monotonic() > self.deadline:
                return None
            if await self._passes(rewrite, order, [], seconds=max(_PATIENT_SECONDS, 5 * limit), quick=False):
                return rewrite
        late.clear()
        return None

    async def _passes(
        self, rewrite: Rewrite, order: Sequence[int], late: list[Rewrite], *, seconds: float, quick: bool
    ) -> bool:
        wall = _WALL + 2 * seconds * len(order)
        answer = await self.worker.judge(rewrite.text, seconds=seconds, wall=wall, order=order, quick=quick)
        if answer.get("late"):
            late.append(rewrite)
        return len(answer["results"]) == len(order) and all(answer["results"])


class NothingWrong(Exception):
    """The program passes its guide."""


def target_of(program: str, entry: str) -> Target:
    """The problem's function as a task's target."""
    function = [f for f in find_functions(program) if f.symbol == entry][-1]
    path = Path("/nowhere/problem.py")
    return Target(
        path=path,
        symbol=entry,
        language="python",
        root=path.parent,
        text=program,
        start=function.start,
        end=function.end,
    )


async def attempt(sandbox: Sandbox, problem: Problem) -> Answer:
    """Search, then let the full test decide in a fresh process."""
    began = time.monotonic()
    worker = Worker(sandbox, problem.guide)
    search = Search(problem, worker, began + SECONDS - 0.5)
    try:
        found = await search.find()
    except NothingWrong:
        return Answer(number=problem.number, outcome="out of reach", seconds=time.monotonic() - began)
    finally:
        await worker.close()
    seconds = time.monotonic() - began
    if found is None:
        return Answer(number=problem.number, outcome="not found", seconds=seconds, tried=search.tried)
    outcome = "repaired" if await decides(sandbox, problem, found.text) else "overfitted"
    return Answer(
        number=problem.number,
        outcome=outcome,
        seconds=seconds,
        tried=search.tried,
        rule=found.rule,
        title=found.title,
    )


async def decides(sandbox: Sandbox, problem: Problem, text: str) -> bool:
    """Whether the program passes the problem's full test."""
    judge = Worker(sandbox, problem.full)
    try:
        answer = await judge.judge(text, seconds=5.0, wall=60.0)
    finally:
        await judge.close()
    return bool(answer["results"]) and len(answer["results"]) == len(problem.full) and all(answer["results"])


async def run(path: Path, *, numbers: str, only: frozenset[int], quiet: bool) -> list[Answer]:
    """All chosen problems one after the other."""
    sandbox = await choose()
    answers: list[Answer] = []
    try:
        for problem in read_problems(path, numbers=numbers):
            if only and problem.number not in only:
                continue
            answer = await attempt(sandbox, problem)
            answers.append(answer)
            if not quiet:
                words = f"Python/{answer.number:<4} {answer.outcome:12} {answer.seconds:5.1f} s {answer.tried:5}"
                print(f"{words}  {answer.rule}: {answer.title}" if answer.rule else words, file=sys.stderr)
    finally:
        await sandbox.aclose()
    return answers


def main() -> int:
    """Print the counts as text or JSON; 0 also when the data is not there."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="HumanEvalPack's python.jsonl")
    parser.add_argument("--numbers", choices=("even", "odd", "all"), default="odd")
    parser.add_argument("--only", type=int, nargs="*", default=(), help="these problems only")
    parser.add_argument("--quiet", action="store_true", help="counts only, no line per problem")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.data.is_file():
        print(f"Skipped: {options.data} is not there. Give HumanEvalPack's python.jsonl with --data.", file=sys.stderr)
        return 0
    only = frozenset(options.only)
    answers = asyncio.run(run(options.data, numbers=options.numbers, only=only, quiet=options.quiet))
    outcomes = Counter(a.outcome for a in answers)
    slowest = max((a.seconds for a in answers), default=0.0)
    if options.json:
        print(json.dumps({"schema": 1, "total": len(answers), **outcomes, "slowest_seconds": round(slowest, 2)}))
    else:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        print(f"{len(answers)} {options.numbers} problems: {counts}; slowest {slowest:.1f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
