"""A scripted orchestrator behind the real one's signature: what it does is written in the target's docstring.

The first line that starts with "script:" is a list of steps, separated by ";":
    note TEXT | budget (notes it) | sleep SECONDS | busy SECONDS (holds the loop) |
    child (starts a process that ignores SIGTERM) |
    print (writes to stdout) | read (reads stdin) | crash | boom | user TEXT | environment TEXT |
    suggest OLD => NEW | import MODULE | unproven OLD => NEW | unchanged REASON
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from perforch_core.engine import Workflow, serve
from perforch_core.evidence import Comparison, Evidence, Ratio, Strength, TestReport, Verdict
from perforch_core.suggestion import Attempt, Result, Status, minimal_edits
from perforch_core.task import Budget, EnvironmentProblem, Event, Reporter, Target, Task, UserError, silent


def find_target(path: Path, text: str, *, symbol: str | None = None, offset: int | None = None) -> Target:
    for match in re.finditer(r"^def (\w+)\(.*\n(?:(?:[ \t].*)?\n)*", text, re.M):
        if match.group(1) == symbol or (offset is not None and match.start() <= offset <= match.end()):
            return Target(
                path=path,
                symbol=match.group(1),
                language="python",
                root=path.parent,
                text=text,
                start=match.start(),
                end=match.start() + len(match.group(0).rstrip()),
            )
    raise UserError("The cursor is not in a function. Place it inside the function to be improved.")


@contextlib.asynccontextmanager
async def open_services(root: Path, *, models: tuple[str, ...] = ()) -> AsyncIterator[dict[str, object]]:
    yield {"root": root, "models": models, "opened": time.time()}


async def run(task: Task, services: dict[str, object], report: Reporter = silent) -> Result:
    script = re.search(r'script: ([^"\n]*)', task.target.code)
    text, imports, evidence = task.target.text, "", Evidence()
    for step in (script.group(1) if script else "unchanged It is fast already.").split(";"):
        word, _, rest = step.strip().partition(" ")
        if word == "note":
            report(Event(kind="stage", text=rest, data={"done": 0.5}))
        elif word == "budget":
            report(Event(kind="note", text=f"budget of {task.budget.seconds:g} s, {task.budget.calls} calls"))
        elif word == "sleep":
            await asyncio.sleep(float(rest))
        elif word == "busy":
            time.sleep(float(rest))
        elif word == "child":
            code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
            child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
            report(Event(kind="note", text=f"child {child.pid}"))
        elif word == "print":
            print("this must not reach the conversation", flush=True)
            os.write(1, b"nor this\n")
        elif word == "read":
            report(Event(kind="note", text=f"read {sys.stdin.read()!r}"))
        elif word == "crash":
            os._exit(3)
        elif word == "boom":
            raise ZeroDivisionError("a fault of ours")
        elif word == "user":
            raise UserError(rest)
        elif word == "environment":
            raise EnvironmentProblem(rest)
        elif word == "import":
            imports += f"import {rest}\n"
        elif word in ("suggest", "unproven"):
            old, new = (part.strip() for part in rest.split("=>"))
            body = task.target.code.rpartition(old)
            code = body[0] + new + body[2]
            text = imports + text[: task.target.start] + code + text[task.target.end :]
            evidence = _proof() if word == "suggest" else Evidence()
            return _result(task, Status.SUGGESTED if word == "suggest" else Status.UNPROVEN, text, evidence)
        elif word == "unchanged":
            return _result(task, Status.UNCHANGED, None, evidence, rest)
    return _result(task, Status.UNCHANGED, None, evidence, f"opened at {services['opened']}")


def _proof() -> Evidence:
    return Evidence(
        builds=True,
        tests=TestReport(passed=3, names=("test_a", "test_b", "test_c")),
        cases=200,
        strength=Strength(mutants=20, killed=19, canary=True),
        comparison=Comparison(
            verdict=Verdict.FASTER, speedup=Ratio(estimate=2.31, low=2.2, high=2.4, n=10_000), by_size=()
        ),
    )


def _result(task: Task, status: Status, text: str | None, evidence: Evidence, reason: str = "") -> Result:
    target = task.target
    proven = status is Status.SUGGESTED
    return Result(
        id=f"s-{os.urandom(4).hex()}",
        stage=task.stage,
        target=target,
        status=status,
        reason=reason or ("It is faster." if proven else "Nothing proves it."),
        title="2.3x faster at n = 10,000 (2.2-2.4); 3 tests, 200 cases, 19 of 20 mutants killed" if proven else "",
        model="rules",
        text=text,
        edits=minimal_edits(target.path, target.text, text) if text else (),
        evidence=evidence,
        tried=(Attempt(model="rules", rule="set-for-membership", outcome="2.3x faster" if text else "not faster"),),
    )


if __name__ == "__main__":
    serve(
        lambda: Workflow(
            find_target=find_target,
            open_services=open_services,
            run=run,
            usual_budget=lambda root: Budget(seconds=77.0),
        )
    )
